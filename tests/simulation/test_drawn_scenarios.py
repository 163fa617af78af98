"""In every drawn scenario all guarantees hold, and nothing is lost. G6 says which clients must be connected at the end: a path
may lose data until then."""

import pytest
from hypothesis import given, note

from simulation.scenario.scenario import Scenario
from simulation.testing.scenarios import scenarios
from simulation.world import run


@pytest.mark.slow  # tests/properties/test_guarantees_in_the_simulator judges the same in fewer of them
@pytest.mark.parallel
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
