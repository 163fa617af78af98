"""One client and its application: a real ClientSession, its driver, and an I/O of wires whose messages are delivered by steps.

The I/O also reports everything to the journal.
"""

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import LocalError
from reference.protocol.saved_session import Change
from reference.protocol.states import ClientState, Transport
from simulation.adversary.ground import CLIENT_KNOWS, Ground, ScriptedRandom
from simulation.adversary.network import End, Opened, PendingRequest, Wire
from simulation.trace.publishes import publish_data
from simulation.trace.wording import words_of, words_of_outcome

_CUT = End(None, "cut")


class Host:
    """See the module."""

    def __init__(self, ground: Ground, user: str) -> None:
        self.index = len(ground.users)
        self.user = user
        self.wires: dict[int, Wire] = {}
        self.polling: int | None = None
        self.blocked = False
        """Every WebSocket of this client is refused; HTTP passes."""
        self.is_gone = False
        self.name = f"client{self.index}"
        self._ground = ground
        self._published = 0
        self._tokens = 1
        setup = ground.setup
        self.session = ClientSession(
            self.name,
            config=setup.client,
            policy=setup.policy,
            random_source=ScriptedRandom(setup.chance),
            fallback=setup.fallback,
            heartbeat=setup.heartbeat,
            registry=CLIENT_KNOWS,
            token=user,
        )
        self._driver = ClientDriver(self.session, self)
        ground.users.append(user)
        ground.journal.client_joins(self.name, user)
        self.session.start(ground.now)
        self.pump()

    # Inputs from the application.

    def publish(self, event_type: str, **data: object) -> None:
        """Publish. The data identify the publish: the client and its own count."""
        if self.is_gone:
            return
        content = publish_data(f"{self.name}/{self._published + 1}", **data)
        try:
            ticket = self.session.publish(event_type, content, self._ground.now)
        except LocalError:
            pass  # full: nothing was queued
        else:
            self._published += 1
            self._ground.journal.published(self.name, ticket, event_type, content)
        self.pump()

    def leave(self) -> None:
        """Close the session."""
        if not self.is_gone:
            self.is_gone = True
            self._ground.journal.leaves(self.name)
            self.session.close(self._ground.now)
            self.pump()

    def pump(self) -> None:
        """Drain the driver after inputs to the session, and record its state."""
        self._driver.drain()
        self.is_gone = self.is_gone or self.session.state is ClientState.CLOSED
        self._ground.journal.session_is(self.name, self.session)

    # ClientIO.

    def observe(self, actions: list[ClientAction]) -> None:
        pass

    def open(self, action: Open) -> None:
        self._ground.journal.opens(self.name, action.connection_id, action.transport)
        if action.transport is Transport.POLLING:
            self.polling = action.connection_id
            self._ground.note(self.name, "goes on over HTTP")
            return
        self._ground.note(self.name, f"opens connection {action.connection_id}")
        wire = self.wires[action.connection_id] = Wire(self.index, action.connection_id)
        self._ground.wires.append(wire)

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            assert connection_id == self.polling, "a request on a polling transport that is closed"
            if isinstance(frame, frames.PublishRequest):
                assert frames.decode_publish_request(frames.encode(frame), frames.FRAME_BYTES_MAX) == frame
            request = PendingRequest(self.index, connection_id, frame)
            self._ground.journal.asks(self.name, connection_id, request.name)
            self._ground.requests.append(request)
            if self._ground.message_log is not None:
                self._ground.message_log.sent((request, "up"), self.name, "server", words_of(frame), self._ground.now)
            return
        wire = self.wires[connection_id]
        assert wire.client_stands, f"{type(frame).__name__} on a connection that the session has left"
        self._ground.journal.sends(self.name, connection_id, frame, wire.epoch)
        if self._ground.message_log is not None:
            self._ground.message_log.sent((wire, "up"), self.name, "server", words_of(frame), self._ground.now)
        wire.up.append(frames.encode(frame))

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        self._ground.journal.closes(self.name, connection_id, code, message)
        self._ground.note(self.name, f"leaves connection {connection_id}: {message}")
        if connection_id == self.polling:
            self.polling = None
            for request in self._ground.requests:
                if request.client == self.index and request.polling == connection_id:
                    request.client_waits = False
            return
        wire = self.wires.pop(connection_id)
        wire.client_stands = False
        wire.up.append(End(code, message))

    def pause(self, connection_id: int) -> None:
        raise AssertionError("an application without a limit pauses nothing")

    resume = pause

    def save(self, change: Change) -> None:
        raise AssertionError("this session does not save")

    def refresh_token(self) -> None:
        self._tokens += 1
        self._driver.feed(self.session.handle_token, f"{self.user} {self._tokens}", self._ground.now)

    def deliver(self, outcomes: list[Outcome]) -> None:
        self._ground.journal.reported(self.name, outcomes, self.session.position[0])
        if self._ground.message_log is not None:
            for words in filter(None, map(words_of_outcome, outcomes)):
                self._ground.note(self.name, words)

    def set_alarm(self, deadline: int | None) -> None:
        """The world looks at every session's deadline itself."""

    # Arrivals.

    def receive(self, wire: Wire, item: bytes | Opened | End) -> None:
        """The next item on a wire."""
        match item:
            case Opened():
                if wire.client_stands:
                    self.session.connection_opened(wire.client_end, self._ground.now)
            case End():
                if wire.client_stands:
                    self._lose(wire, item)
            case _:
                # A frame may come too late: the session has left this connection, and ignores it.
                frame = frames.decode_server_frame(item)
                if self._ground.message_log is not None:
                    self._ground.message_log.arrived((wire, "down"), self._ground.now)
                if wire.client_stands:
                    self._hears(wire.client_end, frame)
                if isinstance(frame, frames.Welcome):
                    wire.epoch = frame.epoch
                self.session.receive_frame(wire.client_end, frame, self._ground.now)
        self.pump()

    def receive_answer(self, request: PendingRequest) -> None:
        """The answer to an HTTP request, or the report that there will be none."""
        answer: frames.Frame | None = request.failure
        if request.answer is not None:
            answer = frames.decode_answer(request.frame, request.answer)
            if self._ground.message_log is not None:
                self._ground.message_log.arrived((request, "down"), self._ground.now)
        assert answer is not None
        if request.client_waits:
            self._hears(request.polling, answer)
        elif request.polling == self.polling:
            return  # the IO gave this one up; an answer on a transport that the session has left is for the session to ignore
        self.session.receive_frame(request.polling, answer, self._ground.now)
        self.pump()

    def trickle(self, wire: Wire) -> None:
        """A part of a large frame arrives."""
        self.session.bytes_received(wire.client_end, self._ground.now)
        self.pump()

    def sever(self, wire: Wire, end: End = _CUT) -> None:
        """The client is notified that a wire is dead."""
        wire.down.clear()
        if wire.client_stands:
            self._lose(wire, end)
            self.pump()

    def ring(self) -> None:
        """Fire the alarm, if it is due."""
        deadline = self.session.next_deadline()
        if deadline is not None and deadline <= self._ground.now:
            self.session.handle_timeout(self._ground.now)
            deadline = self.session.next_deadline()
            assert deadline is None or deadline > self._ground.now, "an alarm that was served does not ring again at once"
            self.pump()
            self._ground.journal.alarm_served(self.name)

    def _lose(self, wire: Wire, end: End) -> None:
        now = self._ground.now
        wire.client_stands = False
        self._ground.journal.loses(self.name, wire.client_end, end.code, end.message, end.retry_after_ms)
        del self.wires[wire.client_end]
        why = f" ({end.code} {end.message})" if end.code is not None else ""
        self._ground.note(self.name, f"loses connection {wire.client_end}{why}")
        wire.up.append(End())
        self.session.connection_lost(wire.client_end, end.code, now, message=end.message, retry_after_ms=end.retry_after_ms)

    def _hears(self, connection_id: int, frame: frames.Frame) -> None:
        """A frame is about to be given to the session, on a connection that it has not left."""
        begins_anywhere = self._ground.setup.client.start != "snapshot" and self.session.position[0] is None
        self._ground.journal.hears(self.name, connection_id, frame, begins_anywhere=begins_anywhere)
