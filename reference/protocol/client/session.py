"""The client's session: one client in one run, across connections and transports.

Inputs come from the application, the network and the clock; outputs are actions for the driver (`take_actions`) and outcomes for
the application (`take_outcomes`). The parts:

    application -> Publishing (outbox) -> Connectivity: WebSocket or polling -> server
    server -> Connectivity: WebSocket or polling -> EventDelivery (inbox) -> FlowControl -> application

Both transports use the same outbox and inbox, so a change of transport changes nothing else. Of all connections it has opened,
the session listens to at most one WebSocket and one polling transport; frames on any other connection are late and are ignored.
"""

from typing import assert_never

from reference.protocol import frames
from reference.protocol.actions import ClientAction, PauseReading, ResumeReading, Send
from reference.protocol.client.connectivity import Connectivity
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.delivery import EventDelivery, FlowControl
from reference.protocol.client.health import Health, HealthRecord
from reference.protocol.client.keepalive import PINGS_REMEMBERED_MAX, Keepalive
from reference.protocol.client.outcomes import Outcome, SessionEnded
from reference.protocol.client.publishing import Publishing
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, LocalError, RemoteError, SessionClosed
from reference.protocol.events import DEFAULT_REGISTRY, Data, EventRegistry
from reference.protocol.policies.fallback import FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import RandomSource, ReconnectPolicy
from reference.protocol.saved_session import SavedSession
from reference.protocol.states import CLIENT_MAY_RECEIVE, ClientState, Transport
from reference.protocol.statistics import ClientStatistics, Held
from reference.protocol.timers import ns

_AWAITING_WELCOME = (ClientState.GREETING, ClientState.PROBE_GREETING)
_POSTPONED_MAX = 2
"""One frame of a WebSocket and one answer to a poll; nothing more is read until they are taken."""


