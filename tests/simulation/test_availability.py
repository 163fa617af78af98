"""How lines fail and recover: each process compared with its closed form, and its faults in a trace."""

from collections.abc import Iterator
from itertools import islice, pairwise, takewhile

import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S, ns
from simulation.network.availability import comings_and_goings, outages
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Exponential
from simulation.scenario.faults import LoadBalancerCut, Outage, Path
from simulation.scenario.paths import AlternatingRenewal, Availability, OnOffMarkov, PeriodicAvailability, RecordedAvailability
from simulation.scenario.scenario import Group
from simulation.trace.trace import ConnectionLost, FaultHappened, FaultOver
from simulation.world import run
from tests.simulation.worlds import QUIET, calm


def downs(process: Availability, entity: str = "x") -> Iterator[tuple[float, float]]:
    return ((begins / NS_PER_S, ends / NS_PER_S) for begins, ends in outages(process, RandomStreams(1).of(entity)))


def down_time(process: Availability, entity: str, until_s: float) -> float:
    return sum(min(ends, until_s) - begins for begins, ends in takewhile(lambda down: down[0] < until_s, downs(process, entity)))


def test_constant_times_alternate() -> None:
    process = AlternatingRenewal(up=Constant(value=3), down=Constant(value=1))
    assert list(islice(downs(process), 3)) == [(3, 4), (7, 8), (11, 12)]


def test_periodic() -> None:
    process = PeriodicAvailability(period_s=10, down_s=2, first_down_s=1)
    assert list(islice(downs(process), 3)) == [(1, 3), (11, 13), (21, 23)]


def test_recorded() -> None:
    assert list(downs(RecordedAvailability(outages=((1, 2), (4, 4.5))))) == [(1, 2), (4, 4.5)]


def test_on_off_begins_in_its_stationary_state_and_stays_in_it() -> None:
    process, count = OnOffMarkov(up_mean_s=30, down_mean_s=10), 1000
    begins_down = sum(next(downs(process, f"c-{number}"))[0] == 0 for number in range(count))
    # Binomial(1000, 0.25): standard deviation 13.7.
    assert abs(begins_down - 0.25 * count) < 3.3 * 13.7
    share = sum(down_time(process, f"c-{number}", 200) for number in range(count)) / (200 * count)
    # The variance of the mean over T is 2 p (1 - p) tau / T for T far above tau = 1 / (1/30 + 1/10) s.
    assert abs(share - 0.25) < 3.3 * (2 * 0.1875 * 7.5 / 200 / count) ** 0.5


def test_downs_are_in_order_and_apart_whatever_is_drawn() -> None:
    process = AlternatingRenewal(up=Exponential(scale=1e-4), down=Constant(value=0))
    found = list(islice(outages(process, RandomStreams(1).of("x")), 200))
    assert all(begins < ends for begins, ends in found)
    assert all(ends < begins for (_, ends), (begins, _) in pairwise(found))


def test_a_process_draws_the_same_whatever_others_draw() -> None:
    process = OnOffMarkov(up_mean_s=5, down_mean_s=5)
    alone = calm(1).replace(availability=process)
    with_others = calm(3).replace(availability=process)
    first = next(list(faults) for faults in comings_and_goings(alone, RandomStreams(1)))
    again = next(list(faults) for faults in comings_and_goings(with_others, RandomStreams(1)))
    assert first
    assert first == again


def test_one_process_for_each_client_of_a_group_or_one_for_all() -> None:
    own = PeriodicAvailability(period_s=10, down_s=1, first_down_s=2)
    shared = PeriodicAvailability(period_s=10, down_s=1, first_down_s=5, scope="shared", effect="cut")
    groups = (Group(name="a", clients=2, availability=own), Group(name="b", clients=2, availability=shared))
    scenario = calm(1).replace(groups=groups, availability=shared)
    faults = [list(each) for each in comings_and_goings(scenario, RandomStreams(1))]
    assert faults == [
        [Outage(at_s=2, duration_s=1, clients=("a-0",))],
        [Outage(at_s=2, duration_s=1, clients=("a-1",))],
        [LoadBalancerCut(at_s=5, duration_s=1, clients=("b-0", "b-1"))],
        [LoadBalancerCut(at_s=5, duration_s=1)],
    ]


def test_a_down_is_a_fault_in_the_trace_and_ends_with_the_horizon() -> None:
    process = PeriodicAvailability(period_s=8, down_s=3, first_down_s=1, scope="shared")
    result = run(calm(2, Path(latency_s=0.1), workload=QUIET).replace(availability=process, settle_s=100.0))
    happened = [(record.at, record.fault) for record in result.trace if isinstance(record, FaultHappened)]
    over = [record.at for record in result.trace if isinstance(record, FaultOver)]
    assert [at for at, _ in happened] == [ns(1), ns(9)]
    assert over == [ns(4), ns(10)]
    assert [(trouble.start, trouble.end) for trouble in result.trace_index.troubles] == [(ns(1), ns(4)), (ns(9), ns(10))]
    assert result.is_ok


def test_a_cut_is_noticed_at_once() -> None:
    process = RecordedAvailability(outages=((3, 4),), effect="cut")
    trace = run(calm(1, Path(latency_s=0.1), workload=QUIET).replace(availability=process)).trace
    lost = [record.at for record in trace if isinstance(record, ConnectionLost)]
    assert lost[0] == ns(3)


def test_what_never_comes_up_is_refused() -> None:
    with pytest.raises(ConfigError, match="never up"):
        PeriodicAvailability(period_s=1, down_s=1)
