"""The pump of a simulated server process: it drives the shipped run machine, as the trio shell's does.

After every input: hand what is to be stored to the store, carry out the actions in order, arm the one alarm. A batch of events is
measured once and pushed to every reader; a reader whose send buffer is full gets nothing, which the run is told, and is served
from its cursor when there is room again (`peer`).

What is sent is charged to the job that sends it (`capacity`), and leaves when that has been done; and the run is told how long a
fan-out took. The process's clock is read from the machine's wall clock when it starts; from then on it only counts.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

from reference.protocol import frames
from reference.protocol.actions import Authenticate, Close, Deliver, Retire, Send, ServerAction
from reference.protocol.codec import encoded_bytes
from reference.protocol.records import Append
from reference.protocol.run import Run
from reference.protocol.server_session import Identity
from simulation.clock import Alarm
from simulation.ends import Ending
from simulation.link import Link
from simulation.network import ANSWER_HEAD_BYTES, HttpLink, failed, websocket_bytes
from simulation.peer import Peer, Taken
from simulation.recording import record_answers, record_observations
from simulation.tokens import identify

if TYPE_CHECKING:  # a process is started by its host
    from simulation.server_host import ServerHost

CLOSED = Ending(None, "the server has closed the connection")


class Pump:
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
        self._requests: dict[int, HttpLink] = {}
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
        if self._on_drained is not None and (self._loaded is None or not self._loaded.events_under_way):
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
            if taken is Taken.NOTHING:
                self._run.handle_refused(connection_id, batch, self._now())
                peer.drain()
            elif taken is Taken.LAST:
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

    def _fail(self, link: HttpLink, request: frames.RequestFrame, ending: Ending) -> None:
        self._answer(link, failed(request, ending), 0)

    def _answer(self, link: HttpLink, frame: frames.Frame, size_bytes: int) -> None:
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

    def _charge(self, link: Link, frame: frames.Frame) -> int:
        """What it costs to send this frame; returns when it leaves, in ns from now."""
        if self._costs is None:
            return 0
        client = link.line.client
        if isinstance(frame, frames.PollAnswer) and frame.events:
            self.work.spend(len(frame.events) * self._costs.replay_event.of(client))
        return self.work.spend(self._costs.delivery.of(client))


def size_of(frame: frames.Frame) -> int:
    return websocket_bytes(encoded_bytes(frame), is_masked=False)
