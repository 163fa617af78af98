"""Bytes to frames and back. Whatever cannot be a frame becomes one error with the code to close with.

Size is judged before anything is parsed, so a large message costs nothing but its bytes.
"""

from typing import TypeVar

import msgspec

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit

FRAME_BYTES_MAX = 64 * 1024
"""The largest frame that a server takes from a client, in bytes; the default of its setting."""
SERVER_FRAME_BYTES_MAX = 8 * 1024 * 1024
"""The largest frame that a client takes from a server, in bytes: a snapshot may be large."""

_encoder = msgspec.json.Encoder()
_client_decoder: "msgspec.json.Decoder[frames.ClientFrame]" = msgspec.json.Decoder(frames.ClientFrame)
_server_decoder: "msgspec.json.Decoder[frames.ServerFrame]" = msgspec.json.Decoder(frames.ServerFrame)
_publish_request_decoder = msgspec.json.Decoder(frames.PublishRequest)
_publish_answer_decoder = msgspec.json.Decoder(frames.PublishAnswer)
_poll_answer_decoder = msgspec.json.Decoder(frames.PollAnswer)

T = TypeVar("T")


def encode(frame: msgspec.Struct) -> bytes:
    """The JSON of a frame, in UTF-8. Equal frames give equal bytes."""
    return _encoder.encode(frame)


def encoded_bytes(value: object) -> int:
    """How many bytes `value` takes as JSON; raises what msgspec raises if it has no JSON form."""
    return len(_encoder.encode(value))


def decode_client_frame(message: str | bytes, bytes_max: int = FRAME_BYTES_MAX) -> frames.ClientFrame:
    """What a client sent; raises RemoteError TOO_BIG or BAD_FRAME, with what was wrong in it."""
    return _decode(_client_decoder, message, bytes_max)


def decode_or_error(message: str | bytes, bytes_max: int = FRAME_BYTES_MAX) -> frames.ClientFrame | RemoteError:
    """What a client sent, or, for one message among others, why it is no frame."""
    try:
        return decode_client_frame(message, bytes_max)
    except RemoteError as error:
        return error


def decode_server_frame(message: str | bytes, bytes_max: int = SERVER_FRAME_BYTES_MAX) -> frames.ServerFrame:
    """What a server sent; raises RemoteError."""
    return _decode(_server_decoder, message, bytes_max)


def decode_publish_request(body: bytes, bytes_max: int) -> frames.PublishRequest:
    """The body of POST .../publish; its `type` may be left out. Raises RemoteError."""
    return _decode(_publish_request_decoder, body, bytes_max)


def decode_answer(request: frames.RequestFrame, body: bytes, bytes_max: int = SERVER_FRAME_BYTES_MAX) -> frames.AnswerFrame:
    """The body of a successful answer to `request`; raises RemoteError."""
    if isinstance(request, frames.PollRequest):
        return _decode(_poll_answer_decoder, body, bytes_max)
    return _decode(_publish_answer_decoder, body, bytes_max)


def _decode(decoder: "msgspec.json.Decoder[T]", message: str | bytes, bytes_max: int) -> T:
    size = len(message) if isinstance(message, bytes) else len(message.encode(errors="surrogatepass"))
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
