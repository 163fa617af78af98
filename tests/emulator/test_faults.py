"""What each fault does to connections, in virtual time, alone and where faults overlap."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reference.protocol.errors import ConfigError
from simulation.emulator import AppliedFault, Emulator, EmulatorError, open_emulator
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Path, Refuse, Reset, ServerRestart, Stall
from tests.emulator.bench import AT_ONCE, MemoryServer, assert_silent, open_bench, receive_exactly
from tests.emulator.wires import wire_pair

EXACT = 1e-9
PATH = Path(latency_s=0.25)


async def test_an_outage_holds_both_directions_and_sends_again_when_it_is_over(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        await client.send_all(b"in flight")
        await trio.sleep(0.1)
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.outage, 10)
        await trio.sleep(5)
        await server.send_all(b"during")
        assert await receive_exactly(server, 9) == b"in flight"
        assert trio.current_time() - began_at == pytest.approx(10.25, abs=EXACT)
        assert await receive_exactly(client, 6) == b"during"
        assert trio.current_time() - began_at == pytest.approx(10.25, abs=EXACT)


async def test_what_was_held_needs_the_bottleneck_again(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25, bandwidth_bytes_per_s=1000)) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.outage, 10)
        await client.send_all(bytes(3000))
        await receive_exactly(server, 3000)
        assert trio.current_time() - began_at == pytest.approx(13.25, abs=EXACT)


async def test_an_outage_empties_the_bottleneck(autojump_clock: MockClock) -> None:
    async with open_bench(Path(latency_s=0.25, bandwidth_bytes_per_s=1000)) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()
        await client.send_all(bytes(3000))
        await trio.sleep(0.5)
        await bench.link.outage(0.5)
        await receive_exactly(server, 3000)
        assert trio.current_time() - began_at == pytest.approx(1 + 3 + 0.25, abs=EXACT)


async def test_what_arrives_at_the_very_instant_an_outage_begins_has_arrived(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        for _ in range(20):  # the scheduler shuffles the tasks of one instant
            await client.send_all(b"x")
            sent_at = trio.current_time()
            await trio.sleep_until(sent_at + 0.25)
            await bench.link.outage(1)
            assert await receive_exactly(server, 1) == b"x"
            assert trio.current_time() == pytest.approx(sent_at + 1.25, abs=EXACT)


async def test_overlapping_outages_are_over_when_both_are(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.outage, 5)
        await trio.sleep(3)
        bench.nursery.start_soon(bench.link.outage, 6)
        await client.send_all(b"x")
        await receive_exactly(server, 1)
        assert trio.current_time() - began_at == pytest.approx(9.25, abs=EXACT)


async def test_a_cancelled_outage_is_over(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        with trio.move_on_after(1):
            await bench.link.outage(1000)
        sent_at = trio.current_time()
        await client.send_all(b"x")
        await receive_exactly(server, 1)
        assert trio.current_time() - sent_at == pytest.approx(0.25, abs=EXACT)


async def test_a_connection_dialled_in_an_outage_hangs_and_then_opens(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.outage, 10)
        await trio.sleep(1)
        client = bench.dial()
        await client.send_all(b"hello")
        await assert_silent(client, 5)
        assert bench.server.waiting_count == 0
        server = await bench.server.accept()
        assert trio.current_time() - began_at == pytest.approx(10.25, abs=EXACT)
        assert await receive_exactly(server, 5) == b"hello"
        assert trio.current_time() - began_at == pytest.approx(10.75, abs=EXACT)


async def test_the_server_never_notices_a_client_that_gave_up_in_an_outage(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        bench.nursery.start_soon(bench.link.outage, 10)
        await wait_all_tasks_blocked()
        client = bench.dial()
        await client.send_all(b"hello")
        await trio.sleep(5)
        await client.aclose()
        await trio.sleep(20)
        assert bench.server.waiting_count == 0
        assert bench.link.statistics().connections_abandoned == 1
        assert bench.link.statistics().connections_open == 0


async def test_a_stall_holds_what_comes_from_the_server_only(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.stall, 10)
        await trio.sleep(1)
        await server.send_all(b"one")
        await client.send_all(b"up")
        assert await receive_exactly(server, 2) == b"up"
        assert trio.current_time() - began_at == pytest.approx(1.25, abs=EXACT)
        await trio.sleep_until(began_at + 9.9)
        await server.send_all(b"two")
        assert await receive_exactly(client, 3) == b"one"
        assert trio.current_time() - began_at == pytest.approx(10, abs=EXACT)
        assert await receive_exactly(client, 3) == b"two"
        assert trio.current_time() - began_at == pytest.approx(10.15, abs=EXACT)


async def test_what_arrives_at_the_very_instant_a_stall_begins_has_arrived(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        for _ in range(20):
            await server.send_all(b"x")
            await trio.sleep(0.25)
            stall = Stall(at_s=0, duration_s=1)
            bench.link.begin(stall)  # at once: a task for it would begin only after the byte's
            with trio.fail_after(0.5):
                assert await receive_exactly(client, 1) == b"x"
            bench.link.end(stall)


async def test_a_connection_dialled_in_a_stall_reaches_the_server_but_hears_nothing(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        bench.nursery.start_soon(bench.link.stall, 10)
        await wait_all_tasks_blocked()
        client = bench.dial()
        await client.send_all(b"hello")
        server = await bench.server.accept()
        await server.send_all(b"welcome")
        assert trio.current_time() == pytest.approx(0.25, abs=EXACT)
        assert await receive_exactly(client, 7) == b"welcome"
        assert trio.current_time() == pytest.approx(10, abs=EXACT)
        assert await receive_exactly(server, 5) == b"hello"
        assert trio.current_time() == pytest.approx(10.25, abs=EXACT)


async def test_a_stall_within_an_outage_and_beyond_it(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        began_at = trio.current_time()
        bench.nursery.start_soon(bench.link.outage, 5)
        bench.nursery.start_soon(bench.link.stall, 8)
        await server.send_all(b"x")
        await receive_exactly(client, 1)
        assert trio.current_time() - began_at == pytest.approx(8, abs=EXACT)


async def test_a_reset_cuts_both_ends_at_once_and_new_connections_work(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        await client.send_all(b"lost")
        cut_at = trio.current_time()
        await bench.link.reset()
        for end in (client, server):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some()
        assert trio.current_time() == cut_at
        await wait_all_tasks_blocked()
        assert bench.link.statistics().connections_cut == 1
        assert bench.link.statistics().connections_open == 0
        await bench.connect()


async def test_a_connection_is_cut_only_once(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        await bench.connect()
        for fault in (Reset(at_s=0), Reset(at_s=0), HalfOpen(at_s=0)):
            bench.link.begin(fault)
        statistics = bench.link.statistics()
        assert (statistics.connections_cut, statistics.connections_silenced) == (1, 0)


async def test_a_reset_reaches_a_connection_that_hangs_in_its_handshake(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        bench.nursery.start_soon(bench.link.outage, 10)
        client = bench.dial()
        await wait_all_tasks_blocked()
        await bench.link.reset()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        await trio.sleep(20)
        assert bench.server.waiting_count == 0


async def test_half_open_is_silence_for_ever_and_new_connections_work(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        await server.send_all(b"in flight")
        await bench.link.half_open()
        await client.send_all(b"x")
        await server.send_all(b"y")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(assert_silent, client, 86_400)
            nursery.start_soon(assert_silent, server, 86_400)
        await bench.link.reset()  # a connection that nothing reaches cannot be cut either
        await bench.link.outage(1)  # and the end of an outage does not revive it
        await server.aclose()
        await assert_silent(client, 86_400)
        statistics = bench.link.statistics()
        assert (statistics.connections_silenced, statistics.connections_cut) == (1, 0)
        await bench.connect()
        assert bench.link.statistics().connections_open == 2
        await client.aclose()
        await wait_all_tasks_blocked()
        assert bench.link.statistics().connections_open == 1, "with both ends gone it is cleared up"


async def test_half_open_in_one_direction_after_the_other(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        await bench.link.half_open("up")
        await server.send_all(b"x")
        assert await receive_exactly(client, 1) == b"x"
        await bench.link.half_open("down")
        await server.send_all(b"y")
        await assert_silent(client, 86_400)
        assert bench.link.statistics().connections_silenced == 1


async def test_half_open_in_the_handshake_is_silent_too(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client = bench.dial()
        await wait_all_tasks_blocked()
        await bench.link.half_open()
        await assert_silent(client, 86_400)
        assert bench.server.waiting_count == 0
        await client.aclose()
        await wait_all_tasks_blocked()
        assert bench.link.statistics().connections_open == 0


async def test_refuse_leaves_the_standing_alone(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        client, server = await bench.connect()
        bench.nursery.start_soon(bench.link.refuse, 10)
        await wait_all_tasks_blocked()
        refused = bench.dial()
        with pytest.raises(trio.BrokenResourceError):
            await refused.receive_some()
        assert trio.current_time() == pytest.approx(0.75, abs=EXACT)
        await client.send_all(b"x")
        assert await receive_exactly(server, 1) == b"x"
        await trio.sleep(10)
        await bench.connect()


# Schedules, over an emulator whose server is in memory.


async def schedule_log(faults: list[Fault]) -> list[tuple[float, str, str]]:
    async with open_emulator("127.0.0.1", 1, seed=1, connect=MemoryServer().connect) as emulator:
        for client in ("ada", "bob"):
            await emulator.add_link(client, AT_ONCE)
        await emulator.run_schedule(faults)
        return [(round(fault.at_s, 6), fault.kind, fault.client) for fault in emulator.statistics().faults]


async def test_a_schedule_applies_each_fault_at_its_time_to_whom_it_names(autojump_clock: MockClock) -> None:
    faults: list[Fault] = [
        Reset(at_s=9),
        Outage(at_s=2, duration_s=3, clients=("bob",)),
        ServerRestart(at_s=1, duration_s=100),
        Stall(at_s=2, duration_s=0, clients=("bob", "ada", "bob")),
        HalfOpen(at_s=12, clients=("ada",)),
        Refuse(at_s=4, duration_s=20, clients=("ada",)),
        BlockUpgrade(at_s=0, duration_s=1),
    ]
    assert await schedule_log(faults) == [
        (0, "block_upgrade", "ada"),
        (0, "block_upgrade", "bob"),
        (2, "outage", "bob"),
        (2, "stall", "bob"),
        (2, "stall", "ada"),
        (4, "refuse", "ada"),
        (9, "reset", "ada"),
        (9, "reset", "bob"),
        (12, "half_open", "ada"),
    ]
    assert trio.current_time() == pytest.approx(24, abs=EXACT), "it returns when the last fault is over"


async def test_scheduled_outages_that_overlap_or_touch(autojump_clock: MockClock) -> None:
    server = MemoryServer()
    async with open_emulator("127.0.0.1", 1, seed=1, connect=server.connect) as emulator:
        link = await emulator.add_link("ada", PATH)
        schedule = [Outage(at_s=at_s, duration_s=2) for at_s in (1.0, 2.0, 4.0)]
        async with trio.open_nursery() as nursery:
            client, ours = wire_pair()
            nursery.start_soon(link.serve, ours)
            nursery.start_soon(emulator.run_schedule, schedule)
            await trio.sleep(1.5)
            await client.send_all(b"x")
            accepted = await server.accept()
            assert await receive_exactly(accepted, 1) == b"x"
            assert trio.current_time() == pytest.approx(6.25, abs=EXACT)
            nursery.cancel_scope.cancel()


async def test_a_cancelled_schedule_ends_the_faults_that_have_begun(autojump_clock: MockClock) -> None:
    server = MemoryServer()
    async with open_emulator("127.0.0.1", 1, seed=1, connect=server.connect) as emulator:
        link = await emulator.add_link("ada", PATH)
        with trio.move_on_after(5):
            await emulator.run_schedule([Outage(at_s=1, duration_s=100), Refuse(at_s=2, duration_s=100), Reset(at_s=50)])
        async with trio.open_nursery() as nursery:
            client, ours = wire_pair()
            nursery.start_soon(link.serve, ours)
            await client.send_all(b"x")
            assert await receive_exactly(await server.accept(), 1) == b"x"
            assert trio.current_time() == pytest.approx(5.75, abs=EXACT)
            nursery.cancel_scope.cancel()


async def test_verbs_of_the_emulator_hit_every_link(autojump_clock: MockClock) -> None:
    async with open_emulator("127.0.0.1", 1, seed=1, connect=MemoryServer().connect) as emulator:
        for client in ("ada", "bob"):
            await emulator.add_link(client, AT_ONCE)
        await emulator.reset()
        await trio.sleep(1)
        await emulator.outage(2)
        assert emulator.statistics().faults == (
            AppliedFault(0, "reset", "ada"),
            AppliedFault(0, "reset", "bob"),
            AppliedFault(1, "outage", "ada"),
            AppliedFault(1, "outage", "bob"),
        )
        assert trio.current_time() == pytest.approx(3, abs=EXACT)


# Bad input.


@pytest.fixture
async def emulator(autojump_clock: MockClock) -> AsyncIterator[Emulator]:
    async with open_emulator("127.0.0.1", 1, seed=1, connect=MemoryServer().connect) as opened:
        await opened.add_link("ada", AT_ONCE)
        yield opened


@pytest.mark.parametrize("duration_s", [-1, float("nan"), float("inf")])
async def test_a_duration_that_makes_no_sense_is_one_clear_error(emulator: Emulator, duration_s: float) -> None:
    for verb in (emulator.outage, emulator.stall, emulator.refuse, emulator.block_upgrade, emulator.link("ada").outage):
        with pytest.raises(ConfigError, match="duration_s must be"):
            await verb(duration_s)
    with pytest.raises(ConfigError, match="at_s must be"):
        await emulator.run_schedule([Reset(at_s=-1)])
    assert emulator.statistics().faults == ()


async def test_an_unknown_client_is_an_error_before_anything_happens(emulator: Emulator) -> None:
    with pytest.raises(EmulatorError, match=r"no link for client 'bob'.*'ada'"):
        await emulator.run_schedule([Reset(at_s=0), Reset(at_s=1, clients=("bob",))])
    with pytest.raises(EmulatorError, match="no link for client 'bob'"):
        emulator.link("bob")
    assert emulator.statistics().faults == ()


async def test_other_bad_input_is_an_error(emulator: Emulator) -> None:
    with pytest.raises(EmulatorError, match="has a link already"):
        await emulator.add_link("ada", AT_ONCE)
    with pytest.raises(EmulatorError, match="cannot have port"):
        await emulator.add_link("bob", AT_ONCE, port=emulator.link("ada").port)
    with pytest.raises(EmulatorError, match="cannot have port"):
        await emulator.add_link("bob", AT_ONCE, port=70_000)
    with pytest.raises(ConfigError, match="latency_s"):
        await emulator.add_link("bob", Path(latency_s=-1))
    with pytest.raises(ConfigError, match="server process"):
        await emulator.apply(ServerRestart(at_s=0, duration_s=1))
    assert [link.client for link in emulator.links] == ["ada"]
    emulator.close()
    with pytest.raises(EmulatorError, match="is closed"):
        await emulator.add_link("bob", AT_ONCE)


@pytest.mark.parametrize("port", [0, -1, 65_536])
async def test_an_upstream_port_out_of_range_is_an_error(port: int) -> None:
    with pytest.raises(ConfigError, match="upstream_port"):
        async with open_emulator("127.0.0.1", port, seed=1):
            pass


async def test_an_error_of_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_emulator("127.0.0.1", 1, seed=1):
            _ = 1 // 0
