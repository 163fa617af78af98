"""The interfaces of the session's I/O: transports, which it drives, and taps, which watch it.

A transport is one connection, from its opening to its end. The I/O gives it frames and tells it to close; both return at once.
The transport reports what happens on the network until `close` is called, and nothing after that. Each transport runs in its own
task (`run`); when that returns, the connection has ended and its stream is closed.

A tap gets every input, action and outcome of a session, in order, for recordings, diagrams and checks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from reference.protocol.actions import ClientAction
from reference.protocol.client.outcomes import Outcome
from reference.protocol.errors import RemoteError
from reference.protocol.events import Data
from reference.protocol.frames import Frame, RequestKind

CLOSING_S_MAX = 2.0
"""How long a transport may take to close with a code, in seconds: to send waiting frames and the close frame. Then it is cut."""


class ClientTransport(Protocol):
    """One connection."""

    def send(self, frame: Frame) -> None:
        """Send this frame after all earlier ones. Never waits."""
        ...

    def close(self, code: int | None, message: str) -> None:
        """Close after all frames given before; with code None, cut. Never waits; `run` returns within CLOSING_S_MAX."""
        ...

    def pause(self) -> None:
        """Stop reading frames until `resume`. Never waits."""
        ...

    def resume(self) -> None:
        """Resume reading."""
        ...

    async def run(self) -> None:
        """Open the connection and serve it until its end."""
        ...


class Reports(Protocol):
    """The reports of a transport about its connection, each with the connection's id."""

    def opened(self, connection_id: int) -> None:
        """The WebSocket is open. (Polling has no such report: its first request opens a connection.)"""
        ...

    def lost(self, connection_id: int, code: int | None, message: str, retry_after_ms: int | None) -> None:
        """The WebSocket could not be opened or has ended, with the peer's close code or without one."""
        ...

    def bytes_came(self, connection_id: int, request: RequestKind | None = None) -> None:
        """Bytes have arrived, perhaps a part of a large frame or of the answer to that request: the connection is alive."""
        ...

    def arrived(self, connection_id: int, frame: Frame) -> None:
        """A frame, or an answer. The receiver may pause the transport."""
        ...

    def malformed(self, connection_id: int, error: RemoteError) -> None:
        """A message that is not a frame of the protocol."""
        ...


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A frame as it was fed to the session."""

    connection_id: int
    frame: Frame


@dataclass(frozen=True, slots=True)
class LostConnection:
    """A connection could not be opened, or has ended; `code` is the peer's close code, None if there was none."""

    connection_id: int
    code: int | None
    message: str
    retry_after_ms: int | None


@dataclass(frozen=True, slots=True)
class QueuedPublish:
    """The application has published: the event is in the outbox under this ticket."""

    ticket: int
    event_type: str
    data: Data


Tapped = ReceivedFrame | LostConnection | QueuedPublish | ClientAction | Outcome
Tap = Callable[[int, Tapped], None]
"""Called with every input, action and outcome of the driver, in order, with the time in ns. An input and all its results have the
same time."""
