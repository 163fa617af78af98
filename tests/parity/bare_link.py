"""The connections of the bare world, and the order of everything that happens.

    Agenda       (when, arrival or fault, what), taken in that order; of equals the one first that was entered first
    BarePipe     one direction of one connection, waiting in the agenda
    Connection   two pipes, two endpoints, and what TCP does when one of them ends: a WebSocket, or HTTP's question and answer
    AccessLink   all connections of one client, and the faults that lie on its access link

A path here is its latency and nothing else. What TCP gives up after minutes, it does not give up here.
"""

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, assert_never

from reference.protocol import frames
from simulation.network.delay import PathDirection, directions_of
from simulation.network.link_state import LinkState
from simulation.network.pipe import Pipe
from simulation.random import RandomStreams
from simulation.scenario.faults import BlockUpgrade, Direction, Fault, HalfOpen, LinkFault, Outage, Refuse, Reset, Stall
from simulation.scenario.paths import Path

if TYPE_CHECKING:
    from .bare_ends import BareClient, BareServer

ARRIVAL, FAULT = 1, 2
Call = Callable[[], None]
Said = tuple[int | None, str, int | None]
"""What is said at the end of a connection: the code, the message, and the wait that is asked for, in ms."""
RESET: Said = (None, "reset", None)
REFUSED: Said = (None, "refused", None)
NO_RANDOMNESS = RandomStreams(0).of("nobody")


class Agenda:
    """What is going to happen. `now` in ns."""

    def __init__(self) -> None:
        self.now = 0
        self._entries: list[tuple[int, int, int, Call]] = []
        self._numbers = itertools.count()

    def enter(self, at: int, order: int, call: Call) -> None:
        heapq.heappush(self._entries, (at, order, next(self._numbers), call))

    @property
    def next_at(self) -> int | None:
        return self._entries[0][0] if self._entries else None

    def do_next(self) -> None:
        self.now, _, _, call = heapq.heappop(self._entries)
        call()


class BarePipe:
    """One direction: the pipe that is under test elsewhere, on this agenda.

    Only the first thing of a pipe stands in the agenda: of several pipes on which something arrives at one instant, the first is
    the one whose first thing has been that for longer, which is the simulator's way to settle this tie.
    """

    def __init__(self, agenda: Agenda, direction: PathDirection, reset_lost: Callable[["BarePipe"], None]) -> None:
        self._agenda = agenda
        self._reset_lost = reset_lost
        self._half: Pipe[Call] = Pipe(direction, NO_RANDOMNESS)
        self._awaited_at: int | None = None

    def send(self, call: Call) -> None:
        self._half.push(self._agenda.now, call)
        self._await_first()

    def send_reset(self, call: Call) -> None:
        if self._half.push_reset(self._agenda.now, call):
            self._await_first()
        else:
            self._reset_lost(self)

    def dial(self, call: Call) -> None:
        self._half.dial(self._agenda.now, call)
        self._await_first()

    def dial_again(self, call: Call) -> None:
        self._half.dial_again(self._agenda.now, call)
        self._await_first()

    def __len__(self) -> int:
        return len(self._half)

    @property
    def is_down(self) -> bool:
        return self._half.is_down

    def has_dialled(self) -> bool:
        return self._half.has_dialled(self._agenda.now)

    def hold(self) -> None:
        if self._half.hold(self._agenda.now):
            self._reset_lost(self)

    def release(self) -> None:
        self._half.release(self._agenda.now)
        self._await_first()

    def stall(self) -> None:
        self._half.stall(self._agenda.now)

    def unstall(self) -> None:
        self._half.unstall()
        self._await_first()

    def close(self) -> None:
        """Nothing arrives any more."""
        self._half.close()

    def next_arrived(self) -> Call | None:
        """What is handed over next, at this instant."""
        return self._half.next_arrived(self._agenda.now)

    def _await_first(self) -> None:
        at = self._half.wake_at(self._agenda.now)
        if at is not None and (self._awaited_at is None or at < self._awaited_at):
            self._awaited_at = at
            self._agenda.enter(at, ARRIVAL, self._hand_over)

    def _hand_over(self) -> None:
        if self._awaited_at != self._agenda.now:
            return  # something was awaited earlier, since this was entered
        self._awaited_at = None
        while (thing := self._half.pop(self._agenda.now)) is not None:
            thing[3]()
        self._await_first()


