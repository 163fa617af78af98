"""The links of the bare world: two lists of what is on its way, and the order of everything that happens.

    Agenda       (when, arrival or fault, what), taken in that order; of equals the one first that was entered first
    Way          one direction of one connection: (when it arrives, what happens then), first in, first out
    Connection   two ways, two ends, and what TCP does when one of them ends: a WebSocket, or HTTP's question and answer
    Line         all connections of one client, and the faults that lie on them

A path here is its latency and nothing else. What TCP gives up after minutes, it does not give up here.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from reference.protocol import frames
from reference.protocol.timers import ns
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset, Stall, UpgradeHandling
from simulation.scenario.paths import Path

if TYPE_CHECKING:
    from .bare_ends import BareClient, BareServer

ARRIVAL, FAULT = 1, 2
Deed = Callable[[], None]
Said = tuple[int | None, str, int | None]
"""What is said at the end of a connection: the code, the message, and the wait that is asked for, in ms."""
RESET: Said = (None, "reset", None)
REFUSED: Said = (None, "refused", None)


class Agenda:
    """What is going to happen. `now` in ns."""

    def __init__(self) -> None:
        self.now = 0
        self._entries: list[tuple[int, int, int, Deed]] = []
        self._numbers = itertools.count()

    def enter(self, at: int, order: int, deed: Deed) -> None:
        heapq.heappush(self._entries, (at, order, next(self._numbers), deed))

    @property
    def next_at(self) -> int | None:
        return self._entries[0][0] if self._entries else None

    def do_next(self) -> None:
        self.now, _, _, deed = heapq.heappop(self._entries)
        deed()


class Way:
    """One direction. What has arrived at an instant is not stopped by a fault at the same instant.

    Only the first thing of a way stands in the agenda: of several ways on which something arrives at one instant, the first is
    the one whose first thing has been that for longer, which is the simulator's way to settle this tie.
    """

    def __init__(self, agenda: Agenda, latency: int) -> None:
        self._agenda = agenda
        self._latency = latency
        self._things: list[tuple[int | None, Deed]] = []  # without a time: lost, until the line is back and it is sent again
        self._stalled_at: list[int] = []
        self._awaited_at: int | None = None
        self._is_closed = False
        self.holds = 0

    def send(self, deed: Deed) -> None:
        if not self._is_closed:
            self._things.append((None if self.holds else self._agenda.now + self._latency, deed))
            if len(self._things) == 1:
                self._await_first()

    def hold(self) -> None:
        """The line goes down: what is on its way is lost."""
        self.holds += 1
        self._things = [(None if at is None or at > self._agenda.now else at, deed) for at, deed in self._things]

    def release(self) -> None:
        """The line is back, if this was the last hold: what was lost is sent again."""
        self.holds -= 1
        if not self.holds:
            again = self._agenda.now + self._latency
            self._things = [(again if at is None else at, deed) for at, deed in self._things]
            self._await_first()

    def stall(self) -> None:
        """The far end is blocked: what comes waits there."""
        self._stalled_at.append(self._agenda.now)

    def unstall(self) -> None:
        del self._stalled_at[-1]
        self._await_first()

    def close(self) -> None:
        """Nothing arrives any more."""
        self._is_closed = True
        self._things.clear()

    def _await_first(self) -> None:
        if not self._things or (at := self._things[0][0]) is None:
            return
        at = max(at, self._agenda.now)
        if self._awaited_at is None or at < self._awaited_at:
            self._awaited_at = at
            self._agenda.enter(at, ARRIVAL, self._hand_over)

    def _hand_over(self) -> None:
        if self._awaited_at != self._agenda.now:
            return  # something was awaited earlier, since this was entered
        self._awaited_at = None
        while self._things:
            at, deed = self._things[0]
            if at is None or (self._stalled_at and at > self._stalled_at[0]):
                return
            if at > self._agenda.now:
                break
            del self._things[0]
            deed()
        self._await_first()


class Connection:
    """One TCP connection. `server_id`: what the server's run calls it, while it knows of it."""

    def __init__(self, line: "Line", client: "BareClient") -> None:
        self.line = line
        self.client = client
        self.server_id: int | None = None
        self.server_stands = False
        self.client_stands = True
        self._has_crossed = False
        self._is_silent = False
        self.up, self.down = line.new_way(), line.new_way()
        line.connections.append(self)
        for fault in line.faults:
            self.suffer(fault)
        self.up.send(self._syn_arrives)

    # Faults.

    def suffer(self, fault: Fault) -> None:
        """A fault that holds back what is sent has begun."""
        match fault:
            case Outage(direction=direction):
                for way in self._ways(direction):
                    way.hold()
            case Stall():
                self.down.stall()
            case _:
                pass

    def recover(self, fault: Fault) -> None:
        match fault:
            case Outage(direction=direction):
                for way in self._ways(direction):
                    way.release()
            case Stall():
                self.down.unstall()
            case _:
                pass

    def silence(self, direction: str) -> None:
        """Half-open: nothing passes any more, and nobody is told."""
        if not self._is_silent:
            self._is_silent = True
            for way in self._ways(direction):
                way.hold()

    def cut(self) -> None:
        """Both ends are told now; a half-open connection has nobody who could."""
        if not self._is_silent and self in self.line.connections:
            self._end_at_server()
            self._end_at_client(RESET)

    def _ways(self, direction: str) -> list[Way]:
        return [way for way, name in ((self.up, "up"), (self.down, "down")) if direction in ("both", name)]

    # The ends.

    def client_leaves(self) -> None:
        """Behind what it has sent. A connection of which not even the SYN could leave was never there."""
        if self.client_stands:
            self.client_stands = False
            if self._has_crossed or not self.up.holds:
                self.up.send(self._end_at_server)
            else:
                self._drop()

    def server_leaves(self, said: Said) -> None:
        """Behind what it has sent."""
        self.server_stands, self.server_id = False, None
        self.down.send(lambda: self._end_at_client(said))

    def _end_at_server(self) -> None:
        self.server_stands, known_as, self.server_id = False, self.server_id, None
        if known_as is not None:
            self.line.server.lose(known_as)
        self._drop()

    def _end_at_client(self, said: Said) -> None:
        self._drop()
        if self.client_stands:
            self.client_stands = False
            self._notify_client_of_end(said)

    def _drop(self) -> None:
        self.server_stands = False
        self.up.close()
        self.down.close()
        if self in self.line.connections:
            self.line.connections.remove(self)

    # The handshake.

    def _syn_arrives(self) -> None:
        self._has_crossed = True
        if self.line.refuses or not self.line.server.is_up:
            self.down.send(lambda: self._end_at_client(REFUSED))
        else:
            self.server_stands = True
            self.down.send(self._connected_at_client)

    def _connected_at_client(self) -> None:
        raise NotImplementedError

    def _notify_client_of_end(self, said: Said) -> None:
        raise NotImplementedError


