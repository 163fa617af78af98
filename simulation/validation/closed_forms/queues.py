"""Single queues with Poisson arrivals, first come, first served, in the steady state.

lambda: arrivals per second; a service takes S, mean 1 / mu; load rho = lambda E[S] / servers < 1. A wait ends when service
begins; a sojourn when it ends. Sources: L. Kleinrock, Queueing Systems, vol. 1, 1975 (M/M/1, Pollaczek-Khinchine); A. K. Erlang,
1909 and 1917 (M/D/1, M/M/c).
"""

import math


def mg1_wait_mean_s(arrivals_per_s: float, service_mean_s: float, service_mean_square_s2: float) -> float:
    """M/G/1, Pollaczek-Khinchine: lambda E[S**2] / (2 (1 - rho))."""
    return arrivals_per_s * service_mean_square_s2 / (2 * (1 - _load(arrivals_per_s, service_mean_s)))


def md1_wait_mean_s(arrivals_per_s: float, service_s: float) -> float:
    """M/D/1: half of what an M/M/1 queue has."""
    return mg1_wait_mean_s(arrivals_per_s, service_s, service_s * service_s)


def mm1_wait_mean_s(arrivals_per_s: float, service_mean_s: float) -> float:
    """M/M/1: rho / (mu - lambda)."""
    return mg1_wait_mean_s(arrivals_per_s, service_mean_s, 2 * service_mean_s * service_mean_s)


def md1_wait_cdf(arrivals_per_s: float, service_s: float, at_s: float) -> float:
    """M/D/1: P(wait <= t) = (1 - rho) * sum over k <= t / S of (lambda (k S - t))**k / k! * exp(-lambda (k S - t)).

    The terms alternate and grow; good to about 1e-6 for lambda t below 15.
    """
    total = 0.0
    for k in range(int(at_s / service_s + 1e-12) + 1):
        x = arrivals_per_s * (k * service_s - at_s)
        total += x**k / math.factorial(k) * math.exp(-x)
    return (1 - _load(arrivals_per_s, service_s)) * total


def mm1_wait_cdf(arrivals_per_s: float, service_mean_s: float, at_s: float) -> float:
    """M/M/1: P(wait <= t) = 1 - rho exp(-(mu - lambda) t)."""
    return 1 - _load(arrivals_per_s, service_mean_s) * math.exp(-(1 / service_mean_s - arrivals_per_s) * at_s)


def mmc_waits(arrivals_per_s: float, service_mean_s: float, servers: int) -> float:
    """M/M/c: the share that has to wait, Erlang's C(c, a) with a = lambda E[S]."""
    a = arrivals_per_s * service_mean_s
    load = _load(arrivals_per_s, service_mean_s, servers)
    blocked = 1.0  # Erlang's B, by its recursion
    for count in range(1, servers + 1):
        blocked = a * blocked / (count + a * blocked)
    return blocked / (1 - load * (1 - blocked))


def mmc_wait_mean_s(arrivals_per_s: float, service_mean_s: float, servers: int) -> float:
    """M/M/c: C(c, a) / (c mu - lambda)."""
    return mmc_waits(arrivals_per_s, service_mean_s, servers) / (servers / service_mean_s - arrivals_per_s)


def _load(arrivals_per_s: float, service_mean_s: float, servers: int = 1) -> float:
    load = arrivals_per_s * service_mean_s / servers
    if not 0 <= load < 1:
        raise ValueError(f"a load of {load:g} has no steady state; it must be at least 0 and below 1")
    return load
