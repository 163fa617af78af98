"""Exploring: `python -m tests.explore --seconds 600 --seed 7` draws new worlds until its time is over, and prints what breaks.

The fast suite draws the same examples for everybody. This command draws others: a seed gives the same worlds again, and without
one a new seed is taken and named. What is found is shrunk, left as a file that `steadywire replay` shows, and printed with it.

0 nothing was found; 1 something was; 2 it could not be done as asked.
"""

import argparse
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis.strategies import SearchStrategy

from simulation.adversary.ground import Setup
from simulation.adversary.steps import Step
from simulation.scenario.scenario import Scenario
from simulation.testing import rich_scenarios, scenarios, schedules, setups
from simulation.testing.machines import ServerStep, play_steps, steps_taken
from simulation.testing.model_server import ModelServer
from tests.properties.judging import judge_link, judge_simulated
from tests.properties.shells import judge_everything, scenarios_for_shells

ROUND_EXAMPLES = 40
"""Of one kind of world, before the next kind is drawn."""


def over_the_link(setup: Setup, schedule: list[Step]) -> None:
    judge_link("explore_link", setup, schedule)


def in_the_simulator(scenario: Scenario) -> None:
    judge_simulated("explore_simulator", scenario, on_any_path=False)


def on_any_path(scenario: Scenario) -> None:
    judge_simulated("explore_any_path", scenario, on_any_path=True)


def around_a_server(chosen: list[ServerStep]) -> None:
    play_steps(ModelServer(), chosen)


Kind = tuple[dict[str, SearchStrategy[Any]], Callable[..., None]]
KINDS: dict[str, Kind] = {
    "the machines over an adversarial link": ({"setup": setups(), "schedule": schedules()}, over_the_link),
    "the simulator": ({"scenario": scenarios()}, in_the_simulator),
    "the simulator on any path": ({"scenario": rich_scenarios()}, on_any_path),
    "the server and the client on trio": ({"scenario": scenarios_for_shells()}, judge_everything),
    "sessions around a server": ({"chosen": steps_taken()}, around_a_server),
}


class _TimeIsOver(BaseException):
    """Not an Exception: Hypothesis must not take it for a finding."""


def explore(seconds: float, seed: int, *, say: Callable[[str], None] = print) -> list[str]:
    """Draw worlds of each kind in turn until the time is over. Returns the names of the kinds in which something was found."""
    until = time.monotonic() + seconds
    found: list[str] = []
    number = 0
    while time.monotonic() < until:
        for name, (strategies, body) in KINDS.items():
            if name not in found and time.monotonic() < until and not _holds(strategies, body, seed + number, until, name, say):
                found.append(name)
        number += 1
    say(f"seed {seed}: {number} rounds of {ROUND_EXAMPLES} worlds of {len(KINDS)} kinds; found something in {len(found)} kinds")
    return found


def _holds(
    strategies: dict[str, SearchStrategy[Any]],
    body: Callable[..., None],
    seed: int,
    until: float,
    name: str,
    say: Callable[[str], None],
) -> bool:
    shrink_until = [0.0]

    def example(**drawn: Any) -> None:
        now = time.monotonic()
        if now > (shrink_until[0] or until):
            raise _TimeIsOver
        try:
            body(**drawn)
        except Exception as error:
            shrink_until[0] = shrink_until[0] or now + SHRINK_S
            last[:] = [error]
            raise

    last: list[Exception] = []
    search = settings(
        max_examples=ROUND_EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    try:
        with_seed(seed)(search(given(**strategies)(example)))()
    except _TimeIsOver:
        pass
    except Exception as error:
        last[:] = last or [error]
    if last:
        say(f"FOUND in {name}, seed {seed}: {type(last[0]).__name__}: {last[0]}")
    return not last


SHRINK_S = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description="Draw new worlds and judge them.")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to look (default: 300)")
    parser.add_argument("--seed", type=int, help="draw the same worlds again (default: a new seed, which is printed)")
    chosen = parser.parse_args()
    if not 0 < chosen.seconds <= 86_400:
        parser.error(f"--seconds {chosen.seconds:g}: must be above 0 and at most 86400")
    seed = secrets.randbelow(10**9) if chosen.seed is None else chosen.seed
    print(f"seed {seed}", flush=True)
    return 1 if explore(chosen.seconds, seed, say=lambda text: print(text, flush=True)) else 0


if __name__ == "__main__":
    sys.exit(main())
