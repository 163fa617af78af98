"""Paths with every setting over the proxy: delays equal the simulator's to the nanosecond; unsupported settings are refused."""

from collections.abc import Iterator

import pytest
import trio
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, FAULT, Call, Clock
from simulation.emulator import open_emulator
from simulation.emulator.pipe import EmulatedPipe, Mark
from simulation.network.availability import comings_and_goings
from simulation.network.delay import directions_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.faults import Outage, Path
from simulation.scenario.paths import BernoulliLoss, Dns, Middlebox, OnOffMarkov, Tcp, TcpKeepalive
from simulation.scenario.scenario import Group, Scenario
from simulation.testing import rich_paths
from tests.emulator.bench import MemoryServer, assert_silent, open_bench, receive_exactly, receive_to_end, run_in_virtual_time
from tests.emulator.test_upgrades import GET, WEBSOCKET
from tests.simulation.pipes import Owner

EXACT = 1e-9
LATENCY_S = 0.25
ARRIVED_MAX_S = 4000.0


@settings(max_examples=10, deadline=None)
@given(
    path=rich_paths(),
    gaps_s=st.lists(st.sampled_from([0.0, 0.003, 0.031, 0.5, 7.0]), min_size=1, max_size=25),
    sizes=st.lists(st.sampled_from([0, 1, 1460, 9000]), min_size=25, max_size=25),
    outages=st.lists(st.tuples(st.floats(0.0001, 20), st.floats(0.1, 20)), max_size=2),
)
def test_a_lane_is_the_simulator_s(path: Path, gaps_s: list[float], sizes: list[int], outages: list[tuple[float, float]]) -> None:
    sent_s = [sum(gaps_s[: number + 1]) for number in range(len(gaps_s))]
    clock = Clock()
    way, simulated = directions_of(path).down, []
    owner = Owner(clock)
    lane = SimulatedPipe(clock, way, RandomStreams(3).of("lane"), owner)
    for number, at_s in enumerate(sent_s):
        Call(clock, ns(at_s), ARRIVAL, lambda call, n=number: lane.push(lambda m: simulated.append((m, clock.now)), n, sizes[n]))
    for at_s, lasts_s in outages:
        Call(clock, ns(at_s), FAULT, lambda _: lane.hold())
        Call(clock, ns(at_s + lasts_s), FAULT, lambda _: lane.release())
    clock.run(ns(ARRIVED_MAX_S))
    assume(not owner.gave_up_at)  # a kernel that gives up is the simulator's alone

    real: list[tuple[int, int]] = []

    async def main() -> None:
        emulated = EmulatedPipe(way, RandomStreams(3).of("lane"), buffer_bytes_max=1 << 30)

        async def receive() -> None:
            while True:
                await emulated.next()
                real.append((len(real), ns(trio.current_time())))

        todo = [(ns(at_s), 0, number) for number, at_s in enumerate(sent_s)]
        todo += [(ns(at_s), 1, -1) for at_s, _ in outages] + [(ns(at_s + lasts_s), 1, -2) for at_s, lasts_s in outages]
        with trio.move_on_at(ARRIVED_MAX_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                for at, _, what in sorted(todo, key=lambda one: one[:2]):
                    await trio.sleep_until(at / NS_PER_S)
                    if what >= 0:
                        emulated.push(Mark.BYTES, bytes(sizes[what]))
                    else:
                        (emulated.hold if what == -1 else emulated.release)()

    run_in_virtual_time(main)
    assert real == simulated


async def test_a_lost_packet_waits_for_its_timeout(autojump_clock: MockClock) -> None:
    delays = []
    async with open_bench(Path(latency_s=0.05, loss=BernoulliLoss(probability=0.3)), seed=3) as bench:
        client, server = await bench.connect()
        for _ in range(60):
            sent_at = trio.current_time()
            await client.send_all(b"x")
            await receive_exactly(server, 1)
            delays.append(round(trio.current_time() - sent_at, 6))
            await trio.sleep(10)
    assert min(delays) == 0.05
    assert 0.35 in delays
    assert sum(delay > 0.05 for delay in delays) in range(8, 30)  # Binomial(60, 0.3): 99.9 % within


@pytest.mark.parametrize(("tls", "round_trips"), [("none", 0), ("1.3", 1), ("1.2", 2)])
async def test_tls_is_charged_before_the_first_byte(tls: str, round_trips: int, autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=LATENCY_S, tcp=Tcp(tls=tls))) as bench:
        await bench.connect()
        assert trio.current_time() == pytest.approx((3 + 2 * round_trips) * LATENCY_S, abs=EXACT)


