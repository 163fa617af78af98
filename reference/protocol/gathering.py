"""Who is in a run: sessions, presence and cursors, and when their changes are told.

A user arrives with the first of their sessions and leaves with the last: at once when a session says bye, after a grace when its
connection was lost or its polls stopped. The first change after a quiet time is told at once; what follows is gathered, so that
a thousand arrivals cost each reader a few frames and not a thousand.
"""

from collections.abc import Callable, Collection

from reference.protocol.errors import CloseCode, InvalidEvent, RemoteError
from reference.protocol.events import Data, check_cursor
from reference.protocol.limits import Limit
from reference.protocol.membership import Membership, Session
from reference.protocol.observations import Departed
from reference.protocol.presence import Attendance
from reference.protocol.run_desk import THE_RUN, RunDesk, RunTimer
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS, ns


class Gathering:
    """Owns the sessions of one run, and with them its presence."""

    def __init__(self, desk: RunDesk, publisher_of: Callable[[str], str | None], now: int) -> None:
        """`publisher_of` tells which user a client id has published as, None if it never has."""
        self._desk = desk
        self._publisher_of = publisher_of
        self._losers: list[int] = []
        self._members = Membership()
        self._presence_told_at = now - ns(desk.config.presence_interval_s)
        self._cursors_told_at = now - ns(desk.config.cursor_interval_s)
        self.attendance = Attendance(desk.config.presence_users_max)

    def __len__(self) -> int:
        return len(self._members)

    def count(self, connections: Collection[int]) -> tuple[int, int]:
        """How many sessions there are, and how many of them point to a connection that is not among those."""
        return len(self._members), sum(owner not in connections for owner in self._members.owners)

    def session_of(self, client_id: str) -> Session | None:
        return self._members.get(client_id)

    def claim(
        self,
        client_id: str,
        user_id: str,
        named_session_id: str | None,
        generation: int,
        transport: Transport,
        new_session_id: str,
        now: int,
    ) -> Session:
        """Give the client's session to a new connection; `take_losers` tells which one lost it. Raises RemoteError."""
        self.check_owner(client_id, user_id)
        sessions_max = self._desk.config.sessions_per_run_max
        if len(self._members) >= sessions_max and self._members.get(client_id) is None:
            reason = f"this run has {sessions_max} sessions; it takes no more now"
            raise RemoteError(CloseCode.OVERLOADED, reason, Limit.RUN_SESSIONS)
        session, loser, is_new = self._members.claim(client_id, user_id, named_session_id, generation, transport, new_session_id)
        self._desk.timers.cancel((RunTimer.GRACE, client_id))
        if is_new and self.attendance.arrive(user_id):
            self._presence_changed(now)
        if loser is not None:
            self._losers.append(loser)
        return session

    def take_losers(self) -> list[int]:
        """The WebSockets whose session another connection has taken."""
        if not self._losers:
            return self._losers
        losers, self._losers = self._losers, []
        return losers

    def check_owner(self, client_id: str, user_id: str) -> None:
        """Raise RemoteError FORBIDDEN if that client id is another user's."""
        session = self._members.get(client_id)
        owner = self._publisher_of(client_id) if session is None else session.user_id
        if owner not in (None, user_id):
            raise RemoteError(CloseCode.FORBIDDEN, "this client id belongs to another user")

    def disconnected(self, session: Session, now: int) -> None:
        """The session's WebSocket has ended; its user stays for the grace."""
        session.connection_id = None
        self.stay(session, ns(self._desk.config.presence_grace_s), now)

    def stay(self, session: Session, duration: int, now: int) -> None:
        """Without a sign of life for `duration` ns, the session is over."""
        self._desk.timers.set((RunTimer.GRACE, session.client_id), now + duration)

    def leave(self, client_id: str, now: int) -> None:
        """The session is over."""
        session = self._members.drop(client_id)
        self._desk.timers.cancel((RunTimer.GRACE, client_id))
        if session is None:
            return
        self._desk.observations.append(Departed(session.session_id, client_id))
        if self.attendance.leave(session.user_id):
            self._presence_changed(now)

    def move_cursor(self, user_id: str, at: Data, now: int) -> None:
        """Raises RemoteError BAD_FRAME."""
        try:
            check_cursor(at)
        except InvalidEvent as error:
            raise RemoteError(CloseCode.BAD_FRAME, f"a cursor that cannot be kept: {error}") from None
        if self.attendance.is_present(user_id):
            self.attendance.move_cursor(user_id, at)
            self._gather(RunTimer.CURSORS, self._cursors_told_at + ns(self._desk.config.cursor_interval_s), now)

    def tell_presence(self, readers: tuple[int, ...], now: int) -> None:
        self._presence_told_at = now
        self._desk.send(readers, self.attendance.take_presence(now // NS_PER_MS))

    def tell_cursors(self, readers: tuple[int, ...], now: int) -> None:
        self._cursors_told_at = now
        self._desk.send(readers, self.attendance.take_cursors(now // NS_PER_MS))

    def _presence_changed(self, now: int) -> None:
        self._gather(RunTimer.PRESENCE, self._presence_told_at + ns(self._desk.config.presence_interval_s), now)

    def _gather(self, timer: RunTimer, not_before: int, now: int) -> None:
        if (timer, THE_RUN) not in self._desk.timers:
            self._desk.timers.set((timer, THE_RUN), max(now, not_before))
