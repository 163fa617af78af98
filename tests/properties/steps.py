"""What can happen next, as values: a schedule is a list of these, and a failing example is a short list of them.

Numbers pick among what is there at that moment (modulo how many there are), so every list of steps is a schedule and shrinks well. A
step for which there is nothing there does nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, assert_never

from reference.protocol.errors import InvalidEvent
from reference.protocol.timers import NS_PER_MS

from .hostile_link import Host, World
from .network import End, Request

T = TypeVar("T")
Sight = Literal["now", "later", "never"]
"""When one end of a wire learns that it is cut: at once, after what is on its way to it, or never."""


@dataclass(frozen=True)
class Publish:
    """An application publishes."""

    client: int
    event_type: Literal["GRAFT", "PRUNE", "FLAG", "CHAT", "NEWER"]
    key: int

    def do(self, world: World) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            world.publish(host, self.event_type, position=f"p{self.key}", step=f"s{self.key}")


@dataclass(frozen=True)
class MoveCursor:
    client: int
    at: int

    def do(self, world: World) -> None:
        host = _present(world, self.client)
        if host is not None:
            try:
                host.session.move_cursor({"x": self.at}, world.now)
            except InvalidEvent:
                pass  # larger than the outbox
            world.pump(host)


@dataclass(frozen=True)
class Hold:
    """An application stops reading, or reads again."""

    client: int
    holds: bool

    def do(self, world: World) -> None:
        host = _present(world, self.client)
        if host is None:
            return
        if self.holds:
            host.session.hold_events(world.now)
        else:
            host.session.release_events(world.now)
        world.pump(host)


@dataclass(frozen=True)
class Leave:
    """An application closes its session."""

    client: int

    def do(self, world: World) -> None:
        host = _present(world, self.client)
        if host is not None:
            world.leave(host)


@dataclass(frozen=True)
class Join:
    """One client more, perhaps a second tab of a user who is here."""

    user: int

    def do(self, world: World) -> None:
        if len(world.hosts) < 5:
            world.join(pick(world.setup.users, self.user) or "ann")


@dataclass(frozen=True)
class Up:
    """Some of what a client sent arrives at the server."""

    wire: int
    count: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.moves_up], self.wire)
        for _ in range(self.count):
            if wire is not None and wire.moves_up:
                world.move_up(wire)


@dataclass(frozen=True)
class Down:
    """Some of what the server sent arrives at a client."""

    wire: int
    count: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.moves_down], self.wire)
        for _ in range(self.count):
            if wire is not None and wire.moves_down:
                world.move_down(wire)


@dataclass(frozen=True)
class Cut:
    """A wire dies; each end learns of it in its own time."""

    wire: int
    client_sees: Sight
    server_sees: Sight

    def do(self, world: World) -> None:
        wire = pick(world.wires, self.wire)
        if wire is None:
            return
        wire.hangs = wire.hangs or wire.is_opening
        match self.server_sees:
            case "now":
                world.sever_server(wire)
            case "later":
                wire.up.append(End())
            case "never":
                wire.up_is_silent = True
            case _:
                assert_never(self.server_sees)
        match self.client_sees:
            case "now":
                world.sever(wire)
            case "later":
                wire.down.append(End())
            case "never":
                wire.down_is_silent = True
            case _:
                assert_never(self.client_sees)


@dataclass(frozen=True)
class Answer:
    """A client's wish for a WebSocket is granted, refused, or left hanging."""

    opening: int
    how: Literal["open", "refuse", "hang"]

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.is_opening], self.opening)
        if wire is None:
            return
        blocked = world.hosts[wire.client].blocked or world.run is None
        if self.how == "hang":
            wire.hangs = True
        elif self.how == "refuse" or blocked:
            world.sever(wire)
        else:
            world.accept(wire)


@dataclass(frozen=True)
class Http:
    """A request arrives, its answer arrives, or the client is told that it failed while the request is still on its way."""

    request: int
    how: Literal["arrive", "answer", "fail", "lose"]

    def do(self, world: World) -> None:
        if self.how == "arrive":
            request = pick([r for r in world.requests if r.is_under_way], self.request)
            if request is not None and world.run is not None:
                world.take_request(request)
            return
        if self.how == "answer":
            request = pick([r for r in world.requests if r.is_answered], self.request)
            if request is not None:
                world.answer(request)
            return
        request = pick([r for r in world.requests if r.client_waits], self.request)
        if request is None:
            return
        if self.how == "fail":
            _fail_early(world, request)
        else:
            request.client_waits = False
            world.requests.remove(request)


@dataclass(frozen=True)
class Stall:
    """Bytes on a wire are held back, in one direction, or flow again."""

    wire: int
    direction: Literal["up", "down"]
    stalls: bool

    def do(self, world: World) -> None:
        wire = pick(world.wires, self.wire)
        if wire is not None and self.direction == "up":
            wire.up_is_stalled = self.stalls
        elif wire is not None:
            wire.down_is_stalled = self.stalls


@dataclass(frozen=True)
class StallHttp:
    """A request, or the answer to it, is held back, or goes on."""

    request: int
    stalls: bool

    def do(self, world: World) -> None:
        request = pick([r for r in world.requests if r.is_stalled != self.stalls], self.request)
        if request is not None:
            request.is_stalled = self.stalls


