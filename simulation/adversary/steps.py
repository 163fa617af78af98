"""The steps of a schedule, as frozen values: the actions of applications, network, server and time.

Numbers select from the things that exist at that moment (modulo their count), so every list of steps is a schedule and shrinks
well. A step without anything to act on does nothing. Each step can be written to a case's TOML file and read back.
"""

import contextlib
import re
from collections.abc import Sequence
from typing import Literal, TypeVar, assert_never

import msgspec

from reference.protocol.errors import CloseCode, InvalidEvent
from reference.protocol.timers import NS_PER_MS
from simulation.adversary.network import End, PendingRequest
from simulation.adversary.server_end import Trespass
from simulation.adversary.world import AdversarialWorld


def _name(class_name: str) -> str:
    """`StallHttp` is `stall_http` in a file."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", class_name).lower()


class StepBase(msgspec.Struct, frozen=True, tag_field="step", tag=_name, forbid_unknown_fields=True):
    """One step. `do` executes it in a world; if it has nothing to act on, it does nothing."""


T = TypeVar("T")


def pick(items: Sequence[T], index: int) -> T | None:
    """The item at that index, modulo the length; None if there are none."""
    return items[index % len(items)] if items else None


class PublishEvent(StepBase, frozen=True, tag="publish"):
    """An application publishes."""

    client: int
    event_type: Literal["GRAFT", "PRUNE", "FLAG", "CHAT", "NEWER"]
    key: int

    def do(self, world: AdversarialWorld) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            host.publish(self.event_type, position=f"p{self.key}", step=f"s{self.key}")


class MoveCursor(StepBase, frozen=True):
    client: int
    at: int

    def do(self, world: AdversarialWorld) -> None:
        host = pick(world.present, self.client)
        if host is not None:
            with contextlib.suppress(InvalidEvent):  # larger than the outbox
                host.session.move_cursor({"x": self.at}, world.now)
            host.pump()


class Hold(StepBase, frozen=True):
    """An application stops reading, or reads again."""

    client: int
    holds: bool

    def do(self, world: AdversarialWorld) -> None:
        host = pick(world.present, self.client)
        if host is None:
            return
        world.journal.reading_turned(host.name, is_holding=self.holds)
        if self.holds:
            host.session.hold_events(world.now)
        else:
            host.session.release_events(world.now)
        host.pump()


class Leave(StepBase, frozen=True):
    """An application closes its session."""

    client: int

    def do(self, world: AdversarialWorld) -> None:
        host = pick(world.present, self.client)
        if host is not None:
            host.leave()


class Join(StepBase, frozen=True):
    """One more client, perhaps a second tab of a present user."""

    user: int

    def do(self, world: AdversarialWorld) -> None:
        if len(world.hosts) < 5:
            world.join(pick(world.setup.users, self.user) or "ann")


Sight = Literal["now", "later", "never"]
"""When one end of a wire learns that it is cut: at once, after the data on their way to it, or never."""


class Up(StepBase, frozen=True):
    """Some of a client's messages arrive at the server."""

    wire: int
    count: int

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.moves_up], self.wire)
        for _ in range(self.count):
            if wire is not None and wire.moves_up:
                world.move_up(wire)


class Down(StepBase, frozen=True):
    """Some of the server's messages arrive at a client."""

    wire: int
    count: int

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.moves_down], self.wire)
        for _ in range(self.count):
            if wire is not None and wire.moves_down:
                world.move_down(wire)


class Cut(StepBase, frozen=True):
    """A wire is cut; each end learns of it at its own time."""

    wire: int
    client_sees: Sight
    server_sees: Sight

    def do(self, world: AdversarialWorld) -> None:
        wire = pick(world.wires, self.wire)
        if wire is None:
            return
        wire.hangs = wire.hangs or wire.is_opening
        match self.server_sees:
            case "now":
                world.server.sever(wire)
            case "later":
                wire.up.append(End())
            case "never":
                wire.up_is_silent = True
            case _:
                assert_never(self.server_sees)
        match self.client_sees:
            case "now":
                world.hosts[wire.client].sever(wire)
            case "later":
                wire.down.append(End())
            case "never":
                wire.down_is_silent = True
            case _:
                assert_never(self.client_sees)


class AnswerUpgrade(StepBase, frozen=True, tag="answer"):
    """A client's request for a WebSocket is accepted, refused, or not answered."""

    opening: int
    how: Literal["open", "refuse", "hang"]

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.is_opening], self.opening)
        if wire is None:
            return
        blocked = world.hosts[wire.client].blocked or world.server.run is None
        if self.how == "hang":
            wire.hangs = True
        elif self.how == "refuse" or blocked:
            world.hosts[wire.client].sever(wire)
        else:
            world.server.accept(wire)


