"""The driver of one run, the same in every world. A world supplies only its I/O (`RunIO`, `Socket`).

    inputs of one turn -> Run -> store, push, close, answer -> readers that lag -> observe -> end of the turn

A turn takes a list of inputs (everything that one read brought) and drains the run once: new events go to the store, actions are
carried out in order, a newly welcomed reader is sent the events it missed, the monitor is notified, and the world writes out what
was pushed and sets its one alarm. Nothing here waits.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, assert_never

from reference.protocol.actions import Authenticate, Close, Deliver, Retire, Send
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.frames import Frame, RequestFrame
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from reference.protocol.states import Transport
from reference.protocol.statistics import Held

CONTROL_FRAMES_MAX = 256
"""Control frames that may wait for the socket of one connection; the default of a server's setting."""

T = TypeVar("T")
Out = TypeVar("Out", covariant=True)
In = TypeVar("In", contravariant=True)


class Socket(Protocol[In]):
    """One WebSocket of a world. No method waits. `In` is a frame in the form that the world sends: encoded, or measured."""

    @property
    def is_blocked(self) -> bool:
        """Whether the socket is full."""

    def push(self, item: In) -> bool:
        """Send one whole item; called only when the socket is not full. Returns whether it is full now."""

    def close(self, waiting: Sequence[In], close: Close) -> None:
        """Close, after sending what was pushed before and then `waiting`; a code of None cuts at once. Nothing is pushed after
        this."""


class RunIO(Protocol[Out]):
    """The I/O of one world for a run. No method waits."""

    def now(self) -> int:
        """Ns since 1970, by a clock that never goes backwards."""

    def encode(self, frame: Frame) -> Out:
        """Encode a frame for this world's sockets; called once per frame, however many readers it has."""

    def may_store(self) -> bool:
        """There is something to store. True: `store` is called now. False: the world calls `store_now` a little later (8.42)."""

    def store(self, append: Append) -> bool:
        """Make this durable. True: it already is. False: the world reports `stored` or `store_failed` later."""

    def identify(self, connection_id: int, token: str | None) -> Identity | RemoteError | None:
        """The user of a token, or why it is refused; None: the world reports `authenticated` later."""

    def answer(self, connection_id: int, frame: Frame) -> None:
        """Answer an HTTP request."""

    def refuse(self, connection_id: int, close: Close) -> None:
        """Answer an HTTP request with an error."""

    def replays(self, connection_id: int, events: int) -> None:
        """One reader is about to be sent this many events by itself."""

    def observe(self, observations: Sequence[Observation]) -> None:
        """The observations of this turn."""

    def retire(self) -> None:
        """The run has been idle for a while: drop it after this turn."""

    def turn_over(self) -> None:
        """Write out what was pushed, and set the one alarm: call `ring` at `run.next_deadline()`."""


class Outgoing(Generic[T]):
    """The frames for one WebSocket: pushed while its socket takes them, and kept within a limit while it does not.

    There are two kinds of frames. *Control frames* (answers, pongs, presence) are for this connection alone, and wait here when
    its socket is full, at most `CONTROL_FRAMES_MAX` of them: above that the reader is too slow (8.18). *Batches* of the log never
    wait here: a lagging reader has a cursor in the log (8.17). A connection whose socket is full *drains*, in rounds: the control
    frames that wait when a round begins, then one batch, so that neither kind can block the other for ever.
    """

    __slots__ = ("_control", "_control_max", "_left_in_round", "_socket", "is_draining")

    def __init__(self, socket: Socket[T], control_frames_max: int) -> None:
        self.is_draining = False
        """Whether its socket was full; then it is served in rounds until nothing waits."""
        self._socket = socket
        self._control: list[T] = []  # not a deque, which takes 0.7 KiB when it is empty
        self._control_max = control_frames_max
        self._left_in_round: int | None = None  # control frames before the next batch; None: all that wait when the round begins

    @property
    def waiting(self) -> int:
        """Control frames that wait for the socket."""
        return len(self._control)

    @property
    def is_blocked(self) -> bool:
        """Whether the socket is full."""
        return self._socket.is_blocked

    def send(self, item: T) -> bool:
        """Send one control frame, now or later. False: too many wait already, and it was dropped (8.18)."""
        if not self.is_draining:
            if self._socket.push(item):
                self.drain()
            return True
        if len(self._control) >= self._control_max:
            return False
        self._control.append(item)
        return True

    def offer(self, item: T) -> bool:
        """Send a batch of the log if the socket takes it. False: it was not taken; the log keeps the events (8.17)."""
        if self.is_draining:
            return False
        if self._socket.push(item):
            self.drain()
        return True

    def push(self, item: T) -> None:
        """Send the next item of a round."""
        self._socket.push(item)

    def drain(self) -> None:
        """The socket is full: serve it in rounds, as soon as it has room."""
        if not self.is_draining:
            self.is_draining = True
            self._left_in_round = None

    def take_control(self) -> T | None:
        """The next control frame of this round; None: a batch is next, then `begin_round`."""
        if self._left_in_round is None:
            self._left_in_round = len(self._control)
        if not self._left_in_round:
            return None
        self._left_in_round -= 1
        return self._control.pop(0)

    def begin_round(self) -> bool:
        """The batch of this round was sent. Returns whether control frames wait."""
        self._left_in_round = len(self._control)
        return bool(self._control)

    def close(self, close: Close) -> None:
        """Close after everything sent before."""
        waiting, self._control = self._control, []
        self._socket.close(waiting, close)


