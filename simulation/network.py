"""Connections: two lanes between a client and the server, and what TCP, WebSocket and HTTP do at both ends of them.

    client                                                    server
      | -- SYN ------------------------------------------------> |   1 one-way latency
      | <----------------------------------- SYN-ACK, or reset - |   2
      | -- upgrade request ------------------------------------> |   3  opened at the server
      | <------------------------ 101, or a proxy's 403 -------- |   4  opened at the client
      | -- hello ----------------------------------------------> |   5

HTTP takes the first two steps once for each connection and then asks and is answered; a connection is kept alive for the next
request.

Ends. A close travels behind what was sent before it and then ends the other side too. A `cut` is noticed by both ends at once. A
silent (half-open) connection carries nothing any more, cannot be cut, and is cleared up when both ends have given it up. A
server that is killed leaves its end of every connection, and a reset travels to each client behind what was on the way. A client
that gives up while a line that is down keeps its SYN was never there.

The server's send buffer is bounded: what is on the way to a client counts, and above the limit the connection is blocked until
enough has arrived. Not modelled: congestion control, retransmission timers (a line that comes back is used again at once), TLS.
"""

import abc
import enum
from dataclasses import dataclass
from typing import Protocol

from reference.protocol import frames
from simulation.lane import Lane
from simulation.line import Line

UPGRADE_BYTES = 400
"""Of the head of an upgrade request, about; and below of other heads."""
UPGRADED_BYTES = 200
REQUEST_HEAD_BYTES = 300
ANSWER_HEAD_BYTES = 150


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ends, and what is said with it. `code` None: nothing was said."""

    code: int | None
    message: str
    retry_after_ms: int | None = None


RESET = Ending(None, "the connection was reset")
REFUSED = Ending(None, "the connection was refused")
FORBIDDEN = Ending(None, "the upgrade was answered with HTTP 403")


def websocket_bytes(payload_bytes: int, *, is_masked: bool) -> int:
    """The size on the wire of a WebSocket message (RFC 6455, section 5.2). Clients mask theirs."""
    length_bytes = 0 if payload_bytes < 126 else 2 if payload_bytes < 65536 else 8
    return 2 + length_bytes + (4 if is_masked else 0) + payload_bytes


class ClientEnd(Protocol):
    """What a client's host is told about its connections. It named the WebSockets itself."""

    def connection_opened(self, connection_id: int) -> None: ...

    def connection_ended(self, connection_id: int, ending: Ending) -> None: ...

    def bytes_arrived(self, connection_id: int) -> None:
        """Another part of a large frame."""

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None: ...

    def bytes_of_answer_arrived(self, link: "HttpLink") -> None: ...

    def request_answered(self, link: "HttpLink", answer: frames.Frame) -> None: ...

    def http_ended(self, link: "HttpLink", failure: frames.RequestFailed | None) -> None:
        """An HTTP connection has ended; `failure` if a request was under way on it."""


class ServerEnd(Protocol):
    """What a server process is told about a connection. It names it by writing `link.server_id`, and is told of frames and
    losses for as long as that is there."""

    def upgrade_arrived(self, link: "WebSocketLink") -> None:
        """The request for an upgrade; answered by `link.upgrade()`."""

    def request_arrived(self, link: "HttpLink", request: frames.RequestFrame) -> None: ...

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None: ...

    def connection_lost(self, connection_id: int) -> None: ...

    def bytes_taken(self, connection_id: int) -> None: ...

    def released(self, link: "Link") -> None:
        """Its end of a connection is gone, whatever became of it."""


class Syn(enum.Enum):
    """What happens to a SYN that no process takes up."""

    REFUSED = "nobody listens: it is answered by a reset"
    DROPPED = "the queue of connections to be accepted is full: it is not answered, and the client's system repeats it"


class ServerMachine(Protocol):
    """Where the server's processes run."""

    def take(self, link: "Link") -> ServerEnd | Syn:
        """A SYN has arrived (again): the process that takes the connection, or what becomes of it."""


