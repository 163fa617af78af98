"""The same seed and schedule give the same transcript, byte for byte: at each depth, and in different processes.

    (a)  the bare machines: over the adversarial link, and in the world of drawn schedules
    (b)  the simulator
    (c)  the shells on trio

Nothing is left out or sorted here, as it is where worlds are compared: a transcript is everything that was taken down, in the
order in which it was.
"""

import json
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from simulation.adversary.case import load_case
from simulation.adversary.ground import Setup
from simulation.adversary.settling import play
from simulation.adversary.steps import Step
from simulation.scenario.faults import BlockUpgrade, HalfOpen, Outage, Refuse, Reset, ServerRestart, Stall
from simulation.scenario.scenario import Scenario
from simulation.testing import schedules, setups
from simulation.trace.messages import MessageLog
from tests.other_process import printed_by

from . import bare_world, simpy_world, trio_world
from .test_drawn import EXAMPLES_MAX, scenarios
from .test_scenarios import rich

CASES = Path(__file__).parents[1] / "properties" / "cases"
IDS = ("01234567-89ab-cdef-0123-456789abcdef", "epoch-1")
SCRIPT = """
import json
from tests.parity.test_determinism import digests
print(json.dumps(digests()))
"""
drawn = given(scenario=scenarios(Outage, Stall, Reset, HalfOpen, Refuse, BlockUpgrade, ServerRestart, polls=True))
few = settings(max_examples=EXAMPLES_MAX)


def bytes_of(entries: Iterable[Any]) -> bytes:
    """Everything, in order; a line for each entry."""
    return b"\n".join(msgspec.json.encode((type(entry).__name__, entry)) for entry in entries)


def over_the_adversarial_link(setup: Setup, schedule: Iterable[Step]) -> bytes:
    """What was sent and when it arrived, all that happened beside it, and what is broken."""
    message_log = MessageLog()
    broken = play(setup, tuple(schedule), message_log=message_log)
    return bytes_of([*message_log.entries, *broken])


def of_the_bare_machines(scenario: Scenario) -> bytes:
    return bytes_of(bare_world.play(scenario, *IDS).entries)


def in_the_simulator(scenario: Scenario) -> bytes:
    return bytes_of(simpy_world.play(scenario).entries)


def on_trio(scenario: Scenario) -> bytes:
    return bytes_of(trio_world.play(scenario, *IDS).entries)


def digests() -> dict[str, str]:
    """Of what each depth tells of the kept cases, which were drawn once, and of the first half of a rich scenario."""
    cases = [load_case(path) for path in sorted(CASES.glob("*.toml"))]
    scenario = rich().replace(horizon_s=30.0, settle_s=1.0)
    reported = {
        "adversarial link": b"\n".join(over_the_adversarial_link(case.setup, case.schedule) for case in cases),
        "bare machines": of_the_bare_machines(scenario),
        "simulator": in_the_simulator(scenario),
        "trio": on_trio(scenario),
    }
    return {depth: blake2b(transcript, digest_size=16).hexdigest() for depth, transcript in reported.items()}


@few
@given(setup=setups(), schedule=schedules())
def test_same_seed_same_transcript_over_the_adversarial_link(setup: Setup, schedule: list[Step]) -> None:
    assert over_the_adversarial_link(setup, schedule) == over_the_adversarial_link(setup, schedule)


@pytest.mark.parametrize("transcript_of", [of_the_bare_machines, in_the_simulator, on_trio], ids=lambda world: world.__name__)
@few
@drawn
def test_same_seed_same_transcript_of_a_scenario(transcript_of: Callable[[Scenario], bytes], scenario: Scenario) -> None:
    assert transcript_of(scenario) == transcript_of(scenario)


@pytest.fixture(scope="module")
def reported_here() -> dict[str, str]:
    return digests()


@pytest.mark.parametrize("hash_seed", ["0", pytest.param("4711", marks=[pytest.mark.slow, pytest.mark.parallel])])
def test_same_seed_same_transcript_in_another_process(reported_here: dict[str, str], hash_seed: str) -> None:
    assert json.loads(printed_by(SCRIPT, hash_seed=hash_seed)) == reported_here


def test_another_seed_is_another_transcript_at_every_depth() -> None:
    """The bytes show what happened: none of these tests could pass on an empty transcript."""
    scenario = rich().replace(horizon_s=12.0, settle_s=1.0, faults=())
    other = scenario.replace(seed=scenario.seed + 1)
    for transcript_of in (of_the_bare_machines, in_the_simulator, on_trio):
        assert len(transcript_of(scenario)) > 10_000
        assert transcript_of(scenario) != transcript_of(other)
    case = load_case(CASES / "hello_held_up.toml")
    assert over_the_adversarial_link(case.setup, case.schedule) != over_the_adversarial_link(case.setup, case.schedule[:-1])
