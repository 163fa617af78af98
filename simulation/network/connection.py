"""One TCP connection for a WebSocket or for HTTP requests: two pipes, and TCP's behaviour at both endpoints.

    client                                                    server
      | -- SYN ------------------------------------------------> |   1 one-way latency
      | <----------------------------------- SYN-ACK, or reset - |   2
      | <- TLS: one round trip for 1.3, two for 1.2, or none --> |
      | -- upgrade request ------------------------------------> |   3  opened at the server (without TLS)
      | <------------------- 101, or a proxy's 403, or a 426 --- |   4  opened at the client
      | -- hello ----------------------------------------------> |   5

HTTP connects once and then sends one request at a time; a connection is kept alive for the next request.

Endpoints. A close arrives after everything sent before it and then ends the other side too. A `cut` ends both endpoints at once;
a middlebox beyond the access link cannot notify a client during an outage. A silent (half-open) connection transports nothing any
more, in one direction or both, cannot be cut, and is removed when both endpoints have given it up. A killed server leaves its end
of every connection, and a reset travels to each client behind the data in flight. If a client gives up before its SYN has
arrived, the server never sees it. An endpoint whose kernel gave up after too many retransmissions is notified, and from then on
answers data with a reset; the other endpoint is not notified.

A reset, or the refusal of a SYN, is sent once; only data and SYNs are retransmitted. When a reset is lost in an outage, the
endpoint that sent it has forgotten the connection, and answers the next data that arrives with another reset. A client whose
refused SYN got no answer sends the SYN again by its schedule, and gets the answer of that time.

Middleboxes on the path end connections that are idle or old. The server's send buffer is bounded: it counts bytes that the client
has not acknowledged, and above the limit the connection is blocked until enough has arrived.
"""

import abc
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from reference.protocol import frames
from reference.protocol.timers import ns
from simulation.clock import ALARM, Call
from simulation.network.access_link import AccessLink
from simulation.network.middlebox import watch
from simulation.network.ports import Ports
from simulation.network.simulated_pipe import SimulatedPipe
from simulation.random import EntityRandom, RandomStreams
from simulation.scenario.faults import Direction


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends. `code` None: no close code was sent. `is_reset`: by a reset, sent once."""

    code: int | None
    message: str
    retry_after_ms: int | None = None
    is_reset: bool = False


RESET = Ending(None, "the connection was reset", is_reset=True)
REFUSED = Ending(None, "the connection was refused", is_reset=True)
TIMED_OUT = Ending(None, "the connection timed out")
ABORTED = Ending(None, "the network has changed")
UNRESOLVED = Ending(None, "the server's name was not resolved")
FORBIDDEN = Ending(None, "the upgrade was answered with HTTP 403")
STRIPPED = Ending(None, "the upgrade was answered with HTTP 426")


class ServerEndpoint(Protocol):
    """The notifications of a server process about a connection. The process sets `connection.server_id`, and gets frames and
    losses while it is set."""

    def request_arrived(self, connection: "TcpConnection", request: frames.RequestFrame | None) -> None:
        """An HTTP request, answered by `connection.answer()`; None: for an upgrade, answered by `connection.upgrade()`."""

    def frames_arrived(self, connection_id: int, arrived: Sequence[frames.Frame]) -> None:
        """All frames that have arrived at this instant: one read of the server's socket."""

    def connection_lost(self, connection_id: int) -> None: ...

    def bytes_taken(self, connection_id: int) -> None: ...

    def released(self, connection: "TcpConnection") -> None:
        """The process's endpoint of a connection is gone, for any reason."""


class Syn(enum.Enum):
    """What happens to a SYN that no process accepts."""

    REFUSED = "no process listens: it is answered by a reset"
    DROPPED = "the queue of connections to be accepted is full: it is not answered, and the client's system repeats it"


@dataclass(slots=True)
class AcceptedConnection:
    """The server machine's notes about an accepted connection; times in ns, of the process's own clock.

    instance: which instance has it. at: when the listener accepts it. busy_until: the end of the work on it. is_greeted: its
    handshake has been charged.
    """

    instance: int = 0
    at: int = 0
    busy_until: int = 0
    is_greeted: bool = False


