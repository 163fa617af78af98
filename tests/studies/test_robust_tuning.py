"""Tuning over several scenarios: where an objective counts, settings that always take part, presets, and other scales."""

import dataclasses
import math
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation.scenario.faults import LoadBalancerCut
from simulation.studies import library, load_study
from simulation.studies.statistics import Interval, t_interval
from simulation.studies.study import parse_study
from simulation.studies.tuning import search
from simulation.studies.tuning.presets import beaten_by, ratios, verdict
from simulation.studies.tuning.presets import sentences as sentences_of_presets
from simulation.studies.tuning.question import Constraint, Objective, Scorer, Tune
from simulation.studies.tuning.report import comparison, conclusions, write
from simulation.studies.tuning.scale_check import mean_of_all, sentences
from simulation.studies.tuning.search import BASELINE, Tuned, tune
from tests.simulation.worlds import QUIET, calm

STUDY = """
version = 1
name = "robust"
scenarios = [
    { scenario = "load_balancer_cut", scale = 1000, set = { "horizon_s" = 35, "settle_s" = 10 } },
    { scenario = "elevator", set = { "horizon_s" = 20, "settle_s" = 20, "faults" = [OUTAGE] } },
]

[set]
"server.config.first_spread_s" = 4.0

[parameters]
"client.policy.base_s" = { low = 0.5, high = 2.0 }

[tune]
objectives = [{ figure = "recovery_p99_s" }, { figure = "storm_peak_per_s", scenarios = ["load_balancer_cut"] }]
combine = "weighted"
score_most = 2.0
search = "score"
trials = 2
batch = 2
replications = 1
finalists = 2
final_replications = 5
final_replications_max = 5
preset_replications = 2
compare_presets = false
candidates = [{ "client.policy.base_s" = 0.25 }]
full = { scales = [1000, 500], replications = 2 }
""".replace("OUTAGE", '{ kind = "outage", at_s = 5, duration_s = 12, clients = ["tablet"] }')


SAID: list[str] = []


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "MEASURABLE_S", 0.0)  # however fast this machine is
        return tune(parse_study(STUDY), tmp_path_factory.mktemp("robust"), say=SAID.append)


@pytest.mark.slow
@pytest.mark.parallel
def test_a_candidate_takes_part_and_scales_are_compared(tuned: Tuned, tmp_path: Path) -> None:
    assert {each.name for each in tuned.finalists} >= {BASELINE, "candidate 1"}
    assert any(line.startswith("estimated: ") for line in SAID[:3])
    assert tuned.scales is not None
    assert set(tuned.scales["scale"]) == {1000.0, 500.0}
    assert set(tuned.scales["scenario"]) == {"load_balancer_cut"}, "the elevator is not scaled"
    true = tuned.scales[tuned.scales["scale"] == 500.0]
    assert (true["off"].dropna() == 0).all()
    assert any(line.startswith("At scale 500, load_balancer_cut: recovery_p99_s ") for line in conclusions(tuned))
    assert any(line.startswith("Scale 1000 is off by at most ") for line in conclusions(tuned))
    page = write(tuned, tmp_path)[0].read_text()
    assert "How far the scaled answer is from the full one" in page


@pytest.mark.slow
@pytest.mark.parallel
def test_no_row_of_the_comparison_is_cut_off(tuned: Tuned) -> None:
    (axes,) = comparison(tuned).axes
    low, high = axes.get_ylim()
    assert all(low + 0.5 <= row <= high - 0.5 for row in axes.get_yticks())


def asked(**changes: object) -> Tune:
    return msgspec.structs.replace(Tune(objectives=(Objective("a"), Objective("b", scenarios=("storm",)))), **changes)


def test_an_objective_counts_where_it_is_asked_for_and_measured() -> None:
    baseline = [{"a": 2.0, "b": 10.0}, {"a": 1.0, "b": 1.0}]
    scorer = Scorer(asked(), baseline, [1.0, 1.0], ("storm", "lift"))
    assert scorer.scores([{"a": 1.0, "b": 5.0}, {"a": 1.0, "b": 99.0}]) == [0.5, 1.0]
    nobody = Scorer(asked(), [{"a": math.nan, "b": 10.0}, {"a": 1.0, "b": 1.0}], [1.0, 1.0], ("storm", "lift"))
    assert nobody.scores([{"a": math.nan, "b": 5.0}, {"a": 2.0, "b": 99.0}]) == [0.5, 2.0]
    assert nobody.objective(Objective("a"), [{"a": math.nan}, {"a": 2.0}]) == 2.0
    with pytest.raises(ConfigError, match="scenario 2 has none of the objectives"):
        Scorer(asked(), [{"a": 1.0, "b": 1.0}, {"a": math.nan, "b": 1.0}], [1.0, 1.0], ("storm", "lift"))


