"""The report when two worlds differ, and the scenarios that the bare world refuses."""

import re
from pathlib import Path

import msgspec
import pytest

from simulation.scenario.faults import Reset, SlowStore
from simulation.scenario.paths import Path as ClientPath
from simulation.scenario.scenario import Scenario, ServerPart, load_scenario
from tests.properties.bugs import applied, named

from . import bare_world
from .play import scenario_of
from .replay import report
from .test_determinism import IDS
from .test_drawn import judge

BUG = named("alarms ring a second late")
"""Of the client's pump on trio, which the other two worlds do not have."""


def test_a_difference_is_shown_with_the_command_that_replays_it() -> None:
    scenario = scenario_of(Reset(at_s=2.5), horizon_s=5.0, settle_s=3.0)
    with applied(BUG), pytest.raises(AssertionError, match=r"SimPy and trio differ in .* places, first here") as failure:
        judge("test_a_difference_is_shown", scenario)
    command = re.search(r"python -m tests\.parity\.replay (\S+)", str(failure.value))
    assert command is not None
    left = load_scenario(Path(command[1]))
    assert left == scenario
    with applied(BUG):
        found = report(left, schedules_max=1)
    assert [text.split(" differ")[0] for text in found] == ["SimPy and trio", "bare machines and trio"]
    assert report(left) == []


def _jittery(scenario: Scenario) -> Scenario:
    group = scenario.groups[0]
    return scenario.replace(groups=(msgspec.structs.replace(group, path=ClientPath(jitter_s=0.01)),))


@pytest.mark.parametrize(
    ("scenario", "complaint"),
    [
        (_jittery(scenario_of()), "paths with a latency only"),
        (scenario_of().replace(server=ServerPart(send_buffer_bytes=1000)), "config and its commit time only"),
        (scenario_of(SlowStore(at_s=1.0, duration_s=1.0, factor=2.0)), "does not know"),
    ],
)
def test_what_the_bare_world_does_not_have_it_refuses(scenario: Scenario, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        bare_world.play(scenario, *IDS)
