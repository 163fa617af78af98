"""One TCP connection: two lanes between a client and the server, and what TCP does at both ends of them.

    client                                                    server
      | -- SYN ------------------------------------------------> |   1 one-way latency
      | <----------------------------------- SYN-ACK, or reset - |   2
      | <- TLS: one round trip for 1.3, two for 1.2, or none --> |
      | -- what the connection is for -------------------------> |   (`network`)

Ends. A close travels behind what was sent before it and then ends the other side too. A `cut` is noticed by both ends at once. A
silent (half-open) connection carries nothing any more, in one direction or both, cannot be cut, and is cleared up when both ends
have given it up. A server that is killed leaves its end of every connection, and a reset travels to each client behind what was
on the way. A client that gives up while no SYN of its has got through was never there. An end whose kernel has given up after too
many retransmissions is told, and from then on answers what still comes with a reset; the other end is told of nothing.

Middleboxes on the way end connections that are idle or old. The server's send buffer is bounded: what a client has not
acknowledged counts, and above the limit the connection is blocked until enough has arrived.
"""

import abc

from reference.protocol import frames
from reference.protocol.timers import ns
from simulation.clock import FAULT, Call
from simulation.draws import Draws, EntityDraws
from simulation.ends import NOTHING_NOTED, REFUSED, RESET, TIMED_OUT, ClientEnd, Ending, ServerEnd, ServerMachine, Syn
from simulation.faults import Direction
from simulation.lane import Lane
from simulation.line import Line

_NO_DRAWS: EntityDraws = Draws(0).of("nobody")
"""For paths on which nothing is left to chance."""
_TLS_BYTES = {"none": (), "1.3": ((517, 3000),), "1.2": ((517, 3000), (126, 51))}
"""Of each round trip of a handshake: up and down, about (a chain of two certificates)."""


