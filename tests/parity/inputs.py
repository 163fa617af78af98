"""The inputs of every world: the scenario's own draws, found without running anything.

The simulated users of `simulation.hosts.workload_driver` are drawn once more, on a clock on which nothing else happens: what
they do does not depend on what happens to them. Ids are those of the simulator.
"""

from dataclasses import dataclass, field

from reference.protocol.events import CURSOR_MOVE, Data
from reference.protocol.frames import Limits
from reference.protocol.timers import ns
from reference.server.settings import ServerSettings
from simulation.clock import ARRIVAL, Call, Clock
from simulation.hosts.workload_driver import WorkloadDriver
from simulation.random import RandomStreams
from simulation.scenario.faults import Path
from simulation.scenario.scenario import Scenario


@dataclass(frozen=True)
class UserAction:
    """One call of a simulated user; `event_type` CURSOR_MOVE moves the cursor, all else is published. `at` in ns."""

    at: int
    event_type: str
    data: Data


@dataclass
class Part:
    """What one client brings with it. `arrives_at` in ns."""

    name: str
    path: Path
    arrives_at: int
    steps_taken: list[UserAction] = field(default_factory=list)


class _Rehearsal:
    """Replaces a client's host, and records the calls to it."""

    def __init__(self, clock: Clock, part: Part) -> None:
        self.name = part.name
        self._clock = clock
        self._part = part

    def publish(self, event_type: str, data: Data) -> None:
        self._part.steps_taken.append(UserAction(self._clock.now, event_type, data))

    def move_cursor(self, data: Data) -> None:
        self._part.steps_taken.append(UserAction(self._clock.now, CURSOR_MOVE, data))


def parts_of(scenario: Scenario) -> list[Part]:
    """Everyone's part in the scenario."""
    random_source = RandomStreams(scenario.seed)
    clock = Clock()
    parts = []
    for group in scenario.groups:
        for name in group.client_names:
            arrives_at = ns(group.arrive_within_s * random_source.of(name).uniform("arrival", 0))
            part = Part(name, group.path, arrives_at)
            work = WorkloadDriver(
                clock, _Rehearsal(clock, part), scenario.workload, random_source.of(name), ns(scenario.horizon_s)
            )
            Call(clock, arrives_at, ARRIVAL, lambda _, work=work: work.start())
            parts.append(part)
    clock.run(until=ns(scenario.horizon_s) + 1)
    return parts


def limits_of(scenario: Scenario) -> Limits:
    """The server's limits as reported to clients. A real server has more limits than the run's config."""
    return ServerSettings(protocol=scenario.server.config).limits
