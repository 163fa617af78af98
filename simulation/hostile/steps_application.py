"""What applications do."""

import contextlib
from typing import Literal

from reference.protocol.errors import InvalidEvent
from simulation.hostile.picking import pick
from simulation.hostile.step import StepBase
from simulation.hostile.world import World


class Publish(StepBase, frozen=True):
    """An application publishes."""

    client: int
    event_type: Literal["GRAFT", "PRUNE", "FLAG", "CHAT", "NEWER"]
    key: int

    def do(self, world: World) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            host.publish(self.event_type, position=f"p{self.key}", step=f"s{self.key}")


class MoveCursor(StepBase, frozen=True):
    client: int
    at: int

    def do(self, world: World) -> None:
        host = pick(world.present, self.client)
        if host is not None:
            with contextlib.suppress(InvalidEvent):  # larger than the outbox
                host.session.move_cursor({"x": self.at}, world.now)
            host.pump()


class Hold(StepBase, frozen=True):
    """An application stops reading, or reads again."""

    client: int
    holds: bool

    def do(self, world: World) -> None:
        host = pick(world.present, self.client)
        if host is None:
            return
        if self.holds:
            host.session.hold_events(world.now)
        else:
            host.session.release_events(world.now)
        host.pump()


class Leave(StepBase, frozen=True):
    """An application closes its session."""

    client: int

    def do(self, world: World) -> None:
        host = pick(world.present, self.client)
        if host is not None:
            host.leave()


class Join(StepBase, frozen=True):
    """One client more, perhaps a second tab of a user who is here."""

    user: int

    def do(self, world: World) -> None:
        if len(world.hosts) < 5:
            world.join(pick(world.setup.users, self.user) or "ann")
