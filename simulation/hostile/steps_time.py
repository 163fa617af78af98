"""How time passes."""

from typing import Literal

from reference.protocol.timers import NS_PER_MS
from simulation.hostile.step import StepBase
from simulation.hostile.world import World


class Wait(StepBase, frozen=True):
    """Time passes and nothing arrives. Alarms ring exactly on time, or all of them late, or not yet."""

    ms: int
    alarms: Literal["exact", "late", "not yet"]

    def do(self, world: World) -> None:
        until = world.now + self.ms * NS_PER_MS
        while self.alarms == "exact":
            alarm = world.next_alarm()
            if alarm is None or alarm > until:
                break
            world.now = max(world.now, alarm)
            world.ring()
        world.now = until
        if self.alarms != "not yet":
            world.ring()


class NextAlarm(StepBase, frozen=True):
    """Time passes until exactly the next alarm, which rings a little late."""

    late_ms: int

    def do(self, world: World) -> None:
        alarm = world.next_alarm()
        if alarm is not None:
            world.now = max(world.now, alarm + self.late_ms * NS_PER_MS)
            world.ring()


class UntilOpening(StepBase, frozen=True):
    """Nothing arrives until some client wishes to open a WebSocket, for a few alarms at most."""

    alarms: int

    def do(self, world: World) -> None:
        for _ in range(self.alarms):
            if not any(wire.is_opening for wire in world.wires):
                NextAlarm(0).do(world)


class CalmUntil(StepBase, frozen=True):
    """Everything goes as it should until some client wishes to open a WebSocket, or has sent a request; then that waits."""

    what: Literal["opening", "request"]
    ms_max: int

    def do(self, world: World) -> None:
        is_opening = self.what == "opening"
        world.calm(self.ms_max / 1000, until=lambda it: it.is_asked_to_open if is_opening else it.is_asked_over_http)


class Calm(StepBase, frozen=True):
    """Everything goes as it should for a while."""

    ms: int

    def do(self, world: World) -> None:
        world.calm(self.ms / 1000)


class StepClock(StepBase, frozen=True):
    """The server's clock is stepped: forward while it runs, or back across a restart. The clients' clocks know nothing of it."""

    ms: int

    def do(self, world: World) -> None:
        world.server.step_clock(self.ms * NS_PER_MS)
