"""`steadywire conformance`: judge a server or a client, print the verdicts, and return the exit code.

0   every case that applies passed
1   at least one case failed
2   nothing could be judged: the server cannot be reached, it takes no token, the command does not start, or an option is wrong
"""

import errno
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from uuid import UUID

import trio
from rich.console import Console

from simulation.conformance.applications import command_line, start_process
from simulation.conformance.cases import CannotJudge, CaseFailed, KitCase, run_cases
from simulation.conformance.clauses import Side
from simulation.conformance.client_bench import JudgedClient
from simulation.conformance.client_cases import CLIENT_CASES
from simulation.conformance.report import ConformanceReport, show_cases, show_report, show_verdict
from simulation.conformance.server_bench import JudgedServer, read_problem
from simulation.conformance.server_cases import SERVER_CASES
from simulation.conformance.wire import BadUrl, Target

PASSED, FAILED, NOT_JUDGED = 0, 1, 2
CLIENTS_AT_A_TIME = 4
SLOW_CLIENTS_AT_A_TIME = 10
"""Cases of clients that run at a time: each has a process of its own."""


def conformance_command(
    url: str | None = None,
    *,
    client: str | None = None,
    tokens: Sequence[str] = (),
    admin_token: str | None = None,
    secret_file: Path | None = None,
    runs: Sequence[str] = (),
    cases: Sequence[str] = (),
    list_only: bool = False,
    json_file: Path | None = None,
    patience_s: float = 5.0,
    console: Console | None = None,
) -> int:
    """Judge the server at `url`, or the program that `client` starts; `cases` are names, in which * stands for anything."""
    console = console or _Output(highlight=False)
    try:
        side: Side = _side(url, client, tokens or admin_token or secret_file or runs, list_only=list_only)
        every: list[KitCase[Any]] = [*SERVER_CASES] if side == "server" else [*CLIENT_CASES]
        chosen = _choose(every, cases)
        if list_only:
            show_cases(chosen, console)
            return PASSED
        if json_file is not None:
            _write(json_file, "")
        if url is not None:
            server = JudgedServer(Target.parse(url), tuple(tokens), admin_token, _secret(secret_file), _checked(runs), patience_s)
            report = _judge_all("server", url, chosen, server.open_bench, console, _reach(server))
        else:
            assert client is not None
            report = _judge_all("client", client, chosen, _client(client).open_bench, console, None)
        if json_file is not None:
            _write(json_file, report.to_json())
    except (CannotJudge, BadUrl, BaseExceptionGroup) as error:
        cause = _first(error)
        if not isinstance(cause, CannotJudge | BadUrl):
            raise cause from None
        print(f"steadywire conformance: {cause}", file=sys.stderr)
        return NOT_JUDGED
    show_report(report, console)
    return PASSED if report.has_passed else FAILED


class _Output(Console):
    """A console that leaves a closed pipe to the command line; rich would end the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "the reader of the output has gone")


def _side(url: str | None, client: str | None, for_server: object, *, list_only: bool) -> Side:
    if url is not None and client is not None:
        raise CannotJudge("give the URL of a server or --client COMMAND, not both")
    if client is not None and for_server:
        raise CannotJudge("--token, --admin-token, --secret-file and --run are for a server; with --client the kit is the server")
    if url is None and client is None and not list_only:
        raise CannotJudge("give the URL of a server, such as http://127.0.0.1:8765, or --client COMMAND")
    return "server" if client is None else "client"


def _choose(every: list[KitCase[Any]], names: Sequence[str]) -> list[KitCase[Any]]:
    for name in names:
        if not any(fnmatchcase(case.name, name) for case in every):
            raise CannotJudge(f"there is no case {name!r}; --list shows all, and * stands for anything, as in 'publish.*'")
    return [case for case in every if not names or any(fnmatchcase(case.name, name) for name in names)]


def _secret(file: Path | None) -> bytes | None:
    try:
        return None if file is None else file.read_bytes().strip()
    except OSError as error:
        raise CannotJudge(f"--secret-file {file}: {error.strerror or error}") from None


def _checked(runs: Sequence[str]) -> tuple[str, ...]:
    for run in runs:
        try:
            UUID(run)
        except ValueError:
            raise CannotJudge(f"--run {run!r}: a run's id is a UUID, such as 01234567-89ab-cdef-0123-456789abcdef") from None
    return tuple(runs)


def _client(command: str) -> JudgedClient:
    program = command_line(command)[0]
    if shutil.which(program) is None:
        raise CannotJudge(f"--client: there is no program {program!r}")
    return JudgedClient(start_process(command))


def _reach(server: JudgedServer) -> Callable[[], Any]:
    """Whether the server is there and takes the kit's tokens: else every case would fail for the same reason."""

    async def reach() -> None:
        try:
            stream = await (server.dial or server.target.dial)()
        except OSError as error:
            raise CannotJudge(f"cannot reach {server.target.authority}: {error}") from None
        await trio.aclose_forcefully(stream)
        case: Any = None
        async with server.open_bench(case) as bench:
            for user in range(1 if server.secret else max(1, len(server.tokens))):
                path = f"/api/runs/{(server.runs or ['00000000-0000-4000-8000-000000000000'])[0]}/collaboration/poll"
                try:
                    response = await bench.http("GET", path, token=bench.token(user))
                except CaseFailed as failed:
                    raise CannotJudge(f"{server.target.authority} does not answer as HTTP server: {failed}") from None
                if response.status == 401:
                    problem = read_problem(response, 4401, "5.1", "a poll")
                    is_given = bool(server.tokens or server.secret)
                    advice = "check --token or --secret-file" if is_given else "give tokens of two users with --token"
                    raise CannotJudge(f"the server takes no token {bench.token(user)[:12]!r}...: {problem['message']}; {advice}")

    return reach


def _judge_all(*given: Any) -> ConformanceReport:
    """Ctrl-C arrives where the main task waits: anywhere else it would leave a coroutine that nobody awaits."""
    return trio.run(_judge, *given, restrict_keyboard_interrupt_to_checkpoints=True)


async def _judge(
    side: Side,
    judged: str,
    cases: Sequence[KitCase[Any]],
    open_bench: Callable[[KitCase[Any]], AbstractAsyncContextManager[Any]],
    console: Console,
    prepare: Callable[[], Any] | None,
) -> ConformanceReport:
    if prepare is not None:
        await prepare()
    started_s = time.monotonic()
    limits = {} if side == "server" else {"at_a_time": CLIENTS_AT_A_TIME, "slow_at_a_time": SLOW_CLIENTS_AT_A_TIME}
    verdicts = await run_cases(cases, open_bench, on_verdict=lambda verdict: show_verdict(verdict, console), **limits)
    return ConformanceReport(side, judged, tuple(verdicts), time.monotonic() - started_s)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotJudge(f"--json {file}: {error.strerror or error}; name another file") from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
