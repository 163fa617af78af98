"""The client's session: one client in one run, across connections and transports.

It is told what the application, the network and the clock do, and says what its driver should do (`take_actions`) and what the
application should know (`take_outcomes`). Its parts:

    application -> Sending (outbox) -> Links: WebSocket or polling lane -> server
    server -> Links: WebSocket or polling lane -> Receiving (inbox) -> application

Both transports feed the same outbox and the same inbox, so a change of transport is a change of road and nothing else. Of all
connections that it ever opened, the session listens to at most one WebSocket and one polling lane; whatever arrives on another
is too late and is ignored.
"""

from typing import assert_never

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Send
from reference.protocol.client.connectivity import Connectivity
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.delivery import EventDelivery
from reference.protocol.client.health import Health, HealthRecord
from reference.protocol.client.keepalive import PINGS_REMEMBERED_MAX, Keepalive
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.publishing import Publishing
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, LocalError, RemoteError, SessionClosed
from reference.protocol.events import DEFAULT_REGISTRY, Data, EventRegistry
from reference.protocol.policies.fallback import FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import RandomSource, ReconnectPolicy
from reference.protocol.states import CLIENT_MAY_RECEIVE, ClientState, Transport
from reference.protocol.statistics import ClientStatistics, Held


class ClientSession:
    """See the module. All times are ns on a clock of the driver's that never goes backwards.

    `policy` says when to connect again, `fallback` when polling takes over, `heartbeat` when to ping; None for the last two: as
    the config's fields say.
    """

    __slots__ = ("_context", "_delivery", "_keepalive", "_links", "_publishing", "_record", "_timers", "client_id", "config")

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
    ) -> None:
        self.client_id = client_id
        self.config = config
        self._record = HealthRecord(config.round_trip_samples_max)
        self._context = ClientContext(config)
        self._timers = self._context.timers
        self._publishing = Publishing(self._context, registry, self._record)
        self._delivery = EventDelivery(self._context)
        self._keepalive = Keepalive(self._context, self._record, heartbeat or config.heartbeat_policy)
        parts = (self._context, self._publishing, self._delivery, self._keepalive)
        self._links = Connectivity(client_id, *parts, policy, fallback or config.fallback_policy, random_source, token)

    # The application speaks.

    def start(self, now: int) -> None:
        """Begin to connect."""
        self._links.start(now)

    def publish(self, event_type: str, data: Data, now: int) -> int:
        """Queue one event and return its ticket; PublishAccepted or PublishFailed will name it.

        Raises InvalidEvent, OutboxFull or SessionClosed; then nothing was queued.
        """
        self._check_open()
        ticket = self._publishing.publish(event_type, data, now)
        self._send_waiting(now)
        return ticket

    def move_cursor(self, data: Data, now: int) -> None:
        """Show this user's cursor to the others. Only the latest is kept; without a connection it waits for one.

        Raises InvalidEvent or SessionClosed.
        """
        self._check_open()
        self._publishing.move_cursor(data)
        self._send_waiting(now)

    def hold_events(self, now: int) -> None:
        """The application does not read: take no more sequenced events until `release_events`.

        The position stays where it is, so nothing is lost and nothing is kept; everything else goes on, answers to publishes
        among it, so an application that publishes while it reads cannot lock itself out.
        """
        self._delivery.hold()

    def release_events(self, now: int) -> None:
        """The application reads again: go on from the position, by a resume if something was passed over."""
        if not self._delivery.release(now):
            return
        if self.state.has_websocket:
            reason = "events were passed over while the application did not read"
            self._links.leave(CloseCode.GOING_AWAY, reason, now, is_failure=False)
        elif self.state.is_polling:
            self._links.lane.poll_soon(now)
        self._send_waiting(now)
        self.handle_timeout(now)

    def close(self, now: int) -> None:
        """Leave. Whatever is still unanswered fails visibly; presence leaves at once if the server can be told."""
        if self.state is ClientState.CLOSED:
            return
        if self.state.has_websocket:
            self._send(frames.Bye())
        self._links.end(None, "closed by the application")

    def handle_token(self, token: str, now: int) -> None:
        """The application has a new token."""
        self._links.token = token
        if self.state is ClientState.REFRESHING:
            self._links.token_given(now)
            self.handle_timeout(now)
        elif self.state.has_websocket:
            self._send(frames.Auth(token))
        elif self.state.is_polling:
            self._links.restart_polling(now)

    def _check_open(self) -> None:
        if self.state is ClientState.CLOSED:
            raise SessionClosed("the session has ended; open a new one")
        if self.state is ClientState.NEW:
            raise LocalError("start the session first")

    # The network speaks.

    def connection_opened(self, connection_id: int, now: int) -> None:
        """The WebSocket is open, its handshake done."""
        if connection_id != self._links.websocket:
            return
        self._links.opened(now)
        self._delivery.greeted()
        self._send(self._links.hello(*self.position))

    def connection_lost(
        self, connection_id: int, code: int | None, now: int, *, message: str = "", retry_after_ms: int | None = None
    ) -> None:
        """The WebSocket could not be opened, or has ended; `code` is the peer's close code, None if there was none."""
        if connection_id != self._links.websocket:
            return
        if retry_after_ms is not None:
            self._links.asked_to_wait(now, retry_after_ms, None)
        self._links.lost(code, message or "the connection was lost", now)
        self._send_waiting(now)
        self.handle_timeout(now)

    def bytes_received(self, connection_id: int, now: int, *, request: frames.RequestKind | None = None) -> None:
        """Some bytes came, perhaps a part of a large frame: any byte counts as life. On the polling lane: of whose answer."""
        if connection_id == self._links.websocket:
            self._keepalive.heard(now)
            self._delivery.bytes_came(now)
        elif connection_id == self._links.lane.connection_id and request is not None:
            self._links.lane.bytes_came(request, now)

    def receive_frame(self, connection_id: int, frame: frames.Frame, now: int) -> None:
        """A frame has arrived whole. A frame that breaks the protocol ends its connection."""
        try:
            if connection_id == self._links.websocket:
                self._receive_on_websocket(frame, now)
            elif connection_id == self._links.lane.connection_id:
                self._receive_answer(frame, now)
            # Most frames leave nothing to send and come before any timer: then there is no need to call.
            if not self._publishing.is_empty:
                self._send_waiting(now)
            if (first := self._timers.first) is None or first <= now:
                self.handle_timeout(now)
        except RemoteError as error:
            self.receive_malformed(connection_id, error, now)

    def receive_malformed(self, connection_id: int, error: RemoteError, now: int) -> None:
        """Something arrived that the protocol does not allow. Its connection is left; the session goes on elsewhere."""
        if connection_id == self._links.websocket:
            self._links.leave(error.code, error.message, now)
        elif connection_id == self._links.lane.connection_id:
            self._links.polling_timed_out(now)
        self._send_waiting(now)
        self.handle_timeout(now)

    # Time passes.

    def next_deadline(self) -> int | None:
        """When `handle_timeout` is to be called, in ns, or None."""
        return self._timers.next_deadline()

    def handle_timeout(self, now: int) -> None:
        """Fire every timer that has expired by `now`."""
        while (timer := self._timers.pop_expired(now)) is not None:
            self._fire(timer, now)
            self._send_waiting(now)

    # Output, drained.

    def take_actions(self) -> list[ClientAction]:
        """What the driver has to do, in order."""
        actions, self._context.actions = self._context.actions, []
        return actions

    def take_outcomes(self) -> list[Outcome]:
        """What the application has to know, in order."""
        outcomes, self._context.outcomes = self._context.outcomes, []
        return outcomes

    # What can be looked at.

    @property
    def state(self) -> ClientState:
        return self._links.state

    @property
    def session_id(self) -> str | None:
        """The server's name for this session; None before it has been welcomed."""
        return self._links.session_id

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and number of the last event handed over."""
        return self._delivery.inbox.epoch, self._delivery.inbox.last

    @property
    def transport(self) -> Transport | None:
        """What carries the session now. While a welcomed probe proves itself, both do; this names the newer."""
        return self._links.transport

    @property
    def last_loss(self) -> str | None:
        """Why the last connection or request was lost, in words for people; None before the first loss."""
        return self._links.last_loss

    @property
    def next_attempt_at(self) -> int | None:
        """When the next WebSocket is opened, in ns; None while there is one, and when there will be none."""
        return self._links.next_attempt_at

    @property
    def round_trips_ms(self) -> tuple[float, ...]:
        """The last round trips, in ms, the oldest first; at most `round_trip_samples_max`."""
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
        """How long a driver may wait for an application that takes no events, before it must `hold_events`: pongs and answers
        stand behind those events, so it has to end well before the session would take silence for a fault."""
        return min(self.config.patience_s, self.config.tail_timeout_s / 2, self._keepalive.answer_limit_s / 2)

    def statistics(self) -> ClientStatistics:
        """A frozen account of what the session holds."""
        return _statistics_of(self._context, self._publishing, self._delivery, self._keepalive, self._links, self._record)

    def health(self) -> Health:
        """A frozen snapshot."""
        return self._record.report(self._links.status(self._record.reconnections), self.transport, self.queued_messages)

    # Frames on the WebSocket.

    def _receive_on_websocket(self, frame: frames.Frame, now: int) -> None:
        if type(frame) not in CLIENT_MAY_RECEIVE[self._links.state]:
            raise RemoteError(CloseCode.BAD_FRAME, f"{type(frame).__name__} while {self.state.value}")
        self._keepalive.heard(now)
        self._delivery.bytes_came(now)
        match frame:
            case frames.Events():  # first, because most frames are
                if self._delivery.events(frame.events, now):
                    self._links.leave_for_gap(f"event {self.position[1] + 1} is missing", now)
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
                    self._links.proven(now)
            case frames.Expiring():
                self._links.token_expires()
            case frames.Goaway():
                self._links.sent_away(frame, now)
            case frames.Error():
                pass  # the close that follows carries the same code
            case _:
                raise AssertionError(f"{type(frame).__name__} stands in the table but not here")

    def _welcomed(self, welcome: frames.Welcome, now: int) -> None:
        # A probe that is welcomed is no reconnection, since polling was connected; unless no poll has been answered yet.
        if self.state is ClientState.GREETING or not self._links.lane.has_arrived:
            self._count_connection(now)
        self._links.welcomed(welcome.session_id, welcome.retry.first_spread_ms / 1000)
        self._publishing.server_knows(welcome.last_client_sequence, is_reset=welcome.outcome == "reset")
        self._publishing.keep_limits(welcome.limits)
        self._keepalive.keep_limit(welcome.limits.silence_max_ms)
        self._delivery.welcomed(welcome, now)
        self._send(self._keepalive.ping(now, self.queued_messages))

    def _count_connection(self, now: int) -> None:
        self._context.client_report.recovered(now)
        self._record.connected()

    # Answers on the polling lane.

    def _receive_answer(self, answer: frames.Frame, now: int) -> None:
        match answer:
            case frames.PollAnswer():
                self._receive_poll(answer, now)
            case frames.PublishAnswer(results=results, epoch=epoch):
                if self._links.lane.publish_answered():
                    for result in results:
                        self._publishing.receive(result, now, epoch=epoch)
            case frames.RequestFailed():
                self._links.request_failed(answer, now)
            case _:
                raise RemoteError(CloseCode.BAD_FRAME, f"{type(answer).__name__} is no answer to a request")

    def _receive_poll(self, answer: frames.PollAnswer, now: int) -> None:
        lane = self._links.lane
        if not lane.poll_answered(answer.has_more and not self._delivery.is_holding, now):
            return
        if not lane.has_arrived:
            lane.has_arrived = True
            if not self.state.has_websocket:  # else the probe was counted when it was welcomed
                self._count_connection(now)
        self._links.session_id = answer.session_id or self._links.session_id
        self._publishing.server_knows(answer.last_client_sequence, is_reset=answer.outcome == "reset")
        self._delivery.poll(answer, asked_in=lane.asked_in_epoch, takes_roster=not self.state.has_websocket)

    # Sending.

    def _send(self, frame: frames.Frame) -> None:
        assert self._links.websocket is not None, "this is sent over WebSocket"
        self._context.actions.append(Send((self._links.websocket,), frame))

    def _send_waiting(self, now: int) -> None:
        """Send what waits, on whatever carries the session now."""
        if self._publishing.is_empty:
            return
        state, lane = self._links.state, self._links.lane
        if state.has_websocket:
            messages, cursor = self._publishing.take(now, as_one_body=False)
            for message in messages:
                self._send(message.as_frame())
            if cursor is not None:
                self._send(frames.Cursor(cursor))
        elif state.is_polling and lane.may_publish(now):
            messages, cursor = self._publishing.take(now, as_one_body=True)
            if messages or cursor is not None:
                lane.publish(messages, cursor, now)

    # Timers.

    def _fire(self, timer: Timer, now: int) -> None:
        match timer:
            case Timer.CONNECT:
                self._links.leave(None, "no connection, or no welcome on it, in time", now)
            case Timer.RETRY | Timer.PROBE:
                self._links.due(now)
            case Timer.FALLBACK:
                self._links.overdue(now)
            case Timer.PING:
                if self._keepalive.is_ping_due(now):
                    self._send(self._keepalive.ping(now, self.queued_messages))
            case Timer.PONG:
                if self._keepalive.is_dead(now):
                    self._links.leave(CloseCode.HEARTBEAT_LOST, self._keepalive.verdict, now)
            case Timer.TAIL:
                if self._delivery.is_behind:
                    self._links.leave_for_gap(f"event {self.position[1] + 1} has not come", now)
            case Timer.STEADY:
                self._links.steady()
            case Timer.ACK:
                if self._delivery.may_ack:
                    self._send(self._delivery.take_ack())
            case Timer.RESEND:
                self._publishing.resend()
            case Timer.CURSOR:
                pass  # what waits is sent after every timer
            case Timer.EXPIRE:
                self._publishing.expire(now)
            case Timer.POLL:
                self._links.lane.poll(*self.position, self.session_id, self.queued_messages, now)
            case Timer.POLL_LIMIT | Timer.PUBLISH_LIMIT:
                self._links.polling_timed_out(now)
            case Timer.TOKEN:
                self._links.end(CloseCode.TOKEN, "the application supplied no token in time")
            case _:
                assert_never(timer)


def _statistics_of(
    context: ClientContext,
    publishing: Publishing,
    delivery: EventDelivery,
    keepalive: Keepalive,
    links: Connectivity,
    record: HealthRecord,
) -> ClientStatistics:
    config, outbox, inbox = context.config, publishing.outbox, delivery.inbox
    return ClientStatistics(
        state=links.state,
        epoch=inbox.epoch,
        last=inbox.last,
        failures=links.reconnector.failures,
        reconnections=record.reconnections,
        publishes_accepted=record.accepted,
        publishes_failed=record.failed,
        limits=publishing.limits,
        held=(
            Held("messages in the outbox", len(outbox), config.outbox_messages_max),
            Held("bytes in the outbox", outbox.size_bytes, config.outbox_bytes_max),
            Held("unanswered publishes", outbox.unanswered, config.unanswered_max),
            Held("held events", inbox.held, config.inbox_held_max),
            Held("remembered pings", keepalive.remembered, PINGS_REMEMBERED_MAX),
            Held("timers", len(context.timers), len(Timer)),
        ),
    )
