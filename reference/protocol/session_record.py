"""What a client writes down of its session, so that it can be replayed with other parameters: times, numbers and sizes.

No token and no message is in it: an event is a type, a number and a size in bytes. One JSON object a line; the first is
`RecordStarted`. `at` is in ns since the recording began, by the client's monotonic clock. A recording may begin in the middle of
a session, and ends where the program or the disk did: a last line that is cut off is no error.
"""

import msgspec

from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Policy
from reference.protocol.states import ClientState, Transport

FORMAT_VERSION = 2


class _Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", omit_defaults=True, rename="camel"):
    at: int


class RecordStarted(_Line, frozen=True, kw_only=True, tag="record_started"):
    """began_ms: on the wall clock, in ms since 1970. state, is_carried: of the session at that moment."""

    format_version: int = FORMAT_VERSION
    began_ms: int
    run_id: str
    client_id: str
    state: ClientState
    is_carried: bool
    config: ClientConfig
    policy: Policy | None = None
    """None: one that this format does not know."""


class PublishQueued(_Line, frozen=True, kw_only=True, tag="queued"):
    ticket: int
    event_type: str
    size_bytes: int


class PublishSettled(_Line, frozen=True, kw_only=True, tag="settled"):
    """Either `sequence_number` (accepted) or `code` (given up) is set."""

    ticket: int
    sequence_number: int | None = None
    code: str | None = None


class ConnectionTried(_Line, frozen=True, kw_only=True, tag="tried"):
    connection_id: int
    transport: Transport


class ConnectionEnded(_Line, frozen=True, kw_only=True, tag="ended"):
    """by_client: the client left it (it had gone silent, or was not needed any more); else the network or the server ended it."""

    connection_id: int
    by_client: bool
    code: int | None = None


class SessionTurned(_Line, frozen=True, kw_only=True, tag="turned"):
    """is_carried: whether a welcomed WebSocket or answered polls carry the session."""

    state: ClientState
    is_carried: bool


class RoundTripTaken(_Line, frozen=True, kw_only=True, tag="round_trip"):
    round_trip_ms: float


class EventCame(_Line, frozen=True, kw_only=True, tag="event"):
    """A sequenced event was handed to the application; one's own as well."""

    sequence_number: int
    event_type: str
    size_bytes: int


class SnapshotCame(_Line, frozen=True, kw_only=True, tag="snapshot"):
    """A state was handed to the application in place of the events up to this number. is_reset: its history was gone."""

    sequence_number: int
    is_reset: bool = False


SessionLine = (
    RecordStarted
    | PublishQueued
    | PublishSettled
    | ConnectionTried
    | ConnectionEnded
    | SessionTurned
    | RoundTripTaken
    | EventCame
    | SnapshotCame
)

_encoder = msgspec.json.Encoder()
_decoder: "msgspec.json.Decoder[SessionLine]" = msgspec.json.Decoder(SessionLine)


def encode_line(line: SessionLine) -> bytes:
    """One line, with its end."""
    return _encoder.encode(line) + b"\n"


def decode_lines(content: bytes) -> list[SessionLine]:
    """All lines of a recording. Raises ConfigError with the line that is none; a last line without its end is left out."""
    lines: list[SessionLine] = []
    *whole, _ = content.split(b"\n")
    for number, line in enumerate(whole, start=1):
        try:
            lines.append(_decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ConfigError(f"line {number} is no line of a session's record: {error}") from None
    if not lines or not isinstance(lines[0], RecordStarted) or lines[0].format_version != FORMAT_VERSION:
        raise ConfigError(f"a session's record begins with record_started, format version {FORMAT_VERSION}")
    return lines
