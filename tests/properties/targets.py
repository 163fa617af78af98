"""Targeted search for slow recovery, long queues and many sends; `python -m tests.properties.targets` keeps the worst.

Each example reports to Hypothesis how bad it was (`target`), and the search continues from the worst. An example worse than
the kept case is written to `cases`, where `test_regressions` replays it, and `steadywire replay` shows it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec
from hypothesis import HealthCheck, Phase, given, settings, target

from reference.protocol.errors import ConfigError
from simulation.adversary.case import Case, load_case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import time_to_recover_s
from simulation.adversary.steps import Step
from simulation.adversary.world import AdversarialWorld
from simulation.testing import schedules, setups
from simulation.trace.messages import MessageLog

CASES = Path(__file__).parent / "cases"
STEPS_MAX = 60


def recovery_s(setup: Setup, schedule: list[Step]) -> float:
    """How long after the last fault some client was still cut off, or behind, or without an answer, in seconds."""
    world = AdversarialWorld(setup)
    for step in schedule:
        step.do(world)
    return time_to_recover_s(world)


def longest_queue(setup: Setup, schedule: list[Step]) -> float:
    """The most messages that waited in one outbox after a step."""
    world = AdversarialWorld(setup)
    longest = 0
    for step in schedule:
        step.do(world)
        longest = max(longest, *(host.session.queued_messages for host in world.hosts))
    return float(longest)


def duplicates_sent(setup: Setup, schedule: list[Step]) -> float:
    """How often a publish was sent again, over all clients."""
    message_log = MessageLog()
    world = AdversarialWorld(setup, message_log)
    for step in schedule:
        step.do(world)
    sent: dict[tuple[str, str], int] = {}
    for message in message_log.messages:
        if message.words.startswith("publish #"):
            key = (message.sender, message.words.split()[1])
            sent[key] = sent.get(key, 0) + 1
    return float(sum(count - 1 for count in sent.values()))


MEASURES: dict[str, Callable[[Setup, list[Step]], float]] = {
    "recovery_s": recovery_s,
    "longest_queue": longest_queue,
    "duplicates_sent": duplicates_sent,
}


def worst(measure: Callable[[Setup, list[Step]], float], examples: int) -> tuple[float, Setup, list[Step]]:
    """The worst example that a search of that length finds; the same in every run."""
    found: tuple[float, Setup, list[Step]] = (-1.0, Setup(), [])

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.target],
        suppress_health_check=list(HealthCheck),
    )
    @given(setup=setups(), schedule=schedules())
    def search(setup: Setup, schedule: list[Step]) -> None:
        nonlocal found
        value = measure(setup, schedule)
        target(value)
        if (value, -len(schedule)) > (found[0], -len(found[2])) and len(schedule) <= STEPS_MAX:
            found = (value, setup, schedule)

    search()
    return found


def simplified(measure: Callable[[Setup, list[Step]], float], setup: Setup, schedule: list[Step]) -> tuple[Setup, list[Step]]:
    """The same without what does not make it worse: steps that may go, settings that may be the default ones."""
    value = measure(setup, schedule)
    for place in reversed(range(len(schedule))):
        fewer = [*schedule[:place], *schedule[place + 1 :]]
        if measure(setup, fewer) >= value:
            schedule = fewer
    usual = Setup()
    for name in setup.__struct_fields__:
        plainer = msgspec.structs.replace(setup, **{name: getattr(usual, name)})
        if measure(plainer, schedule) >= value:
            setup = plainer
    for part in ("client", "server"):
        for name in getattr(setup, part).__struct_fields__:
            config = getattr(setup, part)
            try:
                config = msgspec.structs.replace(config, **{name: getattr(getattr(usual, part), name)})
            except ConfigError:
                continue  # not without others
            plainer = msgspec.structs.replace(setup, **{part: config})
            if measure(plainer, schedule) >= value:
                setup = plainer
    return setup, schedule


def main() -> None:
    parser = argparse.ArgumentParser(description="Search for the worst and keep it.")
    parser.add_argument("word", nargs="?", default="", help="only measures whose name has it")
    parser.add_argument("--examples", type=int, default=300)
    chosen = parser.parse_args()
    for name, measure in MEASURES.items():
        if chosen.word not in name:
            continue
        value, setup, schedule = worst(measure, chosen.examples)
        path = CASES / f"worst_{name}.toml"
        known = load_case(path)
        known_value = measure(known.setup, list(known.schedule))
        if value <= known_value:
            print(f"{name}: {value:g}; the one that is kept comes to {known_value:g}")
            continue
        setup, schedule = simplified(measure, setup, schedule)
        value = measure(setup, schedule)  # what is simpler may be worse
        case = Case(
            name=f"worst {name.replace('_', ' ')}",
            about=f"{value:g}, the most that {chosen.examples} examples of a targeted search came to",
            found_by="python -m tests.properties.targets",
            setup=setup,
            schedule=tuple(schedule),
        )
        path.write_text(case.to_toml(), encoding="utf-8")
        print(f"{name}: {value:g} with {len(schedule)} steps")


if __name__ == "__main__":
    main()
