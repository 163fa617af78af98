"""Our server and our client pass: in virtual time, and as real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.conformance.client_cases import CLIENT_CASES
from simulation.conformance.server_cases import SERVER_CASES
from tests.conformance import test_broken_clients, test_broken_servers
from tests.conformance.worlds import NEED_SECRET, Mangler, failures, in_virtual_time, judge_our_client, judge_our_server
from tests.server.processes import serving

KIT = [sys.executable, "-m", "simulation.cli", "conformance"]


def test_our_server_passes() -> None:
    verdicts = in_virtual_time(judge_our_server)
    assert len(verdicts) == len(SERVER_CASES)
    assert failures(verdicts, NEED_SECRET) == []


def test_our_client_passes() -> None:
    verdicts = in_virtual_time(judge_our_client)
    assert len(verdicts) == len(CLIENT_CASES)
    assert failures(verdicts) == []


def test_a_relay_that_changes_nothing_changes_no_verdict() -> None:
    """The relay alone is not the reason why a case fails with a mangler."""
    of_servers = sorted({case for _, case, _ in test_broken_servers.BROKEN})
    of_clients = sorted({case for _, case, _ in test_broken_clients.BROKEN})
    assert failures(in_virtual_time(judge_our_server, of_servers, Mangler())) == []
    assert failures(in_virtual_time(judge_our_client, of_clients, Mangler)) == []


@pytest.mark.slow
def test_our_server_passes_as_a_process_within_a_minute(tmp_path: Path) -> None:
    with serving("--store", f"sqlite:///{tmp_path / 'events.sqlite3'}") as server:
        report = tmp_path / "report.json"
        done = subprocess.run([*KIT, server.url, "--json", str(report)], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(report.read_text())
    assert content["passed"] == len(SERVER_CASES) - len(NEED_SECRET)
    assert content["notApplicable"] == len(NEED_SECRET)
    assert content["tookS"] < 60


@pytest.mark.slow
def test_our_client_passes_as_a_process(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = f"{sys.executable} -m simulation.conformance.examples.python_client"
    done = subprocess.run(
        [*KIT, "--client", command, "--json", str(report)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(report.read_text())
    assert content["passed"] == len(CLIENT_CASES)
