"""ServerWebSocket: one accepted WebSocket, in one task; and the encoding and decoding of its frames (RFC 6455, section 5).

`receive` returns a list: everything that one read has brought. Pings are answered here. Sending never waits: any task pushes
whole messages. Closing never waits either:

    the caller of `close` pushes our close frame after what was pushed before; nothing follows it, and the handler is cancelled.
    The connection's task then sends the rest of our bytes, and discards input until the peer's close frame arrives; after
    `close_timeout_s` it closes by force.

The handler must be in `receive` whenever it can: nothing else notices that the peer has closed. Input that it does not read is
not lost; it stays with the sender, which TCP slows down.

A server's frames have no mask, so the bytes of a frame are the same for every reader and are built once. `MessageReader` returns
all messages of one read at once. A message that is too long, has too many fragments or is not text is refused when the header of
its frame has arrived; after that only the peer's close frame is looked for.

A frame of six bytes costs as much to parse as a long one, so work is limited in frames: after `FRAMES_PER_TURN` the connection
waits for `PAUSE_S`, so that one that floods leaves most of the processor to others. While a connection is closing,
`CLOSING_FRAMES_MAX` are parsed for the peer's close frame; what follows is read and dropped.
"""

import base64
import hashlib
import math
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from reference.protocol.errors import CloseCode, RemoteError, SteadywireError
from reference.protocol.limits import Limit
from reference.server.wire.limits import WebSocketLimits
from reference.server.wire.push_stream import PushStream, StreamStatistics
from reference.server.wire.request_head import INTERNAL_ERROR, RequestHead

NORMAL = 1000
"""Close code: the purpose of the connection is fulfilled."""
SERVER_GOES = 1001
"""Close code: this server is going down."""
NO_CODE = 1005
"""Stands for a close frame without a code; never sent."""

FRAMES_PER_TURN = 100
"""Frames parsed at once: about a millisecond."""
PAUSE_S = 0.01
"""Between two such turns, if one read brought more: ten thousand frames per second, far above any useful limit of their rate."""
CLOSING_FRAMES_MAX = 256
"""Frames parsed while a connection is closing: what an honest peer had sent before it read our close frame."""

_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
"""Parts of a frame's first byte."""
_MASKED = 0x80
_OPCODES = _CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_KEY_BYTES = 4
_CONTROL_PAYLOAD_BYTES_MAX = 125
_PEER_CODES = (*range(1000, 1004), *range(1007, 1015))
"""Close codes below 3000 that a peer may send."""
_HANDSHAKE_ID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


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
    """Frames of all kinds, which count towards the frame rate limit: complete ones, and those of a message that is refused."""
    ping: bytes | None = None
    """The payload of the last ping: only this one needs an answer (RFC 6455, section 5.5.3)."""


class _NotWebSocket(Exception):
    """Bytes that no client of RFC 6455 sends."""


