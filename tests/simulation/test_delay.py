"""Arrival times of packets: bottlenecks, recordings, loss and TCP's retransmission, each compared with its closed form."""

import itertools
import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, FAULT, Call, Clock
from simulation.network.access_link import AccessLink
from simulation.network.connection import TcpConnection
from simulation.network.delay import NEVER, DelayModel, bottleneck_of, directions_of
from simulation.network.loss import Fades, losses_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.network.tcp import RoundTripEstimate, gives_up_after, next_retransmission, syn_schedule
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Distribution, Exponential, LogNormal, Pareto, Uniform
from simulation.scenario.faults import Direction, Outage
from simulation.scenario.path_bounds import round_trip_max_s, transfer_max_s
from simulation.scenario.paths import BernoulliLoss, FadingLoss, GilbertElliottLoss, Loss, Path, Tcp
from simulation.testing.networks import rich_paths
from tests.simulation.pipes import Owner, at, pipe_of
from tests.simulation.worlds import calm

LATENCY_S = 0.05


def transit(*, up: bool = False, seed: int = 1, **fields: object) -> DelayModel:
    ways = directions_of(Path(**{"latency_s": LATENCY_S, **fields}))
    return DelayModel(ways.up if up else ways.down, RandomStreams(seed).of("lane"))


def delays_s(one: DelayModel, count: int, interval_s: float, size_bytes: int = 100) -> list[float]:
    """Of chunks sent at an interval, each by itself; what is sent later may still repair what was lost before."""
    sent = [ns(number * interval_s) for number in range(count)]
    arrives = []
    for number, now in enumerate(sent):
        arrives.append(one.send(size_bytes, number, now))
        if one.repair is not None:
            for index, corrected in one.repair.corrections:
                assert corrected < arrives[index]
                arrives[index] = corrected
            one.repair.corrections.clear()
    return [(arrival - now) / NS_PER_S for arrival, now in zip(arrives, sent, strict=True)]


# Bottlenecks, laws and recordings.


def test_each_direction_has_its_own_bandwidth() -> None:
    fields = {"bandwidth_bytes_per_s": 1000.0, "up_bandwidth_bytes_per_s": 100.0}
    assert delays_s(transit(**fields), 1, 1) == pytest.approx([LATENCY_S + 0.1])
    assert delays_s(transit(**fields, up=True), 1, 1) == pytest.approx([LATENCY_S + 1.0])


