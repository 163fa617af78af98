"""Actions: what a machine asks its driver to do. The driver carries them out in order and decides nothing.

A connection has a number, chosen by the side that opened it and never reused. A WebSocket carries frames in both directions. A
client's polling transport is one connection too: each request frame on it is followed by one answer frame (or `RequestFailed`).
On the server each of those requests is a connection of its own.
"""

import msgspec

from reference.protocol.frames import Events, Frame
from reference.protocol.saved_session import Change
from reference.protocol.states import Transport


class Open(msgspec.Struct, frozen=True):
    """Client: open a connection; report `connection_opened` or `connection_lost`. For polling nothing is reported: requests may
    follow at once."""

    connection_id: int
    transport: Transport
    token: str | None


class Send(msgspec.Struct, frozen=True):
    """Send one frame on each of these connections, encoded once."""

    connection_ids: tuple[int, ...]
    frame: Frame


class Close(msgspec.Struct, frozen=True):
    """Close these connections, after the frames sent before. Report nothing more about them.

    `code` None: cut the connection without a close code, because the peer does not answer. For an HTTP request: answer with this
    error.
    """

    connection_ids: tuple[int, ...]
    code: int | None
    message: str
    retry_after_ms: int | None = None


class RefreshToken(msgspec.Struct, frozen=True):
    """Client: get a new token from the application and give it to `handle_token`."""


class PauseReading(msgspec.Struct, frozen=True):
    """Client: stop reading frames from this connection, so that TCP slows the server down. Frames already read may still be fed.
    Polling needs no action: the next request waits until the answer was taken."""

    connection_id: int


class ResumeReading(msgspec.Struct, frozen=True):
    """Client: resume reading from this connection."""

    connection_id: int


class Save(msgspec.Struct, frozen=True):
    """Client: save this change before carrying out the next actions. Only a session created with `saves` emits it."""

    change: Change


class Authenticate(msgspec.Struct, frozen=True):
    """Server: authenticate this token and report the result with `handle_authenticated`."""

    connection_id: int
    token: str | None


class Deliver(msgspec.Struct, frozen=True):
    """Server: push this batch, encoded and framed once, to each of these readers without blocking.

    Report `handle_refused` for a reader whose socket took nothing, `handle_blocked` for one whose socket took the batch and is
    now full.
    """

    connection_ids: tuple[int, ...]
    frame: Events
    first: int
    last: int


class Retire(msgspec.Struct, frozen=True):
    """Server: this run has been idle for a while. Drop it from memory; load it again when a client connects."""


ClientAction = Open | Send | Close | RefreshToken | PauseReading | ResumeReading | Save
ServerAction = Send | Close | Authenticate | Deliver | Retire