class MessageReader:
    """Converts a client's bytes to messages; holds at most one incomplete message."""

    __slots__ = (
        "_fragments_max",
        "_frames_left",
        "_is_spoilt",
        "_message_bytes_max",
        "_part_bytes",
        "_parts",
        "_skip",
        "_unread",
        "close",
        "is_behind",
    )

    def __init__(self, *, message_bytes_max: int, fragments_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._fragments_max = fragments_max
        self._unread = bytearray()
        """What is not parsed yet: the beginning of a frame, or more if `is_behind`."""
        self._skip = 0
        """How many of the next bytes are ignored: the rest of a frame that was refused."""
        self._parts: list[bytes] = []
        self._part_bytes = 0
        self._is_spoilt = False
        self._frames_left = math.inf
        self.is_behind = False
        """Whether there is more to parse: feed b"" before the next bytes."""
        self.close: PeerClose | None = None
        """The peer's close frame, once it has arrived; everything after it is ignored."""

    def feed(self, data: bytes) -> Read:
        """Take the next bytes; b"" for none. Parses at most FRAMES_PER_TURN."""
        read, unread, at = Read(), self._unread, self._skip
        self.is_behind = False
        if self._frames_left <= 0:
            return read
        unread += data
        frames_max = min(FRAMES_PER_TURN, self._frames_left)
        try:
            while self.close is None and (header := _header_at(unread, at)) is not None:
                if read.frames >= frames_max or (self._is_spoilt and read.messages):
                    self.is_behind = True
                    break
                first_byte, payload_at, next_at = header
                opcode = first_byte & _OPCODE
                if opcode < _CLOSE and not self._may_go_on(opcode, next_at - payload_at, read):
                    at = next_at
                    read.frames += 1
                    continue
                if next_at > len(unread):
                    break
                payload = _unmasked(unread[payload_at:next_at], unread[payload_at - _KEY_BYTES : payload_at])
                at = next_at
                read.frames += 1
                if opcode < _CLOSE:
                    self._take_text(payload, first_byte, read)
                elif opcode == _CLOSE:
                    self.close = _peer_close(payload)
                elif opcode == _PING:
                    read.ping = payload
        except (_NotWebSocket, UnicodeDecodeError) as error:
            self._refuse(read, CloseCode.BAD_FRAME, f"not WebSocket: {error}")
            self._frames_left = 0  # where the next frame begins is unknown
            at = len(unread)
        self._frames_left -= read.frames
        self._skip = max(0, at - len(unread))
        del unread[:at]
        return read

    def end_within(self, frames: int) -> None:
        """Parse so many frames more, for the peer's close frame, and then nothing."""
        self._frames_left = min(self._frames_left, frames)

    def _may_go_on(self, opcode: int, payload_bytes: int, read: Read) -> bool:
        """Whether the payload of a data frame is wanted. Raises _NotWebSocket."""
        if self._is_spoilt:
            return False
        if (opcode == _CONTINUATION) != bool(self._parts):
            raise _NotWebSocket("a message begins within another" if self._parts else "a continuation of no message")
        if opcode == _BINARY:
            self._refuse(read, CloseCode.BAD_FRAME, "binary message; send JSON as text")
        elif self._part_bytes + payload_bytes > self._message_bytes_max:
            reason = f"message longer than {self._message_bytes_max} bytes"
            self._refuse(read, CloseCode.TOO_BIG, reason, Limit.FRAME_BYTES)
        elif len(self._parts) >= self._fragments_max:
            reason = f"message in more than {self._fragments_max} fragments"
            self._refuse(read, CloseCode.TOO_BIG, reason, Limit.FRAME_BYTES)
        return not self._is_spoilt

    def _take_text(self, payload: bytes, first_byte: int, read: Read) -> None:
        if first_byte & _FIN and not self._parts:
            read.messages.append(payload.decode())  # complete, the usual case
            return
        self._parts.append(payload)
        self._part_bytes += len(payload)
        if first_byte & _FIN:
            read.messages.append(b"".join(self._parts).decode())
            self._parts, self._part_bytes = [], 0

    def _refuse(self, read: Read, code: CloseCode, reason: str, limit: Limit | None = None) -> None:
        if not self._is_spoilt:
            self._is_spoilt = True
            self._parts = []
            read.messages.append(RemoteError(code, reason, limit))


def _header_at(data: bytearray, at: int) -> tuple[int, int, int] | None:
    """Of the frame that begins at `at`: the first byte, where its payload begins, and where the next frame begins. None if its
    header is incomplete. Raises _NotWebSocket."""
    if len(data) < at + 2:
        return None
    first_byte, opcode = data[at], data[at] & _OPCODE
    payload_at, payload_bytes = at + 2, data[at + 1] & ~_MASKED
    if first_byte & _RESERVED or opcode not in _OPCODES:
        raise _NotWebSocket(f"a frame that begins with {first_byte:#04x}")
    if not data[at + 1] & _MASKED:
        raise _NotWebSocket("a frame without a mask")
    if opcode >= _CLOSE and (payload_bytes > _CONTROL_PAYLOAD_BYTES_MAX or not first_byte & _FIN):
        raise _NotWebSocket("a control frame that is too long or fragmented")
    if payload_bytes > _CONTROL_PAYLOAD_BYTES_MAX:
        more_bytes, least = (2, 126) if payload_bytes == 126 else (8, 2**16)
        payload_at += more_bytes
        if len(data) < payload_at:
            return None
        payload_bytes = int.from_bytes(data[at + 2 : payload_at], "big")
        if not least <= payload_bytes < 2**63:
            raise _NotWebSocket(f"a frame of {payload_bytes} bytes, which are written in another form")
    payload_at += _KEY_BYTES
    return None if len(data) < payload_at else (first_byte, payload_at, payload_at + payload_bytes)


def _unmasked(payload: bytearray, key: bytearray) -> bytes:
    size = len(payload)
    mask = (key * (size // _KEY_BYTES + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def _peer_close(payload: bytes) -> PeerClose:
    """Raises _NotWebSocket, or UnicodeDecodeError for its reason."""
    if not payload:
        return PeerClose(NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (code in _PEER_CODES or 3000 <= code <= 4999):
        raise _NotWebSocket("a close frame with a code that must not be sent")
    return PeerClose(code, payload[2:].decode())


class WebSocketClosed(SteadywireError):
    """The connection has ended or is about to; nothing more can be received or sent.

    `code` is the close code, ours or the peer's; None when the connection was cut without one.
    """

    def __init__(self, code: int | None, reason: str, *, by_peer: bool) -> None:
        super().__init__(f"closed by {'the peer' if by_peer else 'us'} with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


Handler = Callable[["ServerWebSocket"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Accept:
    """How to accept an upgrade: `handler` serves the connection; `subprotocol` is one that the client
    offered, or None.
    """

    handler: Handler
    subprotocol: str | None = None


class ServerWebSocket:
    """One WebSocket connection, from the server's side. All methods are for tasks of one trio run."""

    __slots__ = (
        "_answer",
        "_conversation",
        "_ended",
        "_handler",
        "_head",
        "_kept",
        "_limits",
        "_owed",
        "_pong",
        "_reader",
        "_stream",
        "path",
        "subprotocol",
    )

    def __init__(self, stream: PushStream, head: RequestHead, key: bytes, accept: Accept, limits: WebSocketLimits) -> None:
        """The upgrade `head` came on `stream`; `key` is `head.websocket_key()`. Bytes that came after the head are to be put back
        into `stream` before.
        """
        self.path = head.path
        self.subprotocol = accept.subprotocol
        self._head: RequestHead | None = head
        self._stream = stream
        self._handler = accept.handler
        self._limits = limits
        self._answer = _switching(key, accept)
        """To the upgrade, until it is sent."""
        self._reader = MessageReader(message_bytes_max=limits.message_bytes_max, fragments_max=limits.message_fragments_max)
        self._conversation = trio.CancelScope()
        self._ended: WebSocketClosed | None = None
        self._owed = b""
        """Our last bytes, including the close frame, if the socket was full."""
        self._kept: list[bytes] | None = None
        self._pong: bytes | None = None
        """The payload of the last ping that is unanswered because the socket was full."""

    @property
    def head(self) -> RequestHead:
        """The request that it began with, until `forget_beginning`."""
        assert self._head is not None, "the head is read before it is freed"
        return self._head

    # ---- sending ----

    def push_text(self, frames: bytes) -> bool:
        """Send whole messages, framed by `framing.frame_text`, without waiting and without raising.

        False: nothing was sent, because earlier bytes are still waiting (`flush` waits for them) or the
        connection has ended.
        """
        return self._ended is None and self._stream.push(frames)

    @property
    def blocked(self) -> bool:
        """Whether `push_text` would refuse now."""
        return self._ended is not None or self._stream.blocked

    async def flush(self) -> None:
        """Wait until all pushed bytes, and the answer to a ping that found no room, are with the operating system; raises
        WebSocketClosed."""
        while True:
            self._answer_ping()
            try:
                await self._stream.flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._has_ended(WebSocketClosed(None, "", by_peer=True))
            if self._ended is not None:
                raise self._ended
            if self._pong is None:
                return

    # ---- receiving ----

    async def receive(self) -> Read:
        """The next read, with at least one whole frame. Raises WebSocketClosed when the peer has ended the connection.

        One task at a time. After an error among the messages there is nothing more to receive: `close`.
        """
        while self._ended is None:
            if self._reader.is_behind:
                await trio.sleep(PAUSE_S)
                read = self._reader.feed(b"")
            else:
                data = await self._next_bytes()
                if not data:
                    self._ended = self._ended or WebSocketClosed(None, "", by_peer=True)
                    break
                if self._kept is not None:
                    self._kept.append(data)
                read = self._reader.feed(data)
            if read.ping is not None:
                self._pong = read.ping
                self._answer_ping()
            if self._reader.close is not None:
                self._end_by_peer()
                if read.messages:
                    return read
            elif read.frames or read.messages:
                return read
        assert self._ended is not None
        raise self._ended

    async def _next_bytes(self) -> bytes:
        try:
            return await self._stream.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _answer_ping(self) -> None:
        if self._pong is not None and self.push_text(frame_pong(self._pong)):
            self._pong = None

    def _end_by_peer(self) -> None:
        close = self._reader.close
        assert close is not None, "the peer has sent a close frame"
        if self._ended is None:
            self._owe(frame_close_echo(close))
            self._ended = WebSocketClosed(None if close.code == NO_CODE else close.code, close.reason, by_peer=True)

    # ---- handing over ----

    def keep_bytes(self) -> None:
        """Keep what is received, as it came, until `hand_over` or `forget_beginning`; how much that is, the caller bounds."""
        self._kept = []

    def forget_beginning(self) -> None:
        """Keep neither the head nor the bytes, which may have tokens in them: the connection is served here, perhaps for days."""
        self._head = self._kept = None

    def hand_over(self) -> PushStream:
        """The stream, for the caller, which serves the connection from now on and closes it: kept bytes are read from it again.

        Nothing more can be received or sent here.
        """
        assert self._kept is not None, "what was not kept cannot be handed over"
        self._stream.put_back(b"".join(self._kept))
        self._ended = self._ended or WebSocketClosed(None, "", by_peer=False)
        return self._stream

    # ---- closing ----

    def close(self, code: int, reason: str = "", last: bytes = b"") -> None:
        """Begin to close with `code`, after the messages in `last`; the first call counts. From any task, without waiting.

        The handler is cancelled.
        """
        if self._ended is None:
            self._owe(last + frame_close(code, reason))
            self._has_ended(WebSocketClosed(code, reason, by_peer=False))

    @property
    def ended(self) -> WebSocketClosed | None:
        """Why the connection has ended or is closing; None while it is open."""
        return self._ended

    def abort(self) -> None:
        """Cut the connection now; the peer sees a reset."""
        self._stream.abort()
        self._has_ended(WebSocketClosed(None, "", by_peer=False))

    def statistics(self) -> StreamStatistics:
        return self._stream.statistics()

    def _owe(self, last: bytes) -> None:
        self._owed = b"" if self._stream.push(last) else last

    def _has_ended(self, ended: WebSocketClosed) -> None:
        self._ended = self._ended or ended
        self._conversation.cancel()

    # ---- the connection's task ----

    async def run(self) -> None:
        """Answer the upgrade, run the handler, close; raises what the handler raises. Called once."""
        code = SERVER_GOES  # used if we are cancelled
        try:
            await self._shake_hands()
            with self._conversation:
                await self._handler(self)
            code = NORMAL
        except Exception as error:
            failure = _without(WebSocketClosed, error)
            code = INTERNAL_ERROR if failure else NORMAL
            if failure is not None:
                raise failure from None
        finally:
            self.close(code)
            with trio.CancelScope(shield=True):
                await self._finish()

    async def _shake_hands(self) -> None:
        answer, self._answer = self._answer, b""
        self._stream.push(answer)
        if self._stream.blocked:
            with trio.move_on_after(self._limits.handshake_timeout_s) as scope:
                await self.flush()
            if scope.cancelled_caught:
                self.abort()
                raise WebSocketClosed(None, "the handshake took too long", by_peer=False)

    async def _finish(self) -> None:
        """Send our close frame and wait for the peer's, for a bounded time and number of bytes; then close, by force if
        necessary."""
        with trio.move_on_after(self._limits.close_timeout_s):
            try:
                await self._stream.flush()
                if self._owed:
                    self._stream.push(self._owed)
                    await self._stream.flush()
                self._reader.end_within(CLOSING_FRAMES_MAX)
                drained_bytes = 0
                while self._reader.close is None and drained_bytes < self._limits.drain_bytes_max:
                    if self._reader.is_behind:
                        await trio.lowlevel.checkpoint()
                        self._reader.feed(b"")
                        continue
                    data = await self._stream.receive_some()
                    if not data:
                        break
                    self._reader.feed(data)
                    drained_bytes += len(data)
                await self._stream.aclose()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        self._stream.abort()


def _switching(key: bytes, accept: Accept) -> bytes:
    """The answer to an upgrade (RFC 6455, section 4.2.2)."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(key + _HANDSHAKE_ID).digest()),
        *([] if accept.subprotocol is None else [b"Sec-WebSocket-Protocol: " + accept.subprotocol.encode()]),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _without(kind: type[Exception], error: Exception) -> Exception | None:
    """`error` without exceptions of this kind; None if nothing else is in it."""
    if isinstance(error, kind):
        return None
    if isinstance(error, ExceptionGroup):
        _, rest = error.split(kind)
        return rest
    return error
