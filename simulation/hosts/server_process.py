"""A simulated server process: gives the inputs from network, store and operator to a run's driver, as jobs.

Every input is a job (`capacity`): it waits for its turn, takes its time, and is then given to the driver as one turn. A machine
without a capacity executes it at once. Frames that arrive before the listener has accepted their connection wait for that.

The process is also the driver's `RunIO`: frames are measured once and pushed to every reader (`Peer`), sending is charged to the
job that sends, and there is one alarm. It reads the machine's wall clock once, at its start; from then on it only counts.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.frames import Limits, encoded_bytes
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from simulation.clock import Alarm, Clock, TimerLateness
from simulation.hosts.capacity import Listener, ProcessorCosts, ProcessorQueue
from simulation.hosts.store import SimulatedStore
from simulation.hosts.tokens import identify
from simulation.network.connection import Ending, TcpConnection
from simulation.network.http_connection import ANSWER_HEAD_BYTES, HttpConnection, failed
from simulation.network.websocket_connection import WebSocketConnection, websocket_bytes
from simulation.trace.trace import ServerStarted, Trace
from simulation.trace.writer import record_answers, record_observations

CLOSED = Ending(None, "the server has closed the connection")

Measured = tuple[frames.Frame, int]
"""A frame, and its size on the wire in bytes."""
_Opened = tuple[TcpConnection, frames.RequestFrame | None]


class HighWater:
    """The maximum length of each queue of a server, over all its processes, recorded where the queue grows."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[int, int]] = {}

    def note(self, queue: str, length: int, limit: int) -> None:
        """The queue has this length now, and may have `limit`."""
        before = self._marks.get(queue)
        if before is None or length > before[0]:
            self._marks[queue] = (length, limit)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Each queue: name, maximum length, and limit."""
        return ((queue, length, limit) for queue, (length, limit) in self._marks.items())


class ProcessHost(Protocol):
    """The machine, as a process uses it. frames: how many have reached its run; wall_clock_ahead: in ns."""

    frames: int

    @property
    def clock(self) -> Clock: ...

    @property
    def trace(self) -> Trace: ...

    @property
    def store(self) -> SimulatedStore: ...

    @property
    def high_water(self) -> HighWater: ...

    @property
    def config(self) -> ServerConfig: ...

    @property
    def limits(self) -> Limits:
        """The limits as sent in welcome."""

    @property
    def wall_clock_ahead(self) -> int: ...

    @property
    def timer_lateness(self) -> TimerLateness | None: ...

    @property
    def retry_after_ms(self) -> int: ...

    @property
    def spread_ms(self) -> int: ...

    def new_machine(self) -> tuple[ProcessorQueue, Listener, ProcessorCosts | None]:
        """The processor queue, listener and costs of a process that starts now."""

    def next_connection_id(self) -> int: ...

    def is_replaced(self, instance: int) -> bool:
        """Whether an instance is out, and closes its connections when it is done with them."""

    def drawn_wait_ms(self, client: str) -> int:
        """How long a client refused over HTTP is asked to wait."""

    def released(self, link: TcpConnection) -> None:
        """A process's end of a connection is gone."""


class Peer:
    """A reader of the run: its WebSocket at the server's end, as the run's driver sees it (a `Socket`)."""

    __slots__ = ("_process", "connection_id", "link")

    def __init__(self, connection_id: int, link: WebSocketConnection, process: "Process") -> None:
        self.connection_id = connection_id
        self.link = link
        self._process = process

    @property
    def is_blocked(self) -> bool:
        """As Socket.is_blocked."""
        return self.link.is_blocked()

    def push(self, item: Measured) -> bool:
        """As Socket.push."""
        frame, size_bytes = item
        link, process = self.link, self._process
        is_free = process.is_free and type(frame) is frames.Events  # the usual case: skip a call
        return link.send_to_client(frame, size_bytes, 0 if is_free else process.sends(link, frame))

    def close(self, waiting: Sequence[Measured], close: Close) -> None:
        """As Socket.close."""
        for item in waiting:
            self.push(item)
        self._process.closed(self.connection_id)
        self.link.server_leaves(Ending(close.code, close.message, close.retry_after_ms))