async def test_each_direction_has_its_own_bandwidth(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0, bandwidth_bytes_per_s=1000, up_bandwidth_bytes_per_s=100)) as bench:
        client, server = await bench.connect()
        for sender, receiver, takes_s in ((client, server, 1.0), (server, client, 0.1)):
            sent_at = trio.current_time()
            await sender.send_all(bytes(100))
            await receive_exactly(receiver, 100)
            assert trio.current_time() - sent_at == pytest.approx(takes_s, abs=EXACT)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_an_outage_in_one_direction(direction: str, autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=LATENCY_S)) as bench:
        client, server = await bench.connect()
        bench.nursery.start_soon(bench.link.outage, 10, direction)
        await wait_all_tasks_blocked()
        began_at = trio.current_time()
        await client.send_all(b"up")
        await server.send_all(b"down")
        passing, held = ((client, b"down"), (server, b"up")) if direction == "up" else ((server, b"up"), (client, b"down"))
        assert await receive_exactly(passing[0], len(passing[1])) == passing[1]
        assert trio.current_time() - began_at == pytest.approx(LATENCY_S, abs=EXACT)
        assert await receive_exactly(held[0], len(held[1])) == held[1]
        assert trio.current_time() - began_at == pytest.approx(10 + LATENCY_S, abs=EXACT)


async def test_what_is_not_acknowledged_keeps_its_room(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0), buffer_bytes_max=100) as bench:
        client, server = await bench.connect()
        bench.nursery.start_soon(bench.link.outage, 10, "down")
        await wait_all_tasks_blocked()
        await client.send_all(bytes(150))
        assert await receive_exactly(server, 100) == bytes(100)
        await assert_silent(server, 5)
        assert await receive_exactly(server, 50) == bytes(50)
        assert trio.current_time() == pytest.approx(10, abs=EXACT)


async def test_a_short_message_arrives_with_the_first_flight_of_a_long_one(autojump_clock: MockClock) -> None:
    """A welcome and a snapshot leave the server in one send. The client answers the welcome while the snapshot is on its way."""
    async with open_bench(Path(latency_s=LATENCY_S, tcp=Tcp(congestion="linux"))) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await server.send_all(b"welcome" + bytes(14_593 + 29_200))  # 10 + 20 packets of 1460: two flights
        assert await receive_exactly(client, 7) == b"welcome"
        assert trio.current_time() - sent_at == pytest.approx(LATENCY_S, abs=EXACT)
        await receive_exactly(client, 14_593 + 29_200)
        assert trio.current_time() - sent_at == pytest.approx(3 * LATENCY_S, abs=EXACT)


async def test_a_large_message_takes_the_flights_of_slow_start(autojump_clock: MockClock) -> None:
    """10, 20, 40, 80 and 160 packets, then 179 at a time, which the buffer of 256 KiB holds, and the rest of 1233: 11 flights."""
    async with open_bench(Path(latency_s=LATENCY_S, tcp=Tcp(congestion="linux")), buffer_bytes_max=256 * 1024) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        bench.nursery.start_soon(server.send_all, bytes(1_800_000))
        await receive_exactly(client, 1_800_000)
        assert trio.current_time() - sent_at == pytest.approx(21 * LATENCY_S, abs=EXACT)


async def test_with_a_window_as_much_may_wait_as_may_be_in_flight(autojump_clock: MockClock) -> None:
    path = Path(latency_s=LATENCY_S, tcp=Tcp(congestion="linux"))
    pipe = EmulatedPipe(directions_of(path).up, RandomStreams(3).of("pipe"), buffer_bytes_max=14_600)
    for _ in range(2):
        with trio.fail_after(LATENCY_S):
            assert await pipe.room() == 14_600
        pipe.push(Mark.BYTES, bytes(14_600))
    with trio.move_on_after(LATENCY_S) as limit:
        await pipe.room()
    assert limit.cancelled_caught


async def test_after_an_outage_bytes_wait_for_the_next_retransmission(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.01, tcp=Tcp(resumes="rto"))) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.outage, 2)
        await wait_all_tasks_blocked()
        await client.send_all(b"x")
        await receive_exactly(server, 1)
        # The RTO is 220 ms: retransmissions 0.22, 0.66, 1.54 and 3.3 s after the first try.
        assert trio.current_time() - began_at == pytest.approx(3.31, abs=EXACT)


# Middleboxes.


async def test_a_connection_on_which_nothing_passes_is_reset(autojump_clock: MockClock) -> None:
    box = Middlebox(idle_timeout_s=5, idle_effect="reset")
    async with open_bench(Path(latency_s=LATENCY_S, middlebox=box)) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await server.send_all(b"x")
        await receive_exactly(client, 1)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert trio.current_time() - sent_at == pytest.approx(5, abs=EXACT)


