"""The smaller closed forms: known values, limits, and plain Monte Carlo."""

import math

import numpy as np
import pytest
from scipy.integrate import quad

from simulation.validation.closed_forms import backoff, detection, loss, outbox, polling, staleness, stream, tcp


def test_stream_numbers() -> None:
    assert stream.delay_mean_s(1000, 0.03, 0.01) == pytest.approx(0.059798, abs=5e-7)
    beyond, _ = quad(lambda x: 1 - stream.cdf(x, 1000, 0.03, 0.01), 0.03, 0.3)
    assert stream.delay_mean_s(1000, 0.03, 0.01) == pytest.approx(0.03 + beyond)
    assert stream.delay_mean_s(1e-12, 0.03, 0.01) == pytest.approx(0.04)  # alone on the line
    assert stream.cdf(0.03, 1000, 0.03, 0.01) == 0
    for fraction in (0.01, 0.5, 0.99):
        assert stream.cdf(stream.quantile_s(fraction, 300, 0.1, 0.02), 300, 0.1, 0.02) == pytest.approx(fraction)


def test_stream_against_plain_monte_carlo() -> None:
    random = np.random.default_rng(5)
    sent = np.cumsum(random.exponential(1 / 200, (100, 3000)), axis=1)
    delays = (np.maximum.accumulate(sent + 0.03 + random.exponential(0.01, sent.shape), axis=1) - sent)[:, 200:]
    means, below = delays.mean(axis=1), (delays <= 0.05).mean(axis=1)
    assert abs(means.mean() - stream.delay_mean_s(200, 0.03, 0.01)) < 3.3 * means.std(ddof=1) / 10
    assert abs(below.mean() - stream.cdf(0.05, 200, 0.03, 0.01)) < 3.3 * below.std(ddof=1) / 10


def test_tcp_schedules() -> None:
    assert tcp.syn_times_s(linear=False) == ((0, 1, 3, 7, 15, 31, 63), 127)
    assert tcp.syn_times_s(linear=True) == ((0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67), 131)
    assert tcp.data_gives_up_s() == pytest.approx(924.6)
    random = np.random.default_rng(6)
    late = 0.2 * (2.0 ** (random.geometric(0.95, 200_000) - 1) - 1)
    assert abs(late.mean() - tcp.repeats_mean_s(0.05, 0.2)) < 3.3 * late.std() / math.sqrt(len(late))
    with pytest.raises(ValueError, match="finite"):
        tcp.repeats_mean_s(0.5, 0.2)


def test_outbox_numbers() -> None:
    assert outbox.overflows(1000, 10, 60) == pytest.approx(0.189, abs=5e-4)
    assert outbox.overflows(0, 1e-9, 1) == pytest.approx(0, abs=1e-8)
    g = 5 / 6  # by the geometric law itself
    distribution = (1 - g) * g ** np.arange(2000)
    assert outbox.overflows(7, 0.5, 10) == pytest.approx(distribution[8:].sum())
    assert outbox.overflow_mean(7, 0.5, 10) == pytest.approx(float((np.arange(2000) - 7).clip(0) @ distribution))


def test_polling_and_detection() -> None:
    assert polling.mean_s(2.0, 0.1) == pytest.approx(1.1)
    assert polling.quantile_s(0.95, 2.0, 0.0) == pytest.approx(1.9)
    assert detection.bounds_s(10, 8, 0.1) == (pytest.approx(7.9), pytest.approx(17.9))
    assert detection.mean_s(10, 8, 0.1) == pytest.approx(12.9) == detection.quantile_s(0.5, 10, 8, 0.1)


def test_detection_from_its_definition() -> None:
    interval, timeout, trip = 10.0, 8.0, 1.0
    phases = np.linspace(0, interval, 100_001)  # of the cut, after a ping
    noticed = np.where(phases < trip, timeout, interval + timeout) - phases
    assert noticed.mean() == pytest.approx(detection.mean_s(interval, timeout, trip), abs=1e-3)
    assert np.quantile(noticed, 0.9) == pytest.approx(detection.quantile_s(0.9, interval, timeout, trip), abs=1e-3)


def test_loss_from_the_chain() -> None:
    p, r = 0.02, 0.3
    step = np.array([[1 - p, p], [r, 1 - r]])
    steady = np.linalg.matrix_power(step, 500)[0]
    assert loss.bad_share(p, r) == pytest.approx(steady[1])
    assert loss.loss_share(p, r) == pytest.approx(steady[1])
    assert loss.loss_share(p, r, k=0.999, h=0.2) == pytest.approx(steady[0] * 0.001 + steady[1] * 0.8)
    both = steady[1] * np.linalg.matrix_power(step, 4)[1, 1]
    assert loss.correlation(4, p, r) == pytest.approx((both - steady[1] ** 2) / (steady[0] * steady[1]))
    assert loss.correlation(3, p, 1 - p) == pytest.approx(0)  # no memory: Bernoulli
    assert loss.burst_mean(r) == pytest.approx(sum(loss.burst_longer_than(n, r) for n in range(200)))


def test_staleness_by_renewal() -> None:
    away = backoff.reconnect(backoff.exponential("full"), 5.0)
    late = staleness.late_share(60.0, away.time_mean_s)
    assert late == pytest.approx(8.3923 / 68.3923, abs=1e-5)
    # For constant absences the late ones wait half of it.
    assert staleness.delay_mean_s(30, 10, 100) == pytest.approx(staleness.late_share(30, 10) * 5)
    random = np.random.default_rng(7)
    ups, aways = random.exponential(30, 100_000), random.uniform(0, 20, 100_000)
    total = ups.sum() + aways.sum()
    assert (aways**2 / 2).sum() / total == pytest.approx(staleness.delay_mean_s(30, 10, 400 / 3), rel=0.02)


def test_phi_and_what_it_costs_to_learn_it() -> None:
    assert detection.akkas_silence_s(8.0, 0.0, 1.0) == pytest.approx(5.23, abs=0.005)
    assert detection.akkas_phi(2.0, 0.0, 1.0) == pytest.approx(-math.log10(0.02275), abs=2e-3), "near the normal law"
    assert detection.cassandras_phi(18.42, 1.0) == pytest.approx(8.0, abs=1e-3)
    assert detection.exponential_mistake(2.0, 10**7) == pytest.approx(0.01, rel=1e-4), "what is well known is what phi says"
    assert detection.normal_mistake(1.0, 10**7) == pytest.approx(0.1, rel=5e-3)
    random = np.random.default_rng(8)
    drawn = random.exponential(1.0, (200_000, 6))
    late = (drawn[:, 5] > math.log(10) * drawn[:, :5].mean(axis=1)).mean()
    assert late == pytest.approx(detection.exponential_mistake(1.0, 5), abs=3.3 * math.sqrt(0.15 / 200_000))
    trips = random.exponential(0.1, (200_000, 2)).sum(axis=1)
    assert (trips > 0.4).mean() == pytest.approx(detection.erlang_2_tail(0.4, 0.1), abs=3.3 * math.sqrt(0.09 / 200_000))
