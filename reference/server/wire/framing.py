"""WebSocket frames, as far as the server touches them itself (RFC 6455, section 5).

Out: a server's frames carry no mask, so the bytes of one are the same for every reader and are made once. We
make text frames, which are pushed to many, and the close frame, which must go out without waiting. Everything
else (the opening handshake, reading, pongs) is trio-websocket's.

In: trio-websocket counts the characters of a message when it has them, joins any number of empty fragments,
and closes with 1009, which our clients take for a proxy's whim and retry for ever. So the `MessageMeter`
reads over the headers of the incoming frames before trio-websocket sees them: it knows a message that is too
long, in bytes, from the first header that makes it so, before the payload is in memory, and it knows when the
peer's close frame has come.
"""

import struct
from dataclasses import dataclass

from reference.protocol.errors import CloseCode

NORMAL = 1000
"""Close code: the purpose of the connection is fulfilled."""
SERVER_GOES = 1001
"""Close code: this server is going down."""
UPGRADE_LOST = 1002
"""Only in answers of HTTP, to what was to be an upgrade and is none: something on the way took from it what makes it one. No code
of the protocol says that; one of 44xx would mean that the client is at fault, and it would never come back."""
INTERNAL_ERROR = 1011
"""Close code: a fault of this server; HTTP answers with status 500 carry it too."""
NO_CODE = 1005
"""What a close frame without a code counts as; never on the wire."""

_FIN = 0x80
_MASKED = 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0x0, 0x1, 0x2, 0x8
_CONTROL = 0x8  # the bit that all control opcodes share
_CLOSE_PAYLOAD_BYTES_MAX = 125

CLOSE_FRAME_FIRST_BYTE = _FIN | _CLOSE


def frame_text(payload: bytes) -> bytes:
    """One whole text message as one unmasked frame; `payload` is UTF-8."""
    return _header(_FIN | _TEXT, len(payload)) + payload


def frame_close(code: int, reason: str = "") -> bytes:
    """A close frame; `reason` is cut to the 123 bytes that fit, between characters."""
    if not (code in (NORMAL, SERVER_GOES, INTERNAL_ERROR) or 3000 <= code <= 4999):
        raise ValueError(f"{code} is not a code that an application may close with: use 1000, 1001, 1011 or 3000 to 4999")
    text = reason.encode(errors="replace")[: _CLOSE_PAYLOAD_BYTES_MAX - 2].decode(errors="ignore").encode()
    payload = struct.pack("!H", code) + text
    return _header(CLOSE_FRAME_FIRST_BYTE, len(payload)) + payload


def _header(first_byte: int, payload_bytes: int) -> bytes:
    if payload_bytes <= 125:
        return struct.pack("!BB", first_byte, payload_bytes)
    if payload_bytes < 2**16:
        return struct.pack("!BBH", first_byte, 126, payload_bytes)
    return struct.pack("!BBQ", first_byte, 127, payload_bytes)


@dataclass(frozen=True, slots=True)
class Violation:
    """What a client sent that it must not send, as the code and reason to close with."""

    code: CloseCode
    reason: str


class MessageMeter:
    """Follows the frame headers in a client's bytes; holds a header at most, never a payload."""

    def __init__(self, *, message_bytes_max: int, fragments_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._fragments_max = fragments_max
        self._header = bytearray()
        self._payload_left_bytes = 0
        self._message_bytes = 0
        self._fragments = 0
        self.violation: Violation | None = None
        self.is_close_seen = False
        """Whether the header of the peer's close frame has come: nothing that matters can follow."""

    def feed(self, data: bytes) -> int:
        """Follow `data` and return how many of its bytes come before the first violation: all of them if
        there is none.

        After a violation it still follows the headers, so that the peer's close frame is recognised.
        """
        good = 0 if self.violation else len(data)
        position = 0
        start = 0  # of the header at hand; one that began in earlier data has no byte to take back here
        while position < len(data):
            if self._payload_left_bytes:
                step = min(self._payload_left_bytes, len(data) - position)
                self._payload_left_bytes -= step
                position += step
                continue
            if not self._header:
                start = position
            position += self._take_header(data, position)
            if len(self._header) == _header_bytes(self._header):
                had_violation = self.violation is not None
                self._end_header()
                if self.violation and not had_violation:
                    good = start
        return good

    def _take_header(self, data: bytes, position: int) -> int:
        """Add to the header what it still lacks; return how many bytes that were."""
        missing = _header_bytes(self._header) - len(self._header)
        piece = data[position : position + missing]
        self._header += piece
        return len(piece)

    def _end_header(self) -> None:
        opcode = self._header[0] & 0x0F
        self._payload_left_bytes = _payload_bytes(self._header)
        self._header.clear()
        if opcode & _CONTROL:
            self.is_close_seen = self.is_close_seen or opcode == _CLOSE
            return
        if opcode != _CONTINUATION:
            self._message_bytes = self._fragments = 0
        self._message_bytes += self._payload_left_bytes
        self._fragments += 1
        if self.violation is None:
            self.violation = self._judge(opcode)

    def _judge(self, opcode: int) -> Violation | None:
        if opcode == _BINARY:
            return Violation(CloseCode.BAD_FRAME, "binary message; send JSON as text")
        if self._message_bytes > self._message_bytes_max:
            return Violation(CloseCode.TOO_BIG, f"message longer than {self._message_bytes_max} bytes")
        if self._fragments > self._fragments_max:
            return Violation(CloseCode.TOO_BIG, f"message in more than {self._fragments_max} fragments")
        return None


def _header_bytes(header: bytearray) -> int:
    """How long a header that begins like this is, as far as one can tell; at least two bytes."""
    if len(header) < 2:
        return 2
    extended = {126: 2, 127: 8}.get(header[1] & 0x7F, 0)
    return 2 + extended + (4 if header[1] & _MASKED else 0)


def _payload_bytes(header: bytearray) -> int:
    short = header[1] & 0x7F
    if short == 126:
        return int.from_bytes(header[2:4], "big")
    if short == 127:
        return int.from_bytes(header[2:10], "big")
    return short
