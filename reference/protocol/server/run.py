"""One run on a server: its log, sequencer, readers and sessions.

Inputs come from its connections, the store and the clock; outputs are actions for the driver (`take_actions`), events to store
(`events_to_append`) and observations (`take_observations`). An event is shown to nobody, not even to its author, before
`handle_appended` reports that it is durable.

    publish -> Sequencer -> events_to_append ... store ... handle_appended -> EventLog -> FanOut -> every reader
                  |                                             |
                  '-- copies, rejections                        '-- accepted

After each input the driver gives `events_to_append()` to the store (one batch at a time), carries out `take_actions()` in order,
and for every lagging reader, whenever its socket has room, sends `next_batch(reader)` until that returns None.

A run that was idle for a while asks to be dropped (`Retire`); it is loaded again for the next client.
"""

from collections.abc import Sequence

from reference.protocol import frames
from reference.protocol.actions import Close, Deliver, ServerAction
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.events import DEFAULT_REGISTRY, Data, Event, EventRegistry
from reference.protocol.limits import Limit
from reference.protocol.records import Append, Snapshot, StoredRun
from reference.protocol.server.connection import Connection, Identity, session_of, too_many_frames
from reference.protocol.server.context import (
    OF_CONNECTION,
    OF_RUN,
    THE_RUN,
    TOO_LATE,
    Idling,
    RunContext,
    RunTimer,
    TimerKey,
)
from reference.protocol.server.event_log import TRIM_AT, EventLog, FanOut, Readers
from reference.protocol.server.handshake import Handshake
from reference.protocol.server.http_requests import HttpRequests
from reference.protocol.server.observations import Observation
from reference.protocol.server.sequencer import Appending, Sequencer
from reference.protocol.server.sessions import Sessions
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.statistics import Held, RunStatistics
from reference.protocol.timers import ENTRIES_LEFT_MAX, NS_PER_MS, ns

COME_BACK_MS = 1000
"""The wait that a client is asked for when there is no room for it."""
COME_BACK_SPREAD_MS = 5000
_LATE = 100 * NS_PER_MS
"""If a timer is handled later than this, the driver was suspended or overloaded."""
_TO_READ = 1000 * NS_PER_MS
"""The time that a late driver has for reading what arrived meanwhile."""


