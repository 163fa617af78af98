"""`steadywire replay`: shows a kept case and a scenario, and reports an unreadable file in one line."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest
from hypothesis import Phase, find, settings

from simulation.adversary import steps
from simulation.adversary.case import Case, load_case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import play
from simulation.checks.verdicts import Verdict
from simulation.cli import run
from simulation.results.diagrams import sequence_diagram
from simulation.trace.messages import MessageLog

from .judging import judge_scenario
from .shells import scenarios_for_shells

CASE = Path(__file__).parent / "cases" / "hello_held_up.toml"
SCENARIO = Path(__file__).parents[2] / "simulation" / "scenario" / "library" / "elevator.toml"


def test_a_case_is_printed_message_by_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(CASE)]) == 0
    told = capsys.readouterr().out
    assert "client1 -> server   hello client1 generation 1, from snapshot" in told
    assert "client0             loses connection 1 (4003 no hello within 2 s)" in told
    assert "never arrived  client0 -> server   hello client0 generation 1" in told
    assert "all guarantees held" in told
    assert "ping" not in told


@pytest.mark.slow
@pytest.mark.parallel
def test_the_notebook_draws_what_the_case_says(tmp_path: Path) -> None:
    assert run(["replay", str(CASE), "--notebook", str(tmp_path / "case.ipynb")]) == 0
    notebook = nbformat.read(tmp_path / "case.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120).execute()
    shown = [output.get("data", {}) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert next(data["text/plain"] for data in shown if "text/plain" in data) == "[]", "no guarantee was broken"
    assert any("image/png" in data for data in shown), "the diagram is drawn"


@pytest.mark.parametrize("path", sorted(CASE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_kept_case_is_printed_and_drawn(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(path), "--notebook", str(tmp_path / "case.ipynb")]) == 0
    assert capsys.readouterr().out.startswith(load_case(path).name)
    assert (tmp_path / "case.ipynb").stat().st_size > 1000


def test_what_fails_among_the_shells_names_a_scenario_that_the_simulator_replays(capsys: pytest.CaptureFixture[str]) -> None:
    scenario = find(
        scenarios_for_shells(), lambda drawn: bool(drawn.faults), settings=settings(database=None, phases=[Phase.generate])
    )
    verdict = Verdict("G1", "Order", 1, 1, ("event 3 after 1",))
    with pytest.raises(AssertionError, match="event 3 after 1") as failure:
        judge_scenario("test_of_the_report", "G1", scenario, verdict, exercises=False)
    command = re.search(r"steadywire (replay \S+)", str(failure.value))
    assert command is not None
    assert run(command[1].split()) == 0
    assert "-> server" in capsys.readouterr().out


def test_a_scenario_is_printed_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["replay", str(SCENARIO)]) == 0
    told = capsys.readouterr().out
    assert "the access link is down" in told
    assert "-> server" in told


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("version = 1\nname='x'\nschedule = [1]", "a list of steps"),
        ("version = 1\nname='x'\nschedule = ['fly ms=1']", "fly"),
        ("version = 1\nname='x'\nschedule = ['calm ms']", "name=value"),
        ("version = 1\nname='x'\nschedule = ['calm ms=soon']", "calm ms=soon"),
        ("schedule = [", "invalid TOML"),
        ("version = 1\nname='x'\nschedule = []\n[setup.client]\nping_interval_s = -1", "ping_interval_s"),
    ],
)
def test_what_is_no_case_is_said_in_one_line(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "case.toml").write_text(text, encoding="utf-8")
    assert run(["replay", str(tmp_path / "case.toml")]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_a_case_says_what_differs_from_the_defaults_and_nothing_else() -> None:
    plain = Case(name="plain", schedule=(steps.WaitFor(10, "not yet"), steps.Hold(0, True)))
    assert (
        plain.to_toml()
        == 'version = 1\nname = "plain"\nschedule = [\n  "wait ms=10 alarms=not_yet",\n  "hold client=0 holds=true",\n]\n'
    )


def test_the_diagram_shows_lost_messages_and_says_what_it_leaves_out() -> None:
    case, message_log = load_case(CASE), MessageLog()
    play(case.setup, case.schedule, message_log=message_log)
    lost = [message for message in message_log.messages if message.arrived_at is None]
    assert [message.words for message in lost] == ["hello client0 generation 1, from snapshot"]
    texts = [text.get_text() for text in sequence_diagram(message_log).axes[0].texts]
    assert "x" in texts
    cut = sequence_diagram(message_log, title="case", rows_max=5)
    assert "the first 5 of" in cut.axes[0].get_title(loc="left")


def test_tapes_repeat() -> None:
    told = []
    for _ in range(2):
        message_log = MessageLog()
        play(Setup(), [steps.Calm(100), steps.PublishEvent(0, "CHAT", 0), steps.Crash(0, True)], message_log=message_log)
        told.append(list(message_log.lines()))
    assert told[0] == told[1]