class Link(abc.ABC):
    """One TCP connection, from its SYN until both ends are gone."""

    __slots__ = (
        "_client",
        "_client_is_gone",
        "_client_timed_out",
        "_down",
        "_has_crossed",
        "_is_over",
        "_is_silent",
        "_is_waited_for",
        "_machine",
        "_number",
        "_send_buffer_bytes",
        "_server",
        "_server_timed_out",
        "_up",
        "line",
        "server_id",
        "taken",
        "token",
    )

    def __init__(
        self, line: Line, client: ClientEnd, machine: ServerMachine, send_buffer_bytes: int, token: str | None = None
    ) -> None:
        """`token`: what the client's requests on it carry in their heads."""
        self.line = line
        self._client = client
        self._machine = machine
        self._server: ServerEnd | None = None  # the process that took the connection, while its end is there
        self.server_id: int | None = None
        """That process's name for it, while it knows of it."""
        self.token = token
        self.taken = NOTHING_NOTED
        self._send_buffer_bytes = send_buffer_bytes
        self._number = line.add(self)
        up, down = line.ways.up, line.ways.down
        self._up = Lane(line.clock, up, self._draws_of("up") if up.has_chance else _NO_DRAWS, self)
        self._down = Lane(line.clock, down, self._draws_of("down") if down.has_chance else _NO_DRAWS, self)
        self._has_crossed = False
        self._client_is_gone = False
        self._client_timed_out = False
        self._server_timed_out = False
        self._is_over = False
        self._is_silent = False
        self._is_waited_for = False
        for direction in line.outages:
            self.hold(direction)
        for _ in range(line.stalls):
            self.stall()
        self._up.dial(self._syn_at_server)
        self._watch()

    def _draws_of(self, direction: str) -> EntityDraws:
        return self.line.draws.of(f"{self.line.client}/{self._number}/{direction}")

    # What the line does to it.

    def hold(self, direction: Direction = "both") -> None:
        if direction != "down":
            self._up.hold()
            self._down.hold_acks()
        if direction != "up":
            self._down.hold()
            self._up.hold_acks()

    def release(self, direction: Direction = "both") -> None:
        if direction != "down":
            self._up.release()
            self._down.release_acks()
        if direction != "up":
            self._down.release()
            self._up.release_acks()

    def stall(self) -> None:
        self._down.stall()

    def unstall(self) -> None:
        self._down.unstall()

    def cut(self) -> None:
        """Reset both ends now."""
        if not (self._is_silent or self._is_over):
            self._end_at_server(RESET)
            self._end_at_client(RESET)

    @property
    def is_served(self) -> bool:
        """Whether a process has its end of this connection."""
        return self._server is not None

    @property
    def is_resting(self) -> bool:
        """Whether nothing is going on: it is kept for a next request."""
        return False

    @abc.abstractmethod
    def cut_if_websocket(self) -> None:
        """WebSockets are forbidden from now on; anything else may stay."""

    def silence(self, direction: Direction = "both") -> None:
        """Become half-open: silent for ever, and neither end is told."""
        if not self._is_silent:
            self._is_silent = True
            self.hold(direction)
            self._clear_up()

    # What a middlebox does to it.

    def _watch(self) -> None:
        box, clock = self.line.path.middlebox, self.line.clock
        if box.connection_age_max_s is not None:
            Call(clock, clock.now + ns(box.connection_age_max_s), FAULT, self._is_too_old, "connection_age")
        if box.idle_timeout_s is not None:
            Call(clock, clock.now + ns(box.idle_timeout_s), FAULT, self._is_idle)

    def _is_too_old(self, call: Call) -> None:
        if not (self._is_silent or self._is_over):
            self.line.note_trouble(call.argument)
            self.cut()

    def _is_idle(self, _: Call) -> None:
        box, clock = self.line.path.middlebox, self.line.clock
        if self._is_silent or self._is_over or box.idle_timeout_s is None:
            return
        kill_at = max(self._up.pushed_at, self._down.pushed_at) + ns(box.idle_timeout_s)
        if kill_at > clock.now:
            Call(clock, kill_at, FAULT, self._is_idle)
        elif box.idle_effect == "reset":
            self.line.note_trouble("idle_reset")
            self.cut()
        else:
            self.line.note_trouble("idle_silence")
            self.silence()

    # What the ends do.

    def client_leaves(self, ending: Ending) -> None:
        """The client closes its end, after what it sent before."""
        if self._client_is_gone:
            return
        self._client_is_gone = True
        if self.line.ways.up.limit is not None and (len(self._up) or len(self._down)):
            self.line.note_trouble("late")  # on a path without a bound, chance may have made it leave
        if self._has_crossed or self._up.has_dialled():
            self._up.push(self._end_at_server, ending)
            self._clear_up()
        else:
            self._drop()

    def server_leaves(self, ending: Ending, after: int = 0) -> None:
        """The server closes its end, after what it sent before, and is told of nothing any more. `after`: as in Lane.push."""
        server = self._server
        if server is None:
            return
        self._server = self.server_id = None
        self._down.push(self._end_at_client, ending, 0, after)
        self._clear_up()
        server.released(self)

    def is_blocked(self) -> bool:
        """Whether the server's send buffer has no room; if so, the server is told of every frame that arrives, until it has."""
        self._is_waited_for = self._down.bytes_held > self._send_buffer_bytes
        return self._is_waited_for

    def send_to_client(self, frame: frames.Frame, size_bytes: int, after: int = 0) -> None:
        """`after`: as in Lane.push."""
        if self.line.watch is not None:
            self.line.saw(self, "down", "sent", frame)
        self._down.push(self._frame_at_client, frame, size_bytes, after)

    # What the kernels do.

    def gave_up(self, lane: Lane) -> None:
        """As LaneOwner.gave_up: the end that sends on `lane` is told, the other end is not."""
        self.line.note_trouble("gave_up")
        if lane is self._up:
            self._client_timed_out = True
            if not self._client_is_gone:
                self._client_is_gone = True
                self._tell_client_of_end(TIMED_OUT)
            if not self._has_crossed:
                self._drop()
        else:
            self._server_timed_out = True
            self._leave_server()
        if self._client_is_gone and self._server is None:
            self._drop()

    def is_late(self, until: int) -> None:
        """As LaneOwner.is_late."""
        self.line.note_late(until)

    def part_arrived(self, _: Lane) -> None:
        """As LaneOwner.part_arrived."""
        self._part_at_client()

    def room_made(self, lane: Lane) -> None:
        """As LaneOwner.room_made."""
        if lane is self._down:
            self._tell_server_of_room()

    # What arrives.

    def _syn_at_server(self, _: None) -> None:
        answer = Syn.REFUSED if self.line.refusals else self._machine.take(self)
        if answer is Syn.DROPPED:
            self._up.dial_again(self._syn_at_server)
            return
        self._has_crossed = True
        if answer is Syn.REFUSED:
            self._down.push(self._end_at_client, REFUSED)
        else:
            self._server = answer
            self._down.push(self._tls_at_client, 0)

    def _tls_at_client(self, rounds: int) -> None:
        """TCP stands, and so many round trips of TLS are over."""
        exchanges = _TLS_BYTES[self.line.path.tcp.tls]
        if rounds == len(exchanges):
            self._connected_at_client()
        elif not self._client_is_gone:
            self._up.push(self._tls_at_server, rounds, exchanges[rounds][0])

    def _tls_at_server(self, rounds: int) -> None:
        if self._server is not None:
            self._down.push(self._tls_at_client, rounds + 1, _TLS_BYTES[self.line.path.tcp.tls][rounds][1])

    @abc.abstractmethod
    def _connected_at_client(self) -> None:
        """The connection stands, TLS included."""

    @abc.abstractmethod
    def _frame_at_client(self, frame: frames.Frame) -> None: ...

    @abc.abstractmethod
    def _part_at_client(self) -> None:
        """Another part of a large frame, after a second."""

    def _client_hears(self) -> bool:
        """Something has arrived at the client: whether it is still there. If its kernel gave up, the server is told now."""
        if self._client_timed_out:
            self._client_timed_out = False
            self._up.push(self._end_at_server, RESET)
        return not self._client_is_gone

    def _server_hears(self) -> bool:
        """Something has arrived at the server: whether it knows of this connection. If its kernel gave up, the client is told."""
        if self._server_timed_out:
            self._server_timed_out = False
            self._down.push(self._end_at_client, RESET)
        return self._server is not None

    def _tell_server_of_room(self) -> None:
        """Bytes have left the send buffer; a server that waits for room wants to know."""
        if self._is_waited_for and self._server is not None and self.server_id is not None:
            self._server.bytes_taken(self.server_id)

    @abc.abstractmethod
    def _tell_client_of_end(self, ending: Ending) -> None: ...

    def _end_at_server(self, _: Ending) -> None:
        self._leave_server()
        self._drop()

    def _end_at_client(self, ending: Ending) -> None:
        self._drop()
        if not self._client_is_gone:
            self._client_is_gone = True
            self._tell_client_of_end(ending)

    # How it goes.

    def _leave_server(self) -> None:
        server, server_id = self._server, self.server_id
        self._server = self.server_id = None
        if server is not None:
            if server_id is not None:
                server.connection_lost(server_id)
            server.released(self)

    def _clear_up(self) -> None:
        if self._is_silent and self._client_is_gone and self.server_id is None:
            self._drop()

    def _drop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.released(self)
        self._is_over = True
        self._up.close()
        self._down.close()
        self.line.remove(self._number)