@pytest.mark.parametrize(
    "distribution",
    [
        Constant(value=0.1),
        Uniform(low=0.1, high=0.3),
        Exponential(scale=0.1),
        LogNormal(median=0.1, sigma=0.5),
        Pareto(scale=0.1, shape=3),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_a_delay_law_adds_its_mean(distribution: Distribution) -> None:
    delays = delays_s(transit(delay=distribution), 4000, 1)
    assert min(delays) >= LATENCY_S
    error = 3.3 * statistics.pstdev(delays) / len(delays) ** 0.5
    assert statistics.fmean(delays) - LATENCY_S == pytest.approx(distribution.mean, abs=max(error, 1e-9))


def test_a_recorded_latency_is_repeated_and_its_last_value_lasts_as_the_one_before() -> None:
    one = transit(recorded_latency=((0.0, 0.1), (2.0, 0.3), (3.0, 0.2)))
    assert delays_s(one, 9, 1) == [0.1, 0.1, 0.3, 0.2, 0.1, 0.1, 0.3, 0.2, 0.1]


def test_packets_leave_when_the_recording_says() -> None:
    one = transit(latency_s=0.0, deliveries_ms=(1, 1, 5, 10))
    full = [one.send(1460, number, 0) for number in range(6)]
    assert full == [ns(ms / 1000) for ms in (1, 1, 5, 10, 11, 11)]  # 1460 bytes and their head fill one
    small = [one.send(710, number, ns(0.1)) for number in range(3)]
    assert small == [ns(0.1), ns(0.1), ns(0.101)]  # two packets of 750 bytes share one; unused ones are gone


def test_a_large_chunk_takes_as_many_deliveries_as_it_has_packets() -> None:
    one = transit(latency_s=0.0, deliveries_ms=(10,))
    assert one.send(1460 * 25, 0, 0) == ns(0.25)


def test_what_finds_no_room_comes_an_rto_later_and_then_as_fast_as_the_queue_drains() -> None:
    one = transit(latency_s=0.0, bandwidth_bytes_per_s=1e6, queue_bytes=5000)
    one.repair.estimate.measured(ns(0.01))
    arrives_ms = [one.send(1000, number, 0) / 1e6 for number in range(8)]
    assert arrives_ms[:5] == [1, 2, 3, 4, 5]
    assert arrives_ms[5] == pytest.approx(1 + 200 + 6, abs=1)  # SRTT has come down from 10 ms
    assert arrives_ms[6:] == pytest.approx([arrives_ms[5] + 1, arrives_ms[5] + 2])
    assert one.send(1000, 8, ns(1)) == ns(1.001)  # the bottleneck has been empty: the window is open again
    again_ms = [one.send(1000, number, ns(1)) / 1e6 - 1000 for number in range(9, 14)]
    assert again_ms[:4] == [2, 3, 4, 5]
    assert again_ms[4] > 200


# Which packets are lost.


@pytest.mark.parametrize(
    ("loss", "share"),
    [
        (BernoulliLoss(probability=0.1), 0.1),
        (GilbertElliottLoss(good_to_bad=0.05, bad_to_good=0.25), 0.05 / 0.3),
        (GilbertElliottLoss(good_to_bad=0.1, bad_to_good=0.3, loss_in_good=0.02, loss_in_bad=0.5), 0.75 * 0.02 + 0.25 * 0.5),
    ],
)
def test_so_many_packets_are_lost(loss: Loss, share: float) -> None:
    count = 20_000
    process = losses_of(loss, RandomStreams(1).of("x"))
    lost = [process.is_lost(packet) for packet in range(count)]
    correlation = 1 - loss.good_to_bad - loss.bad_to_good if isinstance(loss, GilbertElliottLoss) else 0.0
    variance = share * (1 - share) / count * (1 + correlation) / (1 - correlation)
    assert abs(sum(lost) / count - share) < 3.3 * variance**0.5


def test_bursts_are_geometric() -> None:
    process = losses_of(GilbertElliottLoss(good_to_bad=0.02, bad_to_good=0.25), RandomStreams(1).of("x"))
    bursts = [len(list(run)) for is_lost, run in itertools.groupby(process.is_lost(n) for n in range(40_000)) if is_lost]
    spread = (0.75**0.5 / 0.25) / len(bursts) ** 0.5
    assert abs(statistics.fmean(bursts) - 4) < 3.3 * spread


def fades_of(seed: int, loss: FadingLoss) -> Fades:
    return Fades(loss, RandomStreams(seed).of("link"))


def test_fades_have_their_share_of_time_and_their_mean_length() -> None:
    loss = FadingLoss(good_ms=300, bad_ms=100)
    shares, lengths = [], []
    for seed in range(60):
        fades = fades_of(seed, loss)
        bad = [fades.is_bad(ns(at_ms / 1000)) for at_ms in range(0, 20_000, 5)]
        shares.append(statistics.fmean(bad))
        lengths += [5 * len(list(run)) for is_bad, run in itertools.groupby(bad) if is_bad][1:-1]
    assert abs(statistics.fmean(shares) - 0.25) < 3.3 * statistics.stdev(shares) / 60**0.5
    # Seen every 5 ms: those that are seen at all last 5 / (1 - exp(-5 / 100)) ms on average, but for short good ones between.
    assert statistics.fmean(lengths) == pytest.approx(5 / -math.expm1(-0.05), rel=0.06)


def test_fades_that_are_over_are_forgotten_and_the_rest_stays_as_it_was() -> None:
    loss = FadingLoss(good_ms=20, bad_ms=10)
    whole, part = fades_of(1, loss), fades_of(1, loss)
    times = [ns(at_ms / 1000) for at_ms in range(0, 30_000, 3)]
    expected = [whole.is_bad(time) for time in times]
    seen = []
    for time in times:
        part.forget_before(time)
        seen.append(part.is_bad(time))
    assert seen == expected
    assert len(part._ends) < 600


def test_a_fade_passes_by_itself_and_a_chain_of_packets_does_not() -> None:
    """2 % loss in bursts, one packet every 2 s: the chain's burst of five packets lasts for five timeouts, which double."""

    def late_s(loss: Loss) -> float:
        delays = sorted(delays_s(transit(loss=loss), 20_000, 2.0))
        return delays[int(0.999 * len(delays))]

    assert late_s(FadingLoss(good_ms=4900, bad_ms=100)) < 1.0
    assert late_s(GilbertElliottLoss(good_to_bad=0.004, bad_to_good=0.2)) > 10.0


def test_more_loss_loses_the_same_packets_and_more() -> None:
    few, many = [losses_of(BernoulliLoss(probability=p), RandomStreams(1).of("x")) for p in (0.1, 0.3)]
    lost_by_few = {packet for packet in range(500) if few.is_lost(packet)}
    assert lost_by_few < {packet for packet in range(500) if many.is_lost(packet)}


# How TCP repairs it.


def test_a_lone_packet_waits_for_the_timeout_which_doubles() -> None:
    delays = delays_s(transit(loss=BernoulliLoss(probability=0.3)), 4000, 1000)
    again = sorted({round(delay - LATENCY_S, 6) for delay in delays[100:]})
    assert again[:4] == [0.0, 0.3, 0.9, 2.1]  # the RTO, SRTT + 200 ms, and twice and four times as much on top
    mean = statistics.fmean(delays[100:]) - LATENCY_S
    # p rto / (1 - 2 p) without a largest timeout; the sum has a heavy tail, so the interval is wide.
    error = 3.3 * statistics.pstdev(delays[100:]) / 3900**0.5
    assert abs(mean - 0.3 * 0.3 / 0.4) < error
    once = sum(delay == pytest.approx(LATENCY_S + 0.3) for delay in delays[100:]) / 3900
    assert abs(once - 0.3 * 0.7) < 3.3 * (0.21 * 0.79 / 3900) ** 0.5


class LosesOnly:
    """A loss process for packets that a test names."""

    def __init__(self, *packets: int) -> None:
        self.packets = packets

    def is_lost(self, packet: int, attempt: int = 0, at: int = 0) -> bool:
        return packet in self.packets and attempt == 0


def lossy(*packets: int, **fields: object) -> DelayModel:
    one = transit(loss=BernoulliLoss(probability=0.1), **fields)
    one.repair.losses = LosesOnly(*packets)
    one.repair.estimate.measured(ns(2 * LATENCY_S))
    return one


def test_three_later_packets_bring_a_lost_one_back_before_its_timeout() -> None:
    delays = delays_s(lossy(0), 4, 0.01)
    # The third later one leaves at 30 ms; then there, back, and there again.
    assert delays[0] == pytest.approx(0.03 + 3 * LATENCY_S)
    assert delays[1:] == pytest.approx([LATENCY_S] * 3)  # by themselves; the lane holds them up


def test_two_later_packets_do_not() -> None:
    assert delays_s(lossy(0), 3, 0.01)[0] == pytest.approx(0.3 + LATENCY_S)  # the RTO: SRTT + 4 RTTVAR = 0.1 + 4 * 0.05


def test_later_packets_of_the_same_chunk_count() -> None:
    assert lossy(0).send(1460 * 4, 0, 0) == ns(3 * LATENCY_S)
    assert lossy(1).send(1460 * 4, 0, 0) == ns(0.3 + LATENCY_S)


def test_after_too_many_losses_the_connection_is_given_up() -> None:
    one = transit(loss=BernoulliLoss(probability=1.0), tcp=Tcp(retries=3))
    assert one.send(10, 0, 0) == NEVER
    assert one.repair.gives_up_at == ns(0.2 + 0.4 + 0.8 + 1.6)


def test_the_timeout_is_linux_s() -> None:
    estimate = RoundTripEstimate(Tcp())
    assert estimate.rto == ns(1)
    estimate.measured(ns(0.1))
    assert estimate.rto == ns(0.1 + 0.2)  # 3 R, or R + 200 ms
    estimate.measured(ns(0.3), ns(1))  # SRTT + an eighth of the error; mdev is a quarter nearer to it
    assert estimate.rto == ns(0.125 + 4 * (0.75 * 0.05 + 0.25 * 0.2))
    estimate.measured(ns(0.125), ns(2))  # the largest of a round trip falls by a quarter of what is too much
    four_mdev = 4 * 0.0875 * 0.75
    assert estimate.rto == pytest.approx(ns(0.125 + 0.35 - (0.35 - four_mdev) / 4), abs=2)
    for number in range(200):
        estimate.measured(ns(0.1), ns(3 + number))
    assert estimate.rto == pytest.approx(ns(0.1 + 0.2), abs=100)  # never below 200 ms more than the round trip


def test_linux_gives_data_up_after_924_6_seconds() -> None:
    assert gives_up_after(Tcp()) == ns(924.6)


@pytest.mark.parametrize(
    ("syn", "times", "gives_up"),
    [("classic", (0, 1, 3, 7, 15, 31, 63), 127), ("linux_6_5", (0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67), 131)],
)
def test_when_a_syn_is_sent(syn: str, times: tuple[int, ...], gives_up: int) -> None:
    tcp = Tcp(syn=syn)
    assert syn_schedule(tcp) == (tuple(ns(at_s) for at_s in times), ns(gives_up))
    one = transit(loss=BernoulliLoss(probability=0.5), tcp=tcp)
    one.repair.losses = LosesOnly(0)
    assert one.dial(0) == (ns(1 + LATENCY_S), ns(1))


def test_when_a_silence_is_broken() -> None:
    rto, most = ns(0.2), ns(1.0)
    times = [next_retransmission(0, rto, most, ns(now_s)) / NS_PER_S for now_s in (0.1, 0.3, 0.7, 1.5, 2.5, 3.5)]
    assert times == [0.2, 0.6, 1.4, 2.4, 3.4, 4.4]


# Lanes.


def test_a_lost_packet_holds_up_what_follows() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=LATENCY_S, loss=BernoulliLoss(probability=0.1)))
    lane.half._delay.repair.losses = LosesOnly(0)
    for number in range(5):
        at(clock, number / 100, lambda number=number: lane.push(lambda n: seen.append((clock.now / NS_PER_S, n)), number))
    clock.run(ns(10))
    assert seen == [(0.18, number) for number in range(5)]