class TurnAway(StepBase, frozen=True):
    """A door that has too much to do refuses a wish for a WebSocket, or a request that has not arrived: 503 with Retry-After."""

    what: Literal["opening", "request"]
    which: int
    retry_after_ms: int

    def do(self, world: AdversarialWorld) -> None:
        _refuse(world, self.what, self.which, End(CloseCode.OVERLOADED, "too much to do", self.retry_after_ms))


class RefuseToken(StepBase, frozen=True):
    """The token that comes with a wish for a WebSocket, or with a request that has not arrived, has ended: 401."""

    what: Literal["opening", "request"]
    which: int

    def do(self, world: AdversarialWorld) -> None:
        _refuse(world, self.what, self.which, End(CloseCode.TOKEN, "the token has ended"))


class Http(StepBase, frozen=True):
    """A request arrives, its answer arrives, or the client learns that it failed while the request is still on its way."""

    request: int
    how: Literal["arrive", "answer", "fail", "lose"]

    def do(self, world: AdversarialWorld) -> None:
        if self.how == "arrive":
            request = pick([r for r in world.requests if r.is_in_flight], self.request)
            if request is not None and world.server.run is not None:
                world.server.take_request(request)
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


class StallConnection(StepBase, frozen=True, tag="stall"):
    """Bytes on a wire are held back, in one direction, or released."""

    wire: int
    direction: Literal["up", "down"]
    stalls: bool

    def do(self, world: AdversarialWorld) -> None:
        wire = pick(world.wires, self.wire)
        if wire is not None and self.direction == "up":
            wire.up_is_stalled = self.stalls
        elif wire is not None:
            wire.down_is_stalled = self.stalls


class StallHttp(StepBase, frozen=True):
    """A request, or its answer, is held back, or released."""

    request: int
    stalls: bool

    def do(self, world: AdversarialWorld) -> None:
        request = pick([r for r in world.requests if r.is_stalled != self.stalls], self.request)
        if request is not None:
            request.is_stalled = self.stalls


class Copy(StepBase, frozen=True):
    """A proxy sends a poll again, as it may with a GET: a copy of it arrives too, at another time."""

    request: int

    def do(self, world: AdversarialWorld) -> None:
        request = pick([r for r in world.requests if r.client_waits and r.name == "poll"], self.request)
        if request is not None and len(world.requests) < 20:
            world.requests.append(
                PendingRequest(request.client, request.polling, request.frame, client_waits=False, is_stalled=True)
            )


class Block(StepBase, frozen=True):
    """From now on a proxy refuses a client's WebSockets, or lets them pass again."""

    client: int
    blocked: bool

    def do(self, world: AdversarialWorld) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            host.blocked = self.blocked
            for wire in list(host.wires.values()) if self.blocked else []:
                Cut(world.wires.index(wire), "now", "later").do(world)


class Choke(StepBase, frozen=True):
    """A client's socket takes only this many more batches."""

    wire: int
    credit: int

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None:
            wire.credit = self.credit or None
            world.server.unblock(wire)
            world.server.take_more()


class Trickle(StepBase, frozen=True):
    """Some bytes of a large frame move: to a client, and out of the server's socket."""

    wire: int

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.client_stands and not wire.down_is_silent], self.wire)
        if wire is None:
            return
        if wire.server_stands and wire.server_end is not None and world.server.driver is not None:
            world.server.driver.progressed(wire.server_end)
            if wire.blocked_at is not None:
                world.server.unblock(wire)
                world.server.block(wire)
        if wire.server_end is not None:
            world.hosts[wire.client].trickle(wire)


class Swallow(StepBase, frozen=True):
    """The server's driver loses the next batches for one client without noticing."""

    wire: int
    batches: int

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None:
            wire.swallows += self.batches


def _fail_early(world: AdversarialWorld, request: PendingRequest) -> None:
    """The client gets a failure of its request; a request under way may still arrive."""
    if request.is_answered:
        request.answer = None
        request.fail(None, "reset")
        world.answer(request)
        return
    ghost = PendingRequest(request.client, request.polling, request.frame, client_waits=False, is_stalled=request.is_stalled)
    world.requests.append(ghost)
    if request.server_end is not None:
        world.requests.remove(ghost)
        world.server.disown(request)
    request.fail(None, "reset")
    world.answer(request)


class TrespassOn(StepBase, frozen=True, tag="trespass"):
    """Another user's token is used with the id of a client that the server knows."""

    client: int
    how: Trespass

    def do(self, world: AdversarialWorld) -> None:
        known = [host for host in world.present if any(wire.server_stands and wire.epoch for wire in host.wires.values())]
        host = pick(known, self.client)
        if host is not None and world.server.run is not None:
            world.server.trespass(host.index, self.how)