class WebSocket(Connection):
    """Asks to be upgraded as soon as it stands."""

    def __init__(self, line: "Line", client: "BareClient", client_id: int) -> None:
        self.client_id = client_id
        self.is_upgraded = False
        super().__init__(line, client)

    def say_to_server(self, frame: frames.Frame) -> None:
        self.up.send(lambda: self._frame_at_server(frame))

    def say_to_client(self, frame: frames.Frame) -> None:
        self.down.send(lambda: self.client_stands and self.client.receive(self.client_id, frame))

    def _connected_at_client(self) -> None:
        if self.client_stands:
            self.up.send(self._upgrade_at_server)

    def _upgrade_at_server(self) -> None:
        match self.line.upgrades:
            case "block" | "strip":
                self.server_leaves((None, "refused", None))
                return
            case "hang":
                self.server_stands = False
                return
        self.is_upgraded = True
        if self.server_stands:
            self.down.send(lambda: self.client_stands and self.client.opened(self.client_id))
            self.line.server.open(self)

    def _frame_at_server(self, frame: frames.Frame) -> None:
        if self.server_id is not None:
            self.line.server.receive(self.server_id, frame)

    def _notify_client_of_end(self, said: Said) -> None:
        self.client.lose(self.client_id, said)


class Http(Connection):
    """Kept alive: one request at a time, each with one answer. `request`: the one under way."""

    def __init__(self, line: "Line", client: "BareClient", request: frames.RequestFrame) -> None:
        self.request: frames.RequestFrame | None = request
        super().__init__(line, client)

    def ask(self, request: frames.RequestFrame) -> None:
        self.request = request
        self.up.send(lambda: self._request_at_server(request))

    def answer(self, frame: frames.Frame) -> None:
        self.server_id = None
        self.down.send(lambda: self._answer_at_client(frame))

    def fail(self, said: Said) -> None:
        """Answer the request under way with an error."""
        assert self.request is not None
        self.answer(failure_of(self.request, said))

    def _connected_at_client(self) -> None:
        if self.client_stands and self.request is not None:
            self.ask(self.request)

    def _request_at_server(self, request: frames.RequestFrame) -> None:
        if self.server_stands:
            self.line.server.serve(self, request)

    def _answer_at_client(self, frame: frames.Frame) -> None:
        self.request = None
        if self.client_stands:
            self.client.answered(frame)

    def _notify_client_of_end(self, said: Said) -> None:
        request, self.request = self.request, None
        self.client.lose_request_connection(self, None if request is None else failure_of(request, said))


