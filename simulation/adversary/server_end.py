"""The server: a real Run with its driver, the model of its store, and the wires as sockets.

Steps kill and restart it; batches on their way to the store then arrive or not. It reports everything to the journal.
"""

from collections.abc import Sequence
from typing import Literal, assert_never

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from simulation.adversary.ground import SERVER_KNOWS, Ground
from simulation.adversary.network import End, Opened, PendingRequest, Wire
from simulation.trace.publishes import publish_data
from simulation.trace.wording import words_of

Trespass = Literal["websocket", "poll", "publish"]
"""How another user uses the client's id."""
FOREIGN = 1_000_000
"""A generation, and a number of a publish, higher than those of any client."""


class AdversarialServer:
    """See the module. `driver` and `run` are None while the server is down."""

    def __init__(self, ground: Ground) -> None:
        self.driver: RunDriver[frames.Frame] | None = None
        self.appends: list[Append] = []
        """Batches on their way to the store, in order."""
        self.checks: list[tuple[int, str]] = []
        """Connections whose tokens are being checked, and the tokens. A token is the name of its user, and a number."""
        self._ground = ground
        self._ending_of: dict[int, Wire | PendingRequest] = {}
        self._last_end = 0
        self._trespassers: dict[int, str] = {}
        """Requests of somebody else's, and the client in whose name they come."""
        self._starts = 0
        self._is_retired = False
        self.restart()

    @property
    def run(self) -> Run | None:
        return None if self.driver is None else self.driver.run

    # Kill and restart.

    def restart(self) -> None:
        """The server is started, with the contents of its store."""
        assert self.driver is None
        ground = self._ground
        self._is_retired = False
        config = ground.setup.server if self._starts == 0 else ground.setup.server_later
        self._starts += 1
        self.driver = RunDriver(Run(ground.store.load(), config=config, now=ground.server_now, registry=SERVER_KNOWS), self)
        ground.journal.server_started(ground.store.now.epoch, ground.store.now.head)
        ground.note("server", f"starts with {ground.store.now.epoch}, head {ground.store.now.head}")

    def crash(self, stored: int) -> None:
        """The server dies. Of the batches on their way to the store, the first `stored` arrive."""
        self.driver = None
        self._ground.note("server", "dies")
        self._ground.journal.server_died()
        self.commit(stored)
        self.appends.clear()
        self.checks.clear()
        self._ending_of.clear()
        for wire in self._ground.wires:
            if wire.server_stands:
                wire.server_stands = False
                wire.up.clear()
                wire.down.append(End())
        for request in self._ground.requests:
            if request.server_end is not None and not request.is_answered:
                request.fail(None, "the server died")

    def step_clock(self, ahead: int) -> None:
        """The server's clock is set forward by this many ns at once, or back during a restart: a running one never goes back. The
        caller rings."""
        if ahead < 0 and self.run is not None:
            self.crash(0)
        self._ground.server_ahead += ahead
        self._ground.journal.clock_stepped()
        if self.run is None:
            self.restart()

    def lose_history(self, kept: int) -> None:
        """The server dies, and its store is restored from an older copy, or from none."""
        self.crash(0)
        store = self._ground.store
        old = store.now
        store.begin(old.entries[:kept])
        self._ground.journal.history_lost(old, store)

    # The store.

    def commit(self, count: int) -> None:
        """The first `count` batches become durable, and the run, if it still lives, is notified."""
        durable, self.appends = self.appends[:count], self.appends[count:]
        for append in durable:
            self._ground.store.append(append)
            self._ground.journal.stored(append)
            self._ground.note("server", f"has stored up to {append.entries[-1].sequence_number}")
            if self.driver is not None:
                self.driver.stored(append)

    def fail_append(self, stored: int) -> None:
        """The store gives an error. The driver tells the run, drops it and loads it anew."""
        if self.driver is None or not self.appends:
            return
        self.driver.store_failed("the disk is full")
        self.crash(stored)
        self.restart()

    def stops(self) -> None:
        """A server that stops has stored every numbered event."""
        assert self.run is not None
        waiting = [held.length for held in self.run.statistics().held if held.what == "events that are not durable"]
        self._ground.journal.server_stops(sum(waiting))

    # Arrivals.

    def accept(self, wire: Wire) -> None:
        """A client opens a WebSocket."""
        assert self.driver is not None
        wire.server_end = end = self._new_end(wire)
        wire.server_stands = True
        ground = self._ground
        identity = None if ground.setup.token_in_hello else ground.identity_of(ground.users[wire.client])
        wire.down.append(Opened())
        if identity is not None:
            self._token_taken(wire, end, identity)
        self.driver.connect(end, _Socket(self, ground, wire, end), identity, f"s{end}")

    def receive(self, wire: Wire, item: bytes | End) -> None:
        """The next item on a wire."""
        driver, end, journal = self.driver, wire.server_end, self._ground.journal
        if driver is None or end is None or not wire.server_stands:
            return  # the server is down
        if isinstance(item, End):
            self._lose(driver, wire, end)
        else:
            frame = frames.decode_client_frame(item)
            if self._ground.message_log is not None:
                self._ground.message_log.arrived((wire, "up"), self._ground.now)
            client = _name(wire)
            if isinstance(frame, frames.Bye):
                journal.bye_taken(client)
            before = driver.run.last_client_sequence(client)
            driver.receive(end, (frame,))
            if isinstance(frame, frames.Publish) and driver.run.last_client_sequence(client) != before:
                journal.publish_taken(client, end, frame.client_sequence)
            if isinstance(frame, frames.Cursor) and wire.server_stands:
                journal.cursor_taken(client, frame.data)

    def take_request(self, request: PendingRequest) -> None:
        """An HTTP request."""
        assert self.driver is not None
        request.server_end = end = self._new_end(request)
        if self._ground.message_log is not None:
            self._ground.message_log.arrived((request, "up"), self._ground.now)
        identity = self._ground.identity_of(self._ground.users[request.client])
        self.driver.request(end, request.frame, identity, f"s{end}")
        cursor = request.frame.cursor if isinstance(request.frame, frames.PublishRequest) else None
        if cursor is not None and request.failure is None:
            self._ground.journal.cursor_taken(_name(request), cursor)

    def trespass(self, victim: int, how: Trespass) -> None:
        """Another user's token is used with the id of a client that the server knows."""
        assert self.driver is not None
        self._last_end += 1
        end, name, mallory = self._last_end, f"client{victim}", Identity("mallory")
        self._trespassers[end] = name
        match how:
            case "websocket":
                self.driver.connect(end, _TrespassingSocket(self._ground, name), mallory, f"s{end}")
                self.driver.receive(end, (frames.Hello(protocol=frames.PROTOCOL_VERSION, client_id=name, generation=FOREIGN),))
                if self.driver is not None:
                    self.driver.lost(end)
            case "poll":
                self.driver.request(end, frames.PollRequest(client_id=name, generation=FOREIGN), mallory, f"s{end}")
            case "publish":
                message = frames.Message(client_sequence=FOREIGN, event_type="CHAT", data=publish_data("mallory/1"))
                request = frames.PublishRequest(client_id=name, generation=FOREIGN, messages=(message,))
                self.driver.request(end, request, mallory, f"s{end}")
            case _:
                assert_never(how)

    def _token_taken(self, wire: Wire, end: int, identity: Identity) -> None:
        good_for = None if identity.expires_at is None else identity.expires_at - self._ground.server_now
        self._ground.journal.token_taken(_name(wire), end, good_for)

    def disown(self, request: PendingRequest) -> None:
        """The answer to a request that the server has is no longer awaited."""
        assert request.server_end is not None
        orphan = PendingRequest(request.client, request.polling, request.frame, client_waits=False, server_end=request.server_end)
        self._ending_of[request.server_end] = orphan

    def check_token(self) -> None:
        """The oldest waiting token is accepted."""
        connection_id, token = self.checks.pop(0)
        assert self.driver is not None
        identity, wire = self._ground.identity_of(token.partition(" ")[0]), self._ending_of.get(connection_id)
        if isinstance(wire, Wire):
            self._token_taken(wire, connection_id, identity)
        self.driver.authenticated(connection_id, identity)

    def sever(self, wire: Wire) -> None:
        """The server is notified that a wire is dead."""
        wire.up.clear()
        if wire.server_stands and wire.server_end is not None and self.driver is not None:
            self._lose(self.driver, wire, wire.server_end)

    def next_alarm(self) -> int | None:
        """In ns on the clients' clock."""
        due = None if self.run is None else self.run.next_deadline()
        return None if due is None else due - self._ground.server_ahead

    def ring(self) -> None:
        """Fire the alarm, if it is due."""
        alarm = self.next_alarm()
        if self.driver is not None and alarm is not None and alarm <= self._ground.now:
            self.driver.ring()
            alarm = self.next_alarm()
            assert alarm is None or alarm > self._ground.now, "an alarm that was served does not ring again at once"
            self._ground.journal.server_alarm_served()

    # The driver's output, as RunIO.

    def now(self) -> int:
        return self._ground.server_now

    def encode(self, frame: frames.Frame) -> frames.Frame:
        return frame

    def may_store(self) -> bool:
        return True

    def store(self, append: Append) -> bool:
        self.appends.append(append)
        return False

    def identify(self, connection_id: int, token: str | None) -> None:
        self.checks.append((connection_id, token or self._ground.users[self._ending_of[connection_id].client]))

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        if connection_id in self._trespassers:
            self._ground.journal.trespass_answered(self._trespassers[connection_id], type(frame).__name__)
            return
        request = self._ending_of[connection_id]
        assert isinstance(request, PendingRequest)
        assert not request.is_answered, "a request gets one answer"
        self.record_sent(request, connection_id, frame)
        request.answer = frames.encode(frame)
        del self._ending_of[connection_id]

    def refuse(self, connection_id: int, close: Close) -> None:
        if connection_id in self._trespassers:
            self._ground.journal.trespass_answered(self._trespassers[connection_id], "close", close.code)
            return
        self.end_connection(connection_id, End(close.code, close.message, close.retry_after_ms))

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        self._ground.journal.observed(observations)

    def retire(self) -> None:
        self._is_retired = True

    def turn_over(self) -> None:
        assert self.driver is not None
        self._ground.journal.run_is(self.driver.run)
        if self._is_retired:  # the run is idle and would leave memory; here it is loaded again at once
            assert not self.appends, "a run that is in use does not leave"
            self.driver = None
            self.restart()

    def take_more(self) -> None:
        """Full sockets may take more."""
        for wire in self._ground.wires:
            if self.driver is not None and wire.server_stands and wire.server_end is not None:
                self.driver.writable(wire.server_end)

    # Outputs to wires and requests.

    def record_sent(self, thing: Wire | PendingRequest, connection_id: int, frame: frames.Frame) -> None:
        """The server sends a frame; record it."""
        assert self.run is not None
        self._ground.journal.frame_sent(
            _name(thing), connection_id, frame, self.run.epoch, over_http=isinstance(thing, PendingRequest)
        )
        if self._ground.message_log is not None:
            self._ground.message_log.sent((thing, "down"), "server", _name(thing), words_of(frame), self._ground.now)

    def _new_end(self, thing: Wire | PendingRequest) -> int:
        self._last_end += 1
        self._ending_of[self._last_end] = thing
        return self._last_end

    def block(self, wire: Wire) -> None:
        """The socket is full."""
        if wire.blocked_at is None and wire.server_end is not None:
            wire.blocked_at = self._ground.now
            self._ground.journal.reader_blocked(_name(wire), wire.server_end, True)

    def unblock(self, wire: Wire) -> None:
        """The socket has taken data: its timeout starts again."""
        if wire.blocked_at is not None and wire.server_end is not None:
            wire.blocked_at = None
            self._ground.journal.reader_blocked(_name(wire), wire.server_end, False)

    def end_connection(self, connection_id: int, end: End) -> None:
        """The server ends a connection."""
        thing = self._ending_of.pop(connection_id)
        self._ground.journal.hung_up(_name(thing), connection_id, end.code, end.message)
        if isinstance(thing, PendingRequest):
            thing.fail(end.code, end.message, end.retry_after_ms)
            return
        thing.server_stands = False
        thing.up.clear()
        thing.down.append(end)

    def _lose(self, driver: RunDriver[frames.Frame], wire: Wire, end: int) -> None:
        wire.server_stands = False
        del self._ending_of[end]
        self.unblock(wire)
        driver.lost(end)


