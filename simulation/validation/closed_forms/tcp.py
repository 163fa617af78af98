"""When TCP retransmits, and when it gives up. Linux's defaults; times in seconds since the first try.

Sources: RFC 6298; Linux tcp(7) and ip-sysctl: tcp_syn_retries 6, tcp_retries2 15, and since 6.5 tcp_syn_linear_timeouts 4.
"""

SYN_RETRIES = 6
SYN_LINEAR_TIMEOUTS = 4
"""Of kernels from 6.5 on: so many retries follow at the initial timeout before it doubles, and come on top."""
RETRIES = 15
RTO_MIN_S = 0.2
RTO_MAX_S = 120.0


def retransmissions_s(
    retries: int, rto_s: float, linear: int = 0, rto_max_s: float = RTO_MAX_S
) -> tuple[tuple[float, ...], float]:
    """When it is sent, the first time (0) included, and when it is given up. `linear`: so many timeouts stay at `rto_s`."""
    times, now_s, timeout_s = [0.0], 0.0, rto_s
    for number in range(retries):
        now_s += timeout_s
        times.append(now_s)
        if number >= linear:
            timeout_s = min(2 * timeout_s, rto_max_s)
    return tuple(times), now_s + timeout_s


def syn_times_s(*, linear: bool) -> tuple[tuple[float, ...], float]:
    """Of a SYN that nobody answers. `linear`: a kernel from 6.5 on."""
    more = SYN_LINEAR_TIMEOUTS if linear else 0
    return retransmissions_s(SYN_RETRIES + more, 1.0, more)


def repeats_mean_s(loss: float, rto_s: float) -> float:
    """How much later a packet arrives on average when each try is lost independently with probability p < 1/2, and the n-th
    repeat follows after 2**(n - 1) timeouts more: p rto / (1 - 2 p). Without a largest timeout, or a last try."""
    if not 0 <= loss < 0.5:
        raise ValueError(f"a loss of {loss:g} has no finite mean delay; it must be below 0.5")
    return loss * rto_s / (1 - 2 * loss)
