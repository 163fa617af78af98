"""Frames: every message between client and server, as immutable values, and their encoding as JSON.

One frame is one JSON object with a `type`, in one WebSocket text message; over HTTP the same values are a request's parameters
and an answer's body. The types include the bounds, so a decoded frame is well formed; `states` decides whether it is allowed in
the present state.

The size of a message is checked before it is parsed, so a large one costs nothing but its bytes (10.6). A message that is not a
frame raises RemoteError with the close code to use.
"""

import json
from typing import Annotated, Literal, TypeVar, cast

import msgspec

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.events import CURSOR_BYTES_MAX, Data, Event, KeptData
from reference.protocol.limits import Limit
from reference.protocol.records import RunState

PROTOCOL_VERSION = 1
SUBPROTOCOL = "collab.v1.json"

# 4.1: the types of the fields.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:@+-]+$(?!\n)")]
Token = Annotated[str, msgspec.Meta(max_length=8192)]
TypeName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Ordinal = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
MILLISECONDS_MAX = 86_400_000
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MAX)]
TALLY_MAX = 1_000_000
Tally = Annotated[int, msgspec.Meta(ge=0, le=TALLY_MAX)]
RECOVERIES_MAX = 8
MESSAGES_MAX = 64
"""Messages in one publishMany."""

Start = Literal["snapshot", "oldest", "head"]
"""Where a session without a position begins: the newest snapshot and all events after it, all kept events, or only new ones."""
Outcome = Literal["fresh", "resumed", "snapshot", "reset"]
ResetReason = Literal["epoch", "expired", "ahead"]
FallbackReason = Literal["not_opened", "not_welcomed", "not_steady"]
"""How far the last WebSocket got before its client changed to polling."""


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", rename="camel", omit_defaults=True):
    """The base of every frame."""


# Frames from the client over WebSocket.


class Hello(Frame, frozen=True, tag="hello", kw_only=True):
    """The first frame on a connection. A position (epoch and number) makes it a resume.

    `client_id` identifies one client until it loses its memory: it must not be shared, nor reused by a program that no longer
    knows what it sent. `generation` counts that client's connections: of two, the server takes the higher as the newer.
    """

    protocol: int
    client_id: Id
    generation: Ordinal = 1
    token: Token | None = None
    session_id: Id | None = None
    epoch: Id | None = None
    after_sequence: Count | None = None
    start: Start = "snapshot"

    def __post_init__(self) -> None:
        if (self.epoch is None) != (self.after_sequence is None):
            raise ValueError("a position is an epoch and an afterSequence; send both or neither")


class Publish(Frame, frozen=True, tag="publish", kw_only=True):  # 4.3
    """One event to be sequenced.

    `after` is the client's number before this one, if that is not `client_sequence - 1`: the numbers between were given up. 0
    says that all earlier numbers are settled.
    """

    client_sequence: Ordinal
    event_type: TypeName
    data: Data
    after: Count | None = None

    def __post_init__(self) -> None:
        _check_after(self.after, self.client_sequence)


class Cursor(Frame, frozen=True, tag="cursor"):
    """This user's cursor: only the latest counts, it is neither numbered nor stored."""

    data: Data


class Ack(Frame, frozen=True, tag="ack"):
    """Everything up to this number has been delivered to the application."""

    sequence_number: Count


class Recovery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An outage that is over: from the loss of the connection until the session had a transport again.

    `silence_ms`: how long the connection had been silent when the client closed it; None if the peer reported the end.
    """

    recovery_ms: Milliseconds
    silence_ms: Milliseconds | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Client-side counts since the last report, which only the client can know. The server uses them for metrics only.

    `queued_messages` is not a count since the last report: it says how many publishes wait for an answer now.
    """

    failed_attempts: Tally = 0
    gaps: Tally = 0
    duplicates: Tally = 0
    failed_messages: Tally = 0
    queued_messages: Tally = 0
    recoveries: Annotated[tuple[Recovery, ...], msgspec.Meta(max_length=RECOVERIES_MAX)] = ()


# 4.6
class Ping(Frame, frozen=True, tag="ping"):
    """`round_trip_ms` is the round trip of the previous ping by the client's clock."""

    nonce: Count
    round_trip_ms: Annotated[float, msgspec.Meta(ge=0, le=MILLISECONDS_MAX)] | None = None
    report: Report | None = None


class Auth(Frame, frozen=True, tag="auth"):  # 4.7
    """A new token for this connection."""

    token: Token


class Bye(Frame, frozen=True, tag="bye"):  # 4.8
    """A clean leave: presence ends at once."""


# Frames from the server over WebSocket.


