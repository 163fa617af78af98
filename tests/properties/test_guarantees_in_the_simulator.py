"""The guarantees in the simulator (depth b): drawn scenarios and fault schedules, judged from the trace by the checkers.

A scenario ends with a calm that is as long as the bound of G6, so G6 is judged at its end, and with it that nothing was lost.
Each test begins with a scenario that has something for every checker to look at, and fails if its own finds nothing there.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import example, given, settings
from hypothesis import seed as with_seed

from simulation.checks.checkers import CHECKERS
from simulation.checks.verdicts import Verdict
from simulation.scenario.scenario import Scenario, parse_scenario
from simulation.testing import rich_scenarios, scenarios
from simulation.world import run
from tests.simulation.worlds import everything

from .judging import judge_scenario

EXERCISES_ALL = everything()
FEW = 12
EXAMPLES = settings.default.max_examples if settings.default is not None and settings.default.max_examples > 100 else FEW
"""All tests draw the same scenarios under the fast profile, so that each is run once; a long profile draws anew for each."""


def drawn(test: Callable[[Scenario], None]) -> Callable[[], None]:
    """Give a test its scenarios."""
    found = example(scenario=EXERCISES_ALL)(given(scenario=scenarios())(test))
    return settings(max_examples=EXAMPLES)(found if EXAMPLES > FEW else with_seed(13)(found))


@lru_cache(maxsize=2 * FEW)
def played(text: str) -> dict[str, Verdict]:
    result = run(parse_scenario(text))
    counts = result.counts
    wrong = (counts.duplicates, counts.gaps, counts.out_of_order, counts.lost, counts.unsettled)
    verdicts = dict(result.verdicts)
    if wrong != (0, 0, 0, 0, 0):
        said = (*verdicts["G3"].violations, f"duplicates, gaps, out of order, lost, unsettled: {wrong}")
        verdicts["G3"] = replace(verdicts["G3"], violated=len(said), violations=said)
    return verdicts


def judge(test: str, guarantee: str, scenario: Scenario) -> None:
    verdict = played(scenario.to_toml())[guarantee]
    judge_scenario(test, guarantee, scenario, verdict, exercises=scenario == EXERCISES_ALL)


@pytest.mark.parametrize("guarantee", CHECKERS)
def test_guarantee_in_the_simulator(guarantee: str) -> None:
    @drawn
    def holds(scenario: Scenario) -> None:
        judge(f"test_guarantee_in_the_simulator_{guarantee}", guarantee, scenario)

    holds()


TAKE_TIME = ("G6", "G13")
"""On a line that loses most of its packets nothing is promised within a time."""


@settings(max_examples=EXAMPLES)
@given(scenario=rich_scenarios())
def test_whatever_the_line_nothing_is_lost_repeated_or_out_of_order(scenario: Scenario) -> None:
    """Any path that can be written down, also such as break connections by themselves: the guarantees that need no time hold."""
    assert parse_scenario(scenario.to_toml()) == scenario
    for guarantee, verdict in run(scenario).verdicts.items():
        if guarantee not in TAKE_TIME:
            judge_scenario("test_whatever_the_line", guarantee, scenario, verdict, exercises=False)