async def test_a_connection_on_which_nothing_passes_is_forgotten(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=LATENCY_S, middlebox=Middlebox(idle_timeout_s=5))) as bench:
        client, server = await bench.connect()
        await trio.sleep(6)
        await client.send_all(b"x")
        await assert_silent(server, 100)
        assert bench.link.statistics().connections_silenced == 1


async def test_a_connection_ends_at_its_greatest_age(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0, middlebox=Middlebox(connection_age_max_s=4))) as bench:
        client, _ = await bench.connect()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert trio.current_time() == pytest.approx(4, abs=EXACT)


async def test_a_websocket_ends_at_its_greatest_age_and_other_http_does_not(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0, middlebox=Middlebox(websocket_age_max_s=0.3))) as bench:
        client = bench.dial()
        await client.send_all(GET)
        await trio.sleep(10)
        await client.send_all(WEBSOCKET)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert trio.current_time() == pytest.approx(10.3, abs=EXACT)


async def test_an_upgrade_is_stripped_of_what_makes_it_one(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0, middlebox=Middlebox(upgrades="strip"))) as bench:
        client = bench.dial()
        await client.send_all(WEBSOCKET)
        server = await bench.server.accept()
        head = await receive_exactly(server, len(WEBSOCKET) - len(b"Upgrade: websocket\r\nConnection: Upgrade\r\n"))
        assert b"pgrade" not in head
        assert head.endswith(b"\r\n\r\n")
        await server.send_all(b"HTTP/1.1 426 Upgrade Required\r\n\r\n")
        assert (await receive_exactly(client, 33)).startswith(b"HTTP/1.1 426")


async def test_an_upgrade_may_hang(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0)) as bench:
        bench.nursery.start_soon(bench.link.block_upgrade, 100, "hang")
        await wait_all_tasks_blocked()
        client = bench.dial()
        await client.send_all(WEBSOCKET)
        server = await bench.server.accept()
        assert await receive_to_end(server) == b""
        await assert_silent(client, 50)
        await client.aclose()
        await trio.sleep(1)
        assert bench.link.statistics().connections_open == 0


# Availability, and the load balancer.


async def test_lines_come_and_go_as_in_the_simulator(autojump_clock: MockClock) -> None:
    process = OnOffMarkov(up_mean_s=5, down_mean_s=3)
    scenario = Scenario(name="x", horizon_s=60.0, groups=(Group(name="c", clients=2, availability=process),))
    expected = [fault for faults in comings_and_goings(scenario, RandomStreams(7)) for fault in faults]
    async with open_emulator("127.0.0.1", 1, seed=7, connect=MemoryServer().connect) as emulator:
        for name in scenario.client_names:
            await emulator.add_link(name, Path())
        await emulator.run_availability(comings_and_goings(scenario, RandomStreams(7)))
        applied = emulator.statistics().faults
    assert isinstance(expected[0], Outage)
    assert sorted((round(fault.at_s, 6), fault.client) for fault in applied) == sorted(
        (round(fault.at_s, 6), fault.clients[0]) for fault in expected
    )


async def test_a_load_balancer_cuts_its_share_and_accepts_no_client(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0)) as bench:
        client, _ = await bench.connect()
        bench.nursery.start_soon(bench.link.load_balancer_cut, 5, 1.0)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await bench.dial().receive_some()
        await trio.sleep(6)
        await bench.connect()


# What it cannot do.


def paths_that_are_refused() -> Iterator[tuple[Path, str]]:
    yield Path(tcp=Tcp(retries=3)), "tcp.retries is for the simulator"
    yield Path(tcp=Tcp(user_timeout_s=20.0)), "tcp.user_timeout_s is for the simulator"
    yield Path(tcp=Tcp(keepalive=TcpKeepalive())), "tcp.keepalive is for the simulator"
    yield Path(middlebox=Middlebox(idle_timeout_s=60.0, idle_sweep_s=20.0)), "middlebox.idle_sweep_s is for the simulator"
    yield Path(dns=Dns()), "dns is for the simulator"
    yield Path(loss=BernoulliLoss(probability=2.0)), r"<= 1.0 - at `\$.loss.probability`"


@pytest.mark.parametrize(("path", "message"), list(paths_that_are_refused()))
async def test_what_it_cannot_do_is_refused(path: Path, message: str, autojump_clock: MockClock) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        async with open_bench(path):
            pass
    assert "\n" not in str(caught.value)
