"""The simulated server: the shipped run machine, and what stands around it on the server's machine.

The pump is that of the trio shell. After every input: hand what is to be stored to the store, carry out the actions in
order, arm the one alarm. A batch of events is measured once and pushed to every reader; a reader whose send buffer is
full gets nothing, which the run is told, and is served from its cursor when there is room again (`peer`).

The host is the machine, which lasts; the process on it can be killed. A kill takes everything but the store: every connection is
reset, new ones are refused while no process runs, and what had not been committed is gone.
"""

from collections.abc import Iterator
from typing import assert_never

from reference.protocol import frames
from reference.protocol.actions import Authenticate, Close, Deliver, Retire, Send, ServerAction
from reference.protocol.codec import encoded_bytes
from reference.protocol.config import ServerConfig
from reference.protocol.records import Append
from reference.protocol.run import Run
from reference.protocol.server_session import Identity
from reference.protocol.states import Transport
from simulation.clock import Alarm, Clock
from simulation.network import (
    ANSWER_HEAD_BYTES,
    Ending,
    HttpLink,
    Link,
    ServerEnd,
    Syn,
    WebSocketLink,
    failed,
    websocket_bytes,
)
from simulation.peer import CONTROL_FRAMES_MAX, Peer
from simulation.recording import record_answers, record_observations
from simulation.store import SimulatedStore
from simulation.trace import ServerKilled, ServerStarted, Trace

ORIGIN = 1_767_225_600 * 1_000_000_000
"""What the server's clock shows at the beginning of a run: 2026-01-01, in ns since 1970."""


class ServerHost:
    """The machine that the server runs on."""

    def __init__(self, clock: Clock, store: SimulatedStore, config: ServerConfig, trace: Trace) -> None:
        self.clock = clock
        self.store = store
        self.config = config
        self.trace = trace
        self.process: Process | None = None
        self.frames = 0
        """That have reached a run's machine."""
        self._connections_opened = 0

    def start(self) -> None:
        """A process comes up and loads the run."""
        assert self.process is None, "one server process at a time"
        self.process = Process(self)

    def kill(self) -> None:
        """The process is gone, in the middle of whatever it did. Its clients are told by `Line.server_died`."""
        assert self.process is not None, "only what runs can be killed"
        self.trace.add(ServerKilled(at=self.clock.now))
        self.process.is_over = True
        self.process = None
        self.store.crash()

    def take(self, link: Link) -> ServerEnd | Syn:
        """As ServerMachine.take."""
        return Syn.REFUSED if self.process is None else self.process

    def next_connection_id(self) -> int:
        self._connections_opened += 1
        return self._connections_opened