def test_after_an_outage_data_waits_for_the_next_retransmission() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=0.01, tcp=Tcp(resumes="rto")))
    at(clock, 1.0, lane.hold)
    at(clock, 1.5, lambda: lane.push(lambda _: seen.append((clock.now / NS_PER_S, "a"))))
    at(clock, 4.0, lane.release)
    at(clock, 4.2, lambda: lane.push(lambda _: seen.append((clock.now / NS_PER_S, "b"))))
    clock.run(ns(20))
    # The RTO is 20 + 200 ms: sent at 1.5 s, and again 0.22, 0.66, 1.54, 3.3 s after that: the one at 4.8 s gets through.
    assert seen == [(4.81, "a"), (4.81, "b")]


def test_a_silence_that_comes_back_before_the_retransmission_goes_on() -> None:
    clock, lane, seen = pipe_of(Path(latency_s=0.01, tcp=Tcp(resumes="rto")))
    at(clock, 1.0, lane.hold)
    at(clock, 1.5, lambda: lane.push(lambda _: seen.append((clock.now / NS_PER_S, "a"))))
    at(clock, 4.0, lane.release)
    at(clock, 4.1, lane.hold)
    at(clock, 5.0, lane.release)
    clock.run(ns(20))
    assert seen == [(1.5 + 0.22 * 31 + 0.01, "a")]


