"""Delays of an in-order stream: head-of-line blocking.

Messages come as a Poisson process of rate lambda; each would take d0 + Exp(mean m) alone, independently, but is handed over only
after all that were sent before it. A message's delay is at most x if its own is, and if no earlier one is still on the way, of
which there are Poisson(lambda m z) with z = exp(-(x - d0) / m) (an M/G/infinity queue), so

    P(T <= x) = (1 - z) exp(-lambda m z)
    E[T]      = d0 + m (Ein(lambda m) + (1 - exp(-lambda m)) / (lambda m)),  Ein(a) = E1(a) + ln a + gamma

Source: F. Baccelli, E. Gelenbe, B. Plateau, "An end-to-end approach to the resequencing problem", J. ACM 31, 1984.
"""

import math

from scipy.optimize import brentq
from scipy.special import exp1


def cdf(at_s: float, messages_per_s: float, floor_s: float, mean_s: float) -> float:
    """P(delay <= x). floor_s: d0. mean_s: m, of what chance adds to it."""
    if at_s <= floor_s:
        return 0.0
    z = math.exp(-(at_s - floor_s) / mean_s)
    return (1 - z) * math.exp(-messages_per_s * mean_s * z)


def delay_mean_s(messages_per_s: float, floor_s: float, mean_s: float) -> float:
    a = messages_per_s * mean_s
    if a < 1e-8:
        return floor_s + mean_s
    ein = float(exp1(a)) + math.log(a) + 0.57721566490153286
    return floor_s + mean_s * (ein - math.expm1(-a) / a)


def quantile_s(fraction: float, messages_per_s: float, floor_s: float, mean_s: float) -> float:
    far = floor_s + mean_s * (50 + math.log1p(messages_per_s * mean_s))
    return float(brentq(lambda x: cdf(x, messages_per_s, floor_s, mean_s) - fraction, floor_s, far, xtol=1e-12))
