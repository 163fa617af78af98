"""Outcomes: what a client session reports to its application.

The application reads one stream: events in order, and between them reports such as lost history. A sequenced event is never
skipped without `SnapshotReceived` or `ResetReceived` in its place.
"""

import enum

import msgspec

from reference.protocol.events import Event
from reference.protocol.frames import ResetReason
from reference.protocol.records import Snapshot
from reference.protocol.states import ClientState


class FailureCode(enum.StrEnum):
    """Why a publish failed for good without a refusal by the server (a refusal has its RejectCode)."""

    EXPIRED = "expired"
    DROPPED = "dropped"
    CLOSED = "closed"
    TOO_BIG = "too_big"


class SnapshotReceived(msgspec.Struct, frozen=True):
    """The state of the run at `sequence_number`; later events follow. `reason` is None at the start of a session."""

    epoch: str
    snapshot: Snapshot
    reason: ResetReason | None


class ResetReceived(msgspec.Struct, frozen=True):
    """The history that this client knew is lost; discard it and start from this snapshot of the new one."""

    epoch: str
    snapshot: Snapshot
    reason: ResetReason | None


class PublishAccepted(msgspec.Struct, frozen=True):
    """The publish with this ticket is durable under this number, in the history of this epoch. The application may learn of that
    epoch only later, with the next poll or when it reads again. None: the server did not say."""

    ticket: int
    sequence_number: int
    duplicate: bool
    epoch: str | None = None


class PublishFailed(msgspec.Struct, frozen=True):
    """The publish with this ticket was given up. `may_have_arrived`: a copy was sent and never answered, now or before a history
    was lost."""

    ticket: int
    code: str
    message: str
    may_have_arrived: bool


class StateChanged(msgspec.Struct, frozen=True):
    """The session's state or `is_carried` has changed. is_carried: a welcomed WebSocket or answered polls carry the session
    (protocol 7.42)."""

    state: ClientState
    is_carried: bool


class NotConnected(msgspec.Struct, frozen=True):
    """Why the session has no transport: its connection was lost, or an attempt failed. Each reason is reported once until the
    session has a transport again. `code` is the server's close code, None if it sent none."""

    code: int | None
    reason: str


class SessionEnded(msgspec.Struct, frozen=True):
    """The session is over. `code` is a close code, or None if this side ended it."""

    code: int | None
    message: str


Outcome = Event | SnapshotReceived | ResetReceived | PublishAccepted | PublishFailed | StateChanged | NotConnected | SessionEnded
