"""A WebSocket at the server's end, as the run's driver sees it: a `Socket` over a simulated TCP connection."""

from collections.abc import Sequence
from typing import Protocol

from reference.protocol import frames
from reference.protocol.actions import Close
from simulation.network.connection import Ending, TcpConnection
from simulation.network.websocket_connection import WebSocketConnection

Measured = tuple[frames.Frame, int]
"""A frame, and its size on the wire in bytes."""


class Sender(Protocol):
    """The process of a peer."""

    def sends(self, link: TcpConnection, frame: frames.Frame) -> int:
        """A frame is about to be sent. Returns when, in ns from now, including the cost of sending."""

    def closed(self, connection_id: int) -> None:
        """The process has closed this connection."""


class Peer:
    """A reader of one run."""

    __slots__ = ("_sender", "connection_id", "link")

    def __init__(self, connection_id: int, link: WebSocketConnection, sender: Sender) -> None:
        self.connection_id = connection_id
        self.link = link
        self._sender = sender

    @property
    def is_blocked(self) -> bool:
        """As Socket.is_blocked."""
        return self.link.is_blocked()

    def push(self, item: Measured) -> bool:
        """As Socket.push."""
        frame, size_bytes = item
        link = self.link
        link.send_to_client(frame, size_bytes, self._sender.sends(link, frame))
        return link.is_blocked()

    def close(self, waiting: Sequence[Measured], close: Close) -> None:
        """As Socket.close."""
        for item in waiting:
            self.push(item)
        self._sender.closed(self.connection_id)
        self.link.server_leaves(Ending(close.code, close.message, close.retry_after_ms))
