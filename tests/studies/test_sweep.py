"""Sweeps: equal results on any number of workers, honest intervals, and pairs on common random numbers."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation.scenario.faults import Reset
from simulation.scenario.scenario import Scenario, Workload
from simulation.studies.sweeping import interval, paired, sweep
from tests.simulation.worlds import calm

ROOT = Path(__file__).parents[2]
GRID = {"client.policy.cap_s": [1.0, 30.0], "groups.c.path.latency_s": [0.01, 0.1]}


def short() -> Scenario:
    return calm(horizon_s=3.0, settle_s=3.0, faults=(Reset(at_s=1.5),))


@cache
def runs() -> pd.DataFrame:
    return sweep(short(), GRID, replications=3)


def test_every_point_has_every_replication() -> None:
    assert len(runs()) == 2 * 2 * 3
    assert (runs().groupby(list(GRID))["replication"].apply(list).map(tuple) == (0, 1, 2)).all()
    assert runs()["scenario"].nunique() == 4
    assert (runs()["violated"] == "").all()


def test_points_share_their_chance() -> None:
    by_replication = runs().groupby("replication")["published"].nunique()
    assert (by_replication == 1).all()  # the same work in every point
    assert runs()["published"].nunique() > 1


def test_an_interval_is_that_of_student() -> None:
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, math.nan], "replication": range(4)})
    row = interval(table, "x").iloc[0]
    half = 4.302653 * 1.0 / math.sqrt(3)  # t(0.975, 2) times the standard error
    assert (row["mean"], row["replications"], row["missing"]) == (2.0, 3, 1)
    assert row["high"] - row["mean"] == pytest.approx(half, rel=1e-6)
    alone = interval(table.head(1), "x").iloc[0]
    assert alone["mean"] == 1.0
    assert math.isnan(alone["low"])


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    from random import Random

    chance = Random(5)
    covered = 0
    for _ in range(200):
        table = pd.DataFrame({"x": [chance.expovariate(1.0) + chance.random() for _ in range(12)], "replication": range(12)})
        row = interval(table, "x", confidence=0.9).iloc[0]
        covered += row["low"] <= 1.5 <= row["high"]
    assert 0.82 <= covered / 200 <= 0.97


def test_a_pair_is_subtracted_replication_by_replication() -> None:
    table = pd.DataFrame(
        {"v": ["a"] * 3 + ["b"] * 3, "x": [1.0, 5.0, 9.0, 2.0, 6.1, 9.9], "seed": 1, "replication": [0, 1, 2] * 2}
    )
    row = paired(table, "x", by="v").iloc[0]
    assert (row["v"], row["against"]) == ("b", "a")
    assert row["mean"] == pytest.approx(1.0)
    assert row["high"] - row["low"] < 0.6  # the values themselves differ by eight
    far = sweep(calm(workload=Workload(chat_per_s=2.0)), {"groups.c.path.latency_s": [0.01, 0.1]}, replications=3)
    longer = paired(far, "latency_p50_s", by="groups.c.path.latency_s").iloc[0]
    assert longer["low"] > 0.15


def test_runs_of_one_replication_do_not_count_as_independent() -> None:
    other = "groups.c.path.latency_s"
    with pytest.raises(ConfigError, match=r"several runs of one replication with the same client\.policy\.cap_s: name the other"):
        interval(runs(), "published", by="client.policy.cap_s")
    with pytest.raises(ConfigError, match="several runs of one replication: name"):
        interval(runs(), "published")
    with pytest.raises(ConfigError, match="several runs of one replication with the same"):
        paired(runs(), "published", by="client.policy.cap_s")
    assert interval(runs(), "published", by=list(GRID))["replications"].tolist() == [3] * 4
    assert paired(runs()[runs()[other] == 0.1], "published", by="client.policy.cap_s")["replications"].tolist() == [3]


def test_nothing_is_a_value_like_any_other_and_a_setting_without_a_figure_is_listed() -> None:
    """A part that is left out is None in a grid; a figure may be missing in every run of a setting."""
    table = pd.DataFrame(
        {"v": [None, None, "a", "a", "b", "b"], "x": [1.0, 2.0, 3.0, 5.0, math.nan, math.nan], "replication": [0, 1] * 3}
    )
    means = interval(table, "x", by="v")
    assert pd.isna(means["v"].iloc[0])
    assert means["mean"].tolist()[:2] == [1.5, 4.0]
    found = paired(table, "x", by="v")
    assert found["v"].tolist() == ["a", "b"]
    assert found["against"].isna().all()
    assert found["replications"].tolist() == [2, 0]
    assert found["mean"].iloc[0] == 2.5


def test_a_grid_that_makes_no_sense_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="there is no 'no'"):
        sweep(short(), {"no.such": [1]})
    with pytest.raises(ConfigError, match="a list of values"):
        sweep(short(), {"horizon_s": []})
    with pytest.raises(ConfigError, match="at least one"):
        sweep(short(), replications=0)
    with pytest.raises(ConfigError, match="no column 'latency'"):
        interval(runs(), "latency")


SCRIPT = """
from simulation.studies.sweeping import sweep
from tests.studies.test_sweep import short
if __name__ == "__main__":
    runs = sweep(short(), {{"client.policy.cap_s": [1.0, 30.0]}}, replications=2, workers={workers})
    print(runs.to_json(orient="records", double_precision=15))