@dataclass(frozen=True)
class Copy:
    """A proxy sends a poll again, as it may with a GET: a copy of it will arrive too, in its own time."""

    request: int

    def do(self, world: World) -> None:
        request = pick([r for r in world.requests if r.client_waits and r.name == "poll"], self.request)
        if request is not None and len(world.requests) < 20:
            world.requests.append(Request(request.client, request.lane, request.frame, client_waits=False, is_stalled=True))


@dataclass(frozen=True)
class Store:
    """The oldest batches become durable."""

    count: int

    def do(self, world: World) -> None:
        world.commit(self.count)


@dataclass(frozen=True)
class StoreFails:
    """The store gives an error; the first batches are durable all the same."""

    stored: int

    def do(self, world: World) -> None:
        world.fail_append(self.stored)


@dataclass(frozen=True)
class Crash:
    """The server dies between append and acknowledge, and perhaps comes back at once."""

    stored: int
    restarts: bool

    def do(self, world: World) -> None:
        if world.run is not None:
            world.crash(self.stored)
        if self.restarts:
            world.restart()


@dataclass(frozen=True)
class Restart:
    def do(self, world: World) -> None:
        if world.run is None:
            world.restart()


@dataclass(frozen=True)
class LoseHistory:
    """The server dies and its store is restored from an older copy: a new epoch."""

    kept: int

    def do(self, world: World) -> None:
        world.lose_history(self.kept)
        world.restart()


@dataclass(frozen=True)
class Choke:
    """A client's socket takes only so many batches more."""

    wire: int
    credit: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None:
            wire.credit = self.credit or None
            world.pump_server()


@dataclass(frozen=True)
class Swallow:
    """The server's driver will lose the next batches for one client, and not know it."""

    wire: int
    batches: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None:
            wire.swallows += self.batches


@dataclass(frozen=True)
class TooSlow:
    """The driver keeps too much for a client that takes nothing."""

    wire: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None and wire.server_end is not None and world.run is not None:
            world.run.too_slow(wire.server_end, world.server_now)
            world.pump_server()


@dataclass(frozen=True)
class GoAway:
    """The server is told to stop: it asks everyone to come back later, and comes back itself."""

    retry_after_ms: int
    spread_ms: int

    def do(self, world: World) -> None:
        if world.run is None:
            return
        world.commit(len(world.appends))
        world.run.go_away(world.server_now, retry_after_ms=self.retry_after_ms, spread_ms=self.spread_ms)
        world.pump_server()
        world.crash(0)
        world.restart()


@dataclass(frozen=True)
class Block:
    """From now on a proxy refuses a client's WebSockets, or lets them pass again."""

    client: int
    blocked: bool

    def do(self, world: World) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            host.blocked = self.blocked
            for wire in list(host.wires.values()) if self.blocked else []:
                Cut(world.wires.index(wire), "now", "later").do(world)


@dataclass(frozen=True)
class CheckToken:
    def do(self, world: World) -> None:
        if world.checks and world.run is not None:
            world.check_token()


@dataclass(frozen=True)
class Wait:
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


@dataclass(frozen=True)
class NextAlarm:
    """Time passes until exactly the next alarm, which rings a little late."""

    late_ms: int

    def do(self, world: World) -> None:
        alarm = world.next_alarm()
        if alarm is not None:
            world.now = max(world.now, alarm + self.late_ms * NS_PER_MS)
            world.ring()


@dataclass(frozen=True)
class UntilOpening:
    """Nothing arrives until some client wishes to open a WebSocket, for a few alarms at most."""

    alarms: int

    def do(self, world: World) -> None:
        for _ in range(self.alarms):
            if not any(wire.is_opening for wire in world.wires):
                NextAlarm(0).do(world)


@dataclass(frozen=True)
class Calm:
    """Everything goes as it should for a while."""

    ms: int

    def do(self, world: World) -> None:
        world.calm(self.ms / 1000)


Step = (
    Publish
    | MoveCursor
    | Hold
    | Leave
    | Join
    | Up
    | Down
    | Cut
    | Answer
    | Http
    | Stall
    | StallHttp
    | Copy
    | Store
    | StoreFails
    | Crash
    | Restart
    | LoseHistory
    | Choke
    | Swallow
    | TooSlow
    | GoAway
    | Block
    | CheckToken
    | Wait
    | NextAlarm
    | UntilOpening
    | Calm
)


def pick(items: Sequence[T], index: int) -> T | None:
    """One of them, whatever the number is; None if there are none."""
    return items[index % len(items)] if items else None


def _present(world: World, index: int) -> Host | None:
    return pick([host for host in world.hosts if not host.is_gone], index)


def _fail_early(world: World, request: Request) -> None:
    """The client is told that its request failed; if it was under way it may still arrive."""
    if request.is_answered:
        request.answer = None
        request.fail(None, "reset")
        world.answer(request)
        return
    ghost = Request(request.client, request.lane, request.frame, client_waits=False, is_stalled=request.is_stalled)
    world.requests.append(ghost)
    if request.server_end is not None:
        world.requests.remove(ghost)
        world.disown(request)
    request.fail(None, "reset")
    world.answer(request)