class RunDriver(Generic[T]):
    """Owns a run and the outgoing queue of each WebSocket. Each method that takes an input is one turn."""

    def __init__(self, run: Run, io: RunIO[T], *, control_frames_max: int = CONTROL_FRAMES_MAX) -> None:
        self.run = run
        self._io = io
        self._control_frames_max = control_frames_max
        self._outgoing: dict[int, Outgoing[T]] = {}
        self.control_frames_longest = 0
        """The most control frames that ever waited for one socket."""

    # Connections.

    def connect(self, connection_id: int, socket: Socket[T], identity: Identity | None, new_session_id: str) -> None:
        """A WebSocket is open. `identity`: the user of the token that came with the upgrade, None without a token."""
        self._outgoing[connection_id] = Outgoing(socket, self._control_frames_max)
        self.run.connection_opened(connection_id, Transport.WEBSOCKET, identity, new_session_id, self._io.now())
        self._turn()

    def request(self, connection_id: int, frame: RequestFrame, identity: Identity, new_session_id: str) -> None:
        """An HTTP request has come."""
        now = self._io.now()
        self.run.connection_opened(connection_id, Transport.POLLING, identity, new_session_id, now)
        self.run.receive_frame(connection_id, frame, now)
        self._turn()

    def receive(self, connection_id: int, messages: Sequence[Frame | RemoteError], others: int = 0) -> None:
        """All messages of one read, in order; a message that is not a frame is given as the error. `others`: frames of the
        transport among them that are not messages; they count against the limit (8.41)."""
        self.run.receive_frames(connection_id, messages, self._io.now(), others)
        self._turn(connection_id)

    def authenticated(self, connection_id: int, identity: Identity | RemoteError) -> None:
        """The result that `identify` left open."""
        self.run.handle_authenticated(connection_id, identity, self._io.now())
        self._turn(connection_id)

    def lost(self, connection_id: int, peer_code: int | None = None) -> None:
        """A connection is over, with the peer's close code if it sent one. Does nothing if the run knows already."""
        self._outgoing.pop(connection_id, None)
        self.run.connection_lost(connection_id, self._io.now(), peer_code)
        self._turn()

    # Sockets that are full.

    def blocked(self, connection_id: int, *, took_batch: bool) -> None:
        """At the end of a turn, a socket that joins all data of a turn has accepted it and is now full. `took_batch`: the data
        included a batch of the log."""
        outgoing = self._outgoing.get(connection_id)
        if outgoing is not None:
            outgoing.drain()
            if took_batch:
                self.run.handle_blocked(connection_id, None, self._io.now())

    def progressed(self, connection_id: int) -> None:
        """The socket has sent some bytes: its reader is slow, but not stalled (8.18)."""
        self.run.bytes_taken(connection_id, self._io.now())
        self._turn()

    def writable(self, connection_id: int) -> None:
        """The socket of a draining connection has room again."""
        outgoing = self._outgoing.get(connection_id)
        while outgoing is not None and outgoing.is_draining and not outgoing.is_blocked:
            item = outgoing.take_control()
            if item is None:
                batch = self.run.next_batch(connection_id, self._io.now())
                if batch is None:
                    self._carry_out_all()  # current again: the presence that it missed
                if outgoing is not self._outgoing.get(connection_id):
                    break
                has_control = outgoing.begin_round()
                if batch is not None:
                    item = self._replay(batch)
                elif has_control:
                    continue
                else:
                    outgoing.is_draining = False
                    break
            outgoing.push(item)
        self._turn()

    def is_draining(self, connection_id: int) -> bool:
        """Whether `writable` must be called when the connection's socket has room again."""
        outgoing = self._outgoing.get(connection_id)
        return outgoing is not None and outgoing.is_draining

    # The store.

    def store_now(self) -> None:
        """Store what was collected since `may_store` returned False."""
        append = self.run.events_to_append()
        if append is not None and self._io.store(append):
            self.run.handle_appended(append, self._io.now())
        self._turn()

    def stored(self, append: Append) -> None:
        """The batch is durable."""
        self.run.handle_appended(append, self._io.now())
        self._turn()

    def store_failed(self, message: str) -> None:
        """The content of the store is unknown: every client is asked to reconnect (8.11). Drop the run after this turn."""
        self.run.handle_append_failed(self._io.now(), message)
        self._turn()

    # The operator, and time.

    def go_away(
        self,
        *,
        retry_after_ms: int,
        spread_ms: int,
        of: Sequence[int] | None = None,
        code: CloseCode = CloseCode.GOING_AWAY,
    ) -> None:
        """As Run.go_away."""
        self.run.go_away(self._io.now(), retry_after_ms=retry_after_ms, spread_ms=spread_ms, of=of, code=code)
        self._turn()

    def dismiss(self, connection_ids: Sequence[int], code: CloseCode, reason: str) -> None:
        """As Run.dismiss."""
        self.run.dismiss(connection_ids, code, reason, self._io.now())
        self._turn()

    def too_slow(self, connection_id: int) -> None:
        """The data waiting for this connection exceed the world's limit."""
        self.run.too_slow(connection_id, self._io.now())
        self._turn()

    def ring(self, now: int | None = None) -> None:
        """The alarm: a deadline has come. `now`: None for the clock's time."""
        self.run.handle_timeout(self._io.now() if now is None else now)
        self._turn()

    # Inspection.

    @property
    def websockets(self) -> tuple[int, ...]:
        """All WebSocket connections, including those that have not sent hello."""
        return tuple(self._outgoing)

    @property
    def control_frames(self) -> int:
        """Control frames that wait for sockets."""
        return sum(outgoing.waiting for outgoing in self._outgoing.values())

    @property
    def held(self) -> tuple[Held, ...]:
        """The current size of everything that can grow with this run, each with its limit (G7)."""
        return (*self.run.statistics().held, self.control_frames_held)

    @property
    def control_frames_held(self) -> Held:
        """The most control frames that wait for one socket."""
        waiting = max((outgoing.waiting for outgoing in self._outgoing.values()), default=0)
        return Held("control frames of one connection", waiting, self._control_frames_max)

    # The turn.

    def _turn(self, connection_id: int | None = None) -> None:
        """Drain the run. `connection_id`: the connection whose input it was; if it was just welcomed, it is sent the events it
        missed."""
        self._carry_out_all()
        if connection_id is not None and self.run.is_lagging(connection_id):
            self._catch_up(connection_id)
        observations = self.run.take_observations()
        if observations:
            self._io.observe(observations)
        self._io.turn_over()

    def _carry_out_all(self) -> None:
        run, io = self.run, self._io
        while True:
            if run.has_append and io.may_store():
                append = run.events_to_append()
                if append is not None and io.store(append):
                    run.handle_appended(append, io.now())
            actions = run.take_actions()
            if not actions:
                return
            for action in actions:
                if isinstance(action, Send):  # the usual case
                    self._send(action.connection_ids, action.frame)
                else:
                    self._carry_out(action)

    def _carry_out(self, action: Deliver | Close | Authenticate | Retire) -> None:
        match action:
            case Deliver():
                self._deliver(action)
            case Close(connection_ids=connection_ids):
                for connection_id in connection_ids:
                    self._close(connection_id, action)
            case Authenticate(connection_id=connection_id, token=token):
                identity = self._io.identify(connection_id, token)
                if identity is not None:
                    self.run.handle_authenticated(connection_id, identity, self._io.now())
            case Retire():
                self._io.retire()
            case _:
                assert_never(action)

    def _send(self, connection_ids: tuple[int, ...], frame: Frame) -> None:
        item: T | None = None
        for connection_id in connection_ids:
            outgoing = self._outgoing.get(connection_id)
            if outgoing is None:
                self._io.answer(connection_id, frame)
                continue
            if item is None:
                item = self._io.encode(frame)
            if not outgoing.send(item):
                self.run.too_slow(connection_id, self._io.now())
            if outgoing.is_draining:
                self.control_frames_longest = max(self.control_frames_longest, outgoing.waiting)

    def _deliver(self, batch: Deliver) -> None:
        run, now, everyone = self.run, self._io.now(), self._outgoing
        item = self._io.encode(batch.frame)
        for connection_id in batch.connection_ids:
            outgoing = everyone.get(connection_id)
            if outgoing is None:
                continue
            if not outgoing.offer(item):
                run.handle_refused(connection_id, batch, now)
            elif outgoing.is_draining:
                run.handle_blocked(connection_id, batch, now)

    def _close(self, connection_id: int, close: Close) -> None:
        outgoing = self._outgoing.pop(connection_id, None)
        if outgoing is None:
            self._io.refuse(connection_id, close)
        else:
            outgoing.close(close)

    def _catch_up(self, connection_id: int) -> None:
        """Send a lagging reader what its socket takes now; `writable` continues later."""
        outgoing = self._outgoing.get(connection_id)
        while outgoing is not None and self.run.is_lagging(connection_id):
            if outgoing.is_draining or outgoing.is_blocked:
                outgoing.drain()
                return
            batch = self.run.next_batch(connection_id, self._io.now())
            if batch is None:
                self._carry_out_all()
                return
            outgoing.push(self._replay(batch))

    def _replay(self, batch: Deliver) -> T:
        self._io.replays(batch.connection_ids[0], len(batch.frame.events))
        return self._io.encode(batch.frame)
