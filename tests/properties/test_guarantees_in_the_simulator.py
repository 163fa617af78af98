"""The guarantees in the simulator (depth b): drawn scenarios and fault schedules, judged from the trace by the checkers.

A scenario ends with a calm that is as long as the bound of G6, so G6 is judged at its end, and with it that nothing was lost.
Each test begins with a scenario that has something for every checker to look at, and fails if its own finds nothing there.
"""

from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings

from simulation.checks.checkers import CHECKERS
from simulation.checks.verdicts import Verdict
from simulation.scenario.scenario import Scenario, parse_scenario
from simulation.testing import rich_scenarios, scenarios
from simulation.world import run
from tests.simulation.worlds import everything

from .judging import draws, judge_in_scenarios, judge_simulated

FEW = 12


@lru_cache(maxsize=2 * FEW)
def verdicts_of(text: str) -> dict[str, Verdict]:
    result = run(parse_scenario(text))
    counts = result.counts
    wrong = (counts.duplicates, counts.gaps, counts.out_of_order, counts.lost, counts.unsettled)
    verdicts = dict(result.verdicts)
    if wrong != (0, 0, 0, 0, 0):
        said = (*verdicts["G3"].violations, f"duplicates, gaps, out of order, lost, unsettled: {wrong}")
        verdicts["G3"] = replace(verdicts["G3"], violated=len(said), violations=said)
    return verdicts


@pytest.mark.parametrize("guarantee", CHECKERS)
def test_guarantee_in_the_simulator(guarantee: str) -> None:
    name = "test_guarantee_in_the_simulator"
    judge_in_scenarios(name, guarantee, scenarios(), verdicts_of, first=everything(), few=FEW, seed=13)


@settings(max_examples=draws(FEW))
@given(scenario=rich_scenarios())
def test_whatever_the_line_nothing_is_lost_repeated_or_out_of_order(scenario: Scenario) -> None:
    """Any path that can be written down, also such as break connections by themselves: the guarantees that need no time hold."""
    assert parse_scenario(scenario.to_toml()) == scenario
    judge_simulated("test_whatever_the_line", scenario, on_any_path=True)
