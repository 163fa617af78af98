"""The interface between the session's IO and a transport.

A transport is one connection, from its opening to its end. The IO gives it frames and tells it to close; both return at once. The
transport reports what happens on the network, until `close` is called; from then on it reports nothing. Each transport
runs in a task of its own (`run`) and has ended, with its stream closed, when that returns.
"""

from typing import Protocol

from reference.protocol.errors import RemoteError
from reference.protocol.frames import Frame, RequestKind

CLOSING_S_MAX = 2.0
"""How long a transport may take to close with a code, in seconds: to send what waits and the close frame. Then it is cut."""


class ClientTransport(Protocol):
    """One connection."""

    def send(self, frame: Frame) -> None:
        """Send this after everything given before. Never waits."""
        ...

    def close(self, code: int | None, message: str) -> None:
        """Close, after what was given before; with None, cut. Never waits; `run` returns within CLOSING_S_MAX."""
        ...

    def pause(self) -> None:
        """Read no further frames until `resume`. Never waits."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    async def run(self) -> None:
        """Open the connection and serve it until its end."""
        ...


class Reports(Protocol):
    """What a transport reports about its connection, each time with the connection's id."""

    def opened(self, connection_id: int) -> None:
        """The WebSocket is open. (Polling is never opened: its first request opens what it needs.)"""
        ...

    def lost(self, connection_id: int, code: int | None, message: str, retry_after_ms: int | None) -> None:
        """The WebSocket could not be opened or has ended, by the peer's close code or without one."""
        ...

    def bytes_came(self, connection_id: int, request: RequestKind | None = None) -> None:
        """Some bytes have arrived, perhaps a part of a large frame or of the answer to that request: the line is alive."""
        ...

    def arrived(self, connection_id: int, frame: Frame) -> None:
        """A frame, or an answer. It may pause the transport."""
        ...

    def malformed(self, connection_id: int, error: RemoteError) -> None:
        """Something that is no frame of the protocol."""
        ...