def test_a_kernel_gives_up_unacknowledged_data() -> None:
    for stop in (SimulatedPipe.hold, SimulatedPipe.hold_acks):
        clock, owner = Clock(), None
        owner = Owner(clock)
        lane = SimulatedPipe(clock, directions_of(Path(latency_s=0.0)).down, RandomStreams(1).of("lane"), owner)
        at(clock, 1.0, lambda lane=lane, stop=stop: stop(lane))
        at(clock, 2.0, lambda lane=lane: lane.push(lambda _: None, None, 10))
        clock.run(ns(2000))
        assert owner.gave_up_at == [2.0 + 924.6]


def test_acknowledgements_that_do_not_come_fill_the_send_buffer() -> None:
    clock = Clock()
    owner = Owner(clock)
    lane = SimulatedPipe(clock, directions_of(Path(latency_s=0.1)).down, RandomStreams(1).of("lane"), owner)
    seen: list[float] = []
    at(clock, 1.0, lane.hold_acks)
    at(clock, 2.0, lambda: lane.push(lambda _: seen.append(clock.now / NS_PER_S), None, 10))
    clock.run(ns(5))
    assert (seen, lane.half.bytes_held, owner.rooms) == ([2.1], 10, [])
    at(clock, 6.0, lane.release_acks)
    clock.run(ns(2000))
    assert (lane.half.bytes_held, owner.rooms, owner.gave_up_at) == (0, [6.0], [])


