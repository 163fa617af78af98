"""A simulated server process: drives the shipped run machine with the inputs of network, store and operator, as jobs.

Every input is a job (`capacity`): it waits for its turn, costs its time, and is then handed to the run. A machine without a
capacity executes it at once. Frames that arrive before the listener has accepted their connection wait for that.

After every input: hand new events to the store, carry out the actions in order, arm the one alarm. A batch of events is measured
once and pushed to every reader; a reader whose send buffer is full gets nothing, which is reported to the run, and is served from
its cursor when there is room again (`peer`). Sending is charged to the job that sends, and the run is told how long a fan-out
took. The process reads the machine's wall clock once, at its start; from then on it only counts.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from reference.protocol import frames
from reference.protocol.actions import Authenticate, Close, Deliver, Retire, Send, ServerAction
from reference.protocol.codec import encoded_bytes
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from simulation.clock import Alarm
from simulation.hosts.peer import FrameTaken, Peer
from simulation.hosts.tokens import identify
from simulation.network.connection import ANSWER_HEAD_BYTES, Ending, HttpConnection, TcpConnection, failed, websocket_bytes
from simulation.trace.writer import record_answers, record_observations

if TYPE_CHECKING:  # a process is started by its host
    from simulation.hosts.server_host import ServerHost
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.states import Transport
from simulation.hosts.peer import CONTROL_FRAMES_MAX
from simulation.network.connection import WebSocketConnection
from simulation.trace.trace import ServerStarted

CLOSED = Ending(None, "the server has closed the connection")


class RunDriver:
    """Owns the run of one process, and its readers. The run is loaded when somebody first asks for it."""

    def __init__(self, host: "ServerHost") -> None:
        self.work, self.listener, self._costs = host.new_machine()
        self._host = host
        self._clock = host.clock
        self._trace = host.trace
        self._origin = host.wall_clock_ahead
        self._loaded: Run | None = None
        self._alarm = Alarm(host.clock, self, self)
        self._is_ringing = False
        self._peers: dict[int, Peer] = {}
        self._requests: dict[int, HttpConnection] = {}
        self._on_drained: Callable[[], None] | None = None

    @property
    def _run(self) -> Run:
        if self._loaded is None:
            host = self._host
            self._loaded = Run(host.store.load(), config=host.config, now=self._now(), limits=host.limits)
        return self._loaded

    def _now(self) -> int:
        return self._origin + self._clock.now

    def next_deadline(self) -> int | None:
        if self.work.is_over or self._loaded is None or self._is_ringing:
            return None
        deadline = self._loaded.next_deadline()
        return None if deadline is None else deadline - self._origin

    def ring(self) -> None:
        self._is_ringing = True
        self.work.submit(0, self._handle_timeout)

    def _handle_timeout(self, _: None) -> None:
        self._is_ringing = False
        self._run.handle_timeout(self._now())
        self._pump()

    def _pump(self) -> None:
        run = self._run
        while True:
            append = run.events_to_append()
            if append is not None:
                self._host.store.commit(append, self._durable)
            actions = run.take_actions()
            if not actions:
                break
            for action in actions:
                if type(action) is Send:  # as most are
                    self._send(action.connection_ids, action.frame)
                else:
                    self._carry_out(action)
        observations = run.take_observations()
        if observations:
            record_observations(self._trace, observations, self._clock.now)
        self._alarm.arm()

    def _durable(self, append: Append) -> None:
        self.work.submit(0, self._committed, append)

    def _committed(self, append: Append) -> None:
        self._run.handle_appended(append, self._now())
        self._pump()
        self._check_drained()

    def _check_drained(self) -> None:
        if self._on_drained is not None and (self._loaded is None or not self._loaded.events_in_flight):
            self._on_drained()

    # Its actions.

    def _carry_out(self, action: ServerAction) -> None:
        match action:
            case Deliver():
                self._deliver(action)
            case Send(connection_ids=connection_ids, frame=frame):
                self._send(connection_ids, frame)
            case Close(connection_ids=connection_ids):
                for connection_id in connection_ids:
                    self._close(connection_id, Ending(action.code, action.message, action.retry_after_ms))
            case Authenticate(connection_id=connection_id, token=token):
                peer = self._peers.get(connection_id)
                if peer is not None:
                    now = self._now()
                    identity = Identity(peer.link.line.client) if token is None else identify(token, now)
                    self._run.handle_authenticated(connection_id, identity, now)
            case Retire():
                self._loaded = None  # whoever comes next has it loaded anew
            case _:
                assert_never(action)

    def _deliver(self, batch: Deliver) -> None:
        size_bytes, before = size_of(batch.frame), self.work.spend(0)
        for connection_id in batch.connection_ids:
            peer = self._peers.get(connection_id)
            if peer is None:
                continue
            taken = peer.offer(batch.frame, size_bytes)
            if taken is FrameTaken.NOTHING:
                self._run.handle_refused(connection_id, batch, self._now())
                peer.drain()
            elif taken is FrameTaken.LAST:
                self._run.handle_blocked(connection_id, batch, self._now())
                peer.drain()
        done = self.work.spend(0)
        if done > before:
            self._run.handle_fanned_out(done - before, self._now() + done)

    def _send(self, connection_ids: tuple[int, ...], frame: frames.Frame) -> None:
        size_bytes = size_of(frame)
        for connection_id in connection_ids:
            peer = self._peers.get(connection_id)
            if peer is None:
                request = self._requests.pop(connection_id, None)
                if request is not None:
                    record_answers(self._trace, request.line.client, frame, self._clock.now)
                    self._answer(request, frame, size_bytes)
                continue
            record_answers(self._trace, peer.link.line.client, frame, self._clock.now)
            if not peer.send(frame, size_bytes):
                self._run.too_slow(connection_id, self._now())

    def _close(self, connection_id: int, ending: Ending) -> None:
        peer = self._peers.pop(connection_id, None)
        if peer is not None:
            peer.close(ending)
        link = self._requests.pop(connection_id, None)
        if link is not None and link.request is not None:
            self._fail(link, link.request, ending)

    def _fail(self, link: HttpConnection, request: frames.RequestFrame, ending: Ending) -> None:
        self._answer(link, failed(request, ending), 0)

    def _answer(self, link: HttpConnection, frame: frames.Frame, size_bytes: int) -> None:
        link.answer(frame, ANSWER_HEAD_BYTES + size_bytes, self._charge(link, frame))
        if self._host.is_replaced(link.taken.instance):
            link.server_leaves(CLOSED)

    def more_for(self, peer: Peer) -> tuple[frames.Frame, int] | None:
        """What a lagging reader is given next, and its size; None when it has everything, and is current from here on."""
        batch = self._run.next_batch(peer.connection_id, self._now())
        self._pump()
        if batch is None:
            return None
        if self._costs is not None:
            self.work.spend(len(batch.frame.events) * self._costs.replay_event.of(peer.link.line.client))
        return batch.frame, size_of(batch.frame)

    def _catch_up(self, connection_id: int) -> None:
        """Give a lagging reader what it takes now; its drain goes on with the rest."""
        peer = self._peers.get(connection_id)
        while peer is not None and self._run.is_lagging(connection_id):
            if peer.is_blocked():
                peer.drain()
                return
            more = self.more_for(peer)
            if more is not None:
                peer.push(*more)
            peer = self._peers.get(connection_id)

    def _charge(self, link: TcpConnection, frame: frames.Frame) -> int:
        """What it costs to send this frame; returns when it leaves, in ns from now."""
        if self._costs is None:
            return 0
        client = link.line.client
        if isinstance(frame, frames.PollAnswer) and frame.events:
            self.work.spend(len(frame.events) * self._costs.replay_event.of(client))
        return self.work.spend(self._costs.delivery.of(client))


def size_of(frame: frames.Frame) -> int:
    return websocket_bytes(encoded_bytes(frame), is_masked=False)


__all__ = ["CLOSED", "Process"]

_Opened = tuple[TcpConnection, frames.RequestFrame | None]


class Process(RunDriver):
    """One server process, from its start until it ends."""

    def __init__(self, host: "ServerHost") -> None:
        super().__init__(host)
        self.shed = 0
        """Clients that were turned away for want of time."""
        stored = host.store.load()
        self._trace.add(ServerStarted(at=self._clock.now, epoch=stored.epoch, head=stored.head))

    @property
    def is_leaving(self) -> bool:
        """It has been asked to stop, and takes nobody in."""
        return self._on_drained is not None

    # The network speaks.

    def upgrade_arrived(self, link: WebSocketConnection) -> None:
        self._when_taken(link, self._begin_upgrade, (link, None))

    def request_arrived(self, link: HttpConnection, request: frames.RequestFrame) -> None:
        self._when_taken(link, self._begin_request, (link, request))

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None:
        costs, peer = self._costs, self._peers.get(connection_id)
        if costs is None or peer is None:
            self.work.submit(0, self._receive, (connection_id, frame))
            return
        client = peer.link.line.client
        cost = frame_cost = costs.frame.of(client)
        if isinstance(frame, frames.Hello | frames.Auth):
            cost += costs.authentication.of(client)
        too_late = self._turn_away if costs.shedding and isinstance(frame, frames.Hello) else None
        self.work.submit(
            cost,
            self._receive,
            (connection_id, frame),
            link=peer.link,
            patience=costs.patience,
            too_late=too_late,
            too_late_cost=frame_cost,
        )

    def connection_lost(self, connection_id: int) -> None:
        peer = self._peers.get(connection_id)
        link = self._requests.get(connection_id) if peer is None else peer.link
        self.work.submit(0, self._lose, connection_id, link=link)

    def bytes_taken(self, connection_id: int) -> None:
        """Some bytes have arrived at a client whose send buffer was full."""
        self.work.submit(0, self._make_room, connection_id)

    def released(self, link: TcpConnection) -> None:
        """As ServerEnd.released."""
        self._host.released(link)

    # What it is asked to do.

    def go_away(self, instance: int | None = None) -> None:
        """Ask every client, or those of one instance, to come back later."""
        self.work.submit(0, self._send_away, instance)

    def stop(self, on_drained: Callable[[], None]) -> None:
        """Let nobody in from now on, send everybody away, store what is accepted; then `on_drained` is called."""
        self._on_drained = on_drained
        self.go_away()

    def end(self) -> None:
        """It is gone."""
        self.work.stop()

    # What can be looked at.

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """What it holds now: a name, how much, and the limit."""
        if self._costs is not None:
            yield "accept backlog", self.listener.backlog, self.listener.backlog_max
            yield "work queue", self.work.waiting, self._costs.jobs_max
        if self._loaded is None:
            return
        config = self._run.config
        yield "log window", self._run.head - self._run.oldest + 1, config.events_kept_max
        yield "connections", self._run.connections, config.connections_per_run_max
        yield "commit under way", self._run.events_in_flight, config.appends_pending_max
        waiting = max((peer.waiting for peer in self._peers.values()), default=0)
        yield "control frames of one connection", waiting, CONTROL_FRAMES_MAX

    # Jobs.

    def _when_taken(self, link: TcpConnection, function: Callable[[_Opened], None], argument: _Opened) -> None:
        """The listener may not have got to this connection yet."""
        if link.taken.at > self.work.now:
            self.work.later(link.taken.at, function, argument)
        else:
            function(argument)

    def _begin_upgrade(self, opened: _Opened) -> None:
        self.work.submit(self._handshake_cost(opened[0]), self._upgrade, opened[0], link=opened[0])

    def _begin_request(self, opened: _Opened) -> None:
        link, costs = opened[0], self._costs
        if costs is None:
            self.work.submit(0, self._serve, opened)
            return
        client = link.line.client
        reading = self._handshake_cost(link) + costs.frame.of(client)
        self.work.submit(
            reading + costs.authentication.of(client),
            self._serve,
            opened,
            link=link,
            patience=costs.patience,
            too_late=self._refuse if costs.shedding else None,
            too_late_cost=reading,
        )

    def _upgrade(self, link: WebSocketConnection) -> None:
        if not link.is_served:
            return  # the client has given up: the work was for nothing
        if self.is_leaving or self._host.is_replaced(link.taken.instance):
            retry_after_ms = self._host.retry_after_ms
            link.server_leaves(Ending(CloseCode.GOING_AWAY, "the server is going away", retry_after_ms))
            return
        link.upgrade()
        identity = self._identify(link)
        if isinstance(identity, RemoteError):
            error = frames.Error(code=identity.code, message=identity.message)
            link.send_to_client(error, size_of(error))
            link.server_leaves(Ending(identity.code, identity.message))
            return
        connection_id = link.server_id = self._host.next_connection_id()
        self._peers[connection_id] = Peer(connection_id, link, self.more_for, None if self._costs is None else self._charge)
        self._open(connection_id, Transport.WEBSOCKET, identity)
        self._pump()

    def _serve(self, opened: _Opened) -> None:
        link, request = opened
        assert isinstance(link, HttpConnection), "requests come over HTTP"
        assert request is not None, "one has arrived"
        identity = self._identify(link)
        if self.is_leaving:
            self._fail(link, request, Ending(CloseCode.GOING_AWAY, "the server is going away", self._host.retry_after_ms))
        elif isinstance(identity, RemoteError):
            self._fail(link, request, Ending(identity.code, identity.message))
        else:
            connection_id = link.server_id = self._host.next_connection_id()
            self._requests[connection_id] = link
            self._open(connection_id, Transport.POLLING, identity)
            self._receive((connection_id, request))

    def _refuse(self, opened: _Opened) -> None:
        """There is no time for this request."""
        link, request = opened
        assert isinstance(link, HttpConnection), "requests come over HTTP"
        assert request is not None, "one has arrived"
        self.shed += 1
        wait_ms = self._host.drawn_wait_ms(link.line.client)
        self._fail(link, request, Ending(CloseCode.OVERLOADED, "the server has too much to do", wait_ms))

    def _turn_away(self, received: tuple[int, frames.Frame]) -> None:
        """There is no time for this client's hello."""
        assert self._costs is not None, "only a server with a capacity sheds"
        assert self._costs.shedding is not None, "and only if it is told to"
        self.shed += 1
        wait_ms, spread_ms = self._costs.shedding
        connection_id = received[0]
        if connection_id in self._peers:
            self._run.go_away(
                self._now(), retry_after_ms=wait_ms, spread_ms=spread_ms, of=(connection_id,), code=CloseCode.OVERLOADED
            )
            self._pump()

    def _receive(self, received: tuple[int, frames.Frame]) -> None:
        connection_id, frame = received
        self._host.frames += 1
        run = self._run
        run.receive_frame(connection_id, frame, self._now())
        self._pump()
        if run.is_lagging(connection_id):
            self._catch_up(connection_id)

    def _lose(self, connection_id: int) -> None:
        self._peers.pop(connection_id, None)
        self._requests.pop(connection_id, None)
        self._run.connection_lost(connection_id, self._now())
        self._pump()

    def _make_room(self, connection_id: int) -> None:
        peer = self._peers.get(connection_id)
        if peer is not None:
            self._run.bytes_taken(connection_id, self._now())
            self._pump()
            peer.drain_now()

    def _send_away(self, instance: int | None) -> None:
        of = [number for number, peer in self._peers.items() if peer.link.taken.instance == instance]
        if self._loaded is not None:
            wait_ms, spread_ms = self._host.retry_after_ms, self._host.spread_ms
            everyone = None if instance is None else of
            self._run.go_away(self._now(), retry_after_ms=wait_ms, spread_ms=spread_ms, of=everyone)
            self._pump()
        self._check_drained()

    def _identify(self, link: TcpConnection) -> Identity | RemoteError:
        """The token came with the upgrade, or with the request. Without one the line says whose it is."""
        return Identity(link.line.client) if link.token is None else identify(link.token, self._now())

    def _open(self, connection_id: int, transport: Transport, identity: Identity) -> None:
        self._run.connection_opened(connection_id, transport, identity, f"session-{connection_id}", self._now())

    def _handshake_cost(self, link: TcpConnection) -> int:
        if self._costs is None or link.taken.is_greeted:
            return 0
        link.taken.is_greeted = True
        return self._costs.handshake.of(link.line.client)