class _Socket:
    """A wire at the server's end, as a `Socket`: it takes `credit` batches, and then is full."""

    __slots__ = ("_end", "_ground", "_server", "_wire")

    def __init__(self, server: AdversarialServer, ground: Ground, wire: Wire, end: int) -> None:
        self._server = server
        self._ground = ground
        self._wire = wire
        self._end = end

    @property
    def is_blocked(self) -> bool:
        return self._wire.credit == 0

    def push(self, item: frames.Frame) -> bool:
        wire = self._wire
        if isinstance(item, frames.Events):
            assert self._server.run is not None
            self._ground.journal.delivers(_name(wire), self._end, item, self._server.run.epoch)
            if wire.credit is not None:
                wire.credit -= 1
                if wire.credit == 0:
                    self._server.block(wire)
            if wire.swallows:
                wire.swallows -= 1
                return self.is_blocked
        self._server.record_sent(wire, self._end, item)
        wire.down.append(frames.encode(item))
        return self.is_blocked

    def close(self, waiting: Sequence[frames.Frame], close: Close) -> None:
        for item in waiting:
            self.push(item)
        self._server.end_connection(self._end, End(close.code, close.message, close.retry_after_ms))


class _TrespassingSocket:
    """The socket of a connection that uses another user's client id: it records the answers."""

    is_blocked = False

    def __init__(self, ground: Ground, victim: str) -> None:
        self._ground = ground
        self._victim = victim

    def push(self, item: frames.Frame) -> bool:
        self._ground.journal.trespass_answered(self._victim, type(item).__name__)
        return False

    def close(self, waiting: Sequence[frames.Frame], close: Close) -> None:
        for item in waiting:
            self.push(item)
        self._ground.journal.trespass_answered(self._victim, "close", close.code)


def _name(thing: Wire | PendingRequest) -> str:
    return f"client{thing.client}"
