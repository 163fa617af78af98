"""What a client session reports to its application, beside the events themselves.

An application reads one stream: events in order, and between them the moments that it must know of. A sequenced event is
never skipped without one of `SnapshotReceived` or `ResetReceived` in its place.
"""

import enum

import msgspec

from reference.protocol.events import Event
from reference.protocol.frames import ResetReason
from reference.protocol.records import Snapshot
from reference.protocol.states import ClientState


class FailureCode(enum.StrEnum):
    """Why a publish failed for good, when it was not the server that refused it (those carry its RejectCode)."""

    EXPIRED = "expired"
    DROPPED = "dropped"
    CLOSED = "closed"
    TOO_BIG = "too_big"


class SnapshotReceived(msgspec.Struct, frozen=True):
    """The state of the run at some number; the events after it follow. `reason` is None at the start of a session."""

    epoch: str
    snapshot: Snapshot
    reason: ResetReason | None


class ResetReceived(msgspec.Struct, frozen=True):
    """The history that this client knew is gone; forget it and start from this snapshot of the new one."""

    epoch: str
    snapshot: Snapshot
    reason: ResetReason | None


class PublishAccepted(msgspec.Struct, frozen=True):
    """The publish with this ticket is durable under this number, in the history of this epoch: that may be one of which the
    application learns of it only later, by the next poll or when it reads again. None: the server did not say."""

    ticket: int
    sequence_number: int
    duplicate: bool
    epoch: str | None = None


class PublishFailed(msgspec.Struct, frozen=True):
    """The publish with this ticket is given up. `may_have_arrived`: a copy was sent and never answered, now or before a history
    was lost."""

    ticket: int
    code: str
    message: str
    may_have_arrived: bool


class StateChanged(msgspec.Struct, frozen=True):
    """The session is in another state, or it is carried now and was not, or the other way round. is_carried: a welcomed WebSocket
    or answered polls carry the session (protocol 7.42)."""

    state: ClientState
    is_carried: bool


class NotConnected(msgspec.Struct, frozen=True):
    """Why nothing carries the session now: its connection was lost, or an attempt failed. Each reason is reported once until
    something carries the session again. `code` is the server's close code, None if it gave none."""

    code: int | None
    reason: str


class SessionEnded(msgspec.Struct, frozen=True):
    """Nothing more will come. `code` is a close code, or None if this side ended it."""

    code: int | None
    message: str


Outcome = Event | SnapshotReceived | ResetReceived | PublishAccepted | PublishFailed | StateChanged | NotConnected | SessionEnded
