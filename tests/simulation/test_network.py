"""The times of a connection's steps, and the effects of faults on it, measured in a trace."""

import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.server.driver import CONTROL_FRAMES_MAX
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import Clock
from simulation.network.delay import directions_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Path, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart, Workload
from simulation.trace.trace import (
    AcceptedRecord,
    AttemptMade,
    ConnectionLeft,
    ConnectionLost,
    Delivered,
    Published,
    QueueSampled,
    RequestMade,
    SessionJoined,
    SessionLeft,
    SnapshotTaken,
    StateTurned,
    Trace,
)
from simulation.world import World, run
from tests.simulation.pipes import Owner, at, pipe_of
from tests.simulation.worlds import QUIET, calm, times

LATENCY_S = 0.1
PATH = Path(latency_s=LATENCY_S)


def quiet(*faults: Fault, clients: int = 1, config: ClientConfig | None = None, **changes: object) -> Scenario:
    """Clients that only connect, on a line of 100 ms, and wait 1 s at the most between attempts."""
    part = ClientPart(config=config or ClientConfig(), policy=FullJitter(cap_s=1.0))
    return calm(clients, PATH, workload=QUIET, faults=faults, client=part, **changes)


BUSY = Workload(graft_per_s=3, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)


def turned(trace: Trace, state: ClientState) -> list[float]:
    return times(trace, StateTurned, state=state)


# The handshake.


def test_a_connection_costs_two_round_trips_before_its_first_frame() -> None:
    trace = run(quiet()).trace
    assert turned(trace, ClientState.CONNECTING) == [0.0]
    assert turned(trace, ClientState.GREETING) == pytest.approx([4 * LATENCY_S])
    assert times(trace, SessionJoined) == pytest.approx([5 * LATENCY_S])
    assert turned(trace, ClientState.PROVING) == pytest.approx([6 * LATENCY_S])
    assert turned(trace, ClientState.LIVE) == pytest.approx([8 * LATENCY_S])


def test_a_refused_connection_costs_one_round_trip() -> None:
    trace = run(quiet(Refuse(at_s=0, duration_s=0.25))).trace
    assert times(trace, ConnectionLost, message="the connection was refused")[0] == 2 * LATENCY_S
    assert len(turned(trace, ClientState.LIVE)) == 1


def test_a_forbidden_upgrade_costs_two_round_trips() -> None:
    trace = run(quiet(BlockUpgrade(at_s=0, duration_s=1.0))).trace
    assert times(trace, ConnectionLost, message="the upgrade was answered with HTTP 403")[0] == 4 * LATENCY_S


def test_polling_connects_once_and_then_costs_one_round_trip() -> None:
    config = ClientConfig(fallback_after_failures=1, poll_interval_s=1.0)
    trace = run(quiet(BlockUpgrade(at_s=0, duration_s=20.0), config=config)).trace
    fell_back = turned(trace, ClientState.POLLING)[0]
    polls = times(trace, RequestMade, request="poll")[:3]
    # Connecting and being answered: two round trips; after that one.
    assert polls == pytest.approx([fell_back, fell_back + 4 * LATENCY_S + 1, fell_back + 6 * LATENCY_S + 2])