class Link(abc.ABC):
    """One TCP connection, from its SYN until both ends are gone."""

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
        self._send_buffer_bytes = send_buffer_bytes
        self._number = line.add(self)
        name = f"{line.client}/{self._number}"
        self._up = Lane(line.clock, line.path, line.draws.of(f"{name}/up"))
        self._down = Lane(line.clock, line.path, line.draws.of(f"{name}/down"), self._part_at_client)
        self._has_crossed = False
        self._client_is_gone = False
        self._is_silent = False
        self._is_waited_for = False
        for _ in range(line.outages):
            self.hold()
        for _ in range(line.stalls):
            self.stall()
        self._up.push(self._syn_at_server)

    # What the line does to it.

    def hold(self) -> None:
        self._up.hold()
        self._down.hold()

    def release(self) -> None:
        self._up.release()
        self._down.release()

    def stall(self) -> None:
        self._down.stall()

    def unstall(self) -> None:
        self._down.unstall()

    def cut(self) -> None:
        """Reset both ends now."""
        if not self._is_silent:
            self._end_at_server(RESET)
            self._end_at_client(RESET)

    @abc.abstractmethod
    def cut_if_websocket(self) -> None:
        """WebSockets are forbidden from now on; anything else may stay."""

    def silence(self) -> None:
        """Become half-open: silent for ever, both ways, and neither end is told."""
        if not self._is_silent:
            self._is_silent = True
            self.hold()
            self._clear_up()

    # What the ends do.

    def client_leaves(self, ending: Ending) -> None:
        """The client closes its end, after what it sent before."""
        if self._client_is_gone:
            return
        self._client_is_gone = True
        if self._has_crossed or not (self.line.outages or self._is_silent):
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

    def server_dies(self) -> None:
        """The server's process is gone, and its operating system says so to the client."""
        self.server_leaves(RESET)

    def is_blocked(self) -> bool:
        """Whether the server's send buffer has no room; if so, the server is told of every frame that arrives, until it has."""
        self._is_waited_for = self._down.bytes_held > self._send_buffer_bytes
        return self._is_waited_for

    def send_to_client(self, frame: frames.Frame, size_bytes: int, after: int = 0) -> None:
        """`after`: as in Lane.push."""
        self._down.push(self._frame_at_client, frame, size_bytes, after)

    # What arrives.

    def _syn_at_server(self, _: None) -> None:
        self._has_crossed = True
        answer = Syn.REFUSED if self.line.refusals else self._machine.take(self)
        if answer is Syn.REFUSED:
            self._down.push(self._end_at_client, REFUSED)
        elif answer is not Syn.DROPPED:
            self._server = answer
            self._down.push(self._connected_at_client)

    @abc.abstractmethod
    def _connected_at_client(self, _: None) -> None:
        """The TCP connection stands."""

    @abc.abstractmethod
    def _frame_at_client(self, frame: frames.Frame) -> None: ...

    @abc.abstractmethod
    def _part_at_client(self) -> None:
        """Another part of a large frame, after a second."""

    def _tell_server_of_room(self) -> None:
        """Bytes have left the send buffer; a server that waits for room wants to know."""
        if self._is_waited_for and self._server is not None and self.server_id is not None:
            self._server.bytes_taken(self.server_id)

    @abc.abstractmethod
    def _tell_client_of_end(self, ending: Ending) -> None: ...

    def _end_at_server(self, _: Ending) -> None:
        self._drop()
        server, server_id = self._server, self.server_id
        self._server = self.server_id = None
        if server is not None:
            if server_id is not None:
                server.connection_lost(server_id)
            server.released(self)

    def _end_at_client(self, ending: Ending) -> None:
        self._drop()
        if not self._client_is_gone:
            self._client_is_gone = True
            self._tell_client_of_end(ending)

    # How it goes.

    def _clear_up(self) -> None:
        if self._is_silent and self._client_is_gone and self.server_id is None:
            self._drop()

    def _drop(self) -> None:
        self._up.close()
        self._down.close()
        self.line.remove(self._number)


