"""ServerWebSocket: one accepted WebSocket, in one task, over wsproto's frame layer; and the encoding of its frames.

`receive` returns a list: everything that one read has brought. Pings are answered here. Sending never waits: any task pushes
whole messages. Closing never waits either:

    the caller of `close` pushes our close frame after what was pushed before; nothing follows it, and the handler is cancelled.
    The connection's task then sends the rest of our bytes, and discards input until the peer's close frame arrives; after
    `close_timeout_s` it closes by force.

The handler must be in `receive` whenever it can: nothing else notices that the peer has closed. Input that it does not read is
not lost; it stays with the sender, which TCP slows down.

Encoding (RFC 6455, section 5): a server's frames have no mask, so the bytes of a frame are the same for every reader and are
built once. Decoding: `MessageReader` drives wsproto and returns all messages of one read at once. It checks what wsproto does
not: the size of a message in bytes, the number of its fragments, and that it is text.

A frame of six bytes costs as much to parse as a long one, so work is limited in frames: after `FRAMES_PER_TURN_MAX` the
connection waits for `PAUSE_S`, so that one that floods leaves most of the processor to others. While a connection is closing,
`CLOSING_FRAMES_MAX` are parsed for the peer's close frame; what follows is read and dropped.
"""

import math
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed
from wsproto.utilities import generate_accept_token

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

FRAMES_PER_TURN_MAX = 100
"""Frames parsed at once, which takes about a millisecond."""
PAUSE_S = 0.01
"""Between two such turns, if one read brought more: ten thousand frames per second, far above any useful limit of their rate."""
CLOSING_FRAMES_MAX = 256
"""Frames parsed while a connection is closing: what an honest peer had sent before it read our close frame."""

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
    ping: bytes | None = None
    """The payload of the last ping: only this one needs an answer (RFC 6455, section 5.5.3)."""


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
        self._frames_left = math.inf
        self.is_behind = False
        """Whether there is more to parse: feed b"" before the next bytes."""
        self.close: PeerClose | None = None
        """The peer's close frame, once it has arrived; everything after it is ignored."""

    def feed(self, data: bytes) -> Read:
        """Take the next bytes; b"" for none. Parses at most FRAMES_PER_TURN_MAX."""
        read = Read()
        self.is_behind = False
        if self._frames_left <= 0:
            return read
        self._frames.receive_bytes(data)
        frames_max = min(FRAMES_PER_TURN_MAX, self._frames_left)
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
                    read.ping = bytes(payload)
                elif frame.opcode is Opcode.BINARY:
                    self._refuse(read, CloseCode.BAD_FRAME, "binary message; send JSON as text")
                if read.frames >= frames_max or (self._is_spoilt and read.messages):
                    self.is_behind = True
                    break
        except ParseFailed as error:
            self._refuse(read, CloseCode.BAD_FRAME, f"not WebSocket: {error}")
            self._frames_left = 0  # wsproto goes no further
        self._frames_left -= read.frames
        return read

    def end_within(self, frames: int) -> None:
        """Parse so many frames more, for the peer's close frame, and then nothing."""
        self._frames_left = min(self._frames_left, frames)

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
        """Send whole messages, framed by `frame_text`, without waiting and without raising.

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
        self.forget_beginning()
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
        b"Sec-WebSocket-Accept: " + generate_accept_token(key),
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
