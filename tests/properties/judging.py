"""Shared by the guarantees' tests: a broken guarantee leaves a file that one command replays."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import seed as with_seed
from hypothesis.strategies import SearchStrategy

from simulation.adversary.case import Case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import play
from simulation.adversary.steps import Step
from simulation.checks.verdicts import Verdict
from simulation.scenario.scenario import Scenario
from simulation.world import run

FAILURES = Path(".hypothesis") / "failures"
"""Where the smallest failing example of each test is left; Hypothesis plays it last."""
TAKE_TIME = ("G6", "G13")
"""Guarantees within a time. On a path that loses most of its packets nothing is promised within a time."""


def judge_link(test: str, setup: Setup, schedule: Sequence[Step]) -> None:
    """Depth (a). Fail if any guarantee is broken, or a machine raises."""
    case = Case(name=test, setup=setup, schedule=tuple(schedule))
    try:
        broken = play(setup, schedule)
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


def judge_simulated(test: str, scenario: Scenario, *, on_any_path: bool) -> None:
    """Depth (b). Simulate a scenario and judge every guarantee; with `on_any_path` only those that need no time."""
    for guarantee, verdict in run(scenario).verdicts.items():
        if not (on_any_path and guarantee in TAKE_TIME):
            judge_scenario(test, guarantee, scenario, verdict, exercises=False)


def draws(few: int) -> int:
    """How many scenarios a test draws that plays whole worlds: `few` under the fast profile, all that a long profile asks for."""
    most = settings.default.max_examples if settings.default is not None else few
    return most if most > 100 else few


def judge_in_scenarios(
    test: str,
    guarantee: str,
    scenarios: SearchStrategy[Scenario],
    verdicts_of: Callable[[str], dict[str, Verdict]],
    *,
    first: Scenario,
    few: int,
    seed: int,
) -> None:
    """Depths (b) and (c). Judge one guarantee in drawn scenarios, and first in one that exercises all checkers.

    Under the fast profile all guarantees draw the same scenarios, by `seed`, so that `verdicts_of`, which takes a scenario's text
    and remembers its results, plays each once. A long profile draws anew for each guarantee.
    """
    name = f"{test}_{guarantee}"

    def holds(scenario: Scenario) -> None:
        verdict = verdicts_of(scenario.to_toml())[guarantee]
        judge_scenario(name, guarantee, scenario, verdict, exercises=scenario == first)

    drawn = example(scenario=first)(given(scenario=scenarios)(holds))
    settings(max_examples=draws(few))(drawn if draws(few) > few else with_seed(seed)(drawn))()


def _report(test: str, text: str, sentences: Iterable[str]) -> str:
    lines = "\n  ".join(list(sentences)[:5])
    return f"{lines}\nsee it: steadywire replay {left(test, text)}"


def left(test: str, text: str) -> Path:
    """Leave `text` as the smallest failing example of `test`, and say where."""
    FAILURES.mkdir(parents=True, exist_ok=True)
    path = FAILURES / f"{test}.toml"
    path.write_text(text, encoding="utf-8")
    return path
