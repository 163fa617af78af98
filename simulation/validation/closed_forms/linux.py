"""Linux's TCP, from its source: the retransmission timeout, and the number of flights of a transfer. Seconds and packets.

Sources: `tcp_rtt_estimator` and `__tcp_set_rto` in net/ipv4/tcp_input.c; RFC 6928 for the initial window; `tcp_cwnd_restart`.
"""

import math
from collections.abc import Sequence

RTO_MIN_S = 0.2


def rto_s(round_trips_s: Sequence[float], rto_min_s: float = RTO_MIN_S) -> float:
    """The timeout after these round trips, one packet each, one after the other (so each is a round trip of its own).

    srtt is kept eightfold and mdev fourfold, as in the kernel.
    """
    srtt8 = mdev4 = mdev_max = rttvar = 0.0
    for number, measured in enumerate(round_trips_s):
        if not number:
            srtt8, mdev4 = 8 * measured, 2 * measured
            rttvar = mdev_max = max(mdev4, rto_min_s)
            continue
        error = measured - srtt8 / 8
        srtt8 += error
        if error < 0:
            error = -error - mdev4 / 4
            if error > 0:
                error /= 8
        else:
            error -= mdev4 / 4
        mdev4 += error
        if mdev4 > mdev_max:
            mdev_max = mdev4
            rttvar = max(rttvar, mdev_max)
        if mdev_max < rttvar:  # the round trip is over
            rttvar -= (rttvar - mdev_max) / 4
        mdev_max = rto_min_s
    return srtt8 / 8 + rttvar


def flights(packets: int, initial: int = 10, most: int = 1 << 30) -> int:
    """How many flights `packets` take that double from `initial`, up to `most`."""
    count, window = 0, initial
    while packets > 0:
        packets -= window
        window = min(2 * window, most)
        count += 1
    return count


def transfer_s(size_bytes: int, latency_s: float, mss_bytes: int, initial: int = 10, most: int = 1 << 30) -> float:
    """From the first byte that leaves to the last that arrives, on a path without a bottleneck."""
    count = flights(max(1, math.ceil(size_bytes / mss_bytes)), initial, most)
    return latency_s + (count - 1) * 2 * latency_s