def test_a_constraint_binds_where_it_is_asked_for() -> None:
    bound = Constraint("b", most=5.0, scenarios=("storm",))
    scorer = Scorer(asked(constraints=(bound,)), [{"a": 1.0, "b": 1.0}] * 2, [1.0, 1.0], ("storm", "lift"))
    assert scorer.excesses([{"a": 1.0, "b": 4.0}, {"a": 1.0, "b": 50.0}]) == [pytest.approx(-0.2)]
    assert scorer.excesses([{"a": 1.0, "b": 10.0}, {"a": 1.0, "b": math.nan}]) == [pytest.approx(1.0)]
    assert scorer.tune.constraint_names == ["b at most 5 in storm"]


def test_a_setting_may_be_worse_by_so_much_in_no_scenario() -> None:
    scorer = Scorer(asked(combine="weighted", score_most=1.05), [{"a": 1.0, "b": 1.0}] * 2, [1.0, 1.0], ("storm", "lift"))
    assert scorer.score([{"a": 0.5, "b": 0.5}, {"a": 1.26, "b": 1.0}]) == pytest.approx(0.88)
    assert scorer.excesses([{"a": 0.5, "b": 0.5}, {"a": 1.26, "b": 1.0}]) == [pytest.approx(0.2)]
    assert scorer.tune.constraint_names == ["score in every scenario at most 1.05"]


def test_a_baseline_that_never_recovers_is_beaten_by_any_that_does() -> None:
    scorer = Scorer(asked(), [{"a": math.inf, "b": 1.0}], [1.0], ("storm",))
    assert scorer.ratio(Objective("a"), 5.0, 0) == 0.0
    assert scorer.ratio(Objective("a"), math.inf, 0) == 1.0


def against(*rows: tuple[str, str, float, float], setting: str = "tuned") -> pd.DataFrame:
    """Comparisons: preset, objective, and the interval of the difference."""
    return pd.DataFrame(
        [
            {"preset": preset, "setting": setting, "objective": objective, "verdict": verdict(Interval(0.0, low, high, 5), 0.02)}
            for preset, objective, low, high in rows
        ]
    )


def test_a_preset_is_beaten_only_by_intervals() -> None:
    table = against(
        ("slow", "a", -0.5, -0.1),
        ("slow", "b", -0.1, 0.1),
        ("poor", "a", -0.5, -0.1),
        ("poor", "b", -0.02, 0.02),
        ("wild", "a", -0.5, -0.1),
        ("wild", "b", 0.2, 0.3),
        ("good", "a", 0.1, 0.2),
        ("good", "b", -0.01, 0.01),
        ("same", "a", -0.1, -0.01),
        ("same", "b", 0.01, 0.1),
    )
    assert beaten_by(table, "tuned") == ["slow", "poor"]
    said = sentences_of_presets(table, "tuned", 0.02)
    assert said == [
        (
            "Better than 2 of 5 presets in an objective by more than 2%, and worse in none: slow, poor. "
            "Shown to be at most 2% worse in every objective: 1 of these."
        ),
        "On one front with wild (better in a; worse in b).",
        "Better in nothing and worse than good (a).",
        "Not told apart from same.",
    ]
    other = against(("wild", "a", -0.5, -0.1), ("wild", "b", -0.1, 0.1), ("good", "a", -0.5, 0.5), setting="trial 3")
    both = sentences_of_presets(pd.concat([table, other]), "tuned", 0.02)
    assert both[:-1] == said
    assert both[-1] == "3 of 5 presets are beaten by at least one of 2 finalists; not beaten: good, same."