class Process:
    """One server process, from its start until it is killed. It loads its run when somebody first asks for it, and keeps it."""

    def __init__(self, host: ServerHost) -> None:
        self.is_over = False
        self._host = host
        self._clock = host.clock
        self._trace = host.trace
        self._loaded: Run | None = None
        self._alarm = Alarm(host.clock, self._next_deadline, self._ring)
        self._peers: dict[int, Peer] = {}
        self._requests: dict[int, HttpLink] = {}
        stored = host.store.load()
        self._trace.add(ServerStarted(at=self._clock.now, epoch=stored.epoch, head=stored.head))

    @property
    def _run(self) -> Run:
        if self._loaded is None:
            self._loaded = Run(self._host.store.load(), config=self._host.config, now=self._now())
        return self._loaded

    # The network speaks.

    def upgrade_arrived(self, link: WebSocketLink) -> None:
        link.upgrade()
        connection_id = link.server_id = self._host.next_connection_id()
        self._peers[connection_id] = Peer(connection_id, link, self.more_for)
        self._opened(connection_id, Transport.WEBSOCKET, link.line.client)
        self._pump()

    def request_arrived(self, link: HttpLink, request: frames.RequestFrame) -> None:
        connection_id = link.server_id = self._host.next_connection_id()
        self._requests[connection_id] = link
        self._opened(connection_id, Transport.POLLING, link.line.client)
        self.frame_arrived(connection_id, request)

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None:
        self._host.frames += 1
        self._run.receive_frame(connection_id, frame, self._now())
        self._pump()
        if self._run.is_lagging(connection_id):
            self._catch_up(connection_id)

    def connection_lost(self, connection_id: int) -> None:
        self._peers.pop(connection_id, None)
        self._requests.pop(connection_id, None)
        self._run.connection_lost(connection_id, self._now())
        self._pump()

    def bytes_taken(self, connection_id: int) -> None:
        """Some bytes have arrived at a client whose send buffer was full."""
        peer = self._peers.get(connection_id)
        if peer is not None:
            self._run.bytes_taken(connection_id, self._now())
            self._pump()
            peer.drain_now()

    def released(self, link: Link) -> None:
        """As ServerEnd.released."""

    def more_for(self, peer: Peer) -> tuple[frames.Frame, int] | None:
        """What a lagging reader is given next, and its size; None when it has everything, and is current from here on."""
        batch = self._run.next_batch(peer.connection_id, self._now())
        self._pump()
        return None if batch is None else (batch.frame, _size(batch.frame))

    # What can be looked at.

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """What it holds now: a name, how much, and the limit."""
        if self._loaded is None:
            return
        config = self._run.config
        yield "log window", self._run.head - self._run.oldest + 1, config.events_kept_max
        yield "connections", self._run.connections, config.connections_per_run_max
        yield "commit under way", self._run.events_under_way, config.appends_pending_max
        waiting = max((peer.waiting for peer in self._peers.values()), default=0)
        yield "control frames of one connection", waiting, CONTROL_FRAMES_MAX

    # The pump.

    def _now(self) -> int:
        return ORIGIN + self._clock.now

    def _next_deadline(self) -> int | None:
        deadline = None if self.is_over or self._loaded is None else self._loaded.next_deadline()
        return None if deadline is None else deadline - ORIGIN

    def _ring(self) -> None:
        self._run.handle_timeout(self._now())
        self._pump()

    def _opened(self, connection_id: int, transport: Transport, client: str) -> None:
        # The token came with the upgrade, or with the request; whose it is, is known.
        session_id = f"session-{connection_id}"
        self._run.connection_opened(connection_id, transport, Identity(client), session_id, self._now())

    def _pump(self) -> None:
        run = self._run
        while True:
            append = run.events_to_append()
            if append is not None:
                self._host.store.commit(append, self._committed)
            actions = run.take_actions()
            if not actions:
                break
            for action in actions:
                self._carry_out(action)
        observations = run.take_observations()
        if observations:
            record_observations(self._trace, observations, self._clock.now)
        self._alarm.arm()

    def _committed(self, append: Append) -> None:
        self._run.handle_appended(append, self._now())
        self._pump()

    def _carry_out(self, action: ServerAction) -> None:
        match action:
            case Deliver():
                self._deliver(action)
            case Send(connection_ids=connection_ids, frame=frame):
                self._send(connection_ids, frame)
            case Close(connection_ids=connection_ids):
                for connection_id in connection_ids:
                    self._close(connection_id, Ending(action.code, action.message, action.retry_after_ms))
            case Authenticate(connection_id=connection_id):
                peer = self._peers.get(connection_id)
                if peer is not None:
                    self._run.handle_authenticated(connection_id, Identity(peer.link.line.client), self._now())
            case Retire():
                self._loaded = None  # whoever comes next has it loaded anew
            case _:
                assert_never(action)

    def _deliver(self, batch: Deliver) -> None:
        size_bytes = _size(batch.frame)
        for connection_id in batch.connection_ids:
            peer = self._peers.get(connection_id)
            if peer is None:
                continue
            if peer.is_blocked():
                self._run.handle_refused(connection_id, batch, self._now())
                peer.drain()
                continue
            peer.link.send_to_client(batch.frame, size_bytes)
            if peer.is_blocked():
                self._run.handle_blocked(connection_id, batch, self._now())
                peer.drain()

    def _send(self, connection_ids: tuple[int, ...], frame: frames.Frame) -> None:
        size_bytes = _size(frame)
        for connection_id in connection_ids:
            peer = self._peers.get(connection_id)
            if peer is None:
                request = self._requests.pop(connection_id, None)
                if request is not None:
                    record_answers(self._trace, request.line.client, frame, self._clock.now)
                    request.answer(frame, ANSWER_HEAD_BYTES + size_bytes)
                continue
            record_answers(self._trace, peer.link.line.client, frame, self._clock.now)
            if not peer.send(frame, size_bytes):
                self._run.too_slow(connection_id, self._now())

    def _close(self, connection_id: int, ending: Ending) -> None:
        peer = self._peers.pop(connection_id, None)
        if peer is not None:
            peer.close(ending)
        request = self._requests.pop(connection_id, None)
        if request is not None and request.request is not None:
            request.answer(failed(request.request, ending), ANSWER_HEAD_BYTES)

    def _catch_up(self, connection_id: int) -> None:
        """Give a lagging reader what it takes now; its drain goes on with the rest."""
        peer = self._peers.get(connection_id)
        while peer is not None and self._run.is_lagging(connection_id):
            if peer.is_blocked():
                peer.drain()
                return
            more = self.more_for(peer)
            if more is not None:
                peer.link.send_to_client(*more)
            peer = self._peers.get(connection_id)


def _size(frame: frames.Frame) -> int:
    return websocket_bytes(encoded_bytes(frame), is_masked=False)