def test_a_publish_does_not_wait_behind_a_long_poll() -> None:
    config = ClientConfig(fallback_after_failures=1, poll_wait_s=8.0)
    workload = Workload(graft_per_s=0.5, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
    scenario = quiet(BlockUpgrade(at_s=0, duration_s=20.0), config=config).replace(workload=workload)
    trace = run(scenario).trace
    published, accepted = times(trace, Published), times(trace, AcceptedRecord)
    waits = [answer - made for made, answer in zip(published, accepted, strict=True) if made > 4]
    assert waits
    assert max(waits) < 6 * LATENCY_S


# Faults.


def test_a_reset_is_seen_by_both_ends_at_once() -> None:
    trace = run(quiet(Reset(at_s=3.0))).trace
    assert times(trace, ConnectionLost) == [3.0]
    assert times(trace, SessionLeft) == [3.0]


def test_a_half_open_connection_is_noticed_only_when_a_ping_fails() -> None:
    trace = run(quiet(HalfOpen(at_s=3.0), horizon_s=20.0)).trace
    left = turned(trace, ClientState.WAITING)
    # The first ping is sent when welcomed, at 0.6 s, the next one 10 s later; it fails after another 10 s.
    assert left == pytest.approx([20.6])
    assert len(turned(trace, ClientState.LIVE)) == 2


def test_an_outage_delays_and_loses_nothing() -> None:
    result = run(quiet(Outage(at_s=3.0, duration_s=4.0), clients=2).replace(workload=BUSY))
    assert not times(result.trace, ConnectionLost)
    assert not [at for at in times(result.trace, Delivered) if 3.0 < at < 7.0 + LATENCY_S]
    assert [at for at in times(result.trace, Delivered) if at == 7.0 + LATENCY_S]
    assert result.counts.delivered == 2 * result.counts.published


def test_an_outage_that_outlasts_the_connect_timeout_is_noticed() -> None:
    trace = run(quiet(Outage(at_s=0.0, duration_s=5.0), config=ClientConfig(connect_timeout_s=2.0))).trace
    attempts = times(trace, AttemptMade, transport=Transport.WEBSOCKET)
    assert attempts[0] == 0.0
    assert 2.0 < attempts[1] < 2.0 + 1.25
    assert min(turned(trace, ClientState.GREETING)) >= 5.0 + LATENCY_S


def test_a_stall_holds_what_comes_from_the_server_only() -> None:
    trace = run(quiet(Stall(at_s=3.0, duration_s=4.0), clients=2).replace(workload=BUSY)).trace
    assert not [at for at in times(trace, Delivered) if 3.0 < at < 7.0]
    assert [at for at in times(trace, Delivered) if at == 7.0]  # already across: no time on the way any more


def test_a_blocked_upgrade_cuts_websockets_and_lets_http_pass() -> None:
    config = ClientConfig(fallback_after_failures=1, probe_interval_s=3.0)
    result = run(quiet(BlockUpgrade(at_s=3.0, duration_s=5.0), config=config))
    assert times(result.trace, ConnectionLost)[0] == 3.0
    assert result.counts.fallbacks == 1
    assert result.counts.returns_to_websocket == 1


def test_a_killed_server_is_noticed_after_one_latency_and_refuses_until_it_restarts() -> None:
    trace = run(quiet(ServerRestart(at_s=3.0, duration_s=4.0), config=ClientConfig(fallback_after_failures=None))).trace
    lost = times(trace, ConnectionLost)
    assert lost[0] == 3.0 + LATENCY_S
    assert len(lost) > 1
    assert min(at for at in times(trace, SessionJoined) if at > 3) > 7.0


def test_a_fault_hits_only_its_clients() -> None:
    trace = run(quiet(Reset(at_s=3.0, clients=("c-1",)), clients=3)).trace
    assert times(trace, ConnectionLost, client="c-1") == [3.0]
    assert len(times(trace, ConnectionLost)) == 1


def test_restarts_that_overlap_are_one() -> None:
    result = run(quiet(ServerRestart(at_s=3.0, duration_s=4.0), ServerRestart(at_s=5.0, duration_s=4.0)))
    assert result.counts.server_restarts == 1
    assert result.is_ok


# Readers that lag.


def test_a_reader_with_a_small_buffer_lags_and_catches_up() -> None:
    workload = Workload(graft_per_s=8, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=4)
    server = ServerPart(send_buffer_bytes=1500, config=ServerConfig(batch_events_max=4))
    scenario = quiet(Stall(at_s=3.0, duration_s=3.0, clients=("c-1",)), clients=2, server=server, settle_s=60.0)
    world = World(scenario.replace(workload=workload))
    result = world.run()
    assert result.is_ok
    assert result.counts.lost == 0
    waiting = [record for record in world.trace if isinstance(record, QueueSampled) and record.queue.startswith("control")]
    assert waiting  # frames of control had to wait for room
    assert all(record.length <= CONTROL_FRAMES_MAX for record in waiting)


def test_a_thin_line_delivers_late_and_in_order() -> None:
    workload = Workload(graft_per_s=2, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
    thin = calm(2, Path(latency_s=0.01, bandwidth_bytes_per_s=5000.0), workload=workload, settle_s=20.0)
    wide = calm(2, Path(latency_s=0.01), workload=workload, settle_s=20.0)
    slow, fast = run(thin), run(wide)
    assert slow.is_ok
    assert slow.counts.lost == 0
    assert times(slow.trace, Published) == times(fast.trace, Published)  # the work does not depend on the line
    assert sum(times(slow.trace, Delivered)) > sum(times(fast.trace, Delivered))


# Lanes.


def test_a_bottleneck_queues() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=1.0, bandwidth_bytes_per_s=100.0))
    for name in ("a", "b"):
        lane.push(lambda name: seen.append((clock.now / NS_PER_S, name)), name, 50)
    clock.run(ns(10))
    assert seen == [(1.5, "a"), (2.0, "b")]
    assert lane.half.bytes_held == 0


