"""The client's session: one client in one run, across connections and transports.

It is told what the application, the network and the clock do, and says what its driver should do (`take_actions`) and what the
application should know (`take_outcomes`). `states` tells which states there are and how they follow each other; this module is
what each step means.

    application -> Sending (outbox) -> WebSocket or PollingLane -> server
    server -> WebSocket or PollingLane -> Receiving (inbox) -> application

Both transports feed the same outbox and the same inbox, so a change of transport is a change of road and nothing else. Of all
connections that it ever opened, the session listens to at most one WebSocket and one polling lane; whatever arrives on another
is too late and is ignored.
"""

from typing import assert_never

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Close, Open, RefreshToken, Send
from reference.protocol.backoff import Draws, Reconnector, ReconnectPolicy, capped
from reference.protocol.client_desk import Desk, Timer
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, LocalError, Reaction, RemoteError, SessionClosed, reaction_to
from reference.protocol.events import DEFAULT_REGISTRY, Data, EventRegistry
from reference.protocol.health import Health, HealthRecord, Status
from reference.protocol.outcomes import Outcome, SessionEnded, StateChanged
from reference.protocol.polling import PollingLane
from reference.protocol.pulse import Pulse
from reference.protocol.receiving import Receiving
from reference.protocol.sending import Sending
from reference.protocol.states import (
    CLIENT_MAY_RECEIVE,
    CLIENT_TRANSITIONS,
    ClientInput,
    ClientState,
    Transport,
)
from reference.protocol.timers import ns