class Connection:
    """One TCP connection. `server_id`: what the server's run calls it, while it knows of it."""

    def __init__(self, link: "AccessLink", client: "BareClient") -> None:
        self.link = link
        self.client = client
        self.server_id: int | None = None
        self.server_stands = False
        self.client_stands = True
        self._has_crossed = False
        self._is_silent = False
        self._is_established = False  # as the client sees it
        self._server_resets = False
        self.up, self.down = link.new_pipe(self._reset_lost, is_up=True), link.new_pipe(self._reset_lost, is_up=False)
        link.connections.append(self)
        link.state.apply_to(self)
        self.up.dial(self._syn_arrives)

    # Faults, as `LinkState` calls them.

    def hold(self, direction: Direction = "both") -> None:
        for pipe in self._pipes(direction):
            pipe.hold()

    def release(self, direction: Direction = "both") -> None:
        for pipe in self._pipes(direction):
            pipe.release()

    def stall(self) -> None:
        self.down.stall()

    def unstall(self) -> None:
        self.down.unstall()

    def silence(self, direction: Direction = "both") -> None:
        """Half-open: nothing passes any more, and nobody is notified."""
        self._is_silent = True
        self.hold(direction)

    def cut_if_websocket(self) -> None:
        """WebSockets are forbidden from now on."""

    def cut(self) -> None:
        """Both endpoints are notified now; a half-open connection has nobody who could."""
        if not self._is_silent and self in self.link.connections:
            self._end_at_server()
            self._end_at_client(RESET)

    def cut_at_box(self) -> None:
        """A proxy resets both endpoints; an outage keeps that from the client."""
        if self.down.is_down and not self._is_silent and self in self.link.connections:
            self._lose_server()
            self.server_leaves(RESET)
        else:
            self.cut()

    def _reset_lost(self, pipe: BarePipe) -> None:
        """Nobody sends it again: the server answers data with another, and a client that waits for its connection dials again."""
        assert pipe is self.down, "a client says goodbye"
        if self._is_established or len(self.down):  # a stall keeps what has arrived from the client's program only
            self._server_resets = True
        elif not self.client_stands:
            self._drop()
        elif self._has_crossed:
            self._has_crossed = False
            self.up.dial_again(self._syn_arrives)

    def _pipes(self, direction: Direction) -> list[BarePipe]:
        return [pipe for pipe, name in ((self.up, "up"), (self.down, "down")) if direction in ("both", name)]

    # The ends.

    def client_leaves(self) -> None:
        """Behind what it has sent. A connection of which not even the SYN could leave was never there."""
        if self.client_stands:
            self.client_stands = False
            if self._has_crossed or self.up.has_dialled():
                self.up.send(self._end_at_server)
            else:
                self._drop()

    def server_leaves(self, said: Said) -> None:
        """Behind what it has sent."""
        self.server_stands, self.server_id = False, None
        send = self.down.send_reset if said == RESET else self.down.send
        send(lambda: self._end_at_client(said))

    def _server_hears(self) -> bool:
        """Something has arrived at the server, which may have forgotten this connection."""
        if self._server_resets:
            self._server_resets = False
            self.down.send_reset(lambda: self._end_at_client(RESET))
        return self.server_stands

    def _end_at_server(self) -> None:
        self._lose_server()
        self._drop()

    def _lose_server(self) -> None:
        self.server_stands, known_as, self.server_id = False, self.server_id, None
        if known_as is not None:
            self.link.server.lose(known_as)

    def _end_at_client(self, said: Said) -> None:
        self._drop()
        if self.client_stands:
            self.client_stands = False
            self._notify_client_of_end(said)

    def _drop(self) -> None:
        self.server_stands = False
        self.up.close()
        self.down.close()
        if self in self.link.connections:
            self.link.connections.remove(self)

    # The handshake.

    def _syn_arrives(self) -> None:
        self._has_crossed = True
        if self.link.state.refusals or not self.link.server.is_up:
            self.down.send_reset(lambda: self._end_at_client(REFUSED))
        else:
            self.server_stands = True
            self.down.send(self._established_at_client)

    def _established_at_client(self) -> None:
        self._is_established = True
        self._connected_at_client()

    def _connected_at_client(self) -> None:
        raise NotImplementedError

    def _notify_client_of_end(self, said: Said) -> None:
        raise NotImplementedError


