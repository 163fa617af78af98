"""The connections of one run: a table of all of them, and the steps that end each.

Whether we close a connection or the peer is gone, the same is removed: its cursor in the log, its requests, its timers, and its
ownership of the session. The session itself stays for the grace period.

A timer that ends a connection means that nothing arrived in time. A process that handles the timer much too late (it was
suspended or overloaded) has not read either: frames that arrived meanwhile are still unread. So it sets such a timer once more
for a short time.
"""

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.protocol.server.connection import Connection
from reference.protocol.server.context import OF_CONNECTION, TOO_LATE, RunContext, RunTimer
from reference.protocol.server.fan_out import FanOut
from reference.protocol.server.http_requests import HttpRequests
from reference.protocol.server.sequencer import Sequencer
from reference.protocol.server.sessions import Sessions
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.timers import NS_PER_MS

_LATE = 100 * NS_PER_MS
"""If a timer is handled later than this, the driver was suspended or overloaded."""
_TO_READ = 1000 * NS_PER_MS
"""The time that a late driver has for reading what arrived meanwhile."""


class ConnectionTable(dict[int, Connection]):
    """Connections by number, in the order in which they were opened."""

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
        """A timer that ends this connection has expired."""
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
