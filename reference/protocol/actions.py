"""What a machine asks of its driver. A driver carries these out in order and decides nothing.

A connection is named by a number that the side which opened it chose; it is never used again. A WebSocket carries frames both
ways; the polling transport of a client is a connection too, on which each request frame is followed by one answer frame (or
`RequestFailed`); to the server each of those requests is a connection of its own.
"""

import msgspec

from reference.protocol.frames import Events, Frame
from reference.protocol.saved_session import Change
from reference.protocol.states import Transport


class Open(msgspec.Struct, frozen=True):
    """Client: open a connection; report `connection_opened` or `connection_lost`. For polling there is nothing to report:
    requests may follow at once."""

    connection_id: int
    transport: Transport
    token: str | None


class Send(msgspec.Struct, frozen=True):
    """Send one frame on each of these connections; encode it once."""

    connection_ids: tuple[int, ...]
    frame: Frame


class Close(msgspec.Struct, frozen=True):
    """Close these connections, after what was sent before. Report nothing about them any more.

    `code` None: cut it, the peer does not answer. On an HTTP request: answer with this error.
    """

    connection_ids: tuple[int, ...]
    code: int | None
    message: str
    retry_after_ms: int | None = None


class RefreshToken(msgspec.Struct, frozen=True):
    """Client: get a new token from the application and give it to `handle_token`."""


class PauseReading(msgspec.Struct, frozen=True):
    """Client: read no further frames from this connection, so that TCP slows the server down. Frames that were read already may
    still be fed. On polling there is nothing to do: the next request is not made before the answer was taken."""

    connection_id: int


class ResumeReading(msgspec.Struct, frozen=True):
    """Client: read from this connection again."""

    connection_id: int


class Save(msgspec.Struct, frozen=True):
    """Client: save this change before the actions that follow. Only a session that saves asks for it."""

    change: Change


class Authenticate(msgspec.Struct, frozen=True):
    """Server: find out whose token this is and report `handle_authenticated`."""

    connection_id: int
    token: str | None


class Deliver(msgspec.Struct, frozen=True):
    """Server: push this batch, encoded and framed once, to each of these readers without blocking.

    Report `handle_refused` for a reader that took nothing, `handle_blocked` for one that took it and can take no more now.
    """

    connection_ids: tuple[int, ...]
    frame: Events
    first: int
    last: int


class Retire(msgspec.Struct, frozen=True):
    """Server: nobody has been in this run for a while. Drop it from memory; load it anew when somebody comes."""


ClientAction = Open | Send | Close | RefreshToken | PauseReading | ResumeReading | Save
ServerAction = Send | Close | Authenticate | Deliver | Retire
