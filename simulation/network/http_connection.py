"""A connection for HTTP requests: kept alive, with one request at a time."""

from typing import Protocol

from reference.protocol import frames
from reference.protocol.timers import ns
from simulation.clock import ALARM, Call
from simulation.network.connection import ClientAccessLink, Ending, ServerListener, TcpConnection
from simulation.network.simulated_pipe import SimulatedPipe

REQUEST_HEAD_BYTES = 300
"""Size of the head of a request, approximately; and below of an answer's."""
ANSWER_HEAD_BYTES = 150
KEEP_ALIVE_S = 60.0
"""The real server closes a connection on which no request comes for this time (`DoorLimits.keep_alive_timeout_s`); here it closes
only one that its client has given up."""


class HttpEndpoint(Protocol):
    """The notifications of a client's host about its HTTP connections."""

    def bytes_of_answer_arrived(self, connection: "HttpConnection") -> None: ...

    def request_answered(self, connection: "HttpConnection", answer: frames.Frame) -> None: ...

    def http_ended(self, connection: "HttpConnection", failure: frames.RequestFailed | None) -> None:
        """An HTTP connection has ended; `failure` if a request was under way on it."""


class HttpConnection(TcpConnection):
    """A kept-alive connection: one request at a time, each with one answer."""

    __slots__ = ("_client", "_waiting_bytes", "_waits_for_connection", "request")

    def __init__(
        self,
        access_link: ClientAccessLink,
        client: HttpEndpoint,
        listener: ServerListener,
        send_buffer_bytes: int,
        token: str | None = None,
    ) -> None:
        self._client = client
        self.request: frames.RequestFrame | None = None
        """The request under way."""
        self._waiting_bytes: int | None = None  # of a request that waits for the connection
        self._waits_for_connection = True
        super().__init__(access_link, listener, send_buffer_bytes, token)

    @property
    def is_resting(self) -> bool:
        return self.request is None

    def cut_if_websocket(self) -> None:
        pass

    def ask(self, request: frames.RequestFrame, size_bytes: int) -> None:
        """Send a request, once the connection is established."""
        assert self.request is None, "one request at a time"
        self.request = request
        if self.access_link.watch is not None:
            self.access_link.saw(self, "up", "sent", request)
        if self._waits_for_connection:
            self._waiting_bytes = size_bytes
        else:
            self._up.push(self._request_at_server, request, size_bytes)

    def _connected_at_client(self) -> None:
        self._waits_for_connection = False
        if self._waiting_bytes is not None and self._client_hears():
            self._up.push(self._request_at_server, self.request, self._waiting_bytes)

    def _request_at_server(self, request: frames.RequestFrame) -> None:
        if self.access_link.watch is not None:
            self.access_link.saw(self, "up", "arrived", request)
        if self._server_hears() and self._server is not None:
            self._server.request_arrived(self, request)

    def answer(self, frame: frames.Frame, size_bytes: int, after: int = 0) -> None:
        """The server answers the request under way, and gets no notifications before the next one. Nothing is sent if its end is
        gone. `after`: as in Pipe.push."""
        self.server_id = None
        if not self.is_served:
            return
        if self.access_link.watch is not None:
            self.access_link.saw(self, "down", "sent", frame)
        self._down.push(self._frame_at_client, frame, size_bytes, after)
        self._clear_up()

    def _part_at_client(self) -> None:
        if not self._client_is_gone:
            self._client.bytes_of_answer_arrived(self)

    def _frame_at_client(self, frame: frames.Frame) -> None:
        if self.access_link.watch is not None:
            self.access_link.saw(self, "down", "arrived", frame)
        self.request = None
        if self._client_hears():
            self._client.request_answered(self, frame)

    def gave_up(self, pipe: SimulatedPipe) -> None:
        """As TcpConnection.gave_up. If a request was lost on its way, the server keeps a connection on which nothing arrives."""
        super().gave_up(pipe)
        if not self._is_over:
            Call(self.access_link.clock, self.access_link.clock.now + ns(KEEP_ALIVE_S), ALARM, self._idled)

    def _idled(self, _: Call) -> None:
        if not self._is_over and self._client_is_gone:
            self._leave_server()
            self._drop()

    def _notify_client_of_end(self, ending: Ending) -> None:
        request, self.request = self.request, None
        self._client.http_ended(self, None if request is None else failed(request, ending))


def failed(request: frames.RequestFrame, ending: Ending) -> frames.RequestFailed:
    """The report of the polling transport about a request without an answer, or with an error."""
    return frames.RequestFailed(
        request=request_kind(request),
        code=ending.code,
        message=ending.message,
        retry_after_ms=ending.retry_after_ms,
    )


def request_kind(request: frames.RequestFrame) -> frames.RequestKind:
    return "poll" if isinstance(request, frames.PollRequest) else "publishMany"
