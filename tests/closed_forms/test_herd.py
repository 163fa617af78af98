"""Reconnect storms: compared with counting, values by hand, and plain Monte Carlo."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad

from simulation.validation.closed_forms import herd
from simulation.validation.closed_forms.backoff import Wait


def test_the_fullest_bin_by_counting_all_cases() -> None:
    clients, bins = 6, 3
    fullest = [max(map(case.count, range(bins))) for case in product(range(bins), repeat=clients)]
    for most in range(clients + 1):
        assert herd.max_bin_cdf(clients, bins)[most] == pytest.approx(sum(x <= most for x in fullest) / len(fullest))
    assert herd.max_bin_mean(clients, bins) == pytest.approx(float(np.mean(fullest)))


def test_the_fullest_bin_of_many() -> None:
    random = np.random.default_rng(1)
    fullest = random.multinomial(2000, [0.01] * 100, size=4000).max(axis=1)
    error = fullest.std(ddof=1) / math.sqrt(len(fullest))
    assert abs(fullest.mean() - herd.max_bin_mean(2000, 100)) < 3.3 * error
    assert herd.max_bin_cdf(50, 1)[49:].tolist() == [0.0, 1.0]


def test_bins_and_the_last() -> None:
    assert herd.bin_variance(1000, 5, 0.1) == pytest.approx(19.6)
    assert herd.last_mean_s(1, 4) == 2
    assert herd.last_mean_s(999, 1) == pytest.approx(0.999)


@pytest.mark.parametrize("wait", [Wait(0, 30), Wait(15, 30), Wait(5, 5)])
def test_long_after_an_outage(wait: Wait) -> None:
    def density(x: float) -> float:
        width = wait.high_s - wait.low_s
        below = 0.0 if x < wait.low_s else min(1.0, (x - wait.low_s) / width) if width else 1.0
        return (1 - below) / wait.mean_s

    mean, _ = quad(lambda x: x * density(x), 0, wait.high_s, points=[wait.low_s])
    assert herd.stationary_mean_s(wait) == pytest.approx(mean)
    for at in (1.0, 7.0, 20.0, 40.0):
        share, _ = quad(density, 0, min(at, wait.high_s), points=[min(at, wait.low_s)])
        assert herd.stationary_cdf(wait, at) == pytest.approx(share)
    assert herd.stationary_peak_per_s(3000, wait) == pytest.approx(3000 * density(0))


@pytest.mark.parametrize("rate", [50.0, 150.0])
def test_accepting_against_plain_monte_carlo(rate: float) -> None:
    clients, spread, replications = 1000, 5.0, 800
    random = np.random.default_rng(3)
    arrivals = np.sort(random.uniform(0, spread, (replications, clients)), axis=1)
    order = np.arange(clients) / rate
    through = np.maximum.accumulate(arrivals - order, axis=1) + order + 1 / rate
    waits = (through - 1 / rate - arrivals).mean(axis=1)
    backlog = clients - (through <= spread + 1e-12).sum(axis=1)
    theory = herd.AcceptQueue(clients, spread, rate)
    for found, reference in (
        (through[:, -1], theory.last_mean_s),
        (waits, theory.wait_mean_s),
        (backlog, theory.backlog_mean),
    ):
        assert abs(found.mean() - reference) < 3.3 * found.std(ddof=1) / math.sqrt(replications)


def test_accepting_is_nearly_the_fluid() -> None:
    theory = herd.AcceptQueue(10_000, 5.0, 100.0)
    assert theory.last_mean_s == pytest.approx(10_000 / 100, rel=1e-4)
    assert theory.wait_mean_s == pytest.approx(5.0 * (2000 - 100) / 200, rel=1e-3)
    assert theory.backlog_mean == pytest.approx(10_000 - 500, rel=1e-3)
