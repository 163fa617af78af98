"""Slow readers: they lag, catch up, or are disconnected; other clients are not affected."""

import tracemalloc
from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.protocol.metrics import DISCONNECTIONS, LAGGING

from .visitors import House, Visitor, open_house


def lagging(house: House) -> float:
    return house.server.monitor.metrics.value(LAGGING)


async def test_a_reader_that_stops_reading_lags_and_catches_up_in_order(autojump_clock: MockClock) -> None:
    async with (
        open_house() as house,
        house.guest("alice") as alice,
        house.guest("bob") as bob,
        house.visit(capacity_bytes=4096) as slow,
    ):
        await slow.hello("slow")
        for number in range(1, 301):
            await alice.publish(number, "x" * 200)
        await bob.events(300)
        assert bob.numbers_heard() == list(range(1, 301))
        assert lagging(house) == 1
        await slow.events(300)
        assert slow.numbers_heard() == list(range(1, 301))
        await trio.sleep(0.1)
        assert lagging(house) == 0
        await alice.publish(301)
        await slow.events(301)
        assert slow.numbers_heard()[-1] == 301


async def test_a_reader_that_lagged_gets_the_present_users(autojump_clock: MockClock) -> None:
    async with open_house() as house, house.guest("alice") as alice, house.visit(capacity_bytes=2048) as slow:
        await slow.hello("slow")
        await slow.until_present("alice", "slow")
        for number in range(1, 51):
            await alice.publish(number, "x" * 200)
        async with house.guest("bob"):
            await trio.sleep(1)
            await slow.events(50)
            await slow.until_present("alice", "bob", "slow")


async def test_a_reader_that_takes_nothing_is_left_after_a_while(autojump_clock: MockClock) -> None:
    config = ServerConfig(slow_reader_timeout_s=30, silence_max_s=3600)
    async with open_house(protocol=config) as house, house.guest("alice") as alice:
        async with house.visit(capacity_bytes=2048) as slow:
            await slow.hello("slow")
            for number in range(1, 51):
                await alice.publish(number, "x" * 200)
            await trio.sleep(29)
            assert house.server.statistics().websockets == 2
            await trio.sleep(2)
            assert house.server.statistics().websockets == 1
            assert house.server.monitor.metrics.value(DISCONNECTIONS, code="4008", by="server") == 1
            await trio.sleep(20)
            assert house.server.statistics().connections == 1
        assert (await alice.publish(51))["type"] == "accepted"


async def test_a_reader_that_falls_out_of_the_window_is_asked_to_resume(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=50, snapshot_interval_events=10, appends_pending_max=50)
    async with open_house(protocol=config) as house, house.guest("alice") as alice:
        async with house.visit(capacity_bytes=2048) as slow:
            welcome = await slow.hello("slow")
            for number in range(1, 201):
                await alice.publish(number, "x" * 200)
            code, _ = await slow.closed()
            assert code == 4008
            numbers = slow.numbers_heard()
            assert numbers == list(range(1, len(numbers) + 1))
        async with house.visit() as back:
            position = {"epoch": welcome["epoch"], "afterSequence": numbers[-1], "generation": 2}
            again = await back.hello("slow", **position)
            assert (again["outcome"], again["reason"]) == ("snapshot", "expired")
            await back.events(200 - again["afterSequence"])


async def test_who_pings_and_never_reads_is_left_when_its_answers_pile_up(autojump_clock: MockClock) -> None:
    async with open_house(control_frames_max=20) as house, house.guest("bob") as bob:
        async with house.visit(capacity_bytes=1024) as slow:
            await slow.hello("slow")
            for nonce in range(200):
                await slow.say("ping", nonce=nonce)
                await trio.sleep(0.001)
                if house.server.statistics().websockets == 1:
                    break
            assert 20 < nonce < 100
            assert house.server.monitor.metrics.value(DISCONNECTIONS, code="4008", by="server") == 1
        assert (await bob.publish(1))["type"] == "accepted"


@pytest.mark.slow
async def test_slow_readers_cost_no_memory_for_what_they_have_not_read(autojump_clock: MockClock) -> None:
    config = ServerConfig(events_kept_max=50, snapshot_interval_events=10, appends_pending_max=50)
    readers, events, event_bytes = 30, 500, 4000  # 60 MB, if each had a queue
    async with open_house(protocol=config) as house, house.guest("alice") as alice, AsyncExitStack() as stack:
        for index in range(readers):
            slow: Visitor = await stack.enter_async_context(house.visit(capacity_bytes=2048))
            await slow.hello(f"slow-{index}")
        tracemalloc.start()
        for number in range(1, events + 1):
            await alice.publish(number, "x" * event_bytes)
            alice.heard.clear()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12_000_000


async def test_a_goaway_reaches_a_reader_whose_socket_is_full(autojump_clock: MockClock) -> None:
    async with open_house() as house, house.guest("alice") as alice, house.visit(capacity_bytes=2048) as slow:
        await slow.hello("slow")
        for number in range(1, 31):
            await alice.publish(number, "x" * 200)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.server.stop)
            await trio.sleep(1)
            code, _ = await slow.closed()
        assert code == 4001
        assert [frame["code"] for frame in slow.heard if frame["type"] == "goaway"] == [4001]