class ClientSession:
    """See the module. All times are ns on a clock of the driver's that never goes backwards."""

    def __init__(
        self,
        client_id: str,
        *,
        config: ClientConfig,
        policy: ReconnectPolicy,
        draws: Draws,
        registry: EventRegistry = DEFAULT_REGISTRY,
        token: str | None = None,
    ) -> None:
        self.client_id = client_id
        self.config = config
        self.state = ClientState.NEW
        self.session_id: str | None = None
        self._token = token
        self._draws = draws
        self._record = HealthRecord(config.round_trip_samples_max)
        self._desk = Desk(config)
        self._timers = self._desk.timers
        self._sending = Sending(self._desk, registry, self._record)
        self._receiving = Receiving(self._desk)
        self._pulse = Pulse(self._desk, self._record)
        self._reconnector = Reconnector(policy, draws, config.first_spread_s)
        polls = Reconnector(policy, draws, config.first_spread_s, purpose="poll_backoff")
        self._lane = PollingLane(self._desk, client_id, polls)
        self._websocket: int | None = None
        self._generation = 0  # of the newest connection; also its connection_id
        self._was_connected = False
        self._failed_probes = 0
        self._probes_timed = 0

    # The application speaks.

    def start(self, now: int) -> None:
        """Begin to connect."""
        self._turn(ClientInput.START)
        self._connect(now)

    def publish(self, event_type: str, data: Data, now: int) -> int:
        """Queue one event and return its ticket; PublishAccepted or PublishFailed will name it.

        Raises InvalidEvent, OutboxFull or SessionClosed; then nothing was queued.
        """
        self._check_open()
        ticket = self._sending.publish(event_type, data, now)
        self._send_waiting(now)
        return ticket

    def move_cursor(self, data: Data, now: int) -> None:
        """Show this user's cursor to the others. Only the latest is kept; without a connection it waits for one.

        Raises InvalidEvent or SessionClosed.
        """
        self._check_open()
        self._sending.move_cursor(data)
        self._send_waiting(now)

    def close(self, now: int) -> None:
        """Leave. Whatever is still unanswered fails visibly; presence leaves at once if the server can be told."""
        if self.state is ClientState.CLOSED:
            return
        if self._websocket is not None and self.state.has_websocket:
            self._send(frames.Bye())
        self._end(None, "closed by the application")

    def handle_token(self, token: str, now: int) -> None:
        """The application has a new token."""
        self._token = token
        if self.state is ClientState.REFRESHING:
            self._timers.cancel(Timer.TOKEN)
            self._turn(ClientInput.TOKEN_GIVEN)
            self._connect(now)
        elif self.state.has_websocket:
            self._send(frames.Auth(token))
        elif self.state.is_polling:
            self._sending.connection_lost()
            self._replace_lane(now)

    # The network speaks.

    def connection_opened(self, connection_id: int, now: int) -> None:
        """The WebSocket is open, its handshake done."""
        if connection_id != self._websocket:
            return
        self._turn(ClientInput.OPENED)
        self._timers.set(Timer.CONNECT, now + ns(self.config.connect_timeout_s))
        epoch, last = self.position
        hello = frames.Hello(
            protocol=frames.PROTOCOL_VERSION,
            client_id=self.client_id,
            generation=connection_id,
            session_id=self.session_id,
            epoch=epoch,
            after_sequence=None if epoch is None else last,
            start=self.config.start,
        )
        self._send(hello)

    def connection_lost(
        self, connection_id: int, code: int | None, now: int, *, message: str = "", retry_after_ms: int | None = None
    ) -> None:
        """The WebSocket could not be opened, or has ended; `code` is the peer's close code, None if there was none."""
        if connection_id != self._websocket:
            return
        self._websocket = None
        if retry_after_ms is not None:
            self._reconnector.asked_to_wait(now, retry_after_ms)
        self._lost(code, message or "the connection was lost", now)

    def receive_frame(self, connection_id: int, frame: frames.Frame, now: int) -> None:
        """A frame has arrived whole. A frame that breaks the protocol ends its connection."""
        try:
            if connection_id == self._websocket:
                self._receive_on_websocket(frame, now)
            elif connection_id == self._lane.connection_id:
                self._receive_answer(frame, now)
        except RemoteError as error:
            self.receive_nonsense(connection_id, error, now)

    def receive_nonsense(self, connection_id: int, error: RemoteError, now: int) -> None:
        """Something arrived that the protocol does not allow. Its connection is left; the session goes on elsewhere."""
        if connection_id == self._websocket:
            self._leave(error.code, error.message, now)
        elif connection_id == self._lane.connection_id:
            self._lane_failed(now)

    # Time passes.

    def next_deadline(self) -> int | None:
        """When `handle_timeout` is to be called, in ns, or None."""
        return self._timers.next_deadline()

    def handle_timeout(self, now: int) -> None:
        """Fire every timer that has expired by `now`."""
        while (timer := self._timers.pop_expired(now)) is not None:
            self._fire(timer, now)

    # Output, drained.

    def take_actions(self) -> list[ClientAction]:
        """What the driver has to do, in order."""
        actions, self._desk.actions = self._desk.actions, []
        return actions

    def take_outcomes(self) -> list[Outcome]:
        """What the application has to know, in order."""
        outcomes, self._desk.outcomes = self._desk.outcomes, []
        return outcomes

    # What can be looked at.

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and number of the last event handed over."""
        return self._receiving.inbox.epoch, self._receiving.inbox.last

    @property
    def transport(self) -> Transport | None:
        """What carries the session now. While a welcomed probe proves itself, both do; this names the newer."""
        if self.state.has_websocket:
            return Transport.WEBSOCKET
        return Transport.POLLING if self.state.is_polling else None

    @property
    def queued_messages(self) -> int:
        """Messages that wait to be sent or answered."""
        return len(self._sending.outbox)

    @property
    def active_users(self) -> tuple[str, ...]:
        return self._receiving.roster.users

    def health(self) -> Health:
        """A frozen snapshot."""
        if self.state.is_polling:
            status = Status.HTTP_POLLING if self._lane.has_arrived else Status.DISCONNECTED
        elif self.state.has_websocket:
            status = Status.RECONNECTED if self._record.reconnections else Status.CONNECTED
        else:
            status = Status.DISCONNECTED
        return self._record.report(status, self.transport, self.queued_messages)

    # Connecting and losing.

    def _connect(self, now: int) -> None:
        self._websocket = self._new_connection_id()
        self._desk.actions.append(Open(self._websocket, Transport.WEBSOCKET, self._token))
        self._timers.set(Timer.CONNECT, now + ns(self.config.connect_timeout_s))

    def _new_connection_id(self) -> int:
        self._generation += 1
        return self._generation

    def _leave(self, code: int | None, message: str, now: int, *, is_failure: bool = True) -> None:
        """Our decision that the WebSocket is of no more use; the session goes on."""
        assert self._websocket is not None, "there is a connection to leave"
        self._desk.actions.append(Close((self._websocket,), code, message))
        self._websocket = None
        self._lost(None, message, now, is_failure=is_failure)

    def _lost(self, code: int | None, message: str, now: int, *, is_failure: bool = True) -> None:
        was_steady = self.state is ClientState.LIVE and Timer.STEADY not in self._timers
        if self.state.has_websocket:
            self._sending.connection_lost()
        self._forget_websocket()
        match reaction_to(code):
            case Reaction.STOP:
                self._end(code, message)
                return
            case Reaction.NEW_TOKEN:
                self._want_token(code, message, now)
                return
            case Reaction.NEW_SESSION:
                self.session_id = None
            case Reaction.RESUME:
                pass
        if self.state.is_polling:
            self._probe_failed(now)
            return
        if is_failure and not was_steady:
            self._reconnector.failed()
        self._wait_or_fall_back(now)

    def _wait_or_fall_back(self, now: int) -> None:
        limit = self.config.fallback_after_failures
        if limit is not None and self._reconnector.failures >= limit:
            self._turn(ClientInput.EXHAUSTED)
            self._open_lane(max(now, self._reconnector.not_before))
            self._schedule_probe(now)
            return
        at = self._reconnector.next_attempt_at(now)
        if at is None:
            self._end(None, f"the reconnect policy gave up after {self._reconnector.failures} failed attempts")
        else:
            self._turn(ClientInput.LOST)
            self._timers.set(Timer.RETRY, at)

    def _probe_failed(self, now: int) -> None:
        self._turn(ClientInput.LOST)
        self._failed_probes += 1
        # The server may have taken the probe for the session's newest connection; the lane is newer again.
        self._lane.generation = self._new_connection_id()
        self._schedule_probe(now)
        self._send_waiting(now)

    def _schedule_probe(self, now: int) -> None:
        wait_s = capped(self.config.probe_interval_s, 2.0, self._failed_probes, self.config.probe_interval_max_s)
        spread = self.config.probe_jitter * (2 * self._draws.uniform("probe", self._probes_timed) - 1)
        self._probes_timed += 1
        self._timers.set(Timer.PROBE, max(now + ns(wait_s * (1 + spread)), self._reconnector.not_before))

    def _open_lane(self, first_poll_at: int) -> None:
        connection_id = self._new_connection_id()
        self._lane.open(connection_id, connection_id, self._token, first_poll_at)

    def _replace_lane(self, first_poll_at: int) -> None:
        self._lane.close()
        self._open_lane(first_poll_at)

    def _lane_failed(self, now: int) -> None:
        """The lane's requests hang, or answer nonsense: both are given up, and sent again after a wait."""
        _, at = self._lane.failed("poll", None, now)
        if at is None:
            self._end(None, "the reconnect policy gave up on polling")
            return
        self._replace_lane(at)
        if not self.state.has_websocket:
            self._sending.connection_lost()

    def _want_token(self, code: int | None, message: str, now: int) -> None:
        if not self.config.refreshes_token:
            self._end(code, message)
            return
        self._drop_transports()
        self._turn(ClientInput.TOKEN_WANTED)
        self._timers.set(Timer.TOKEN, now + ns(self.config.token_timeout_s))
        self._desk.actions.append(RefreshToken())

    def _forget_websocket(self) -> None:
        for timer in (Timer.CONNECT, Timer.STEADY):
            self._timers.cancel(timer)
        self._pulse.stopped()
        self._receiving.disconnected()

    def _stop_polling(self) -> None:
        self._lane.close()
        self._timers.cancel(Timer.PROBE)

    def _drop_transports(self) -> None:
        self._stop_polling()
        if self._websocket is not None:
            self._desk.actions.append(Close((self._websocket,), 1000, "leaving"))
            self._websocket = None
        self._timers.cancel(Timer.RETRY)
        self._forget_websocket()
        self._sending.connection_lost()

    def _end(self, code: int | None, message: str) -> None:
        self._drop_transports()
        self._sending.give_up(f"the session ended: {message}")
        for timer in Timer:
            self._timers.cancel(timer)
        self._turn(ClientInput.END)
        self._desk.outcomes.append(SessionEnded(code, message))

    # Frames on the WebSocket.

    def _receive_on_websocket(self, frame: frames.Frame, now: int) -> None:
        if type(frame) not in CLIENT_MAY_RECEIVE[self.state]:
            raise RemoteError(CloseCode.BAD_FRAME, f"{type(frame).__name__} while {self.state.value}")
        self._pulse.heard()
        match frame:
            case frames.Welcome():
                self._welcomed(frame, now)
            case frames.SnapshotFrame():
                self._receiving.snapshot(frame, now)
            case frames.Events():
                if self._receiving.events(frame.events, now):
                    self._leave(CloseCode.GOING_AWAY, f"event {self.position[1] + 1} is missing", now)
                elif self._receiving.ack_due(now):
                    self._send(self._receiving.take_ack())
            case frames.Presence():
                self._desk.outcomes += self._receiving.roster.presence(frame)
            case frames.Cursors():
                self._desk.outcomes += self._receiving.roster.cursors(frame)
            case frames.Accepted() | frames.Rejected():
                self._sending.receive(frame, now)
                self._send_waiting(now)
            case frames.Heartbeat():
                self._receiving.head_is(frame.head, now)
            case frames.Pong():
                self._receive_pong(frame, now)
            case frames.Expiring():
                if self.config.refreshes_token:
                    self._desk.actions.append(RefreshToken())
            case frames.Goaway():
                self._reconnector.asked_to_wait(now, frame.retry_after_ms, frame.spread_ms)
                self._leave(1000, "asked to go away", now, is_failure=False)
            case frames.Error():
                pass  # the close that follows carries the same code
            case _:
                raise AssertionError(f"{type(frame).__name__} stands in the table but not here")

    def _welcomed(self, welcome: frames.Welcome, now: int) -> None:
        if self.state is ClientState.GREETING:  # a probe that succeeds is no reconnection: polling was connected
            self._count_connection()
        self._turn(ClientInput.WELCOMED)
        self._timers.cancel(Timer.CONNECT)
        self.session_id = welcome.session_id
        self._reconnector.first_spread_s = welcome.retry.first_spread_ms / 1000
        self._sending.outbox.resume_numbering(welcome.last_client_sequence)
        # What polling has under way may arrive or not; this connection carries it from now on.
        self._sending.connection_lost()
        if welcome.outcome == "reset":
            self._sending.outbox.new_epoch()
        self._receiving.welcomed(welcome, now)
        self._send(self._pulse.ping(now))
        self._send_waiting(now)

    def _receive_pong(self, pong: frames.Pong, now: int) -> None:
        is_answer = self._pulse.pong(pong.nonce, now)
        if is_answer and self.state in (ClientState.PROVING, ClientState.PROBE_PROVING):
            self._turn(ClientInput.PROVEN)
            self._stop_polling()
            self._timers.set(Timer.STEADY, now + ns(self.config.steady_after_s))

    # Answers on the polling lane.

    def _receive_answer(self, answer: frames.Frame, now: int) -> None:
        match answer:
            case frames.PollAnswer():
                self._receive_poll(answer, now)
            case frames.PublishAnswer(results=results):
                if self._lane.publish_answered():
                    for result in results:
                        self._sending.receive(result, now)
                    self._send_waiting(now)
            case frames.RequestFailed():
                self._request_failed(answer, now)
            case _:
                raise RemoteError(CloseCode.BAD_FRAME, f"{type(answer).__name__} is no answer to a request")

    def _receive_poll(self, answer: frames.PollAnswer, now: int) -> None:
        if not self._lane.poll_answered(answer.has_more, now):
            return
        if not self._lane.has_arrived:
            self._lane.has_arrived = True
            self._count_connection()
        self.session_id = answer.session_id or self.session_id
        self._sending.outbox.resume_numbering(answer.last_client_sequence)
        self._receiving.poll(answer, takes_roster=not self.state.has_websocket)
        if answer.outcome == "reset":
            self._sending.outbox.new_epoch()
        self._send_waiting(now)

    def _request_failed(self, failed: frames.RequestFailed, now: int) -> None:
        generation, at = self._lane.failed(failed.request, failed.retry_after_ms, now)
        by_ourselves = failed.code == CloseCode.SUPERSEDED and generation is not None and generation < self._generation
        reaction = Reaction.RESUME if by_ourselves else reaction_to(failed.code)
        if reaction is Reaction.STOP:
            self._end(failed.code, failed.message)
        elif reaction is Reaction.NEW_TOKEN:
            self._want_token(failed.code, failed.message, now)
        elif at is None:
            self._end(None, "the reconnect policy gave up on polling")
        elif failed.request == "publishMany" and not self.state.has_websocket:
            self._sending.connection_lost()
            self._sending.wait_until(at)

    # Sending.

    def _send(self, frame: frames.Frame) -> None:
        assert self._websocket is not None, "this is sent over WebSocket"
        self._desk.actions.append(Send((self._websocket,), frame))

    def _send_waiting(self, now: int) -> None:
        """Send what waits, on whatever carries the session now."""
        if self.state.has_websocket:
            messages, cursor = self._sending.take()
            for message in messages:
                self._send(message.as_frame())
            if cursor is not None:
                self._send(frames.Cursor(cursor))
        elif self.state.is_polling and self._lane.has_arrived and not self._lane.is_publishing:
            messages, cursor = self._sending.take()
            if messages or cursor is not None:
                self._lane.publish(messages, cursor, now)

    # Timers.

    def _fire(self, timer: Timer, now: int) -> None:
        match timer:
            case Timer.CONNECT:
                self._leave(None, "no connection, or no welcome on it, in time", now)
            case Timer.RETRY | Timer.PROBE:
                self._turn(ClientInput.DUE)
                self._connect(now)
            case Timer.PING:
                self._send(self._pulse.ping(now))
            case Timer.PONG:
                self._leave(CloseCode.HEARTBEAT_LOST, "nothing came back after a ping", now)
            case Timer.TAIL:
                self._leave(CloseCode.GOING_AWAY, f"event {self.position[1] + 1} has not come", now)
            case Timer.STEADY:
                self._reconnector.steady()
                self._failed_probes = 0
            case Timer.ACK:
                self._send(self._receiving.take_ack())
            case Timer.RESEND:
                self._send_waiting(now)
            case Timer.EXPIRE:
                self._sending.expire(now)
            case Timer.POLL:
                self._lane.poll(*self.position, self.session_id, now)
            case Timer.POLL_LIMIT | Timer.PUBLISH_LIMIT:
                self._lane_failed(now)
            case Timer.TOKEN:
                self._end(CloseCode.TOKEN, "the application supplied no token in time")
            case _:
                assert_never(timer)

    # Small things.

    def _turn(self, event: ClientInput) -> None:
        self.state = CLIENT_TRANSITIONS[self.state, event]
        self._desk.outcomes.append(StateChanged(self.state))

    def _check_open(self) -> None:
        if self.state is ClientState.CLOSED:
            raise SessionClosed("the session has ended; open a new one")
        if self.state is ClientState.NEW:
            raise LocalError("start the session first")

    def _count_connection(self) -> None:
        if self._was_connected:
            self._record.reconnections += 1
        self._was_connected = True
