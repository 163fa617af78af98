"""`steadywire conformance`: options, output, exit codes, signed tokens and given runs."""

import ast
import gc
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import trio

from reference.server.access.auth import make_token
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.store import MemoryStore
from simulation.cli import run
from simulation.conformance.cases import CaseVerdict, KitCase, run_cases
from simulation.conformance.client_cases import CLIENT_CASES
from simulation.conformance.report import ConformanceReport
from simulation.conformance.server_bench import JudgedServer, ServerBench
from simulation.conformance.server_cases import SERVER_CASES
from simulation.conformance.wire import Target
from tests.conformance.worlds import NEED_SECRET, ORIGIN_NS, TARGET, failures, in_virtual_time, server_cases
from tests.server.processes import serving

SECRET = b"a secret for the conformance kit that is long enough"
UNUSED_URL = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--client"),
        ([UNUSED_URL, "--client", "x"], "not both"),
        (["--client", "x", "--token", "t"], "--token"),
        ([UNUSED_URL, "--secret-file", "/no/such/secret"], "/no/such/secret"),
        (["--client", "no-such-program-anywhere"], "no-such-program-anywhere"),
        (["--client", ""], "--client"),
        (["--client", "'unclosed"], "--client"),
        (["ftp://127.0.0.1"], "ftp"),
        ([f"{UNUSED_URL}?token=x"], "--token"),
        ([UNUSED_URL], "cannot reach"),
        ([UNUSED_URL, "--case", "no.such.case"], "no.such.case"),
        ([UNUSED_URL, "--run", "one"], "UUID"),
        ([UNUSED_URL, "--json", "/no/such/folder/report.json"], "/no/such/folder"),
        ([UNUSED_URL, "--patience", "0"], "patience"),
    ],
)
def test_bad_options_are_one_clear_line_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["conformance", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert says in printed.err


def test_all_cases_are_listed_with_their_clauses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conformance", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(case.name in printed and " ".join(case.clauses) in printed for case in SERVER_CASES)
    assert run(["conformance", "--list", "--client", "anything", "--case", "end.*"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == sum(case.name.startswith("end.") for case in CLIENT_CASES)


@pytest.mark.slow
def test_a_server_process_is_judged_by_chosen_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    with serving("--store", "memory:") as server:
        assert run(["conformance", server.url, "--case", "publish.copies", "--case", "frames.*", "--json", str(report)]) == 0
        assert run(["conformance", server.url, "--token", "garbage"]) == 2
    printed = capsys.readouterr()
    assert "publish.copies" in printed.out
    assert "--token" in printed.err
    content = json.loads(report.read_text())
    assert content["format"] == 1
    assert content["passed"] == len(content["cases"]) == 1 + sum(case.name.startswith("frames.") for case in SERVER_CASES)
    statuses = {clause["clause"]: clause["status"] for clause in content["clauses"]}
    assert statuses["8.2"] == "passed"
    assert statuses["8.20"] == "not exercised"
    assert statuses["8.8"] == "not testable"


def test_a_program_that_breaks_the_contract_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conformance", "--client", "echo hello", "--case", "connect.first"]) == 1
    assert "not JSON" in capsys.readouterr().out


def test_a_program_that_ends_at_once_fails_and_its_last_words_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["conformance", "--client", "sh -c 'echo sorry >&2'", "--case", "connect.first"]) == 1
    printed = capsys.readouterr().out
    assert "sorry" in printed


@pytest.mark.slow
def test_a_closed_pipe_and_an_interrupt_end_the_run() -> None:
    command = [sys.executable, "-m", "simulation.cli", "conformance"]
    with serving("--store", "memory:") as server:
        read_end, write_end = os.pipe()
        os.close(read_end)
        try:
            piped = subprocess.run(
                [*command, server.url, "--case", "frames.ping"], stdout=write_end, stderr=subprocess.PIPE, timeout=60, check=False
            )
        finally:
            os.close(write_end)
        assert (piped.returncode, piped.stderr) == (141, b"")
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        try:
            running = subprocess.Popen([*command, server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        finally:
            signal.signal(signal.SIGINT, before)
        with running:
            assert running.stdout is not None
            running.stdout.readline()  # it has begun, and some of its cases wait for half a minute
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=60)
        assert (running.returncode, errors) == (130, b"")


def test_an_interrupt_leaves_no_coroutine_that_nobody_awaits(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Python would warn about it on the terminal."""
    dial = Target.dial

    def interrupted(target: Target) -> Any:
        dialling = dial(target)
        signal.raise_signal(signal.SIGINT)
        return dialling

    monkeypatch.setattr(Target, "dial", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(["conformance", UNUSED_URL]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    gc.collect()  # Python warns when the coroutine goes
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_every_command_takes_an_interrupt_where_it_waits() -> None:
    """The portal's run is in a thread, which gets no signals; that of the fixtures is in virtual time."""
    elsewhere = {Path("reference/client/without_trio/portal.py"), Path("simulation/processes/fixtures.py")}
    root = Path(__file__).parents[2]
    calls = [
        (file.relative_to(root), node)
        for package in ("reference", "simulation")
        for file in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "trio.run"
    ]
    unrestricted = {
        file for file, call in calls if "restrict_keyboard_interrupt_to_checkpoints" not in {each.arg for each in call.keywords}
    }
    assert unrestricted == elsewhere


def _verdict(status: str, clause: str | None = None) -> CaseVerdict:
    return CaseVerdict("a.case", "what it is about", ("8.2", "8.3"), status, 0.1, clause, "message")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "clause", "expected"),
    [
        ("passed", None, {"8.2": "passed", "8.3": "passed", "8.4": "not exercised"}),
        ("failed", "8.3", {"8.2": "not exercised", "8.3": "failed"}),
        ("not applicable", None, {"8.2": "not exercised", "8.3": "not exercised"}),
    ],
)
def test_a_report_says_which_clauses_were_exercised(status: str, clause: str | None, expected: dict[str, str]) -> None:
    report = ConformanceReport("server", "http://x", (_verdict(status, clause),), 1.0)
    assert report.has_passed == (status != "failed")
    found = {each.clause: each.status for each in report.clauses()}
    assert {number: found[number] for number in expected} == expected


async def _judge_with_tokens(
    names: list[str], users: int, runs: int = 0, *, admin: bool = False, secret: bytes | None = None
) -> dict[str, CaseVerdict]:
    settings = ServerSettings(secret=SECRET)
    async with open_server(settings, store=MemoryStore(), origin_ns=ORIGIN_NS, listening=False) as server:
        now_s, started_s = ORIGIN_NS // 10**9, trio.current_time()

        def token(user: str, role: str = "member") -> str:
            return make_token(SECRET, user, role=role, runs=None, issued_at_s=now_s, ttl_s=3600)  # type: ignore[arg-type]

        made = [str(uuid.uuid4()) for _ in range(runs)]
        for run_id in made:
            await server.create_run(run_id)

        async def dial() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return server.connect(capacity_bytes=256 * 1024)

        judged = JudgedServer(
            TARGET,
            tokens=[token(f"user-{number}") for number in range(users)],
            admin_token=token("root", "admin") if admin else None,
            secret=secret,
            runs=made,
            wall_clock=lambda: ORIGIN_NS / 10**9 + trio.current_time() - started_s,
            dial=dial,
        )
        verdicts = await run_cases(server_cases(names), judged.open_bench)
    return {verdict.case: verdict for verdict in verdicts}


@pytest.mark.slow
@pytest.mark.parallel
def test_a_server_with_signed_tokens_passes() -> None:
    verdicts = in_virtual_time(lambda: _judge_with_tokens([], 2, admin=True))
    assert failures(verdicts, NEED_SECRET) == []


@pytest.mark.slow
@pytest.mark.parallel
def test_with_the_secret_every_case_applies() -> None:
    verdicts = in_virtual_time(lambda: _judge_with_tokens([], 0, secret=SECRET))
    assert failures(verdicts) == []


def test_with_one_token_cases_of_two_users_do_not_apply() -> None:
    verdicts = in_virtual_time(_judge_with_tokens, ["presence.users", "publish.copies"], 1)
    assert verdicts["presence.users"].status == "not applicable"
    assert verdicts["publish.copies"].status == "passed"


@pytest.mark.slow
@pytest.mark.parallel
def test_given_runs_are_used_one_case_at_a_time() -> None:
    names = [case.name for case in SERVER_CASES if case.name.startswith(("place.", "publish.", "presence.", "session."))]
    verdicts = in_virtual_time(_judge_with_tokens, names, 2, 2)
    expected = {"place.window": "not applicable"}
    assert {name: verdict.status for name, verdict in verdicts.items() if verdict.status != "passed"} == expected, verdicts


async def _judge(case: KitCase[ServerBench]) -> CaseVerdict:
    return (await run_cases([case], JudgedServer(TARGET).open_bench))[0]


def test_a_case_has_a_time_limit() -> None:
    async def forever(bench: ServerBench) -> None:
        await trio.sleep_forever()

    verdict = in_virtual_time(_judge, KitCase("a.case", ("8.2",), "waits", forever))
    assert (verdict.status, verdict.clause) == ("failed", "8.2")
    assert "not done within 45 s" in verdict.message


def test_a_fault_of_the_kit_is_called_so() -> None:
    async def faulty(bench: ServerBench) -> None:
        async with trio.open_nursery():
            raise KeyError("oops")

    verdict = in_virtual_time(_judge, KitCase("a.case", ("8.2",), "breaks", faulty))
    assert verdict.status == "failed"
    assert "a fault of the kit" in verdict.message
