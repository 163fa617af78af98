"""What a client's tap is told, as records: the one way from a real session into a trace.

The laboratory does not import the shells. It knows what a tap is told by its shape.
"""

from typing import Any, Protocol, runtime_checkable

from reference.protocol.actions import Close, Open, RefreshToken, Send
from reference.protocol.events import Data
from reference.protocol.frames import Frame
from simulation.recording import record_actions, record_answers, record_frame, record_loss, record_outcomes
from simulation.trace import Published, Trace


@runtime_checkable
class _Queued(Protocol):
    """The application has published."""

    ticket: int
    event_type: str
    data: Data


@runtime_checkable
class _Received(Protocol):
    """A frame has arrived."""

    connection_id: int
    frame: Frame


@runtime_checkable
class _Lost(Protocol):
    """A connection has ended."""

    connection_id: int
    code: int | None
    message: str
    retry_after_ms: int | None


def record_tapped(trace: Trace, client: str, what: Any, at: int) -> None:
    """Record what the tap of `client` was told; `at`: in ns since the trace began."""
    match what:
        case Open() | Close() | Send():
            record_actions(trace, client, [what], at)
        case RefreshToken():
            pass
        case _Queued(ticket=ticket, event_type=event_type, data=data):
            trace.add(Published(at=at, client=client, ticket=ticket, event_type=event_type, data=data))
        case _Lost(connection_id=connection_id, code=code, message=message, retry_after_ms=retry_after_ms):
            record_loss(trace, client, connection_id, at, code=code, message=message, retry_after_ms=retry_after_ms)
        case _Received(connection_id=connection_id, frame=frame):
            record_frame(trace, client, connection_id, frame, at)
            record_answers(trace, client, frame, at)
        case _:
            record_outcomes(trace, client, [what], at)