class Limits(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The server's limits, named as its settings; None: not reported, or no limit.

    A client keeps within the first two and `silence_max_ms` (`keepalive`); beyond the third its publishes are put off. The others
    are reported for information.
    """

    frame_bytes_max: int
    unanswered_max: int
    publishes_per_s: float
    body_bytes_max: int | None = None
    connections_per_user_max: int | None = None
    connections_max: int | None = None
    loaded_runs_max: int | None = None
    runs_per_user_per_minute_max: int | None = None
    hello_timeout_ms: int | None = None
    head_timeout_ms: int | None = None
    silence_max_ms: int | None = None
    slow_reader_timeout_ms: int | None = None
    events_kept_max: int | None = None


class Retry(msgspec.Struct, frozen=True, rename="camel"):
    """How the clients of a lost server should spread their first attempt: U(0, first_spread_ms)."""

    first_spread_ms: Milliseconds


class Welcome(Frame, frozen=True, tag="welcome", kw_only=True):  # 4.9
    """The answer to hello. Events after `after_sequence` follow. Unless the outcome is resumed, a snapshot at that number comes
    first (or none, if a fresh session asked to start at the oldest event or at the head)."""

    session_id: Id
    epoch: Id
    outcome: Outcome
    reason: ResetReason | None = None
    oldest: Count
    head: Count
    after_sequence: Count
    last_client_sequence: Count
    heartbeat_ms: Milliseconds
    limits: Limits
    retry: Retry
    active_users: tuple[str, ...]
    cursor_positions: dict[str, Data]
    server_time: int


class SnapshotFrame(Frame, frozen=True, tag="snapshot"):  # 4.10
    sequence_number: Count
    state: RunState


class Events(Frame, frozen=True, tag="events"):  # 4.11
    """Ascending and contiguous with all events before on this connection."""

    events: tuple[Event, ...]

    def __post_init__(self) -> None:
        _check_contiguous(self.events)


class Presence(Frame, frozen=True, tag="presence", kw_only=True):  # 4.12
    """The users who are present: all of them (`full`), or the changes since the last one on this connection."""

    full: tuple[str, ...] | None = None
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    server_time: int


class Cursors(Frame, frozen=True, tag="cursors", kw_only=True):  # 4.13
    """The cursor positions: all of them (`full`), or those that moved since the last one on this connection."""

    full: dict[str, Data] | None = None
    moved: dict[str, Data] = {}
    server_time: int


class Accepted(Frame, frozen=True, tag="accepted", kw_only=True):  # 4.14
    """The publish is durable under this number. `duplicate`: an earlier copy had been accepted."""

    client_sequence: Ordinal
    sequence_number: Ordinal
    duplicate: bool = False


class Rejected(Frame, frozen=True, tag="rejected", kw_only=True):  # 4.15
    """The publish is refused, for good unless `retryable`."""

    client_sequence: Ordinal
    code: str
    message: str
    retryable: bool = False
    retry_after_ms: Milliseconds | None = None


class Heartbeat(Frame, frozen=True, tag="heartbeat"):  # 4.16
    """Sent to a reader that was sent everything up to `head`: if the reader has less, something was lost."""

    head: Count


class Pong(Frame, frozen=True, tag="pong"):  # 4.17
    nonce: Count
    server_time: int


class Expiring(Frame, frozen=True, tag="expiring"):
    """The token expires in this many ms; after the grace period the connection is closed."""

    in_ms: Milliseconds


class Goaway(Frame, frozen=True, tag="goaway", kw_only=True):  # 4.19
    """Reconnect after retryAfter + U(0, spread)."""

    code: int
    retry_after_ms: Milliseconds
    spread_ms: Milliseconds


class Error(Frame, frozen=True, tag="error", kw_only=True):  # 4.20
    """Why the connection is going to be closed."""

    code: int
    message: str


# Requests and answers over HTTP.


class PollRequest(Frame, frozen=True, tag="poll", kw_only=True):
    """GET .../poll. Without epoch the current one is meant. With `client_id` the poll also keeps the user present, and may carry
    a report as a ping does."""

    after_sequence: Count | None = None
    epoch: Id | None = None
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=25_000)] = 0
    client_id: Id | None = None
    session_id: Id | None = None
    generation: Ordinal = 1
    start: Start = "snapshot"
    fallback: FallbackReason | None = None
    report: Report | None = None


class PollAnswer(Frame, frozen=True, tag="polled", kw_only=True):
    """The answer to a poll: the same events, in the same form, as over WebSocket. `has_more`: poll again at once."""

    run_id: str
    session_id: Id | None = None
    epoch: Id
    outcome: Outcome
    reason: ResetReason | None = None
    oldest: Count
    head: Count
    after_sequence: Count
    last_client_sequence: Count
    events: tuple[Event, ...]
    has_more: bool = False
    snapshot: SnapshotFrame | None = None
    active_users: tuple[str, ...]
    cursor_positions: dict[str, Data]
    server_time: int

    def __post_init__(self) -> None:
        _check_contiguous(self.events)


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One publish of a POST; the fields are those of `Publish`."""

    client_sequence: Ordinal
    event_type: TypeName
    data: Data
    after: Count | None = None

    def __post_init__(self) -> None:
        _check_after(self.after, self.client_sequence)

    def as_frame(self) -> Publish:
        """The same publish as a WebSocket frame."""
        return Publish(client_sequence=self.client_sequence, event_type=self.event_type, data=self.data, after=self.after)


class PublishRequest(Frame, frozen=True, tag="publishMany", kw_only=True):
    """POST .../publish."""

    client_id: Id
    generation: Ordinal = 1
    messages: Annotated[tuple[Message, ...], msgspec.Meta(max_length=MESSAGES_MAX)] = ()
    cursor: Data | None = None


class PublishAnswer(Frame, frozen=True, tag="published"):
    """One result for each message, in their order. epoch: the history that has the accepted events; a client that polls may not
    know it yet."""

    results: tuple[Accepted | Rejected, ...]
    epoch: Id | None = None


RequestKind = Literal["poll", "publishMany"]


class RequestFailed(Frame, frozen=True, tag="requestFailed", kw_only=True):
    """Created by the polling transport itself, never sent: a request ended without the server's answer.

    `code` is the protocol's code if the server gave one, else None.
    """

    request: RequestKind
    code: int | None = None
    message: str = ""
    retry_after_ms: int | None = None


ClientFrame = Hello | Publish | Cursor | Ack | Ping | Auth | Bye
ServerFrame = (
    Welcome | SnapshotFrame | Events | Presence | Cursors | Accepted | Rejected | Heartbeat | Pong | Expiring | Goaway | Error
)
RequestFrame = PollRequest | PublishRequest
AnswerFrame = PollAnswer | PublishAnswer


def _check_contiguous(events: tuple[Event, ...]) -> None:
    before = events[0].sequence_number if events else None
    if events and (before is None or before < 1):
        raise ValueError("an event without a sequence number among numbered ones")
    for event in events[1:]:
        assert before is not None, "checked above, and equal to a number ever since"
        before += 1
        if event.sequence_number != before:
            raise ValueError(f"event {event.sequence_number} stands where {before} belongs")


def _check_after(after: int | None, client_sequence: int) -> None:
    if after is not None and after >= client_sequence:
        raise ValueError("after must be below clientSequence")


# Encoding.

FRAME_BYTES_MAX = 64 * 1024
"""The largest frame that a server accepts from a client, in bytes; the default of its setting."""
SERVER_FRAME_BYTES_MAX = 8 * 1024 * 1024
"""The largest frame that a client accepts from a server, in bytes: a snapshot may be large."""
_CURSOR_BYTES_READ_MAX = 8 * CURSOR_BYTES_MAX
"""A larger cursor is not parsed; how much of it is white space does not matter."""
_NOTHING = KeptData(b"null")


class _KeptPublish(Publish, frozen=True, tag="publish", kw_only=True):
    data: KeptData  # type: ignore[assignment]  # decoded as raw bytes; returned as a Publish


class _KeptCursor(Cursor, frozen=True, tag="cursor"):
    data: KeptData  # type: ignore[assignment]  # as above


class _KeptMessage(Message, frozen=True, kw_only=True):
    data: KeptData  # type: ignore[assignment]  # as above


class _KeptRequest(PublishRequest, frozen=True, tag="publishMany", kw_only=True):
    messages: Annotated[tuple[_KeptMessage, ...], msgspec.Meta(max_length=MESSAGES_MAX)] = ()
    cursor: KeptData = _NOTHING  # type: ignore[assignment]  # as above; msgspec keeps no bytes in a union


_Received = Hello | _KeptPublish | _KeptCursor | Ack | Ping | Auth | Bye
_encoder = msgspec.json.Encoder()
_client_decoder: "msgspec.json.Decoder[ClientFrame]" = msgspec.json.Decoder(ClientFrame)
_kept_decoder: "msgspec.json.Decoder[_Received]" = msgspec.json.Decoder(_Received)
_kept_request_decoder = msgspec.json.Decoder(_KeptRequest)
_server_decoder: "msgspec.json.Decoder[ServerFrame]" = msgspec.json.Decoder(ServerFrame)
_publish_request_decoder = msgspec.json.Decoder(PublishRequest)
_publish_answer_decoder = msgspec.json.Decoder(PublishAnswer)
_poll_answer_decoder = msgspec.json.Decoder(PollAnswer)

T = TypeVar("T")


def encode(frame: msgspec.Struct) -> bytes:
    """The JSON of a frame, in UTF-8. Equal frames give equal bytes."""
    return _encoder.encode(frame)


def encoded_bytes(value: object) -> int:
    """Size of `value` as JSON, in bytes; raises what msgspec raises if it has no JSON form."""
    return memoryview(value).nbytes if type(value) is KeptData else len(_encoder.encode(value))


def decode_client_frame(message: str | bytes, bytes_max: int = FRAME_BYTES_MAX) -> ClientFrame:
    """Decode a client's frame; raises RemoteError TOO_BIG or BAD_FRAME, with the reason."""
    return _decode(_client_decoder, message, bytes_max)


def decode_received(message: str | bytes, bytes_max: int = FRAME_BYTES_MAX) -> ClientFrame | RemoteError:
    """Decode a client's frame on a server: the data of a publish stays raw (`KeptData`). A message that is not a frame is
    returned as the error, so that the other messages of the same read can be processed."""
    try:
        frame = _decode(_kept_decoder, message, bytes_max)
        if type(frame) is _KeptPublish:
            return Publish(
                client_sequence=frame.client_sequence,
                event_type=frame.event_type,
                data=_kept(frame.data, "$.data"),
                after=frame.after,
            )
        if type(frame) is _KeptCursor:
            return Cursor(_cursor(frame.data, "$.data"))
    except RemoteError as error:
        return error
    return frame


def decode_server_frame(message: str | bytes, bytes_max: int = SERVER_FRAME_BYTES_MAX) -> ServerFrame:
    """Decode a server's frame; raises RemoteError."""
    return _decode(_server_decoder, message, bytes_max)


def decode_publish_request(body: bytes, bytes_max: int) -> PublishRequest:
    """Decode the body of POST .../publish; its `type` may be left out. Raises RemoteError."""
    return _decode(_publish_request_decoder, body, bytes_max)


def decode_received_request(body: bytes, bytes_max: int) -> PublishRequest:
    """The same on a server, with raw data as in `decode_received`."""
    request = _decode(_kept_request_decoder, body, bytes_max)
    return PublishRequest(
        client_id=request.client_id,
        generation=request.generation,
        messages=tuple(
            Message(
                client_sequence=message.client_sequence,
                event_type=message.event_type,
                data=_kept(message.data, f"$.messages[{index}].data"),
                after=message.after,
            )
            for index, message in enumerate(request.messages)
        ),
        cursor=None if bytes(request.cursor) == b"null" else _cursor(request.cursor, "$.cursor"),
    )


def _kept(data: KeptData, where: str) -> Data:
    """A copy that does not keep the whole received message in memory."""
    if bytes(memoryview(data)[:1]) != b"{":
        raise RemoteError(CloseCode.BAD_FRAME, f"not a frame of this protocol: Expected `object` - at `{where}`")
    return cast("Data", data.copy())


def _cursor(data: KeptData, where: str) -> Data:
    size = len(memoryview(data))
    if size > _CURSOR_BYTES_READ_MAX:
        raise RemoteError(
            CloseCode.BAD_FRAME, f"a cursor that cannot be kept: a cursor of {size} bytes; the limit is {CURSOR_BYTES_MAX}"
        )
    try:
        # Not msgspec: it takes 9 us for one number near the largest float, forty times as long.
        cursor = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise RemoteError(CloseCode.BAD_FRAME, f"a cursor that cannot be kept: {error}") from None
    if not isinstance(cursor, dict):
        raise RemoteError(CloseCode.BAD_FRAME, f"not a frame of this protocol: Expected `object` - at `{where}`")
    return cursor


def decode_answer(request: RequestFrame, body: bytes, bytes_max: int = SERVER_FRAME_BYTES_MAX) -> AnswerFrame:
    """Decode the body of a successful answer to `request`; raises RemoteError."""
    if isinstance(request, PollRequest):
        return _decode(_poll_answer_decoder, body, bytes_max)
    return _decode(_publish_answer_decoder, body, bytes_max)


def _decode(decoder: "msgspec.json.Decoder[T]", message: str | bytes, bytes_max: int) -> T:
    size = len(message)
    if isinstance(message, str) and not message.isascii():
        size = len(message.encode(errors="surrogatepass"))
    if size > bytes_max:
        raise RemoteError(CloseCode.TOO_BIG, f"a frame of {size} bytes; the limit is {bytes_max}", Limit.FRAME_BYTES)
    try:
        return decoder.decode(message)
    except msgspec.ValidationError as error:
        raise RemoteError(CloseCode.BAD_FRAME, f"not a frame of this protocol: {error}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise RemoteError(CloseCode.BAD_FRAME, f"not JSON: {error}") from None
    except RecursionError:
        raise RemoteError(CloseCode.BAD_FRAME, "JSON that nests too deeply") from None
