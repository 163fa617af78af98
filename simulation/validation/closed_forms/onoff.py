"""Reconnect attempts on a network that is alternately on, Exp(mean a), and off, Exp(mean b).

A client is dropped when the network goes off, and is back with its first attempt that meets it on. With A = a / (a + b) and
s = 1/a + 1/b, a network that is off now is off again after a time d with probability 1 - A + A exp(-s d) (the two-state Markov
chain in continuous time), so with the waits of `backoff`

    P(the first n attempts fail) = product over j <= n of (1 - A + A L_j(s)).

Unlike after a single outage, a long wait can meet the next off period. Source: W. Feller, An Introduction to Probability Theory
and Its Applications, vol. 1, XVII.
"""

from simulation.validation.closed_forms.backoff import Reconnect, Schedule, Wait, accumulate


def availability(on_mean_s: float, off_mean_s: float) -> float:
    """A: the share of time that the network is on."""
    return on_mean_s / (on_mean_s + off_mean_s)


def all_fail(schedule: Schedule, attempts: int, on_mean_s: float, off_mean_s: float) -> float:
    """P(the first n attempts fail)."""
    probability = 1.0
    for k in range(1, attempts + 1):
        wait = schedule(k)
        if wait is None:
            break
        probability *= _stays(wait, on_mean_s, off_mean_s)[0]
    return probability


def reconnect(schedule: Schedule, on_mean_s: float, off_mean_s: float) -> Reconnect:
    """Attempts and time until the first that meets the network on."""
    return accumulate(schedule, lambda wait: _stays(wait, on_mean_s, off_mean_s))


def _stays(wait: Wait, on_mean_s: float, off_mean_s: float) -> tuple[float, float]:
    on, s = availability(on_mean_s, off_mean_s), 1 / on_mean_s + 1 / off_mean_s
    return 1 - on + on * wait.laplace(s), (1 - on) * wait.mean_s + on * wait.tilted_mean_s(s)
