"""The guarantees of the real server and the real client (depth c), on trio, over memory streams, in virtual time.

The same scenarios as at depth (b) in kind, and the same checkers. The trace is what the shells report of themselves, and the log
is read back from the store. Each test begins with a scenario that has something for every checker to look at, and fails if its
own finds nothing there.
"""

from functools import lru_cache

import pytest

from simulation.checks.checkers import CHECKERS, check
from simulation.checks.verdicts import Verdict
from simulation.scenario.scenario import parse_scenario

from .bugs import applied, named
from .judging import judge_in_scenarios
from .shells import EXERCISES_ALL, scenarios_for_shells, trace_of

FEW = 3


@lru_cache(maxsize=2 * FEW)
def verdicts_of(text: str) -> dict[str, Verdict]:
    return check(trace_of(parse_scenario(text)))


@pytest.mark.parametrize("guarantee", CHECKERS)
def test_guarantee_on_trio(guarantee: str) -> None:
    scenarios = scenarios_for_shells()
    judge_in_scenarios("test_guarantee_on_trio", guarantee, scenarios, verdicts_of, first=EXERCISES_ALL, few=FEW, seed=5)


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
    with applied(named(name)):
        violations = check(trace_of(EXERCISES_ALL))["G7"].violations
    assert any(complaint in violation for violation in violations), violations
