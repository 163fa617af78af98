"""Slow readers: they lag, catch up, or are disconnected; other clients are not affected."""

import tracemalloc
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.protocol.metrics import DISCONNECTIONS, LAGGING

from .running_server import FrameClient, RunningServer, running_server


def lagging(running: RunningServer) -> float:
    return running.server.monitor.metrics.value(LAGGING)


async def test_a_reader_that_stops_reading_lags_and_catches_up_in_order(autojump_clock: MockClock) -> None:
    async with (
        running_server() as running,
        running.join("alice") as alice,
        running.join("bob") as bob,
        running.connect(capacity_bytes=4096) as slow,
    ):
        await slow.hello("slow")
        for number in range(1, 301):
            await alice.publish(number, "x" * 200)
        await bob.events(300)
        assert bob.numbers_received() == list(range(1, 301))
        assert lagging(running) == 1
        await slow.events(300)
        assert slow.numbers_received() == list(range(1, 301))
        await trio.sleep(0.1)
        assert lagging(running) == 0
        await alice.publish(301)
        await slow.events(301)
        assert slow.numbers_received()[-1] == 301


async def test_a_reader_that_lagged_gets_the_present_users(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice, running.connect(capacity_bytes=2048) as slow:
        await slow.hello("slow")
        await slow.until_present("alice", "slow")
        for number in range(1, 51):
            await alice.publish(number, "x" * 200)
        async with running.join("bob"):
            await trio.sleep(1)
            await slow.events(50)
            await slow.until_present("alice", "bob", "slow")


async def test_a_reader_that_takes_nothing_is_left_after_a_while(autojump_clock: MockClock) -> None:
    config = ServerConfig(slow_reader_timeout_s=30, silence_max_s=3600)
    async with running_server(protocol=config) as running, running.join("alice") as alice:
        async with running.connect(capacity_bytes=2048) as slow:
            await slow.hello("slow")
            for number in range(1, 51):
                await alice.publish(number, "x" * 200)
            await trio.sleep(29)
            assert running.server.statistics().websockets == 2
            await trio.sleep(2)
            assert running.server.statistics().websockets == 1
            assert running.server.monitor.metrics.value(DISCONNECTIONS, code="4008", by="server") == 1
            await trio.sleep(20)
            assert running.server.statistics().connections == 1
        assert (await alice.publish(51))["type"] == "accepted"


async def test_who_pings_and_never_reads_is_left_when_its_answers_pile_up(autojump_clock: MockClock) -> None:
    async with running_server(control_frames_max=20) as running, running.join("bob") as bob:
        async with running.connect(capacity_bytes=1024) as slow:
            await slow.hello("slow")
            for nonce in range(200):
                await slow.send("ping", nonce=nonce)
                await trio.sleep(0.001)
                if running.server.statistics().websockets == 1:
                    break
            assert 20 < nonce < 100
            assert running.server.monitor.metrics.value(DISCONNECTIONS, code="4008", by="server") == 1
        assert (await bob.publish(1))["type"] == "accepted"


@pytest.mark.slow
async def test_slow_readers_cost_no_memory_for_what_they_have_not_read(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=50, snapshot_interval_events=10, appends_pending_max=50)
    readers, events, event_bytes = 30, 500, 4000  # 60 MB, if each had a queue
    async with running_server(protocol=config) as running, running.join("alice") as alice, AsyncExitStack() as stack:
        for index in range(readers):
            slow: FrameClient = await stack.enter_async_context(running.connect(capacity_bytes=2048))
            await slow.hello(f"slow-{index}")
        tracemalloc.start()
        for number in range(1, events + 1):
            await alice.publish(number, "x" * event_bytes)
            alice.received.clear()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12_000_000


async def test_a_goaway_reaches_a_reader_whose_socket_is_full(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice, running.connect(capacity_bytes=2048) as slow:
        await slow.hello("slow")
        for number in range(1, 31):
            await alice.publish(number, "x" * 200)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server.stop)
            await trio.sleep(1)
            code, _ = await slow.closed()
        assert code == 4001
        assert [frame["code"] for frame in slow.received if frame["type"] == "goaway"] == [4001]
