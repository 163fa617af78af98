"""Reconnect attempts after an outage.

A client loses its connection at time 0. It waits d_1, tries, waits d_2, tries, ...: attempt k is made at A_k = d_1 + ... + d_k.
The outage ends at X ~ Exp(mean m); an attempt before X fails, at once or after `attempt_s` (which then counts into every d_k).
K is the first k with A_k >= X, and R = A_K the time until reconnected. Because X has no memory,

    P(X > A_k) = product over j <= k of L_j(1/m),      L_j(s) = E exp(-s d_j)
    E[K]       = sum over k >= 0 of P(X > A_k)
    E[R]       = sum over k >= 0 of E[d_(k+1)] P(X > A_k)
    E[R**2]    = sum over k >= 0 of E[d_(k+1)**2] P(X > A_k) + 2 E[d_(k+1)] E[A_k; X > A_k]

and all of it follows from the distributions of the single waits. Every jitter in use is uniform, some cut off at a limit; `Wait`
is that distribution. Source: elementary (memorylessness); jitters after M. Brooker, "Exponential Backoff And Jitter", AWS, 2015.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Jitter = Literal["none", "full", "equal"]
_NEGLIGIBLE = 1e-14
_ATTEMPTS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Wait:
    """min(U(low_s, high_s), at_most_s), in seconds. low_s = high_s: constant."""

    low_s: float
    high_s: float
    at_most_s: float = math.inf

    def later(self, more_s: float) -> "Wait":
        """The same with a constant added."""
        return Wait(self.low_s + more_s, self.high_s + more_s, self.at_most_s + more_s)

    @property
    def mean_s(self) -> float:
        return self._expect(lambda low, high: (low + high) / 2)

    @property
    def mean_square_s2(self) -> float:
        """E[d**2], in s**2."""
        return self._expect(lambda low, high: (low * low + low * high + high * high) / 3)

    def laplace(self, rate_per_s: float) -> float:
        """E exp(-s d) for s = `rate_per_s`."""
        s = rate_per_s
        return self._expect(lambda low, high: math.exp(-s * low) * _phi(s * (high - low)))

    def tilted_mean_s(self, rate_per_s: float) -> float:
        """E[d exp(-s d)], in seconds."""
        s = rate_per_s

        def on(low: float, high: float) -> float:
            width = high - low
            return math.exp(-s * low) * (low * _phi(s * width) + width * _psi(s * width))

        return self._expect(on)

    def _expect(self, over_uniform: Callable[[float, float], float]) -> float:
        """`over_uniform(low, high)`: the expectation for U(low, high)."""
        if self.high_s <= self.at_most_s:
            return over_uniform(self.low_s, self.high_s)
        limit = self.at_most_s
        if limit <= self.low_s:
            return over_uniform(limit, limit)
        below = (limit - self.low_s) / (self.high_s - self.low_s)
        return below * over_uniform(self.low_s, limit) + (1 - below) * over_uniform(limit, limit)


Schedule = Callable[[int], Wait | None]
"""The wait before attempt k = 1, 2, ...; None: no such attempt, the client has given up."""


def exponential(jitter: Jitter | float, base_s: float = 1.0, factor: float = 2.0, cap_s: float = 30.0) -> Schedule:
    """Exponential backoff: c_k = min(cap, base * factor**(k - 1)); a wait is c_k (none), U(0, c_k) (full), U(c_k / 2, c_k)
    (equal), or, for a number j, U((1 - j) c_k, (1 + j) c_k)."""
    shares = {"none": (1.0, 1.0), "full": (0.0, 1.0), "equal": (0.5, 1.0)}
    low, high = shares[jitter] if isinstance(jitter, str) else (1 - jitter, 1 + jitter)

    def wait(k: int) -> Wait:
        ceiling_s = ceiling(k, base_s, factor, cap_s)
        return Wait(low * ceiling_s, high * ceiling_s)

    return wait


def floored_full_jitter(
    first_spread_s: float = 1.0, base_s: float = 1.0, factor: float = 2.0, cap_s: float = 30.0, floor_s: float = 0.25
) -> Schedule:
    """This project's policy: U(0, first spread), then floor + U(0, c_1), floor + U(0, c_2), ..."""

    def wait(k: int) -> Wait:
        if k == 1:
            return Wait(0.0, first_spread_s)
        return Wait(0.0, ceiling(k - 1, base_s, factor, cap_s)).later(floor_s)

    return wait


