"""One client and its application: a real ClientSession, and the driver that does what it asks for.

A real driver does the same with sockets. This one also watches: what a client must not do is noted as it does it.
"""

from reference.protocol import codec, frames
from reference.protocol.actions import ClientAction, Close, Open, RefreshToken, Send
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import LocalError
from reference.protocol.policies.fallback import AfterEither, AfterFailures, AfterSeconds
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.adversary.bounds import check
from simulation.adversary.ground import CLIENT_KNOWS, Ground, ScriptedRandom
from simulation.adversary.journal import View
from simulation.adversary.network import End, Opened, Request, Wire
from simulation.trace.wording import words_of, words_of_outcome


class Host:
    """See the module."""

    def __init__(self, ground: Ground, user: str) -> None:
        self.index = len(ground.users)
        self.user = user
        self.wires: dict[int, Wire] = {}
        self.lane: int | None = None
        self.blocked = False
        """Every WebSocket is refused on the way; HTTP passes."""
        self.is_gone = False
        self._ground = ground
        self._not_before = 0  # the server asked this client not to come back earlier
        self._failures = 0  # WebSockets in a row that died under it before they were live
        self._carried_at = ground.now  # when a transport carried it last
        name = f"client{self.index}"
        self.view = View(name)
        setup = ground.setup
        self.session = ClientSession(
            name,
            config=setup.client,
            policy=setup.policy,
            random_source=ScriptedRandom(setup.chance),
            fallback=setup.fallback,
            heartbeat=setup.heartbeat,
            registry=CLIENT_KNOWS,
            token=user,
        )
        ground.users.append(user)
        self.session.start(ground.now)
        self.pump()

    # The application.

    def publish(self, event_type: str, **data: object) -> None:
        """Publish. The data carries a mark by which it is known wherever it turns up: the client and a number of its own."""
        if self.is_gone:
            return
        mark = f"{self.view.client}/{len(self.view.marks) + 1}"
        try:
            ticket = self.session.publish(event_type, {**data, "mark": mark}, self._ground.now)
        except LocalError:
            pass  # full: nothing was queued
        else:
            assert ticket not in self.view.marks, "a ticket is given once"
            self.view.marks[ticket] = self.view.asked[ticket] = mark
        self.pump()

    def leave(self) -> None:
        """Close the session."""
        if not self.is_gone:
            self.is_gone = True
            self.session.close(self._ground.now)
            self.pump()

    # The driver.

    def pump(self) -> None:
        """Do what the session asks for."""
        session, journal = self.session, self._ground.journal
        while actions := session.take_actions():
            for action in actions:
                self._carry_out(action)
        for outcome in session.take_outcomes():
            journal.reported(self.view, outcome)
            if self._ground.message_log is not None and (words := words_of_outcome(outcome)) is not None:
                self._ground.note(self.view.client, words)
        if session.state is ClientState.CLOSED and not self.is_gone:
            self.is_gone = True
            ended = self.view.ended
            assert ended is not None, "an application is told that its session is over"
            if not (self._ground.setup.gives_up and ended.code is None and "policy gave up" in ended.message):
                journal.note("G6", f"{session.client_id} has ended by itself: {ended}")
        self._check_roads()
        journal.position_is(self.view, *session.position)
        check(session, journal.note)

    def _carry_out(self, action: ClientAction) -> None:
        match action:
            case Open(connection_id, transport, _):
                self._open(connection_id, transport)
            case Send((connection_id,), frame):
                self._send(connection_id, frame)
            case Close((connection_id,), code, message):
                self._close(connection_id, code, message)
            case RefreshToken():
                self.session.handle_token(self.user, self._ground.now)
            case _:
                raise AssertionError(f"no driver knows {action}")

    def _open(self, connection_id: int, transport: Transport) -> None:
        if self._ground.now < self._not_before and transport is Transport.WEBSOCKET:
            early_ms = (self._not_before - self._ground.now) // NS_PER_MS
            self._ground.journal.note("G10", f"{self.view.client} comes back {early_ms} ms before the time it was asked for")
        if transport is Transport.POLLING:
            self.lane = connection_id
            self._ground.note(self.view.client, "goes on over HTTP")
            return
        self._ground.note(self.view.client, f"opens connection {connection_id}")
        wire = self.wires[connection_id] = Wire(self.index, connection_id)
        self._ground.wires.append(wire)

    def _send(self, connection_id: int, frame: frames.Frame) -> None:
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            assert connection_id == self.lane, "a request on a lane that is closed"
            if isinstance(frame, frames.PublishRequest):
                assert codec.decode_publish_request(codec.encode(frame), codec.FRAME_BYTES_MAX) == frame
            request = Request(self.index, connection_id, frame)
            self._ground.requests.append(request)
            if self._ground.message_log is not None:
                self._ground.message_log.sent((request, "up"), self.view.client, "server", words_of(frame), self._ground.now)
            return
        wire = self.wires[connection_id]
        assert wire.client_stands, f"{type(frame).__name__} on a connection that the session has left"
        if isinstance(frame, frames.Publish):
            if frame.client_sequence in wire.publishes:
                what = f"publish {frame.client_sequence} is sent twice on one living connection"
                self._ground.journal.note("G10", what)
            wire.publishes.add(frame.client_sequence)
        elif isinstance(frame, frames.Ack) and (
            self.session.position[0] != wire.epoch or frame.sequence_number > self.session.position[1]
        ):
            what = f"{self.view.client} acknowledges {frame.sequence_number} of {wire.epoch}"
            self._ground.journal.note("G2", f"{what}; its position is {self.session.position}")
        if self._ground.message_log is not None:
            self._ground.message_log.sent((wire, "up"), self.view.client, "server", words_of(frame), self._ground.now)
        wire.up.append(codec.encode(frame))

    def _close(self, connection_id: int, code: int | None, message: str) -> None:
        if code is not None and code >= 4100:
            self._ground.journal.note("G6", f"{self.view.client} quarrels with an honest server: {code} {message}")
        self._ground.note(self.view.client, f"leaves connection {connection_id}: {message}")
        if connection_id == self.lane:
            self.lane = None
            for request in self._ground.requests:
                if request.client == self.index and request.lane == connection_id:
                    request.client_waits = False
            return
        wire = self.wires.pop(connection_id)
        wire.client_stands = False
        wire.up.append(End(code, message))

    def _check_roads(self) -> None:
        """One WebSocket, or one lane with a probe behind it; and polling when WebSocket has failed often enough."""
        state, policy = self.session.state, self._ground.setup.fallback_policy
        limit = policy.failures if isinstance(policy, AfterFailures | AfterEither) else None
        note = self._ground.journal.note
        if len(self.wires) > 1 or (state is ClientState.LIVE and self.lane is not None):
            note("G7", f"{self.view.client} is {state.value} with {len(self.wires)} wires and lane {self.lane}")
        if state is ClientState.LIVE or state.is_polling:
            self._failures = 0
        elif limit is not None and self._failures >= limit and state is not ClientState.CLOSED:
            note("G6", f"{self.view.client} is {state.value} after {self._failures} failures, and not polling")

    # What arrives.

    def receive(self, wire: Wire, item: bytes | Opened | End) -> None:
        """The next thing on a wire."""
        self._look_whether_carried()
        match item:
            case Opened():
                if wire.client_stands:
                    self.session.connection_opened(wire.client_end, self._ground.now)
            case End():
                if wire.client_stands:
                    self._lose(wire, item)
            case _:
                # A frame may come too late: the session has left this connection, and does not care what it says.
                frame = codec.decode_server_frame(item)
                if self._ground.message_log is not None:
                    self._ground.message_log.arrived((wire, "down"), self._ground.now)
                if wire.client_stands:
                    self._expect(frame)
                if isinstance(frame, frames.Welcome):
                    wire.epoch = frame.epoch
                if isinstance(frame, frames.Rejected) and frame.retryable:
                    wire.publishes.clear()
                self.session.receive_frame(wire.client_end, frame, self._ground.now)
        self.pump()

    def receive_answer(self, request: Request) -> None:
        """The answer to an HTTP request, or the news that there will be none."""
        answer: frames.Frame | None = request.failure
        if request.answer is not None:
            answer = codec.decode_answer(request.frame, request.answer)
            if self._ground.message_log is not None:
                self._ground.message_log.arrived((request, "down"), self._ground.now)
        assert answer is not None
        if request.client_waits:
            self._expect(answer)
        elif request.lane == self.lane:
            return  # the driver gave this one up; an answer on a lane that the session has left is for the session to ignore
        self.session.receive_frame(request.lane, answer, self._ground.now)
        self.pump()

    def trickle(self, wire: Wire) -> None:
        """A part of something comes."""
        self.session.bytes_received(wire.client_end, self._ground.now)
        self.pump()

    def sever(self, wire: Wire) -> None:
        """The client learns that a wire is dead."""
        wire.down.clear()
        if wire.client_stands:
            self._lose(wire, End(None, "cut"))
            self.pump()

    def ring(self) -> None:
        """The alarm rings, if it is due."""
        deadline = self.session.next_deadline()
        self._look_whether_carried()
        if deadline is not None and deadline <= self._ground.now:
            self.session.handle_timeout(self._ground.now)
            deadline = self.session.next_deadline()
            assert deadline is None or deadline > self._ground.now, "an alarm that was served does not ring again at once"
            self.pump()
            self._check_patience()

    def _look_whether_carried(self) -> None:
        """Called before whatever may take the transport away."""
        if self.session.transport is not None:
            self._carried_at = self._ground.now

    def _check_patience(self) -> None:
        """Without a transport no longer than the fallback policy bears it, not counting a wait that the server asked for."""
        policy, state = self._ground.setup.fallback_policy, self.session.state
        is_excused = self.session.transport is not None or state in (ClientState.REFRESHING, ClientState.CLOSED)
        if is_excused or not isinstance(policy, AfterSeconds | AfterEither):
            return
        without_s = (self._ground.now - max(self._carried_at, self._not_before)) / NS_PER_S
        if without_s > policy.seconds:
            note = f"{self.view.client} is {state.value} after {without_s:g} s without a transport, and not polling"
            self._ground.journal.note("G6", note)

    def _lose(self, wire: Wire, end: End) -> None:
        now = self._ground.now
        self._look_whether_carried()
        wire.client_stands = False
        self._failures += self.session.state is not ClientState.LIVE
        del self.wires[wire.client_end]
        said = f" ({end.code} {end.message})" if end.code is not None else ""
        self._ground.note(self.view.client, f"loses connection {wire.client_end}{said}")
        wire.up.append(End())
        if end.retry_after_ms is not None:
            self._not_before = max(self._not_before, now + end.retry_after_ms * NS_PER_MS)
        self.session.connection_lost(wire.client_end, end.code, now, message=end.message, retry_after_ms=end.retry_after_ms)

    def _expect(self, frame: frames.Frame) -> None:
        """Note what a frame that is about to be received means to this client and its application."""
        if isinstance(frame, frames.Goaway) and self.session.state is not ClientState.CLOSED:
            self._not_before = max(self._not_before, self._ground.now + frame.retry_after_ms * NS_PER_MS)
        if not isinstance(frame, frames.Welcome | frames.PollAnswer) or frame.outcome != "fresh":
            return
        if self._ground.setup.client.start != "snapshot" and self.view.epoch is None:
            self.view.begins_at = (frame.epoch, frame.after_sequence)
