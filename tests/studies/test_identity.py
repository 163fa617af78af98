"""The identity of a run's code: whatever can change a row changes it, and nothing that differs between processes does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from reference.protocol.errors import ConfigError
from simulation.cli import run
from simulation.results.frames import write_parquet
from simulation.scenario import presets
from simulation.scenario.faults import Reset
from simulation.studies import Experiment, Progress, execution, identity
from simulation.studies import experiment as experiment_module
from simulation.studies.execution import Backend, Row, Rows, Task
from simulation.studies.identity import figure_identity, policies_identity, program_version
from tests.simulation.worlds import calm

ROOT = Path(__file__).parents[2]
CUT = calm(horizon_s=3.0, settle_s=3.0, faults=(Reset(at_s=1.5),))
EXPERIMENT = Experiment(CUT, figures=("interruption_max_s",), replications=2)


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on the program has an earlier version; the function that is given ends it."""
    for module in (execution, experiment_module):
        monkeypatch.setattr(module, "program_version", lambda: "0.0.9+0123")
    return monkeypatch.undo


def test_rows_of_another_version_are_not_used(tmp_path: Path, earlier: Callable[[], None]) -> None:
    EXPERIMENT.run(folder=tmp_path)
    earlier()
    assert Rows(tmp_path).note == (
        f"2 runs in {tmp_path} were made by another version of the program (0.0.9+0123; this is {program_version()}): "
        "they are not used, and are run again"
    )
    seen: list[Progress] = []
    EXPERIMENT.run(folder=tmp_path, report=seen.append)
    assert (seen[0].resumed, seen[0].outdated, seen[-1].done) == (0, 2, 2)
    EXPERIMENT.run(folder=tmp_path, report=seen.append)
    assert seen[-1].resumed == 2


def test_rows_that_name_no_version_are_not_used(tmp_path: Path) -> None:
    write_parquet(pd.DataFrame([{"task": "0123", "error": ""}]), tmp_path / "rows-0.parquet")
    rows = Rows(tmp_path)
    assert (rows.outdated, rows.by_digest) == (1, {})
    assert "another version of the program (unknown;" in rows.note
    assert Rows(None).note == Rows(tmp_path / "new").note == ""


STUDY = 'version = 1\nname = "s"\nscenario = "scenario.toml"\nreplications = 2\nfigures = ["interruption_max_s"]\n'
TUNING = """
[parameters]
"client.policy.cap_s" = { low = 1, high = 60 }
[tune]
objectives = [{ figure = "interruption_max_s" }]
trials = 2
replications = 1
finalists = 2
final_replications = 5
final_replications_max = 5
compare_presets = false
"""


@pytest.mark.slow
@pytest.mark.parallel
@pytest.mark.parametrize("command", ["sweep", "tune"])
def test_a_command_says_that_it_runs_them_again(
    command: str, tmp_path: Path, earlier: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scenario.toml").write_text(CUT.to_toml())
    (tmp_path / "study.toml").write_text(STUDY + (TUNING if command == "tune" else ""))
    arguments = [command, str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert run(arguments) == 0
    assert "another version" not in capsys.readouterr().out
    earlier()
    assert run(arguments) == 0
    assert "were made by another version of the program" in " ".join(capsys.readouterr().out.split())


def test_a_worker_with_other_code_is_refused() -> None:
    def never(task: Task) -> Row:
        raise AssertionError("it must not run")

    with pytest.raises(ConfigError, match=r"a worker has version .*, and the experiment other: install the same"):
        list(Backend(1).map(never, [Task(0, 0, "", b"", "", "other")]))


def test_a_change_of_the_sources_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "ROOT", tmp_path)
    versions = set()
    for place, text in (("network/pipe.py", ""), ("network/pipe.py", "x = 1"), ("network/late/tcp.py", ""), ("world.py", "")):
        (path := tmp_path / "simulation" / place).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        versions.add(program_version.__wrapped__())
    assert len(versions) == 4
    (other := tmp_path / "simulation" / "cli" / "sweep.py").parent.mkdir()
    other.write_text("x = 1")
    assert program_version.__wrapped__() in versions


IMPORTED = """
import sys
from simulation.studies import Experiment, grid
from simulation.studies.identity import ROOT, sources
from simulation import load_scenario
design = grid({"client.policy": [{"preset": "nats"}], "client.heartbeat": [{"preset": "akka"}]})
scenario = load_scenario("first_look").replace(horizon_s=1.0, faults=())
assert (Experiment(scenario, design, replications=1).run().runs["error"] == "").all()
ours = {module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ("reference", "simulation")}
print(*sorted(ours - {str(path) for path in sources()}), sep="\\n")
"""


@pytest.mark.slow
@pytest.mark.parallel
def test_every_module_that_computes_a_row_belongs_to_the_version() -> None:
    assert in_another_process(IMPORTED).split() == []


SETS = """
from simulation.studies.identity import figure_identity
def figure(result, kinds=frozenset({"reset", "outage", "stall"})):
    return sum(kind in {"reset", "outage", "stall", "refuse"} for kind in kinds)
print(figure_identity("figure", figure))
"""


def test_the_identity_of_a_figure_is_the_same_in_every_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Sets have another order in each."""
    exec(SETS, {})
    assert capsys.readouterr().out == in_another_process(SETS)


def in_another_process(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "random"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_figure_is_known_by_its_code_defaults_and_enclosed_values() -> None:
    def above(limit_s: float, share: float = 0.5) -> Callable[[object], float]:
        def figure(result: object, least: float = share) -> float:
            return max(limit_s, least)

        return figure

    def other(result: object) -> float:
        return 2.0

    one, same, *different = (figure_identity("f", each) for each in (above(1.0), above(1.0), above(2.0), above(1.0, 0.25), other))
    assert one == same
    assert len({one, *different}) == 4
    assert figure_identity("latency_p95_s", "latency_p95_s") == "latency_p95_s"


class Waits:
    """A policy as in a notebook: its class is in no file that could be read."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def wait_s(self, attempt: object) -> float:
        return self.seconds


class WaitsTwice(Waits):
    def wait_s(self, attempt: object) -> float:
        return 2 * self.seconds


def test_a_policy_of_a_notebook_is_known_by_its_class_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Waits, WaitsTwice):
        monkeypatch.setattr(kind, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], kind.__name__, kind, raising=False)
    found = []
    for policy in (Waits(1.0), Waits(1.0), Waits(2.0), WaitsTwice(1.0)):
        with monkeypatch.context() as patched:
            patched.setattr(presets, "PRESETS", dict(presets.PRESETS))
            presets.register("own", policy, source="a test", wait_max_s=4.0)
            found.append(policies_identity())
    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert policies_identity() == ""
