"""ServerWebSocket: one accepted WebSocket, over trio-websocket, whose faults it does not have.

trio-websocket shakes hands, parses what comes, answers pings and echoes the peer's close. What it must not do
is close: its `aclose` is where most of its faults meet. So between it and our PushStream stands `Between`, a
stream of ours, and closing is ours:

    our close frame is pushed, by whoever calls `close`, without waiting; from then on `Between` swallows
    what trio-websocket still wants to send. The session's own task (the one in `run`) then ends
    trio-websocket's reader, sees the rest of our bytes out, and reads on for nothing until the peer's close
    frame; after `close_timeout_s` it closes by force.

Its faults (trio-websocket 0.12), and where each is guarded:

    1  `aclose` from a second task can hang for ever          never called; only `run` finishes the connection
    2  a ping while we close raises in the nursery            it never knows that we close; the pong is swallowed
    3  a cancelled send leaves half a frame on the wire       PushStream keeps the rest as its tail
    4  `ping` hangs when the application does not read        never called; while we close, `run` itself reads
    5  messages are limited in characters, and with 1009      MessageMeter counts bytes; we close with 4413
    6  bytes right behind the request's head are lost         `Between` holds them back until it has accepted
    7  a header that is not ASCII raises in the nursery       the head that it reads is written by us

The handler is to be in `receive` whenever it can: nothing else notices that the peer has closed. What it does
not read is not lost; it stays with the sender, which is slowed down by TCP.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio
import trio_websocket

from reference.protocol.errors import CloseCode, SteadywireError
from reference.server.wire.between import Between, handshake_head
from reference.server.wire.framing import INTERNAL_ERROR, NORMAL, SERVER_GOES, MessageMeter, frame_close
from reference.server.wire.limits import WebSocketLimits
from reference.server.wire.push_stream import PushStream, StreamStatistics
from reference.server.wire.request_head import Headers, RequestHead

_PIECE_BYTES = 16 * 1024  # read at once
_MESSAGE_CHARACTERS_MAX = 2**62  # MessageMeter is the limit; trio-websocket's would close with 1009


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
    headers: Headers = field(default=())
    """More headers for the 101 answer."""


async def serve_websocket(stream: PushStream, head: RequestHead, key: bytes, accept: Accept, limits: WebSocketLimits) -> None:
    """Answer the upgrade `head` on `stream`, run the handler, close. Raises what the handler raises.

    `key` is `head.websocket_key()`. Bytes that came after the head are to be put back into `stream` before.
    """
    await ServerWebSocket(stream, head, key, accept, limits).run()


class ServerWebSocket:
    """One WebSocket connection, from the server's side. All methods are for tasks of one trio run."""

    def __init__(self, stream: PushStream, head: RequestHead, key: bytes, accept: Accept, limits: WebSocketLimits) -> None:
        self.head = head
        self.subprotocol = accept.subprotocol
        self._stream = stream
        self._accept = accept
        self._limits = limits
        self._meter = MessageMeter(message_bytes_max=limits.message_bytes_max, fragments_max=limits.message_fragments_max)
        self._between = Between(stream, self._meter, handshake_head(key, accept.subprotocol), self.close)
        self._handler_scope = trio.CancelScope()
        self._delivery: trio.CancelScope | None = None
        self._websocket: trio_websocket.WebSocketConnection | None = None
        self._ended: WebSocketClosed | None = None
        self._owed = b""

    # ---- sending ----

    def push_text(self, frames: bytes) -> bool:
        """Hand over whole messages, framed by `framing.frame_text`, without waiting and without raising.

        False: nothing was sent, because earlier bytes are still waiting (`flush` waits for them) or the
        connection has ended.
        """
        return not self._between.is_sealed and self._ended is None and self._stream.push(frames)

    @property
    def blocked(self) -> bool:
        """Whether `push_text` would refuse now."""
        return self._between.is_sealed or self._ended is not None or self._stream.blocked

    async def flush(self) -> None:
        """Wait until all that was pushed has gone to the operating system; raises WebSocketClosed."""
        try:
            await self._stream.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended = self._ended or WebSocketClosed(None, "", by_peer=True)
            self._stop_receiving()
        if self._ended is not None:
            raise self._ended

    # ---- receiving ----

    async def receive(self) -> str:
        """The next text message; raises WebSocketClosed at the end, once for each call. One task at a time."""
        if self._ended is None and self._websocket is not None:
            self._delivery = trio.CancelScope()
            with self._delivery:
                try:
                    message = await self._websocket.get_message()
                except trio_websocket.ConnectionClosed as closed:
                    self._end_of_messages(closed.reason)
                else:
                    assert isinstance(message, str)  # MessageMeter lets no binary message through
                    return message
                finally:
                    self._delivery = None
        await trio.lowlevel.checkpoint()
        assert self._ended is not None
        raise self._ended

    # ---- closing ----

    def close(self, code: int, reason: str = "", last: bytes = b"") -> None:
        """Begin to close with `code`, after the messages in `last`; the first call counts. From any task, without waiting.

        `receive` raises from now on. The handler is to return; after `close_timeout_s` it is cancelled.
        """
        if self._ended is not None:
            return
        frame = last + frame_close(code, reason)
        self._ended = WebSocketClosed(code, reason, by_peer=False)
        self._handler_scope.deadline = trio.current_time() + self._limits.close_timeout_s
        if not self._between.is_sealed:
            if not self._stream.push(frame):
                self._owed = frame
            self._between.is_sealed = True
        self._stop_receiving()

    @property
    def ended(self) -> WebSocketClosed | None:
        """Why the connection has ended or is closing; None while it is open."""
        return self._ended

    def abort(self) -> None:
        """Cut the connection now; the peer sees a reset."""
        self._ended = self._ended or WebSocketClosed(None, "", by_peer=False)
        self._stream.abort()
        self._stop_receiving()

    def statistics(self) -> StreamStatistics:
        return self._stream.statistics()

    # ---- the session's task ----

    async def run(self) -> None:
        """Shake hands, run the handler, close; raises what the handler raises. Called once, by
        `serve_websocket`.
        """
        code = SERVER_GOES  # what remains if we are cancelled
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await self._shake_hands(nursery)
                    with self._handler_scope:
                        await self._accept.handler(self)
                except Exception as error:
                    failure = _without(WebSocketClosed, error)
                # This ends trio-websocket's reader. The handler's answer is final: whatever still comes is
                # not for it.
                nursery.cancel_scope.cancel()
            code = INTERNAL_ERROR if failure else NORMAL
        except Exception as error:
            # From trio-websocket's reader. None is known to be left; if one is found, it costs this
            # connection only.
            code = INTERNAL_ERROR
            failure = error
        finally:
            self.close(code)
            with trio.CancelScope(shield=True):
                await self._finish()
        if failure is not None:
            raise failure

    async def _shake_hands(self, nursery: trio.Nursery) -> None:
        with trio.move_on_after(self._limits.handshake_timeout_s) as scope:
            request = await trio_websocket.wrap_server_stream(
                nursery,
                self._between,
                max_message_size=_MESSAGE_CHARACTERS_MAX,
                receive_buffer_size=_PIECE_BYTES,
            )
            try:
                self._websocket = await request.accept(
                    subprotocol=self._accept.subprotocol, extra_headers=list(self._accept.headers)
                )
            except trio_websocket.ConnectionClosed:
                self._ended = WebSocketClosed(None, "", by_peer=True)
                raise self._ended from None
        if scope.cancelled_caught:
            self.abort()
            raise WebSocketClosed(None, "the handshake took too long", by_peer=False)
        self._between.is_open.set()

    async def _finish(self) -> None:
        """See our close frame out and the peer's in, for a bounded time and number of bytes; then close, by force if need be."""
        with trio.move_on_after(self._limits.close_timeout_s):
            try:
                await self._stream.flush()
                if self._owed:
                    self._stream.push(self._owed)
                    await self._stream.flush()
                drained_bytes = 0
                while not self._meter.is_close_seen and drained_bytes < self._limits.drain_bytes_max:
                    data = await self._stream.receive_some()
                    if not data:
                        break
                    self._meter.feed(data)
                    drained_bytes += len(data)
                await self._stream.aclose()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        self._stream.abort()

    # ---- inside ----

    def _end_of_messages(self, reason: trio_websocket.CloseReason | None) -> None:
        """trio-websocket has nothing more for us: say why, in our words."""
        if self._ended is not None:
            return
        if self._between.is_sealed and reason is not None:  # it has echoed the peer's close frame
            self._ended = WebSocketClosed(reason.code, reason.reason or "", by_peer=True)
        elif self._between.is_cut:
            self._ended = WebSocketClosed(None, "", by_peer=True)
        else:
            self.close(CloseCode.BAD_FRAME, f"not WebSocket: {reason.reason if reason else ''}")

    def _stop_receiving(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()


def _without(kind: type[Exception], error: Exception) -> Exception | None:
    """`error` without what is of this kind; None if nothing else is in it."""
    if isinstance(error, kind):
        return None
    if isinstance(error, ExceptionGroup):
        _, rest = error.split(kind)
        return rest
    return error
