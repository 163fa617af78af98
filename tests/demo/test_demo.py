"""Whole demos: a correct server passes; one broken on purpose fails, and the guarantee is named.

These are real processes, sockets and seconds; everything that can be judged without them is tested elsewhere.
"""

import io
import json
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from reference.protocol.client.session import ClientSession
from simulation.cli.demo import CANNOT, FAILED, PASSED, run_demo
from simulation.processes.demo.report import DemoReport
from simulation.processes.demo.schedule import plan_demo
from simulation.processes.run_plan import Plan
from simulation.scenario.faults import BlockUpgrade, Reset, ServerRestart, Stall

pytestmark = pytest.mark.slow

BROKEN_SERVER = Path(__file__).with_name("broken_server.py")


@pytest.fixture(autouse=True)
def files_of_failed_demos_go_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def small_plan(*faults: Stall | Reset | ServerRestart | BlockUpgrade) -> Plan:
    """Five clients at work for five seconds, and these faults only."""
    return msgspec.structs.replace(plan_demo(clients=5, seconds=5, seed=1, faults=False), faults=faults)


def run_quietly(plan: Plan, report: Path, *server: str) -> tuple[int, DemoReport, str]:
    console = Console(file=io.StringIO(), width=100)
    command = (sys.executable, str(BROKEN_SERVER), *server) if server else None
    code = run_demo(plan, report=report, console=console, **({} if command is None else {"server_command": command}))
    file = console.file
    assert isinstance(file, io.StringIO)
    return code, msgspec.json.decode(report.read_bytes(), type=DemoReport), file.getvalue()


def test_a_short_demo_passes(tmp_path: Path) -> None:
    code, report, text = run_quietly(plan_demo(clients=8, seconds=6, seed=7, faults=True), tmp_path / "report.json")
    assert code == PASSED, text
    assert report.passed
    assert report.shortcomings == ()
    assert all(report.guarantees.values())
    assert report.accepted == report.published > 0
    assert (report.duplicates, report.gaps, report.out_of_order, report.lost) == (0, 0, 0, 0)
    assert min(report.reconnections, report.fallbacks, report.returns_to_websocket, report.server_restarts) > 0
    assert report.delivery_rate == 1.0
    assert "guarantees that this run exercised held" in text


def test_without_faults_it_says_what_it_could_not_exercise(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    code, report, text = run_quietly(small_plan(), path)
    assert code == PASSED, text
    assert json.loads(path.read_text())["guarantees"]["G6"] is None
    assert [name for name, held in report.guarantees.items() if held is None] == ["G6", "G11"]
    assert "not exercised" in text
    assert "the server was not killed" in text


def test_a_server_that_skips_the_dedupe_is_found_out(tmp_path: Path) -> None:
    # Publishes arrive, their answers do not: the clients give the connection up and send everything again.
    plan = small_plan(Stall(at_s=1.0, duration_s=5.0))
    code, report, text = run_quietly(plan, tmp_path / "report.json", "skip_the_dedupe")
    assert code == FAILED
    assert report.guarantees["G3"] is False
    assert "G3 did not hold: an accepted publish is in its epoch's log exactly once" in text
    assert "stands 2 times in the log" in text


def test_a_server_that_acknowledges_before_storing_is_found_out(tmp_path: Path) -> None:
    plan = small_plan(ServerRestart(at_s=2.5, duration_s=0.5))
    code, report, text = run_quietly(plan, tmp_path / "report.json", "acknowledge_before_storing")
    assert code == FAILED
    assert report.guarantees["G11"] is False
    assert "G11 did not hold: an accepted publish survives a crash of the server" in text


def test_a_client_that_forgets_its_cursor_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = ClientSession.connection_opened

    def forget_then_open(self: ClientSession, connection_id: int, now: int) -> None:
        self._delivery.inbox.epoch = None
        opened(self, connection_id, now)

    monkeypatch.setattr(ClientSession, "connection_opened", forget_then_open)
    code, report, text = run_quietly(small_plan(Reset(at_s=2.5)), tmp_path / "report.json")
    assert code == FAILED
    assert report.guarantees["G2"] is False
    assert report.duplicates > 0
    assert "G2 did not hold: a sequenced event is skipped only together with" in text


def test_a_server_that_crashes_is_shown_with_its_last_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO())
    command = (sys.executable, "-c", "import sys; print('no room on the disk', file=sys.stderr); sys.exit(3)")
    assert run_demo(small_plan(), console=console, server_command=command) == CANNOT
    error = capsys.readouterr().err
    assert "ended by itself, with exit code 3" in error
    assert "no room on the disk" in error
