"""What connections are for: a WebSocket, or HTTP requests; each a TCP connection (`link`) with two kinds of things on its lanes.

    client                                                    server
      | -- SYN, SYN-ACK, TLS ----------------------------------> |   `link`; without TLS 2 one-way latencies
      | -- upgrade request ------------------------------------> |   3  opened at the server
      | <------------------- 101, or a proxy's 403, or a 426 --- |   4  opened at the client
      | -- hello ----------------------------------------------> |   5

HTTP connects once and then asks and is answered; a connection is kept alive for the next request.
"""

from typing import assert_never

from reference.protocol import frames
from reference.protocol.timers import ns
from simulation.clock import FAULT, Call
from simulation.ends import (
    FORBIDDEN,
    STRIPPED,
    ClientEnd,
    Ending,
    ServerEnd,
    ServerMachine,
    Syn,
)
from simulation.line import Line
from simulation.link import Link

__all__ = [
    "ANSWER_HEAD_BYTES",
    "REQUEST_HEAD_BYTES",
    "UPGRADED_BYTES",
    "UPGRADE_BYTES",
    "ClientEnd",
    "Ending",
    "HttpLink",
    "Link",
    "ServerEnd",
    "ServerMachine",
    "Syn",
    "WebSocketLink",
    "failed",
    "request_kind",
    "websocket_bytes",
]

UPGRADE_BYTES = 400
"""Of the head of an upgrade request, about; and below of other heads."""
UPGRADED_BYTES = 200
REQUEST_HEAD_BYTES = 300
ANSWER_HEAD_BYTES = 150


def websocket_bytes(payload_bytes: int, *, is_masked: bool) -> int:
    """The size on the wire of a WebSocket message (RFC 6455, section 5.2). Clients mask theirs."""
    length_bytes = 0 if payload_bytes < 126 else 2 if payload_bytes < 65536 else 8
    return 2 + length_bytes + (4 if is_masked else 0) + payload_bytes


class WebSocketLink(Link):
    """A connection that asks to be upgraded as soon as it stands."""

    __slots__ = ("_connection_id", "_is_upgraded")

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
        if self.line.watch is not None:
            self.line.saw(self, "up", "sent", frame)
        self._up.push(self._frame_at_server, frame, size_bytes)

    def _connected_at_client(self) -> None:
        if self._client_hears():
            self._up.push(self._upgrade_at_server, None, UPGRADE_BYTES)

    def _upgrade_at_server(self, _: None) -> None:
        match self.line.upgrades:
            case "pass":
                self._is_upgraded = True
                self._age_as_websocket()
                if self._server_hears() and self._server is not None:
                    self._server.upgrade_arrived(self)
            case "block":
                self.server_leaves(FORBIDDEN)
            case "strip":
                self.server_leaves(STRIPPED)
            case "hang":
                self._leave_server()  # the middlebox lets the client wait, and the server go
            case _:
                assert_never(self.line.upgrades)

    def _age_as_websocket(self) -> None:
        age_max_s, clock = self.line.path.middlebox.websocket_age_max_s, self.line.clock
        if age_max_s is not None:
            Call(clock, clock.now + ns(age_max_s), FAULT, self._is_too_old, "websocket_age")

    def upgrade(self, after: int = 0) -> None:
        """The server answers the request for an upgrade: it is a WebSocket from here on. `after`: as in Lane.push."""
        self._down.push(self._upgraded_at_client, None, UPGRADED_BYTES, after)

    def _upgraded_at_client(self, _: None) -> None:
        if self._client_hears():
            self._client.connection_opened(self._connection_id)

    def _frame_at_server(self, frame: frames.Frame) -> None:
        if self.line.watch is not None:
            self.line.saw(self, "up", "arrived", frame)
        if self._server_hears() and self._server is not None and self.server_id is not None:
            self._server.frame_arrived(self.server_id, frame)

    def _part_at_client(self) -> None:
        self._tell_server_of_room()
        if not self._client_is_gone:
            self._client.bytes_arrived(self._connection_id)

    def _frame_at_client(self, frame: frames.Frame) -> None:
        if self.line.watch is not None:
            self.line.saw(self, "down", "arrived", frame)
        if self._is_waited_for:
            self._tell_server_of_room()
        if not (self._client_is_gone or self._client_timed_out) or self._client_hears():
            self._client.frame_arrived(self._connection_id, frame)

    def _tell_client_of_end(self, ending: Ending) -> None:
        self._client.connection_ended(self._connection_id, ending)


class HttpLink(Link):
    """A kept-alive connection: one request at a time, each with one answer."""

    __slots__ = ("_waiting_bytes", "_waits_for_connection", "request")

    def __init__(
        self, line: Line, client: ClientEnd, machine: ServerMachine, send_buffer_bytes: int, token: str | None = None
    ) -> None:
        self.request: frames.RequestFrame | None = None
        """The one under way."""
        self._waiting_bytes: int | None = None  # of a request that waits for the connection
        self._waits_for_connection = True
        super().__init__(line, client, machine, send_buffer_bytes, token)

    @property
    def is_resting(self) -> bool:
        return self.request is None

    def cut_if_websocket(self) -> None:
        pass

    def ask(self, request: frames.RequestFrame, size_bytes: int) -> None:
        """Send a request, once the connection stands."""
        assert self.request is None, "one request at a time"
        self.request = request
        if self.line.watch is not None:
            self.line.saw(self, "up", "sent", request)
        if self._waits_for_connection:
            self._waiting_bytes = size_bytes
        else:
            self._up.push(self._request_at_server, request, size_bytes)

    def _connected_at_client(self) -> None:
        self._waits_for_connection = False
        if self._waiting_bytes is not None and self._client_hears():
            self._up.push(self._request_at_server, self.request, self._waiting_bytes)

    def _request_at_server(self, request: frames.RequestFrame) -> None:
        if self.line.watch is not None:
            self.line.saw(self, "up", "arrived", request)
        if self._server_hears() and self._server is not None:
            self._server.request_arrived(self, request)

    def answer(self, frame: frames.Frame, size_bytes: int, after: int = 0) -> None:
        """The server answers the request under way, and is told of nothing any more before the next. `after`: as in Lane.push."""
        self.server_id = None
        if self.line.watch is not None:
            self.line.saw(self, "down", "sent", frame)
        self._down.push(self._frame_at_client, frame, size_bytes, after)
        self._clear_up()

    def _part_at_client(self) -> None:
        if not self._client_is_gone:
            self._client.bytes_of_answer_arrived(self)

    def _frame_at_client(self, frame: frames.Frame) -> None:
        if self.line.watch is not None:
            self.line.saw(self, "down", "arrived", frame)
        self.request = None
        if self._client_hears():
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
