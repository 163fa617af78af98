"""The program under test, as the kit sees it: commands go in, reports come out, one JSON object with one name on each line.

    to the program     {"publish": {"tag": "a", "eventType": "GRAFT", "data": {...}}}    {"cursor": {...}}
                       {"token": "..."}    {"close": {}}
    from the program   {"ready": {...}}    {"event": Event}    {"snapshot": {...}}    {"reset": {...}}
                       {"accepted": {"tag": "a", "sequenceNumber": 7}}
                       {"failed": {"tag": "a", "code": "...", "mayHaveArrived": false}}
                       {"token": {}}    {"ended": {"code": 4404}}

docs/conformance.md has the contract in full. A program is anything with `send` and `receive`; `ApplicationProcess` is a command.
"""

import json
import os
import shlex
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from simulation.conformance.cases import CannotJudge, CaseFailed
from simulation.conformance.frames import Frame, check_body, shorten

LINE_BYTES_MAX = 16 * 1024 * 1024
STDERR_BYTES_KEPT = 4000
STOP_S_MAX = 5.0
REPORTS = ("ready", "event", "snapshot", "reset", "accepted", "failed", "token", "ended")


@dataclass(frozen=True, slots=True)
class Assignment:
    """The address that a program gets when it starts."""

    url: str
    run: str
    token: str


class Application(Protocol):
    """A running program."""

    async def send(self, command: Frame) -> None:
        """Give it a command. A program that has ended takes none, which is no error."""
        ...

    async def receive(self) -> Frame | None:
        """Its next report; None when it has ended. Raises CaseFailed for a line that the contract does not have."""
        ...

    async def last_words(self) -> str:
        """How a program that has ended came to its end, as far as is known."""
        ...


Start = Callable[[Assignment], AbstractAsyncContextManager[Application]]
"""Starts a program, which is stopped at the end of the block."""


def check_report(line: str | bytes) -> Frame:
    """A line of a program. Raises CaseFailed."""
    try:
        report = json.loads(line)
    except ValueError:
        raise CaseFailed("contract", f"the program printed a line that is not JSON: {shorten(str(line))}") from None
    if not isinstance(report, dict) or len(report) != 1 or next(iter(report)) not in REPORTS:
        raise CaseFailed("contract", f"the program printed {shorten(report)}; a line has one of {', '.join(REPORTS)}")
    [(name, content)] = report.items()
    if not isinstance(content, dict):
        raise CaseFailed("contract", f"{name}: the content is an object, not {shorten(content)}")
    needed = {
        "accepted": ("tag", "sequenceNumber"),
        "failed": ("tag", "code", "mayHaveArrived"),
        "snapshot": ("sequenceNumber", "state"),
    }
    for field in needed.get(name, ()):
        if field not in content:
            raise CaseFailed("contract", f"{name}: {field} is missing in {shorten(content)}")
    if name == "event" and content.get("sequenceNumber") is not None:
        check_body(content, "Event", "1.2")
    return report


class ApplicationProcess:
    """A program in a process of its own."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = bytearray()
        self.stderr = bytearray()
        self._stderr_ended = trio.Event()

    async def send(self, command: Frame) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(json.dumps(command, ensure_ascii=False).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def receive(self) -> Frame | None:
        assert self._process.stdout is not None
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                if line.strip():
                    return check_report(bytes(line))
                continue
            if len(self._rest) > LINE_BYTES_MAX:
                raise CaseFailed("contract", f"the program printed a line of more than {LINE_BYTES_MAX} bytes")
            data = await self._process.stdout.receive_some(65_536)
            if not data:
                return None
            self._rest += data

    async def last_words(self) -> str:
        with trio.move_on_after(STOP_S_MAX):
            await self._process.wait()
            await self._stderr_ended.wait()
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        said = f"; its standard error ends with: {shorten(' / '.join(lines[-4:]), 600)}" if lines else ""
        return f"exit code {self._process.returncode}{said}"

    async def keep_stderr(self) -> None:
        """Read its standard error, so that it is never blocked; the end of it is kept."""
        assert self._process.stderr is not None
        async for data in self._process.stderr:
            self.stderr = (self.stderr + data)[-STDERR_BYTES_KEPT:]
        self._stderr_ended.set()


def command_line(command: str) -> list[str]:
    """The words of a command. Raises CannotJudge."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CannotJudge(f"--client {command!r}: {error}") from None
    if not words:
        raise CannotJudge("--client: give the command that starts a client, such as 'node client.mjs'")
    return words


def start_process(command: str) -> Start:
    """Starts that command, with {url}, {run} and {token} replaced, and the same in STEADYWIRE_URL, _RUN and _TOKEN."""
    words = command_line(command)

    @asynccontextmanager
    async def start(assignment: Assignment) -> AsyncIterator[Application]:
        values: dict[str, Any] = {"url": assignment.url, "run": assignment.run, "token": assignment.token}
        filled = [_filled(word, values) for word in words]
        environment = os.environ | {f"STEADYWIRE_{name.upper()}": value for name, value in values.items()}
        async with trio.open_nursery() as nursery:
            try:
                process = await trio.lowlevel.open_process(
                    filled, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
                )
            except OSError as error:
                raise CannotJudge(f"--client: {filled[0]!r} does not start: {error.strerror}") from None
            program = ApplicationProcess(process)
            nursery.start_soon(program.keep_stderr)
            try:
                yield program
            finally:
                with trio.CancelScope(shield=True):
                    await _stop(process)
                nursery.cancel_scope.cancel()

    return start


async def _stop(process: trio.Process) -> None:
    """Close its standard input, which ends a program that keeps the contract; then end it."""
    if process.stdin is not None:
        await process.stdin.aclose()
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(STOP_S_MAX):
            await process.wait()
    if process.poll() is None:
        process.kill()
        await process.wait()


def _filled(word: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word