def _refuse(world: AdversarialWorld, what: Literal["opening", "request"], which: int, end: End) -> None:
    """Refuse something that has not come in yet."""
    if what == "opening":
        wire = pick([wire for wire in world.wires if wire.is_opening and wire.client_stands], which)
        if wire is not None:
            world.hosts[wire.client].sever(wire, end)
        return
    request = pick([r for r in world.requests if r.is_in_flight and r.client_waits], which)
    if request is not None:
        request.fail(end.code, end.message, end.retry_after_ms)
        world.answer(request)


class Store(StepBase, frozen=True):
    """The oldest batches become durable."""

    count: int

    def do(self, world: AdversarialWorld) -> None:
        world.server.commit(self.count)


class StoreFails(StepBase, frozen=True):
    """The store returns an error; the first batches are durable all the same."""

    stored: int

    def do(self, world: AdversarialWorld) -> None:
        world.server.fail_append(self.stored)


class Crash(StepBase, frozen=True):
    """The server dies between append and acknowledge, and perhaps comes back at once."""

    stored: int
    restarts: bool

    def do(self, world: AdversarialWorld) -> None:
        if world.server.run is not None:
            world.server.crash(self.stored)
        if self.restarts:
            world.server.restart()


class Restart(StepBase, frozen=True):
    def do(self, world: AdversarialWorld) -> None:
        if world.server.run is None:
            world.server.restart()


class LoseHistory(StepBase, frozen=True):
    """The server dies and its store is restored from an older copy: a new epoch."""

    kept: int

    def do(self, world: AdversarialWorld) -> None:
        world.server.lose_history(self.kept)
        world.server.restart()


class TooSlow(StepBase, frozen=True):
    """Too much waits for a client that takes nothing."""

    wire: int

    def do(self, world: AdversarialWorld) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None and wire.server_end is not None and world.server.driver is not None:
            world.server.driver.too_slow(wire.server_end)


class GoAway(StepBase, frozen=True):
    """The server stops: it asks all clients to reconnect later, and is started again."""

    retry_after_ms: int
    spread_ms: int

    def do(self, world: AdversarialWorld) -> None:
        if world.server.driver is None:
            return
        world.server.driver.go_away(retry_after_ms=self.retry_after_ms, spread_ms=self.spread_ms)
        while world.server.appends:  # numbered events are stored before the server ends
            world.server.commit(len(world.server.appends))
        world.server.stops()
        world.server.crash(0)
        world.server.restart()


class CheckToken(StepBase, frozen=True):
    def do(self, world: AdversarialWorld) -> None:
        if world.server.checks and world.server.run is not None:
            world.server.check_token()


class WaitFor(StepBase, frozen=True, tag="wait"):
    """Time passes and nothing arrives. Alarms fire exactly on time, or all of them late, or not yet."""

    ms: int
    alarms: Literal["exact", "late", "not yet"]

    def do(self, world: AdversarialWorld) -> None:
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

    def do(self, world: AdversarialWorld) -> None:
        alarm = world.next_alarm()
        if alarm is not None:
            world.now = max(world.now, alarm + self.late_ms * NS_PER_MS)
            world.ring()


class UntilOpening(StepBase, frozen=True):
    """Nothing arrives until a client requests a WebSocket, for a few alarms at most."""

    alarms: int

    def do(self, world: AdversarialWorld) -> None:
        for _ in range(self.alarms):
            if not any(wire.is_opening for wire in world.wires):
                NextAlarm(0).do(world)


class CalmUntil(StepBase, frozen=True):
    """No faults until a client requests a WebSocket, or has sent a request; then that waits."""

    what: Literal["opening", "request"]
    ms_max: int

    def do(self, world: AdversarialWorld) -> None:
        is_opening = self.what == "opening"
        world.calm(self.ms_max / 1000, until=lambda it: it.is_asked_to_open if is_opening else it.is_asked_over_http)


class Calm(StepBase, frozen=True):
    """No faults for a while."""

    ms: int

    def do(self, world: AdversarialWorld) -> None:
        world.calm(self.ms / 1000)


class StepClock(StepBase, frozen=True):
    """The server's clock is stepped: forward while it runs, or back across a restart. The clients' clocks do not change."""

    ms: int

    def do(self, world: AdversarialWorld) -> None:
        world.server.step_clock(self.ms * NS_PER_MS)
        world.ring()  # all that is due, since a checker takes one alarm that rang as a sign that none was late


Step = (
    PublishEvent
    | MoveCursor
    | Hold
    | Leave
    | Join
    | Up
    | Down
    | Cut
    | AnswerUpgrade
    | TurnAway
    | RefuseToken
    | Http
    | StallConnection
    | StallHttp
    | Copy
    | Block
    | Choke
    | Swallow
    | Trickle
    | Store
    | StoreFails
    | Crash
    | Restart
    | LoseHistory
    | TooSlow
    | TrespassOn
    | GoAway
    | CheckToken
    | WaitFor
    | NextAlarm
    | UntilOpening
    | Calm
    | CalmUntil
    | StepClock
)
