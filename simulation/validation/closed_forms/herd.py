"""Many clients at once: a reconnect storm.

Each of N clients comes at a time that is uniform over a spread W, independently. A server that accepts mu clients a second, one
after the other, falls behind when N / W > mu. Long after a long outage, clients whose waits all have the same law d come as N
stationary renewal processes. Sources: occupancy, N. L. Johnson and S. Kotz, Urn Models and Their Application, 1977; renewal
theory, D. R. Cox, Renewal Theory, 1962.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import brentq

from simulation.validation.closed_forms.backoff import Wait


def bin_variance(clients: int, spread_s: float, bin_s: float) -> float:
    """Of the clients per bin, Binomial(N, w / W)."""
    share = bin_s / spread_s
    return clients * share * (1 - share)


def max_bin_cdf(clients: int, bins: int) -> np.ndarray:
    """P(no bin has more than k clients) for k = 0 ... N: N! n**-N [x**N] (sum over j <= k of x**j / j!)**n. Shape (N + 1,).

    The coefficient is taken with x scaled by N / n, so that it is the probability that n Poisson variables, none above k, sum to
    N, over the probability that unbounded ones do; then nothing overflows.
    """
    counts = np.arange(clients + 1)
    mean = clients / bins
    log_poisson = counts * math.log(mean) - mean - np.array([math.lgamma(count + 1) for count in counts])
    poisson = np.exp(log_poisson)
    sums_to = math.exp(clients * math.log(clients) - clients - math.lgamma(clients + 1)) if clients else 1.0
    cdf = np.zeros(clients + 1)
    for most in range(math.ceil(mean), clients + 1):
        cdf[most] = _sum_to(poisson[: most + 1], bins, clients) / sums_to
        if cdf[most] > 1 - 1e-10:
            cdf[most:] = 1.0
            break
    return np.minimum(cdf, 1.0)


def max_bin_mean(clients: int, bins: int) -> float:
    """The mean of the fullest bin: the peak that a server sees, per bin."""
    return float(np.sum(1 - max_bin_cdf(clients, bins)))


def last_mean_s(clients: int, spread_s: float) -> float:
    """When the last of N comes, on average: W N / (N + 1)."""
    return spread_s * clients / (clients + 1)


def stationary_mean_s(wait: Wait) -> float:
    """After a long outage: how long until a client's next attempt, on average, E[d**2] / (2 E[d]); its density is (1 - F(x)) /
    E[d]."""
    return wait.mean_square_s2 / (2 * wait.mean_s)


def stationary_cdf(wait: Wait, at_s: float) -> float:
    """The share of clients whose next attempt comes within `at_s`: the integral of (1 - F) over E[d]. For a wait without a
    limit."""
    low, high = wait.low_s, wait.high_s
    if at_s <= low:
        return at_s / wait.mean_s
    if at_s >= high:
        return 1.0
    return (low + (at_s - low) - (at_s - low) ** 2 / (2 * (high - low))) / wait.mean_s


def stationary_peak_per_s(clients: int, wait: Wait) -> float:
    """Attempts per second when the outage ends, and the most of any time: N / E[d]."""
    return clients / wait.mean_s


@dataclass(frozen=True, slots=True)
class AcceptQueue:
    """A server that takes 1 / mu for each client, in order, with N uniform over W and N / W > mu.

    To first order (a fluid), the last is through at N / mu, the mean wait is W (N/W - mu) / (2 mu), and N - mu W are waiting at
    W. Before the queue has formed for good the server is idle for a time that is Exp(lambda (1 - sigma)) in the limit of many
    clients, lambda = N / W, where sigma = exp(-lambda (1 - sigma) / mu) (the waiting time of the dual queue, GI/M/1: L.
    Kleinrock, Queueing Systems, vol. 1, 6.4); the figures here contain it. It is what remains of chance, and small.
    """

    clients: int
    spread_s: float
    accepts_per_s: float

    def __post_init__(self) -> None:
        assert self.clients / self.spread_s > self.accepts_per_s, "below its capacity a server has no such backlog"

    @property
    def idle_mean_s(self) -> float:
        """How long the server is idle before it has a queue for good."""
        arrivals_per_s = self.clients / self.spread_s
        load = arrivals_per_s / self.accepts_per_s
        below_one = 1 - (load - 1) / load**2  # 1 is a root too, and not the one that is meant
        sigma = float(brentq(lambda x: x - math.exp(-load * (1 - x)), 0.0, below_one, xtol=1e-15))
        return 1 / (arrivals_per_s * (1 - sigma))

    @property
    def last_mean_s(self) -> float:
        """When the last is through."""
        return self.clients / self.accepts_per_s + self.idle_mean_s

    @property
    def wait_mean_s(self) -> float:
        """From a client's coming until it is its turn, averaged over the clients."""
        return (self.clients - 1) / (2 * self.accepts_per_s) + self.idle_mean_s - self.spread_s / 2

    @property
    def backlog_mean(self) -> float:
        """Clients that are waiting or being served at the end of the spread, for a whole mu W."""
        rate = self.accepts_per_s
        return self.clients - rate * self.spread_s + 1 / -math.expm1(-1 / (self.idle_mean_s * rate))


def _sum_to(probabilities: np.ndarray, terms: int, total: int) -> float:
    """P(`terms` independent variables with these probabilities of 0, 1, ... sum to `total`)."""
    length = terms * (len(probabilities) - 1) + 1  # so long that nothing wraps around
    if length <= total:
        return 0.0
    length = next_fast_len(length, real=True)
    return float(irfft(rfft(probabilities, length) ** terms, length)[total])
