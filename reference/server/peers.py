"""Peers: the two kinds of other end that a run can have, as its pump sees them.

A WebSocket takes bytes without waiting as long as its socket does. When the socket has had enough, frames of control (answers,
pongs, presence) wait in a bounded queue, and a task is started that drains it and then the log, batch by batch, until the reader
has caught up; then the task ends. A reader that keeps up never has one.

    push         straight to the socket; possible unless the peer is draining or its socket is full
    send         push, or queue; False when the queue is full, which is the end of this connection
    drain        flush; then in rounds, until there is nothing: the frames that are queued as the round begins, and one batch of
                 the log, so that neither can keep the other waiting for ever
    close        after what was sent before, as far as the peer takes it in `close_timeout_s`

Events do not queue here: a reader that lags has a cursor, and the log keeps what it has not read.

A request over HTTP is a peer that gets one frame, or one error, and is done.
"""

import contextlib
from collections import deque
from typing import Protocol

import trio

from reference.protocol.actions import Close
from reference.protocol.frames import Frame
from reference.server.monitoring.sessions import Traffic
from reference.server.wire.websocket import ServerWebSocket, WebSocketClosed

PROGRESS_S = 1.0
"""How often a flush that takes long looks whether bytes have left meanwhile."""


class Source(Protocol):
    """Where a peer's batches come from: its run."""

    def more_for(self, peer: "WebSocketPeer") -> bytes | None:
        """The next batch for a lagging reader, framed; None when it has everything. May `send` to it first."""

    def moves(self, peer: "WebSocketPeer") -> None:
        """The socket of a lagging reader has taken some bytes of what it was given."""


class WebSocketPeer:
    """A WebSocket as the reader of one run. Its drain task, when it has one, lives in `nursery`, the connection's own."""

    def __init__(
        self,
        websocket: ServerWebSocket,
        nursery: trio.Nursery,
        source: Source,
        *,
        connection_id: int,
        control_frames_max: int,
        close_timeout_s: float,
    ) -> None:
        self.connection_id = connection_id
        self.push = websocket.push_text
        self.traffic = Traffic()
        self.is_draining = False
        self._websocket = websocket
        self._nursery = nursery
        self._source = source
        self._control: deque[bytes] = deque()
        self._control_frames_max = control_frames_max
        self._close_timeout_s = close_timeout_s
        self._before_batch: int | None = None
        """How many of the queued frames go before the next batch; None: all that are there when the drain begins."""
        self._patience = trio.CancelScope()
        self._closing: Close | None = None

    @property
    def control_frames(self) -> int:
        """Frames beside the log that wait for the socket."""
        return len(self._control)

    @property
    def is_blocked(self) -> bool:
        """Whether the socket takes nothing more now, or a task is already waiting for it."""
        return self.is_draining or self._websocket.blocked

    def send(self, data: bytes) -> bool:
        """Send one framed frame, now or when its turn comes. False: too many wait already, and it was dropped."""
        if not self.is_draining and self.push(data):
            if self._websocket.blocked:
                self.drain()
            return True
        if len(self._control) >= self._control_frames_max:
            return False
        self._control.append(data)
        self.drain()
        return True

    def drain(self) -> None:
        """Let a task bring this peer up to date, unless one is at it."""
        if not self.is_draining:
            self.is_draining = True
            self._before_batch = None
            self._patience = trio.CancelScope()
            self._nursery.start_soon(self._drain)

    def close(self, close: Close) -> None:
        """Close once what was sent before is out, but not later than `close_timeout_s` from now."""
        if close.code is None:
            self._websocket.abort()
        elif not self.is_draining:
            self._websocket.close(close.code, close.message)
        else:
            self._closing = close
            self._patience.deadline = trio.current_time() + self._close_timeout_s

    async def _drain(self) -> None:
        # A connection that ends meanwhile is told to the run by the task that reads from it.
        with contextlib.suppress(WebSocketClosed):
            with self._patience:
                while True:
                    await self._flush()
                    data = self._next()
                    if data is None:
                        break
                    while not self.push(data):
                        await self._flush()
            if self._closing is not None and self._closing.code is not None:
                self._websocket.close(self._closing.code, self._closing.message)
                return
            # No checkpoint since the run said that there is nothing more: it pushes by itself from here on.
            self.is_draining = False

    async def _flush(self) -> None:
        """Wait until nothing waits to be sent. A large frame on a slow line is told to move as long as it does."""
        while True:
            bytes_out = self._websocket.statistics().bytes_out
            with trio.move_on_after(PROGRESS_S) as limit:
                await self._websocket.flush()
            if not limit.cancelled_caught:
                return
            if self._websocket.statistics().bytes_out > bytes_out:
                self._source.moves(self)

    def _next(self) -> bytes | None:
        if self._before_batch is None:
            self._before_batch = len(self._control)
        if not self._before_batch:
            batch = self._source.more_for(self)
            self._before_batch = len(self._control)
            if batch is not None:
                return batch
        if not self._control:
            return None
        self._before_batch -= 1
        return self._control.popleft()


class RequestPeer:
    """A request over HTTP: `settled` is set once there is an `answer`, or a `failure`."""

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
