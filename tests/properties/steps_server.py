"""What happens to the server, and what its operator does."""

from dataclasses import dataclass

from .hostile_link import World
from .picking import pick


@dataclass(frozen=True)
class Store:
    """The oldest batches become durable."""

    count: int

    def do(self, world: World) -> None:
        world.server.commit(self.count)


@dataclass(frozen=True)
class StoreFails:
    """The store gives an error; the first batches are durable all the same."""

    stored: int

    def do(self, world: World) -> None:
        world.server.fail_append(self.stored)


@dataclass(frozen=True)
class Crash:
    """The server dies between append and acknowledge, and perhaps comes back at once."""

    stored: int
    restarts: bool

    def do(self, world: World) -> None:
        if world.server.run is not None:
            world.server.crash(self.stored)
        if self.restarts:
            world.server.restart()


@dataclass(frozen=True)
class Restart:
    def do(self, world: World) -> None:
        if world.server.run is None:
            world.server.restart()


@dataclass(frozen=True)
class LoseHistory:
    """The server dies and its store is restored from an older copy: a new epoch."""

    kept: int

    def do(self, world: World) -> None:
        world.server.lose_history(self.kept)
        world.server.restart()


@dataclass(frozen=True)
class TooSlow:
    """The driver keeps too much for a client that takes nothing."""

    wire: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None and wire.server_end is not None and world.server.run is not None:
            world.server.run.too_slow(wire.server_end, world.server_now)
            world.server.pump()


@dataclass(frozen=True)
class GoAway:
    """The server is told to stop: it asks everyone to come back later, and comes back itself."""

    retry_after_ms: int
    spread_ms: int

    def do(self, world: World) -> None:
        if world.server.run is None:
            return
        world.server.commit(len(world.server.appends))
        world.server.run.go_away(world.server_now, retry_after_ms=self.retry_after_ms, spread_ms=self.spread_ms)
        world.server.pump()
        world.server.crash(0)
        world.server.restart()


@dataclass(frozen=True)
class CheckToken:
    def do(self, world: World) -> None:
        if world.server.checks and world.server.run is not None:
            world.server.check_token()
