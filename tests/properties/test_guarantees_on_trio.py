"""The guarantees of the real server and the real client (depth c), on trio, over memory streams, in virtual time.

The same scenarios as at depth (b) in kind, and the same checkers. The trace is what the shells tell of themselves, and the log
is read back from the store. Each test begins with a scenario that has something for every checker to look at, and fails if its
own finds nothing there.
"""

from collections.abc import Callable
from functools import lru_cache

import pytest
from hypothesis import example, given, settings
from hypothesis import seed as with_seed

from simulation.checks.checkers import check
from simulation.checks.verdicts import Verdict
from simulation.scenario.scenario import Scenario, parse_scenario

from .bugs import BUGS, applied
from .judging import judge_scenario
from .shells import EXERCISES_ALL, scenarios_for_shells, trace_of

FEW = 3
EXAMPLES = settings.default.max_examples if settings.default is not None and settings.default.max_examples > 100 else FEW


def drawn(test: Callable[[Scenario], None]) -> Callable[[], None]:
    """Give a test its scenarios; under the fast profile all draw the same ones, and each is played once."""
    found = example(scenario=EXERCISES_ALL)(given(scenario=scenarios_for_shells())(test))
    return settings(max_examples=EXAMPLES)(found if EXAMPLES > FEW else with_seed(5)(found))


@lru_cache(maxsize=2 * FEW)
def played(text: str) -> dict[str, Verdict]:
    return check(trace_of(parse_scenario(text)))


def judge(test: str, guarantee: str, scenario: Scenario) -> None:
    verdict = played(scenario.to_toml())[guarantee]
    judge_scenario(test, guarantee, scenario, verdict, exercises=scenario == EXERCISES_ALL)


@drawn
def test_g1_order_on_trio(scenario: Scenario) -> None:
    """Every delivery follows the one before."""
    judge("test_g1_order_on_trio", "G1", scenario)


@drawn
def test_g2_no_silence_on_trio(scenario: Scenario) -> None:
    """What is skipped is covered by a snapshot or a reset."""
    judge("test_g2_no_silence_on_trio", "G2", scenario)


@drawn
def test_g3_once_on_trio(scenario: Scenario) -> None:
    """An accepted publish stands in the stored log once."""
    judge("test_g3_once_on_trio", "G3", scenario)


@drawn
def test_g4_same_answer_on_trio(scenario: Scenario) -> None:
    """Every copy gets the first answer."""
    judge("test_g4_same_answer_on_trio", "G4", scenario)


@drawn
def test_g5_fold_on_trio(scenario: Scenario) -> None:
    """Snapshots are the fold of the log up to them."""
    judge("test_g5_fold_on_trio", "G5", scenario)


@drawn
def test_g6_recovery_on_trio(scenario: Scenario) -> None:
    """After the last fault everyone is back within the bound; the run goes on that long after its faults."""
    judge("test_g6_recovery_on_trio", "G6", scenario)


@drawn
def test_g7_bounds_on_trio(scenario: Scenario) -> None:
    """Every queue of a client after each thing that went through it, and of the server at each commit, is within its limit."""
    judge("test_g7_bounds_on_trio", "G7", scenario)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("the outbox has no limit", "messages in the outbox of ada-0 holds 5; its limit is 4"),
        ("everything is sent at once", "unanswered publishes of ada-0 holds 4; its limit is 3"),
        ("what waits for the store has no limit", "events that are not durable of server holds 3; its limit is 2"),
    ],
)
def test_g7_bounds_on_trio_can_fail(name: str, complaint: str) -> None:
    """A queue of the shells' machines that has lost its limit is seen, and named."""
    with applied(next(bug for bug in BUGS if bug.name == name)):
        violations = check(trace_of(EXERCISES_ALL))["G7"].violations
    assert any(complaint in violation for violation in violations), violations


@drawn
def test_g8_sender_fifo_on_trio(scenario: Scenario) -> None:
    """One client's publishes are numbered in their order."""
    judge("test_g8_sender_fifo_on_trio", "G8", scenario)


@drawn
def test_g9_takeover_on_trio(scenario: Scenario) -> None:
    """An old connection says nothing more."""
    judge("test_g9_takeover_on_trio", "G9", scenario)


@drawn
def test_g10_manners_on_trio(scenario: Scenario) -> None:
    """Nobody comes back too early, or after a code that says never."""
    judge("test_g10_manners_on_trio", "G10", scenario)


@drawn
def test_g11_durability_on_trio(scenario: Scenario) -> None:
    """What was accepted is in the log, whatever crashed."""
    judge("test_g11_durability_on_trio", "G11", scenario)


@drawn
def test_g12_lanes_on_trio(scenario: Scenario) -> None:
    """Presence and cursors have no number and are not stored."""
    judge("test_g12_lanes_on_trio", "G12", scenario)


@drawn
def test_g13_tail_on_trio(scenario: Scenario) -> None:
    """Nobody stays behind on a living connection."""
    judge("test_g13_tail_on_trio", "G13", scenario)
