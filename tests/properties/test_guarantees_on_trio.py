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

from simulation.checks.checkers import CHECKERS, check
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


@pytest.mark.parametrize("guarantee", CHECKERS)
def test_guarantee_on_trio(guarantee: str) -> None:
    @drawn
    def holds(scenario: Scenario) -> None:
        judge(f"test_guarantee_on_trio_{guarantee}", guarantee, scenario)

    holds()


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
