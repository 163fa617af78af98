"""HTTP access to a run: polls and publish requests.

A request is a connection with one frame and one answer. A poll is the same read after a cursor as live delivery, one answer at a
time, and may wait until there is something to read. A publish request is answered when each of its messages is. With a client id
a poll also keeps that client's session, unless a WebSocket of a higher generation owns it: then the poll only gets its answer.
"""

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.server.connection import Connection, Identity
from reference.protocol.server.context import RunContext, RunTimer
from reference.protocol.server.event_log import EventLog
from reference.protocol.server.observations import FellBack
from reference.protocol.server.sequencer import Answer, Sequencer
from reference.protocol.server.sessions import Sessions
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.timers import NS_PER_MS, ns

SAME_NUMBER = "two messages of one request have the same clientSequence"


class HttpRequests:
    """The HTTP requests of one run. Each method returns the answer, or None if it has to wait."""

    def __init__(self, run_id: str, context: RunContext, log: EventLog, sequencer: Sequencer, sessions: Sessions) -> None:
        self._run_id = run_id
        self._context = context
        self._log = log
        self._sequencer = sequencer
        self._sessions = sessions
        self._waiting: dict[int, tuple[Connection, frames.PollRequest]] = {}

    @property
    def waiting(self) -> int:
        """Polls that wait for something to read."""
        return len(self._waiting)

    def poll(self, connection: Connection, poll: frames.PollRequest, now: int) -> frames.PollAnswer | None:
        """Raises RemoteError."""
        identity = self._begin(connection)
        if poll.client_id is not None:  # else it changes nothing (5.4)
            self._keep_session(connection, poll, poll.client_id, identity.user_id, now)
            session = self._sessions.session_of(poll.client_id)  # a probe of the same client may own it by now
            assert session is not None, "a poll without a session creates one"
            self._context.reported(session, poll.report)
        place = self._log.place(poll.epoch, poll.after_sequence, poll.start)
        if poll.wait_ms and place.outcome == "resumed" and place.after == self._log.head:  # 8.25
            self._waiting[connection.connection_id] = (connection, poll)
            self._context.timers.set((RunTimer.LONG_POLL, connection.connection_id), now + poll.wait_ms * NS_PER_MS)
            return None
        return self._poll_answer(connection, poll, now)

    def publish(self, connection: Connection, request: frames.PublishRequest, now: int) -> frames.PublishAnswer | None:
        """Raises RemoteError."""
        user_id = self._begin(connection).user_id
        connection.client_id = request.client_id
        self._sessions.check_owner(request.client_id, user_id)
        connection.expected = tuple(message.client_sequence for message in request.messages)
        if len(set(connection.expected)) < len(connection.expected):  # 8.24
            raise RemoteError(CloseCode.BAD_FRAME, SAME_NUMBER)
        session = self._sessions.session_of(request.client_id)
        if session is not None and request.generation < session.generation:
            raise RemoteError(CloseCode.SUPERSEDED, "a newer connection owns this session")
        if request.cursor is not None:
            self._sessions.move_cursor(user_id, request.cursor, now)
        if session is not None and request.generation > session.generation:
            self._claim(connection, request.client_id, user_id, None, request.generation, 0, None, now)
        for message in request.messages:
            self._sequencer.publish(request.client_id, user_id, message, connection.connection_id, now)
        return None if request.messages else frames.PublishAnswer((), self._log.epoch)

    def settled(self, connection: Connection, answer: Answer) -> frames.PublishAnswer | None:
        """One message of a publish request was answered."""
        connection.results[answer.client_sequence] = answer
        if len(connection.results) < len(connection.expected):
            return None
        return frames.PublishAnswer(tuple(connection.results[number] for number in connection.expected), self._log.epoch)

    def take_waiting(self, now: int) -> list[tuple[Connection, frames.PollAnswer]]:
        """There is something to read: all waiting polls, with their answers."""
        waiting, self._waiting = self._waiting, {}
        return [(connection, self._poll_answer(connection, poll, now)) for connection, poll in waiting.values()]

    def take_expired(self, connection_id: int, now: int) -> frames.PollAnswer:
        """A poll has waited as long as it may."""
        return self._poll_answer(*self._waiting.pop(connection_id), now)

    def forget(self, connection_id: int) -> None:
        self._waiting.pop(connection_id, None)

    def _begin(self, connection: Connection) -> Identity:
        connection.state = ConnectionState.ANSWERING
        self._context.timers.cancel((RunTimer.HELLO, connection.connection_id))
        assert connection.identity is not None, "the driver authenticates a request before it comes here"
        return connection.identity

    def _keep_session(self, connection: Connection, poll: frames.PollRequest, client_id: str, user_id: str, now: int) -> None:
        self._sessions.check_owner(client_id, user_id)
        session = self._sessions.session_of(client_id)
        was_polling = session is not None and session.transport is Transport.POLLING
        if session is not None and poll.generation < session.generation + (not was_polling):  # 8.23
            return
        self._claim(connection, client_id, user_id, poll.session_id, poll.generation, poll.wait_ms, poll.fallback, now)

    def _claim(
        self,
        connection: Connection,
        client_id: str,
        user_id: str,
        session_id: str | None,
        generation: int,
        wait_ms: int,
        reason: frames.FallbackReason | None,
        now: int,
    ) -> None:
        known = self._sessions.session_of(client_id)
        falls_back = known is None or known.transport is Transport.WEBSOCKET
        session = connection.session = self._sessions.claim(
            client_id, user_id, session_id, generation, Transport.POLLING, connection.new_session_id, now
        )
        if falls_back:
            self._context.observations.append(FellBack(session.session_id, client_id, user_id, reason))
        self._sessions.stay(session, ns(self._context.config.presence_grace_s) + wait_ms * NS_PER_MS, now)

    def _poll_answer(self, connection: Connection, poll: frames.PollRequest, now: int) -> frames.PollAnswer:
        log, session, attendance, config = self._log, connection.session, self._sessions.attendance, self._context.config
        place = log.place(poll.epoch, poll.after_sequence, poll.start)
        last = 0 if poll.client_id is None else self._sequencer.last_of(poll.client_id)
        events = log.read(place.after, config.batch_events_max, config.batch_bytes_max)
        return frames.PollAnswer(
            run_id=self._run_id,
            session_id=None if session is None else session.session_id,
            epoch=log.epoch,
            outcome=place.outcome,
            reason=place.reason,
            oldest=log.oldest,
            head=log.head,
            after_sequence=place.after,
            last_client_sequence=last,
            events=events,
            has_more=place.after + len(events) < log.head,  # 8.26
            snapshot=place.first_frame,
            active_users=attendance.users,
            cursor_positions=attendance.cursors,
            server_time=now // NS_PER_MS,
        )
