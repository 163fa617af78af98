"""Queues: textbook values, limits, and Lindley's recursion."""

import math

import numpy as np
import pytest

from simulation.validation.closed_forms import queues


def lindley(services: np.ndarray, arrivals_per_s: float, random: np.random.Generator) -> np.ndarray:
    """Waits of one server's customers. Shape like services, (replications, customers)."""
    steps = services[:, :-1] - random.exponential(1 / arrivals_per_s, services[:, 1:].shape)
    walk = np.concatenate([np.zeros((len(services), 1)), np.cumsum(steps, axis=1)], axis=1)
    return np.asarray(walk - np.minimum.accumulate(walk, axis=1))


@pytest.mark.parametrize("load", [0.3, 0.8])
@pytest.mark.parametrize("distribution", ["constant", "exponential", "uniform"])
def test_waits_by_lindleys_recursion(distribution: str, load: float) -> None:
    random, shape, service_s = np.random.default_rng(4), (100, 6000), 0.02
    services, square = {
        "constant": (np.full(shape, service_s), service_s**2),
        "exponential": (random.exponential(service_s, shape), 2 * service_s**2),
        "uniform": (random.uniform(0, 2 * service_s, shape), 4 / 3 * service_s**2),
    }[distribution]
    waits = lindley(services, load / service_s, random)[:, 1000:]
    per_replication = waits.mean(axis=1)
    expected = queues.mg1_wait_mean_s(load / service_s, service_s, square)
    assert abs(per_replication.mean() - expected) < 3.3 * per_replication.std(ddof=1) / 10
    below = (waits <= 2.5 * service_s).mean(axis=1)
    cdf = {"constant": queues.md1_wait_cdf, "exponential": queues.mm1_wait_cdf}.get(distribution)
    if cdf is not None:
        assert abs(below.mean() - cdf(load / service_s, service_s, 2.5 * service_s)) < 3.3 * below.std(ddof=1) / 10


def test_special_cases() -> None:
    assert queues.mm1_wait_mean_s(80, 0.01) == pytest.approx(0.8 / (100 - 80))
    assert queues.md1_wait_mean_s(80, 0.01) == pytest.approx(0.8 / (100 - 80) / 2)
    assert queues.mmc_waits(80, 0.01, 1) == pytest.approx(0.8)
    assert queues.mmc_wait_mean_s(80, 0.01, 1) == pytest.approx(queues.mm1_wait_mean_s(80, 0.01))
    assert queues.mmc_waits(1.0, 3.0, 5) == pytest.approx(0.2362, abs=5e-5)  # Erlang's table, a = 3, c = 5
    assert queues.md1_wait_cdf(80, 0.01, 0.0) == pytest.approx(queues.mm1_wait_cdf(80, 0.01, 0.0)) == pytest.approx(0.2)
    assert queues.mm1_wait_cdf(80, 0.01, 100.0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="steady state"):
        queues.mm1_wait_mean_s(101, 0.01)


def test_several_servers_by_the_birth_and_death_chain() -> None:
    arrivals, service, servers = 7.0, 0.5, 5
    weights = [1.0]
    for n in range(1, 4000):
        weights.append(weights[-1] * arrivals * service / min(n, servers))
    chain = np.array(weights) / math.fsum(weights)
    assert queues.mmc_waits(arrivals, service, servers) == pytest.approx(chain[servers:].sum())
    waiting = float((np.arange(servers, 4000) - servers) @ chain[servers:])
    assert queues.mmc_wait_mean_s(arrivals, service, servers) == pytest.approx(waiting / arrivals)  # Little's law
