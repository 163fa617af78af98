"""LiveRun: one run in memory, and its inputs.

Inputs come from the tasks of the connections (all messages of one read), from the writer, and from the alarm's task, which is the
only task of the run itself. Each input is one turn of the run's driver (`protocol.server.driver`), whose output is `run_output`.

A run leaves memory when its machine asks for it, or when the content of the store is unknown. Then it takes no more inputs, its
connections are closed in pieces, and it is loaded again for the next client. A bug that raises inside a run ends that run in the
same way and no other.
"""

from collections.abc import Callable, Sequence
from typing import ParamSpec

import trio

from reference.protocol.actions import Close
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.frames import Frame, RequestFrame
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.statistics import Held
from reference.server.context import ServerContext
from reference.server.run_output import RequestPeer, RunOutput, WebSocketPeer
from reference.server.wire.request_head import INTERNAL_ERROR
from reference.server.wire.websocket import ServerWebSocket
from reference.store import StoreError, StoreUnavailable

P = ParamSpec("P")
ENDED_AT_ONCE = 32
"""Connections that are closed in one turn; each takes about 40 us."""
STORE_FAILED = "the store failed: the last publishes are not confirmed; reconnect"
LEASE_LOST = StoreUnavailable("this process may no longer own the run: another one may serve it")


