"""A single pipe, for tests: its inputs, its outputs, and the notifications to its owner."""

from collections.abc import Callable

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.delay import directions_of
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import RandomStreams
from simulation.scenario.faults import Path


def pipe_of(path: Path, *, is_up: bool = False) -> tuple[Clock, SimulatedPipe, list[tuple[float, str]]]:
    clock = Clock()
    return (
        clock,
        SimulatedPipe(clock, directions_of(path).up if is_up else directions_of(path).down, RandomStreams(1).of("lane")),
        [],
    )


class Owner:
    """The owner of a pipe: records its notifications, in seconds."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.parts: list[float] = []
        self.rooms: list[float] = []
        self.gave_up_at: list[float] = []
        self.late_until: list[float] = []
        self.resets_lost_at: list[float] = []

    def part_arrived(self, pipe: SimulatedPipe) -> None:
        self.parts.append(self.clock.now / NS_PER_S)

    def room_made(self, pipe: SimulatedPipe) -> None:
        self.rooms.append(self.clock.now / NS_PER_S)

    def gave_up(self, pipe: SimulatedPipe) -> None:
        self.gave_up_at.append(self.clock.now / NS_PER_S)

    def reset_lost(self, pipe: SimulatedPipe) -> None:
        self.resets_lost_at.append(self.clock.now / NS_PER_S)

    def is_late(self, until: int) -> None:
        self.late_until.append(until / NS_PER_S)


def at(clock: Clock, time_s: float, do: Callable[[], object]) -> None:
    Call(clock, ns(time_s), ARRIVAL, lambda _: do())
