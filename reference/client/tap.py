"""The tap: every input, action and outcome of a session, in order, for recordings, diagrams and checks."""

from collections.abc import Callable
from dataclasses import dataclass

from reference.protocol import frames
from reference.protocol.actions import ClientAction
from reference.protocol.client.outcomes import Outcome
from reference.protocol.events import Data


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    """A frame as it was fed to the session."""

    connection_id: int
    frame: frames.Frame


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
