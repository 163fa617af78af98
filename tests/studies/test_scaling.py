"""Scaled worlds: what is divided, what stays the same, and that the result is close to the full world's."""

import msgspec
import pytest

from reference.protocol.errors import ConfigError
from simulation.scenario import library
from simulation.scenario.distributions import Constant, Empirical, Exponential, LogNormal, Pareto, Uniform
from simulation.scenario.paths import PortPool, SharedBottleneck
from simulation.scenario.population import PoissonArrivals
from simulation.scenario.scaling import EXTENSIVE, scaled, times
from simulation.scenario.scenario import Capacity, Scenario
from simulation.studies.experiment import Experiment, summary_columns
from simulation.studies.figures import DERIVED
from tests.simulation.worlds import calm


def cut() -> Scenario:
    return library.load("load_balancer_cut")


def test_population_and_capacity_are_divided_and_time_is_not() -> None:
    full, small = cut(), scaled(cut(), 10)
    before, after = full.server.capacity, small.server.capacity
    assert before is not None
    assert after is not None
    assert small.groups[0].clients == full.groups[0].clients / 10
    assert (after.accepts_per_s, after.accept_backlog_max) == (500, 410)
    work_s = before.handshake_cost.mean / before.processors, after.handshake_cost.mean / after.processors
    assert work_s[1] == pytest.approx(10 * work_s[0])
    assert (small.faults, small.horizon_s, small.client, small.groups[0].path) == (
        full.faults,
        full.horizon_s,
        full.client,
        full.groups[0].path,
    )
    assert scaled(full, 1) is full


def test_a_world_grows_with_its_limits() -> None:
    large = scaled(cut(), 0.1)
    capacity, config = large.server.capacity, large.server.config
    assert capacity is not None
    assert (large.groups[0].clients, capacity.processors, capacity.accepts_per_s) == (100_000, 40, 50_000)
    assert capacity.handshake_cost == Constant(value=0.001)
    assert config.connections_per_run_max == 200_000


def test_processors_are_taken_away_before_work_gets_dearer() -> None:
    scenario = calm(clients=80).replace({"server.capacity": {"processors": 8, "handshake_cost": Constant(value=0.001)}})
    capacity = scaled(scenario, 4).server.capacity
    assert isinstance(capacity, Capacity)
    assert (capacity.processors, capacity.handshake_cost) == (2, Constant(value=0.001))


def test_a_single_client_stays_and_a_cell_is_shared_by_fewer() -> None:
    elevator = library.load("elevator")
    assert [group.clients for group in scaled(elevator, 2).groups] == [2, 1]
    cell = SharedBottleneck(bandwidth_bytes_per_s=10_000, up_bandwidth_bytes_per_s=5_000)
    group = msgspec.structs.replace(elevator.groups[0], shared_bottleneck=cell)
    scenario = elevator.replace(groups=(group, *elevator.groups[1:]))
    shared = scaled(scenario, 2).groups[0].shared_bottleneck
    assert shared == SharedBottleneck(bandwidth_bytes_per_s=5_000, up_bandwidth_bytes_per_s=2_500)


@pytest.mark.parametrize(
    "distribution",
    [
        Constant(value=2.0),
        Uniform(low=1.0, high=3.0),
        Exponential(scale=2.0, least=0.5),
        LogNormal(median=1.0, sigma=0.7, least=0.1),
        Pareto(scale=0.5, shape=1.5, most=100.0),
        Empirical(values=(1.0, 4.0)),
    ],
)
def test_a_distribution_times_a_number(distribution: Constant) -> None:
    for u in (0.0, 0.3, 0.99):
        assert times(distribution, 3.0).at(u) == pytest.approx(3.0 * distribution.at(u))


def test_what_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 is the full world"):
        scaled(cut(), 0)
    with pytest.raises(ConfigError, match="leaves nobody of the 10000 clients of group client"):
        scaled(cut(), 50_000)
    with pytest.raises(ConfigError, match=r"scale = 4: faults\[1\].clients names 'office-1'|scale = 4: .*no client"):
        scaled(library.load("first_look"), 4)


def test_every_extensive_figure_exists() -> None:
    assert {*summary_columns(), *DERIVED} >= EXTENSIVE


@pytest.mark.slow
@pytest.mark.parallel
def test_a_scaled_storm_is_near_to_the_full_one() -> None:
    """Scale 4 of a thousand: times within 10 %, counts, multiplied, within 10 %."""
    full = scaled(cut(), 10)
    figures = ("recovery_p99_s", "storm_peak_per_s", "downtime_s_per_client_hour", "clients", "snapshots")
    true = Experiment(full, figures=(*figures, "work_queue_max"), replications=2)
    small = Experiment(full, figures=(*figures, "work_queue_max"), replications=4, scale=4)
    one, other = true.run(), small.run()
    assert other.interval("clients").mean == one.interval("clients").mean == 1_000
    for figure in figures:
        assert other.interval(figure).mean == pytest.approx(one.interval(figure).mean, rel=0.1), figure
    assert other.interval("work_queue_max").mean == pytest.approx(one.interval("work_queue_max").mean, rel=0.4)


def test_every_limit_and_every_rate_of_arrivals_is_divided() -> None:
    """Else a scaled storm is another one: ports, both backlogs, resumed handshakes, the store's events, arrivals per second."""
    pool = PortPool(ports=1000)
    scenario = calm(clients=80).replace(
        {
            "server.capacity": {"resumption_cost": Constant(value=0.002), "syn_backlog_max": 400},
            "server.balancer": pool,
            "server.commit_event_time_s": 0.001,
            "groups.c.nat": pool,
            "groups.c.arrivals": PoissonArrivals(per_s=40.0),
        }
    )
    small = scaled(scenario, 4)
    capacity, group = small.server.capacity, small.groups[0]
    assert capacity is not None
    assert (capacity.resumption_cost, capacity.syn_backlog_max) == (Constant(value=0.008), 100)
    assert small.server.balancer == group.nat == PortPool(ports=250)
    assert small.server.commit_event_time_s == 0.004
    assert group.arrivals == PoissonArrivals(per_s=10.0)
