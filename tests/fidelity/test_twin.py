"""The real processes do the same as the simulated clients."""

import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.events import CURSOR_MOVE
from simulation.cli.fidelity import PROVIDED, _scenario
from simulation.processes.fidelity.measures import measure
from simulation.processes.fidelity.twin import check_playable, plan_of
from simulation.scenario.distributions import Constant
from simulation.scenario.faults import Pause, Reset, ServerRestart, Suspend
from simulation.scenario.paths import Dns, OnOffMarkov, Path, PortPool
from simulation.scenario.population import Stay
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart, Workload
from simulation.trace.trace import ClientStarted, CursorMoved, Published
from simulation.world import run

SCENARIO = Scenario(
    name="small",
    horizon_s=10,
    settle_s=2,
    groups=(Group(name="a", clients=3),),
    workload=Workload(cursor_per_s=1),
    faults=(ServerRestart(at_s=4, duration_s=1), Reset(at_s=2, clients=("a-0",))),
)


def test_the_plan_has_the_publishes_arrivals_and_faults_of_the_simulated_trace() -> None:
    trace = run(SCENARIO).trace
    plan = plan_of(SCENARIO, trace)
    for client in plan.clients:
        theirs = [record for record in trace if getattr(record, "client", None) == client.name]
        published = [record for record in theirs if isinstance(record, Published | CursorMoved)]
        assert [move.at_s for move in client.moves] == [record.at / 1e9 for record in published]
        assert [move.data for move in client.moves] == [record.data for record in published]
        assert {move.event_type for move in client.moves} >= {CURSOR_MOVE}
        started = next(record for record in theirs if isinstance(record, ClientStarted))
        assert client.joins_at_s == started.at / 1e9
    assert plan.faults == SCENARIO.resolved_faults
    assert (plan.seconds, plan.settle_s) == (10, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"groups": (Group(name="a", clients=501),)}, "the limit is 500"),
        ({"server": ServerPart(instances=2)}, "server.instances = 1"),
        ({"server": ServerPart(token_lifetime_s=5)}, "token_lifetime_s"),
        ({"groups": (Group(name="a", path=Path(dns=Dns())),)}, "remove path.dns"),
        ({"groups": (Group(name="a", nat=PortPool()),)}, "remove nat and server.balancer"),
        ({"groups": (Group(name="a", stay=Stay(lasts=Constant(value=5))),)}, "remove stay"),
        ({"record": "histograms"}, 'set record = "full"'),
        ({"client": ClientPart(timer_slack_s=0.01)}, "remove timer_granularity_s and timer_slack_s"),
        ({"server": ServerPart(timer_granularity_s=0.01)}, "remove timer_granularity_s and timer_slack_s"),
        ({"faults": (Suspend(at_s=1, duration_s=1),)}, "a suspend cannot be played"),
        ({"faults": (Pause(at_s=1, duration_s=1),)}, "a pause cannot be played"),
    ],
)
def test_what_real_processes_cannot_play_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_playable(SCENARIO.replace(**changes))


def test_outages_of_availability_are_played_too() -> None:
    availability = OnOffMarkov(up_mean_s=2, down_mean_s=1)
    scenario = SCENARIO.replace(groups=(Group(name="a", clients=3, availability=availability),), faults=())
    plan = plan_of(scenario, run(scenario).trace)
    assert plan.faults
    assert all(fault.clients for fault in plan.faults)


@pytest.mark.parametrize("name", PROVIDED)
def test_the_provided_scenarios_can_be_played(name: str) -> None:
    check_playable(_scenario(name, None))


def test_a_trace_is_measured_from_the_warm_up_on() -> None:
    trace = run(SCENARIO).trace
    whole, later = measure(trace), measure(trace, from_s=5.0)
    assert 0 < len(later["delivery latency"].samples) < len(whole["delivery latency"].samples)
    assert whole["recovery"].samples.min() > 0
    assert whole["reconnections"].samples.sum() >= 4
