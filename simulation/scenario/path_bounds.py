"""How long a path may take: the declared bounds with which guarantees about time are checked.

    round_trip_max_s(path)          a packet and its answer, with nothing else in the queue of a bottleneck
    transfer_max_s(path, n)         n bytes to the client leave the bottleneck, with nothing else in its queue
    direction_max_s(path, is_up=...)  one direction of it
    is_bounded(path)                whether the path never takes longer (an empty queue given)

If random values have no near maximum (loss, a distribution with a tail), a bound covers all but UNUSUAL packets. Each time a path
takes longer than that, a simulated run records it in its trace (`PathTroubled`).
"""

import itertools
import math
from typing import TypeVar, assert_never

from simulation.scenario.distributions import Constant, Distribution, Empirical, Uniform
from simulation.scenario.paths import BernoulliLoss, FadingLoss, GilbertElliottLoss, Loss, Path

UNUSUAL = 1e-3
"""Behaviour of a path with a lower probability (for one packet) is not covered by its bound, and is recorded."""
RTO_AT_FIRST_S = 1.0
"""The retransmission timeout before the first round trip was measured, in seconds (RFC 6298, section 2.1)."""
RETRANSMITTED_AFTER_MS = 200.0
"""The least time before a timeout sends a packet again."""
_IN_A_ROW_MAX = 3
PACKET_BYTES = 1500
"""The payload of one delivery of a Mahimahi network trace, including headers."""
HEAD_BYTES = 40
"""The headers of IPv4 and TCP in every packet; they count for deliveries only: a bandwidth is that of the stream."""


Time = TypeVar("Time", int, float)


def timeouts(count: int, rto: Time, rto_max: Time) -> Time:
    """The duration of `count` timeouts in a row, the first of them `rto`, in its unit."""
    total, timeout = 0 * rto, rto
    for _ in range(count):
        total += timeout
        timeout = min(2 * timeout, rto_max)
    return total


def is_lossy(path: Path) -> bool:
    """Whether packets can be lost on it."""
    return path.loss is not None or path.queue_bytes is not None


def is_bounded(path: Path) -> bool:
    """Whether no packet takes longer than the declared bound while queues are empty."""
    return not is_lossy(path) and isinstance(path.delay, Constant | Uniform | Empirical | None)


def acknowledgement_s(path: Path, *, is_up: bool) -> float:
    """The mean time of an acknowledgement of data sent in one direction, in seconds: the latency back, half the jitter and the
    mean of the added delay."""
    return mean_latency_s(path, is_up=not is_up) + path.jitter_s / 2 + (0.0 if path.delay is None else path.delay.mean)


def mean_latency_s(path: Path, *, is_up: bool) -> float:
    """The one-way propagation, or the mean of the network trace, in seconds."""
    recorded = path.recorded_latency_of(is_up=is_up)
    if not recorded:
        return path.latency_s
    if len(recorded) == 1:
        return recorded[0][1]
    starts = [at for at, _ in recorded]
    period = 2 * starts[-1] - starts[-2]
    return sum(latency * (end - at) for (at, latency), end in zip(recorded, [*starts[1:], period], strict=True)) / period


def delivery_gap_s(path: Path, *, is_up: bool) -> float:
    """The longest time without a recorded delivery, in seconds; 0 without a network trace."""
    times = path.deliveries_ms_of(is_up=is_up)
    return max([later - at for at, later in itertools.pairwise(times)] + [times[0]]) / 1000 if times else 0.0


def transfer_max_s(path: Path, size_bytes: int) -> float:
    """The longest time in which so many bytes for the client leave the bottleneck, in seconds, with nothing else in its queue."""
    times = path.deliveries_ms
    if not times:
        return 0.0 if path.bandwidth_bytes_per_s is None else size_bytes / path.bandwidth_bytes_per_s
    wire_bytes = size_bytes + HEAD_BYTES * max(1, -(-size_bytes // path.tcp.mss_bytes))
    cycles, rest = divmod(-(-wire_bytes // PACKET_BYTES), len(times))
    later = [*times, *(times[-1] + at for at in times)]
    return (cycles * times[-1] + max(later[first + rest] - at for first, at in enumerate(times))) / 1000


def propagation_max_s(path: Path, *, is_up: bool) -> float:
    """The longest one-way time without loss and queues, in seconds."""
    latest = max((latency for _, latency in path.recorded_latency_of(is_up=is_up)), default=path.latency_s)
    return latest + path.jitter_s + (0.0 if path.delay is None else _usual_most(path.delay))


def direction_max_s(path: Path, *, is_up: bool) -> float:
    """One way with an empty queue, in seconds, without the wait for a recorded delivery."""
    one_way_s = propagation_max_s(path, is_up=is_up)
    if not is_lossy(path):
        return one_way_s
    rto_s = max(RTO_AT_FIRST_S, path.tcp.rto_min_s, 3 * (one_way_s + acknowledgement_s(path, is_up=is_up)))
    repeats = max(unbroken_losses(path.loss, UNUSUAL), 1)
    return one_way_s + timeouts(repeats, rto_s, max(rto_s, path.tcp.rto_max_s))


def round_trip_max_s(path: Path) -> float:
    """The longest time of a packet and its answer, in seconds, with nothing else in the queue of a bottleneck."""
    return sum(direction_max_s(path, is_up=is_up) + delivery_gap_s(path, is_up=is_up) for is_up in (True, False))


def _usual_most(distribution: Distribution) -> float:
    """The largest value of a distribution if it has a near maximum, else the value above all but UNUSUAL samples."""
    match distribution:
        case Constant(value=value):
            return value
        case Uniform(high=high):
            return high
        case Empirical(values=values):
            return max(values)
        case _:
            return distribution.at(1 - UNUSUAL)


def unbroken_losses(loss: Loss | None, probability: float) -> int:
    """How many times in a row the same packet is lost with at least this probability; at most 3."""
    match loss:
        case None:
            return 0
        case BernoulliLoss(probability=first):
            again = first
        case GilbertElliottLoss(good_to_bad=p, bad_to_good=r, loss_in_good=good, loss_in_bad=bad):
            share = p / (p + r)
            first = (1 - share) * good + share * bad
            again = max(good, bad * (1 - r) + good * r)
        case FadingLoss(good_ms=good_ms, bad_ms=bad_ms, loss_in_good=good, loss_in_bad=bad):
            share = bad_ms / (good_ms + bad_ms)
            still_bad = share + (1 - share) * math.exp(-RETRANSMITTED_AFTER_MS * (1 / good_ms + 1 / bad_ms))
            first = (1 - share) * good + share * bad
            again = max(good, bad * still_bad + good * (1 - still_bad))
        case _:
            assert_never(loss)
    times, chance = 0, first
    while chance >= probability and times < _IN_A_ROW_MAX:
        times += 1
        chance *= again
    return times
