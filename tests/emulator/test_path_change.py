"""A path that changes while connections use it, in virtual time."""

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.errors import ConfigError
from simulation.scenario.faults import Path
from simulation.scenario.paths import BernoulliLoss, Middlebox
from tests.emulator.bench import assert_silent, open_bench, receive_exactly

EXACT = 1e-9


async def test_a_connection_that_stands_takes_the_new_latency_both_ways(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1)) as bench:
        client, server = await bench.connect()
        bench.link.change_path(Path(latency_s=0.7))
        for sender, receiver in ((client, server), (server, client)):
            sent_at = trio.current_time()
            await sender.send_all(b"hello")
            assert await receive_exactly(receiver, 5) == b"hello"
            assert trio.current_time() - sent_at == pytest.approx(0.7, abs=EXACT)


async def test_what_is_on_the_way_is_not_delayed_by_a_slower_path_and_order_is_kept(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=1.0)) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await client.send_all(b"first")
        await trio.sleep(0.4)
        bench.link.change_path(Path(latency_s=5.0))
        await client.send_all(b"later")
        assert await receive_exactly(server, 5) == b"first"
        assert trio.current_time() - sent_at == pytest.approx(1.0, abs=EXACT)
        assert await receive_exactly(server, 5) == b"later"
        assert trio.current_time() - sent_at == pytest.approx(5.4, abs=EXACT)


async def test_a_full_queue_drains_at_the_new_bandwidth(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1, bandwidth_bytes_per_s=10)) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await client.send_all(bytes(1000))  # 100 s
        await trio.sleep(1)
        bench.link.change_path(Path(latency_s=0.1, bandwidth_bytes_per_s=1000))
        await receive_exactly(server, 1000)
        assert trio.current_time() - sent_at == pytest.approx(1 + 1 + 0.1, abs=EXACT)


async def test_loss_that_is_switched_on_and_off_keeps_every_byte(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.05)) as bench:
        client, server = await bench.connect()
        received = b""
        for number in range(40):
            lossy = BernoulliLoss(probability=0.3) if number % 2 else None
            bench.link.change_path(Path(latency_s=0.05, jitter_s=0.02, loss=lossy))
            await client.send_all(bytes([number]) * 3000)
            await trio.sleep(0.03)
        received = await receive_exactly(server, 40 * 3000)
        assert received == b"".join(bytes([number]) * 3000 for number in range(40))


async def test_a_path_that_makes_no_sense_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1)) as bench:
        with pytest.raises(ConfigError, match="latency_s"):
            bench.link.change_path(Path(latency_s=-1.0))
        assert bench.link.path == Path(latency_s=0.1)


async def test_during_an_outage_the_new_path_waits_for_its_end(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1)) as bench, trio.open_nursery() as nursery:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        nursery.start_soon(bench.link.outage, 2.0)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"hello")
        bench.link.change_path(Path(latency_s=0.5))
        await assert_silent(server, 1.9)
        assert await receive_exactly(server, 5) == b"hello"
        assert trio.current_time() - sent_at == pytest.approx(2.5, abs=EXACT)


async def test_the_middlebox_of_a_changed_path_blocks_the_next_upgrade(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1)) as bench:
        client = bench.dial()
        await bench.server.accept()
        bench.link.change_path(Path(latency_s=0.1, middlebox=Middlebox(upgrades="block")))
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert await receive_exactly(client, 12) == b"HTTP/1.1 403"
