"""Slow start, restart after idle, the receive window, and the window after losses: each compared with its rule."""

import math

import pytest

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import Clock
from simulation.network.congestion import CongestionWindow
from simulation.network.delay import directions_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.paths import BernoulliLoss, Path, Tcp
from tests.simulation.pipes import Owner, at, pipe_of
from tests.simulation.test_delay import LosesOnly

LATENCY_S = 0.05
MSS = 1460


def arrives_s(sizes: list[tuple[float, int]], **fields: object) -> list[float]:
    """When things arrive that are sent at these times, of these sizes."""
    tcp = Tcp(congestion="linux", **{key: fields.pop(key) for key in ("receive_window_bytes",) if key in fields})
    clock, lane, seen = pipe_of(Path(latency_s=LATENCY_S, tcp=tcp, **fields))
    for sent_s, size in sizes:
        at(clock, sent_s, lambda size=size: lane.push(lambda _: seen.append(clock.now / NS_PER_S), None, size))
    clock.run(ns(1000))
    assert (lane.half.bytes_held, len(lane)) == (0, 0)
    return seen


def flights(packets: int, window: int = 10) -> int:
    return math.ceil(math.log2(packets / window + 1)) if packets > window else 1


@pytest.mark.parametrize("size", [1, 10_000, 10 * MSS, 10 * MSS + 1, 50_000, 30 * MSS, 30 * MSS + 1, 1_000_000])
def test_a_snapshot_costs_its_flights(size: int) -> None:
    count = flights(math.ceil(size / MSS))
    assert arrives_s([(0.0, size)]) == [pytest.approx(LATENCY_S + (count - 1) * 2 * LATENCY_S)]


@pytest.mark.parametrize("part", [MSS, 3 * MSS, 10 * MSS])
def test_many_messages_cost_the_flights_of_one(part: int) -> None:
    """The window grows by what was in flight within the round trip, not by what was in flight when a message was sent."""
    packets = 660
    last_s = arrives_s([(0.0, part)] * (packets * MSS // part))[-1]
    assert last_s == pytest.approx(LATENCY_S + (flights(packets) - 1) * 2 * LATENCY_S)


def test_without_congestion_it_costs_none() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=LATENCY_S))
    lane.push(lambda _: seen.append(clock.now), None, 1_000_000)
    clock.run()
    assert seen == [ns(LATENCY_S)]


def test_a_warm_connection_sends_more_at_once_and_an_idle_one_begins_again() -> None:
    first, soon, late = arrives_s([(0.0, 1_000_000), (0.8, 500_000), (60.0, 500_000)])
    assert first == pytest.approx(0.65)
    assert soon - 0.8 == pytest.approx(LATENCY_S)  # 343 packets, in a window of 695
    assert late - 60.0 == pytest.approx(LATENCY_S + (flights(343) - 1) * 2 * LATENCY_S)  # back at the initial window


def test_the_receive_window_bounds_what_is_in_flight() -> None:
    took_s = arrives_s([(0.0, 100 * MSS)], receive_window_bytes=20 * MSS)[0]
    assert took_s == pytest.approx(LATENCY_S + 5 * 2 * LATENCY_S)  # 10, 20, 20, 20, 20, 10


def test_a_bottleneck_is_full_when_the_window_has_grown() -> None:
    size, rate = 1_000_000, 1e6
    took_s = arrives_s([(0.0, size)], bandwidth_bytes_per_s=rate)[0]
    at_once_s = size / rate + LATENCY_S
    # 68 packets fill the path: four flights (10, 20, 40, 80) in which it is partly idle.
    assert at_once_s + 0.1 < took_s < at_once_s + 0.3


def test_a_loss_that_is_repaired_by_a_later_packet_costs_three_tenths_of_the_window() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=LATENCY_S, tcp=Tcp(congestion="linux"), loss=BernoulliLoss(probability=0.1)))
    lane.half._delay.repair.losses = LosesOnly(3)
    lane.half._delay.repair.estimate.measured(ns(0.1))
    lane.push(lambda _: seen.append(clock.now / NS_PER_S), None, 10 * MSS)
    clock.run(ns(5))
    assert seen == [pytest.approx(3 * LATENCY_S)]  # there, back, and there again
    lane.push(lambda _: None, None, 1)
    assert lane.half._window.packets == pytest.approx(7.0)


def test_a_timeout_costs_the_window() -> None:
    window = CongestionWindow(Tcp(congestion="linux"))
    window.sent(0, 0, 10, ns(0.3), "timeout")
    assert window.room(ns(0.3), ns(0.2)) == 1
    for number in range(4):  # slow start to the threshold, 7, and then one per round trip
        room = window.room(ns(0.4 + 0.1 * number), ns(1))
        window.sent(ns(0.4 + 0.1 * number), number + 1, room, ns(0.5 + 0.1 * number))
    assert window.packets == pytest.approx(7.0)
    assert window.room(ns(0.9), ns(1)) == 8


def test_the_window_does_not_grow_while_it_is_not_used() -> None:
    window = CongestionWindow(Tcp(congestion="linux"))
    for number in range(100):
        window.sent(ns(number), number, 1, ns(number + 0.1))
        window.room(ns(number + 0.5), ns(10))
    assert window.packets == 10


def test_after_idle_it_is_halved_for_each_timeout() -> None:
    window = CongestionWindow(Tcp(congestion="linux"))
    window.packets = 100.0
    assert window.room(ns(1.0), ns(0.4)) == 25  # 0.4 s and 0.8 s have passed
    window.packets = 100.0
    assert window.room(ns(60.0), ns(0.4)) == 10


def test_an_outage_without_anything_in_flight_is_no_timeout() -> None:
    """A connection that had nothing to send keeps its initial window: seven flights for 1 MB, as without the outage."""
    for outage in (False, True):
        clock, lane, seen = pipe_of(Path(latency_s=0.1, tcp=Tcp(congestion="linux")))
        if outage:
            at(clock, 0.0, lane.hold)
            at(clock, 5.0, lane.release)
        at(clock, 10.0, lambda lane=lane, seen=seen, clock=clock: lane.push(lambda _: seen.append(clock.now), None, 1_000_000))
        clock.run(ns(30))
        assert seen == [ns(10.0 + 6 * 0.2 + 0.1)]


def test_the_send_buffer_bounds_what_is_in_flight() -> None:
    clock, seen = Clock(), []
    direction = directions_of(Path(latency_s=LATENCY_S, tcp=Tcp(congestion="linux"))).down
    lane = SimulatedPipe(clock, direction, RandomStreams(1).of("lane"), send_buffer_bytes=20 * MSS)
    lane.push(lambda _: seen.append(clock.now / NS_PER_S), None, 100 * MSS)
    clock.run(ns(1000))
    assert seen == [pytest.approx(LATENCY_S + 5 * 2 * LATENCY_S)]  # 10, 20, 20, 20, 20, 10


def test_a_sender_learns_of_room_before_a_large_message_has_arrived() -> None:
    clock = Clock()
    owner = Owner(clock)
    direction = directions_of(Path(latency_s=LATENCY_S, tcp=Tcp(congestion="linux"))).down
    lane = SimulatedPipe(clock, direction, RandomStreams(1).of("lane"), owner)
    lane.push(lambda _: None, None, 30 * MSS)
    clock.run(ns(1000))
    assert owner.rooms == [pytest.approx(LATENCY_S)]  # ten of thirty packets; the others bring the message itself
