"""Study files and `steadywire sweep`."""

from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from reference.protocol.errors import ConfigError
from simulation import Result
from simulation.cli import run
from simulation.cli.studies import print_outcome
from simulation.studies import Experiment, Outcome, load_study
from simulation.studies.study import parse_study
from tests.simulation.worlds import calm

STUDY = """
version = 1
name = "short"
scenario = "scenario.toml"
replications = 3
figures = ["latency_p95_s", "delivery_rate"]

[set]
"horizon_s" = 4

[parameters]
"client.policy.cap_s" = { low = 1, high = 30, scale = "log", levels = 2 }
"groups.c.path.latency_s" = { values = [0.01, 0.1] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scenario.toml").write_text(calm(horizon_s=3.0, settle_s=3.0).to_toml())
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def test_a_study_is_an_experiment(folder: Path) -> None:
    experiment = load_study(folder / "study.toml").experiment(folder)
    assert experiment.scenario.horizon_s == 4
    assert [tuple(round(value, 9) for value in point.values()) for point in experiment.points] == [
        (1, 0.01),
        (1, 0.1),
        (30, 0.01),
        (30, 0.1),
    ]
    assert (experiment.figures, experiment.replications) == (("latency_p95_s", "delivery_rate"), 3)
    assert experiment.asked_confidence == 0.95


def test_a_study_asks_for_its_confidence(folder: Path) -> None:
    (folder / "sure.toml").write_text(STUDY.replace("replications = 3", "replications = 10\nconfidence = 0.99"))
    assert load_study(folder / "sure.toml").experiment(folder).asked_confidence == 0.99
    rule = '[until]\nfigure = "delivery_rate"\nhalf_width = 0.1\nconfidence = 0.9\n'
    (folder / "narrow.toml").write_text(STUDY.replace("replications = 3", "replications = 10") + rule)
    narrow = load_study(folder / "narrow.toml").experiment(folder)
    assert (narrow.asked_confidence, narrow.rule_confidence) == (0.9, 0.9)
    console = Console(record=True, width=120)
    print_outcome(Outcome(narrow, ({"point": 0, "replication": 0, "error": "", "delivery_rate": 1.0},)), console)
    assert "mean and 90 % interval" in console.export_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("version = 1", "version = 2"), "version = 1"),
        (("replications", "replicatons"), "did you mean 'replications'"),
        (("low = 1", "lo = 1"), "parameters.client.policy.cap_s: there is no key 'lo'; did you mean 'low'"),
        (("high = 30", "high = 0.5"), "low < high"),
        (("values = [0.01, 0.1]", "values = []"), "at least one value"),
        (('name = "short"', 'name = ""'), "name"),
    ],
)
def test_a_mistake_in_a_study_is_named(change: tuple[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_study(STUDY.replace(*change))


def test_a_scenario_that_is_not_there_is_guessed(folder: Path) -> None:
    for name, says in (("elevatr", "did you mean 'elevator'"), ("qqq", "or name a file"), ("no.toml", "no.toml")):
        with pytest.raises(ConfigError, match=says):
            parse_study(STUDY.replace("scenario.toml", name)).experiment(folder)


def test_the_command_runs_a_study_and_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(["sweep", "study.toml", "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert "4 points x 3 replications" in printed.out
    assert "12 of 12 runs" in printed.out
    assert printed.err == ""
    runs = pd.read_parquet(folder / "short.sweep" / "runs.parquet")
    assert len(runs) == 12
    assert run(["sweep", "study.toml", "--workers", "1"]) == 0
    assert "12 of 12 runs (12 from an earlier run)" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "short.sweep" / "runs.parquet"), runs)
    (folder / "study.toml").write_text(STUDY.replace('"latency_p95_s"', '"latency_p95_ss"'))
    assert run(["sweep", "study.toml", "--workers", "1"]) == 2
    assert "did you mean 'latency_p95_s'" in capsys.readouterr().err


def test_runs_that_fail_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(result: Result) -> float:
        raise ZeroDivisionError("in every run")

    print_outcome(Experiment(calm(horizon_s=1.0, settle_s=1.0), figures=(fails,), replications=2).run(), Console())
    assert "2 runs failed: ZeroDivisionError: in every run" in capsys.readouterr().err
