"""What the network does to wires and requests, and a socket to who writes to it."""

from typing import Literal, assert_never

from simulation.hostile.network import End, Request
from simulation.hostile.picking import pick
from simulation.hostile.step import StepBase
from simulation.hostile.world import World

Sight = Literal["now", "later", "never"]
"""When one end of a wire learns that it is cut: at once, after what is on its way to it, or never."""


class Up(StepBase, frozen=True):
    """Some of what a client sent arrives at the server."""

    wire: int
    count: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.moves_up], self.wire)
        for _ in range(self.count):
            if wire is not None and wire.moves_up:
                world.move_up(wire)


class Down(StepBase, frozen=True):
    """Some of what the server sent arrives at a client."""

    wire: int
    count: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.moves_down], self.wire)
        for _ in range(self.count):
            if wire is not None and wire.moves_down:
                world.move_down(wire)


class Cut(StepBase, frozen=True):
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


class Answer(StepBase, frozen=True):
    """A client's wish for a WebSocket is granted, refused, or left hanging."""

    opening: int
    how: Literal["open", "refuse", "hang"]

    def do(self, world: World) -> None:
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


class Http(StepBase, frozen=True):
    """A request arrives, its answer arrives, or the client is told that it failed while the request is still on its way."""

    request: int
    how: Literal["arrive", "answer", "fail", "lose"]

    def do(self, world: World) -> None:
        if self.how == "arrive":
            request = pick([r for r in world.requests if r.is_under_way], self.request)
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


class Stall(StepBase, frozen=True):
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


class StallHttp(StepBase, frozen=True):
    """A request, or the answer to it, is held back, or goes on."""

    request: int
    stalls: bool

    def do(self, world: World) -> None:
        request = pick([r for r in world.requests if r.is_stalled != self.stalls], self.request)
        if request is not None:
            request.is_stalled = self.stalls


class Copy(StepBase, frozen=True):
    """A proxy sends a poll again, as it may with a GET: a copy of it will arrive too, in its own time."""

    request: int

    def do(self, world: World) -> None:
        request = pick([r for r in world.requests if r.client_waits and r.name == "poll"], self.request)
        if request is not None and len(world.requests) < 20:
            world.requests.append(Request(request.client, request.lane, request.frame, client_waits=False, is_stalled=True))


class Block(StepBase, frozen=True):
    """From now on a proxy refuses a client's WebSockets, or lets them pass again."""

    client: int
    blocked: bool

    def do(self, world: World) -> None:
        host = pick(world.hosts, self.client)
        if host is not None:
            host.blocked = self.blocked
            for wire in list(host.wires.values()) if self.blocked else []:
                Cut(world.wires.index(wire), "now", "later").do(world)


class Choke(StepBase, frozen=True):
    """A client's socket takes only so many batches more."""

    wire: int
    credit: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None:
            wire.credit, wire.blocked_at = self.credit or None, None
            world.server.pump()


class Trickle(StepBase, frozen=True):
    """Some bytes move, of a frame that is too large to arrive at once: to a client, and out of the server's socket for it."""

    wire: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.client_stands and not wire.down_is_silent], self.wire)
        if wire is None:
            return
        if wire.server_stands and wire.server_end is not None and world.server.run is not None:
            world.server.run.bytes_taken(wire.server_end, world.server_now)
            wire.blocked_at = None if wire.blocked_at is None else world.now
        if wire.server_end is not None:
            world.hosts[wire.client].trickle(wire)


class Swallow(StepBase, frozen=True):
    """The server's driver will lose the next batches for one client, and not know it."""

    wire: int
    batches: int

    def do(self, world: World) -> None:
        wire = pick([wire for wire in world.wires if wire.server_stands], self.wire)
        if wire is not None:
            wire.swallows += self.batches


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
        world.server.disown(request)
    request.fail(None, "reset")
    world.answer(request)