class ClientSession:
    """One client in one run. All times are ns of the driver's clock, which never goes backwards.

    `policy` decides when to reconnect, `fallback` when polling takes over, `heartbeat` when to ping; None for the last two: as
    the config's fields say. `outcomes_waiting_max`: how many sequenced outcomes the application may leave untaken before the
    session slows the server down (`FlowControl`); the driver then reports each one that is taken. None: the application takes
    all at once. `saves`: the driver saves the state that survives a restart of the program (`saved_session`).
    """

    __slots__ = (
        "_connectivity",
        "_context",
        "_delivery",
        "_flow",
        "_keepalive",
        "_publishing",
        "_record",
        "_timers",
        "client_id",
        "config",
    )

    def __init__(
        self,
        client_id: str,
        *,
        config: ClientConfig,
        policy: ReconnectPolicy,
        random_source: RandomSource,
        fallback: FallbackPolicy | None = None,
        heartbeat: HeartbeatPolicy | None = None,
        registry: EventRegistry = DEFAULT_REGISTRY,
        token: str | None = None,
        outcomes_waiting_max: int | None = None,
        saves: bool = False,
    ) -> None:
        self.client_id = client_id
        self.config = config
        self._record = HealthRecord(config.round_trip_samples_max)
        self._flow = None if outcomes_waiting_max is None else FlowControl(outcomes_waiting_max)
        self._context = ClientContext(config, saves=saves)
        self._timers = self._context.timers
        self._publishing = Publishing(self._context, registry, self._record)
        self._delivery = EventDelivery(self._context, self._flow)
        self._keepalive = Keepalive(self._context, self._record, heartbeat or config.heartbeat_policy)
        parts = (self._context, self._publishing, self._delivery, self._keepalive, self._record)
        self._connectivity = Connectivity(client_id, *parts, policy, fallback or config.fallback_policy, random_source, token)

    # Inputs from the application.

    def restore(self, saved: SavedSession, now: int) -> None:
        """Restore the session from before the program restarted. Call it before `start`, on a session with the same client id.

        The position is restored too: events that the application has handled are not delivered again.
        """
        assert self.state is ClientState.NEW, "only before the start"
        assert saved.client_id == self.client_id, "it is the same client that goes on"
        self._connectivity.restore(saved.generation)
        if saved.epoch is not None:
            self._delivery.inbox.start_at(saved.epoch, saved.last)
        self._publishing.restore(saved, now)

    def start(self, now: int) -> None:
        """Begin to connect."""
        self._connectivity.start(now)

    def publish(self, event_type: str, data: Data, now: int) -> int:
        """Queue one event and return its ticket; PublishAccepted or PublishFailed will name it.

        Raises InvalidEvent, OutboxFull or SessionClosed; then nothing was queued.
        """
        self._check_open()
        ticket = self._publishing.publish(event_type, data, now)
        self._send_waiting(now)
        return ticket

    def move_cursor(self, data: Data, now: int) -> None:
        """Show this user's cursor to the others. Only the latest is kept; without a connection it is sent later.

        Raises InvalidEvent or SessionClosed.
        """
        self._check_open()
        self._publishing.move_cursor(data)
        self._send_waiting(now)

    def application_took(self, count: int, now: int) -> None:
        """The application has taken this many sequenced outcomes. Only for a session with `outcomes_waiting_max`."""
        flow = self._flow
        assert flow is not None, "a session without a limit does not count"
        flow.took(count)
        if flow.is_holding and flow.is_half_empty:
            flow.is_holding = False
            self.release_events(now)
        elif flow.waits:
            self._hand_over(now)
            self.handle_timeout(now)

    def hold_events(self, now: int) -> None:
        """The application does not read: take no more sequenced events until `release_events`.

        The position stays, so nothing is lost and nothing is buffered. Everything else goes on, including answers to publishes,
        so an application that publishes while it reads cannot deadlock.
        """
        self._delivery.hold()

    def release_events(self, now: int) -> None:
        """The application reads again: go on from the position, with a resume if events were passed over."""
        if not self._delivery.release(now):
            return
        if self.state.has_websocket:
            reason = "events were passed over while the application did not read"
            self._connectivity.leave(CloseCode.GOING_AWAY, reason, now, is_failure=False)
        elif self.state.is_polling:
            self._connectivity.polling.poll_soon(now)
        self._send_waiting(now)
        self.handle_timeout(now)

    def close(self, now: int) -> None:
        """Leave (7.38). Unanswered publishes are reported as failed; presence ends at once if the server can be notified."""
        if self.state is ClientState.CLOSED:
            return
        if self.state.has_websocket:
            self._send(frames.Bye())
        self._connectivity.end(None, "closed by the application", now)

    def handle_token(self, token: str, now: int) -> None:
        """The application has supplied a token (7.37). If the session has this token already, it is not sent again (7.36)."""
        is_new, self._connectivity.token = token != self._connectivity.token, token
        if self.state is ClientState.REFRESHING:
            self._connectivity.token_given(now, is_new=is_new)
            self.handle_timeout(now)
        elif not is_new:
            self._connectivity.token_is_the_same(now)
        elif self.state.has_websocket:
            self._send(frames.Auth(token))
        elif self.state.is_polling:
            self._connectivity.poll_with_new_token(now)

    def _check_open(self) -> None:
        if self.state is ClientState.CLOSED:
            ended = self._connectivity.ended
            assert ended is not None, "a closed session has ended"
            code = "" if ended.code is None else f" [{ended.code}]"
            raise SessionClosed(f"the session has ended: {ended.message}{code}", ended.code)
        if self.state is ClientState.NEW:
            raise LocalError("start the session first")

    # Inputs from the network.

    def connection_opened(self, connection_id: int, now: int) -> None:
        """The WebSocket is open and its handshake is done."""
        if connection_id != self._connectivity.websocket:
            return
        self._connectivity.opened(now)
        self._delivery.greeted()
        self._send(self._connectivity.hello(*self.position))

    def connection_lost(
        self, connection_id: int, code: int | None, now: int, *, message: str = "", retry_after_ms: int | None = None
    ) -> None:
        """The WebSocket could not be opened, or has ended; `code` is the peer's close code, None if there was none."""
        if connection_id != self._connectivity.websocket:
            return
        if retry_after_ms is not None:
            self._connectivity.asked_to_wait(now, retry_after_ms, None)
        self._connectivity.lost(code, message or "the connection was lost", now)
        self._send_waiting(now)
        self.handle_timeout(now)

    def network_returned(self, now: int) -> None:
        """The operating system reports that this machine's network is back: end the wait for the next attempt (7.44)."""
        self._connectivity.network_returned(now)
        self.handle_timeout(now)

    def bytes_received(self, connection_id: int, now: int, *, request: frames.RequestKind | None = None) -> None:
        """Bytes arrived, perhaps a part of a large frame: any byte is a sign of life. `request`: on the polling transport, the
        request that they answer."""
        if connection_id == self._connectivity.websocket:
            self._keepalive.heard(now)
            self._delivery.bytes_came(now)
        elif connection_id == self._connectivity.polling.connection_id and request is not None:
            self._connectivity.polling.bytes_came(request, now)

    def receive_frame(self, connection_id: int, frame: frames.Frame, now: int) -> None:
        """A complete frame has arrived. A frame that breaks the protocol ends its connection; a frame of a connection already
        left is ignored (3.11)."""
        flow = self._flow
        if flow is not None:
            is_websocket = connection_id == self._connectivity.websocket
            is_known = is_websocket or connection_id == self._connectivity.polling.connection_id
            if is_known and flow.must_queue(connection_id, frame, is_stream=is_websocket):
                if is_websocket:
                    self._keepalive.heard(now)
                flow.postpone(connection_id, frame)
                self._hand_over(now)
                self.handle_timeout(now)
                return
        self._receive(connection_id, frame, now)

    def _receive(self, connection_id: int, frame: frames.Frame, now: int) -> None:
        try:
            if connection_id == self._connectivity.websocket:
                self._receive_on_websocket(frame, now)
            elif connection_id == self._connectivity.polling.connection_id:
                self._receive_answer(frame, now)
            # Most frames leave nothing to send and arrive before any timer: skip the call.
            if not self._publishing.is_empty:
                self._send_waiting(now)
            if (first := self._timers.first) is None or first <= now:
                self.handle_timeout(now)
        except RemoteError as error:
            self.receive_malformed(connection_id, error, now)

    def receive_malformed(self, connection_id: int, error: RemoteError, now: int) -> None:
        """A message arrived that the protocol does not allow. Its connection is closed; the session reconnects."""
        if connection_id == self._connectivity.websocket:
            self._connectivity.leave(error.code, error.message, now)
        elif connection_id == self._connectivity.polling.connection_id:
            self._connectivity.abandon_polling(error.message, now)
        self._send_waiting(now)
        self.handle_timeout(now)

    # Flow control towards the application (7.19).

    def _hand_over(self, now: int, *, is_patient: bool = True) -> None:
        """Deliver as many postponed frames as there is room for; pause and resume reading accordingly."""
        flow = self._flow
        assert flow is not None, "only a session with a limit postpones"
        has_moved = False
        while (item := flow.next_readable(takes_any=self._delivery.is_holding, is_patient=is_patient)) is not None:
            self._receive(*item, now)
            has_moved = True
        for connection_id in flow.waits:
            if connection_id not in flow.paused:
                flow.paused[connection_id] = None
                self._context.actions.append(PauseReading(connection_id))
        for connection_id in tuple(flow.paused):
            if connection_id not in flow.waits:
                del flow.paused[connection_id]
                self._context.actions.append(ResumeReading(connection_id))
        if not flow.waits:
            self._timers.cancel(Timer.PATIENCE)
        elif has_moved or Timer.PATIENCE not in self._timers:
            self._timers.set(Timer.PATIENCE, now + ns(self.patience_s))

    def _lose_patience(self, now: int) -> None:
        flow = self._flow
        assert flow is not None, "only a session with a limit is patient"
        if not flow.room:
            flow.is_holding = True
            self.hold_events(now)
        self._hand_over(now, is_patient=False)

    # Time.

    def next_deadline(self) -> int | None:
        """The time for the next `handle_timeout`, in ns, or None."""
        first = self._timers.first  # usually known; this is asked once per frame
        return self._timers.next_deadline() if first is None else first

    def handle_timeout(self, now: int) -> None:
        """Fire every timer that has expired by `now`."""
        while (timer := self._timers.pop_expired(now)) is not None:
            self._fire(timer, now)
            self._send_waiting(now)

    # Outputs.

    def take_actions(self) -> list[ClientAction]:
        """Actions for the driver, in order; empties the queue."""
        actions, self._context.actions = self._context.actions, []
        return actions

    def take_outcomes(self) -> list[Outcome]:
        """Outcomes for the application, in order; empties the queue."""
        outcomes, self._context.outcomes = self._context.outcomes, []
        return outcomes

    # State.

    @property
    def state(self) -> ClientState:
        return self._connectivity.state

    @property
    def session_id(self) -> str | None:
        """The server's name for this session; None before it has been welcomed."""
        return self._connectivity.session_id

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and number of the last delivered event."""
        return self._delivery.inbox.epoch, self._delivery.inbox.last

    @property
    def transport(self) -> Transport | None:
        """The transport that carries the session now, None if there is none. While a welcomed probe is being proven both may;
        then the newer one."""
        return self._connectivity.transport

    @property
    def ended(self) -> SessionEnded | None:
        """How the session ended; None while it has not."""
        return self._connectivity.ended

    @property
    def is_carried(self) -> bool:
        """Whether a welcomed WebSocket or answered polls carry the session (protocol 7.42)."""
        return self._connectivity.is_carried

    @property
    def next_attempt_at(self) -> int | None:
        """When the next WebSocket is opened, in ns; None if one is open or none will be opened."""
        return self._connectivity.next_attempt_at

    @property
    def round_trips_ms(self) -> tuple[float, ...]:
        """The last round trips, in ms, oldest first; at most `round_trip_samples_max`."""
        return self._record.round_trips_ms

    @property
    def queued_messages(self) -> int:
        """Messages that wait to be sent or answered."""
        return len(self._publishing.outbox)

    @property
    def active_users(self) -> tuple[str, ...]:
        return self._delivery.roster.users

    @property
    def cursors(self) -> dict[str, Data]:
        return self._delivery.roster.positions

    @property
    def patience_s(self) -> float:
        """How long the session waits for an application that takes no events before it holds, in seconds. Pongs and answers stand
        behind those events, so the wait has to end well before the session would count the silence as a fault."""
        return min(self.config.patience_s, self.config.tail_timeout_s / 2, self._keepalive.answer_limit_s / 2)

    def statistics(self) -> ClientStatistics:
        """The sizes and limits of everything the session holds, as a frozen value."""
        config, outbox, inbox, flow = self.config, self._publishing.outbox, self._delivery.inbox, self._flow
        untaken: tuple[Held, ...] = ()
        if flow is not None:
            # Events that were held for a gap are delivered together with the one that fills it.
            most = flow.outcomes_max + config.inbox_held_max
            untaken = (
                Held("outcomes that the application has not taken", flow.waiting, most),
                Held("frames that wait for the application", flow.postponed, _POSTPONED_MAX),
            )
        return ClientStatistics(
            state=self.state,
            epoch=inbox.epoch,
            last=inbox.last,
            failures=self._connectivity.reconnector.failures,
            reconnections=self._record.reconnections,
            publishes_accepted=self._record.accepted,
            publishes_failed=self._record.failed,
            limits=self._publishing.limits,
            held=(
                Held("messages in the outbox", len(outbox), config.outbox_messages_max),
                Held("bytes in the outbox", outbox.size_bytes, config.outbox_bytes_max),
                Held("unanswered publishes", outbox.unanswered, config.unanswered_max),
                Held("held events", inbox.held, config.inbox_held_max),
                Held("remembered pings", self._keepalive.remembered, PINGS_REMEMBERED_MAX),
                Held("timers", len(self._timers), len(Timer)),
                *untaken,
            ),
        )

    def health(self) -> Health:
        """The health at this moment, as a frozen value."""
        status = self._connectivity.status
        error = self._connectivity.last_error
        last_error = None if error is None else error.reason
        return self._record.report(
            status, self.transport, self.queued_messages, is_carried=self.is_carried, last_error=last_error
        )

    # Frames on the WebSocket.

    def _receive_on_websocket(self, frame: frames.Frame, now: int) -> None:
        if type(frame) not in CLIENT_MAY_RECEIVE[self._connectivity.state]:
            raise RemoteError(CloseCode.BAD_FRAME, f"{type(frame).__name__} while {self.state.value}")  # 3.9
        self._keepalive.heard(now)
        if Timer.TAIL in self._timers.deadlines:  # rarely: skip the call
            self._delivery.bytes_came(now)
        match frame:
            case frames.Events():  # first, because most frames are
                if self._delivery.events(frame.events, now):
                    self._connectivity.leave_for_gap(f"event {self.position[1] + 1} is missing", now)
                elif self._delivery.ack_due(now):
                    self._send(self._delivery.take_ack())
            case frames.Welcome():
                self._welcomed(frame, now)
            case frames.SnapshotFrame():
                self._delivery.snapshot(frame, now)
            case frames.Presence():
                self._context.outcomes += self._delivery.roster.presence(frame)
            case frames.Cursors():
                self._context.outcomes += self._delivery.roster.cursors(frame)
            case frames.Accepted() | frames.Rejected():
                self._publishing.receive(frame, now, epoch=self._delivery.stream_epoch)
            case frames.Heartbeat():
                self._delivery.heartbeat(frame.head, now)
            case frames.Pong():
                if self._keepalive.pong(frame.nonce, now) and self.state in (ClientState.PROVING, ClientState.PROBE_PROVING):
                    self._connectivity.proven(now)
            case frames.Expiring():
                self._connectivity.token_expires(frame.in_ms, now)
            case frames.Goaway():
                self._connectivity.sent_away(frame, now)
            case frames.Error():
                pass  # the close that follows carries the same code
            case _:
                raise AssertionError(f"{type(frame).__name__} stands in the table but not here")

    def _welcomed(self, welcome: frames.Welcome, now: int) -> None:
        self._connectivity.welcomed(welcome.session_id, welcome.retry.first_spread_ms / 1000, now)
        self._publishing.server_knows(welcome.last_client_sequence, is_reset=welcome.outcome == "reset")
        self._publishing.keep_limits(welcome.limits)
        self._keepalive.keep_limit(welcome.limits.silence_max_ms)
        self._delivery.welcomed(welcome, now)
        self._send(self._keepalive.ping(now, self.queued_messages))

    # Answers on the polling transport.

    def _receive_answer(self, answer: frames.Frame, now: int) -> None:
        match answer:
            case frames.PollAnswer():
                self._receive_poll(answer, now)
            case frames.PublishAnswer(results=results, epoch=epoch):
                if self._connectivity.polling.publish_answered():
                    for result in results:
                        self._publishing.receive(result, now, epoch=epoch)
            case frames.RequestFailed():
                self._connectivity.request_failed(answer, now)
            case _:
                raise RemoteError(CloseCode.BAD_FRAME, f"{type(answer).__name__} is not an answer to a request")

    def _receive_poll(self, answer: frames.PollAnswer, now: int) -> None:
        polling = self._connectivity.polling
        if not self._connectivity.poll_answered(answer.has_more and not self._delivery.is_holding, now):
            return
        self._connectivity.session_id = answer.session_id or self._connectivity.session_id
        self._publishing.server_knows(answer.last_client_sequence, is_reset=answer.outcome == "reset")
        self._delivery.poll(answer, asked_in=polling.asked_in_epoch, takes_roster=not self.state.has_websocket)

    # Sending.

    def _send(self, frame: frames.Frame) -> None:
        assert self._connectivity.websocket is not None, "this is sent over WebSocket"
        self._context.actions.append(Send((self._connectivity.websocket,), frame))

    def _send_waiting(self, now: int) -> None:
        """Send what waits, on the transport that carries the session now."""
        if self._publishing.is_empty:
            return
        state, polling = self._connectivity.state, self._connectivity.polling
        if state.has_websocket:
            messages, cursor = self._publishing.take(now, as_one_body=False)
            for message in messages:
                self._send(message.as_frame())
            if cursor is not None:
                self._send(frames.Cursor(cursor))
        elif state.is_polling and polling.may_publish(now):
            messages, cursor = self._publishing.take(now, as_one_body=True)
            if messages or cursor is not None:
                polling.publish(messages, cursor, now)

    # Timers.

    def _fire(self, timer: Timer, now: int) -> None:
        match timer:
            case Timer.CONNECT:
                what = "no welcome" if self.state in _AWAITING_WELCOME else "no connection"
                self._connectivity.leave(None, f"connect timeout: {what} within {self.config.connect_timeout_s:g} s", now)
            case Timer.RETRY | Timer.PROBE:
                self._connectivity.due(now)
            case Timer.FALLBACK:
                self._connectivity.overdue(now)
            case Timer.PING:
                if self._keepalive.is_ping_due(now):
                    self._send(self._keepalive.ping(now, self.queued_messages))
            case Timer.PONG:
                if self._keepalive.is_dead(now):
                    self._connectivity.leave(CloseCode.HEARTBEAT_LOST, self._keepalive.verdict, now)
            case Timer.TAIL:
                if self._delivery.is_behind:
                    self._connectivity.leave_for_gap(f"event {self.position[1] + 1} has not come", now)
            case Timer.STEADY:
                self._connectivity.steady()
            case Timer.ACK:
                if self._delivery.may_ack:
                    self._send(self._delivery.take_ack())
            case Timer.RESEND:
                self._publishing.resend()
            case Timer.CURSOR:
                pass  # waiting messages are sent after every timer
            case Timer.EXPIRE:
                self._publishing.expire(now)
            case Timer.POLL:
                self._connectivity.polling.poll(*self.position, self.session_id, self.queued_messages, now)
            case Timer.POLL_LIMIT | Timer.PUBLISH_LIMIT:
                reason = f"request timeout: no answer within {self.config.request_timeout_s:g} s"
                self._connectivity.abandon_polling(reason, now)
            case Timer.PATIENCE:
                self._lose_patience(now)
            case Timer.REFRESH:
                self._connectivity.ask_for_token()
            case Timer.TOKEN:
                self._connectivity.end(CloseCode.TOKEN, "the application supplied no token in time", now)
            case _:
                assert_never(timer)
