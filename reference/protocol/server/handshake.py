"""The handshake of a WebSocket: hello, authentication, position in the log, welcome.

A token may come with the upgrade, with hello, or later in place of an older one; the driver authenticates it. A connection is
warned before its token expires, and closed a grace period after it has.
"""

from collections.abc import Callable

from reference.protocol import frames
from reference.protocol.actions import Authenticate
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.server.connection import Connection, Identity, Session, TokenBucket, session_of
from reference.protocol.server.context import RunContext, RunTimer
from reference.protocol.server.event_log import EventLog, FanOut, ReadPosition
from reference.protocol.server.observations import Joined
from reference.protocol.server.sequencer import Sequencer
from reference.protocol.server.sessions import Sessions
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.timers import NS_PER_MS, ns


def check_version(hello: frames.Hello) -> None:
    """Raises RemoteError."""
    if hello.protocol != frames.PROTOCOL_VERSION:
        raise RemoteError(CloseCode.VERSION, f"protocol {hello.protocol}; this server speaks {frames.PROTOCOL_VERSION}")


class Handshake:
    """Performs handshakes. `close_superseded` closes the connection whose session is taken over, before the new owner is
    welcomed."""

    def __init__(
        self,
        context: RunContext,
        log: EventLog,
        sequencer: Sequencer,
        sessions: Sessions,
        fan_out: FanOut,
        close_superseded: Callable[[int], None],
    ) -> None:
        self._context = context
        self._log = log
        self._sequencer = sequencer
        self._sessions = sessions
        self._fan_out = fan_out
        self._close_superseded = close_superseded

    def opened(
        self, connection_id: int, transport: Transport, identity: Identity | None, new_session_id: str, now: int
    ) -> Connection:
        """The server's half of a new connection; it has to send a frame in time."""
        is_websocket = transport is Transport.WEBSOCKET
        state = ConnectionState.AWAITING_HELLO if is_websocket else ConnectionState.AWAITING_REQUEST
        config = self._context.config
        self._context.timers.set((RunTimer.HELLO, connection_id), now + ns(config.hello_timeout_s))
        rate_limit = TokenBucket(config.frames_per_s, config.frame_burst)
        return Connection(connection_id, transport, state, identity, rate_limit, new_session_id)

    def hello(self, connection: Connection, hello: frames.Hello, now: int) -> None:
        """Raises RemoteError."""
        check_version(hello)
        connection.hello = hello
        connection.client_id = hello.client_id
        connection.state = ConnectionState.AUTHENTICATING
        if hello.token is None and connection.identity is not None:  # 8.35
            self._greet(connection, connection.identity, now)  # the token came with the upgrade and was checked then
        else:
            self.authenticate(connection, hello.token)

    def authenticate(self, connection: Connection, token: str | None) -> None:
        """Ask the driver whose token this is; `authenticated` gets the answer."""
        self._context.actions.append(Authenticate(connection.connection_id, token))

    def authenticated(self, connection: Connection, identity: Identity, now: int) -> None:
        """The driver has authenticated the token. Raises RemoteError."""
        if connection.state is ConnectionState.AUTHENTICATING:
            self._greet(connection, identity, now)
        else:
            if identity.user_id != session_of(connection).user_id:  # 8.36
                raise RemoteError(CloseCode.FORBIDDEN, "the new token belongs to another user")
            self._watch_token(connection, identity, now)

    def warn(self, connection: Connection, now: int) -> None:
        """The connection's token expires soon."""
        assert connection.identity is not None, "a token that was checked is warned of"
        expires_at = connection.identity.expires_at
        assert expires_at is not None, "only a token that expires is warned of"
        in_ms = min(max(0, (expires_at - now) // NS_PER_MS), frames.MILLISECONDS_MAX)
        self._context.send((connection.connection_id,), frames.Expiring(in_ms))

    def _greet(self, connection: Connection, identity: Identity, now: int) -> None:
        hello, connection.hello = connection.hello, None
        assert hello is not None, "a connection is authenticated by its hello"
        session = connection.session = self._sessions.claim(
            hello.client_id,
            identity.user_id,
            hello.session_id,
            hello.generation,
            Transport.WEBSOCKET,
            connection.new_session_id,
            now,
        )
        self._close_superseded(now)
        number = session.connection_id = connection.connection_id
        connection.state = ConnectionState.LIVE
        self._context.timers.cancel((RunTimer.HELLO, number))
        self._context.timers.set((RunTimer.SILENCE, number), now + ns(self._context.config.silence_max_s))
        self._watch_token(connection, identity, now)
        place = self._log.place(hello.epoch, hello.after_sequence, hello.start)
        self._welcome(connection, session, place, now)
        self._context.observations.append(
            Joined(
                number,
                session.session_id,
                session.client_id,
                session.user_id,
                Transport.WEBSOCKET,
                place.outcome,
                hello.session_id is not None,
                self._log.head - place.after,
            )
        )

    def _welcome(self, connection: Connection, session: Session, place: ReadPosition, now: int) -> None:
        number, log, context, attendance = connection.connection_id, self._log, self._context, self._sessions.attendance
        config = context.config
        welcome = frames.Welcome(
            session_id=session.session_id,
            epoch=log.epoch,
            outcome=place.outcome,
            reason=place.reason,
            oldest=log.oldest,
            head=log.head,
            after_sequence=place.after,
            last_client_sequence=self._sequencer.last_of(session.client_id),
            heartbeat_ms=round(config.heartbeat_interval_s * 1000),
            limits=context.limits,
            retry=frames.Retry(round(config.first_spread_s * 1000)),
            active_users=attendance.users,
            cursor_positions=attendance.cursors,
            server_time=now // NS_PER_MS,
        )
        context.send((number,), welcome)
        context.send((number,), place.first_frame)
        self._fan_out.add(number, place.after, attendance.version)
        context.timers.set((RunTimer.STALLED, number), now + ns(config.slow_reader_timeout_s))

    def _watch_token(self, connection: Connection, identity: Identity, now: int) -> None:
        connection.identity = identity
        number, timers = connection.connection_id, self._context.timers
        timers.cancel((RunTimer.EXPIRING, number))
        timers.cancel((RunTimer.EXPIRED, number))
        if identity.expires_at is not None:  # 8.37
            born = now if identity.issued_at is None else identity.issued_at
            warn_at = born + round((identity.expires_at - born) * self._context.config.token_warning_fraction)
            timers.set((RunTimer.EXPIRING, number), max(now, warn_at))  # 8.38
            timers.set((RunTimer.EXPIRED, number), identity.expires_at + ns(self._context.config.token_grace_s))  # 8.39
