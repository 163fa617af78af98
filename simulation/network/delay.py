"""Delay model: when sent data arrive in one direction of one connection, for simulator and emulator.

For a chunk of n bytes that is sent at time t:

    leaves the bottleneck   b = max(t, b of the chunk before) + n / bandwidth, or at the recorded deliveries that carry it
    arrives                 a = b + latency + jitter sample + delay sample, by itself

The direction is first in, first out, so a chunk is delivered at the latest `a` of all chunks up to it: nothing is reordered, and
a late chunk delays the following ones (head-of-line blocking). Random values are sampled by index, never by call order.

If packets can be lost, a chunk is cut into packets of `mss_bytes`, and a lost packet is sent again

    when three later packets have arrived and the sender knows it     (fast retransmit), or
    one RTO after it left, and if it is lost again, after twice that, ...    whichever comes first.

When a packet is sent, it is not known whether three later ones will follow; so later packets may move the arrival of a chunk that
lost a packet to an earlier time (`corrections`). A retransmission takes its time in the bottleneck but no place in its queue.

A queue is drop-tail: a packet without room is sent again one RTO later, and from then on, until the bottleneck has been empty,
the sender sends no faster than the queue drains (its window is closed). Without a congestion window there is no other congestion
control: everything is sent at once.

All times are ns on any clock that does not go backwards.
"""

import bisect
from collections.abc import Sequence

from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.network.congestion import RepairedBy
from simulation.network.loss import Fades, Losses, losses_of
from simulation.network.tcp import DUPLICATES, RoundTripEstimate, gives_up_after, steady_rto, syn_schedule
from simulation.random import EntityRandom
from simulation.scenario.faults import Outage
from simulation.scenario.path_bounds import (
    HEAD_BYTES,
    PACKET_BYTES,
    acknowledgement_s,
    delivery_gap_s,
    direction_max_s,
    is_bounded,
    is_lossy,
    timeouts,
)
from simulation.scenario.paths import FadingLoss, Path


class RecordedLatency:
    """A step function of time, repeated. The last value lasts as long as the one before it."""

    __slots__ = ("_period", "_starts", "_values")

    def __init__(self, recorded: Sequence[tuple[float, float]]) -> None:
        self._starts = [ns(at) for at, _ in recorded]
        self._values = [ns(latency) for _, latency in recorded]
        last = self._starts[-1]
        self._period = last + (last - self._starts[-2]) if len(recorded) > 1 else 1

    def at(self, time: int) -> int:
        return self._values[bisect.bisect_right(self._starts, time % self._period) - 1]


class Deliveries:
    """The moments at which a packet can leave, numbered from 0, repeated with the last one's time as the period."""

    __slots__ = ("_period", "_times")

    def __init__(self, deliveries_ms: Sequence[int]) -> None:
        self._times = [at * NS_PER_MS for at in deliveries_ms]
        self._period = self._times[-1]

    def before(self, time: int) -> int:
        """How many there are before `time`: the number of the first that is not."""
        cycle, within = divmod(time, self._period)
        if cycle and not within:
            cycle, within = cycle - 1, self._period
        return cycle * len(self._times) + bisect.bisect_left(self._times, within)

    def time(self, number: int) -> int:
        cycle, place = divmod(number, len(self._times))
        return cycle * self._period + self._times[place]


