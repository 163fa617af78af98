"""Devices, names and ports: results for a uniform phase, a fixed wait, and a pool without a queue.

A phase that is uniform on [0, T) has mean T / 2 and variance T**2 / 12. A pool of c ports that is offered a of them on average
refuses the share B(c, a) of Poisson arrivals, whatever the distribution of the holding times
(A. K. Erlang, 1917; insensitivity: B. A. Sevastyanov, 1957).
"""

import math


def uniform_mean(width: float) -> float:
    return width / 2


def uniform_variance(width: float) -> float:
    return width**2 / 12


def turned_away(ports: int, offered: float) -> float:
    """B(c, a), as the quotient of its definition."""
    terms = [offered**count / math.factorial(count) for count in range(ports + 1)]
    return terms[-1] / math.fsum(terms)


def in_use(ports: int, offered: float) -> float:
    """The mean number of ports in use."""
    return offered * (1 - turned_away(ports, offered))


def away_mean_s(wait_s: float, outage_mean_s: float) -> float:
    """How long a client is away that tries every `wait_s` during an exponential outage, with attempts that take no time: a
    geometric number of waits."""
    return wait_s / (1 - math.exp(-wait_s / outage_mean_s))
