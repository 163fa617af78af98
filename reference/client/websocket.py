"""The WebSocket transport: one connection, over trio-websocket, on a stream that the application may choose.

    run (one task)      connects, makes the handshake, then sends waiting frames; closes at the end
      reader (child)    reads messages as long as there are any, so that nothing has to wait for it
      trio-websocket    its own task: parses, answers pings, echoes a close

trio-websocket 0.12 has bugs; this module works around each:

    aclose from another task can hang       only `run`'s own task calls it, and the transport's scope ends it after CLOSING_S_MAX
    a ping while we close raises in its     its task has a separate nursery; what it raises ends this connection and
    task, so does a strange answer          nothing else
    a cancelled send tears a frame          a send is only cancelled together with the connection, which is then cut
    ping() hangs                            never called: the protocol has frames for that
    a stream that ends before the answer    `_Line` detects it and ends the wait
    to the upgrade is waited for, for ever
    the answer to an upgrade is unbounded   `_Line` limits it
    messages are limited in characters      that bounds memory; the codec limits bytes

A waiting cursor or acknowledgement is replaced by a newer one (4.4, 4.5): only the latest counts. If too many frames wait,
because the network takes nothing while the server still is heard, the connection is cut, and the session resumes on another.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

import trio
import trio_websocket

from reference.client.addresses import Address, OpenStream, bearer, reason_of
from reference.client.http import HttpRefused, read_refusal
from reference.client.transport import CLOSING_S_MAX, Reports
from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError

OUTGOING_FRAMES_MAX = 256
"""Waiting frames of one connection. Several copies may wait of each of the 64 unanswered publishes: whenever the server puts one
off that has reached it, all after it are sent again."""
UPGRADE_ANSWER_BYTES_MAX = 64 * 1024
_READ_BYTES = 16 * 1024
_CLOSE_REASON_BYTES_MAX = 123
_LATEST_VALUES = (frames.Cursor, frames.Ack)
_NO_CODE = (1005, 1006)  # WebSocket's codes for a close without a code


class WebSocketTransport:
    """See the module and `transport.ClientTransport`."""

    def __init__(
        self, connection_id: int, address: Address, run_id: str, token: str | None, open_stream: OpenStream, reports: Reports
    ) -> None:
        self._id = connection_id
        self._address = address
        self._path = address.run_path(run_id, websocket=True) + "/collaboration"
        self._token = token
        self._open_stream = open_stream
        self._reports = reports
        self._scope = trio.CancelScope()
        self._outgoing: deque[frames.Frame | type[frames.Frame]] = deque()  # a type stands for its latest value
        self._latest: dict[type[frames.Frame], frames.Frame] = {}
        self._has_more = trio.Event()
        self._may_read = trio.Event()
        self._may_read.set()
        self._is_open = False
        self._closing: tuple[int, str] | None = None
        self._is_closing = False
        self._end = HttpRefused(None, "the connection was lost", None)

    # ---- for the session's I/O ----

    def send(self, frame: frames.Frame) -> None:
        kind = type(frame)
        is_latest_value = kind in _LATEST_VALUES
        if is_latest_value:
            waits = kind in self._latest
            self._latest[kind] = frame
            if waits:
                return
        if len(self._outgoing) >= OUTGOING_FRAMES_MAX:
            self._end = HttpRefused(None, f"cut: {OUTGOING_FRAMES_MAX} frames wait to be sent", None)
            self._scope.cancel()
            return
        self._outgoing.append(kind if is_latest_value else frame)
        self._has_more.set()

    def close(self, code: int | None, message: str) -> None:
        self._is_closing = True
        if code is None or not self._is_open:
            self._scope.cancel()
        else:
            self._closing = (code, message.encode()[:_CLOSE_REASON_BYTES_MAX].decode(errors="ignore"))
            self._scope.deadline = trio.current_time() + CLOSING_S_MAX
            self._has_more.set()

    def pause(self) -> None:
        if self._may_read.is_set():
            self._may_read = trio.Event()

    def resume(self) -> None:
        self._may_read.set()

    async def run(self) -> None:
        with self._scope:
            try:
                stream = await self._open_stream(self._address.host, self._address.port, self._address.tls)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._end = HttpRefused(None, f"no connection to {self._address}: {reason_of(error)}", None)
            else:
                await self._run_on(stream)
        self._is_open = False
        if not self._is_closing:
            self._reports.lost(self._id, self._end.code, self._end.message, self._end.retry_after_ms)

    # ---- the connection's task ----

    async def _run_on(self, stream: trio.abc.Stream) -> None:
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as library:
                try:
                    await self._converse(library, _Line(stream, partial(self._reports.bytes_came, self._id)))
                except Exception as error:  # our bug: raised below, to distinguish it from the library's errors
                    failure = error
                library.cancel_scope.cancel()
        except Exception as error:
            # From trio-websocket's task: the answer to the upgrade, or one of its faults. It costs this connection only.
            self._end = _end_of(error)
        finally:
            await trio.aclose_forcefully(stream)
        if failure is not None:
            raise failure

    async def _converse(self, library: trio.Nursery, line: "_Line") -> None:
        websocket = await self._shake_hands(library, line)
        if websocket is None:
            return
        self._is_open = True
        self._reports.opened(self._id)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._read, websocket, tasks.cancel_scope)
            await self._write(websocket)
            if self._closing is not None:
                tasks.cancel_scope.cancel()
        if self._closing is not None:
            await websocket.aclose(*self._closing)

    async def _shake_hands(self, library: trio.Nursery, line: "_Line") -> trio_websocket.WebSocketConnection | None:
        with line.handshake:
            websocket = await trio_websocket.wrap_client_stream(
                library,
                cast("trio.SocketStream", line),  # any stream will do; its annotation is too narrow
                self._address.host_header,
                self._path,
                subprotocols=[frames.SUBPROTOCOL],
                extra_headers=bearer(self._token),
                max_message_size=frames.SERVER_FRAME_BYTES_MAX,
                receive_buffer_size=_READ_BYTES,
            )
        if line.handshake.cancelled_caught:
            self._end = HttpRefused(None, "the upgrade to WebSocket was not answered with one", None)
            return None
        line.is_open = True
        if websocket.subprotocol != frames.SUBPROTOCOL:
            self._end = HttpRefused(None, f"the server's WebSocket does not speak {frames.SUBPROTOCOL}", None)
            return None
        return websocket

    async def _write(self, websocket: trio_websocket.WebSocketConnection) -> None:
        """Send waiting frames. Returns when `close` was called and all is sent, or when nothing can be sent any more."""
        while True:
            while self._outgoing:
                item = self._outgoing.popleft()
                frame = self._latest.pop(item) if isinstance(item, type) else item
                try:
                    await websocket.send_message(frames.encode(frame).decode())
                except trio_websocket.ConnectionClosed:
                    return  # the reader learns why
            if self._closing is not None:
                return
            self._has_more = trio.Event()
            await self._has_more.wait()

    async def _read(self, websocket: trio_websocket.WebSocketConnection, connection: trio.CancelScope) -> None:
        while True:
            try:
                message = await websocket.get_message()
            except trio_websocket.ConnectionClosed as closed:
                reason = closed.reason
                if reason is not None and reason.code not in _NO_CODE:
                    self._end = HttpRefused(reason.code, reason.reason or f"closed with {reason.code}", None)
                if self._closing is None:
                    connection.cancel()
                return
            if self._is_closing:
                continue  # too late to report it, but it must still be read
            try:
                if isinstance(message, bytes):
                    raise RemoteError(CloseCode.BAD_FRAME, "a binary message; frames are text")
                frame = frames.decode_server_frame(message)
            except RemoteError as error:
                self._reports.malformed(self._id, error)
                return
            self._reports.arrived(self._id, frame)
            await self._may_read.wait()


class _Line(trio.abc.Stream):
    """The stream that trio-websocket gets; it watches the handshake."""

    def __init__(self, stream: trio.abc.Stream, bytes_came: Callable[[], None]) -> None:
        self._stream = stream
        self._bytes_came = bytes_came
        self._answer_bytes = 0
        self.is_open = False
        self.handshake = trio.CancelScope()
        """Scope of the handshake; cancelled when the stream ends before the handshake is done."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
            if not self.is_open:
                self._answer_bytes += len(data)
                if self._answer_bytes > UPGRADE_ANSWER_BYTES_MAX:
                    raise trio.BrokenResourceError("the answer to the upgrade has no end")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._ended()
            raise
        if data:
            self._bytes_came()
        else:
            self._ended()
        return data

    async def aclose(self) -> None:
        self._ended()
        await self._stream.aclose()

    def _ended(self) -> None:
        if not self.is_open:
            self.handshake.cancel()


def _end_of(error: BaseException) -> HttpRefused:
    """What an exception of trio-websocket's task means for the connection."""
    if isinstance(error, BaseExceptionGroup):
        return _end_of(error.exceptions[0])
    if isinstance(error, trio_websocket.ConnectionRejected):
        return read_refusal(error.status_code, error.headers, error.body or b"")
    return HttpRefused(None, f"the connection failed: {error!r}", None)