class PathDirection:
    """`limit`: the declared bound of the time from the bottleneck to the far end; None: it is never longer. `back`: the mean time
    of an acknowledgement. `has_chance`: it has random behaviour. `is_counted`: a middlebox counts what passes. `is_lossy`:
    packets can be lost. `is_plain`: only a constant latency. `is_shared`: the connections of an access link share something of
    it."""

    __slots__ = (
        "back",
        "delay",
        "deliveries",
        "has_chance",
        "has_window",
        "is_counted",
        "is_lossy",
        "is_plain",
        "is_shared",
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
        recorded, deliveries_ms = path.recorded_latency_of(is_up=is_up), path.deliveries_ms_of(is_up=is_up)
        self.recorded = RecordedLatency(recorded) if recorded else None
        is_other = is_up and path.up_bandwidth_bytes_per_s is not None
        bandwidth = path.up_bandwidth_bytes_per_s if is_other else path.bandwidth_bytes_per_s
        self.ns_per_byte = NS_PER_S / bandwidth if bandwidth else 0.0
        self.deliveries = Deliveries(deliveries_ms) if deliveries_ms else None
        self.queue_bytes = path.queue_bytes
        self.loss = path.loss
        self.tcp = path.tcp
        self.is_lossy = is_lossy(path)
        self.is_counted = path.middlebox.idle_timeout_s is not None
        self.has_window = path.tcp.congestion != "none"
        self.is_plain = not (
            self.has_window
            or self.is_counted
            or self.is_lossy
            or self.ns_per_byte
            or self.deliveries
            or self.recorded
            or self.jitter
            or self.delay is not None
        )
        self.is_shared = bool(self.ns_per_byte or self.deliveries or isinstance(path.loss, FadingLoss))
        self.has_chance = bool(self.jitter or self.delay is not None or path.loss is not None)
        self.back = ns(acknowledgement_s(path, is_up=is_up))
        one_way = ns(direction_max_s(path, is_up=is_up))
        self.limit = None if is_bounded(path) else one_way
        self.one_way_max = one_way + ns(delivery_gap_s(path, is_up=is_up))
        """The one-way time with an empty queue."""

    @property
    def counts_bytes(self) -> bool:
        """Whether sizes matter."""
        return bool(self.ns_per_byte or self.deliveries or self.is_lossy or self.has_window)


class PathDirections:
    """Both directions of one path."""

    __slots__ = ("down", "path", "up")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.up = PathDirection(path, is_up=True)
        self.down = PathDirection(path, is_up=False)


_last: PathDirections | None = None


def directions_of(path: Path) -> PathDirections:
    """Computed once for a group whose links are created one after the other."""
    global _last
    if _last is None or _last.path is not path:
        _last = PathDirections(path)
    return _last


NEVER = 1 << 62
"""The arrival of something that is not sent any more: TCP has given up."""


class BandwidthQueue:
    """The part of one direction shared by the connections of an access link: the bottleneck's queue (first come, first served)
    and fades.

    left_at: when the last packet left it. delivery, room: of a network trace, the delivery with which the last packet left, and
    its free bytes.
    """

    __slots__ = ("delivery", "fades", "left_at", "room")

    def __init__(self, direction: PathDirection, random_source: EntityRandom) -> None:
        self.left_at = 0
        self.delivery = 0
        self.room = PACKET_BYTES
        self.fades = Fades(direction.loss, random_source) if isinstance(direction.loss, FadingLoss) else None

    def clear(self, now: int) -> None:
        """The link was down: the contents of the queue are lost."""
        if self.left_at > now:
            self.left_at, self.delivery, self.room = now, -1, PACKET_BYTES


Bottlenecks = tuple[BandwidthQueue | None, BandwidthQueue | None]
"""Of an access link: up, and down."""


def clear_after(outage: Outage, bottlenecks: Bottlenecks, now: int) -> None:
    """An outage of an access link is over: the queues in its direction are empty."""
    for direction, bottleneck in zip(("up", "down"), bottlenecks, strict=True):
        if bottleneck is not None and outage.direction in (direction, "both"):
            bottleneck.clear(now)


def bottleneck_of(direction: PathDirection, random_source: EntityRandom) -> BandwidthQueue | None:
    """The part that an access link's connections share in this direction; None: nothing."""
    return BandwidthQueue(direction, random_source) if direction.is_shared else None


class DelayModel:
    """The state of one direction of one connection. `left_at`: when its last chunk left the bottleneck."""

    __slots__ = ("_bottleneck", "_is_alone", "_random_source", "_repair", "direction", "left_at")

    def __init__(self, direction: PathDirection, random_source: EntityRandom, bottleneck: BandwidthQueue | None = None) -> None:
        """`bottleneck`: of the access link; None: the connection has the path alone."""
        self.direction = direction
        self._random_source = random_source
        self._is_alone = bottleneck is None
        self._bottleneck = bottleneck_of(direction, random_source) if bottleneck is None else bottleneck
        fades = None if self._bottleneck is None else self._bottleneck.fades
        self._repair = Repair(direction, random_source, fades) if direction.is_lossy else None
        self.left_at = 0

    def send(self, size_bytes: int, index: int, sent_at: int) -> int:
        """When chunk number `index` arrives by itself."""
        if self._repair is not None:
            return self._repair.send(self, size_bytes, index, sent_at)
        direction = self.direction
        left_at = sent_at if sent_at > self.left_at else self.left_at
        if (bottleneck := self._bottleneck) is not None:
            left_at = max(left_at, bottleneck.left_at)
            if direction.ns_per_byte:
                left_at += round(size_bytes * direction.ns_per_byte)
            elif direction.deliveries is not None:
                left_at = self._deliver(size_bytes + HEAD_BYTES * max(1, -(-size_bytes // direction.tcp.mss_bytes)), left_at)
            bottleneck.left_at = left_at
        self.left_at = left_at
        return left_at + self.travel(index, left_at)

    def send_once(self, index: int, sent_at: int) -> int | None:
        """When a packet without bytes arrives that is never retransmitted; None: it is lost."""
        repair = self._repair
        if repair is None:
            return self.send(0, index, sent_at)
        packet = repair.packets
        repair.packets = packet + 1
        if repair.losses.is_lost(packet, 0, sent_at):
            return None
        left_at = self.left_at = self.leaves(0, sent_at)
        return left_at + self.travel(index, left_at)

    def travel(self, index: int, left_at: int) -> int:
        """When something arrives that left the bottleneck at `left_at`."""
        direction = self.direction
        takes = direction.latency if direction.recorded is None else direction.recorded.at(left_at)
        if direction.jitter:
            takes += int(direction.jitter * self._random_source.uniform("jitter", index))
        if direction.delay is not None:
            takes += ns(direction.delay.at(self._random_source.uniform("delay", index)))
        return takes

    def dial(self, sent_at: int) -> tuple[int, int]:
        """A SYN, the first packet: when it arrives, and when the successful transmission was sent."""
        repair = self._repair
        if repair is None:
            arrives_at = self.send(0, 0, sent_at)
            return arrives_at, self.left_at
        times, gives_up = syn_schedule(self.direction.tcp)
        for attempt, after in enumerate(times):
            at = sent_at + after
            if not repair.losses.is_lost(0, attempt, at):
                repair.packets = 1
                left_at = self.left_at = at if attempt else self.leaves(0, at)  # a later one must not occupy the link before then
                travel = self.travel(0, left_at)
                if not attempt:
                    repair.estimate.measured(travel + self.direction.back, sent_at)
                return left_at + travel, left_at
        repair.gives_up_at = sent_at + gives_up
        return NEVER, NEVER

    def restart(self, now: int) -> None:
        """The link is up again: lost data are sent again."""
        self.left_at = now
        if self._is_alone and self._bottleneck is not None:
            self._bottleneck.clear(now)
        if self._repair is not None:
            self._repair.forget()

    def on_another_path(self, direction: PathDirection, bottleneck: BandwidthQueue | None, packets: int) -> "DelayModel":
        """The same connection on another path, with its random numbers continued. `packets`: how many were sent while none could
        be lost."""
        other = DelayModel(direction, self._random_source, bottleneck)
        if other._repair is not None:
            other._repair.packets = packets if self._repair is None else self._repair.packets
        return other

    @property
    def repair(self) -> "Repair | None":
        return self._repair

    @property
    def rto(self) -> int:
        """The timeout of a connection of which only the path is known."""
        if self._repair is not None:
            return self._repair.estimate.rto
        return steady_rto(self.direction.tcp, 2 * self.direction.back, self.direction.jitter)

    def leaves(self, size_bytes: int, at: int) -> int:
        """When a packet has left the bottleneck that enters its queue at `at`."""
        at = max(at, self.left_at)
        if (bottleneck := self._bottleneck) is None:
            return at
        at = max(at, bottleneck.left_at)
        if self.direction.ns_per_byte:
            at += round(size_bytes * self.direction.ns_per_byte)
        elif self.direction.deliveries is not None:
            at = self._deliver(size_bytes + HEAD_BYTES, at)
        bottleneck.left_at = at
        return at

    def backlog_bytes(self, at: int) -> float:
        """The bytes in the bottleneck's queue."""
        bottleneck = self._bottleneck
        if bottleneck is None or bottleneck.left_at <= at:
            return 0
        if self.direction.ns_per_byte:
            return (bottleneck.left_at - at) / self.direction.ns_per_byte
        if self.direction.deliveries is None:
            return 0
        waiting = bottleneck.delivery - self.direction.deliveries.before(at)
        return waiting * PACKET_BYTES + PACKET_BYTES - bottleneck.room

    def _deliver(self, wire_bytes: int, at: int) -> int:
        deliveries, bottleneck = self.direction.deliveries, self._bottleneck
        assert deliveries is not None, "only where deliveries are recorded"
        assert bottleneck is not None, "which is a bottleneck"
        first = deliveries.before(at)
        if first > bottleneck.delivery:
            bottleneck.delivery, bottleneck.room = first, PACKET_BYTES
        beyond = wire_bytes - bottleneck.room
        if beyond <= 0:
            bottleneck.room = -beyond
        else:
            more = -(-beyond // PACKET_BYTES)
            bottleneck.delivery += more
            bottleneck.room = more * PACKET_BYTES - beyond
        return deliveries.time(bottleneck.delivery)


class _Lost:
    """A lost packet, until nothing can make it arrive earlier."""

    __slots__ = ("again", "arrives_at", "chunk", "failures", "fast_at", "later", "left_at", "packet", "rto")

    def __init__(self, chunk: "_Chunk", packet: int, left_at: int, again: int, rto: int) -> None:
        self.chunk = chunk
        self.packet = packet
        self.left_at = left_at
        self.again = again  # the time of a retransmission
        self.rto = rto
        self.failures = 0  # retransmissions that were lost too
        self.later = 0
        self.fast_at: int | None = None
        self.arrives_at = 0


class _Chunk:
    __slots__ = ("index", "lost", "others_at")

    def __init__(self, index: int) -> None:
        self.index = index
        self.others_at = 0  # when all packets that were not lost have arrived
        self.lost: list[_Lost] = []

    @property
    def arrives_at(self) -> int:
        return max(self.others_at, max(lost.arrives_at for lost in self.lost))


class Repair:
    """Loss and retransmission in one direction.

    corrections: arrivals that have become earlier, as (index, time), for the pipe to apply. gives_up_at: when TCP gives the
    connection up, once that is certain. loss: what repairs the losses of the last packets.
    """

    __slots__ = (
        "_direction",
        "_fades",
        "_missing",
        "_opens_at",
        "corrections",
        "estimate",
        "gives_up_at",
        "loss",
        "losses",
        "packets",
    )

    def __init__(self, direction: PathDirection, random_source: EntityRandom, fades: Fades | None = None) -> None:
        self._direction = direction
        self.losses: Losses = losses_of(direction.loss, random_source, fades)
        self.estimate = RoundTripEstimate(direction.tcp)
        self.packets = 0
        self._fades = fades
        self._missing: list[_Lost] = []
        self._opens_at: int | None = None  # after a drop: when the window opens again
        self.corrections: list[tuple[int, int]] = []
        self.gives_up_at: int | None = None
        self.loss: RepairedBy = ""

    def forget(self) -> None:
        self._missing.clear()
        self.corrections.clear()
        self._opens_at = None

    def send(self, delay: DelayModel, size_bytes: int, index: int, sent_at: int) -> int:
        direction = self._direction
        self._missing = [lost for lost in self._missing if lost.arrives_at > sent_at]
        chunk, travel, left_bytes = _Chunk(index), -1, size_bytes
        self.loss = ""
        while True:
            packet_bytes = min(left_bytes, direction.tcp.mss_bytes)
            left_at = delay.left_at = self._leaves(delay, packet_bytes, sent_at)
            if travel < 0 or direction.recorded is not None:
                travel = delay.travel(index, left_at)
            packet = self.packets
            self.packets = packet + 1
            if self.losses.is_lost(packet, 0, left_at):
                again = round(packet_bytes * direction.ns_per_byte) + travel
                lost = _Lost(chunk, packet, left_at, again, self.estimate.rto)
                chunk.lost.append(lost)
                self._missing.append(lost)
            else:
                chunk.others_at = max(chunk.others_at, left_at + travel)
                if self._missing:
                    self._arrived_behind(left_at + travel)
            left_bytes -= packet_bytes
            if left_bytes <= 0:
                break
        if not chunk.lost:
            self.estimate.measured(round(packet_bytes * direction.ns_per_byte) + travel + direction.back, sent_at)
            return chunk.others_at
        self.loss = "fast" if all(lost.fast_at is not None for lost in chunk.lost) else "timeout"
        for lost in chunk.lost:
            self._repeat(lost)
            self._settle(lost)
        return chunk.arrives_at

    def _repeat(self, lost: _Lost) -> None:
        """Count the retransmissions that are lost too."""
        tcp, rto_max = self._direction.tcp, ns(self._direction.tcp.rto_max_s)
        lost.failures = 0
        while lost.failures < tcp.retries:
            if lost.fast_at is None:
                at = lost.left_at + timeouts(lost.failures + 1, lost.rto, rto_max)
            else:
                at = lost.fast_at + timeouts(lost.failures, lost.rto, rto_max)
            if not self.losses.is_lost(lost.packet, lost.failures + 1, at):
                break
            lost.failures += 1

    def _leaves(self, delay: DelayModel, packet_bytes: int, at: int) -> int:
        """A packet enters the bottleneck's queue, or finds no room there."""
        if self._direction.queue_bytes is None:
            return delay.leaves(packet_bytes, at)
        backlog = delay.backlog_bytes(at)
        if self._opens_at is not None and not backlog and self._opens_at <= at:
            self._opens_at = None
        if self._opens_at is None and backlog + packet_bytes > self._direction.queue_bytes:
            self._opens_at = at + self.estimate.rto
        return delay.leaves(packet_bytes, at if self._opens_at is None else max(at, self._opens_at))

    def _arrived_behind(self, at: int) -> None:
        """A later packet than all missing ones has arrived."""
        is_over = False
        for lost in self._missing:
            lost.later += 1
            if lost.later == DUPLICATES:
                lost.fast_at = at + self._direction.back
                is_over = True
                if lost.arrives_at:  # else it belongs to the current chunk
                    before = lost.chunk.arrives_at
                    if self._fades is not None:  # another time has another state
                        self._repeat(lost)
                    self._settle(lost)
                    after = lost.chunk.arrives_at
                    if after < before:
                        self.corrections.append((lost.chunk.index, after))
        if is_over:
            self._missing = [lost for lost in self._missing if lost.later < DUPLICATES]

    def _settle(self, lost: _Lost) -> None:
        tcp = self._direction.tcp
        if lost.failures >= tcp.retries:
            lost.arrives_at = NEVER
            gives_up_at = lost.left_at + gives_up_after(tcp)
            self.gives_up_at = gives_up_at if self.gives_up_at is None else min(self.gives_up_at, gives_up_at)
            return
        rto_max = ns(tcp.rto_max_s)
        again_at = lost.left_at + timeouts(lost.failures + 1, lost.rto, rto_max)
        if lost.fast_at is not None:
            again_at = min(again_at, lost.fast_at + timeouts(lost.failures, lost.rto, rto_max))
        lost.arrives_at = again_at + lost.again
