"""One direction of a path, worked out once for all connections on it: its numbers in ns, and what a recording says at a time."""

import bisect
from collections.abc import Sequence

from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.laws import Constant, Empirical, Law, Uniform
from simulation.loss import unbroken_losses
from simulation.paths import Path
from simulation.tcp import RTO_AT_FIRST, timeouts

PACKET_BYTES = 1500
"""What one delivery of a Mahimahi recording carries, with the heads."""
HEAD_BYTES = 40
"""Of IPv4 and TCP, in every packet; they count for deliveries only: a bandwidth is that of the stream."""
UNUSUAL = 1e-3
"""What a path does with less than this probability (for one packet) is not covered by its stated bound, and is reported."""


class RecordedLatency:
    """A step function of time, repeated. The last value holds for as long as the one before it did."""

    __slots__ = ("_period", "_starts", "_values", "most")

    def __init__(self, recorded: Sequence[tuple[float, float]]) -> None:
        self._starts = [ns(at) for at, _ in recorded]
        self._values = [ns(latency) for _, latency in recorded]
        last = self._starts[-1]
        self._period = last + (last - self._starts[-2]) if len(recorded) > 1 else 1
        self.most = max(self._values)

    def at(self, time: int) -> int:
        return self._values[bisect.bisect_right(self._starts, time % self._period) - 1]

    @property
    def mean(self) -> int:
        ends = [*self._starts[1:], self._period]
        return sum(value * (end - at) for value, at, end in zip(self._values, self._starts, ends, strict=True)) // self._period


class Deliveries:
    """The moments at which a packet can leave, numbered from 0, repeated with the last one's time as the period."""

    __slots__ = ("_period", "_times", "gap")

    def __init__(self, deliveries_ms: Sequence[int]) -> None:
        self._times = [at * NS_PER_MS for at in deliveries_ms]
        self._period = self._times[-1]
        befores = [self._times[-1] - self._period, *self._times[:-1]]
        self.gap = max(later - at for at, later in zip(befores, self._times, strict=True))
        """The longest time without one."""

    def before(self, time: int) -> int:
        """How many there are before `time`: the number of the first that is not."""
        cycle, within = divmod(time, self._period)
        if cycle and not within:
            cycle, within = cycle - 1, self._period
        return cycle * len(self._times) + bisect.bisect_left(self._times, within)

    def time(self, number: int) -> int:
        cycle, place = divmod(number, len(self._times))
        return cycle * self._period + self._times[place]


class Way:
    """`limit`: what a chunk may take from the bottleneck to the far end by the path's stated bound; None: it never takes more.
    `back`: what an acknowledgement takes, on average. `has_chance`: something is drawn on it. `is_lossy`: packets can be lost.
    `is_plain`: nothing but a constant latency."""

    __slots__ = (
        "back",
        "delay",
        "deliveries",
        "has_chance",
        "is_lossy",
        "is_plain",
        "is_up",
        "jitter",
        "latency",
        "limit",
        "loss",
        "ns_per_byte",
        "one_way_max",
        "queue_bytes",
        "recorded",
        "tcp",
    )

    def __init__(self, path: Path, *, is_up: bool) -> None:
        self.is_up = is_up
        self.latency = ns(path.latency_s)
        self.jitter = ns(path.jitter_s)
        self.delay = path.delay
        self.recorded = RecordedLatency(path.recorded_latency) if path.recorded_latency else None
        is_other = is_up and path.up_bandwidth_bytes_per_s is not None
        bandwidth = path.up_bandwidth_bytes_per_s if is_other else path.bandwidth_bytes_per_s
        self.ns_per_byte = NS_PER_S / bandwidth if bandwidth else 0.0
        self.deliveries = Deliveries(path.deliveries_ms) if path.deliveries_ms else None
        self.queue_bytes = path.queue_bytes
        self.loss = path.loss
        self.tcp = path.tcp
        self.is_lossy = path.loss is not None or path.queue_bytes is not None
        self.is_plain = not (
            self.is_lossy or self.ns_per_byte or self.deliveries or self.recorded or self.jitter or self.delay is not None
        )
        self.has_chance = bool(self.jitter or self.delay is not None or path.loss is not None)
        self.back = (self.recorded.mean if self.recorded else self.latency) + self.jitter // 2
        if path.delay is not None:
            self.back += ns(path.delay.mean)
        one_way = (self.recorded.most if self.recorded else self.latency) + self.jitter
        if path.delay is not None:
            one_way += ns(_usual_most(path.delay))
        if self.is_lossy:
            rto = max(RTO_AT_FIRST, ns(path.tcp.rto_min_s), 3 * (one_way + self.back))
            repeats = max(unbroken_losses(path.loss, UNUSUAL), 1)
            one_way += timeouts(repeats, rto, max(rto, ns(path.tcp.rto_max_s)))
        is_bounded = not self.is_lossy and isinstance(path.delay, Constant | Uniform | Empirical | None)
        self.limit = None if is_bounded else one_way
        self.one_way_max = one_way + (self.deliveries.gap if self.deliveries else 0)
        """One way, for a queue that is empty."""

    @property
    def counts_bytes(self) -> bool:
        """Whether it makes a difference how large things are."""
        return bool(self.ns_per_byte or self.deliveries or self.is_lossy)


def _usual_most(law: Law) -> float:
    """The most of a law that has one near, else what it stays below but for UNUSUAL draws."""
    match law:
        case Constant(value=value):
            return value
        case Uniform(high=high):
            return high
        case Empirical(values=values):
            return max(values)
        case _:
            return law.at(1 - UNUSUAL)


class Ways:
    """Both directions of one path."""

    __slots__ = ("down", "path", "up")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.up = Way(path, is_up=True)
        self.down = Way(path, is_up=False)


_last: Ways | None = None


def ways_of(path: Path) -> Ways:
    """Worked out once for a group whose lines are made one after the other."""
    global _last
    if _last is None or _last.path is not path:
        _last = Ways(path)
    return _last


def round_trip_max_s(path: Path) -> float:
    """How long a packet and its answer take at the most, in seconds, with nothing else in the queue of a bottleneck.

    A bound where the path has one. Where chance has no near end (loss, a law with a tail) it covers what happens to all but
    UNUSUAL packets; each time the path takes longer than that, a simulated run says so in its trace (`PathTroubled`).
    """
    ways = ways_of(path)
    return (ways.up.one_way_max + ways.down.one_way_max) / NS_PER_S
