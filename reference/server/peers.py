"""Peers: the two kinds of clients of a run. The run's driver uses both and never waits.

A WebSocket sends what its driver pushes, and its close frame, joined into one send at the end of the turn. When the socket is
full, a task waits until it has room and lets the driver continue; it ends when the driver has nothing left for this peer. A
reader that keeps up never has such a task. An HTTP request is a peer that gets one frame or one error.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from reference.protocol.actions import Close
from reference.protocol.frames import Frame
from reference.server.monitoring.sessions import Traffic
from reference.server.wire.websocket import ServerWebSocket, WebSocketClosed

PROGRESS_S = 1.0
"""How often a long flush checks whether bytes have been sent meanwhile."""
PIECE_BYTES_MAX = 256 * 1024
"""The most that one turn gives to one socket, plus one item: a reader far behind must not make the others wait."""


class Framed(msgspec.Struct, frozen=True):
    """An item to push: the bytes of one frame, how many messages it counts as, and whether it is a batch of the log."""

    data: bytes
    messages: int
    is_batch: bool


class Turns(Protocol):
    """The live run of a peer."""

    def writable(self, connection_id: int) -> bool:
        """The socket has room again. Returns whether to wait for it again."""

    def progressed(self, connection_id: int) -> None:
        """The socket has sent some bytes."""


class WebSocketPeer:
    """A WebSocket as a reader of one run: the `Socket` of its driver. The task that waits for it, if there is one, runs in
    `nursery`."""

    __slots__ = (
        "_close",
        "_has_batch",
        "_is_to_write",
        "_is_waited_for",
        "_last",
        "_nursery",
        "_pushed",
        "_pushed_bytes",
        "_pushed_to",
        "_turns",
        "_websocket",
        "connection_id",
        "is_blocked",
        "messages_pushed",
        "traffic",
    )

    def __init__(
        self,
        connection_id: int,
        websocket: ServerWebSocket,
        nursery: trio.Nursery,
        pushed_to: "Callable[[WebSocketPeer], None]",
        turns: Turns,
    ) -> None:
        """`pushed_to` is called when `write` must be called at the end of this turn."""
        self.connection_id = connection_id
        self.traffic = Traffic()
        self.is_blocked = False
        self.messages_pushed = 0
        """In this turn."""
        self._websocket = websocket
        self._nursery = nursery
        self._pushed_to = pushed_to
        self._turns = turns
        self._pushed: list[bytes] = []
        self._pushed_bytes = 0
        self._has_batch = False
        self._is_waited_for = False
        self._is_to_write = False
        self._close: Close | None = None
        self._last = b""
        """Waiting bytes that are sent before the close."""

    def push(self, item: Framed) -> bool:
        """As Socket.push."""
        pushed = self._pushed
        if not pushed:
            self._is_to_write = True
            self._pushed_to(self)
        pushed.append(item.data)
        self.messages_pushed += item.messages
        self._pushed_bytes += len(item.data)
        if item.is_batch:
            self._has_batch = True
        if self._pushed_bytes >= PIECE_BYTES_MAX:
            self.is_blocked = True
        return self.is_blocked

    def write(self) -> bool | None:
        """Send what was pushed in this turn. None: the socket has room; else it is full, and the result says whether a batch was
        sent."""
        self.traffic.sent += self.messages_pushed
        self.messages_pushed = 0
        self._is_to_write = False
        pushed = self._pushed
        if self._close is not None:
            assert self._close.code is not None, "else it was cut"
            self._websocket.close(self._close.code, self._close.message, b"".join((*pushed, self._last)))
            pushed.clear()
            return None
        if pushed:
            websocket = self._websocket
            if websocket.push_text(pushed[0] if len(pushed) == 1 else b"".join(pushed)):
                pushed.clear()
                self._pushed_bytes = 0
                if websocket.blocked:
                    self.is_blocked = True
            else:
                self.is_blocked = True
        if not self.is_blocked:
            self._has_batch = False
            return None
        had_batch, self._has_batch = self._has_batch, False
        return had_batch

    def wait(self) -> None:
        """Start a task that waits until the socket has room, unless there is one."""
        if not self._is_waited_for:
            self._is_waited_for = True
            self._nursery.start_soon(self._wait)

    def close(self, waiting: Sequence[Framed], close: Close) -> None:
        """As Socket.close."""
        if close.code is None:
            self._websocket.abort()
        elif self._close is None:
            self._close, self._last = close, b"".join(item.data for item in waiting)
            if not self._is_to_write:
                self._is_to_write = True
                self._pushed_to(self)

    async def _wait(self) -> None:
        # If the connection ends meanwhile, the task that reads from it reports that to the run.
        with contextlib.suppress(WebSocketClosed):
            while True:
                await self._flush()
                self.is_blocked = False
                if self._pushed and self.write() is not None:
                    continue
                if not self._turns.writable(self.connection_id):
                    break
        self._is_waited_for = False

    async def _flush(self) -> None:
        """Wait until nothing waits to be sent. Any bytes sent of a large frame on a slow connection count as progress."""
        while True:
            bytes_out = self._websocket.statistics().bytes_out
            with trio.move_on_after(PROGRESS_S) as limit:
                await self._websocket.flush()
            if not limit.cancelled_caught:
                return
            if self._websocket.statistics().bytes_out > bytes_out:
                self._turns.progressed(self.connection_id)


class RequestPeer:
    """An HTTP request: `settled` is set once there is an `answer` or a `failure`."""

    def __init__(self, connection_id: int, client_id: str | None) -> None:
        self.connection_id = connection_id
        self.client_id = client_id
        self.traffic = Traffic()
        self.settled = trio.Event()
        self.answer: Frame | None = None
        self.failure: Close | None = None

    def send(self, frame: Frame) -> None:
        self.answer = frame
        self.settled.set()

    def close(self, close: Close) -> None:
        self.failure = close
        self.settled.set()


Peer = WebSocketPeer | RequestPeer
