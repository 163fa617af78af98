"""The effects of a path on bytes, in virtual time: latency, bandwidth, jitter, buffers, and the ways to end."""

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from reference.protocol.errors import ConfigError, SteadywireError
from simulation.emulator import EmulatedAccessLink, EmulatorError
from simulation.emulator.pipe import EmulatedPipe, Mark
from simulation.network.delay import directions_of
from simulation.random import RandomStreams
from simulation.scenario.faults import Path
from tests.emulator.bench import (
    AT_ONCE,
    MemoryServer,
    assert_silent,
    open_bench,
    receive_exactly,
    receive_to_end,
    run_in_virtual_time,
)

EXACT = 1e-9  # seconds; what is left of a sum of floats


async def test_latency_is_exact_in_both_directions(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25)) as bench:
        client, server = await bench.connect()
        for sender, receiver in ((client, server), (server, client)):
            sent_at = trio.current_time()
            await sender.send_all(b"hello")
            assert await receive_exactly(receiver, 5) == b"hello"
            assert trio.current_time() - sent_at == pytest.approx(0.25, abs=EXACT)


async def test_the_handshake_costs_a_round_trip_before_the_first_byte_leaves(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25)) as bench:
        dialled_at = trio.current_time()
        client = bench.dial()
        await client.send_all(b"hello")
        server = await bench.server.accept()
        assert trio.current_time() - dialled_at == pytest.approx(0.25, abs=EXACT)
        assert await receive_exactly(server, 5) == b"hello"
        assert trio.current_time() - dialled_at == pytest.approx(0.75, abs=EXACT)


async def test_the_server_may_speak_first(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25)) as bench:
        dialled_at = trio.current_time()
        client = bench.dial()
        server = await bench.server.accept()
        await server.send_all(b"welcome")
        assert await receive_exactly(client, 7) == b"welcome"
        assert trio.current_time() - dialled_at == pytest.approx(0.5, abs=EXACT)


@pytest.mark.parametrize("count", [1, 1000, 1460, 1461, 50_000])
async def test_bandwidth_serialises_exactly(count: int, autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1, bandwidth_bytes_per_s=10_000)) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await client.send_all(bytes(count))
        await receive_exactly(server, count)
        assert trio.current_time() - sent_at == pytest.approx(count / 10_000 + 0.1, abs=EXACT)


async def test_bytes_queue_behind_each_other_at_the_bottleneck(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1, bandwidth_bytes_per_s=1000)) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        for _ in range(3):
            await client.send_all(bytes(500))
            await trio.sleep(0.1)
        for number in range(3):
            await receive_exactly(server, 500)
            assert trio.current_time() - sent_at == pytest.approx(0.5 * (number + 1) + 0.1, abs=EXACT)


async def test_connections_share_the_access_link_and_directions_do_not(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0, bandwidth_bytes_per_s=1000)) as bench:
        first = await bench.connect()
        second = await bench.connect()
        sent_at = trio.current_time()
        for client, server in (first, second):
            await client.send_all(bytes(1000))
            await server.send_all(bytes(1000))
        for client, server in (first, second):
            await receive_exactly(client, 1000)
            await receive_exactly(server, 1000)
        assert trio.current_time() - sent_at == pytest.approx(2.0, abs=EXACT)


async def arrivals(seed: int, path: Path, count: int) -> list[float]:
    """When each of `count` single bytes, sent at once, one a millisecond, arrives after its sending began."""
    async with open_bench(path, seed=seed) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()

        async def send() -> None:
            for number in range(count):
                await trio.sleep_until(began_at + number / 1000)
                await client.send_all(bytes([number]))

        bench.nursery.start_soon(send)
        times = []
        for number in range(count):
            assert await receive_exactly(server, 1) == bytes([number])
            times.append(trio.current_time() - began_at)
        return times


