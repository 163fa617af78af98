"""Loss in bursts: the Gilbert-Elliott chain, one step for each packet.

The chain is good or bad; it turns bad with probability p, good with probability r. In the good state a packet passes with
probability k, in the bad with h (here, as in Gilbert's simplest model, k = 1 and h = 0: bad means lost). Sources: E. N. Gilbert,
Bell System Technical Journal 39, 1960; E. O. Elliott, the same 42, 1963.
"""


def bad_share(p: float, r: float) -> float:
    """The share of packets in the bad state: p / (p + r)."""
    return p / (p + r)


def loss_share(p: float, r: float, k: float = 1.0, h: float = 0.0) -> float:
    """The share of packets that is lost."""
    bad = bad_share(p, r)
    return (1 - bad) * (1 - k) + bad * (1 - h)


def burst_mean(r: float) -> float:
    """How many packets in a row are lost, on average, for k = 1 and h = 0: geometric, 1 / r."""
    return 1 / r


def burst_longer_than(packets: int, r: float) -> float:
    """P(a burst has more than n packets) = (1 - r)**n."""
    return (1 - r) ** packets


def correlation(lag: int, p: float, r: float) -> float:
    """Of the losses of two packets that are `lag` apart: (1 - p - r)**lag."""
    return (1 - p - r) ** lag