@pytest.mark.slow
@pytest.mark.parallel
def test_the_best_presets_run_as_often_as_the_finalists_and_are_compared_with_the_whole_front(tmp_path: Path) -> None:
    cut = LoadBalancerCut(at_s=2.0, duration_s=0.5, share=1.0)
    world = calm(clients=5, horizon_s=5.0, settle_s=30.0, workload=QUIET, faults=(cut,))
    (tmp_path / "scenario.toml").write_text(world.to_toml())
    study = msgspec.structs.replace(
        parse_study(STUDY),
        scenarios=("scenario.toml",),
        parameters={"server.config.first_spread_s": {"low": 0.5, "high": 8.0}},
        tune=Tune(
            objectives=(Objective("recovery_p99_s"), Objective("storm_peak_per_s")),
            trials=6,
            replications=1,
            finalists=3,
            final_replications=5,
            final_replications_max=5,
            preset_replications=2,
            preset_finalists=2,
        ),
    )
    found = tune(study, tmp_path)
    assert found.against is not None
    assert set(found.against["setting"]) == {each.name for each in found.finalists if each.is_feasible}
    runs = found.against.groupby("preset")["n"].first()
    assert sorted(runs) == [2] * (len(runs) - 2) + [5, 5]
    ours = found.against[found.against["preset"] == "steadywire"]
    assert (ours[ours["setting"] == BASELINE]["verdict"] == "equal").all(), "our own preset is the setting as it is"
    assert not any("every constraint" in line for line in conclusions(found)), "nothing is asked"
    broken = [dataclasses.replace(preset, excesses=(1.0,)) for preset in found.presets]
    said = conclusions(dataclasses.replace(found, presets=tuple(broken)))
    assert "Presets that keep every constraint and are not beaten by the chosen setting: none." in said
    assert found.best is not None
    left = next(preset for preset in found.presets if preset.name not in beaten_by(found.against, found.best.name))
    kept = [left, *(preset for preset in broken if preset.name != left.name)]
    said = conclusions(dataclasses.replace(found, presets=tuple(kept)))
    assert f"Presets that keep every constraint and are not beaten by the chosen setting: {left.name}." in said


def test_a_figure_without_an_end_counts_as_a_hundred_times_the_baseline() -> None:
    scorer = Scorer(asked(), [{"a": 2.0, "b": 1.0}], [1.0], ("storm",))
    runs = [[{"a": math.inf, "b": 1.0}, {"a": 4.0, "b": 1.0}]]
    assert ratios(scorer, Objective("a"), runs, 2) == [100.0, 2.0]


def test_sentences_of_scales_say_whether_a_constraint_holds() -> None:
    study = load_study(Path("balancer_cut"))
    about = {"scenario": "cut", "setting": "trial 1", "low": 1.0, "high": 2.0, "n": 5}
    table = pd.DataFrame(
        [
            {**about, "scale": 1.0, "figure": "recovery_p99_s", "mean": 10.0, "off": 0.0},
            {**about, "scale": 10.0, "figure": "recovery_p99_s", "mean": 11.0, "off": 0.1},
            {**about, "scale": 1.0, "figure": "accept_queue_max", "mean": 2000.0, "off": 0.0},
            {**about, "scale": 10.0, "figure": "accept_queue_max", "mean": 900.0, "off": -0.55},
        ]
    )
    said = sentences(table, study.tuning, BASELINE)
    assert said[0] == "At full size, cut: recovery_p99_s 10 [1, 2]."
    assert said[1] == "At full size, cut: accept_queue_max 2000 [1, 2]."
    assert "is BROKEN (2000)" in said[2]
    assert said[3].startswith("Scale 10 is off by at most 55%")


def test_a_figure_that_a_replication_lacks_keeps_no_constraint_at_full_size() -> None:
    assert mean_of_all([1.0, 2.0, 3.0], 0.9) == t_interval([1.0, 2.0, 3.0], 0.9)
    lacking = mean_of_all([1.0, math.nan, 3.0], 0.95)
    assert math.isnan(lacking.mean)
    assert lacking.n == 2
    study = load_study(Path("balancer_cut"))
    about = {"scenario": "cut", "setting": "trial 1", "scale": 1.0, "off": 0.0, **lacking._asdict()}
    table = pd.DataFrame([{**about, "figure": figure} for figure in ("recovery_p99_s", "accept_queue_max")])
    assert "is BROKEN" in sentences(table, study.tuning, BASELINE)[2]


@pytest.mark.parametrize("name", library.names())
def test_every_shipped_study_can_be_asked(name: str) -> None:
    study = load_study(Path(name))
    assert study.scenarios_of(Path())
    assert study.points() if study.tune is None else study.tuning.objectives


def test_a_confirmation_needs_something_scaled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no scenario of this study has a scale"):
        tune(parse_study(STUDY.replace("scale = 1000, ", "")), tmp_path)


def test_an_unknown_study_or_scenario_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="no study is called 'balanced'; there are balancer_cut, defaults, office_cut, thousand"
    ):
        load_study(Path("balanced"))
    wrong = parse_study(STUDY.replace('scenarios = ["load_balancer_cut"]', 'scenarios = ["cut"]'))
    with pytest.raises(ConfigError, match="objective storm_peak_per_s names 'cut', which is no scenario of this study"):
        tune(wrong, tmp_path)
    bound = "[tune]\nconstraints = [{ figure = 'accept_queue_max', most = 1, scenarios = ['lift'] }]"
    with pytest.raises(ConfigError, match="constraint accept_queue_max names 'lift', which is no scenario of this study"):
        tune(parse_study(STUDY.replace("[tune]", bound)), tmp_path)
