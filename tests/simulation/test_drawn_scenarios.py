"""Whatever is drawn: every guarantee holds, nothing is lost, and everyone who is there is at the head at the end."""

from hypothesis import given, note

from simulation.scenario import Scenario
from simulation.strategies.scenarios import scenarios
from simulation.world import run


@given(scenario=scenarios())
def test_every_guarantee_holds(scenario: Scenario) -> None:
    result = run(scenario)
    note(scenario.to_toml())
    violations = [text for verdict in result.verdicts.values() for text in verdict.violations]
    assert not violations, violations[:5]
    counts = result.counts
    assert (counts.duplicates, counts.gaps, counts.out_of_order) == (0, 0, 0), counts
    capacity = scenario.server.capacity
    if capacity is None or capacity.shedding is None:  # else a server that is too busy for good may send someone away for ever
        assert (counts.lost, counts.unsettled) == (0, 0), counts
    head = result.facts.log.head if result.facts.log else 0
    starts = {name: scenario.client_of(group).config.start for group in scenario.groups for name in group.client_names}
    for client in result.facts.clients.values():
        # Whether somebody should be back is for G6 to say: a path may lose what is sent until the end. Who begins at the head is
        # given nothing of what was there.
        if client.is_live and starts[client.name] != "head":
            assert client.position == head, f"{client.name} is at {client.position}, the head is {head}"
