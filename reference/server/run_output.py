"""RunOutput: carries out the output of a live run's driver, to sockets, requests, writer, authenticator and monitor.

A frame is encoded and framed once for all its readers (`Encoder`). What is pushed to a socket in a turn, and its close frame, is
joined and sent at the end of the turn, in one send. A turn that pushes to very many sockets writes for `WRITING_S_MAX`; the rest
is written in pieces, and other tasks run between them. For a reader not reached yet the frames wait in its peer, bounded like
everything pushed there.

There are two kinds of peers. When the socket of a `WebSocketPeer` is full, a task waits until it has room and lets the driver
continue; it ends when the driver has nothing left for this peer. A reader that keeps up never has such a task. A `RequestPeer` is
an HTTP request, which gets one frame or one error.
"""

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from reference.protocol.actions import Close
from reference.protocol.errors import RemoteError
from reference.protocol.frames import Events, Frame, SnapshotFrame, encode
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Joined, Observation
from reference.protocol.server.run import Run
from reference.protocol.timers import NS_PER_S
from reference.server.access.auth import identify
from reference.server.context import ServerContext
from reference.server.monitoring.monitor import Traffic
from reference.server.wire.websocket import ServerWebSocket, WebSocketClosed, frame_text
from reference.store import StoreError

WRITING_S_MAX = 0.005
"""How long a turn writes to sockets before other tasks run, by trio's clock."""
_PEERS_BETWEEN_LOOKS = 16
"""Sockets written to between two looks at the clock."""
BATCHES_KEPT_MAX = 4
"""Framed batches cached per run, in addition to the newest snapshot."""
PROGRESS_S = 1.0
"""How often a long flush checks whether bytes have been sent meanwhile."""
PIECE_BYTES_MAX = 256 * 1024
"""The most that one turn gives to one socket, plus one item: a reader far behind must not make the others wait."""


class Framed(msgspec.Struct, frozen=True):
    """An item to push: the bytes of one frame, how many messages it counts as, and whether it is a batch of the log."""

    data: bytes
    messages: int
    is_batch: bool


class Encoder:
    """Encodes and frames the frames of one loaded run, once for all readers.

    A batch for a thousand current readers is one object and is encoded when it is sent. But after an outage a thousand readers
    may lag at the same position, and each gets a batch of its own with the same events; a thousand late joiners get the same
    snapshot. Numbered events never change within an epoch, and a run's epoch does not change while it is loaded: so the encoded
    bytes are cached by their numbers.
    """

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[int | None, int | None], Framed] = OrderedDict()
        self._snapshot: tuple[int, Framed] | None = None

    def encode(self, frame: Frame) -> Framed:
        """The bytes of a frame."""
        if type(frame) is Events:
            return self._batch(frame)
        if type(frame) is SnapshotFrame:
            if self._snapshot is None or self._snapshot[0] != frame.sequence_number:
                self._snapshot = (frame.sequence_number, _framed(frame))
            return self._snapshot[1]
        return _framed(frame)

    def _batch(self, batch: Events) -> Framed:
        key = (batch.events[0].sequence_number, batch.events[-1].sequence_number)
        framed = self._batches.get(key)
        if framed is None:
            framed = self._batches[key] = Framed(frame_text(encode(batch)), len(batch.events), is_batch=True)
            if len(self._batches) > BATCHES_KEPT_MAX:
                self._batches.popitem(last=False)
        return framed


def _framed(frame: Frame) -> Framed:
    return Framed(frame_text(encode(frame)), 1, is_batch=False)


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
        """Since they were last counted."""
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
            self.messages_pushed += sum(item.messages for item in waiting)
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

    def __init__(self, connection_id: int, client_id: str | None, user_id: str) -> None:
        self.connection_id = connection_id
        self.client_id = client_id
        self.user_id = user_id
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


