"""Tuning: scores and constraints, selection on common random numbers, the search on a problem with a known answer."""

import dataclasses
import math
import random
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from reference.client import ClientSettings
from reference.protocol.config import ServerConfig
from reference.protocol.errors import ConfigError
from simulation.cli import run
from simulation.scenario.faults import LoadBalancerCut
from simulation.scenario.scenario import load_scenario
from simulation.studies import Choice, Range
from simulation.studies.execution import Row, Task
from simulation.studies.statistics import t_interval
from simulation.studies.study import load_study
from simulation.studies.tuning import search as tuning_search
from simulation.studies.tuning.evaluation import Evaluator
from simulation.studies.tuning.question import Constraint, Objective, Scorer, Tune, by_replication, mean_figures
from simulation.studies.tuning.report import conclusions, settings, write
from simulation.studies.tuning.search import BASELINE, Tuned, tune
from simulation.studies.tuning.selection import pareto_front, select
from simulation.studies.tuning.sensitivity import sensitivity
from simulation.studies.tuning.space import point_of
from tests.simulation.worlds import QUIET, calm

STUDY = """
version = 1
name = "cut"
scenario = "scenario.toml"

[parameters]
"client.policy.base_s" = { low = 0.1, high = 20.0, scale = "log" }
"server.config.first_spread_s" = { low = 0.0, high = 10.0 }

[tune]
objectives = [{ figure = "interruption_p99_s" }]
trials = 10
batch = 5
replications = 1
finalists = 2
final_replications = 5
final_replications_max = 5
compare_presets = false
"""
ONE = 'scenario = "scenario.toml"'
NAMED_TUNED = '{ scenario = "scenario.toml", set = { name = "calm-tuned" } }'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuning")
    cut = LoadBalancerCut(at_s=2.0, duration_s=0.5, share=1.0)
    scenario = calm(clients=5, horizon_s=5.0, settle_s=30.0, workload=QUIET, faults=(cut,))
    (path / "scenario.toml").write_text(scenario.to_toml())
    (path / "study.toml").write_text(STUDY)
    return path


@pytest.fixture(scope="module")
def tuned(folder: Path) -> Tuned:
    return tune(load_study(folder / "study.toml"), folder, folder=folder / "runs")


def test_a_shorter_wait_is_found_where_nothing_speaks_against_it(tuned: Tuned) -> None:
    assert tuned.best is not None
    assert tuned.best.score < 0.9
    assert tuned.best.point["server.config.first_spread_s"] < 5.0
    assert tuned.selection is not None
    assert tuned.selection.is_good > 0.5
    assert len(tuned.trials) == 10
    assert {each.name for each in tuned.finalists} >= {BASELINE, tuned.best.name}
    assert next(each for each in tuned.finalists if each.name == BASELINE).score == pytest.approx(1.0)


def test_the_setting_as_it_is_can_be_kept(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "study.toml")
    asked = msgspec.structs.replace(study.tuning, keep_baseline=True, delta=1.0)
    kept = tune(msgspec.structs.replace(study, tune=asked), folder, folder=folder / "runs")
    assert kept.best is not None
    assert (kept.best.name, kept.best.point) == (BASELINE, {})
    said = conclusions(kept)
    assert said[0] == "Kept: the setting as it is."
    assert any(line.startswith("The lowest score is that of client.policy.base_s=") for line in said)
    assert {path.name for path in write(kept, tmp_path)} >= {"report.html", "client.toml"}