class Run:
    """See the module. Times are ns since 1970, by the driver's clock, which never goes backwards."""

    def __init__(
        self,
        stored: StoredRun,
        *,
        config: ServerConfig,
        now: int,
        registry: EventRegistry = DEFAULT_REGISTRY,
        limits: frames.Limits | None = None,
    ) -> None:
        """`limits`: as reported in `welcome`, if the driver has more than the config; None: those of the config."""
        self.run_id = stored.run_id
        self.config = config
        self._log = EventLog(stored.epoch, stored.head, stored.snapshot, stored.events, config.events_kept_max)
        self._sequencer = Sequencer(stored, config, registry)
        self._fan_out = FanOut(self._log, config)
        self._context = RunContext(config, limits)
        self._appending = Appending(self._sequencer)
        self._sessions = Sessions(self._context, self._sequencer.user_of, now)
        self._readers = Readers(self._context, self._fan_out, self._sessions.attendance)
        self._idling = Idling(self._context)
        parts = (self._context, self._log, self._sequencer, self._sessions)
        self._requests = HttpRequests(self.run_id, *parts)
        self._connections = ConnectionTable(self._context, self._fan_out, self._requests, self._sequencer, self._sessions)
        self._handshake = Handshake(*parts, self._fan_out, self._connections.close_superseded)
        self._heartbeat_ns, self._silence_ns = ns(config.heartbeat_interval_s), ns(config.silence_max_s)
        self._context.timers.set((RunTimer.HEARTBEAT, THE_RUN), now + self._heartbeat_ns)
        self._idling.watch(self.is_idle, now)

    # Inputs from connections.

    def connection_opened(
        self, connection_id: int, transport: Transport, identity: Identity | None, new_session_id: str, now: int
    ) -> None:
        """A WebSocket is open, or an HTTP request has arrived. An HTTP request is authenticated before."""
        connection = self._handshake.opened(connection_id, transport, identity, new_session_id, now)
        self._connections[connection_id] = connection
        self._idling.watch(False, now)
        if len(self._connections) > self.config.connections_per_run_max:  # 8.27
            reason = f"connection limit reached: this run already has {self.config.connections_per_run_max} connections"
            wait_ms = COME_BACK_MS
            if transport is Transport.WEBSOCKET:  # 8.44
                away = frames.Goaway(code=CloseCode.OVERLOADED, retry_after_ms=wait_ms, spread_ms=COME_BACK_SPREAD_MS)
                self._context.send((connection_id,), away)
            limit = Limit.RUN_CONNECTIONS
            self._connections.close(connection, CloseCode.OVERLOADED, reason, now, retry_after_ms=wait_ms, limit=limit)

    def connection_lost(self, connection_id: int, now: int, peer_code: int | None = None) -> None:
        """The peer is gone, with its close code if it sent one, or the driver had to cut the connection."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            self._connections.forget(connection, None, now, peer_code)
            self.handle_timeout(now)

    def receive_frame(self, connection_id: int, frame: frames.Frame, now: int) -> None:
        """A complete frame has arrived; see `receive_frames`."""
        self.receive_frames(connection_id, (frame,), now)

    def receive_frames(
        self, connection_id: int, messages: Sequence[frames.Frame | RemoteError], now: int, others: int = 0
    ) -> None:
        """All messages of one read, in order; a message that is not a frame is given as the error.

        A message that breaks the protocol ends its own connection and no other; messages after it are ignored. `others`: frames
        of the transport that are not messages; they count against the limit too (8.41).
        """
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        try:
            frames_taken = connection.take_frames(others + len(messages), now)
            for message in messages[: max(0, frames_taken - others)]:
                if isinstance(message, RemoteError):
                    raise message
                connection.check(message)
                self._receive(connection, message, now)
                if connection.state is ConnectionState.CLOSED:
                    break
            else:
                if frames_taken < others + len(messages):
                    raise too_many_frames()
        except RemoteError as error:
            self._connections.close(connection, error.code, error.message, now, limit=error.limit)
        if connection.state is ConnectionState.LIVE:
            self._context.timers.set((RunTimer.SILENCE, connection_id), now + self._silence_ns)  # 8.21
        self._connections.close_superseded(now)
        self._send_replies(now)
        self.handle_timeout(now)

    def handle_authenticated(self, connection_id: int, identity: Identity | RemoteError, now: int) -> None:
        """The answer to `Authenticate`: the user of the token, or why it is refused."""
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        try:
            if isinstance(identity, RemoteError):
                raise identity
            self._handshake.authenticated(connection, identity, now)
        except RemoteError as error:
            self._connections.close(connection, error.code, error.message, now, limit=error.limit)
        self.handle_timeout(now)

    # Reports about readers' sockets.

    def next_batch(self, connection_id: int, now: int) -> Deliver | None:
        """The next batch for a lagging reader. None: it is current now; call again when `is_lagging`."""
        return self._readers.next_batch(connection_id, now)

    def handle_refused(self, connection_id: int, batch: Deliver, now: int) -> None:
        """A reader's socket took nothing of a batch."""
        self._readers.refused(connection_id, batch, now)

    def handle_blocked(self, connection_id: int, batch: Deliver | None, now: int) -> None:
        """A reader's socket took a batch (None: everything sent to it) and is now full."""
        self._readers.blocked(connection_id, batch, now)

    def bytes_taken(self, connection_id: int, now: int) -> None:
        """A reader's socket has sent some bytes: the reader is slow, but not stalled."""
        self._readers.bytes_taken(connection_id, now)

    def too_slow(self, connection_id: int, now: int) -> None:
        """The data waiting for this connection exceed the driver's limit."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            reason = "slow reader: too many frames wait for this connection"
            self._connections.close(connection, CloseCode.TOO_SLOW, reason, now, limit=Limit.SLOW_READER)
            self.handle_timeout(now)

    @property
    def lagging(self) -> int:
        """Readers that were not sent everything."""
        return self._fan_out.behind

    @property
    def lag_max(self) -> int:
        """The number of durable events that the most lagging reader was not sent."""
        return self._fan_out.lag_max

    def is_lagging(self, connection_id: int) -> bool:
        return self._fan_out.is_lagging(connection_id)

    # Inputs from the store.

    @property
    def has_append(self) -> bool:
        """Whether there is something to store, and the store has no batch of this run."""
        return self._appending.has_next

    def events_to_append(self) -> Append | None:
        """The events to store now: one batch at a time, until `handle_appended` or `handle_append_failed`. None: nothing new, or
        the store has not finished the last batch, or more is being collected."""
        return self._appending.take()

    def handle_appended(self, append: Append, now: int) -> None:
        """The batch is durable: show it."""
        self._log.append(append.entries, append.snapshot)
        self._appending.landed(append)
        self._send_replies(now)  # 8.10: acceptances, then events, then polls
        self._context.actions += self._fan_out.grow()
        self._context.timers.set((RunTimer.HEARTBEAT, THE_RUN), now + self._heartbeat_ns)
        for connection_id in self._fan_out.fallen_out():
            reason = "the next event for this reader is no longer kept; resume to get a snapshot"
            self._connections.close(self._connections[connection_id], CloseCode.TOO_SLOW, reason, now, limit=Limit.OFFLINE_WINDOW)
        for connection, answer in self._requests.take_waiting(now):
            self._answer(connection, answer, now)
        self.handle_timeout(now)

    def handle_append_failed(self, now: int, message: str) -> None:
        """The content of the store is unknown. Every client must leave; the driver drops this run and loads it again."""
        for connection in tuple(self._connections.values()):
            self._connections.close(connection, CloseCode.OVERLOADED, f"the store failed: {message}", now)

    # Inputs from the operator.

    def go_away(
        self,
        now: int,
        *,
        retry_after_ms: int,
        spread_ms: int,
        of: Sequence[int] | None = None,
        code: CloseCode = CloseCode.GOING_AWAY,
    ) -> None:
        """Ask every client, or those on these connections, to reconnect later (8.40, 8.44)."""
        leaving = [c for c in map(self._connections.get, self._connections if of is None else of) if c is not None]
        informed = tuple(c.connection_id for c in leaving if c.transport is Transport.WEBSOCKET)
        self._context.send(informed, frames.Goaway(code=code, retry_after_ms=retry_after_ms, spread_ms=spread_ms))
        for each in leaving:
            self._connections.close(each, code, "reconnect later", now, retry_after_ms=retry_after_ms)

    def dismiss(self, connection_ids: Sequence[int], code: CloseCode, reason: str, now: int) -> None:
        """End these connections with a code and a reason. The code says whether their clients may reconnect."""
        for number in connection_ids:
            connection = self._connections.get(number)
            if connection is not None:
                self._connections.close(connection, code, reason, now)
        self.handle_timeout(now)

    # Time.

    def next_deadline(self) -> int | None:
        return self._context.timers.next_deadline()

    def handle_timeout(self, now: int) -> None:
        """Fire every timer that has expired by `now`."""
        while (key := self._context.timers.pop_expired(now)) is not None:
            self._fire(key, now)
        self._idling.watch(self.is_idle, now)

    # Outputs.

    def take_actions(self) -> list[ServerAction]:
        return self._context.take_actions()

    def take_observations(self) -> list[Observation]:
        return self._context.take_observations()

    # Inspection.

    @property
    def epoch(self) -> str:
        return self._log.epoch

    @property
    def head(self) -> int:
        """The newest durable sequence number."""
        return self._log.head

    @property
    def oldest(self) -> int:
        return self._log.oldest

    @property
    def snapshot(self) -> Snapshot:
        return self._log.snapshot

    @property
    def active_users(self) -> tuple[str, ...]:
        return self._sessions.attendance.users

    @property
    def cursors(self) -> dict[str, Data]:
        return self._sessions.attendance.cursors

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def is_idle(self) -> bool:
        """Nobody is connected, and the store has no batch of this run: it may be dropped from memory."""
        return not self._connections and not len(self._sessions) and not self._sequencer.events_pending

    @property
    def idle_since(self) -> int | None:
        """When the run became idle, in ns; None while it is in use."""
        return self._idling.since

    def touch(self, now: int) -> None:
        """Somebody is about to use this run: restart its idle time."""
        self._idling.watch(False, now)
        self._idling.watch(self.is_idle, now)

    @property
    def events_in_flight(self) -> int:
        """Events of the batch that is being stored."""
        return self._appending.events_in_flight

    @property
    def events_pending(self) -> int:
        """Events that are sequenced and not yet durable."""
        return self._sequencer.events_pending

    def lag_of(self, connection_id: int) -> int:
        """The number of durable events that a reader was not sent."""
        return self._fan_out.lag_of(connection_id)

    def read(self, after: int, events_max: int) -> tuple[Event, ...]:
        """Events of the retained window, for a replay over HTTP; starts at the oldest if `after` is below it."""
        return self._log.read(self._log.nearest(after), events_max, self.config.batch_bytes_max)

    def last_client_sequence(self, client_id: str) -> int:
        """The newest number of that client that was taken; 0 if none."""
        return self._sequencer.last_of(client_id)

    def statistics(self) -> RunStatistics:
        """The sizes and limits of everything the run holds, as a frozen value."""
        config, log, timers, fan_out = self.config, self._log, self._context.timers, self._fan_out
        connections = len(self._connections)
        present, orphans = self._sessions.count(self._connections)
        timers_max = OF_RUN + len(OF_CONNECTION) * connections + present
        in_memory_max = config.events_kept_max + config.snapshot_interval_events + TRIM_AT + config.appends_pending_max
        return RunStatistics(
            epoch=log.epoch,
            head=log.head,
            oldest=log.oldest,
            snapshot_at=log.snapshot.sequence_number,
            connections=connections,
            sessions=present,
            current=len(fan_out) - fan_out.behind,
            lagging=fan_out.behind,
            publishers=self._sequencer.publishers,
            held=(
                Held("connections", connections, config.connections_per_run_max),
                Held("readers", len(fan_out), connections),
                Held("polls that wait", self._requests.waiting, connections),
                Held("sessions", present, config.sessions_per_run_max),
                Held("sessions that point to a connection which is gone", orphans, 0),
                Held("events under way to the store", self._appending.events_in_flight, config.appends_pending_max),
                Held("events in memory", log.in_memory, in_memory_max),
                Held("timers", len(timers), timers_max),
                Held("entries of timers", timers.entries, 2 * timers_max + ENTRIES_LEFT_MAX),
                *self._sequencer.held(),
            ),
        )

    # Frames.

    def _receive(self, connection: Connection, frame: frames.Frame, now: int) -> None:
        match frame:
            case frames.Publish():  # the most frequent ones first
                session = session_of(connection)
                self._sequencer.publish(session.client_id, session.user_id, frame, connection.connection_id, now)
            case frames.Ack(sequence_number=number):
                if number > self._log.head:  # 4.5
                    raise RemoteError(CloseCode.BAD_FRAME, f"ack of {number}; the head is {self._log.head}")
            case frames.Ping(nonce=nonce):
                self._context.send((connection.connection_id,), frames.Pong(nonce=nonce, server_time=now // NS_PER_MS))
                self._context.pinged(session_of(connection), frame)
            case frames.Cursor(data=data):
                self._sessions.move_cursor(session_of(connection).user_id, data, now)
            case frames.Hello():
                self._handshake.hello(connection, frame, now)
            case frames.Auth(token=token):
                self._handshake.authenticate(connection, token)
            case frames.Bye():
                self._connections.close(connection, 1000, "bye", now)  # 8.31
                if connection.session is not None:
                    self._sessions.leave(connection.session.client_id, now)
            case frames.PollRequest():
                self._answer(connection, self._requests.poll(connection, frame, now), now)
            case frames.PublishRequest():
                self._answer(connection, self._requests.publish(connection, frame, now), now)
            case _:
                raise AssertionError(f"{type(frame).__name__} stands in the table but not here")

    def _answer(self, connection: Connection, answer: frames.AnswerFrame | None, now: int) -> None:
        """Answer a request and end it; None: it has to wait."""
        if answer is not None:
            self._context.send((connection.connection_id,), answer)
            self._connections.forget(connection, None, now)

    # Timers.

    def _fire(self, key: TimerKey, now: int) -> None:
        timer, owner = key
        if timer is RunTimer.GRACE:
            self._sessions.leave(str(owner), now)
            return
        connection = self._connections.get(owner) if isinstance(owner, int) else None
        match timer:
            case RunTimer.HEARTBEAT:
                self._context.send(self._fan_out.current, frames.Heartbeat(self._log.head))  # 8.19, 8.20
                self._context.timers.set((RunTimer.HEARTBEAT, THE_RUN), now + self._heartbeat_ns)
            case RunTimer.PRESENCE:
                self._sessions.send_presence(self._fan_out.current, now)
            case RunTimer.CURSORS:
                self._sessions.send_cursors(self._fan_out.current, now)
            case RunTimer.IDLE:
                self._idling.is_over()
            case _:
                assert connection is not None, "a connection takes its timers with it"
                self._fire_of_connection(timer, connection, now)

    def _fire_of_connection(self, timer: RunTimer, connection: Connection, now: int) -> None:
        match timer:
            case RunTimer.EXPIRING:
                self._handshake.warn(connection, now)
            case RunTimer.LONG_POLL:
                self._answer(connection, self._requests.take_expired(connection.connection_id, now), now)
            case _:
                self._connections.too_late(timer, connection, now)

    # Helpers.

    def _send_replies(self, now: int) -> None:
        replies = self._sequencer.take_replies()
        if not replies:
            return
        accepted: dict[str, int] = {}
        for reply in replies:
            connection = self._connections.get(reply.connection_id)
            if connection is None:
                continue
            answer = reply.answer
            if type(answer) is frames.Accepted and not answer.duplicate:  # the usual case
                accepted[connection.client_id] = accepted.get(connection.client_id, 0) + 1
            else:
                self._context.answered(connection.client_id, answer)
            if connection.transport is Transport.WEBSOCKET:
                self._context.send((reply.connection_id,), answer)
                continue
            self._answer(connection, self._requests.settled(connection, answer), now)
        self._context.accepted(accepted)


class ConnectionTable(dict[int, Connection]):
    """Connections by number, in the order in which they were opened, and the steps that end each.

    Whether we close a connection or the peer is gone, the same is removed: its cursor in the log, its requests, its timers, and
    its ownership of the session. The session itself stays for the grace period.
    """

    def __init__(
        self, context: RunContext, fan_out: FanOut, requests: HttpRequests, sequencer: Sequencer, sessions: Sessions
    ) -> None:
        super().__init__()
        self._context = context
        self._fan_out = fan_out
        self._requests = requests
        self._sequencer = sequencer
        self._sessions = sessions

    def close(
        self,
        connection: Connection,
        code: int,
        message: str,
        now: int,
        *,
        retry_after_ms: int | None = None,
        limit: Limit | None = None,
    ) -> None:
        """End the connection, with a reason."""
        target = (connection.connection_id,)
        self._context.limit_reached(limit)
        if connection.transport is Transport.WEBSOCKET and code >= 4000:
            self._context.send(target, frames.Error(code=code, message=message))
        self._context.actions.append(Close(target, code, message, retry_after_ms))
        self.forget(connection, code, now)

    def close_superseded(self, now: int) -> None:
        """Close the connections whose session a newer connection has taken over."""
        for connection_id in self._sessions.take_superseded():
            self.close(self[connection_id], CloseCode.SUPERSEDED, "a newer connection took the session over", now)

    def too_late(self, timer: RunTimer, connection: Connection, now: int) -> None:
        """A timer that ends this connection has expired: nothing arrived in time.

        A process that handles the timer much too late (it was suspended or overloaded) has not read either: frames that arrived
        meanwhile are still unread. So it sets a timer of silence once more, for a short time (8.21).
        """
        timers = self._context.timers
        if timer is RunTimer.SILENCE and now - timers.expired_at > _LATE:
            timers.set((timer, connection.connection_id), now + _TO_READ)
            return
        code, reason, setting, limit = TOO_LATE[timer]
        self.close(connection, code, reason.format(getattr(self._context.config, setting)), now, limit=limit)

    def forget(self, connection: Connection, code: int | None, now: int, peer_code: int | None = None) -> None:
        """The connection is over, with our code, or the peer's, or without a code."""
        connection.state = ConnectionState.CLOSED
        connection_id = connection.connection_id
        if self.pop(connection_id, None) is None:
            return
        self._fan_out.remove(connection_id)
        self._requests.forget(connection_id)
        self._sequencer.forget_connection(connection_id, connection.client_id)
        for timer in OF_CONNECTION:
            self._context.timers.cancel((timer, connection_id))
        session = connection.session
        if connection.transport is Transport.WEBSOCKET:
            self._context.ended(connection_id, session, code, peer_code)
            if session is not None and session.connection_id == connection_id:
                self._sessions.disconnected(session, now)