class Process:
    """One server process, from its start to its end. Its run is loaded for the first client."""

    def __init__(self, host: ProcessHost) -> None:
        self.work, self.listener, self._costs = host.new_machine()
        self.is_free = self._costs is None
        """Whether its work takes no time."""
        self.shed = 0
        """Clients refused because of overload."""
        self._host = host
        self._clock = host.clock
        self._trace = host.trace
        self._origin = host.wall_clock_ahead
        self._loaded: RunDriver[Measured] | None = None
        self._alarm = Alarm(host.clock, self, host.timer_lateness)
        self._is_ringing = False
        self._peers: dict[int, Peer] = {}
        self._requests: dict[int, HttpConnection] = {}
        self._on_drained: Callable[[], None] | None = None
        stored = host.store.load()
        self._trace.add(ServerStarted(at=self._clock.now, epoch=stored.epoch, head=stored.head))

    @property
    def is_leaving(self) -> bool:
        """Whether it was asked to stop and accepts no clients."""
        return self._on_drained is not None

    @property
    def _driver(self) -> RunDriver[Measured]:
        if self._loaded is None:
            host = self._host
            self._loaded = RunDriver(Run(host.store.load(), config=host.config, now=self.now(), limits=host.limits), self)
        return self._loaded

    # Inputs from the network.

    def request_arrived(self, link: TcpConnection, request: frames.RequestFrame | None) -> None:
        self._when_taken(link, self._begin_upgrade if request is None else self._begin_request, (link, request))

    def frames_arrived(self, connection_id: int, arrived: Sequence[frames.Frame]) -> None:
        costs, peer = self._costs, self._peers.get(connection_id)
        if costs is None or peer is None:
            self.work.submit(0, self._receive, (connection_id, arrived))
            return
        for frame in arrived:  # each takes its time
            self._charge_and_receive(peer, frame, costs)

    def connection_lost(self, connection_id: int) -> None:
        peer = self._peers.get(connection_id)
        link = self._requests.get(connection_id) if peer is None else peer.link
        self.work.submit(0, self._lose, connection_id, link=link)

    def bytes_taken(self, connection_id: int) -> None:
        """A client whose send buffer was full has received some bytes."""
        self.work.submit(0, self._make_room, connection_id)

    def released(self, link: TcpConnection) -> None:
        """As ServerEndpoint.released."""
        self._host.released(link)

    # Inputs from the machine.

    def go_away(self, instance: int | None = None) -> None:
        """Ask every client, or those of one instance, to reconnect later."""
        self.work.submit(0, self._send_away, instance)

    def stop(self, on_drained: Callable[[], None]) -> None:
        """Accept no clients from now on, send all clients away, store what is accepted; then call `on_drained`."""
        self._on_drained = on_drained
        self.go_away()

    def end(self) -> None:
        """The process is gone."""
        self.note_longest()
        self.work.stop()

    # Inspection.

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """The current queues: name, length, and limit."""
        if self._costs is not None:
            yield "accept backlog", self.listener.backlog, self.listener.backlog_max
            yield "work queue", self.work.waiting, self._costs.jobs_max
        if self._loaded is None:
            return
        run = self._loaded.run
        config = run.config
        yield "log window", run.head - run.oldest + 1, config.events_kept_max
        yield "connections", run.connections, config.connections_per_run_max
        yield "commit under way", run.events_in_flight, config.appends_pending_max
        waiting = self._loaded.control_frames_held
        yield waiting.what, waiting.length, waiting.limit

    def _note(self, queue: str, length: int, limit: int) -> None:
        self._host.high_water.note(queue, length, limit)

    def _note_run(self) -> None:
        """An input was received: record the lengths that it may have increased."""
        if self._loaded is not None:
            run = self._loaded.run
            self._note("not durable", run.events_pending, run.config.appends_pending_max)

    def note_longest(self) -> None:
        """Record the maxima that its parts have counted, before they are dropped."""
        if self._costs is not None:
            self._note("accept backlog", self.listener.longest, self.listener.backlog_max)
            self._note("work queue", self.work.longest, self._costs.jobs_max)
        if self._loaded is not None:
            held = self._loaded.control_frames_held
            self._note(held.what, self._loaded.control_frames_longest, held.limit)

    # Jobs.

    def _when_taken(self, link: TcpConnection, function: Callable[[_Opened], None], argument: _Opened) -> None:
        """Wait until the listener has accepted this connection."""
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
        client = link.access_link.client
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

    def _upgrade(self, link: TcpConnection) -> None:
        assert isinstance(link, WebSocketConnection), "nothing else asks for an upgrade"
        if not link.is_served:
            return  # the client has given up: the work was wasted
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
        peer = self._peers[connection_id] = Peer(connection_id, link, self)
        self._driver.connect(connection_id, peer, identity, f"session-{connection_id}")

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
            self._host.frames += 1
            self._note("open requests", len(self._requests), self._host.config.connections_per_run_max)
            self._driver.request(connection_id, request, identity, f"session-{connection_id}")
            self._note_run()

    def _refuse(self, opened: _Opened) -> None:
        """This request was refused because it waited too long."""
        link, request = opened
        assert isinstance(link, HttpConnection), "requests come over HTTP"
        assert request is not None, "one has arrived"
        self.shed += 1
        wait_ms = self._host.drawn_wait_ms(link.access_link.client)
        self._fail(link, request, Ending(CloseCode.OVERLOADED, "the server has too much to do", wait_ms))

    def _turn_away(self, received: tuple[int, Sequence[frames.Frame]]) -> None:
        """This client's hello was refused because it waited too long."""
        assert self._costs is not None, "only a server with a capacity sheds"
        assert self._costs.shedding is not None, "and only if shedding is set"
        self.shed += 1
        wait_ms, spread_ms = self._costs.shedding
        connection_id = received[0]
        if connection_id in self._peers:
            self._driver.go_away(retry_after_ms=wait_ms, spread_ms=spread_ms, of=(connection_id,), code=CloseCode.OVERLOADED)

    def _charge_and_receive(self, peer: Peer, frame: frames.Frame, costs: ProcessorCosts) -> None:
        connection_id = peer.connection_id
        client = peer.link.access_link.client
        cost = frame_cost = costs.frame.of(client)
        if isinstance(frame, frames.Hello | frames.Auth):
            cost += costs.authentication.of(client)
        too_late = self._turn_away if costs.shedding and isinstance(frame, frames.Hello) else None
        self.work.submit(
            cost,
            self._receive,
            (connection_id, (frame,)),
            link=peer.link,
            patience=costs.patience,
            too_late=too_late,
            too_late_cost=frame_cost,
        )

    def _receive(self, received: tuple[int, Sequence[frames.Frame]]) -> None:
        connection_id, arrived = received
        self._host.frames += len(arrived)
        self._driver.receive(connection_id, arrived)
        self._note_run()

    def _lose(self, connection_id: int) -> None:
        self._peers.pop(connection_id, None)
        self._requests.pop(connection_id, None)
        self._driver.lost(connection_id)

    def _make_room(self, connection_id: int) -> None:
        if connection_id in self._peers:
            self._driver.progressed(connection_id)
            self._driver.writable(connection_id)

    def _send_away(self, instance: int | None) -> None:
        of = [number for number, peer in self._peers.items() if peer.link.taken.instance == instance]
        if self._loaded is not None:
            wait_ms, spread_ms = self._host.retry_after_ms, self._host.spread_ms
            self._loaded.go_away(retry_after_ms=wait_ms, spread_ms=spread_ms, of=None if instance is None else of)
        self._check_drained()

    def _identify(self, link: TcpConnection) -> Identity | RemoteError:
        """The user of the token that came with the upgrade or the request. Without tokens the access link identifies the user."""
        return Identity(link.access_link.client) if link.token is None else identify(link.token, self.now())

    def _handshake_cost(self, link: TcpConnection) -> int:
        if self._costs is None or link.taken.is_greeted:
            return 0
        link.taken.is_greeted = True
        cost = self._costs.resumption if link.is_resumed else self._costs.handshake
        return cost.of(link.access_link.client)

    # Methods of RunIO.

    def now(self) -> int:
        return self._origin + self._clock.now

    def encode(self, frame: frames.Frame) -> Measured:
        return frame, size_of(frame)

    def may_store(self) -> bool:
        return True

    def store(self, append: Append) -> bool:
        self._note("commit under way", len(append.entries), self._host.config.appends_pending_max)
        self._host.store.commit(append, self._durable)
        return False

    def identify(self, connection_id: int, token: str | None) -> Identity | RemoteError | None:
        peer = self._peers.get(connection_id)
        if peer is None:
            return None
        return Identity(peer.link.access_link.client) if token is None else identify(token, self.now())

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        request = self._requests.pop(connection_id, None)
        if request is not None:
            record_answers(self._trace, request.access_link.client, frame, self._clock.now)
            self._answer(request, frame, size_of(frame))

    def refuse(self, connection_id: int, close: Close) -> None:
        link = self._requests.pop(connection_id, None)
        if link is not None and link.request is not None:
            self._fail(link, link.request, Ending(close.code, close.message, close.retry_after_ms))

    def replays(self, connection_id: int, events: int) -> None:
        if self._costs is not None:
            self.work.spend(events * self._costs.replay_event.of(self._peers[connection_id].link.access_link.client))

    def observe(self, observations: Sequence[Observation]) -> None:
        record_observations(self._trace, observations, self._clock.now)

    def retire(self) -> None:
        self.note_longest()
        self._loaded = None  # the next client has it loaded again

    def turn_over(self) -> None:
        self._alarm.arm(self.next_deadline())

    # Called by peers.

    def sends(self, link: TcpConnection, frame: frames.Frame) -> int:
        """A frame is about to be sent. Returns when, in ns from now, including the cost of sending."""
        if type(frame) is frames.Accepted or type(frame) is frames.Rejected:
            record_answers(self._trace, link.access_link.client, frame, self._clock.now)
        return 0 if self._costs is None else self._charge(link, frame, self._costs)

    def closed(self, connection_id: int) -> None:
        """The process has closed this connection."""
        del self._peers[connection_id]

    # Time.

    def next_deadline(self) -> int | None:
        if self.work.is_over or self._loaded is None or self._is_ringing:
            return None
        deadline = self._loaded.run.next_deadline()
        return None if deadline is None else deadline - self._origin

    def ring(self) -> None:
        self._is_ringing = True
        self.work.submit(0, self._handle_timeout)

    def _handle_timeout(self, _: None) -> None:
        self._is_ringing = False
        self._driver.ring()

    # Helpers.

    def _durable(self, append: Append) -> None:
        self.work.submit(0, self._committed, append)

    def _committed(self, append: Append) -> None:
        self._driver.stored(append)
        if self._loaded is not None:
            run = self._loaded.run
            self._note("log window", run.head - run.oldest + 1, run.config.events_kept_max)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._on_drained is not None and (self._loaded is None or not self._loaded.run.events_in_flight):
            self._on_drained()

    def _fail(self, link: HttpConnection, request: frames.RequestFrame, ending: Ending) -> None:
        self._answer(link, failed(request, ending), 0)

    def _answer(self, link: HttpConnection, frame: frames.Frame, size_bytes: int) -> None:
        after = 0 if self._costs is None else self._charge(link, frame, self._costs)
        link.answer(frame, ANSWER_HEAD_BYTES + size_bytes, after)
        if self._host.is_replaced(link.taken.instance):
            link.server_leaves(CLOSED)

    def _charge(self, link: TcpConnection, frame: frames.Frame, costs: ProcessorCosts) -> int:
        """The cost of sending this frame; returns when it is sent, in ns from now."""
        client = link.access_link.client
        if isinstance(frame, frames.PollAnswer) and frame.events:
            self.work.spend(len(frame.events) * costs.replay_event.of(client))
        return self.work.spend(costs.delivery.of(client))


def size_of(frame: frames.Frame) -> int:
    """Size of the frame on the network, in bytes."""
    return websocket_bytes(encoded_bytes(frame), is_masked=False)
