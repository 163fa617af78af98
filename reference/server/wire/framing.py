"""Encoding and decoding of WebSocket frames (RFC 6455, section 5).

Encoding: a server's frames have no mask, so the bytes of a frame are the same for every reader and are built once.

Decoding: `MessageReader` drives wsproto's frame layer and returns all messages of one read at once. It checks what wsproto does
not: the size of a message in bytes, the number of its fragments, and that it is text. After a violation it reads on only for the
peer's close frame.
"""

import struct
from dataclasses import dataclass, field

from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit

NORMAL = 1000
"""Close code: the purpose of the connection is fulfilled."""
SERVER_GOES = 1001
"""Close code: this server is going down."""
UPGRADE_LOST = 1002
"""Only in HTTP answers to a broken upgrade: a proxy has removed the headers that make it an upgrade. The protocol has no code for
that; one of 44xx would mean that the client is at fault, and it would never reconnect."""
INTERNAL_ERROR = 1011
"""Close code: a fault of this server; also in HTTP answers with status 500."""
NO_CODE = 1005
"""Stands for a close frame without a code; never sent."""

_FIN = 0x80
_TEXT, _CLOSE, _PONG = 0x1, 0x8, 0xA
_CONTROL_PAYLOAD_BYTES_MAX = 125


def frame_text(payload: bytes) -> bytes:
    """One whole text message as one unmasked frame; `payload` is UTF-8."""
    return _header(_FIN | _TEXT, len(payload)) + payload


def frame_close(code: int, reason: str = "") -> bytes:
    """A close frame; `reason` is cut to the 123 bytes that fit, between characters."""
    if not (code in (NORMAL, SERVER_GOES, INTERNAL_ERROR) or 3000 <= code <= 4999):
        raise ValueError(f"{code} is not a code that an application may close with: use 1000, 1001, 1011 or 3000 to 4999")
    text = reason.encode(errors="replace")[: _CONTROL_PAYLOAD_BYTES_MAX - 2].decode(errors="ignore").encode()
    payload = struct.pack("!H", code) + text
    return _header(_FIN | _CLOSE, len(payload)) + payload


def frame_close_echo(close: "PeerClose") -> bytes:
    """The answer to the peer's close frame: the same code, or none."""
    if close.code == NO_CODE:
        return _header(_FIN | _CLOSE, 0)
    payload = struct.pack("!H", close.code) + close.reason.encode()
    return _header(_FIN | _CLOSE, len(payload)) + payload


def frame_pong(payload: bytes) -> bytes:
    """The answer to a ping with that payload."""
    return _header(_FIN | _PONG, len(payload)) + payload


def _header(first_byte: int, payload_bytes: int) -> bytes:
    if payload_bytes <= 125:
        return struct.pack("!BB", first_byte, payload_bytes)
    if payload_bytes < 2**16:
        return struct.pack("!BBH", first_byte, 126, payload_bytes)
    return struct.pack("!BBQ", first_byte, 127, payload_bytes)


@dataclass(frozen=True, slots=True)
class PeerClose:
    """The peer's close frame. `code` is NO_CODE if it had none."""

    code: int
    reason: str


@dataclass(slots=True)
class Read:
    """The result of one read."""

    messages: list[str | RemoteError] = field(default_factory=list)
    """Whole text messages, in order. An error, as the last one, stands for a message that a client must not send."""
    frames: int = 0
    """Complete frames of all kinds, which count towards the frame rate limit."""
    pings: list[bytes] = field(default_factory=list)
    """The payloads of pings."""


class MessageReader:
    """Converts a client's bytes to messages; holds at most one incomplete message."""

    def __init__(self, *, message_bytes_max: int, fragments_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._fragments_max = fragments_max
        self._frames = FrameProtocol(client=False, extensions=[])
        self._parts: list[str] = []
        self._part_bytes = 0
        self._fragments = 0
        self._is_spoilt = False
        self.close: PeerClose | None = None
        """The peer's close frame, once it has arrived; everything after it is ignored."""

    def feed(self, data: bytes) -> Read:
        """Take the next bytes; b"" for none."""
        read = Read()
        self._frames.receive_bytes(data)
        try:
            for frame in self._frames.received_frames():
                if frame.frame_finished:
                    read.frames += 1
                payload = frame.payload
                if isinstance(payload, str):
                    if not self._is_spoilt:
                        self._take_text(payload, frame.frame_finished, frame.message_finished, read)
                elif isinstance(payload, tuple):
                    self.close = PeerClose(int(payload[0]), payload[1])
                    break
                elif frame.opcode is Opcode.PING:
                    read.pings.append(bytes(payload))
                elif frame.opcode is Opcode.BINARY:
                    self._refuse(read, CloseCode.BAD_FRAME, "binary message; send JSON as text")
        except ParseFailed as error:
            self._refuse(read, CloseCode.BAD_FRAME, f"not WebSocket: {error}")
        return read

    def _take_text(self, part: str, ends_frame: bool, ends_message: bool, read: Read) -> None:
        if ends_message and not self._parts and _size(part) <= self._message_bytes_max:
            read.messages.append(part)  # complete, the usual case
            return
        self._parts.append(part)
        self._part_bytes += _size(part)
        self._fragments += ends_frame
        if self._part_bytes > self._message_bytes_max:
            reason = f"message longer than {self._message_bytes_max} bytes"
            self._refuse(read, CloseCode.TOO_BIG, reason, Limit.FRAME_BYTES)
        elif self._fragments > self._fragments_max:
            reason = f"message in more than {self._fragments_max} fragments"
            self._refuse(read, CloseCode.TOO_BIG, reason, Limit.FRAME_BYTES)
        elif ends_message:
            read.messages.append("".join(self._parts))
            self._parts, self._part_bytes, self._fragments = [], 0, 0

    def _refuse(self, read: Read, code: CloseCode, reason: str, limit: Limit | None = None) -> None:
        if not self._is_spoilt:
            self._is_spoilt = True
            self._parts = []
            read.messages.append(RemoteError(code, reason, limit))


def _size(text: str) -> int:
    """Size in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
