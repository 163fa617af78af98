"""Loss in bursts, in time: a link alternates between good and bad for exponential times (Gilbert-Elliott in continuous time).

With rates g = 1 / mean good time and b = 1 / mean bad time: P(bad) = g / (g + b), and of two moments a time t apart the states
correlate by exp(-(g + b) t). Here bad means lost.
"""

import math


def share(good_s: float, bad_s: float) -> float:
    """Of time, and so of packets at any fixed times."""
    return bad_s / (good_s + bad_s)


def correlation(apart_s: float, good_s: float, bad_s: float) -> float:
    """Of the losses of two packets sent this far apart."""
    return math.exp(-apart_s * (1 / good_s + 1 / bad_s))


def lost_again(after_s: float, good_s: float, bad_s: float) -> float:
    """P(a packet is lost | one was lost `after_s` before)."""
    bad = share(good_s, bad_s)
    return bad + (1 - bad) * correlation(after_s, good_s, bad_s)


def lost_times(times: int, first_after_s: float, good_s: float, bad_s: float) -> float:
    """P(a packet and its first `times` - 1 retransmissions are lost), whose timeouts double from `first_after_s`."""
    probability, after_s = share(good_s, bad_s), first_after_s
    for _ in range(times - 1):
        probability *= lost_again(after_s, good_s, bad_s)
        after_s *= 2
    return probability
