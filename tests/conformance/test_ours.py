"""Our server, our client and the browser client pass: in virtual time, and as real processes."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulation.cli import run
from simulation.conformance import examples
from simulation.conformance.clauses import clauses_of
from simulation.conformance.client_cases import CLIENT_CASES
from simulation.conformance.server_cases import SERVER_CASES
from tests.conformance import test_broken_clients, test_broken_servers
from tests.conformance.worlds import NEED_SECRET, Mangler, failures, in_virtual_time, judge_our_client, judge_our_server
from tests.server.processes import serving
from tests.web.tools import NODE, NODE_IS_MISSING, NODE_MAJOR, WHY_NODE

KIT = [sys.executable, "-m", "simulation.cli", "conformance"]
EXAMPLES = Path(examples.__file__).parent
HEAVY = {
    "frames.rate",
    "place.reader_that_takes_nothing",
    "place.resume_under_load",
    "place.slow_reader",
    "place.window",
    "publish.data_is_refused",
    "publish.many_authors",
    "session.takeover_in_flight",
}
"""Cases that compute more than all others together."""
CANNOT_SEE = {"upgrade.retry_after", "upgrade.retry_after_of_a_proxy", "upgrade.refused_for_good"}
"""Cases that do not apply to a page, which is not shown the answer to a refused upgrade (5.7)."""


def test_our_server_passes_quick_cases() -> None:
    quick = [case.name for case in SERVER_CASES if case.name not in HEAVY]
    verdicts = in_virtual_time(judge_our_server, quick)
    assert len(verdicts) == len(quick) > 50
    assert failures(verdicts, NEED_SECRET) == []


def test_our_client_passes_quick_cases() -> None:
    quick = [case.name for case in CLIENT_CASES if case.name.startswith(("connect.", "events.", "publish."))]
    verdicts = in_virtual_time(judge_our_client, quick)
    assert len(verdicts) == len(quick) > 10
    assert failures(verdicts) == []


@pytest.mark.slow
@pytest.mark.parallel
def test_our_server_passes() -> None:
    verdicts = in_virtual_time(judge_our_server)
    assert len(verdicts) == len(SERVER_CASES)
    assert failures(verdicts, NEED_SECRET) == []


@pytest.mark.slow
@pytest.mark.parallel
def test_our_client_passes() -> None:
    verdicts = in_virtual_time(judge_our_client)
    assert len(verdicts) == len(CLIENT_CASES)
    assert failures(verdicts) == []


@pytest.mark.slow
@pytest.mark.parallel
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


def judge_program(command: str, file: Path) -> dict[str, Any]:
    """The kit's report on the client that this command starts."""
    arguments = [*KIT, "--client", command, "--json", str(file)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def browser_client() -> str:
    assert NODE is not None, "skipped without it"
    assert NODE_MAJOR is not None, "skipped without it"
    flags = [] if NODE_MAJOR >= 22 else ["--experimental-websocket", "--no-warnings"]  # from 22 on it is there without a flag
    return shlex.join([NODE, *flags, str(EXAMPLES / "browser_client.mjs")])


@pytest.mark.slow
def test_our_client_passes_as_a_process(tmp_path: Path) -> None:
    report = judge_program(f"{sys.executable} -m simulation.conformance.examples.python_client", tmp_path / "report.json")
    assert report["passed"] == len(CLIENT_CASES)


@pytest.mark.skipif(NODE_IS_MISSING, reason=WHY_NODE)
def test_the_browser_client_passes_a_quick_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conformance", "--client", browser_client(), "--case", "connect.first"]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(NODE_IS_MISSING, reason=WHY_NODE)
def test_the_browser_client_passes_every_case_that_applies(tmp_path: Path) -> None:
    """Every clause that binds a client and that a network can show is exercised, none is broken."""
    report = judge_program(browser_client(), tmp_path / "report.json")
    verdicts = {case["case"]: case["status"] for case in report["cases"]}
    assert len(verdicts) == len(CLIENT_CASES)
    assert {name for name, status in verdicts.items() if status != "passed"} == CANNOT_SEE
    statuses = {clause["clause"]: clause["status"] for clause in report["clauses"]}
    for clause in clauses_of("client"):
        assert statuses[clause.number] == ("not testable" if clause.why_unseen("client") else "passed"), clause
