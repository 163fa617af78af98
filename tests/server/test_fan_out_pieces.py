"""A fan-out to many readers is written in parts, and frames that belong together leave in one send."""

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from reference.protocol import metrics
from reference.protocol.errors import CloseCode
from reference.protocol.server.observations import Left, Observation
from reference.server import live_run
from reference.server.app import open_server
from reference.server.run_output import WRITING_S_MAX
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import MemoryPushStream
from reference.server.wire.push_stream import Buffer
from reference.store import MemoryStore, StoreUnavailable

from .running_server import ORIGIN_NS, RUN, FrameClient, RunningServer, frame_client_on, running_server

READERS = 60
WRITE_S = 0.0004


@dataclass
class Writes:
    """Those to the sockets of a server in memory; each takes `WRITE_S` while they are slow."""

    are_slow: bool = False


@pytest.fixture
def writes(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> Writes:
    """A test that takes it takes the clock as well, or trio runs on the real one."""
    write_now, writes = MemoryPushStream._write_now, Writes()

    def write(stream: MemoryPushStream, data: Buffer) -> int:
        if writes.are_slow:
            autojump_clock.jump(WRITE_S)
        return write_now(stream, data)

    monkeypatch.setattr(MemoryPushStream, "_write_now", write)
    return writes


async def watch_loop(held_s: list[float]) -> None:
    """Note how long each other task keeps the loop."""
    while True:
        before = trio.current_time()
        await trio.lowlevel.checkpoint()
        held_s.append(trio.current_time() - before)


async def test_a_long_fan_out_lets_others_have_turns(autojump_clock: MockClock, writes: Writes) -> None:
    held_s: list[float] = []
    async with running_server() as running, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(running.join("alice"))
        readers = [await stack.enter_async_context(running.join(f"reader{number}")) for number in range(READERS)]
        async with trio.open_nursery() as nursery:
            writes.are_slow = True
            nursery.start_soon(watch_loop, held_s)
            for number in range(1, 6):
                await alice.publish(number)
            for reader in readers:
                await reader.events(5)
            writes.are_slow = False
            nursery.cancel_scope.cancel()
        assert all(reader.numbers_received() == [1, 2, 3, 4, 5] for reader in readers)
    assert READERS * WRITE_S > 4 * WRITING_S_MAX, "in one piece it takes longer"
    assert max(held_s) < 2 * WRITING_S_MAX + 0.004


async def test_frames_that_leave_with_the_close_are_counted(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.connect(capacity_bytes=1000) as client:
        await client.hello("alice")
        for nonce in range(100):
            await client.send("ping", nonce=nonce)
        await trio.sleep(1)
        await running.server._parts.runs.runs[0].dismiss(None, CloseCode.FORBIDDEN, "out")
        assert (await client.closed())[0] == 4403
        assert [frame["nonce"] for frame in client.received if frame["type"] == "pong"] == list(range(100))
        assert running.server.monitor.metrics.value(metrics.MESSAGES_OUT) == await messages_received([client])


async def messages_received(clients: list[FrameClient]) -> int:
    """By all of them, an event being one message, after reading what is there."""

    async def read(client: FrameClient) -> None:
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                await client.next()

    with trio.move_on_after(1):  # at once, or heartbeats come meanwhile
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(read, client)
    frames = [frame for client in clients for frame in client.received]
    return sum(len(frame["events"]) if frame["type"] == "events" else 1 for frame in frames)


@pytest.mark.parametrize("why", ["the server stops", "the store failed"])
async def test_a_goodbye_to_many_lets_others_have_turns(
    why: str, autojump_clock: MockClock, writes: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2000 goodbyes in one piece took 75 ms."""
    monkeypatch.setattr(live_run, "ENDED_AT_ONCE", 8)
    held_s: list[float] = []
    async with running_server() as running, AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(running.join(f"reader{number}")) for number in range(READERS)]
        async with trio.open_nursery() as nursery:
            writes.are_slow = True
            nursery.start_soon(watch_loop, held_s)
            while not held_s:  # until the loop is watched
                await trio.lowlevel.checkpoint()
            if why == "the server stops":
                nursery.start_soon(running.server.stop)
            else:
                running.server._parts.runs.drop(StoreUnavailable(why))
            for reader in readers:
                assert (await reader.closed())[0] == (4001 if why == "the server stops" else 4030)
            writes.are_slow = False
            nursery.cancel_scope.cancel()
    assert max(held_s) < READERS * WRITE_S * 0.75


async def test_the_end_of_many_sessions_after_a_failure_of_the_store_is_reported_in_pieces(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics and the log of 2000 sessions in one piece took 33 ms."""
    monkeypatch.setattr(live_run, "ENDED_AT_ONCE", 8)
    held_s: list[float] = []
    left: list[Left] = []

    def observe(observation: Observation) -> None:
        if isinstance(observation, Left):
            left.append(observation)
            autojump_clock.jump(WRITE_S)

    settings = ServerSettings()
    async with (
        open_server(settings, store=MemoryStore(), origin_ns=ORIGIN_NS, observe=observe, listening=False) as server,
        AsyncExitStack() as stack,
    ):
        await server.create_run(RUN)
        running = RunningServer(server)
        readers = [await stack.enter_async_context(running.join(f"reader{number}")) for number in range(READERS)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_loop, held_s)
            while not held_s:  # until the loop is watched
                await trio.lowlevel.checkpoint()
            server._parts.runs.drop(StoreUnavailable("the disk is full"))
            for reader in readers:
                assert (await reader.closed())[0] == 4030
            nursery.cancel_scope.cancel()
    assert [observation.code for observation in left] == [4030] * READERS
    assert max(held_s) < 2 * WRITING_S_MAX, "two pieces may run between two turns of the task that watches"


async def test_the_welcome_and_what_was_missed_are_one_send(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    write_now = MemoryPushStream._write_now
    writes: list[bytes] = []

    def note(stream: MemoryPushStream, data: Buffer) -> int:
        writes.append(bytes(data))
        return write_now(stream, data)

    async with running_server() as running, running.join("alice") as alice:
        epoch = epoch_of(alice.received)
        for number in range(1, 201):
            await alice.publish(number)
        monkeypatch.setattr(MemoryPushStream, "_write_now", note)
        async with frame_client_on(running.server.connect()) as bob:
            await bob.hello("bob", epoch=epoch, afterSequence=0)
            await bob.events(200)
            assert bob.numbers_received() == list(range(1, 201))
    with_welcome = [data for data in writes if b'"type":"welcome"' in data]
    assert len(with_welcome) == 1
    assert b'"sequenceNumber":200,' in with_welcome[0]


def epoch_of(received: list[dict[str, object]]) -> str:
    """As reported in the welcome."""
    return next(str(frame["epoch"]) for frame in received if frame["type"] == "welcome")
