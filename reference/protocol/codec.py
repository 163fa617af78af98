"""Encoding and decoding of frames. Input that is not a frame raises an error with the close code to use.

The size is checked before parsing, so a large message costs nothing but its bytes (10.6).
"""

import json
from typing import Annotated, TypeVar, cast

import msgspec

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.events import CURSOR_BYTES_MAX, Data, KeptData
from reference.protocol.limits import Limit

FRAME_BYTES_MAX = 64 * 1024
"""The largest frame that a server accepts from a client, in bytes; the default of its setting."""
_CURSOR_BYTES_READ_MAX = 8 * CURSOR_BYTES_MAX
"""A larger cursor is not parsed; how much of it is white space does not matter."""
SERVER_FRAME_BYTES_MAX = 8 * 1024 * 1024
"""The largest frame that a client accepts from a server, in bytes: a snapshot may be large."""


_NOTHING = KeptData(b"null")


class _KeptPublish(frames.Publish, frozen=True, tag="publish", kw_only=True):
    data: KeptData  # type: ignore[assignment]  # decoded as raw bytes; returned as a Publish


class _KeptCursor(frames.Cursor, frozen=True, tag="cursor"):
    data: KeptData  # type: ignore[assignment]  # as above


class _KeptMessage(frames.Message, frozen=True, kw_only=True):
    data: KeptData  # type: ignore[assignment]  # as above


class _KeptRequest(frames.PublishRequest, frozen=True, tag="publishMany", kw_only=True):
    messages: Annotated[tuple[_KeptMessage, ...], msgspec.Meta(max_length=frames.MESSAGES_MAX)] = ()
    cursor: KeptData = _NOTHING  # type: ignore[assignment]  # as above; msgspec keeps no bytes in a union


_Received = frames.Hello | _KeptPublish | _KeptCursor | frames.Ack | frames.Ping | frames.Auth | frames.Bye
_encoder = msgspec.json.Encoder()
_client_decoder: "msgspec.json.Decoder[frames.ClientFrame]" = msgspec.json.Decoder(frames.ClientFrame)
_kept_decoder: "msgspec.json.Decoder[_Received]" = msgspec.json.Decoder(_Received)
_kept_request_decoder = msgspec.json.Decoder(_KeptRequest)
_server_decoder: "msgspec.json.Decoder[frames.ServerFrame]" = msgspec.json.Decoder(frames.ServerFrame)
_publish_request_decoder = msgspec.json.Decoder(frames.PublishRequest)
_publish_answer_decoder = msgspec.json.Decoder(frames.PublishAnswer)
_poll_answer_decoder = msgspec.json.Decoder(frames.PollAnswer)

T = TypeVar("T")


def encode(frame: msgspec.Struct) -> bytes:
    """The JSON of a frame, in UTF-8. Equal frames give equal bytes."""
    return _encoder.encode(frame)


def encoded_bytes(value: object) -> int:
    """Size of `value` as JSON, in bytes; raises what msgspec raises if it has no JSON form."""
    return memoryview(value).nbytes if type(value) is KeptData else len(_encoder.encode(value))


def decode_client_frame(message: str | bytes, bytes_max: int = FRAME_BYTES_MAX) -> frames.ClientFrame:
    """Decode a client's frame; raises RemoteError TOO_BIG or BAD_FRAME, with the reason."""
    return _decode(_client_decoder, message, bytes_max)


def decode_received(message: str | bytes, bytes_max: int = FRAME_BYTES_MAX) -> frames.ClientFrame | RemoteError:
    """Decode a client's frame on a server: the data of a publish stays raw (`KeptData`). A message that is not a frame is
    returned as the error, so that the other messages of the same read can be processed."""
    try:
        frame = _decode(_kept_decoder, message, bytes_max)
        if type(frame) is _KeptPublish:
            return frames.Publish(
                client_sequence=frame.client_sequence,
                event_type=frame.event_type,
                data=_kept(frame.data, "$.data"),
                after=frame.after,
            )
        if type(frame) is _KeptCursor:
            return frames.Cursor(_cursor(frame.data, "$.data"))
    except RemoteError as error:
        return error
    return frame


def decode_server_frame(message: str | bytes, bytes_max: int = SERVER_FRAME_BYTES_MAX) -> frames.ServerFrame:
    """Decode a server's frame; raises RemoteError."""
    return _decode(_server_decoder, message, bytes_max)


def decode_publish_request(body: bytes, bytes_max: int) -> frames.PublishRequest:
    """Decode the body of POST .../publish; its `type` may be left out. Raises RemoteError."""
    return _decode(_publish_request_decoder, body, bytes_max)


def decode_received_request(body: bytes, bytes_max: int) -> frames.PublishRequest:
    """The same on a server, with raw data as in `decode_received`."""
    request = _decode(_kept_request_decoder, body, bytes_max)
    return frames.PublishRequest(
        client_id=request.client_id,
        generation=request.generation,
        messages=tuple(
            frames.Message(
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


def decode_answer(request: frames.RequestFrame, body: bytes, bytes_max: int = SERVER_FRAME_BYTES_MAX) -> frames.AnswerFrame:
    """Decode the body of a successful answer to `request`; raises RemoteError."""
    if isinstance(request, frames.PollRequest):
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
