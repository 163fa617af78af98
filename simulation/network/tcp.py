"""TCP timeouts: when it retransmits, and when it gives a connection up. Pure; all times are ns.

    retransmission timeout   as in Linux: RTO = SRTT + max(rto_min, 4 mdev), 1 s before the first measurement, doubled by every
                             timeout up to `rto_max_s`
    fast retransmit          RFC 5681: three later packets have arrived
    giving up                data: after the time that `retries` retransmissions take with the least RTO, as Linux
                             computes it (924.6 s); a SYN: by the schedule of its kernel

Tail loss probes: for one packet in flight Linux's probe would come after 2 SRTT + 200 ms, not before the RTO, so it changes
nothing. Not modelled: the probe for more packets, RACK, selective acknowledgements of more than one gap.
"""

from functools import lru_cache

from reference.protocol.timers import NS_PER_S, ns
from simulation.scenario.path_bounds import RTO_AT_FIRST_S, timeouts
from simulation.scenario.paths import Tcp

DUPLICATES = 3
"""Later packets that must arrive before a packet is considered lost."""
RTO_AT_FIRST = ns(RTO_AT_FIRST_S)
SYN_RETRIES = 6
SYN_LINEAR_TIMEOUTS = 4
"""In kernels from 6.5 on: this many additional timeouts, at first, which do not double."""


@lru_cache(maxsize=64)
def gives_up_after(tcp: Tcp) -> int:
    """How long data may be unacknowledged."""
    if tcp.user_timeout_s is not None:
        return ns(tcp.user_timeout_s)
    return timeouts(tcp.retries + 1, ns(tcp.rto_min_s), ns(tcp.rto_max_s))


@lru_cache(maxsize=64)
def syn_schedule(tcp: Tcp) -> tuple[tuple[int, ...], int]:
    """When a SYN is sent, counted from its first time, and when the attempt is given up."""
    linear = SYN_LINEAR_TIMEOUTS if tcp.syn == "linux_6_5" else 0
    times = [number * NS_PER_S for number in range(linear + 1)]
    timeout = NS_PER_S
    for _ in range(SYN_RETRIES):
        times.append(times[-1] + timeout)
        timeout *= 2
    return tuple(times), times[-1] + timeout


def next_syn(tcp: Tcp, dialled_at: int, now: int) -> int | None:
    """When the SYN of an attempt that began at `dialled_at` is sent after `now`; None: never again."""
    return next((dialled_at + after for after in syn_schedule(tcp)[0] if dialled_at + after > now), None)


def next_retransmission(since: int, rto: int, rto_max: int, now: int) -> int:
    """When data unacknowledged since `since` are sent again, at `now` or after."""
    at = since
    while at < now:
        at += rto
        rto = min(2 * rto, rto_max)
    return at


class RoundTripEstimate:
    """As in Linux (`tcp_rtt_estimator` and `tcp_set_rto`): RTO = SRTT + max(rto_min, 4 mdev).

    SRTT and mdev are those of RFC 6298, but a falling round trip counts an eighth in mdev. The RTO uses the largest 4 mdev of the
    current round trip, and at least rto_min: it rises at once, and falls by a quarter of the difference per round trip. The first
    measurement gives 3 R, or R + rto_min if that is more.
    """

    __slots__ = ("_four_mdev", "_largest", "_round_ends_at", "_rto_min", "_srtt", "_variation")

    def __init__(self, tcp: Tcp) -> None:
        self._rto_min = ns(tcp.rto_min_s)
        self._srtt = 0
        self._four_mdev = 0
        self._largest = self._rto_min  # the largest 4 mdev of this round trip
        self._variation = 0  # the part of it in the RTO
        self._round_ends_at = 0

    def measured(self, round_trip: int, sent_at: int = 0) -> None:
        """The round trip of a packet that was sent once (Karn), at `sent_at`."""
        acknowledged_at = sent_at + round_trip
        if not self._srtt:
            self._srtt, self._four_mdev = max(1, round_trip), 2 * round_trip
            self._variation = self._largest = max(self._four_mdev, self._rto_min)
            self._round_ends_at = acknowledged_at
            return
        error = round_trip - self._srtt
        self._srtt += error // 8
        more = abs(error) - self._four_mdev // 4
        self._four_mdev += more // 8 if error < 0 and more > 0 else more
        if self._four_mdev > self._largest:
            self._largest = self._four_mdev
            self._variation = max(self._variation, self._largest)
        if sent_at >= self._round_ends_at:
            if self._largest < self._variation:
                self._variation -= (self._variation - self._largest) // 4
            self._round_ends_at, self._largest = acknowledged_at, self._rto_min

    @property
    def rto(self) -> int:
        return self._srtt + self._variation if self._srtt else RTO_AT_FIRST


def steady_rto(tcp: Tcp, round_trip: int, spread: int) -> int:
    """The RTO of a connection whose round trips have been about the same for long. `spread`: the width of their jitter, equal to
    four mean deviations (of a uniform jitter)."""
    return round_trip + max(ns(tcp.rto_min_s), spread)