def test_the_answer_repeats_and_goes_on_from_a_folder(tuned: Tuned, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulation.studies import experiment

    def must_not_run(*_: object) -> None:
        raise AssertionError("everything is in the folder")

    monkeypatch.setattr(experiment, "run_task", must_not_run)
    again = tune(load_study(folder / "study.toml"), folder, folder=folder / "runs")
    pd.testing.assert_frame_equal(again.table(), tuned.table())
    assert [trial.point for trial in again.trials] == [trial.point for trial in tuned.trials]


@pytest.mark.slow
@pytest.mark.parallel
def test_the_rows_of_a_folder_are_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tuning makes some ten experiments in one folder. Each file is read when the tuning goes on from it, and only then."""
    read: Counter[Path] = Counter()
    whole = pd.read_parquet

    def counted(path: Path) -> pd.DataFrame:
        read[path] += 1
        return whole(path)

    monkeypatch.setattr(pd, "read_parquet", counted)
    tune(load_study(folder / "study.toml"), folder, folder=tmp_path)
    assert not read
    tune(load_study(folder / "study.toml"), folder, folder=tmp_path)
    files = list(tmp_path.glob("rows-*.parquet"))
    assert len(files) >= 3, "of the baseline, the trials and the finals"
    assert read == Counter(files)


@pytest.mark.slow
@pytest.mark.parallel
def test_no_run_is_repeated_without_a_folder_either(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simulation.studies import experiment

    ran: Counter[str] = Counter()
    run_task = experiment.run_task

    def counted(task: Task) -> Row:
        ran[task.digest] += 1
        return run_task(task)

    monkeypatch.setattr(experiment, "run_task", counted)
    study = load_study(folder / "study.toml")
    asked = msgspec.structs.replace(study.tuning, compare_presets=True, preset_replications=2)
    found = tune(msgspec.structs.replace(study, tune=asked), folder)
    assert len(found.presets) > 20, "compared with the baseline, which had run in the finals"
    assert set(ran.values()) == {1}


def test_the_answer_is_written_as_settings_that_are_read_back(tuned: Tuned, tmp_path: Path) -> None:
    from reference.server.settings import load_settings

    paths = write(tuned, tmp_path)
    assert [path.name for path in paths] == ["report.html", "client.toml", "server.toml"]
    assert tuned.best is not None
    protocol: ServerConfig = load_settings(tmp_path / "server.toml").protocol
    assert protocol.first_spread_s == tuned.best.point["server.config.first_spread_s"]
    client = ClientSettings.load(tmp_path / "client.toml")
    assert client.policy == tuned.tuned_scenarios[0].client.policy
    assert client.config == tuned.tuned_scenarios[0].client.config
    page = (tmp_path / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded from elsewhere
    for sentence in conclusions(tuned)[1:3]:
        assert sentence.split(",")[0] in page
    assert page.count("<img") == 2
    assert len(pd.read_parquet(tmp_path / "trials.parquet")) == 10
    tuned_file = load_scenario(tmp_path / "scenarios" / "calm-tuned.toml")
    assert tuned_file == tuned.tuned_scenarios[0].replace(name="calm-tuned")
    assert load_scenario(tmp_path / "scenarios" / "calm.toml") == tuned.scenarios[0]


def test_the_worst_score_is_the_same_number_in_selection_and_table(folder: Path) -> None:
    """The mean of the worst scores would be above the worst of the mean scores: even the baseline's would be above 1. Compared
    with itself, the baseline is 1 without any doubt."""
    several = 'scenarios = [{ scenario = "scenario.toml" }, { scenario = "scenario.toml", set = { name = "other", seed = 2 } }]'
    (folder / "several.toml").write_text(STUDY.replace(ONE, several).replace("trials = 10", "trials = 5"))
    found = tune(load_study(folder / "several.toml"), folder, folder=folder / "runs")
    assert found.selection is not None
    worst = {each.name: each.score for each in found.finalists}
    assert {name: interval.mean for name, interval in found.selection.scores.items()} == pytest.approx(worst)
    assert worst[BASELINE] == pytest.approx(1.0)
    widths = {name: interval.half_width for name, interval in found.selection.scores.items()}
    assert widths.pop(BASELINE) == 0
    assert all(width > 0 for width in widths.values())


def test_a_score_by_replication_is_that_of_the_replication_where_it_is_linear() -> None:
    asked = Tune(objectives=(Objective("a"), Objective("b", weight=3.0)), combine="weighted")
    scorer = Scorer(asked, [{"a": 2.0, "b": 4.0}, {"a": 1.0, "b": 5.0}], [1.0, 2.0])
    chance = random.Random(1)
    runs = [[{"a": chance.random(), "b": chance.random()} for _ in range(6)] for _ in range(2)]
    each = [scorer.score([of[k] for of in runs]) for k in range(6)]
    assert by_replication(scorer, Scorer.score, runs, asked.figures) == pytest.approx(each)
    runs[1][3] = {"a": math.inf, "b": 1.0}
    scores = by_replication(scorer, Scorer.score, runs, asked.figures)
    assert [math.isinf(score) for score in scores] == [k == 3 for k in range(6)]
    more = Scorer(Tune(objectives=(Objective("a", goal="max"),)), [{"a": 0.5}], [1.0])
    assert math.fsum(by_replication(more, Scorer.score, runs[:1], ("a",))) / 6 == pytest.approx(
        more.score([mean_figures(runs[0], ("a",))])
    )


RATIO, TIMES, TRIALS = 0.8, 10, 60


def score_intervals(common: float, of_base: float, of_value: float) -> tuple[float, float]:
    """Of many tunings with a true score of `RATIO`: how often the 95 % interval of the score covers it, and its mean width.

    The baseline's figure has the mean 10, the setting's 10 * RATIO. Both are made of gamma distributed parts: one that they share
    (common random numbers) of variance `common`, and one of its own each.
    """
    asked = Tune(objectives=(Objective("a"),))
    random_source = np.random.default_rng(11)

    def part(variance: float) -> np.ndarray:
        return math.sqrt(variance) * (random_source.gamma(25.0, 1.0, TIMES) - 25.0) / 5.0

    covered, widths = 0, []
    for _ in range(TRIALS):
        shared = 10.0 + part(common)
        base, value = shared + part(of_base), RATIO * (shared + part(of_value))
        runs, baseline = ([[{"a": float(each)} for each in values]] for values in (value, base))
        scorer = Scorer(asked, [mean_figures(baseline[0], ("a",))], [1.0], runs=baseline)
        interval = t_interval(by_replication(scorer, Scorer.score, runs, ("a",)))
        assert interval.mean == pytest.approx(math.fsum(value) / math.fsum(base))
        covered += interval.low <= RATIO <= interval.high
        widths.append(interval.high - interval.low)
    return covered / TRIALS, math.fsum(widths) / TRIALS


@pytest.mark.parametrize(("common", "of_base", "of_value"), [(0.0, 9.0, 1.0), (0.0, 4.0, 4.0), (4.0, 0.04, 0.04)])
def test_the_interval_of_a_score_covers_it_although_the_baseline_is_an_estimate(
    common: float, of_base: float, of_value: float
) -> None:
    """With an exact baseline it would cover the true score in half of the tunings in the first case, and in the last, where both
    vary together, be seven times too wide."""
    covered, width = score_intervals(common, of_base, of_value)
    assert 0.88 <= covered <= 1.0
    by_delta_method = RATIO * math.sqrt((of_base + of_value) / TIMES) / 10  # of a standard error
    assert width == pytest.approx(2 * 2.262157 * by_delta_method, rel=0.12)  # t(0.975, 9) from the table


def test_a_baseline_is_compared_replication_by_replication() -> None:
    baseline = [[{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 1.0}, {"a": 2.0, "b": 1.0}]]
    asked = Tune(objectives=(Objective("a"), Objective("b")))
    scorer = Scorer(asked, [mean_figures(baseline[0], ("a", "b"))], [1.0], runs=baseline)
    assert [each.baseline[0]["a"] for each in scorer.without] == [2.5, 1.5, 2.0]
    assert all(math.isnan(each.baseline[0]["b"]) for each in scorer.without), "what it lacks does not count in any"
    assert by_replication(scorer, Scorer.score, baseline, ("a", "b")) == [1.0] * 3
    with pytest.raises(ValueError, match="2 replications against 3"):
        by_replication(scorer, Scorer.score, [baseline[0][:2]], ("a",))


def test_every_interval_has_the_confidence_that_is_asked_for(folder: Path) -> None:
    chance = random.Random(4)
    scores = [chance.gauss(1, 0.1) for _ in range(10)]
    assert select({"a": scores}, delta=0.0, confidence=0.8).scores["a"] == t_interval(scores, 0.8)
    assert select({"a": scores, "b": [1.0, math.inf] * 5}, delta=0.0).scores["b"].mean == math.inf
    study = load_study(folder / "study.toml")
    asked = msgspec.structs.replace(study.tuning, compare_presets=True, preset_replications=2)
    widths = []
    for confidence in (0.95, 0.8):
        tuning = msgspec.structs.replace(asked, confidence=confidence)
        found = tune(msgspec.structs.replace(study, tune=tuning), folder, folder=folder / "runs")
        assert found.against is not None
        widths.append(found.against.set_index("preset")["high"] - found.against.set_index("preset")["low"])
    assert (widths[1] < widths[0]).all()


def test_constraints_that_nothing_keeps_are_said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    text = STUDY.replace("trials = 10", "trials = 5").replace(
        "[tune]", "[tune]\nconstraints = [{ figure = 'reconnections', most = 1 }]"
    )
    (folder / "never.toml").write_text(text.replace('"cut"', '"never"'))
    assert run(["tune", "never.toml", "--workers", "1"]) == 1
    printed = capsys.readouterr().out
    assert "No setting of 5 keeps every constraint. The nearest misses by 400%" in printed
    assert not (folder / "never.tune" / "client.toml").exists()


def test_settings_that_keep_the_constraints_and_never_end_are_said(tuned: Tuned) -> None:
    asked = msgspec.structs.replace(tuned.study.tuning, constraints=(Constraint("reconnections", most=100),))
    endless = tuple(dataclasses.replace(trial, score=math.inf, excesses=(-0.5,)) for trial in tuned.trials)
    study = msgspec.structs.replace(tuned.study, tune=asked)
    said = conclusions(dataclasses.replace(tuned, study=study, trials=endless, selection=None))
    assert said == [
        "No setting of 10 that keeps the constraints has a score: in each, something that an objective measures never ended."
    ]


def test_candidates_are_judged_even_if_no_trial_keeps_the_constraints(folder: Path) -> None:
    text = STUDY.replace("low = 0.1, high = 20.0", "low = 19.0, high = 20.0").replace("trials = 10", "trials = 2")
    text += "score_most = 1.0\ncandidates = [{ 'client.policy.base_s' = 0.1 }]\n"
    (folder / "late.toml").write_text(text)
    found = tune(load_study(folder / "late.toml"), folder, folder=folder / "runs")
    assert not any(trial.is_feasible for trial in found.trials)
    assert {each.name for each in found.finalists} == {BASELINE, "candidate 1"}
    assert found.best is not None
    assert found.best.name == "candidate 1"


def test_a_constraint_moves_the_answer(folder: Path) -> None:
    study = load_study(folder / "study.toml")
    free = tune(study, folder, folder=folder / "runs")
    assert free.best is not None
    bound = free.baseline.figures[0]["interruption_p99_s"]
    asked = msgspec.structs.replace(study.tuning, constraints=(Constraint("interruption_p50_s", least=0.3 * bound),))
    bounded = tune(msgspec.structs.replace(study, tune=asked), folder, folder=folder / "runs")
    assert bounded.best is not None
    assert bounded.best.figures[0]["interruption_p50_s"] >= 0.3 * bound


def test_scores_are_ratios_to_the_baseline() -> None:
    asked = Tune(objectives=(Objective("a"), Objective("b", goal="max", weight=3.0)), constraints=(Constraint("c", most=10),))
    scorer = Scorer(asked, [{"a": 2.0, "b": 4.0, "c": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}], [1.0, 1.0])
    first, second = {"a": 1.0, "b": 8.0, "c": 12.0}, {"a": 3.0, "b": 1.0, "c": 5.0}
    assert scorer.ratio(asked.objectives[0], 1.0, 0) == 0.5
    assert scorer.ratio(asked.objectives[1], 8.0, 0) == 0.5
    assert scorer.score([first, second]) == pytest.approx((3.0 + 3 * 1.0) / 4)  # the worst scenario
    weighted = Scorer(msgspec.structs.replace(asked, combine="weighted"), scorer.baseline, [3.0, 1.0])
    assert weighted.score([first, second]) == pytest.approx((3 * 0.5 + 1.5) / 4)
    assert scorer.excesses([first, second]) == [pytest.approx(0.2)]
    assert math.isinf(scorer.score([{**first, "a": math.nan}, second]))


def test_a_missing_value_is_no_advantage() -> None:
    assert math.isnan(mean_figures([{"a": 1.0}, {"a": math.nan}], ("a",))["a"])
    assert Constraint("a", most=1).excess(math.nan) == math.inf


def test_selection_knows_what_it_does_not_know() -> None:
    chance = random.Random(1)
    luck = [chance.gauss(0, 1) for _ in range(30)]
    scores = {
        "best": [1.0 + each for each in luck],
        "as good": [1.001 + each + chance.gauss(0, 0.01) for each in luck],
        "worse": [1.2 + each + chance.gauss(0, 0.01) for each in luck],
    }
    found = select(scores, delta=0.05)
    assert found.best in ("best", "as good")
    assert set(found.tied) == {"best", "as good"} - {found.best}
    assert found.is_good == 1.0
    assert found.is_best < 1.0


def test_what_is_in_use_is_kept_unless_another_is_better_by_more_than_delta() -> None:
    chance = random.Random(3)
    luck = [chance.gauss(0, 1) for _ in range(20)]
    scores = {
        "in use": [1.0 + each for each in luck],
        "better": [0.9 + each + chance.gauss(0, 0.01) for each in luck],
        "a little better": [0.97 + each + chance.gauss(0, 0.01) for each in luck],
    }
    changed = select(scores, delta=0.05, keep="in use")
    assert (changed.best, changed.lowest) == ("better", "better")
    kept = select(scores, delta=0.12, keep="in use")
    assert (kept.best, kept.lowest) == ("in use", "better")
    assert (kept.is_best, kept.is_good) == (0.0, 1.0)
    assert kept.differences["better"].high < 0
    assert set(kept.tied) == {"better", "a little better"}
    unsure = select(scores, delta=0.099, keep="in use")  # better by 0.1, but the interval reaches below that
    assert unsure.best == "in use"
    assert 0 < unsure.is_good < 1
    assert select(scores, delta=0.12).best == "better", "nothing is kept unless it is asked for"
    never = {**scores, "in use": [math.inf] * 20}
    assert select(never, delta=0.5, keep="in use").best == "better", "a setting that fails is not kept"


def test_the_probability_of_a_right_selection_is_as_often_right() -> None:
    chance = random.Random(2)
    right, said = 0, 0.0
    for _ in range(200):
        scores = {name: [mean + chance.gauss(0, 0.5) for _ in range(20)] for name, mean in (("a", 1.0), ("b", 1.1), ("c", 1.15))}
        found = select(scores, delta=0.0, resamples=400)
        right += found.best == "a"
        said += found.is_best
    assert said / 200 == pytest.approx(right / 200, abs=0.1)


def test_a_setting_that_once_fails_its_objective_loses() -> None:
    found = select({"a": [0.1, math.inf, 0.1], "b": [0.5, 0.6, 0.5]}, delta=0.0)
    assert found.best == "b"
    with pytest.raises(ValueError, match="no setting has a score"):
        select({"a": [math.inf, 1.0]}, delta=0.0)


def test_the_front_is_what_nothing_beats() -> None:
    assert pareto_front([(1, 4), (2, 2), (4, 1), (3, 3), (2, 2)]) == [0, 1, 2, 4]


def test_ranges_below_a_choice_exist_where_it_is_chosen() -> None:
    space = {"p": Choice(({"kind": "a", "x": {"low": 1, "high": 2}}, {"kind": "b"})), "q": Range(0, 1)}
    asked: list[str] = []

    def draw(name: str, parameter: Range | Choice) -> object:
        asked.append(name)
        return 0 if isinstance(parameter, Choice) else parameter.low

    assert point_of(space, draw) == {"p": {"kind": "a", "x": 1}, "q": 0}
    assert asked == ["p", "p.0.x", "q"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[tune]", "[tuned]"), "did you mean 'tune'"),
        (("interruption_p99_s", "interruption_p98_s"), "did you mean"),
        (("low = 0.1", "low = 30.0"), "low < high"),
        (("objectives = [{ figure", "objectives = [{ figures"), "figures"),
        (("client.policy.base_s", "client.policy.bas_s"), "no setting of the space makes a scenario"),
        (("trials = 10", "trials = 1"), "trials"),
        ((ONE, 'scenarios = ["scenario.toml", "scenario.toml"]'), "two scenarios of the study have the same name"),
        ((ONE, f'scenarios = ["scenario.toml", {NAMED_TUNED}]'), "'calm-tuned' is a scenario, and the name of 'calm' with the"),
        ((ONE, f'{ONE}\n[set]\nname = "{"x" * 64}"'), "is too long; give the scenario another name"),
    ],
)
def test_a_question_that_cannot_be_asked(folder: Path, change: tuple[str, str], says: str) -> None:
    (folder / "wrong.toml").write_text(STUDY.replace(*change))
    with pytest.raises(ConfigError, match=says):
        tune(load_study(folder / "wrong.toml"), folder)


def test_a_client_that_never_falls_back_is_read_back_so(tuned: Tuned, tmp_path: Path) -> None:
    never = tuple(each.replace({"client.config.fallback_after_failures": None}) for each in tuned.scenarios)
    (tmp_path / "client.toml").write_text(settings(dataclasses.replace(tuned, scenarios=never))["client.toml"])
    assert ClientSettings.load(tmp_path / "client.toml").config.fallback_after_failures is None


@pytest.mark.parametrize("seed", range(1, 7))
def test_a_search_may_end_with_a_setting_that_makes_no_scenario(folder: Path, seed: int) -> None:
    """The cap is 30 s and may not be below the base, so nearly half of the settings are left out: at times the last one."""
    study = load_study(folder / "study.toml")
    asked = msgspec.structs.replace(study.tuning, trials=5, batch=1)
    evaluator = Evaluator(msgspec.structs.replace(study, tune=asked), folder, workers=1, dask=None, folder=None)
    scorer = evaluator.scorer(1, fresh=False)
    space = {"client.policy.base_s": Range(20.0, 38.0)}
    trials = tuning_search._search(evaluator, space, seed, scorer, lambda _: None, None)
    assert 1 <= len(trials) <= 5
    assert all(trial.point["client.policy.base_s"] <= 30.0 for trial in trials)


@pytest.mark.slow
@pytest.mark.parallel
def test_what_matters_is_found(folder: Path) -> None:
    idle = '"client.config.retry_limit" = { low = 1, high = 9, whole = true }'  # nobody publishes: it changes nothing
    text = STUDY.replace('"server.config.first_spread_s" = { low = 0.0', '"client.policy.floor_s" = { low = 0.0')
    (folder / "idle.toml").write_text(text.replace("[tune]", f"{idle}\n\n[tune]"))
    table = sensitivity(load_study(folder / "idle.toml"), folder, folder=folder / "runs").set_index("parameter")
    assert table.loc["client.config.retry_limit", "mu_star"] == 0.0
    assert table.loc["client.policy.base_s", "mu_star"] > 1.0
    assert "client.config.retry_limit" not in table[table["S1"].notna()].index
    for value in ("mu_star", "S1", "ST"):
        strong = table.loc[["client.policy.base_s", "client.policy.floor_s"]]
        assert (strong[f"{value}_low"] < strong[value]).all()
        assert (strong[value] < strong[f"{value}_high"]).all()
    study = load_study(folder / "idle.toml")
    study = msgspec.structs.replace(study, tune=msgspec.structs.replace(study.tuning, confidence=0.8))
    narrow = sensitivity(study, folder, folder=folder / "runs").set_index("parameter")
    for value in ("mu_star", "S1", "ST"):
        widths = [(each[f"{value}_high"] - each[f"{value}_low"])["client.policy.base_s"] for each in (narrow, table)]
        assert widths[0] / widths[1] == pytest.approx(1.281552 / 1.959964)  # of the normal law, from the table


def test_settings_of_a_preset_are_its_formula(folder: Path) -> None:
    text = STUDY.replace('"client.policy.base_s" = { low = 0.1, high = 20.0, scale = "log" }', "").replace(
        '"server.config.first_spread_s" = { low = 0.0, high = 10.0 }',
        '"client.policy" = { values = [{ kind = "preset", preset = "phoenix" }, { kind = "preset", preset = "sip-outbound" }] }',
    )
    (folder / "presets.toml").write_text(text)
    found = tune(load_study(folder / "presets.toml"), folder, folder=folder / "runs")
    assert found.best is not None
    assert found.best.point["client.policy"]["preset"] == "phoenix"
    assert 'kind = "schedule"' in settings(found)["client.toml"]