async def test_jitter_delays_within_its_range_and_keeps_the_order(autojump_clock: MockClock) -> None:
    path = Path(latency_s=0.05, jitter_s=0.03)
    times = await arrivals(1, path, 200)
    assert times == sorted(times)
    for number, at_s in enumerate(times):
        assert 0.05 - EXACT <= at_s - number / 1000 < 0.08 + EXACT
    assert len(set(times)) > 5, "jitter must vary"


async def test_jitter_is_a_function_of_the_seed(autojump_clock: MockClock) -> None:
    path = Path(latency_s=0.05, jitter_s=0.03)
    first, second, other = [await arrivals(seed, path, 50) for seed in (1, 1, 2)]
    assert first == pytest.approx(second, abs=EXACT)
    assert first != pytest.approx(other, abs=EXACT)


async def test_jitter_is_drawn_by_index_and_not_by_call_order(autojump_clock: MockClock) -> None:
    random_source = RandomStreams(1).of("ada/0/up")
    lane = EmulatedPipe(directions_of(Path(latency_s=0, jitter_s=1)).up, random_source, buffer_bytes_max=1000)
    expected = 0.0
    for index in range(20):
        lane.push(Mark.BYTES, b"x")
        expected = max(expected, random_source.uniform("jitter", index))
    for _ in range(20):
        await lane.next()
    assert trio.current_time() == pytest.approx(expected, abs=EXACT)


@settings(max_examples=60, deadline=None)
@given(
    up=st.lists(st.binary(max_size=300), max_size=12),
    down=st.lists(st.binary(max_size=300), max_size=12),
    pauses_s=st.lists(st.floats(0, 0.2), min_size=12, max_size=12),
    path=st.builds(
        Path,
        latency_s=st.floats(0, 0.5),
        jitter_s=st.floats(0, 0.5),
        bandwidth_bytes_per_s=st.none() | st.floats(100, 1e6),
    ),
    buffer_bytes_max=st.integers(50, 500),
    faults_at_s=st.lists(st.tuples(st.sampled_from(["outage", "stall"]), st.floats(0, 2), st.floats(0, 2)), max_size=4),
)
def test_what_goes_in_comes_out_byte_for_byte(
    up: list[bytes],
    down: list[bytes],
    pauses_s: list[float],
    path: Path,
    buffer_bytes_max: int,
    faults_at_s: list[tuple[str, float, float]],
) -> None:
    async def send(stream: trio.abc.HalfCloseableStream, chunks: list[bytes]) -> None:
        for chunk, pause_s in zip(chunks, pauses_s, strict=False):
            await stream.send_all(chunk)
            await trio.sleep(pause_s)
        await stream.send_eof()

    async def main() -> None:
        async with open_bench(path, buffer_bytes_max=buffer_bytes_max) as bench:
            client, server = await bench.connect()

            async def fault(kind: str, at_s: float, duration_s: float) -> None:
                await trio.sleep(at_s)
                await (bench.link.outage if kind == "outage" else bench.link.stall)(duration_s)

            async with trio.open_nursery() as nursery:
                for kind, at_s, duration_s in faults_at_s:
                    nursery.start_soon(fault, kind, at_s, duration_s)
                nursery.start_soon(send, client, up)
                nursery.start_soon(send, server, down)
                assert await receive_to_end(server) == b"".join(up)
                assert await receive_to_end(client) == b"".join(down)
            await wait_all_tasks_blocked()
            statistics = bench.link.statistics()
            assert statistics.bytes_to_server == len(b"!") + len(b"".join(up))
            assert statistics.bytes_to_client == len(b"".join(down))
            assert statistics.connections_open == statistics.bytes_held == 0

    run_in_virtual_time(main)


async def test_a_full_lane_stops_reading(autojump_clock: MockClock) -> None:
    async with open_bench(AT_ONCE, buffer_bytes_max=100) as bench:
        client, server = await bench.connect()
        bench.nursery.start_soon(bench.link.outage, 10)
        await client.send_all(bytes(60))
        await trio.sleep(1)
        assert bench.link.statistics().bytes_held == 60
        await client.send_all(bytes(940))
        await trio.sleep(1)
        assert bench.link.statistics().bytes_held == 100
        assert await receive_exactly(server, 1000) == bytes(1000)
        assert trio.current_time() == pytest.approx(10, abs=EXACT)


