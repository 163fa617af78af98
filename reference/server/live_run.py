"""LiveRun: one run in memory, and the pump that drives its machine.

After every input, whoever brings it, the same is done without waiting: hand what is to be stored to the single writer, carry out
the actions in order, arm the one alarm. Inputs come from the tasks of the connections (frames), from the writer (`done`), and
from the alarm's task, which is the only one that a run has of its own.

When a batch goes to the writer, and how long a run without anybody is kept, the machine decides (`protocol.appending`, `idling`);
it is told here how long a fan-out took.

A run ends, here in memory, when it asks for it, or when it is not known what the store holds of it. Then it takes no more inputs,
and whoever comes next has it loaded anew. A fault of ours inside of a run ends it the same way and no other.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

import trio

from reference.protocol.actions import Authenticate, Close, Deliver, Retire, Send, ServerAction
from reference.protocol.errors import CloseCode, RemoteError, SteadywireError
from reference.protocol.frames import Frame, RequestFrame
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.observations import Joined
from reference.protocol.server.run import Run
from reference.protocol.states import Transport
from reference.protocol.statistics import Held
from reference.protocol.timers import NS_PER_S
from reference.server.auth import identify
from reference.server.context import ServerContext
from reference.server.encoding import Encoder
from reference.server.monitoring.sessions import Traffic
from reference.server.peers import Peer, RequestPeer, WebSocketPeer
from reference.server.wire.framing import INTERNAL_ERROR
from reference.server.wire.websocket import ServerWebSocket
from reference.store import StoreError

STORE_FAILED = "what was sent last is not confirmed; come back"


class RunEnded(SteadywireError):
    """The run is no longer live here; load it anew."""


class LiveRun:
    """All methods but `watch` return without waiting. `on_end` is called once, when the run is no longer live."""

    def __init__(self, run: Run, shared: ServerContext, on_end: "Callable[[LiveRun], None]") -> None:
        self.run = run
        self._shared = shared
        self._clock = shared.clock
        self._on_end = on_end
        self._encoder = Encoder()
        self._peers: dict[int, Peer] = {}
        self._under_way: Append | None = None
        self._landed = trio.Event()
        self._failure: StoreError | None = None
        self._is_retired = False
        self._alarm = trio.CancelScope()
        self._armed_for = self._next_deadline()
        self.ended = trio.Event()
        """The run takes no more inputs."""
        self.settled = trio.Event()
        """The run has ended, and no batch of it is with the writer."""

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def idle_since(self) -> int | None:
        """Since when nobody is here and nothing is on its way to the store, in ns; None while it is in use."""
        return self.run.idle_since

    @property
    def websockets(self) -> int:
        """WebSocket connections, those included that have not said hello."""
        return sum(isinstance(peer, WebSocketPeer) for peer in self._peers.values())

    @property
    def lagging(self) -> int:
        """Readers that have not been given everything."""
        return sum(isinstance(peer, WebSocketPeer) and self.run.is_lagging(number) for number, peer in self._peers.items())

    @property
    def lag(self) -> int:
        """Events that the reader furthest behind has not been given."""
        return max(
            (self.run.lag_of(number) for number, peer in self._peers.items() if isinstance(peer, WebSocketPeer)), default=0
        )

    @property
    def control_frames(self) -> int:
        """Frames beside the log that wait for sockets."""
        return sum(peer.control_frames for peer in self._peers.values() if isinstance(peer, WebSocketPeer))

    @property
    def held(self) -> tuple[Held, ...]:
        """How much there is now of everything that can grow with this run, each with its limit (G7)."""
        waiting = (peer.control_frames for peer in self._peers.values() if isinstance(peer, WebSocketPeer))
        control = Held("control frames of one connection", max(waiting, default=0), self._shared.control_frames_max)
        return (*self.run.statistics().held, control)

    def touch(self) -> None:
        """Somebody is about to use this run: it is not idle, or not for so long."""
        self.run.touch(self._clock.now())

    # Connections.

    def reserve(self, identity: Identity | None) -> int:
        """A number for a WebSocket that is about to `connect`; it is given back with `lost`. Raises RemoteError.

        `identity` is whose token came with the upgrade, None if none came.
        """
        number = self._shared.next_connection_id()
        refusal = None if identity is None else self._shared.user_connections.enter(number, identity.user_id)
        if refusal is not None:
            raise refusal
        return number

    def connect(self, number: int, websocket: ServerWebSocket, nursery: trio.Nursery, identity: Identity | None) -> None:
        """A WebSocket is open: it goes by its number in `receive`, `receive_malformed` and `lost`. Raises RunEnded."""
        peer = WebSocketPeer(
            websocket,
            nursery,
            self,
            connection_id=number,
            control_frames_max=self._shared.control_frames_max,
            close_timeout_s=self._shared.close_timeout_s,
        )
        self._open(peer, Transport.WEBSOCKET, identity)

    def receive(self, connection_id: int, frame: Frame) -> None:
        """A frame has arrived."""
        self._shared.monitor.received()
        now = self._clock.now()
        peer = self._peers.get(connection_id)
        if peer is not None:
            peer.traffic.received += 1
            peer.traffic.active_at = now
        self._feed(lambda: self.run.receive_frame(connection_id, frame, now))
        self._catch_up(connection_id)

    def receive_malformed(self, connection_id: int, error: RemoteError) -> None:
        """Something arrived that is no frame; harmless if the connection is over."""
        if connection_id not in self._peers:
            return
        self._shared.monitor.received(is_nonsense=True)
        self._feed(lambda: self.run.receive_malformed(connection_id, error, self._clock.now()))

    def lost(self, connection_id: int, peer_code: int | None = None) -> None:
        """The connection is over, with the peer's close code if it gave one, or its request is answered.

        Harmless if the run knows already.
        """
        self._shared.user_connections.leave(connection_id)
        if self._peers.pop(connection_id, None) is not None:
            self._feed(lambda: self.run.connection_lost(connection_id, self._clock.now(), peer_code))

    def request(self, frame: RequestFrame, identity: Identity) -> RequestPeer:
        """An HTTP request; wait for the peer's `settled`, or say `lost`. Raises RunEnded."""
        peer = RequestPeer(self._shared.next_connection_id(), frame.client_id)
        self._open(peer, Transport.POLLING, identity)
        self.receive(peer.connection_id, frame)
        self._shared.monitor.requested(self.run_id, frame.client_id, self._clock.now())
        return peer

    # What the drain task of a peer asks for.

    def more_for(self, peer: WebSocketPeer) -> bytes | None:
        """What a lagging reader is given next; None when it has everything, and is current from here on."""
        batches: list[Deliver | None] = []
        self._feed(lambda: batches.append(self.run.next_batch(peer.connection_id, self._clock.now())))
        batch = batches[0] if batches else None
        if batch is None:
            return None
        self._shared.monitor.sent(len(batch.frame.events))
        peer.traffic.sent += len(batch.frame.events)
        return self._encoder.batch(batch)

    def moves(self, peer: WebSocketPeer) -> None:
        """A lagging reader is slow, but it takes bytes."""
        self._feed(lambda: self.run.bytes_taken(peer.connection_id, self._clock.now()))

    # The end.

    def go_away(self, retry_after_ms: int, spread_ms: int) -> None:
        """Ask every client to come back later, and close; what is sequenced is still stored (`stored`)."""
        self._feed(lambda: self.run.go_away(self._clock.now(), retry_after_ms=retry_after_ms, spread_ms=spread_ms))

    def send_away(self, retry_after_ms: int, spread_ms: int, connection_ids: Sequence[int] | None = None) -> int:
        """Ask the clients on these connections, or all, to come back later; returns how many connections there were."""
        numbers = self._standing(connection_ids)
        go_away = self.run.go_away
        self._feed(lambda: go_away(self._clock.now(), retry_after_ms=retry_after_ms, spread_ms=spread_ms, of=numbers))
        return len(numbers)

    def dismiss(self, connection_ids: Sequence[int] | None, code: CloseCode, reason: str) -> int:
        """End these connections, or all, with a code; returns how many there were."""
        numbers = self._standing(connection_ids)
        self._feed(lambda: self.run.dismiss(numbers, code, reason, self._clock.now()))
        return len(numbers)

    def _standing(self, connection_ids: Sequence[int] | None) -> tuple[int, ...]:
        return tuple(self._peers) if connection_ids is None else tuple(n for n in connection_ids if n in self._peers)

    def end(self) -> None:
        """Take no more inputs. Peers that are left are closed."""
        if self.ended.is_set():
            return
        self.ended.set()
        self._alarm.cancel()
        for peer in list(self._peers.values()):
            peer.close(Close((peer.connection_id,), INTERNAL_ERROR, "internal error"))
        self._peers.clear()
        self._shared.monitor.sessions.run_ended(self.run_id, self._clock.now())
        if self._under_way is None:
            self.settled.set()
        self._on_end(self)

    def drop(self, error: StoreError) -> None:
        """End because it is no longer known what the store holds: every client is told to come back."""
        self._feed(partial(self._fail, error))

    async def stored(self) -> None:
        """Wait until no batch is with the writer."""
        while self._under_way is not None:
            await self._landed.wait()

    # Time.

    async def watch(self) -> None:
        """Wait for the machine's deadlines, one after the other, until the run has ended."""
        while not self.ended.is_set():
            self._armed_for = self._next_deadline()
            self._alarm = trio.CancelScope(deadline=self._clock.trio_deadline(self._armed_for))
            with self._alarm:
                await trio.sleep_forever()
            if not self.ended.is_set():
                self._ring(self._clock.reached(self._armed_for))

    def _ring(self, now: int) -> None:
        self._feed(lambda: self.run.handle_timeout(now))

    def _next_deadline(self) -> int:
        deadline = self.run.next_deadline()
        assert deadline is not None, "a run always waits for its next heartbeat"
        return deadline

    def _arm(self) -> None:
        # An alarm that comes too early costs one look at the timers; putting it off with every frame would cost more.
        deadline = self._next_deadline()
        if deadline < self._armed_for:
            self._armed_for = deadline
            self._alarm.deadline = self._clock.trio_deadline(deadline)

    # The pump.

    def _feed(self, handle: Callable[[], None]) -> None:
        if self.ended.is_set():
            return
        try:
            handle()
            self._pump()
        except Exception as error:  # ours, whatever it is: it must cost this run only
            self._shared.on_fault(f"run {self.run_id} failed and is loaded anew", error)
            self.end()

    def _pump(self) -> None:
        run = self.run
        while True:
            append = run.events_to_append()
            if append is not None:
                self._submit(append)
            actions = run.take_actions()
            if not actions:
                break
            for action in actions:
                self._carry_out(action)
        for observation in run.take_observations():
            peer = self._peers.get(observation.connection_id) if isinstance(observation, Joined) else None
            self._shared.observe(self.run_id, observation, Traffic() if peer is None else peer.traffic)
        if self._failure is not None or self._is_retired:
            self.end()
            return
        self._arm()

    def _carry_out(self, action: ServerAction) -> None:
        match action:
            case Deliver():
                self._deliver(action)
            case Send():
                self._send(action)
            case Close():
                for number in action.connection_ids:
                    peer = self._peers.pop(number, None)
                    if peer is not None:
                        peer.close(action)
            case Authenticate(connection_id=number, token=token):
                now = self._clock.now()
                identity = identify(self._shared.authenticator, token, self.run_id, now)
                if isinstance(identity, Identity):
                    identity = self._shared.user_connections.enter(number, identity.user_id) or identity
                self.run.handle_authenticated(number, identity, now)
            case Retire():
                self._is_retired = True
            case _:
                assert_never(action)

    def _deliver(self, batch: Deliver) -> None:
        data = self._encoder.batch(batch)
        now = self._clock.now()
        taken, events = 0, len(batch.frame.events)
        for number in batch.connection_ids:
            peer = self._peers.get(number)
            if not isinstance(peer, WebSocketPeer):
                continue
            if peer.is_draining or not peer.push(data):
                self.run.handle_refused(number, batch, now)
                peer.drain()
                continue
            taken += 1
            peer.traffic.sent += events
            if peer.is_blocked:
                self.run.handle_blocked(number, batch, now)
                peer.drain()
        self._shared.monitor.sent(taken * events)
        done = self._clock.now()
        self.run.handle_fanned_out(done - now, done)

    def _send(self, send: Send) -> None:
        data = b""
        overfull = []
        for number in send.connection_ids:
            peer = self._peers.get(number)
            if isinstance(peer, RequestPeer):
                peer.send(send.frame)
                del self._peers[number]
                self._shared.monitor.answered(self.run_id, peer.client_id, send.frame)
            elif peer is not None:
                data = data or self._encoder.frame(send.frame)
                if peer.send(data):
                    peer.traffic.sent += 1
                else:
                    overfull.append(number)
        self._shared.monitor.sent(len(send.connection_ids) - len(overfull))
        for number in overfull:
            self.run.too_slow(number, self._clock.now())

    def _catch_up(self, connection_id: int) -> None:
        """Give a lagging reader what it takes without waiting; the rest is for its drain task."""
        peer = self._peers.get(connection_id)
        while isinstance(peer, WebSocketPeer) and self.run.is_lagging(connection_id):
            if peer.is_blocked:
                peer.drain()
                return
            data = self.more_for(peer)
            if data is not None:
                peer.push(data)

    def _open(self, peer: Peer, transport: Transport, identity: Identity | None) -> None:
        if self.ended.is_set():
            raise RunEnded("this run is no longer in memory")
        number = peer.connection_id
        self._peers[number] = peer
        new_id = self._shared.new_id()
        self._feed(lambda: self.run.connection_opened(number, transport, identity, new_id, self._clock.now()))

    # The store.

    def _submit(self, append: Append) -> None:
        self._under_way = append
        self._landed = trio.Event()
        try:
            self._shared.writer.submit(append, partial(self._stored, self._clock.now()))
        except StoreError as error:
            self._under_way = None
            self._landed.set()
            self._fail(error)

    def _stored(self, submitted_at: int, append: Append, error: StoreError | None) -> None:
        self._under_way = None
        self._landed.set()
        self._shared.monitor.committed((self._clock.now() - submitted_at) / NS_PER_S, len(append.entries), error)
        if self.ended.is_set():
            self.settled.set()
        elif error is None:
            self._feed(lambda: self.run.handle_appended(append, self._clock.now()))
        else:
            self._feed(partial(self._fail, error))

    def _fail(self, error: StoreError) -> None:
        self._failure = error
        # The details name files and hosts: they are for the log, not for clients.
        self._shared.on_fault(f"run {self.run_id}: the store did not confirm, the run is loaded anew", error)
        self.run.handle_append_failed(self._clock.now(), STORE_FAILED)
