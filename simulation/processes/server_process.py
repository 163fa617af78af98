"""Controls the server's process: starts it, kills it, starts it again on the same port and store.

It runs in a separate session, so Ctrl-C in a terminal reaches only the parent. It never outlives the parent: it is killed when
the block ends in any way; and if the parent is killed, the end of its standard input ends it (server_main).

A process takes about a second to load its code, several on a busy machine, and a server that is down for longer than planned is
another fault than the planned one. So the next process can be prepared before the present one is killed; a line on its standard
input starts it.

Its standard output is read line by line and passed on. Standard error goes to a file; its last lines are shown when the process
ends unexpectedly.
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import trio

from reference.protocol.config import ServerConfig
from reference.protocol.errors import SteadywireError
from simulation.processes.server_main import START, ListeningLine
from simulation.trace.trace import Record

SERVER_COMMAND = (sys.executable, "-m", "simulation.processes.server_main")
START_S_MAX = 60.0
"""Until a started process accepts connections: it loads its code, on a machine that may be busy."""
STOP_S_MAX = 5.0
"""Until a process has stopped after the request; then it is killed."""
LINE_BYTES_MAX = 1024 * 1024
STDERR_LINES_SHOWN = 12


class ServerFailed(SteadywireError):
    """The server process did not start, or ended by itself; the message has its last output."""


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """The address of a server and its run; the same for each of its processes."""

    port: int
    store: str
    run_id: str
    log: Path
    """Gets its standard error."""
    config: ServerConfig = field(default_factory=ServerConfig)


class ServerProcess:
    """One server, over several processes. Created by `open_server_process`."""

    def __init__(
        self, command: Sequence[str], place: ServerPlace, on_record: Callable[[Record], None], nursery: trio.Nursery
    ) -> None:
        self.place = place
        self._arguments = [*command, "--port", str(place.port), "--store", place.store, "--run", place.run_id]
        self._arguments += ["--config", msgspec.json.encode(place.config).decode()]
        self._on_record = on_record
        self._nursery = nursery
        self._process: trio.Process | None = None
        self._spare: trio.Process | None = None
        self._pauses: Counter[int] = Counter()  # how many pauses are active on a process, by its pid
        self.failure: ServerFailed | None = None
        self._decoder: msgspec.json.Decoder[ListeningLine | Record] = msgspec.json.Decoder(ListeningLine | Record)

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        return None if self._process is None else self._process.pid

    async def prepare(self) -> None:
        """Let the next process load its code; it touches neither port nor store before `start`."""
        if self._spare is None:
            with self.place.log.open("ab") as log:
                self._spare = await trio.lowlevel.open_process(
                    self._arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
                )

    async def start(self) -> ListeningLine:
        """Start it, and wait until it accepts connections. Raises ServerFailed."""
        assert self._process is None, "one process at a time"
        await self.prepare()
        process, self._process, self._spare = self._spare, self._spare, None
        assert process is not None, "it has just been prepared"
        assert process.stdin is not None, "it was asked for"
        with suppress(trio.BrokenResourceError):  # then it is dead, and `_read_output` finds out why
            await process.stdin.send_all(START)
        try:
            with trio.move_on_after(START_S_MAX):
                listening: ListeningLine = await self._nursery.start(self._read_output, process)
                return listening
            raise ServerFailed(self._with_log(f"the server process did not listen within {START_S_MAX:g} s"))
        except ServerFailed as failure:
            self.failure = failure
            raise

    async def kill(self) -> None:
        """Kill it at once; returns when it is gone."""
        process, self._process = self._process, None
        await _kill(process)

    async def stop(self) -> bool:
        """Ask it to stop, and wait until it has. False: it did not within `STOP_S_MAX`, and was killed."""
        process, self._process = self._process, None
        if process is None:
            return True
        process.terminate()
        with trio.move_on_after(STOP_S_MAX):
            await process.wait()
            return True
        await _kill(process)
        return False

    async def pause(self, seconds: float) -> None:
        """Pause the present process for `seconds` (SIGSTOP, SIGCONT). If it is killed meanwhile, it stays dead."""
        process = self._process
        if process is None:
            await trio.sleep(seconds)
            return
        self._pauses[process.pid] += 1
        process.send_signal(signal.SIGSTOP)
        try:
            await trio.sleep(seconds)
        finally:
            self._pauses[process.pid] -= 1
            if not self._pauses[process.pid]:
                process.send_signal(signal.SIGCONT)

    async def clear(self) -> None:
        """End everything at once."""
        spare, self._spare = self._spare, None
        await self.kill()
        await _kill(spare)

    async def _read_output(self, process: trio.Process, task_status: "trio.TaskStatus[ListeningLine]") -> None:
        """Read the output of one process to its end."""
        is_listening = False
        try:
            async for message in self._messages(process):
                if isinstance(message, ListeningLine):
                    is_listening = True
                    task_status.started(message)
                else:
                    self._on_record(message)
            await process.wait()
            if process is self._process:  # it ended unexpectedly
                raise ServerFailed(self._with_log(f"the server process ended by itself, with exit code {process.returncode}"))
        except ServerFailed as failure:
            if not is_listening:
                raise  # to `start`
            self.failure = failure
            self._nursery.cancel_scope.cancel()

    async def _messages(self, process: trio.Process) -> AsyncIterator[ListeningLine | Record]:
        assert process.stdout is not None, "it was asked for"
        assert process.stdin is not None, "it was asked for"
        async with process.stdin, process.stdout:
            rest = b""
            while chunk := await process.stdout.receive_some():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LINE_BYTES_MAX:
                    raise ServerFailed(f"the server process wrote a line of more than {LINE_BYTES_MAX} bytes")
                for line in lines:
                    yield self._decode(line)

    def _decode(self, line: bytes) -> ListeningLine | Record:
        try:
            return self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise ServerFailed(f"the server process wrote a line that is no record: {line[:200]!r} ({error})") from None

    def _with_log(self, what: str) -> str:
        lines = self.place.log.read_text(errors="replace").splitlines()[-STDERR_LINES_SHOWN:]
        return "\n".join([f"{what}; its log ends with:" if lines else f"{what}; its log is empty", *lines])


async def _kill(process: trio.Process | None) -> None:
    if process is not None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def open_server_process(
    place: ServerPlace, *, command: Sequence[str] = SERVER_COMMAND, on_record: Callable[[Record], None]
) -> AsyncIterator[ServerProcess]:
    """A server process, not started yet; it is gone when the block ends. Its observations are given to `on_record`.

    Raises ServerFailed when it ends by itself, at any time; exceptions of the block are raised unchanged.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        server = ServerProcess(command, place, on_record, nursery)
        try:
            yield server
        except Exception as error:
            failure = error
        finally:
            with trio.CancelScope(shield=True):
                await server.clear()
        nursery.cancel_scope.cancel()
    if server.failure is not None:
        raise server.failure
    if failure is not None:
        raise failure
