"""Whatever is drawn: every guarantee holds, nothing is lost, and everyone is back at the head at the end."""

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
    assert (counts.duplicates, counts.gaps, counts.out_of_order, counts.lost, counts.unsettled) == (0, 0, 0, 0, 0), counts
    head = result.facts.log.head if result.facts.log else 0
    for client in result.facts.clients.values():
        assert client.is_live, f"{client.name} is {client.state.value}"
        assert client.position == head, f"{client.name} is at {client.position}, the head is {head}"
