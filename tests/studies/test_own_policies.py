"""User-defined policies, in a file outside the package: in sweeps, in worker processes, and from the command line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation import HalfOpen, PresetFallback, PresetHeartbeat, Scenario, still_world, sweep
from simulation.cli import run
from simulation.scenario import presets
from simulation.studies import Experiment, Progress
from simulation.studies.study import import_file, load_study
from tests.simulation.worlds import calm

OWN = '''
"""A detector that one pair of helpers in the same file makes up."""

from simulation import Due, Signs, register_fallback, register_heartbeat, register_preset


def silence_s(factor: float) -> float:
    return factor * 2.0


class Own:
    quiet_max_s = 2.0

    def __init__(self, factor: float) -> None:
        self.notice_max_s = silence_s(factor)

    def due(self, signs: Signs) -> Due:
        return Due(2.0 - signs.pinged_s, self.notice_max_s - signs.heard_s)


class SoonPolling:
    def wait_s(self, trouble):
        return max(0.0, 0.25 - trouble.lasts_s)


class Quick:
    def wait_s(self, attempt):
        return 0.125


register_heartbeat("own-2", Own(2.0), source="a test")
register_heartbeat("own-4", Own(4.0), source="a test")
register_fallback("soon", SoonPolling(), source="a test")
register_preset("quick", Quick(), source="a test", wait_max_s=0.125)
'''
STUDY = """
version = 1
name = "own"
scenario = "dead.toml"
replications = 2
figures = ["interruption_max_s"]
imports = ["own.py"]

[parameters]
"client.heartbeat" = { values = [
    { preset = "own-2" },
    { preset = "own-4" },
    { kind = "phi_accrual", interval_s = 2.0, std_min_s = 0.5 },
    { preset = "akka" },
] }
"""


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers and imports is forgotten after it."""
    for name in ("PRESETS", "HEARTBEATS", "FALLBACKS"):
        monkeypatch.setattr(presets, name, dict(getattr(presets, name)))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("steadywire_import_"):
            del sys.modules[name]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def dead() -> Scenario:
    """A connection that is dead from 11.3 s on; the longest interruption begins when that is noticed, and is short."""
    return still_world("dead", 2, faults=(HalfOpen(at_s=11.3),), horizon_s=60.0)


def test_they_run_in_a_sweep_in_this_process(own: Path) -> None:
    import_file(own)
    import_file(own)  # once is enough
    runs = sweep(dead(), {"client.heartbeat": [{"preset": "own-2"}, {"preset": "own-4"}]}, replications=2)
    assert list(runs["error"]) == [""] * 4


@pytest.mark.slow
@pytest.mark.parallel
def test_they_run_in_worker_processes_which_cannot_import_the_file(own: Path) -> None:
    import_file(own)
    grid = {
        "client.heartbeat": [{"preset": "own-2"}, {"preset": "own-4"}],
        "client.fallback": [{"preset": "soon"}],
        "client.policy": [{"preset": "quick"}],
    }
    here = sweep(calm(horizon_s=5.0), grid, replications=2)
    there = sweep(calm(horizon_s=5.0), grid, replications=2, workers=2)
    assert list(there["error"]) == [""] * 4
    pd.testing.assert_frame_equal(here, there)


@pytest.mark.slow
@pytest.mark.parallel
def test_they_run_from_the_command_line(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dead.toml").write_text(dead().to_toml())
    (tmp_path / "study.toml").write_text(STUDY)
    assert run(["sweep", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "2"]) == 0
    points = pd.read_parquet(tmp_path / "out" / "points.parquet")
    assert points["client.heartbeat"].nunique() == 4
    assert "own-4" in capsys.readouterr().out


def test_rows_of_a_policy_whose_file_has_changed_are_not_used(own: Path, tmp_path: Path) -> None:
    """A scenario has only the policy's name."""
    import_file(own)
    experiment = Experiment(dead(), [{"client.heartbeat": {"preset": "own-2"}}], ("interruption_max_s",), replications=1)
    seen: list[Progress] = []
    for _ in range(2):
        experiment.run(folder=tmp_path / "rows", report=seen.append)
    assert seen[-1].resumed == 1
    own.write_text(OWN.replace("factor * 2.0", "factor * 3.0"))  # read again by the next process
    experiment.run(folder=tmp_path / "rows", report=seen.append)
    assert seen[-1].resumed == 0


def test_a_file_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "dead.toml").write_text(dead().to_toml())
    (tmp_path / "study.toml").write_text(STUDY)
    with pytest.raises(ConfigError, match=r"study.toml: imports: there is no Python file .*own.py"):
        load_study(tmp_path / "study.toml")
    (tmp_path / "own.py").write_text("from simulation import register_heartbeat\nregister_heartbeat('mine', 7, source='x')\n")
    with pytest.raises(ConfigError, match=r"imports: .*own.py raised ConfigError: mine: 7 has no due"):
        load_study(tmp_path / "study.toml")


def test_their_names_stand_in_a_scenario(own: Path) -> None:
    import_file(own)
    assert PresetHeartbeat(preset="own-4").notice_max_s == 8.0
    assert PresetFallback(preset="soon").formula is presets.FALLBACKS["soon"].policy