NOTHING_NOTED = AcceptedConnection()
"""For connections on a machine without instances and capacity; never modified."""


class ServerListener(Protocol):
    """The machine of the server's processes."""

    @property
    def balancer(self) -> Ports | None:
        """The ports of its load balancer towards it."""

    @property
    def ticket_keys(self) -> int:
        """The number of the keys with which it resumes TLS sessions."""

    def take(self, connection: "TcpConnection") -> ServerEndpoint | Syn:
        """A SYN has arrived (perhaps again): the process that accepts the connection, or what happens to the SYN."""


_NO_RANDOMNESS: EntityRandom = RandomStreams(0).of("nobody")
"""For paths without random behaviour."""
_TLS_BYTES = {"none": (), "1.3": ((517, 3000),), "1.2": ((517, 3000), (126, 51))}
"""Of each round trip of a handshake: up and down, approximately (a chain of two certificates)."""
_RESUMED_BYTES = {"none": (), "1.3": ((760, 250),), "1.2": ((720, 150),)}
"""Of a resumed handshake: with a ticket, without certificates."""


ClientAccessLink = AccessLink["TcpConnection"]


class TcpConnection(abc.ABC):
    """One TCP connection, from its SYN until both endpoints are gone."""

    __slots__ = (
        "_client_is_gone",
        "_client_resets",
        "_down",
        "_has_crossed",
        "_is_astray",
        "_is_established",
        "_is_over",
        "_is_resolving",
        "_is_silent",
        "_is_waited_for",
        "_listener",
        "_number",
        "_ports",
        "_send_buffer_bytes",
        "_server",
        "_server_resets",
        "_up",
        "access_link",
        "is_resumed",
        "path",
        "server_id",
        "taken",
        "token",
    )

    def __init__(
        self,
        access_link: ClientAccessLink,
        listener: ServerListener,
        send_buffer_bytes: int,
        token: str | None = None,
    ) -> None:
        """`token`: sent in the heads of the client's requests."""
        self.access_link = access_link
        self.path = access_link.path
        self._listener = listener
        self._server: ServerEndpoint | None = None  # the process that accepted the connection, while its endpoint exists
        self.server_id: int | None = None
        """The process's number for it, while it knows it."""
        self.token = token
        self.taken = NOTHING_NOTED
        self.is_resumed = False
        """Whether its TLS handshake resumes an earlier session."""
        self._is_resolving = access_link.resolver is not None
        self._is_astray = False  # it was dialled to an address where the server no longer is
        self._ports: tuple[Ports, ...] = ()
        self._send_buffer_bytes = send_buffer_bytes
        self._number = access_link.add(self)
        up, down = access_link.directions.up, access_link.directions.down
        self._up = SimulatedPipe(
            access_link.clock,
            up,
            self._random_of("up") if up.has_chance else _NO_RANDOMNESS,
            self,
            access_link.up,
            access_link.enter_cell_up,
        )
        self._down = SimulatedPipe(
            access_link.clock,
            down,
            self._random_of("down") if down.has_chance else _NO_RANDOMNESS,
            self,
            access_link.down,
            access_link.enter_cell_down,
            send_buffer_bytes,
        )
        self._has_crossed = False
        self._client_is_gone = False
        self._client_resets = False
        self._server_resets = False
        self._is_established = False  # as the client sees it
        self._is_over = False
        self._is_silent = False
        self._is_waited_for = False
        access_link.apply_to(self)
        if access_link.resolver is None:
            self._up.dial(self._syn_at_server)
        else:
            access_link.resolver.look_up(self._resolved)
        watch(self)
        keepalive, clock = self.path.tcp.keepalive, access_link.clock
        if keepalive is not None:
            for is_client in (True, False):
                Call(clock, clock.now + ns(keepalive.idle_s), ALARM, self._keep_alive, (is_client, 0))

    def _resolved(self, address: int | None) -> None:
        """The server's name has been looked up."""
        link, self._is_resolving = self.access_link, False
        if self._client_is_gone or self._is_over:
            return
        if address is None:
            link.note_trouble("unresolved")
            self._end_at_client(UNRESOLVED)
            return
        if address != link.zone.address:
            link.note_trouble("old_address", None if link.resolver is None else link.resolver.good_until)
            self._is_astray = True
            if not link.zone.old_refuses:
                self.silence()
        self._up.dial(self._syn_at_server)

    def _random_of(self, direction: str) -> EntityRandom:
        return self.access_link.random_source.of(f"{self.access_link.client}/{self._number}/{direction}")

    # Called by the access link.

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
        """Reset both endpoints now, whatever the state of the link."""
        if not (self._is_silent or self._is_over):
            self._end_at_server(RESET)
            self._end_at_client(RESET)

    def cut_at_box(self) -> None:
        """A middlebox beyond the access link resets both endpoints; during an outage the reset does not reach the client."""
        if self._down.is_down and not (self._is_silent or self._is_over):
            self._leave_server()
            self._down.push_reset(self._end_at_client, RESET)  # which is lost
        else:
            self.cut()

    @property
    def is_served(self) -> bool:
        """Whether a process has its endpoint of this connection."""
        return self._server is not None

    @property
    def is_resting(self) -> bool:
        """Whether it is idle, kept alive for a next request."""
        return False

    @abc.abstractmethod
    def cut_if_websocket(self) -> None:
        """WebSockets are forbidden from now on; HTTP connections may stay."""

    def silence(self, direction: Direction = "both") -> None:
        """Become half-open: silent for ever, and neither endpoint is notified."""
        self._is_silent = True
        self.hold(direction)
        self._clear_up()

    def lose_client(self) -> None:
        """As SimulatedConnection.lose_client."""
        if not self._client_is_gone:
            self.silence()
            self._client_is_gone = True
            self._notify_client_of_end(ABORTED)
            if self._has_crossed:
                self._clear_up()
            else:
                self._drop()

    def lose_server(self, *, is_notified: bool) -> None:
        """As SimulatedConnection.lose_server."""
        if self._is_resolving:
            return
        self._is_astray = True
        if is_notified:
            self.reset_by_server()
        else:
            self._leave_server()
            self.silence()

    # Called by a middlebox.

    @property
    def is_out_of_reach(self) -> bool:
        """Whether it can no longer be affected: it is silent, or over."""
        return self._is_silent or self._is_over

    @property
    def pipes(self) -> tuple[SimulatedPipe, SimulatedPipe]:
        """To the server, and to the client."""
        return self._up, self._down

    # Called by the endpoints.

    def client_leaves(self, ending: Ending) -> None:
        """The client closes its endpoint, after everything it sent before."""
        if self._client_is_gone:
            return
        self._client_is_gone = True
        if self.access_link.directions.up.limit is not None and (len(self._up) or len(self._down)):
            self.access_link.note_trouble("late")  # on a path without a bound, random delay may have made it leave
        if self._has_crossed or self._up.has_dialled():
            self._up.push(self._end_at_server, ending)
            self._clear_up()
        else:
            self._drop()

    def server_leaves(self, ending: Ending) -> None:
        """The server closes its endpoint, after everything it sent before, and gets no more notifications."""
        server = self._server
        if server is None:
            return
        self._server = self.server_id = None
        if ending.is_reset:
            self._down.push_reset(self._end_at_client, ending)
        else:
            self._down.push(self._end_at_client, ending)
        self._clear_up()
        server.released(self)

    def reset_by_server(self) -> None:
        """The server's end is reset, though the process that has the connection goes on: it is notified of the loss."""
        server, server_id = self._server, self.server_id
        self.server_leaves(RESET)
        if server is not None and server_id is not None:
            server.connection_lost(server_id)

    def is_blocked(self) -> bool:
        """Whether the server's send buffer is full; then the server is notified of every frame that arrives, until there is
        room."""
        self._is_waited_for = self._down.half.bytes_held > self._send_buffer_bytes
        return self._is_waited_for

    def send_to_client(self, frame: frames.Frame, size_bytes: int, after: int = 0) -> bool:
        """The server sends a frame; nothing is sent if its end is gone. `after`: as in Pipe.push. Returns `is_blocked()`."""
        if self._server is not None:
            if self.access_link.watch is not None:
                self.access_link.saw(self, "down", "sent", frame)
            self._down.push(self._frame_at_client, frame, size_bytes, after)
        # As `is_blocked`, without the call: this runs for every message.
        is_blocked = self._is_waited_for = self._down.half.bytes_held > self._send_buffer_bytes
        return is_blocked

    # Called for the kernels.

    def gave_up(self, pipe: SimulatedPipe) -> None:
        """As PipeOwner.gave_up: the endpoint that sends on `pipe` is notified, the other is not."""
        self.access_link.note_trouble("gave_up")
        if pipe is self._up:
            self._client_resets = True
            if not self._client_is_gone:
                self._client_is_gone = True
                self._notify_client_of_end(TIMED_OUT)
            if not self._has_crossed:
                self._drop()
        else:
            self._server_resets = True
            self._leave_server()
        if self._client_is_gone and self._server is None:
            self._drop()

    def reset_lost(self, pipe: SimulatedPipe) -> None:
        """As PipeOwner.reset_lost: the sender answers data with another reset; a client that is connecting sends its SYN
        again."""
        if pipe is self._up:
            self._client_resets = True
        elif self._is_established or len(self._down):  # a SYN-ACK that has arrived waits only for a program that is stalled
            self._server_resets = True
        elif self._client_is_gone:
            self._drop()
        elif self._has_crossed:
            self._has_crossed = False
            self._up.dial_again(self._syn_at_server)
        self._clear_up()

    def is_late(self, until: int) -> None:
        """As PipeOwner.is_late."""
        self.access_link.note_late(until)

    def part_arrived(self, _: SimulatedPipe) -> None:
        """As PipeOwner.part_arrived."""
        self._part_at_client()

    def room_made(self, pipe: SimulatedPipe) -> None:
        """As PipeOwner.room_made."""
        if pipe is self._down:
            self._notify_server_of_room()

    def _keep_alive(self, call: Call) -> None:
        """An endpoint's keepalive timer: it probes a connection that is silent, and gives up in the end."""
        is_client, missed = call.argument
        keepalive, clock = self.path.tcp.keepalive, self.access_link.clock
        assert keepalive is not None, "its timer was set"
        if self._is_over or (self._client_is_gone if is_client else self._server is None):
            return
        (out, back), now = ((self._up, self._down) if is_client else (self._down, self._up)), clock.now
        idle, again_at = ns(keepalive.idle_s), now + ns(keepalive.interval_s)
        heard_at = max(back.half.reached_at, min(now, out.half.reached_at + back.half.latency))
        if not missed and heard_at + idle > now:
            again_at = heard_at + idle
        elif len(out):
            again_at = now + idle  # retransmissions detect a loss
        elif missed == keepalive.probes:
            out.half.abandon()
            self.gave_up(out)
            return
        else:
            out.half.note_passage(now)
            missed += 1
            if not (out.is_down or back.is_down):
                missed, again_at = 0, now + idle
                back.half.note_passage(now)
                (self._server_hears if is_client else self._client_hears)()
        Call(clock, again_at, ALARM, self._keep_alive, (is_client, missed))

    # Arrivals.

    def _syn_at_server(self, _: None) -> None:
        answer = Syn.REFUSED if self.access_link.refusals or self._is_astray else self._taken_through_ports()
        if answer is Syn.DROPPED:
            self._up.dial_again(self._syn_at_server)
            return
        self._has_crossed = True
        if answer is Syn.REFUSED:
            self._down.push_reset(self._end_at_client, REFUSED)
        else:
            self._server = answer
            link = self.access_link
            if link.ticket is not None:
                self.is_resumed = link.ticket[0] == self._listener.ticket_keys and link.clock.now < link.ticket[1]
            self._down.push(self._tls_at_client, 0)

    def _taken_through_ports(self) -> "ServerEndpoint | Syn":
        """What happens to the SYN if addresses on its way have limited ports."""
        pools = [pool for pool in (self.access_link.nat, self._listener.balancer) if pool is not None]
        if not pools:
            return self._listener.take(self)
        for place, pool in enumerate(pools):
            if not pool.take():
                for other in pools[:place]:
                    other.give_back(is_reset=True)
                self.access_link.note_trouble("no_port")
                return Syn.DROPPED if pool.drops else Syn.REFUSED
        answer = self._listener.take(self)
        if isinstance(answer, Syn):
            for pool in pools:
                pool.give_back(is_reset=True)
        else:
            self._ports = tuple(pools)
        return answer

    def _give_ports_back(self, *, is_reset: bool) -> None:
        for pool in self._ports:
            pool.give_back(is_reset=is_reset)
        self._ports = ()

    @property
    def _tls_bytes(self) -> tuple[tuple[int, int], ...]:
        """Bytes of each round trip of its handshake, up and down."""
        return (_RESUMED_BYTES if self.is_resumed else _TLS_BYTES)[self.path.tcp.tls]

    def _tls_at_client(self, rounds: int) -> None:
        """The TCP connection is established, and this many round trips of TLS are done."""
        self._is_established = True
        exchanges = self._tls_bytes
        if rounds == len(exchanges):
            link = self.access_link
            if self.path.tcp.tls_ticket_s is not None:
                link.ticket = (self._listener.ticket_keys, link.clock.now + ns(self.path.tcp.tls_ticket_s))
            self._connected_at_client()
        elif not self._client_is_gone:
            self._up.push(self._tls_at_server, rounds, exchanges[rounds][0])

    def _tls_at_server(self, rounds: int) -> None:
        if self._server_hears():
            self._down.push(self._tls_at_client, rounds + 1, self._tls_bytes[rounds][1])

    @abc.abstractmethod
    def _connected_at_client(self) -> None:
        """The connection is established, including TLS."""

    @abc.abstractmethod
    def _frame_at_client(self, frame: frames.Frame) -> None: ...

    @abc.abstractmethod
    def _part_at_client(self) -> None:
        """Another second's worth of a large frame has arrived."""

    def _client_hears(self) -> bool:
        """Something has arrived at the client: whether it still has its endpoint. If not, its kernel sends a reset."""
        if self._client_resets:
            self._client_resets = False
            self._up.push_reset(self._end_at_server, RESET)
        return not self._client_is_gone

    def _server_hears(self) -> bool:
        """Something has arrived at the server: whether it still has its endpoint. If not, its kernel sends a reset."""
        if self._server_resets:
            self._server_resets = False
            self._down.push_reset(self._end_at_client, RESET)
        return self._server is not None

    def _notify_server_of_room(self) -> None:
        """Bytes have left the send buffer; notify a server that waits for room."""
        if self._is_waited_for and self._server is not None and self.server_id is not None:
            self._server.bytes_taken(self.server_id)

    @abc.abstractmethod
    def _notify_client_of_end(self, ending: Ending) -> None: ...

    def _end_at_server(self, ending: Ending) -> None:
        self._give_ports_back(is_reset=ending.is_reset)
        self._leave_server()
        self._drop()

    def _end_at_client(self, ending: Ending) -> None:
        self._give_ports_back(is_reset=ending.is_reset)
        self._drop()
        if not self._client_is_gone:
            self._client_is_gone = True
            self._notify_client_of_end(ending)

    # The endings.

    def _leave_server(self) -> None:
        server, server_id = self._server, self.server_id
        self._server = self.server_id = None
        if server is not None:
            if server_id is not None:
                server.connection_lost(server_id)
            server.released(self)

    def _clear_up(self) -> None:
        if (
            self._client_is_gone
            and self.server_id is None
            and (self._is_silent or (self._client_resets and self._server is None))
        ):
            self._drop()

    def _drop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.released(self)
        self._is_over = True
        if self._ports:
            self._give_ports_back(is_reset=False)
        self._up.close()
        self._down.close()
        self.access_link.remove(self)
