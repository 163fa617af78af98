"""`simulate`: what it writes, what it prints, and its exit codes."""

from pathlib import Path

import pandas as pd
import pytest

from simulation.cli import run
from simulation.cli.simulate import HELD, VIOLATED, scenarios, simulate
from simulation.results.frames import NAMES
from simulation.scenario import library
from simulation.scenario.scenario import load_scenario
from simulation.trace.trace import Trace
from tests.simulation.worlds import everything

SMALL = """
version = 1
name = "small"
horizon_s = 5
settle_s = 3
groups = [{ name = "c", clients = 2 }]
"""
# A line so thin that nobody can be back at the head within the bound.
HOPELESS = """
version = 1
name = "hopeless"
horizon_s = 10
groups = [{ name = "c", clients = 2, path = { bandwidth_bytes_per_s = 400 } }]
workload = { graft_per_s = 20 }
faults = [{ kind = "reset", at_s = 5 }]
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "scenario.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_writes_everything_and_says_that_all_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(write(tmp_path, everything().to_toml()), None, tmp_path / "out") == HELD
    names = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {name for name in names if name.endswith(".png")}
    assert {"latency_and_delivery.png", "worst_client.png"} <= figures
    assert names - figures == {"scenario.toml", "trace.jsonl", "report.html", *(f"{name}.parquet" for name in NAMES)}
    assert load_scenario(tmp_path / "out" / "scenario.toml") == everything()
    Trace.read(tmp_path / "out" / "trace.jsonl")
    printed = capsys.readouterr().out
    assert "G13 held" in printed
    assert "0 duplicates, 0 gaps, 0 out of order, 0 lost" in printed
    assert "\x1b" not in printed  # no colours when nobody looks at a terminal


@pytest.mark.slow
@pytest.mark.parallel
def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    scenario = write(tmp_path, SMALL)
    for name in ("one", "two"):
        assert simulate(scenario, 3, tmp_path / name) == HELD
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_seed_is_used_and_kept(tmp_path: Path) -> None:
    assert simulate(write(tmp_path, SMALL), 42, tmp_path / "out") == HELD
    assert load_scenario(tmp_path / "out" / "scenario.toml").seed == 42


def test_a_violated_guarantee_is_named_and_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(write(tmp_path, HOPELESS), None, tmp_path / "out") == VIOLATED
    assert "G6 violated" in capsys.readouterr().out
    assert pd.read_parquet(tmp_path / "out" / "summary.parquet")["undelivered"].iloc[0] > 0


@pytest.mark.parametrize("text", ["version = 1\n[[", "version = 1", SMALL + "horizon = 3", SMALL + "[server]\nconfig = 3"])
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(write(tmp_path, text)), "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("steadywire simulate: ")
    assert not (tmp_path / "out").exists()


def test_a_missing_file_and_a_bad_seed_are_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 2
    assert run(["simulate", str(write(tmp_path, SMALL)), "--seed", "-1", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_directory_that_cannot_be_written_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = str(write(tmp_path, SMALL))
    assert run(["simulate", scenario, "--out", scenario]) == 2  # a file
    assert run(["simulate", scenario, "--out", f"{scenario}/below"]) == 2
    (tmp_path / "out" / "trace.jsonl").mkdir(parents=True)
    assert run(["simulate", scenario, "--out", str(tmp_path / "out")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 3
    assert errors.count("cannot be written") == 3


def test_a_scenario_of_the_library_is_run_by_its_name_and_changed_by_path(tmp_path: Path) -> None:
    changes = ("horizon_s=4", "settle_s=4", "client.policy={preset='nats'}", "faults=[]", "about=shorter")
    assert simulate("elevator", 3, tmp_path / "out", changes) == HELD
    ran = load_scenario(tmp_path / "out" / "scenario.toml")
    assert (ran.name, ran.horizon_s, ran.about, ran.faults) == ("elevator", 4.0, "shorter", ())


@pytest.mark.parametrize("change", ["horizon_s", "no.such=1", "horizon_s=-1", "horizon_s=long"])
def test_a_change_that_makes_no_sense_is_one_line(tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "elevator", "--out", str(tmp_path / "out"), "--set", change]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_library_is_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert scenarios(None) == HELD
    listed = capsys.readouterr().out
    assert all(f"{name}\n    " in listed for name in library.names())
    assert scenarios("gc_pause") == HELD
    assert capsys.readouterr().out == library.text_of("gc_pause")
    assert run(["scenarios", "gc"]) == 2
    assert "no scenario is called 'gc'" in capsys.readouterr().err