def test_a_syn_in_a_black_hole_is_given_up_by_its_schedule() -> None:
    clock = Clock()
    owner = Owner(clock)
    lane = SimulatedPipe(clock, directions_of(Path()).up, RandomStreams(1).of("lane"), owner)
    lane.hold()
    lane.dial(lambda _: None)
    clock.run(ns(2000))
    assert owner.gave_up_at == [131.0]


def test_a_dropped_syn_is_sent_again_by_its_schedule() -> None:
    clock = Clock()
    owner = Owner(clock)
    lane = SimulatedPipe(clock, directions_of(Path(latency_s=0.1, tcp=Tcp(syn="classic"))).up, RandomStreams(1).of("lane"), owner)
    seen: list[float] = []

    def drop(_: None) -> None:
        seen.append(round(clock.now / NS_PER_S, 9))
        lane.dial_again(drop)

    lane.dial(drop)
    clock.run(ns(2000))
    assert seen == [0.1, 1.1, 3.1, 7.1, 15.1, 31.1, 63.1]
    assert owner.gave_up_at == [127.0]


def test_a_delivery_beyond_the_stated_bound_is_reported() -> None:
    path = Path(latency_s=0.01, delay=Pareto(scale=0.01, shape=1.0))
    clock = Clock()
    owner = Owner(clock)
    lane = SimulatedPipe(clock, directions_of(path).down, RandomStreams(1).of("lane"), owner)
    late: list[float] = []
    for number in range(2000):
        sent_at = number * 1000.0
        index = number
        delay = path.delay.at(RandomStreams(1).of("lane").uniform("delay", index))
        if 0.01 + delay > round_trip_max_s(path) / 2:
            late.append(sent_at)
        at(clock, sent_at, lambda: lane.push(lambda _: None))
    clock.run(ns(2_000_000))
    assert len(owner.late_until) == len(late) > 0
    assert len(late) < 2000 * 0.001 + 3.3 * 2**0.5


@settings(max_examples=40)
@given(
    path=rich_paths(),
    gaps=st.lists(st.sampled_from([0.0, 0.001, 0.03, 0.5, 7.0]), min_size=1, max_size=40),
    sizes=st.lists(st.sampled_from([0, 1, 1460, 9000]), min_size=40, max_size=40),
    faults=st.lists(st.tuples(st.sampled_from(["hold", "hold_acks", "stall"]), st.floats(0, 20), st.floats(0, 20)), max_size=4),
)
def test_everything_arrives_once_and_in_order_or_the_connection_was_given_up(
    path: Path, gaps: list[float], sizes: list[int], faults: list[tuple[str, float, float]]
) -> None:
    undo = {"hold": "release", "hold_acks": "release_acks", "stall": "unstall"}
    clock = Clock()
    owner = Owner(clock)
    lane = SimulatedPipe(clock, directions_of(path).down, RandomStreams(3).of("lane"), owner)
    seen: list[int] = []
    for number, sent_s in enumerate(itertools.accumulate(gaps)):
        size = sizes[number]
        Call(clock, ns(sent_s), ARRIVAL, lambda call, size=size: lane.push(seen.append, call.argument, size), number)
    for kind, at_s, lasts_s in faults:
        Call(clock, ns(at_s), FAULT, lambda _, kind=kind: getattr(lane, kind)())
        Call(clock, ns(at_s + lasts_s), FAULT, lambda _, kind=kind: getattr(lane, undo[kind])())
    clock.run(ns(5000))
    if owner.gave_up_at:
        assert seen == sorted(set(seen))
    else:
        assert seen == list(range(len(gaps)))
        assert (lane.half.bytes_held, len(lane)) == (0, 0)


# What is shared with other connections.