class WebSocket(Connection):
    """Asks to be upgraded as soon as it stands."""

    def __init__(self, link: "AccessLink", client: "BareClient", client_id: int) -> None:
        self.client_id = client_id
        self.is_upgraded = False
        self._read: list[frames.Frame] = []  # has arrived at this instant, with more to come
        super().__init__(link, client)

    def cut_if_websocket(self) -> None:
        if self.is_upgraded:
            self.cut_at_box()

    def say_to_server(self, frame: frames.Frame) -> None:
        self.up.send(partial(self._frame_at_server, frame))

    def say_to_client(self, frame: frames.Frame) -> None:
        self.down.send(lambda: self.client_stands and self.client.receive(self.client_id, frame))

    def _connected_at_client(self) -> None:
        if self.client_stands:
            self.up.send(self._upgrade_at_server)

    def _upgrade_at_server(self) -> None:
        match self.link.state.upgrades:
            case "block" | "strip":
                self.server_leaves((None, "refused", None))
                return
            case "hang":
                self.server_stands = False
                return
        self.is_upgraded = True
        if self._server_hears():
            self.down.send(lambda: self.client_stands and self.client.opened(self.client_id))
            self.link.server.open(self)

    def _frame_at_server(self, frame: frames.Frame) -> None:
        if not self._server_hears() or self.server_id is None:
            return
        self._read.append(frame)
        following = self.up.next_arrived()
        if not (isinstance(following, partial) and following.func == self._frame_at_server):
            read, self._read = self._read, []
            self.link.server.receive(self.server_id, read)

    def _notify_client_of_end(self, said: Said) -> None:
        self.client.lose(self.client_id, said)


class Http(Connection):
    """Kept alive: one request at a time, each with one answer. `request`: the one under way."""

    def __init__(self, link: "AccessLink", client: "BareClient", request: frames.RequestFrame) -> None:
        self.request: frames.RequestFrame | None = request
        super().__init__(link, client)

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
        if self._server_hears():
            self.link.server.serve(self, request)

    def _answer_at_client(self, frame: frames.Frame) -> None:
        self.request = None
        if self.client_stands:
            self.client.answered(frame)

    def _notify_client_of_end(self, said: Said) -> None:
        request, self.request = self.request, None
        self.client.lose_request_connection(self, None if request is None else failure_of(request, said))


class AccessLink:
    """The connections of one client, and the faults that lie on its access link."""

    def __init__(self, agenda: Agenda, path: Path, server: "BareServer") -> None:
        if path != Path(latency_s=path.latency_s):
            raise ValueError(f"the bare world knows paths with a latency only, not {path}")
        self.server = server
        self.connections: list[Connection] = []
        self.state = LinkState("", path.middlebox.upgrades, RandomStreams(0))
        self._agenda = agenda
        self._directions = directions_of(path)

    def new_pipe(self, reset_lost: Callable[[BarePipe], None], *, is_up: bool) -> BarePipe:
        return BarePipe(self._agenda, self._directions.up if is_up else self._directions.down, reset_lost)

    def begin(self, fault: Fault) -> None:
        match fault:
            case Outage() | Stall() | Reset() | HalfOpen() | Refuse() | BlockUpgrade():
                self.state.begin_fault(fault, tuple(self.connections))
            case _:
                raise ValueError(f"the bare world does not know {fault}")

    def end(self, fault: LinkFault) -> None:
        self.state.end_fault(fault, tuple(self.connections))


def failure_of(request: frames.RequestFrame, said: Said) -> frames.RequestFailed:
    """The report to a client about a request without an answer, or with an error."""
    code, message, retry_after_ms = said
    match request:
        case frames.PollRequest():
            return frames.RequestFailed(request="poll", code=code, message=message, retry_after_ms=retry_after_ms)
        case frames.PublishRequest():
            return frames.RequestFailed(request="publishMany", code=code, message=message, retry_after_ms=retry_after_ms)
        case _:
            assert_never(request)
