"""How often an outage fills a bounded queue.

Messages come as a Poisson process of rate lambda; an outage is Exp(mean m). The number that comes in one outage is geometric:
P(N > B) = g**(B + 1) with g = lambda m / (1 + lambda m), the race of two exponential clocks, won B + 1 times in a row.
"""


def overflows(limit: int, messages_per_s: float, outage_mean_s: float) -> float:
    """P(N > B): the share of outages in which more than `limit` messages come."""
    expected = messages_per_s * outage_mean_s
    return float((expected / (1 + expected)) ** (limit + 1))


def overflow_mean(limit: int, messages_per_s: float, outage_mean_s: float) -> float:
    """E[max(0, N - B)]: messages beyond the limit, per outage. What is beyond the limit is again geometric: g**(B + 1) (1 +
    lambda m)."""
    return overflows(limit, messages_per_s, outage_mean_s) * (1 + messages_per_s * outage_mean_s)