class RunOutput:
    """A `RunIO` over real sockets. `on_turn_over` is called after each turn, `on_gathered` when the writer takes the next batch,
    `on_stored` with each batch that the writer has finished."""

    def __init__(
        self,
        run: Run,
        shared: ServerContext,
        *,
        on_turn_over: Callable[[], None],
        on_gathered: Callable[[], None],
        on_stored: Callable[[Append, StoreError | None], None],
    ) -> None:
        self.driver: RunDriver[Framed] = RunDriver(run, self, control_frames_max=shared.control_frames_max)
        self.peers: dict[int, Peer] = {}
        self.failure: StoreError | None = None
        """Why the content of the store is unknown, or None."""
        self.is_retired = False
        self.is_with_writer = False
        """Whether the writer has a batch."""
        self.has_stored = trio.Event()
        """Set while the writer has no batch and is about to get none."""
        self.has_stored.set()
        self._run = run
        self._shared = shared
        self._on_turn_over = on_turn_over
        self._on_gathered = on_gathered
        self._on_stored = on_stored
        self._encoder = Encoder()
        self._to_write: deque[WebSocketPeer] = deque()
        self.is_writing_on = False
        """Whether `write_on` has sockets left to write to."""
        self._submitted_at = 0

    # Methods of RunIO.

    def now(self) -> int:
        return self._shared.clock.now()

    def encode(self, frame: Frame) -> Framed:
        return self._encoder.encode(frame)

    def may_store(self) -> bool:
        if self.failure is None and self.has_stored.is_set():
            self.has_stored = trio.Event()
            self._shared.writer.announce(self._on_gathered)
        return False

    def store(self, append: Append) -> bool:
        self._submitted_at = self.now()
        try:
            self._shared.writer.submit(append, self._stored)
            self.is_with_writer = True
        except StoreError as error:
            self.has_stored.set()
            self.fail(error)
        return False

    def identify(self, connection_id: int, token: str | None) -> Identity | RemoteError:
        identity = identify(self._shared.authenticator, token, self._run.run_id, self._shared.clock.wall())
        if isinstance(identity, Identity):
            return self._shared.user_connections.enter(connection_id, identity.user_id) or identity
        return identity

    def answer(self, connection_id: int, frame: Frame) -> None:
        peer = self.peers.pop(connection_id, None)
        if isinstance(peer, RequestPeer):
            peer.send(frame)
            self._shared.monitor.answered(self._run.run_id, peer.client_id, frame)

    def refuse(self, connection_id: int, close: Close) -> None:
        peer = self.peers.pop(connection_id, None)
        if isinstance(peer, RequestPeer):
            peer.close(close)

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        run_id, now, observe = self._run.run_id, self.now(), self._shared.monitor.observe
        for observation in observations:
            peer = self.peers.get(observation.connection_id) if isinstance(observation, Joined) else None
            observe(run_id, observation, Traffic() if peer is None else peer.traffic, now)

    def retire(self) -> None:
        self.is_retired = True

    def turn_over(self) -> None:
        if self._to_write and not self.is_writing_on:
            self.write_on()
        self._on_turn_over()

    def write_on(self) -> None:
        """Write what was pushed, for at most `WRITING_S_MAX`."""
        to_write = self._to_write
        sent = 0
        ends_at = trio.current_time() + WRITING_S_MAX
        while to_write:
            for _ in range(min(len(to_write), _PEERS_BETWEEN_LOOKS)):
                peer = to_write.popleft()
                pushed, peer.messages_pushed = peer.messages_pushed, 0
                peer.traffic.sent += pushed
                sent += pushed
                took_batch = peer.write()
                if took_batch is not None:
                    self.driver.blocked(peer.connection_id, took_batch=took_batch)
                    peer.wait()
            if trio.current_time() >= ends_at:
                break
        self._shared.monitor.sent(sent)
        self.is_writing_on = bool(to_write)

    def pushed_to(self, peer: WebSocketPeer) -> None:
        self._to_write.append(peer)

    # The store.

    def fail(self, error: StoreError) -> None:
        """The content of the store is unknown."""
        self.failure = error
        # The details contain files and hosts: they are for the log, not for clients.
        self._shared.on_fault(f"run {self._run.run_id}: the store did not confirm, the run is loaded anew", error)

    def _stored(self, append: Append, error: StoreError | None) -> None:
        self.is_with_writer = False
        self.has_stored.set()
        self._shared.monitor.committed((self.now() - self._submitted_at) / NS_PER_S, len(append.entries), error)
        self._on_stored(append, error)
