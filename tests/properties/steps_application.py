"""What applications do."""

import contextlib
from dataclasses import dataclass
from typing import Literal

from reference.protocol.errors import InvalidEvent

from .hostile_link import World
from .picking import pick


@dataclass(frozen=True)
class Publish:
    """An application publishes."""

    client: int
    event_type: Literal["GRAFT", "PRUNE", "FLAG", "CHAT", "NEWER"]
    key: int

    def do(self, world: World) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            host.publish(self.event_type, position=f"p{self.key}", step=f"s{self.key}")


@dataclass(frozen=True)
class MoveCursor:
    client: int
    at: int

    def do(self, world: World) -> None:
        host = pick(world.present, self.client)
        if host is not None:
            with contextlib.suppress(InvalidEvent):  # larger than the outbox
                host.session.move_cursor({"x": self.at}, world.now)
            host.pump()


@dataclass(frozen=True)
class Hold:
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


@dataclass(frozen=True)
class Leave:
    """An application closes its session."""

    client: int

    def do(self, world: World) -> None:
        host = pick(world.present, self.client)
        if host is not None:
            host.leave()


@dataclass(frozen=True)
class Join:
    """One client more, perhaps a second tab of a user who is here."""

    user: int

    def do(self, world: World) -> None:
        if len(world.hosts) < 5:
            world.join(pick(world.setup.users, self.user) or "ann")
