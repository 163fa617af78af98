"""Detection times of dead connections, and the rate of false alarms.

A client sends a ping every I seconds, its answer takes a round trip r < I, and without any byte for T <= I after a ping the
connection is given up. At a uniform phase the path becomes a black hole. If an answer was on its way it is lost, and its ping's
limit counts; otherwise the next ping's. So the delay is uniform on (T - r, T + I - r). Elementary. With k misses in a row, pings
T apart, it is the same with k T; for NFD-S with the shift delta, also where r > I, for each ping is judged by its own answer.

A detector that waits for a silence of L since the last answer gives up after a delay that is uniform on (L - I, L).

Mistakes of NFD-S: Chen, Toueg and Aguilera 2002, theorem 5, for delta <= eta and independent round trips that are shorter than
eta: a freshness point is a mistake with p_0 = P(D > delta), so the mean time between mistakes is eta / p_0.

Phi: Hayashibara and others 2004, phi(t) = -log10 P(interval > t), with the laws as Akka (`PhiAccrualFailureDetector.phi`) and
Cassandra (`ArrivalWindow.phi`) have them. Known from n intervals only, a law is wider than itself: for exponential intervals and
their mean, P(X > c * mean) = (1 + c / n)**-n (X / mean is of the Pareto kind); for normal ones, their mean m and deviation s,
(X - m) / (s * sqrt((n + 1) / (n - 1))) has Student's distribution with n - 1 degrees of freedom (the prediction interval).
"""

import math

from scipy import optimize, stats


def bounds_s(interval_s: float, timeout_s: float, round_trip_s: float) -> tuple[float, float]:
    return timeout_s - round_trip_s, timeout_s + interval_s - round_trip_s


def mean_s(interval_s: float, timeout_s: float, round_trip_s: float) -> float:
    return sum(bounds_s(interval_s, timeout_s, round_trip_s)) / 2


def quantile_s(fraction: float, interval_s: float, timeout_s: float, round_trip_s: float) -> float:
    low, high = bounds_s(interval_s, timeout_s, round_trip_s)
    return low + fraction * (high - low)


def erlang_2_tail(delay_s: float, mean_s: float) -> float:
    """P(A + B > delay) of two independent exponential delays, there and back, each with this mean."""
    x = max(0.0, delay_s) / mean_s
    return math.exp(-x) * (1 + x)


def akkas_phi(silence_s: float, mean_s: float, std_s: float) -> float:
    """Of a silence above the mean; Akka's approximation of the normal law (Bowling and others, 2009)."""
    y = (silence_s - mean_s) / std_s
    e = math.exp(-y * (1.5976 + 0.070566 * y * y))
    return -math.log10(e / (1.0 + e))


def cassandras_phi(silence_s: float, mean_s: float) -> float:
    """-log10 exp(-silence / mean)."""
    return silence_s / mean_s / math.log(10)


def akkas_silence_s(phi: float, mean_s: float, std_s: float) -> float:
    """The silence at which Akka's phi is this."""
    silence_s: float = optimize.brentq(lambda t: akkas_phi(t, mean_s, std_s) - phi, mean_s, mean_s + 12 * std_s)
    return silence_s


def exponential_mistake(phi: float, samples: int) -> float:
    """How likely an exponential interval is longer than the silence that `samples` of them make phi."""
    return (1 + phi * math.log(10) / samples) ** -samples


def normal_mistake(phi: float, samples: int) -> float:
    """The same of normal intervals, with their mean and (population) standard deviation."""
    y = akkas_silence_s(phi, 0.0, 1.0)
    return float(stats.t.sf(y * math.sqrt((samples - 1) / (samples + 1)), samples - 1))
