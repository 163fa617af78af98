"""Shared by the guarantees' tests: a broken guarantee leaves a file that one command replays."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from simulation.adversary.case import Case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import play
from simulation.adversary.steps import Step
from simulation.checks.verdicts import Verdict
from simulation.scenario.scenario import Scenario

FAILURES = Path(".hypothesis") / "failures"
"""Where the smallest failing example of each test is left; Hypothesis plays it last."""


def judge_link(test: str, guarantee: str | None, setup: Setup, schedule: Sequence[Step]) -> None:
    """Depth (a). Fail if `guarantee` (None: any) is broken, or a machine raises."""
    case = Case(name=test, setup=setup, schedule=tuple(schedule))
    try:
        broken = [finding for finding in play(setup, schedule) if guarantee in (None, finding.guarantee)]
    except Exception:
        print(f"see it: steadywire replay {left(test, case.to_toml())}")
        raise
    if broken:
        raise AssertionError(_report(test, case.to_toml(), [f"{one.guarantee}: {one.what}" for one in broken]))


def judge_scenario(test: str, guarantee: str, scenario: Scenario, verdict: Verdict, *, exercises: bool) -> None:
    """Depths (b) and (c). `exercises`: there must be something in this scenario for the checker to look at."""
    if verdict.violated:
        raise AssertionError(_report(test, scenario.to_toml(), verdict.violations))
    if exercises and not verdict.checked:
        raise AssertionError(f"{guarantee} is {verdict.status} by a scenario that was made for it: the test could not fail")


def _report(test: str, text: str, sentences: Iterable[str]) -> str:
    lines = "\n  ".join(list(sentences)[:5])
    return f"{lines}\nsee it: steadywire replay {left(test, text)}"


def left(test: str, text: str) -> Path:
    """Leave `text` as the smallest failing example of `test`, and say where."""
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / f"{test}.toml"
    path.write_text(text, encoding="utf-8")
    return path
