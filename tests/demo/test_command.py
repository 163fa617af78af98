"""The command's messages and exit codes when it cannot do its work, and Ctrl-C: no process or file remains."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulation import cli
from simulation.cli.demo import demo_command
from simulation.processes import ports

COMMAND = (sys.executable, "-c", "from simulation.cli import main; main()", "demo")
PATIENCE_S = 30.0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--clients", "1"], "--clients"),
        (["--seconds", "1"], "--seconds"),
        (["--seed", "many"], "--seed"),
        (["--report", "/no/such/folder/report.json"], "/no/such/folder/report.json cannot be written"),
    ],
)
def test_bad_input_is_refused_before_anything_is_started(
    arguments: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", *arguments]) == 2
    captured = capsys.readouterr()
    assert what in captured.out + captured.err
    assert "starting a server" not in captured.out


def test_numbers_are_checked_without_the_command_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo_command(clients=1, seconds=20, seed=1, report=None, faults=True) == 2
    assert capsys.readouterr().err == "steadywire demo: clients = 1: a demo takes from 2 to 200\n"


def test_a_report_path_that_is_a_folder_is_reported_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["demo", "--report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_demo_that_does_not_begin_leaves_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LAST", ports.FIRST + 1)
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("kept")
    assert [cli.run(["demo", "--report", str(path)]) for path in (old, new)] == [2, 2]
    assert old.read_text() == "kept"
    assert not new.exists()


def test_no_free_port_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        monkeypatch.setattr(ports, "FIRST", listening.getsockname()[1])
        monkeypatch.setattr(ports, "LAST", listening.getsockname()[1] + 1)
        assert cli.run(["demo", "--clients", "2"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "3 free ports" in error


def test_free_ports_are_free_and_different() -> None:
    found = ports.free_ports(50)
    assert len(set(found)) == 50
    for port in found:
        assert ports.FIRST <= port < ports.LAST
        assert not _is_listening(port)


@pytest.mark.slow
def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    with _demo_at_work(tmp_path) as (process, port):
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert "interrupted" in out
        assert "Traceback" not in out
        assert not _is_listening(port)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_demo_that_is_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    with _demo_at_work(tmp_path) as (process, port):
        process.kill()
        process.wait(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while _is_listening(port):
            assert time.monotonic() < deadline, "the server is still there"


@contextmanager
def _demo_at_work(files: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A demo in a process of its own, and the port of its server."""
    process = subprocess.Popen(
        [*COMMAND, "--clients", "2", "--no-faults"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(files)},
    )
    port = None
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if started := re.search(r"starting a server on port (\d+)", line):
                port = int(started[1])
            if "published" in line:
                break
        assert port is not None
        assert _is_listening(port)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