class LiveRun:
    """All methods that are not asynchronous return without waiting. `on_end` is called once, when the run is no longer live."""

    def __init__(self, run: Run, shared: ServerContext, on_end: "Callable[[LiveRun], None]") -> None:
        self.run = run
        self._shared = shared
        self._clock = shared.clock
        self._on_end = on_end
        self._output = RunOutput(run, shared, on_turn_over=self._turn_over, on_gathered=self._gathered, on_stored=self._stored)
        self._driver = self._output.driver
        self._peers = self._output.peers
        self._alarm = trio.CancelScope()
        self._armed_for = self._next_deadline()
        self._is_writing_on = False
        self._are_peers_closed = False
        self.ended = trio.Event()
        """The run takes no more inputs."""
        self.settled = trio.Event()
        """The run has ended, its connections are closed, and the writer has no batch of it."""

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def idle_since(self) -> int | None:
        """When the run became idle (no clients, no batch with the store), in ns; None while it is in use."""
        return self.run.idle_since

    @property
    def websockets(self) -> int:
        """WebSocket connections, including those that have not sent hello."""
        return len(self._driver.websockets)

    @property
    def lagging(self) -> int:
        """Readers that were not sent everything."""
        return self.run.lagging

    @property
    def lag(self) -> int:
        """Events that were not sent to the most lagging reader."""
        return self.run.lag_max

    @property
    def control_frames(self) -> int:
        """Control frames that wait for sockets."""
        return self._driver.control_frames

    @property
    def held(self) -> tuple[Held, ...]:
        """The current size of everything that can grow with this run, each with its limit (G7)."""
        return self._driver.held

    def wake(self) -> None:
        """The machine was suspended: handle everything that is due by now."""
        self._alarm.deadline = self._clock.trio_deadline(self._armed_for)

    def touch(self) -> None:
        """Somebody is about to use this run: restart its idle time."""
        self.run.touch(self._clock.now())

    # Connections.

    def connect(self, websocket: ServerWebSocket, identity: Identity | None) -> int:
        """A WebSocket is open. Returns the number that identifies it in `receive` and `lost`. Raises RemoteError.

        `identity`: the user of the token that came with the upgrade, None without a token.
        """
        self._check_live()
        number = self._shared.next_connection_id()
        refusal = None if identity is None else self._shared.user_connections.enter(number, identity.user_id)
        if refusal is not None:
            raise refusal
        peer = self._peers[number] = WebSocketPeer(number, websocket, self._shared.nursery, self._output.pushed_to, self)
        self._turn(self._driver.connect, number, peer, identity, self._shared.new_id())
        return number

    def receive(self, connection_id: int, messages: Sequence[Frame | RemoteError], *, others: int = 0) -> None:
        """All messages of one read; a message that is not a frame is given as the error. Does nothing if the connection is over.

        `others`: how many WebSocket frames came with them that are not messages (pings, fragments).
        """
        peer = self._peers.get(connection_id)
        if peer is None:
            return
        self._shared.monitor.received(messages)
        peer.traffic.received += len(messages)
        peer.traffic.active_at = self._clock.now()
        self._turn(self._driver.receive, connection_id, messages, others)

    def lost(self, connection_id: int, peer_code: int | None = None) -> None:
        """The connection is over, with the peer's close code if it sent one, or its request is answered.

        Does nothing if the run knows already.
        """
        self._shared.user_connections.leave(connection_id)
        if self._peers.pop(connection_id, None) is not None:
            self._turn(self._driver.lost, connection_id, peer_code)

    def request(self, frame: RequestFrame, identity: Identity) -> RequestPeer:
        """An HTTP request; wait for the peer's `settled`, or call `lost`. Raises RemoteError."""
        self._check_live()
        peer = RequestPeer(self._shared.next_connection_id(), frame.client_id, identity.user_id)
        self._peers[peer.connection_id] = peer
        self._shared.monitor.received((frame,))
        self._turn(self._driver.request, peer.connection_id, frame, identity, self._shared.new_id())
        self._shared.monitor.requested(self.run_id, frame.client_id, self._clock.now())
        return peer

    def requests_of(self, user_id: str) -> tuple[int, ...]:
        """The numbers of that user's HTTP requests that have no answer yet."""
        return tuple(n for n, peer in self._peers.items() if isinstance(peer, RequestPeer) and peer.user_id == user_id)

    # Reports of peers about full sockets.

    def writable(self, connection_id: int) -> bool:
        """The socket has room again. Returns whether to wait for it again."""
        self._turn(self._driver.writable, connection_id)
        return self._driver.is_draining(connection_id)

    def progressed(self, connection_id: int) -> None:
        """A lagging reader is slow, but has taken some bytes."""
        self._turn(self._driver.progressed, connection_id)

    # The end.

    async def send_away(self, retry_after_ms: int, spread_ms: int, connection_ids: Sequence[int] | None = None) -> int:
        """Ask the clients on these connections, or all, to reconnect later, and close; sequenced events are still stored
        (`stored`). Returns how many connections there were.
        """

        def end(numbers: Sequence[int]) -> None:
            self._turn(self._driver.go_away, retry_after_ms=retry_after_ms, spread_ms=spread_ms, of=numbers)

        return await self._end_in_pieces(connection_ids, end)

    async def dismiss(self, connection_ids: Sequence[int] | None, code: CloseCode, reason: str) -> int:
        """End these connections, or all, with a code; returns how many there were."""

        def end(numbers: Sequence[int]) -> None:
            self._turn(self._driver.dismiss, numbers, code, reason)

        return await self._end_in_pieces(connection_ids, end)

    def end(self) -> None:
        """Take no more inputs, and close all peers, in pieces."""
        if self.ended.is_set():
            return
        self.ended.set()
        self._alarm.cancel()
        if self._peers:
            self._shared.nursery.start_soon(self._close_peers)
        else:
            self._peers_closed()
        self._on_end(self)

    def drop(self, error: StoreError) -> None:
        """End because the content of the store is unknown: every client is asked to reconnect (8.11)."""
        if not self.ended.is_set():
            self._output.fail(error)
            self.end()

    async def stored(self) -> None:
        """Wait until the writer has no batch of this run."""
        while not self._output.has_stored.is_set():
            await self._output.has_stored.wait()

    async def _end_in_pieces(self, connection_ids: Sequence[int] | None, end: Callable[[Sequence[int]], None]) -> int:
        """Everybody else has a turn between two pieces. It is finished also when it is cancelled."""
        numbers = [number for number in (self._peers if connection_ids is None else connection_ids) if number in self._peers]
        with trio.CancelScope(shield=True):
            for first in range(0, len(numbers), ENDED_AT_ONCE):
                end(numbers[first : first + ENDED_AT_ONCE])
                await trio.lowlevel.checkpoint()
        return len(numbers)

    async def _close_peers(self) -> None:
        """Close all peers after the end."""
        await self._end_in_pieces(None, self._close_piece)
        self._peers_closed()

    def _close_piece(self, numbers: Sequence[int]) -> None:
        if self._output.failure is not None:
            try:
                self._driver.dismiss(numbers, CloseCode.OVERLOADED, STORE_FAILED)
            except Exception as error:
                self._log_bug(error)
        for number in numbers:
            peer = self._peers.pop(number, None)
            if peer is not None:  # does nothing for a WebSocket that is closing already
                close = Close((number,), INTERNAL_ERROR, "internal error")
                peer.close((), close) if isinstance(peer, WebSocketPeer) else peer.close(close)
        self._output.is_writing_on = True
        self._go_on_writing()

    def _peers_closed(self) -> None:
        self._are_peers_closed = True
        self._shared.monitor.sessions.run_ended(self.run_id, self._clock.now())
        self._settle()

    def _settle(self) -> None:
        if self._are_peers_closed and not self._output.is_with_writer:
            self._output.has_stored.set()
            self.settled.set()

    def _gathered(self) -> None:
        self._turn(self._driver.store_now)

    def _stored(self, append: Append, error: StoreError | None) -> None:
        if self.ended.is_set():
            self._settle()
        elif error is None:
            self._turn(self._driver.stored, append)
        else:
            self.drop(error)

    # Time.

    async def watch(self) -> None:
        """Handle the machine's deadlines, one after the other, until the run has ended."""
        while not self.ended.is_set():
            self._armed_for = self._next_deadline()
            self._alarm = trio.CancelScope(deadline=self._clock.trio_deadline(self._armed_for))
            with self._alarm:
                await trio.sleep_forever()
            if not self.ended.is_set():
                self._turn(self._driver.ring, self._clock.reached(self._armed_for))

    def _next_deadline(self) -> int:
        deadline = self.run.next_deadline()
        assert deadline is not None, "a run always waits for its next heartbeat"
        return deadline

    # The turn.

    def _turn(self, handle: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        if self.ended.is_set() or self.is_dropped_for_lease():
            return
        try:
            handle(*args, **kwargs)
        except Exception as error:  # any bug: it must cost this run only
            self._log_bug(error)
            self.end()

    def _turn_over(self) -> None:
        if self._output.failure is not None or self._output.is_retired:
            self.end()
            return
        # An alarm that goes off too early costs one look at the timers; moving it with every turn would cost more.
        deadline = self._next_deadline()
        if deadline < self._armed_for:
            self._armed_for = deadline
            self._alarm.deadline = self._clock.trio_deadline(deadline)
        self._go_on_writing()

    def _go_on_writing(self) -> None:
        if self._output.is_writing_on and not self._is_writing_on:
            self._is_writing_on = True
            self._shared.nursery.start_soon(self._write_on)

    async def _write_on(self) -> None:
        """Write to the sockets that a turn did not reach; other tasks run between two pieces. After the end of the run these are
        close frames.
        """
        while self._output.is_writing_on:
            await trio.lowlevel.checkpoint()
            if not self.ended.is_set():
                self._turn(self._output.write_on)
                continue
            try:
                self._output.write_on()
            except Exception as error:
                self._log_bug(error)
        self._is_writing_on = False

    def _log_bug(self, error: Exception) -> None:
        self._shared.on_fault(f"run {self.run_id} failed and is loaded anew", error)

    def is_dropped_for_lease(self) -> bool:
        """End the run if another process may serve it by now: its answers might be outdated. Returns whether that was so."""
        owners = self._shared.owners
        if owners is None or self._output.failure is not None or owners.is_held:
            return False
        self.drop(LEASE_LOST)
        return True

    def _check_live(self) -> None:
        if self.ended.is_set() or self.is_dropped_for_lease():
            raise RemoteError(CloseCode.OVERLOADED, "this run is no longer in memory; reconnect")