class WebSocketLink(Link):
    """A connection that asks to be upgraded as soon as it stands."""

    def __init__(
        self,
        line: Line,
        client: ClientEnd,
        connection_id: int,
        machine: ServerMachine,
        send_buffer_bytes: int,
        token: str | None = None,
    ) -> None:
        self._connection_id = connection_id
        self._is_upgraded = False  # as a middlebox sees it, which does not know whether the server is still there
        super().__init__(line, client, machine, send_buffer_bytes, token)

    def cut_if_websocket(self) -> None:
        if self._is_upgraded:
            self.cut()

    def send_to_server(self, frame: frames.Frame, size_bytes: int) -> None:
        self._up.push(self._frame_at_server, frame, size_bytes)

    def _connected_at_client(self, _: None) -> None:
        if not self._client_is_gone:
            self._up.push(self._upgrade_at_server, None, UPGRADE_BYTES)

    def _upgrade_at_server(self, _: None) -> None:
        if self.line.blocks:
            self.server_leaves(FORBIDDEN)
            return
        self._is_upgraded = True
        if self._server is not None:
            self._server.upgrade_arrived(self)

    def upgrade(self, after: int = 0) -> None:
        """The server answers the request for an upgrade: it is a WebSocket from here on. `after`: as in Lane.push."""
        self._down.push(self._upgraded_at_client, None, UPGRADED_BYTES, after)

    def _upgraded_at_client(self, _: None) -> None:
        if not self._client_is_gone:
            self._client.connection_opened(self._connection_id)

    def _frame_at_server(self, frame: frames.Frame) -> None:
        if self._server is not None and self.server_id is not None:
            self._server.frame_arrived(self.server_id, frame)

    def _part_at_client(self) -> None:
        self._tell_server_of_room()
        if not self._client_is_gone:
            self._client.bytes_arrived(self._connection_id)

    def _frame_at_client(self, frame: frames.Frame) -> None:
        self._tell_server_of_room()
        if not self._client_is_gone:
            self._client.frame_arrived(self._connection_id, frame)

    def _tell_client_of_end(self, ending: Ending) -> None:
        self._client.connection_ended(self._connection_id, ending)


class HttpLink(Link):
    """A kept-alive connection: one request at a time, each with one answer."""

    def __init__(
        self, line: Line, client: ClientEnd, machine: ServerMachine, send_buffer_bytes: int, token: str | None = None
    ) -> None:
        self.request: frames.RequestFrame | None = None
        """The one under way."""
        self._waiting_bytes: int | None = None  # of a request that waits for the connection
        self._waits_for_connection = True
        super().__init__(line, client, machine, send_buffer_bytes, token)

    def cut_if_websocket(self) -> None:
        pass

    def ask(self, request: frames.RequestFrame, size_bytes: int) -> None:
        """Send a request, once the connection stands."""
        assert self.request is None, "one request at a time"
        self.request = request
        if self._waits_for_connection:
            self._waiting_bytes = size_bytes
        else:
            self._up.push(self._request_at_server, request, size_bytes)

    def _connected_at_client(self, _: None) -> None:
        self._waits_for_connection = False
        if self._waiting_bytes is not None and not self._client_is_gone:
            self._up.push(self._request_at_server, self.request, self._waiting_bytes)

    def _request_at_server(self, request: frames.RequestFrame) -> None:
        if self._server is not None:
            self._server.request_arrived(self, request)

    def answer(self, frame: frames.Frame, size_bytes: int, after: int = 0) -> None:
        """The server answers the request under way, and is told of nothing any more before the next. `after`: as in Lane.push."""
        self.server_id = None
        self._down.push(self._frame_at_client, frame, size_bytes, after)
        self._clear_up()

    def _part_at_client(self) -> None:
        if not self._client_is_gone:
            self._client.bytes_of_answer_arrived(self)

    def _frame_at_client(self, frame: frames.Frame) -> None:
        self.request = None
        if not self._client_is_gone:
            self._client.request_answered(self, frame)

    def _tell_client_of_end(self, ending: Ending) -> None:
        request, self.request = self.request, None
        self._client.http_ended(self, None if request is None else failed(request, ending))


def failed(request: frames.RequestFrame, ending: Ending) -> frames.RequestFailed:
    """What the polling transport says of a request that got no answer, or an error."""
    return frames.RequestFailed(
        request=request_kind(request),
        code=ending.code,
        message=ending.message,
        retry_after_ms=ending.retry_after_ms,
    )


def request_kind(request: frames.RequestFrame) -> frames.RequestKind:
    return "poll" if isinstance(request, frames.PollRequest) else "publishMany"