async def test_the_buffer_bounds_throughput_as_a_window_does(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.5), buffer_bytes_max=100) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await client.send_all(bytes(1000))
        await receive_exactly(server, 1000)
        assert trio.current_time() - sent_at == pytest.approx(10 * 0.5, abs=EXACT)


async def test_a_half_close_travels_behind_the_bytes(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25, bandwidth_bytes_per_s=1000)) as bench:
        client, server = await bench.connect()
        sent_at = trio.current_time()
        await client.send_all(bytes(1000))
        await client.send_eof()
        assert await receive_to_end(server) == bytes(1000)
        assert trio.current_time() - sent_at == pytest.approx(1.25, abs=EXACT)
        await server.send_all(b"still here")
        await server.aclose()
        assert await receive_to_end(client) == b"still here"
        await trio.sleep(1)
        assert bench.link.statistics().connections_open == 0


@pytest.mark.parametrize("by_server", [True, False])
async def test_a_reset_travels_to_the_other_end(by_server: bool, autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25)) as bench:
        ends = await bench.connect()
        cutter, other = reversed(ends) if by_server else ends
        cut_at = trio.current_time()
        cutter.abort()
        with pytest.raises(trio.BrokenResourceError):
            await other.receive_some()
        assert trio.current_time() - cut_at == pytest.approx(0.25, abs=EXACT)
        await wait_all_tasks_blocked()
        statistics = bench.link.statistics()
        assert (statistics.connections_reset, statistics.connections_cut) == (1, 0)


async def write_for_ever(stream: trio.abc.SendStream) -> None:
    while True:
        await trio.sleep(0.01)
        await stream.send_all(b"x")


async def test_a_server_that_writes_to_a_client_that_is_gone_is_reset(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25)) as bench:
        client, server = await bench.connect()
        await client.aclose()
        assert await server.receive_some() == b""
        await server.send_all(b"too late")
        written_at = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await write_for_ever(server)
        assert trio.current_time() - written_at == pytest.approx(0.5, abs=0.02)


async def test_a_server_that_is_down_resets_the_client_after_a_round_trip(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25)) as bench:
        bench.server.is_down = True
        dialled_at = trio.current_time()
        client = bench.dial()
        await client.send_all(b"hello")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert trio.current_time() - dialled_at == pytest.approx(0.5, abs=EXACT)
        statistics = bench.link.statistics()
        assert (statistics.connections_refused, statistics.connections_reset) == (1, 0)
        bench.server.is_down = False
        await bench.connect()


async def test_a_client_that_never_reads_stops_the_server(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.1), buffer_bytes_max=100) as bench:
        _client, server = await bench.connect()
        bench.nursery.start_soon(bench.link.stall, 100)
        await server.send_all(bytes(1000))
        await assert_silent(server, 50)
        assert bench.link.statistics().bytes_held == 100


@pytest.mark.parametrize(
    "path",
    [
        Path(latency_s=-1),
        Path(jitter_s=-0.1),
        Path(latency_s=float("nan")),
        Path(latency_s=float("inf")),
        Path(bandwidth_bytes_per_s=0),
        Path(bandwidth_bytes_per_s=float("nan")),
    ],
)
def test_a_path_that_makes_no_sense_is_one_clear_error(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(latency_s|jitter_s|bandwidth_bytes_per_s) must be"):
        EmulatedAccessLink("ada", path, MemoryServer().connect, RandomStreams(1))


def test_a_buffer_without_room_and_a_line_without_a_port_are_errors() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="buffer_bytes_max"):
            EmulatedAccessLink("ada", Path(), MemoryServer().connect, RandomStreams(1), buffer_bytes_max=0)
        with pytest.raises(EmulatorError, match="has no port") as caught:
            _ = EmulatedAccessLink("ada", Path(), MemoryServer().connect, RandomStreams(1)).port
        assert isinstance(caught.value, SteadywireError)

    run_in_virtual_time(main)
