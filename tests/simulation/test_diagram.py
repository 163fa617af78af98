"""Diagrams of a part of a trace: every frame is an arrow, a lost frame's has no end, and nothing is drawn unless asked for."""

from functools import cache
from pathlib import Path

import pytest

from reference.protocol.errors import ConfigError
from simulation.cli import run as run_command
from simulation.cli.diagram import diagram_command
from simulation.results.diagrams import message_log_of, sequence_diagram
from simulation.scenario.faults import HalfOpen, Reset
from simulation.trace.frames_seen import FrameSeen
from simulation.trace.trace import Trace
from simulation.world import Result, World, run
from tests.simulation.worlds import calm, everything_result


@cache
def recorded() -> Result:
    return run(calm(2, record_frames=True, faults=(HalfOpen(at_s=3, clients=("c-0",)), Reset(at_s=6, clients=("c-1",)))))


def test_frames_are_recorded_only_when_asked_for_and_change_nothing_else() -> None:
    assert not any(isinstance(record, FrameSeen) for record in everything_result().trace)
    rest = [record for record in recorded().trace if not isinstance(record, FrameSeen)]
    assert rest == list(run(recorded().scenario.replace(record_frames=False)).trace)


def test_every_frame_that_a_client_sends_or_receives_is_recorded() -> None:
    heard: list[tuple[str, str]] = []
    World(recorded().scenario, listen=lambda client, now, way, number, frame: heard.append((client, way))).run()
    messages = message_log_of(recorded().trace).messages
    assert sum(message.sender != "server" for message in messages) == sum(way == "sent" for _, way in heard)
    arrived = [message for message in messages if message.receiver != "server" and message.arrived_at is not None]
    assert len(arrived) == sum(way == "received" for _, way in heard)


def test_what_a_dead_line_swallowed_never_arrived() -> None:
    message_log = message_log_of(recorded().trace, 3.0, 12.0, ("c-0",))
    lost = [message for message in message_log.messages if message.arrived_at is None]
    assert lost
    assert all(message.sent_at >= 2.9e9 for message in lost)
    assert {message.sender for message in lost} == {"server", "c-0"}
    before = message_log_of(recorded().trace, 0.0, 2.5)
    assert all(message.arrived_at is not None for message in before.messages)


def test_a_stretch_and_clients_are_kept_to() -> None:
    message_log = message_log_of(recorded().trace, 5.0, 7.0, ("c-1",))
    assert message_log.places == ["c-1", "server"]
    assert all(5e9 <= message.sent_at <= 7e9 for message in message_log.messages)
    words = " ".join(message_log.lines())
    assert "every connection is reset" in words
    assert "hello c-1 generation 2" in words
    with pytest.raises(ConfigError, match="no client 'c-9'"):
        message_log_of(recorded().trace, clients=("c-9",))
    with pytest.raises(ConfigError, match="ends before it begins"):
        message_log_of(recorded().trace, 5.0, 1.0)


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded().trace.write(tmp_path / "trace.jsonl")
    assert diagram_command(tmp_path / "trace.jsonl", 5.9, 9.0, ("c-1",), tmp_path / "d.png", False) == 0
    printed = capsys.readouterr()
    assert "c-1 -> server" in printed.out
    assert printed.err == ""
    assert (tmp_path / "d.png").stat().st_size > 5000
    assert run_command(["diagram", str(tmp_path / "no.jsonl")]) == 2
    assert run_command(["diagram", str(tmp_path / "trace.jsonl"), "--client", "x"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_trace_without_frames_gives_its_notes() -> None:
    message_log = message_log_of(everything_result().trace, 19.0, 23.0)
    assert not message_log.messages
    assert any("is killed" in note.words for note in message_log.notes)
    assert sequence_diagram(message_log).axes


def test_it_is_written_and_read(tmp_path: Path) -> None:
    recorded().trace.write(tmp_path / "t")
    assert list(Trace.read(tmp_path / "t")) == list(recorded().trace)
