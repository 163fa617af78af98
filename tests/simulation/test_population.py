"""The population of clients: arrivals, stays, visits, and groups with different behaviour."""

from collections import Counter

import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.fallback import AfterFailures, AfterSeconds
from reference.protocol.policies.keepalive import EveryInterval
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.timers import NS_PER_S, ns
from simulation.random import RandomStreams
from simulation.scenario.distributions import Constant, Exponential
from simulation.scenario.faults import BlockUpgrade, HalfOpen
from simulation.scenario.population import FlashCrowd, PoissonArrivals, RecordedArrivals, Stay
from simulation.scenario.scenario import ClientPart, Group, Scenario, Workload
from simulation.scenario.workload import IDLE
from simulation.trace.index import index_of
from simulation.trace.trace import ClientStarted, ConnectionLeft, Delivered, LeaveAsked, SessionOver, StateTurned, Trace
from simulation.world import run

SOME = Workload(graft_per_s=0.5, cursor_per_s=0)


def arrivals_s(group: Group) -> list[float]:
    return [visit.arrives_at / NS_PER_S for visit in group.visits(RandomStreams(5))]


def test_poisson_arrivals_come_at_their_rate() -> None:
    times = arrivals_s(Group(name="g", clients=2000, arrivals=PoissonArrivals(per_s=4.0, from_s=10.0)))
    assert times == sorted(times)
    assert times[0] > 10.0
    assert (times[-1] - 10.0) / 2000 == pytest.approx(0.25, rel=3.3 / 2000**0.5)


def test_a_flash_crowd_comes_when_something_happens() -> None:
    assert set(arrivals_s(Group(name="g", clients=50, arrivals=FlashCrowd(at_s=30.0)))) == {30.0}
    delayed = arrivals_s(Group(name="g", clients=500, arrivals=FlashCrowd(at_s=30.0, delay=Exponential(scale=2.0))))
    assert min(delayed) >= 30.0
    assert sum(delayed) / 500 == pytest.approx(32.0, abs=3.3 * 2 / 500**0.5)


def test_recorded_arrivals_are_one_for_each_client() -> None:
    assert arrivals_s(Group(name="g", clients=2, arrivals=RecordedArrivals(times_s=(3.0, 1.5)))) == [3.0, 1.5]
    with pytest.raises(ConfigError, match="has 3 clients and 2 times_s"):
        Group(name="g", clients=3, arrivals=RecordedArrivals(times_s=(3.0, 1.5)))


def test_a_visit_that_comes_again_is_another_client() -> None:
    group = Group(name="g", clients=2, arrive_within_s=0, stay=Stay(lasts=Constant(value=10), away=Constant(value=5), visits=3))
    assert group.client_names == ("g-0", "g-1", "g-0.2", "g-1.2", "g-0.3", "g-1.3")
    own = {visit.client: (visit.arrives_at, visit.leaves_at) for visit in group.visits(RandomStreams(1))}
    assert own["g-1"] == (0, ns(10))
    assert own["g-1.2"] == (ns(15), ns(25))
    assert own["g-1.3"] == (ns(30), ns(40))


def leaving() -> Trace:
    group = Group(name="g", clients=2, arrive_within_s=0, stay=Stay(lasts=Constant(value=8), away=Constant(value=4), visits=2))
    scenario = Scenario(name="x", groups=(Group(name="host"), group), horizon_s=40, settle_s=10, workload=SOME)
    result = run(scenario)
    assert result.is_ok
    return result.trace


def test_who_leaves_says_bye_and_nothing_more() -> None:
    trace = leaving()
    left = {record.client: record.at for record in trace if isinstance(record, LeaveAsked)}
    assert left == {"g-0": ns(8), "g-1": ns(8), "g-0.2": ns(20), "g-1.2": ns(20)}
    started = {record.client: record.at for record in trace if isinstance(record, ClientStarted)}
    assert started["g-0.2"] == ns(12)
    for record in trace:
        if isinstance(record, Delivered | StateTurned) and record.client in left:
            assert record.at <= left[record.client]
    over = [record for record in trace if isinstance(record, SessionOver)]
    assert {record.client for record in over} == set(left)
    closes = [record.code for record in trace if isinstance(record, ConnectionLeft) and record.client in left]
    assert closes == [1000] * 4


def test_who_comes_again_finds_the_state() -> None:
    trace_index = index_of(leaving())
    again = trace_index.clients["g-0.2"]
    assert any(record.__class__.__name__ == "SnapshotTaken" for record in again.records)
    assert again.epoch == trace_index.clients["host-0"].epoch


def test_groups_have_their_own_work_and_their_own_clients() -> None:
    quick = ClientPart(
        config=ClientConfig(connect_timeout_s=2.0, probe_interval_s=2.0),
        policy=FullJitter(base_s=0.1, cap_s=0.1, floor_s=0.01),
        fallback=AfterFailures(1),
        heartbeat=EveryInterval(1.0, 1.0),
    )
    scenario = Scenario(
        name="x",
        horizon_s=30,
        settle_s=40,
        workload=SOME,
        groups=(Group(name="a"), Group(name="quick", client=quick, workload=IDLE)),
        faults=(BlockUpgrade(at_s=5, duration_s=5), HalfOpen(at_s=20)),
    )
    result = run(scenario)
    assert result.is_ok
    published = Counter(len(client.published) > 0 for client in result.trace_index.clients.values())
    assert published == {True: 1, False: 1}
    polled = {
        name for name, client in result.trace_index.clients.items() if any(turn.state.is_polling for turn in client.turns())
    }
    assert polled == {"quick-0"}

    def noticed(name: str) -> float:
        return next(turn.at for turn in result.trace_index.clients[name].turns() if turn.at >= ns(20)) / NS_PER_S - 20.0

    assert noticed("quick-0") <= 2.2
    assert noticed("a-0") > 2.2
    assert scenario.recovery_bound_s == max(
        scenario.replace(groups=(group,), faults=()).recovery_bound_s for group in scenario.groups
    )


def test_a_fallback_after_seconds_stands_in_a_scenario() -> None:
    scenario = Scenario(name="x", groups=(Group(name="g"),), client=ClientPart(fallback=AfterSeconds(3.0)))
    assert 'kind = "after_seconds"' in scenario.to_toml()