def test_a_syn_that_leaves_later_does_not_occupy_the_link() -> None:
    """Dropped at 7.1 s, it is sent again at 11 s; another connection of the same link dials at 8 s."""
    direction, clock = directions_of(Path(latency_s=0.1, bandwidth_bytes_per_s=1000.0)).up, Clock()
    bottleneck = bottleneck_of(direction, RandomStreams(1).of("up"))
    one, other = (SimulatedPipe(clock, direction, RandomStreams(1).of(name), bottleneck=bottleneck) for name in ("one", "other"))
    seen: list[tuple[str, float]] = []
    at(clock, 0.0, lambda: one.dial(lambda _: None))
    at(clock, 7.1, lambda: one.dial_again(lambda _: seen.append(("again", clock.now / NS_PER_S))))
    at(clock, 8.0, lambda: other.dial(lambda _: seen.append(("other", clock.now / NS_PER_S))))
    clock.run(ns(20))
    assert seen == [("other", pytest.approx(8.1)), ("again", pytest.approx(11.1))]


def test_a_syn_that_was_lost_does_not_occupy_the_link() -> None:
    """Lost at 0, it is sent again at 1 s; another connection of the same link dials at 0.2 s."""
    path = Path(latency_s=0.1, bandwidth_bytes_per_s=1000.0, loss=BernoulliLoss(probability=0.1))
    direction, clock = directions_of(path).up, Clock()
    bottleneck = bottleneck_of(direction, RandomStreams(1).of("up"))
    one, other = (SimulatedPipe(clock, direction, RandomStreams(1).of(name), bottleneck=bottleneck) for name in ("one", "other"))
    one.half._delay.repair.losses, other.half._delay.repair.losses = LosesOnly(0), LosesOnly()
    seen: list[tuple[str, float]] = []
    at(clock, 0.0, lambda: one.dial(lambda _: seen.append(("one", clock.now / NS_PER_S))))
    at(clock, 0.2, lambda: other.dial(lambda _: seen.append(("other", clock.now / NS_PER_S))))
    clock.run(ns(20))
    assert seen == [("other", pytest.approx(0.3)), ("one", pytest.approx(1.1))]


@pytest.mark.parametrize("path", [Path(latency_s=0.0, bandwidth_bytes_per_s=1500.0), Path(latency_s=0.0, deliveries_ms=(1000,))])
@pytest.mark.parametrize(("direction", "is_emptied"), [("up", False), ("down", True), ("both", True)])
def test_an_outage_empties_the_queue_of_its_direction(path: Path, direction: Direction, is_emptied: bool) -> None:
    """A minute of data is in the queue towards the client when the link goes down for a second."""
    clock, outage = Clock(), Outage(at_s=1.0, duration_s=1.0, direction=direction)
    link: AccessLink[TcpConnection] = AccessLink(clock, "c", path, RandomStreams(1))
    one, other = (
        SimulatedPipe(clock, link.directions.down, RandomStreams(1).of(name), bottleneck=link.down) for name in ("one", "other")
    )
    seen: list[float] = []
    at(clock, 0.0, lambda: one.push(lambda _: None, None, 60 * 1460))
    at(clock, 1.0, lambda: link.begin(outage))
    at(clock, 2.0, lambda: link.end(outage))
    at(clock, 2.5, lambda: other.push(lambda _: seen.append(clock.now / NS_PER_S), None, 100))
    clock.run(ns(100))
    assert seen[0] < 4 if is_emptied else seen[0] > 57


def test_a_batch_on_a_recorded_link_has_its_time() -> None:
    """1500 bytes each 100 ms, headers included: a hundred packets of 1460 bytes take ten seconds."""
    config = {"server.config.batch_bytes_max": 146_000}
    fast, slow = (
        calm(1, path).replace(config).tail_bound_s for path in (Path(latency_s=0.0), Path(latency_s=0.0, deliveries_ms=(100,)))
    )
    assert slow - fast == pytest.approx(10.0 + 2 * 0.1)
    assert transfer_max_s(Path(deliveries_ms=(0, 0, 1000)), 2 * 1460) == 1.0
    assert transfer_max_s(Path(bandwidth_bytes_per_s=1000.0), 500) == 0.5


# Paths that make no sense.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recorded_latency": ((1.0, 0.1),)}, "must begin at 0"),
        ({"deliveries_ms": (0,)}, "its last time is its length"),
        ({"deliveries_ms": (3, 2)}, "must not decrease"),
        ({"deliveries_ms": (3,), "bandwidth_bytes_per_s": 1.0}, "not both"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Path(**fields)
