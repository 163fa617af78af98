"""Reconnect times: known numbers, the formulas in their usual form, and plain Monte Carlo of the model."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad

from simulation.validation.closed_forms import backoff, onoff
from simulation.validation.closed_forms.backoff import Jitter, Schedule, Wait, exponential, fixed, floored_full_jitter


@pytest.mark.parametrize(
    ("jitter", "attempts", "time_s", "five_fail"), [("none", 2.6660, 7.6631, 0.0020), ("full", 3.5163, 8.3923, 0.0769)]
)
def test_the_numbers_that_settle_the_conventions(jitter: Jitter, attempts: float, time_s: float, five_fail: float) -> None:
    schedule = exponential(jitter, base_s=1, factor=2, cap_s=30)
    found = backoff.reconnect(schedule, outage_mean_s=5)
    assert found.attempts_mean == pytest.approx(attempts, abs=5e-5)
    assert found.time_mean_s == pytest.approx(time_s, abs=5e-5)
    assert backoff.all_fail(schedule, 5, outage_mean_s=5) == pytest.approx(five_fail, abs=5e-5)


@pytest.mark.parametrize("c", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("s", [0.001, 0.2, 3.0])
def test_laplace_transforms_as_they_are_usually_written(c: float, s: float) -> None:
    j = 0.2
    usual: dict[Jitter | float, tuple[float, float]] = {
        "none": (math.exp(-s * c), c),
        "full": ((1 - math.exp(-s * c)) / (s * c), c / 2),
        "equal": (math.exp(-s * c / 2) * (1 - math.exp(-s * c / 2)) / (s * c / 2), 3 * c / 4),
        j: (math.exp(-s * c) * math.sinh(j * s * c) / (j * s * c), c),
    }
    for jitter, (laplace, mean) in usual.items():
        wait = exponential(jitter, base_s=c, factor=1, cap_s=c)(1)
        assert wait is not None
        assert wait.laplace(s) == pytest.approx(laplace, rel=1e-9)
        assert wait.mean_s == pytest.approx(mean)


@pytest.mark.parametrize("wait", [Wait(0, 2), Wait(1, 1), Wait(1, 3, at_most_s=2.5), Wait(4, 6, at_most_s=3), Wait(0.5, 0.5001)])
@pytest.mark.parametrize("s", [1e-6, 0.3, 20.0])
def test_expectations_by_numerical_integration(wait: Wait, s: float) -> None:
    def expect(function: Callable[[float], float]) -> float:
        if wait.low_s == wait.high_s:
            return function(min(wait.low_s, wait.at_most_s))
        value, _ = quad(lambda u: function(min(wait.low_s + u * (wait.high_s - wait.low_s), wait.at_most_s)), 0, 1, points=[0.75])
        return float(value)

    assert wait.mean_s == pytest.approx(expect(lambda d: d))
    assert wait.mean_square_s2 == pytest.approx(expect(lambda d: d * d))
    assert wait.laplace(s) == pytest.approx(expect(lambda d: math.exp(-s * d)))
    assert wait.tilted_mean_s(s) == pytest.approx(expect(lambda d: d * math.exp(-s * d)))


SCHEDULES: dict[str, Schedule] = {
    "full": exponential("full"),
    "equal, factor 3": exponential("equal", base_s=0.5, factor=3, cap_s=8),
    "20 %": exponential(0.2, base_s=1, factor=1.6, cap_s=120),
    "ours": floored_full_jitter(),
    "fixed": fixed(0, 0.1, 1, then_s=5),
}


def draw(schedule: Schedule, k: int, random: np.random.Generator, size: int) -> np.ndarray:
    wait = schedule(k)
    assert wait is not None
    return np.minimum(random.uniform(wait.low_s, wait.high_s, size), wait.at_most_s)


def standard_errors(values: np.ndarray, reference: float) -> float:
    return float((values.mean() - reference) / (values.std(ddof=1) / math.sqrt(len(values))))


@pytest.mark.parametrize("attempt_s", [0.0, 0.3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_against_plain_monte_carlo(name: str, attempt_s: float) -> None:
    schedule, size, random = SCHEDULES[name], 40_000, np.random.default_rng(1)
    ends = random.exponential(6.0, size)
    time, attempts, is_out, five = np.zeros(size), np.zeros(size), np.ones(size, bool), np.zeros(size, bool)
    for k in range(1, 200):
        time[is_out] += draw(schedule, k, random, size)[is_out] + attempt_s
        attempts[is_out] += 1
        is_out &= time < ends
        if k == 5:
            five = is_out.copy()
    found = backoff.reconnect(schedule, 6.0, attempt_s)
    assert abs(standard_errors(attempts, found.attempts_mean)) < 3.3
    assert abs(standard_errors(time, found.time_mean_s)) < 3.3
    assert abs(standard_errors(time**2, found.time_mean_square_s2)) < 3.3
    assert abs(standard_errors(five.astype(float), backoff.all_fail(schedule, 5, 6.0, attempt_s))) < 3.3
    assert found.gives_up == 0


def test_limits() -> None:
    schedule = exponential("full")
    short = backoff.reconnect(schedule, outage_mean_s=1e-9)
    assert (short.attempts_mean, short.time_mean_s) == (pytest.approx(1, abs=1e-8), pytest.approx(0.5, abs=1e-8))
    long = backoff.reconnect(schedule, outage_mean_s=2e3)
    assert long.attempts_mean == pytest.approx(2e3 / 15, rel=0.05)  # one attempt for each 15 s
    assert long.time_mean_s == pytest.approx(2e3 + 10, abs=2)  # the residual wait, E[d**2] / (2 E[d])
    assert backoff.all_fail(schedule, 50, outage_mean_s=1e12) == pytest.approx(1)


def test_who_gives_up() -> None:
    schedule = fixed(0, 2, 10, 30)
    found = backoff.reconnect(schedule, outage_mean_s=20)
    assert found.gives_up == pytest.approx(math.exp(-42 / 20))
    assert found.gives_up == backoff.all_fail(schedule, 10, outage_mean_s=20)
    assert math.isinf(found.time_mean_s)


@pytest.mark.parametrize(("factor", "k"), [(2.0, 5000), (1.0, 10**6), (1.3, 10**5)])
def test_the_ceiling_has_no_overflow(factor: float, k: int) -> None:
    assert backoff.ceiling(k, 1.0, factor, 30.0) == (1.0 if factor == 1 else 30.0)


@pytest.mark.parametrize("name", ["full", "ours", "fixed"])
def test_onoff_against_plain_monte_carlo(name: str) -> None:
    schedule, on_s, off_s, size, random = SCHEDULES[name], 4.0, 6.0, 10_000, np.random.default_rng(2)
    # Alternate from "off at 0" far enough, then look up the state at each attempt.
    turns = np.cumsum(np.where(np.arange(80) % 2, on_s, off_s) * random.exponential(1, (size, 80)), axis=1)
    time, attempts, is_out, three = np.zeros(size), np.zeros(size), np.ones(size, bool), np.zeros(size, bool)
    for k in range(1, 60):
        time[is_out] += draw(schedule, k, random, size)[is_out]
        attempts[is_out] += 1
        is_out &= (turns < time[:, None]).sum(axis=1) % 2 == 0
        if k == 3:
            three = is_out.copy()
    found = onoff.reconnect(schedule, on_s, off_s)
    assert abs(standard_errors(attempts, found.attempts_mean)) < 3.3
    assert abs(standard_errors(time, found.time_mean_s)) < 3.3
    assert abs(standard_errors(three.astype(float), onoff.all_fail(schedule, 3, on_s, off_s))) < 3.3


def test_onoff_with_one_outage_is_an_outage() -> None:
    schedule = exponential("equal")
    network, outage = onoff.reconnect(schedule, 1e12, 5.0), backoff.reconnect(schedule, 5.0)
    assert network.time_mean_s == pytest.approx(outage.time_mean_s)
    assert network.attempts_mean == pytest.approx(outage.attempts_mean)
    assert onoff.all_fail(schedule, 4, 1e12, 5.0) == pytest.approx(backoff.all_fail(schedule, 4, 5.0))
    assert onoff.availability(3, 1) == 0.75
