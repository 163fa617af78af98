"""What TCP does about silence: when it sends again, and when it gives a connection up. Pure; all times are ns.

    retransmission timeout   RFC 6298 with `rto_min_s` for its second: RTO = max(rto_min, SRTT + max(1 ms, 4 RTTVAR)), 1 s before
                             the first measurement, doubled by every timeout up to `rto_max_s`
    fast retransmit          RFC 5681: three later packets have arrived
    giving up                data: after `retries` retransmissions, at the time that this takes with the least RTO, as Linux
                             reckons (924.6 s); a SYN: by the schedule of its kernel

Not imitated: tail loss probes and RACK, delayed acknowledgements, selective acknowledgements of more than one gap.
"""

from functools import lru_cache

from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.scenario.path_bounds import RTO_AT_FIRST_S, timeouts
from simulation.scenario.paths import Tcp

DUPLICATES = 3
"""Later packets that must arrive before one is held for lost."""
RTO_AT_FIRST = ns(RTO_AT_FIRST_S)
SYN_RETRIES = 6
SYN_LINEAR_TIMEOUTS = 4
"""Of kernels from 6.5 on: so many more timeouts, at first, which do not double."""
_GRANULARITY = NS_PER_MS


@lru_cache(maxsize=64)
def gives_up_after(tcp: Tcp) -> int:
    """How long data may be unacknowledged."""
    return timeouts(tcp.retries + 1, ns(tcp.rto_min_s), ns(tcp.rto_max_s))


@lru_cache(maxsize=64)
def syn_schedule(tcp: Tcp) -> tuple[tuple[int, ...], int]:
    """When a SYN is sent, from its first time on, and when the attempt is given up."""
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
    """When data that has been silent since `since` is sent again, at `now` or after."""
    at = since
    while at < now:
        at += rto
        rto = min(2 * rto, rto_max)
    return at


class RoundTripEstimate:
    """RFC 6298, section 2."""

    __slots__ = ("_rto_min", "_srtt", "_variation")

    def __init__(self, tcp: Tcp) -> None:
        self._rto_min = ns(tcp.rto_min_s)
        self._srtt = 0
        self._variation = 0

    def measured(self, round_trip: int) -> None:
        """Of a packet that was sent once (Karn)."""
        if not self._srtt:
            self._srtt, self._variation = max(1, round_trip), round_trip // 2
        else:
            self._variation += (abs(self._srtt - round_trip) - self._variation) // 4
            self._srtt += (round_trip - self._srtt) // 8

    @property
    def rto(self) -> int:
        if not self._srtt:
            return RTO_AT_FIRST
        return max(self._rto_min, self._srtt + max(_GRANULARITY, 4 * self._variation))