def test_jitter_never_reorders() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=0.1, jitter_s=1.0))
    names = [f"{number}" for number in range(50)]
    for number, name in enumerate(names):
        at(clock, number / 100, lambda name=name: lane.push(lambda name: seen.append((clock.now, name)), name))
    clock.run(ns(10))
    assert [name for _, name in seen] == names
    assert seen == sorted(seen, key=lambda one: one[0])


def test_what_is_held_is_sent_again_and_needs_its_full_time() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=1.0))
    lane.push(lambda name: seen.append((clock.now / NS_PER_S, name)), "a")
    at(clock, 0.5, lane.hold)
    at(clock, 0.7, lane.hold)
    at(clock, 2.0, lane.release)
    at(clock, 3.0, lane.release)
    clock.run(ns(10))
    assert seen == [(4.0, "a")]


def test_what_has_arrived_at_that_instant_is_not_held() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=1.0))
    lane.push(lambda name: seen.append((clock.now / NS_PER_S, name)), "a")
    lane.push(lambda name: seen.append((clock.now / NS_PER_S, name)), "b")
    at(clock, 1.0, lane.hold)
    clock.run(ns(10))
    assert seen == [(1.0, "a"), (1.0, "b")]


def test_a_closed_lane_delivers_nothing() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=1.0))
    lane.push(seen.append, "a")
    at(clock, 0.5, lane.close)
    at(clock, 0.6, lambda: lane.push(seen.append, "b"))
    clock.run(ns(10))
    assert not seen
    assert len(lane) == 0


def test_no_connection_is_left_behind() -> None:
    scenario = quiet(HalfOpen(at_s=3.0), HalfOpen(at_s=30.0), Reset(at_s=60.0), clients=3, horizon_s=70.0, settle_s=120.0)
    world = World(scenario)
    world.run()
    assert [access_link.connections for access_link in world.access_links.values()] == [1, 1, 1]


def test_a_large_frame_is_noticed_every_second_while_it_comes_in() -> None:
    clock = Clock()
    owner = Owner(clock)
    lane = SimulatedPipe(
        clock, directions_of(Path(latency_s=0.5, bandwidth_bytes_per_s=100.0)).down, RandomStreams(1).of("lane"), owner
    )
    seen: list[float] = []
    for size_bytes in (350, 90, 210):
        lane.push(lambda _: seen.append(clock.now / NS_PER_S), None, size_bytes)
    clock.run(ns(20))
    assert seen == [4.0, 4.9, 7.0]
    assert owner.parts == [1.5, 2.5, 3.5, 5.9, 6.9]


def test_a_snapshot_that_takes_longer_than_the_ping_timeout_arrives() -> None:
    scenario = Scenario(
        name="x",
        horizon_s=40.0,
        settle_s=40.0,
        groups=(
            Group(name="busy", clients=3),
            Group(name="thin", path=Path(bandwidth_bytes_per_s=1500.0), arrive_within_s=38.0),
        ),
        workload=Workload(graft_per_s=0, prune_per_s=0, flag_per_s=1.0, chat_per_s=0, cursor_per_s=0),
        server=ServerPart(config=ServerConfig(snapshot_interval_events=10)),
        client=ClientPart(config=ClientConfig(ping_timeout_s=1.5)),
        seed=22,
    )
    trace = run(scenario).trace
    joined, taken = times(trace, SessionJoined, client_id="thin-0"), times(trace, SnapshotTaken, client="thin-0")
    assert taken[0] - joined[0] > 2.0
    assert not [record for record in trace if isinstance(record, ConnectionLost | ConnectionLeft)]


def test_every_frame_of_a_client_can_be_listened_to() -> None:
    heard: list[tuple[str, int, str, int, str]] = []
    world = World(
        quiet(), listen=lambda client, now, way, number, frame: heard.append((client, now, way, number, type(frame).__name__))
    )
    world.run()
    assert heard[:5] == [
        ("c-0", ns(0.4), "sent", 1, "Hello"),
        ("c-0", ns(0.6), "received", 1, "Welcome"),
        ("c-0", ns(0.6), "sent", 1, "Ping"),
        ("c-0", ns(0.6), "received", 1, "SnapshotFrame"),
        ("c-0", heard[4][1], "received", 1, "Presence"),
    ]


def test_a_blocked_upgrade_cuts_a_websocket_whose_server_has_died_unheard() -> None:
    faults = (Stall(at_s=2.0, duration_s=20.0), ServerRestart(at_s=3.0, duration_s=1.0), BlockUpgrade(at_s=5.0, duration_s=1.0))
    trace = run(quiet(*faults)).trace
    assert times(trace, ConnectionLost)[0] == 5.0
