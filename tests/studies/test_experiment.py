"""Experiments: equal rows wherever they run, interrupted or not; failures are rows; user-defined figures."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation import Frames, Reset, Result, Scenario
from simulation.scenario.scenario import parse_scenario
from simulation.studies import Experiment, Outcome, Precision, Progress, execution, quantile_interval
from simulation.studies import experiment as experiment_module
from simulation.studies.experiment import unit_of
from simulation.studies.figures import DERIVED
from tests.simulation.worlds import QUIET, calm

CAPS = [{"client.policy.cap_s": 1.0}, {"client.policy.cap_s": 30.0}]


def short(**changes: object) -> Scenario:
    return calm(horizon_s=3.0, settle_s=3.0, faults=(Reset(at_s=1.5),), **changes)


def deliveries(result: Result) -> int:
    return result.counts.delivered


def latencies(result: Result) -> "np.ndarray":
    return Frames(result.trace_index)["messages"]["latency_s"].dropna().to_numpy()


def two(result: Result) -> dict[str, float]:
    return {"first_s": 1.0, "second_s": float(result.replication)}


FIGURES = ("latency_p95_s", deliveries, latencies, two)


@cache
def outcome() -> Outcome:
    return Experiment(short(), CAPS, FIGURES, replications=3).run()


def test_every_point_has_every_replication_and_figure() -> None:
    runs = outcome().runs
    assert runs[["point", "replication"]].to_records(index=False).tolist() == [(p, r) for p in (0, 1) for r in (0, 1, 2)]
    assert outcome().figures == ["latency_p95_s", "deliveries", "first_s", "second_s"]
    assert runs["second_s"].tolist() == [0.0, 1.0, 2.0] * 2
    assert (runs["error"] == "").all()


def test_points_have_intervals_and_units() -> None:
    points = outcome().points.set_index(["point", "figure"])
    assert points.loc[(0, "second_s"), "mean"] == 1.0
    assert points.loc[(0, "second_s"), "unit"] == "s"
    assert points.loc[(0, "second_s"), "high"] - 1.0 == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert outcome().metadata["figures"]["latency_p95_s"] == "s"
    assert outcome().metadata["points"] == 2


def test_every_interval_has_the_confidence_that_is_asked_for() -> None:
    # t(0.995, 2) = 9.924843 and t(0.95, 2) = 2.919986, from the table; the standard error of 0, 1, 2 is 1 / sqrt(3)
    rows = outcome().rows
    precise = Precision("second_s", half_width=100.0, confidence=0.9)
    for asked, quantile in (({"confidence": 0.99}, 9.924843), ({"until": precise, "replications": 10}, 2.919986)):
        found = Outcome(Experiment(short(), CAPS, FIGURES, **({"replications": 3} | asked)), rows)
        points = found.points.set_index(["point", "figure"])
        assert points.loc[(0, "second_s"), "high"] - 1.0 == pytest.approx(quantile / math.sqrt(3), rel=1e-6)
        assert found.interval("second_s").high == points.loc[(0, "second_s"), "high"]
        assert found.interval("second_s", confidence=0.95) == outcome().interval("second_s")
        confidence = found.metadata["confidence"]
        pd.testing.assert_frame_equal(found.pairs("latency_p95_s"), outcome().pairs("latency_p95_s", confidence))
    samples = [row["latencies"] for row in rows if row["point"] == 0]
    of_first = Outcome(Experiment(short(), CAPS[:1], FIGURES, 3, confidence=0.99), rows).quantile("latencies", 0.5)
    assert of_first["low"].tolist() == [quantile_interval(samples, 0.5, 0.99).low]
    both = Experiment(short(), CAPS, FIGURES, 10, until=precise, confidence=0.99)
    assert (both.asked_confidence, both.rule_confidence) == (0.99, 0.9)
    assert Experiment(short(), replications=10, until=Precision("clients", 1.0), confidence=0.99).rule_confidence == 0.99


def test_a_figure_has_the_unit_that_its_name_ends_in_and_alerts_are_counted() -> None:
    units = {"latency_p95_s": "s", "attempts_per_s_max": "1/s", "downtime_s_per_client_hour": "s/h", "published": ""}
    assert {name: unit_of(name) for name in units} == units
    assert {unit_of(name) for name in DERIVED if name.startswith("alerts_")} == {""}


def test_points_run_on_common_random_numbers() -> None:
    table = outcome().pairs("deliveries")
    assert table["mean"].tolist() == [0.0]  # the cap changes nothing here, and the workload is the same
    assert outcome().runs["deliveries"].nunique() > 1


def test_a_pair_loses_no_replication_to_a_third_point() -> None:
    """A precision adds replications where they are needed, so points have different numbers of them."""
    points = [{"client.policy.cap_s": cap_s} for cap_s in (1.0, 2.0, 3.0)]
    counts, figure = (8, 8, 2), "recovery_p99_s"
    rows = [
        {"point": point, "replication": replication, figure: float(point + replication), "error": ""}
        for point, count in enumerate(counts)
        for replication in range(count)
    ]
    pairs = Outcome(Experiment(short(), points, (figure,), replications=2), tuple(rows)).pairs(figure)
    assert pairs["n"].tolist() == [8, 2, 2]
    assert pairs["mean"].tolist() == [-1.0, -2.0, -1.0]


def test_quantiles_are_pooled_over_runs() -> None:
    table = outcome().quantile("latencies", 0.95)
    pooled = np.concatenate([row["latencies"] for row in outcome().rows if row["point"] == 0])
    assert table.iloc[0]["mean"] == pytest.approx(float(np.quantile(pooled, 0.95)))
    assert table.iloc[0]["low"] <= table.iloc[0]["mean"] <= table.iloc[0]["high"]


def warming_up(result: Result) -> "np.ndarray":
    """A series whose warm-up is known: 200 values around 9, then around 5. Values are missing, in each replication others."""
    noise = np.random.default_rng(result.replication).normal(0.0, 1.0, 1000)
    series = noise + np.where(np.arange(1000) < 200, 9.0, 5.0)
    series[: 40 * result.replication] = series[700] = math.nan
    return series


def test_the_warm_up_of_a_series_is_left_out(tmp_path: Path) -> None:
    experiment = Experiment(short(), CAPS, (warming_up,), replications=4, warm_up="mser")
    found = experiment.run(folder=tmp_path)
    cuts = found.warm_ups.set_index(["point", "sample"])
    assert cuts["values"].tolist() == [200, 200]
    assert cuts["length"].tolist() == [1000, 1000]
    pd.testing.assert_frame_equal(experiment.run(folder=tmp_path).warm_ups, found.warm_ups)
    rest = [np.delete(series[200:], 500) for series in (np.array(row["warming_up"]) for row in found.rows)]
    assert found.runs["warming_up"].tolist() == pytest.approx([series.mean() for series in rest])
    assert not cuts["is_short"].any()
    assert found.figures == ["warming_up"]
    interval = found.interval("warming_up")
    assert interval.low < 5.0 < interval.high
    assert interval.half_width < 0.2
    assert found.pairs("warming_up")["mean"].tolist() == [0.0]
    assert found.quantile("warming_up", 0.99).iloc[0]["mean"] == pytest.approx(5.0 + 2.326, abs=0.2)
    assert found.metadata["warm_up"] == "mser"
    whole = Experiment(short(), CAPS, (warming_up,), replications=4).run()
    assert whole.figures == []
    assert len(whole.warm_ups) == 0
    assert whole.quantile("warming_up", 0.99).iloc[0]["mean"] > 10.0


def connected(result: Result) -> "np.ndarray":
    """How many clients have a connection, twice in a second."""
    table = Frames(result.trace_index)["connections"]
    times_s = np.arange(0.25, 60.0, 0.5)[:, None]
    is_up = (table["welcomed_s"].to_numpy() <= times_s) & (table["ended_s"].fillna(math.inf).to_numpy() > times_s)
    return is_up.sum(axis=1)


def test_the_warm_up_of_a_world_is_the_time_in_which_its_clients_arrive() -> None:
    world = calm(clients=20, horizon_s=60.0, workload=QUIET).replace({"groups.c.arrive_within_s": 20.0})
    found = Experiment(world, figures=(connected,), replications=3, warm_up="mser").run()
    assert found.warm_ups["values"].item() == pytest.approx(40, abs=5)  # 20 s, twice in a second, in batches of five
    assert found.interval("connected").mean == pytest.approx(20.0, abs=0.1)


def test_a_run_that_fails_is_a_row() -> None:
    def sometimes(result: Result) -> float:
        if result.replication == 1:
            raise ZeroDivisionError("this one")
        return 1.0

    found = Experiment(short(), CAPS, (sometimes,), replications=3).run()
    assert found.failures["replication"].tolist() == [1, 1]
    assert found.failures["error"].tolist() == ["ZeroDivisionError: this one"] * 2
    assert found.points["missing"].tolist() == [1, 1]
    assert found.points["n"].tolist() == [2, 2]


def of_what_is_not_there(result: Result) -> float:
    return float(result.no_such_attribute)  # type: ignore[attr-defined]


def test_a_figure_that_no_run_has_says_why() -> None:
    found = Experiment(short(), figures=(of_what_is_not_there,), replications=2).run()
    with pytest.raises(ConfigError, match=r"2 of 2 runs failed, the first with AttributeError: .*no_such_attribute"):
        found.values("of_what_is_not_there")


def test_an_interrupted_experiment_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    experiment = Experiment(short(), CAPS, FIGURES, replications=3)

    def interrupt(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment.run(folder=tmp_path, report=interrupt)
    seen: list[Progress] = []
    resumed = experiment.run(folder=tmp_path, report=seen.append)
    assert (seen[0].resumed, seen[0].done, seen[-1].done) == (4, 4, 6)
    pd.testing.assert_frame_equal(resumed.runs, outcome().runs)
    pd.testing.assert_frame_equal(resumed.quantile("latencies", 0.5), outcome().quantile("latencies", 0.5))
    again = experiment.run(folder=tmp_path, report=seen.append)
    assert seen[-1].resumed == 6
    first, second = again.write(tmp_path / "one"), outcome().write(tmp_path / "two")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_scenario_is_read_once_for_all_replications(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(text: str) -> Scenario:
        read.append(text)
        return parse_scenario(text)

    monkeypatch.setattr(experiment_module, "parse_scenario", counted)
    caps = [{"client.policy.cap_s": cap_s} for cap_s in (3.5, 4.5)]  # no other test has these scenarios
    Experiment(short(), caps, ("latency_p95_s",), replications=3).run()
    assert len(read) == 2


def test_rows_of_another_question_are_not_taken(tmp_path: Path) -> None:
    def figure(result: Result) -> float:
        return 1.0

    Experiment(short(), figures=(figure,), replications=1).run(folder=tmp_path)

    def figure(result: Result) -> float:  # the same name, other code
        return 2.0

    assert Experiment(short(), figures=(figure,), replications=1).run(folder=tmp_path).runs["figure"].tolist() == [2.0]
    changed = Experiment(short(), figures=(figure,), replications=1, seed=9).run(folder=tmp_path)
    assert changed.runs["seed"].tolist() == [9]


def test_replications_are_added_until_the_interval_is_narrow() -> None:
    def noisy(result: Result) -> float:
        return result.trace_index.log.head + len(result.trace.digest().replace("a", ""))

    narrow = Precision("noisy", half_width=0.5, replications_max=60)
    found = Experiment(short(), figures=(noisy,), replications=10, until=narrow).run()
    interval = found.interval("noisy")
    assert interval.n > 10
    assert interval.half_width <= 0.5 or interval.n == 60
    first = Experiment(short(), figures=(noisy,), replications=interval.n).run()
    assert first.runs["noisy"].tolist() == found.runs["noisy"].tolist()  # the same replications as without the rule
    with pytest.raises(ConfigError, match="at least 10"):
        Experiment(short(), replications=3, until=narrow)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"design": [{"no.such": 1}]}, r"point 0 \(no.such=1\): .*there is no 'no'"),
        ({"replications": 0}, "at least one"),
        ({"confidence": 95}, "confidence = 95: must be between 0 and 1"),
        ({"replications": 2_000_000}, "at least one"),
        ({"figures": ("a", "a")}, "the same name"),
        ({"warm_up": "welch", "figures": (latencies,)}, "warm_up = 'welch'"),
        ({"warm_up": "mser", "figures": ("latency_p95_s",)}, "a function and gives an array"),
        ({"figures": ("latency_p95_ss",)}, "no figure 'latency_p95_ss'; did you mean 'latency_p95_s'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Experiment(short(), **arguments)


def test_workers_and_backends_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CONNECT_TIMEOUT_S", 0.5)
    experiment = Experiment(short(), replications=1)
    with pytest.raises(ConfigError, match="workers = 0"):
        experiment.run(workers=0)
    with pytest.raises(ConfigError, match="no Dask scheduler answers"):
        experiment.run(dask="tcp://127.0.0.1:1")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make the folder"):
        experiment.run(folder=tmp_path / "file")


@pytest.mark.slow
@pytest.mark.parallel
def test_rows_do_not_depend_on_where_they_ran() -> None:
    experiment = Experiment(short(), CAPS, FIGURES, replications=3)
    pd.testing.assert_frame_equal(experiment.run(workers=2).runs, outcome().runs)
    pd.testing.assert_frame_equal(experiment.run(dask="local", workers=2).runs, outcome().runs)


@pytest.mark.slow
def test_a_dask_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    import distributed

    experiment = Experiment(short(), CAPS, ("latency_p95_s", deliveries), replications=20)
    expected = experiment.run(workers=2).runs
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster:
        killed: list[int] = []

        def kill_one(progress: Progress) -> None:
            if progress.done > 4 and not killed:
                nanny = next(iter(cluster.workers.values()))
                killed.append(nanny.pid)
                nanny.process.process._process.kill()

        found = experiment.run(dask=cluster.scheduler_address, report=kill_one).runs
    assert killed
    pd.testing.assert_frame_equal(found, expected)


@pytest.fixture(autouse=True)
def _no_warnings_of_dask() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
