"""The fluid model of a storm: compared with closed forms and with the machines, and the cases it refuses."""

import numpy as np
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Decorrelated, DoubleJitter, ExponentialBackoff, Fixed, Schedule
from reference.protocol.policies.reconnect import FullJitter
from simulation.cli import run
from simulation.scenario import library
from simulation.scenario.faults import LoadBalancerCut
from simulation.scenario.scenario import Capacity, Group, Scenario, ServerPart
from simulation.studies.fluid import distance, fluid, wait_density

BIN_S = 0.01


def storm(
    clients: int = 100_000, accepts_per_s: float = 5_000.0, spread_s: float = 5.0, duration_s: float = 0.0, **client: object
) -> Scenario:
    """Everyone is cut off at one instant, and comes back within the first spread."""
    return Scenario(
        name="storm",
        groups=(Group(name="client", clients=clients),),
        horizon_s=10.0,
        settle_s=60.0,
        faults=(LoadBalancerCut(at_s=5.0, share=1.0, duration_s=duration_s),),
        server=ServerPart(capacity=Capacity(accepts_per_s=accepts_per_s, accept_backlog_max=1_000_000)),
    ).replace({"server.config.first_spread_s": spread_s, **{f"client.{path}": value for path, value in client.items()}})


def mean_s(density: np.ndarray) -> float:
    return float((np.arange(len(density)) * density).sum() * BIN_S)


@pytest.mark.parametrize(
    ("policy", "failures", "expected_s"),
    [
        (FullJitter(base_s=1.0, cap_s=30.0, floor_s=0.25), 0, 2.0),  # half of the first spread
        (FullJitter(base_s=1.0, cap_s=30.0, floor_s=0.25), 3, 0.25 + 2.0),
        (FullJitter(base_s=1.0, cap_s=30.0, floor_s=0.25), 40, 0.25 + 15.0),
        (Fixed(seconds=2.0, spread_s=0.1), 5, 2.05),
        (ExponentialBackoff(base_s=0.1, cap_s=2.5), 2, 0.4),
        (DoubleJitter(base_s=3.0, low=0.5, high=1.5), 0, 4.5),  # two independent draws
    ],
)
def test_a_density_has_the_mean_of_the_policy(policy: FullJitter, failures: int, expected_s: float) -> None:
    density = wait_density(policy, failures, 4.0, BIN_S)
    assert density is not None
    assert density.sum() == pytest.approx(1.0)
    assert mean_s(density) == pytest.approx(expected_s, rel=2e-3)


def test_a_policy_that_gives_up_has_no_density() -> None:
    assert wait_density(Schedule(waits_s=(0.0, 2.0)), 2, 1.0, BIN_S) is None


def test_a_server_below_the_rate_is_a_queue_of_textbooks() -> None:
    """N = 100,000 uniform over 5 s, mu = 5,000/s: N - mu W wait at W, and the last is through at N / mu = 20 s."""
    figures = fluid(storm()).figures
    assert figures["accept_queue_max"] == pytest.approx(75_000, rel=0.005)
    assert figures["storm_peak_per_s"] == pytest.approx(20_000, rel=0.005)
    assert figures["recovery_p50_s"] == pytest.approx(10.0, abs=1.0)  # half of 20 s, and a handshake of 0.4 s
    assert figures["attempts_per_client"] > 1.0  # who waits for more than 10 s tries again


def test_a_server_above_the_rate_lets_everyone_in_as_they_come() -> None:
    figures = fluid(storm(accepts_per_s=1_000_000.0)).figures
    assert figures["recovery_p50_s"] == pytest.approx(2.5, abs=0.5)
    assert figures["recovery_p99_s"] == pytest.approx(4.95, abs=0.5)
    assert figures["attempts_per_client"] == pytest.approx(1.0, rel=1e-6)
    assert figures["gave_up"] == pytest.approx(0.0, abs=1e-3)


def test_no_sample_is_lost_between_the_bins() -> None:
    result = fluid(storm(clients=1_000, accepts_per_s=200.0, duration_s=3.0))
    assert float(result.table["back"].sum()) + result.gave_up == pytest.approx(1_000, rel=1e-9)


def test_a_million_clients_are_a_thousand_a_thousand_times() -> None:
    small, large = fluid(storm(clients=1_000, accepts_per_s=50.0)), fluid(storm(clients=1_000_000, accepts_per_s=50_000.0))
    assert large.figures["recovery_p99_s"] == pytest.approx(small.figures["recovery_p99_s"])
    assert large.figures["storm_peak_per_s"] == pytest.approx(1_000 * small.figures["storm_peak_per_s"])


@pytest.mark.slow
@pytest.mark.parallel
def test_it_is_as_near_to_the_machines_as_the_page_says() -> None:
    """docs/studies.md, at a thousand clients; the accept queue is not near, and the page says so."""
    table = distance(library.find("load_balancer_cut"), [1_000], replications=1).set_index("figure")
    assert table.loc["recovery_p50_s", "off"] == pytest.approx(0.0, abs=0.1)
    assert table.loc["recovery_p99_s", "off"] == pytest.approx(0.0, abs=0.1)
    assert table.loc["storm_peak_per_s", "off"] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"client.policy": Decorrelated()}, "Decorrelated: a wait depends on an earlier draw"),
        ({"faults": []}, "one group and one fault"),
        ({"faults.0.share": 0.5}, "share to 1"),
        ({"server.instances": 2}, "one server process"),
        ({"server.capacity.shedding": {}}, "no shedding"),
    ],
)
def test_it_refuses_what_it_does_not_know(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        fluid(storm().replace(changes))


def test_the_command_prints_a_million(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fluid", "load_balancer_cut", "--clients", "1000000"]) == 0
    said = capsys.readouterr().out
    assert "1000000 clients as a fluid" in said
    assert "recovery_p99_s" in said
