"""The smaller closed forms: known values, limits, and plain Monte Carlo."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm

from simulation.validation.closed_forms import (
    backoff,
    clients,
    detection,
    fades,
    linux,
    loss,
    outbox,
    polling,
    races,
    sharing,
    staleness,
    stream,
    tcp,
)


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
    assert tcp.retransmissions_s(tcp.RETRIES, tcp.RTO_MIN_S)[1] == pytest.approx(924.6)
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


def test_fades_from_the_two_state_chain() -> None:
    good_s, bad_s = 0.9, 0.1
    rates = np.array([[-1 / good_s, 1 / good_s], [1 / bad_s, -1 / bad_s]])
    steady = expm(rates * 100)[0]
    assert fades.share(good_s, bad_s) == pytest.approx(steady[1])
    for apart_s in (0.01, 0.2):
        both = steady[1] * expm(rates * apart_s)[1, 1]
        assert fades.correlation(apart_s, good_s, bad_s) == pytest.approx((both - steady[1] ** 2) / (steady[0] * steady[1]))
        assert fades.lost_again(apart_s, good_s, bad_s) == pytest.approx(both / steady[1])
    thrice = steady[1] * expm(rates * 0.2)[1, 1] * expm(rates * 0.4)[1, 1]
    assert fades.lost_times(3, 0.2, good_s, bad_s) == pytest.approx(thrice)


@pytest.mark.parametrize("slack_s", [0.0, 0.2, 5.0])
def test_races_by_counting(slack_s: float) -> None:
    """Every ping is late by U(0, slack); the one before it passed the box a round trip after it was sent."""
    late = np.linspace(0, slack_s, 100_001)
    for interval_s, timeout_s in ((60.0, 60.0), (60.0, 59.0), (30.0, 60.0)):
        too_late = interval_s + late - 0.1 > timeout_s
        assert races.killed(interval_s, timeout_s, slack_s, 0.1) == pytest.approx(too_late.mean(), abs=1e-4)


def test_pools_of_ports_by_the_birth_and_death_chain() -> None:
    ports, offered = 10, 12.0
    weights = np.cumprod([1.0, *(offered / count for count in range(1, ports + 1))])
    chain = weights / weights.sum()
    assert clients.turned_away(ports, offered) == pytest.approx(chain[-1])
    assert clients.in_use(ports, offered) == pytest.approx(float(np.arange(ports + 1) @ chain))
    assert clients.turned_away(2, 1.0) == pytest.approx(0.2)  # Erlang's table


def test_devices_by_plain_monte_carlo() -> None:
    random = np.random.default_rng(9)
    phases = random.uniform(0, 7, 200_000)
    assert clients.uniform_mean(7) == pytest.approx(phases.mean(), rel=0.01)
    assert clients.uniform_variance(7) == pytest.approx(phases.var(), rel=0.01)
    away = 2.0 * np.ceil(random.exponential(5.0, 200_000) / 2.0)
    assert abs(away.mean() - clients.away_mean_s(2.0, 5.0)) < 3.3 * away.std() / math.sqrt(len(away))


def test_sharing_by_the_birth_and_death_chain() -> None:
    """For exponential jobs the number that is served is that of an M/M/1 queue; Little's law gives the mean time."""
    load, service_s = 0.7, 0.02
    chain = (1 - load) * load ** np.arange(500)
    assert sharing.mean_time_s(service_s, load) == pytest.approx(float(np.arange(500) @ chain) / (load / service_s))
    assert sharing.alone(load) == pytest.approx(chain[0])
    assert sharing.together_s(8, 1000, 4000.0) == 2.0


def test_linux_numbers() -> None:
    assert linux.rto_s([0.01]) == pytest.approx(0.21)
    assert linux.rto_s([0.3]) == pytest.approx(0.9), "three times the first round trip"
    assert linux.rto_s([0.3] * 200) == pytest.approx(0.5, abs=0.01), "a steady one leaves the least variance"
    assert [linux.flights(packets) for packets in (1, 10, 11, 30, 31, 70)] == [1, 1, 2, 2, 3, 3]
    assert linux.flights(35, initial=10, most=10) == 4
    assert linux.transfer_s(14_600, 0.1, 1460) == pytest.approx(0.1)
    assert linux.transfer_s(14_601, 0.1, 1460) == pytest.approx(0.3)