def fixed(*waits_s: float, then_s: float | None = None) -> Schedule:
    """These fixed waits, and then always `then_s`; None: then the client gives up."""

    def wait(k: int) -> Wait | None:
        if k <= len(waits_s):
            return Wait(waits_s[k - 1], waits_s[k - 1])
        return None if then_s is None else Wait(then_s, then_s)

    return wait


def ceiling(k: int, base_s: float, factor: float, cap_s: float) -> float:
    """c_k = min(cap, base * factor**(k - 1)), in seconds, for any k."""
    if factor > 1 and (k - 1) * math.log(factor) > math.log(cap_s / base_s):
        return cap_s
    return min(cap_s, base_s * factor ** (k - 1))


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The results for a schedule and a duration of failures. Infinite if a client may give up.

    attempts_mean: E[K]. time_mean_s: E[R], and time_mean_square_s2: E[R**2]. gives_up: the probability that no attempt succeeds.
    """

    attempts_mean: float
    time_mean_s: float
    time_mean_square_s2: float
    gives_up: float


def all_fail(schedule: Schedule, attempts: int, outage_mean_s: float, attempt_s: float = 0.0) -> float:
    """P(the first n attempts fail) = P(X > A_n); the probability that a fallback after n failures is used."""
    probability = 1.0
    for wait in _waits(schedule, attempt_s, attempts):
        probability *= wait.laplace(1 / outage_mean_s)
    return probability


def reconnect(schedule: Schedule, outage_mean_s: float, attempt_s: float = 0.0) -> Reconnect:
    """After an exponential outage. An infinite mean outage: only a schedule that gives up ends."""
    s = 1 / outage_mean_s

    def stays(wait: Wait) -> tuple[float, float]:
        return wait.laplace(s), wait.tilted_mean_s(s)

    return accumulate(schedule, stays, attempt_s)


def accumulate(schedule: Schedule, stays: Callable[[Wait], tuple[float, float]], attempt_s: float = 0.0) -> Reconnect:
    """Sum over attempts. `stays(wait)`: of a client for whom all before has failed, E[1; it fails again] and E[d; it fails
    again], where d is the wait before that attempt, and independent of what was before."""
    attempts = time = square = 0.0
    probability, time_so_far = 1.0, 0.0  # P(all before failed) and E[A_k; all before failed]
    for wait in _waits(schedule, attempt_s, _ATTEMPTS_MAX):
        attempts += probability
        time += wait.mean_s * probability
        square += wait.mean_square_s2 * probability + 2 * wait.mean_s * time_so_far
        stay, tilted = stays(wait)
        time_so_far = time_so_far * stay + probability * tilted
        probability *= stay
        if probability < _NEGLIGIBLE:
            return Reconnect(attempts, time, square, 0.0)
    return Reconnect(math.inf, math.inf, math.inf, probability)


def _waits(schedule: Schedule, attempt_s: float, attempts: int) -> Iterator[Wait]:
    for k in range(1, attempts + 1):
        wait = schedule(k)
        if wait is None:
            return
        yield wait.later(attempt_s)


def _phi(x: float) -> float:
    """(1 - exp(-x)) / x, the mean of exp(-x u) for u uniform on (0, 1)."""
    return -math.expm1(-x) / x if x else 1.0


def _psi(x: float) -> float:
    """(1 - (1 + x) exp(-x)) / x**2, the mean of u exp(-x u)."""
    if x < 1e-3:
        return 1 / 2 - x / 3 + x * x / 8
    return (-math.expm1(-x) - x * math.exp(-x)) / (x * x)