class Line:
    """The connections of one client, and the faults under way that lie on them, those to come included."""

    def __init__(self, agenda: Agenda, path: Path, server: "BareServer") -> None:
        if path != Path(latency_s=path.latency_s):
            raise ValueError(f"the bare world knows paths with a latency only, not {path}")
        self.server = server
        self.faults: list[Fault] = []
        self.connections: list[Connection] = []
        self._agenda = agenda
        self._latency = ns(path.latency_s)

    def new_way(self) -> Way:
        return Way(self._agenda, self._latency)

    @property
    def refuses(self) -> bool:
        return any(isinstance(fault, Refuse) for fault in self.faults)

    @property
    def upgrades(self) -> UpgradeHandling:
        """What becomes of a request for an upgrade; of several faults the last one decides."""
        return next((fault.how for fault in reversed(self.faults) if isinstance(fault, BlockUpgrade)), "pass")

    def begin(self, fault: Fault) -> None:
        connections = tuple(self.connections)
        match fault:
            case Reset():
                for connection in connections:
                    connection.cut()
                return
            case HalfOpen(direction=direction):
                for connection in connections:
                    connection.silence(direction)
                return
            case BlockUpgrade():
                for connection in connections:
                    if isinstance(connection, WebSocket) and connection.is_upgraded:
                        connection.cut()
            case Outage() | Stall():
                for connection in connections:
                    connection.suffer(fault)
            case Refuse():
                pass
            case _:
                raise ValueError(f"the bare world does not know {fault}")
        self.faults.append(fault)

    def end(self, fault: Fault) -> None:
        if fault in self.faults:
            self.faults.remove(fault)
            for connection in tuple(self.connections):
                connection.recover(fault)


def failure_of(request: frames.RequestFrame, said: Said) -> frames.RequestFailed:
    """What a client is told of a request that got no answer, or an error."""
    code, message, retry_after_ms = said
    match request:
        case frames.PollRequest():
            return frames.RequestFailed(request="poll", code=code, message=message, retry_after_ms=retry_after_ms)
        case frames.PublishRequest():
            return frames.RequestFailed(request="publishMany", code=code, message=message, retry_after_ms=retry_after_ms)
        case _:
            assert_never(request)
