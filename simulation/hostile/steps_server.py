"""What happens to the server, and what its operator does."""

from simulation.hostile.picking import pick
from simulation.hostile.step import StepBase
from simulation.hostile.world import World


class Store(StepBase, frozen=True):
    """The oldest batches become durable."""

    count: int

    def do(self, world: World) -> None:
        world.server.commit(self.count)


class StoreFails(StepBase, frozen=True):
    """The store gives an error; the first batches are durable all the same."""

    stored: int

    def do(self, world: World) -> None:
        world.server.fail_append(self.stored)


class Crash(StepBase, frozen=True):
    """The server dies between append and acknowledge, and perhaps comes back at once."""

    stored: int
    restarts: bool

    def do(self, world: World) -> None:
        if world.server.run is not None:
            world.server.crash(self.stored)
        if self.restarts:
            world.server.restart()


class Restart(StepBase, frozen=True):
    def do(self, world: World) -> None:
        if world.server.run is None:
            world.server.restart()


class LoseHistory(StepBase, frozen=True):
    """The server dies and its store is restored from an older copy: a new epoch."""

    kept: int

    def do(self, world: World) -> None:
        world.server.lose_history(self.kept)
        world.server.restart()


class TooSlow(StepBase, frozen=True):
    """The driver keeps too much for a client that takes nothing."""

    wire: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None and wire.server_end is not None and world.server.run is not None:
            world.server.run.too_slow(wire.server_end, world.server_now)
            world.server.pump()


class GoAway(StepBase, frozen=True):
    """The server is told to stop: it asks everyone to come back later, and comes back itself."""

    retry_after_ms: int
    spread_ms: int

    def do(self, world: World) -> None:
        if world.server.run is None:
            return
        world.server.run.go_away(world.server_now, retry_after_ms=self.retry_after_ms, spread_ms=self.spread_ms)
        world.server.pump()
        while world.server.appends:  # what has a number is stored before the server ends
            world.server.commit(len(world.server.appends))
        world.server.check_nothing_waits()
        world.server.crash(0)
        world.server.restart()


class CheckToken(StepBase, frozen=True):
    def do(self, world: World) -> None:
        if world.server.checks and world.server.run is not None:
            world.server.check_token()
