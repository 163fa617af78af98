"""A test bench for one link: its server and its clients are wires in memory, so that everything happens in virtual time."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import trio
from trio.testing import MockClock

from simulation.emulator import EmulatedAccessLink
from simulation.random import RandomStreams
from simulation.scenario.faults import Path
from tests.emulator.wires import Wire, wire_pair

AT_ONCE = Path(latency_s=0)


class MemoryServer:
    """Where links connect to; `is_down` makes it refuse."""

    def __init__(self) -> None:
        self._send, self._accepted = trio.open_memory_channel[Wire](100)
        self.is_down = False

    async def connect(self) -> Wire:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = wire_pair()
        self._send.send_nowait(theirs)
        return ours

    async def accept(self) -> Wire:
        return await self._accepted.receive()

    @property
    def waiting_count(self) -> int:
        return self._accepted.statistics().current_buffer_used


@dataclass
class Bench:
    """One link, and the means to dial it."""

    link: EmulatedAccessLink
    server: MemoryServer
    nursery: trio.Nursery

    def dial(self) -> Wire:
        """A client's end of a new connection; the handshake has just begun."""
        client, ours = wire_pair()
        self.nursery.start_soon(self.link.serve, ours)
        return client

    async def connect(self) -> tuple[Wire, Wire]:
        """Both ends of a connection whose handshake is over: three latencies pass, and one byte in front."""
        client = self.dial()
        await client.send_all(b"!")
        server = await self.server.accept()
        assert await server.receive_some(1) == b"!"
        return client, server


@contextlib.asynccontextmanager
async def open_bench(path: Path, *, seed: int = 1, buffer_bytes_max: int = 1 << 20) -> AsyncIterator[Bench]:
    server = MemoryServer()
    link = EmulatedAccessLink("ada", path, server.connect, RandomStreams(seed), buffer_bytes_max=buffer_bytes_max)
    async with trio.open_nursery() as nursery:
        yield Bench(link, server, nursery)
        nursery.cancel_scope.cancel()


def run_in_virtual_time(main: Callable[[], Awaitable[None]]) -> None:
    """For Hypothesis: every example has a clock of its own, and whatever waits for ever fails after a virtual day."""

    async def bounded() -> None:
        with trio.fail_after(86_400):
            await main()

    trio.run(bounded, clock=MockClock(autojump_threshold=0))


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        data = await stream.receive_some(count - len(received))
        assert data, f"the stream ended after {len(received)} of {count} bytes"
        received += data
    return bytes(received)


async def receive_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    received = bytearray()
    async for data in stream:
        received += data
    return bytes(received)


async def assert_silent(stream: trio.abc.ReceiveStream, seconds: float) -> None:
    """Nothing at all is heard for `seconds`."""
    with trio.move_on_after(seconds) as waiting:
        data = await stream.receive_some()
        raise AssertionError(f"heard {data!r}")
    assert waiting.cancelled_caught
