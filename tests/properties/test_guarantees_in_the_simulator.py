"""The guarantees in the simulator (depth b): drawn scenarios and fault schedules, judged from the trace by the checkers.

A scenario ends with a calm that is as long as the bound of G6, so G6 is judged at its end, and with it that nothing was lost.
Each test begins with a scenario that has something for every checker to look at, and fails if its own finds nothing there.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from hypothesis import example, given, settings
from hypothesis import seed as with_seed

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


@drawn
def test_g1_order_in_the_simulator(scenario: Scenario) -> None:
    """Every delivery follows the one before."""
    judge("test_g1_order_in_the_simulator", "G1", scenario)


@drawn
def test_g2_no_silence_in_the_simulator(scenario: Scenario) -> None:
    """What is skipped is covered by a snapshot or a reset."""
    judge("test_g2_no_silence_in_the_simulator", "G2", scenario)


@drawn
def test_g3_once_in_the_simulator(scenario: Scenario) -> None:
    """An accepted publish stands in the stored log once."""
    judge("test_g3_once_in_the_simulator", "G3", scenario)


@drawn
def test_g4_same_answer_in_the_simulator(scenario: Scenario) -> None:
    """Every copy gets the first answer."""
    judge("test_g4_same_answer_in_the_simulator", "G4", scenario)


@drawn
def test_g5_fold_in_the_simulator(scenario: Scenario) -> None:
    """Snapshots are the fold of the log up to them."""
    judge("test_g5_fold_in_the_simulator", "G5", scenario)


@drawn
def test_g6_recovery_in_the_simulator(scenario: Scenario) -> None:
    """After the last fault everyone is back within the bound; the run goes on that long after its faults."""
    judge("test_g6_recovery_in_the_simulator", "G6", scenario)


@drawn
def test_g7_bounds_in_the_simulator(scenario: Scenario) -> None:
    """Whatever was sampled is within its limit."""
    judge("test_g7_bounds_in_the_simulator", "G7", scenario)


@drawn
def test_g8_sender_fifo_in_the_simulator(scenario: Scenario) -> None:
    """One client's publishes are numbered in their order."""
    judge("test_g8_sender_fifo_in_the_simulator", "G8", scenario)


@drawn
def test_g9_takeover_in_the_simulator(scenario: Scenario) -> None:
    """An old connection says nothing more."""
    judge("test_g9_takeover_in_the_simulator", "G9", scenario)


@drawn
def test_g10_manners_in_the_simulator(scenario: Scenario) -> None:
    """Nobody comes back too early, or after a code that says never."""
    judge("test_g10_manners_in_the_simulator", "G10", scenario)


@drawn
def test_g11_durability_in_the_simulator(scenario: Scenario) -> None:
    """What was accepted is in the log, whatever crashed."""
    judge("test_g11_durability_in_the_simulator", "G11", scenario)


@drawn
def test_g12_lanes_in_the_simulator(scenario: Scenario) -> None:
    """Presence and cursors have no number and are not stored."""
    judge("test_g12_lanes_in_the_simulator", "G12", scenario)


@drawn
def test_g13_tail_in_the_simulator(scenario: Scenario) -> None:
    """Nobody stays behind on a living connection."""
    judge("test_g13_tail_in_the_simulator", "G13", scenario)


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