"""


@pytest.mark.slow
@pytest.mark.parallel
def test_traces_are_byte_equal_on_any_number_of_workers_and_any_hash_seed(tmp_path: Path) -> None:
    """A difference is named by run and column. Before one is blamed on chance: the three processes import the sources one after
    the other, so they differ as well if the tree is changed (a merge, say) while the test runs; then the trace does."""
    found = []
    before = _sources()
    for workers, hash_seed in ((1, "0"), (2, "1"), (2, "77")):
        script = tmp_path / f"{workers}.py"
        script.write_text(SCRIPT.format(workers=workers))
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    if _sources() != before:
        pytest.skip("the sources were changed while the test ran: its processes ran different code")
    for other in found[1:]:
        for place, (row, own) in enumerate(zip(found[0], other, strict=True)):
            assert {name for name in row | own if row.get(name) != own.get(name)} == set(), f"run {place}"


def _sources() -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for part in ("reference", "simulation") for path in (ROOT / part).rglob("*.py")}


INTERRUPTED = """
version = 1
name = "interrupted"
scenario = "scenario.toml"
replications = 5
figures = ["interruption_p99_s", "recovery_p99_s"]
design = { kind = "latin_hypercube", points = 40 }

[parameters]
"client.policy.cap_s" = { low = 1, high = 60, scale = "log" }
"server.config.first_spread_s" = { low = 0, high = 5 }
"""


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_goes_on_and_equals_an_uninterrupted_one(tmp_path: Path, with_signal: signal.Signals) -> None:
    (tmp_path / "scenario.toml").write_text(short().to_toml())
    points = 40 if with_signal is signal.SIGINT else 150  # rows are kept every five seconds: there must be more to do after that
    (tmp_path / "study.toml").write_text(INTERRUPTED.replace("points = 40", f"points = {points}"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def sweep_into(out: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "simulation.cli", "sweep", "study.toml", "--workers", "1", "--out", out]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    first = sweep_into("broken")
    assert first.stdout is not None
    for line in first.stdout:
        if int((re.match(r"\d+(?= of )", line) or "0")[0]) >= 80:  # the next runs are under way
            break
    if with_signal is signal.SIGKILL:
        written_by = time.monotonic() + 60
        while not list((tmp_path / "broken").glob("rows-*.parquet")) and first.poll() is None and time.monotonic() < written_by:
            time.sleep(0.02)
    first.send_signal(with_signal)
    first.communicate(timeout=60)
    assert not (tmp_path / "broken" / "runs.parquet").exists() or first.returncode == 0
    again = sweep_into("broken")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    if with_signal is signal.SIGINT:
        assert "from an earlier run" in said
    whole = sweep_into("whole")
    said, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    for name in ("runs.parquet", "points.parquet", "metadata.json"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
