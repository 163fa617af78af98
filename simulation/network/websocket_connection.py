"""A connection that requests an upgrade as soon as it is established, and is a WebSocket from then on."""

from typing import Protocol, assert_never

from reference.protocol import frames
from simulation.network.connection import FORBIDDEN, STRIPPED, ClientAccessLink, Ending, ServerListener, TcpConnection
from simulation.network.middlebox import watch_websocket

UPGRADE_BYTES = 400
"""Size of the head of an upgrade request, approximately; and below of its answer."""
UPGRADED_BYTES = 200


def websocket_bytes(payload_bytes: int, *, is_masked: bool) -> int:
    """The size of a WebSocket message including its frame header (RFC 6455, section 5.2). Clients mask theirs."""
    length_bytes = 0 if payload_bytes < 126 else 2 if payload_bytes < 65536 else 8
    return 2 + length_bytes + (4 if is_masked else 0) + payload_bytes


class WebSocketEndpoint(Protocol):
    """The notifications of a client's host about its WebSockets, which it numbers itself."""

    def connection_opened(self, connection_id: int) -> None: ...

    def connection_ended(self, connection_id: int, ending: Ending) -> None: ...

    def bytes_arrived(self, connection_id: int) -> None:
        """Another part of a large frame has arrived."""

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None: ...


class WebSocketConnection(TcpConnection):
    """A connection that requests an upgrade as soon as it is established."""

    __slots__ = ("_client", "_connection_id", "_is_upgraded", "_read")

    def __init__(
        self,
        access_link: ClientAccessLink,
        client: WebSocketEndpoint,
        connection_id: int,
        listener: ServerListener,
        send_buffer_bytes: int,
        token: str | None = None,
    ) -> None:
        self._client = client
        self._connection_id = connection_id
        self._read: tuple[frames.Frame, ...] = ()  # arrived at this instant, with more to come
        self._is_upgraded = False  # as a middlebox sees it, which does not know whether the server is still there
        super().__init__(access_link, listener, send_buffer_bytes, token)

    def cut_if_websocket(self) -> None:
        if self._is_upgraded:
            self.cut_at_box()

    def send_to_server(self, frame: frames.Frame, size_bytes: int) -> None:
        if self.access_link.watch is not None:
            self.access_link.saw(self, "up", "sent", frame)
        self._up.push(self._frame_at_server, frame, size_bytes)

    def _connected_at_client(self) -> None:
        if self._client_hears():
            self._up.push(self._upgrade_at_server, None, UPGRADE_BYTES)

    def _upgrade_at_server(self, _: None) -> None:
        match self.access_link.upgrades:
            case "pass":
                self._is_upgraded = True
                watch_websocket(self)
                if self._server_hears() and self._server is not None:
                    self._server.request_arrived(self, None)
            case "block":
                self.server_leaves(FORBIDDEN)
            case "strip":
                self.server_leaves(STRIPPED)
            case "hang":
                self._leave_server()  # the middlebox lets the client wait, and closes towards the server
            case _:
                assert_never(self.access_link.upgrades)

    def upgrade(self, after: int = 0) -> None:
        """The server answers the upgrade request: the connection is a WebSocket from here on. `after`: as in Pipe.push."""
        self._down.push(self._upgraded_at_client, None, UPGRADED_BYTES, after)

    def _upgraded_at_client(self, _: None) -> None:
        if self._client_hears():
            self._client.connection_opened(self._connection_id)

    def _frame_at_server(self, frame: frames.Frame) -> None:
        if self.access_link.watch is not None:
            self.access_link.saw(self, "up", "arrived", frame)
        if not (self._server_hears() and self._server is not None and self.server_id is not None):
            return
        read = (*self._read, frame) if self._read else (frame,)
        following = self._up.half.next_arrived(self.access_link.clock.now)
        if following is not None and following[0] == self._frame_at_server:
            self._read = read
        else:
            self._read = ()
            self._server.frames_arrived(self.server_id, read)

    def _part_at_client(self) -> None:
        self._notify_server_of_room()
        if not self._client_is_gone:
            self._client.bytes_arrived(self._connection_id)

    def _frame_at_client(self, frame: frames.Frame) -> None:
        if self.access_link.watch is not None:
            self.access_link.saw(self, "down", "arrived", frame)
        if self._is_waited_for:
            self._notify_server_of_room()
        if not (self._client_is_gone or self._client_resets) or self._client_hears():
            self._client.frame_arrived(self._connection_id, frame)

    def _notify_client_of_end(self, ending: Ending) -> None:
        self._client.connection_ended(self._connection_id, ending)
