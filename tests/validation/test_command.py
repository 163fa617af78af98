"""`steadywire verify`: what it prints, writes and returns."""

import json
from pathlib import Path

import pytest

from simulation.cli import run
from simulation.validation import catalogue
from simulation.validation.experiment import TheoryExperiment
from simulation.validation.experiments.clients.reconnecting import AfterAnOutage
from tests.validation.test_experiment import Noise

RIGHT, WRONG = Noise(samples=10, allowed=1.0), Noise(said=0.4, samples=10, allowed=1.0)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth a second process."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})


def only(monkeypatch: pytest.MonkeyPatch, *experiments: TheoryExperiment) -> None:
    monkeypatch.setattr(catalogue, "QUICK", experiments)
    monkeypatch.setattr(catalogue, "EXPERIMENTS", experiments)
    monkeypatch.setattr(catalogue, "FAMILIES", tuple(dict.fromkeys(experiment.family for experiment in experiments)))


def test_what_agrees(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    only(monkeypatch, RIGHT)
    assert run(["verify", "--family", "noise", "--markdown", str(tmp_path / "v.md"), "--json", str(tmp_path / "v.json")]) == 0
    said = capsys.readouterr().out
    assert "agrees: noise: Noise(said=0.5, samples=10, allowed=1): mean (s): 0.5" in said
    assert "agrees: noise: Noise(said=0.5, samples=10, allowed=1): one: 1, expected 1\n" in said
    assert "2 of 2 numbers agree" in said
    page = (tmp_path / "v.md").read_text()
    assert "Made by `steadywire verify --family noise --seed 1 --markdown FILE`" in page
    assert "## noise" in page
    assert "| `Noise(said=0.5, samples=10, allowed=1)` | mean (s) | 0." in page
    outcome = json.loads((tmp_path / "v.json").read_text())
    assert (outcome["seed"], outcome["is_quick"], len(outcome["numbers"])) == (1, False, 2)
    assert outcome["numbers"][0]["reference"] == 0.5


def test_what_differs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    only(monkeypatch, RIGHT, WRONG)
    assert run(["verify", "--quick"]) == 1
    captured = capsys.readouterr()
    assert "3 of 4 numbers agree" in captured.out
    assert captured.err.startswith("differs: noise: Noise(said=0.4, samples=10, allowed=1): mean (s)")


@pytest.mark.slow  # it starts processes
@pytest.mark.parallel
def test_equal_seeds_give_equal_output_on_any_number_of_jobs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only(monkeypatch, AfterAnOutage(policy="ours", outage_mean_s=1.0, clients=2), RIGHT)
    said = []
    for jobs in ("1", "2"):
        run(["verify", "--quick", "--jobs", jobs, "--json", str(tmp_path / jobs)])
        said.append(capsys.readouterr())
    assert said[0] == said[1]
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--family", "gravity"], " verify: there is no family 'gravity'; choose from backoff, "),
        (["--jobs", "0"], ': Invalid value "0" for --jobs. Must be >= 1.'),
        (["--seed", "-1"], ': Invalid value "-1" for --seed. Must be >= 0.'),
        (["--markdown", "/nowhere/v.md"], " verify: /nowhere/v.md cannot be written: No such file or directory"),
    ],
)
def test_bad_input(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"steadywire{complaint}")
    assert captured.err.count("\n") == 1


def test_experiments_have_names_of_their_own() -> None:
    names = [experiment.name for experiment in catalogue.EXPERIMENTS]
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.parallel
def test_the_simulator_reproduces_what_is_known(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["verify", "--quick", "--jobs", "2", "--json", str(tmp_path / "v.json")]) == 0, capsys.readouterr().err
    assert len(json.loads((tmp_path / "v.json").read_text())["numbers"]) >= 100
