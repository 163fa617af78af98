"""Sessions, presence and cursors of one run; batches their change notifications.

A user joins with their first session and leaves with their last: at once when a session sends bye, after the grace period when
its connection was lost or its polls stopped. The first change after a quiet time is sent at once; further changes are collected,
so that a thousand arrivals cost each reader a few frames and not a thousand.

`Attendance` holds the latest values, separate from the log (8.28): they never delay, drop or renumber a sequenced event. Changes
are sent as one frame to every current reader; a lagging reader is sent everything when it has caught up. `version` counts these
frames.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection

from reference.protocol.errors import CloseCode, InvalidEvent, RemoteError
from reference.protocol.events import Data, check_cursor
from reference.protocol.frames import Cursors, Presence, encoded_bytes
from reference.protocol.limits import Limit
from reference.protocol.server.connection import Session
from reference.protocol.server.context import THE_RUN, RunContext, RunTimer
from reference.protocol.server.observations import Departed
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS, ns

NAMES_BYTES_MAX = 512 * 1024
CURSORS_BYTES_MAX = 1024 * 1024
"""Encoded size of the named users and the shown cursors (9.4)."""
ROSTER_BYTES_MAX = NAMES_BYTES_MAX + CURSORS_BYTES_MAX


def _bytes(value: object) -> int:
    """Size inside a frame, including the separator to the next."""
    return encoded_bytes(value) + 1


class Attendance:
    """Presence and cursors, bounded by the sessions of the run. At most `users_max` users are named, because naming N users to N
    readers costs N * N. A user who arrives later is named as soon as one of the named users has left. Names and cursors together
    take at most ROSTER_BYTES_MAX of a frame (8.29, 9.4): without room a user is not named, or a cursor not shown."""

    __slots__ = (
        "_changed",
        "_cursor_bytes",
        "_cursor_bytes_total",
        "_cursors",
        "_ended",
        "_moved",
        "_name_bytes",
        "_named",
        "_names",
        "_sessions",
        "_unnamed",
        "_users",
        "_users_max",
        "version",
    )

    def __init__(self, users_max: int) -> None:
        self._users_max = users_max
        self._sessions: dict[str, int] = {}  # user -> how many of their sessions are present
        self._named: dict[str, None] = {}
        self._unnamed: dict[str, None] = {}  # the others, in order of arrival
        self._names: list[str] = []  # the named users, sorted: each of many welcomes changes them, and asks for them
        self._users: tuple[str, ...] | None = ()  # the same, until they change
        self._cursors: dict[str, Data] = {}
        self._name_bytes = 0
        self._cursor_bytes_total = 0
        self._cursor_bytes: dict[str, int] = {}  # user -> size of their cursor and the name before it
        self._changed: dict[str, None] = {}  # users who joined or left since the last frame
        self._moved: dict[str, None] = {}
        self._ended: dict[str, None] = {}  # users who left since the last frame and had a cursor, which readers may still show
        self.version = 0

    @property
    def users(self) -> tuple[str, ...]:
        """The named users, sorted."""
        if self._users is None:
            self._users = tuple(self._names)
        return self._users

    @property
    def cursors(self) -> dict[str, Data]:
        return dict(self._cursors)

    def is_present(self, user_id: str) -> bool:
        """Whether the user is present and named: readers know only named users."""
        return user_id in self._named

    def arrive(self, user_id: str) -> bool:
        """A session of that user begins. Returns whether there is a change to report."""
        count = self._sessions.get(user_id, 0)
        self._sessions[user_id] = count + 1
        if count == 0:
            self._unnamed[user_id] = None
            self._name_who_waits()
        return bool(self._changed)

    def leave(self, user_id: str) -> bool:
        """A session of that user ends. Returns whether there is a change to report."""
        self._sessions[user_id] -= 1
        if self._sessions[user_id] == 0:
            del self._sessions[user_id]
            self._unnamed.pop(user_id, None)
            if user_id in self._named:
                del self._named[user_id]
                del self._names[bisect_left(self._names, user_id)]
                self._name_bytes -= _bytes(user_id)
                if user_id in self._cursors:
                    self._ended[user_id] = None
                self._forget_cursor(user_id)
                self._moved.pop(user_id, None)
                self._has_changed(user_id)
            self._name_who_waits()
        return bool(self._changed)

    def move_cursor(self, user_id: str, at: Data) -> None:
        """Show the cursor of a named user. Without room for it, the one before stays."""
        size = _bytes(user_id) + _bytes(at)
        if self._cursor_bytes_total - self._cursor_bytes.get(user_id, 0) + size <= CURSORS_BYTES_MAX:
            self._forget_cursor(user_id)
            self._cursor_bytes[user_id] = size
            self._cursor_bytes_total += size
            self._cursors[user_id] = at
            self._moved[user_id] = None

    def take_returned(self, server_time: int) -> Presence | None:
        """A leave for each user who left and returned since the last frame, so that readers forget the cursor from before (8.30),
        or None. It is sent before `take_presence`, which has their return. A new cursor replaces that cursor without it.
        """
        returned = tuple(user for user in self._ended if user in self._named and user not in self._cursors)
        self._ended.clear()
        if not returned:
            return None
        self.version += 1
        return Presence(left=returned, server_time=server_time)

    def take_presence(self, server_time: int) -> Presence | None:
        """The state of everyone who joined or left since the last frame, or None.

        A user who left and returned is reported too: a reader that was welcomed in between does not know of them.
        """
        if not self._changed:
            return None
        joined = tuple(user for user in self._changed if user in self._named)
        left = tuple(user for user in self._changed if user not in self._named)
        self._changed.clear()
        self.version += 1
        return Presence(joined=joined, left=left, server_time=server_time)

    def take_cursors(self, server_time: int) -> Cursors | None:
        """The cursors that moved since the last frame, or None."""
        moved = {user: self._cursors[user] for user in self._moved}
        self._moved.clear()
        if not moved:
            return None
        self.version += 1
        return Cursors(moved=moved, server_time=server_time)

    def full(self, server_time: int) -> tuple[Presence, Cursors]:
        """Everything, for a reader that has missed changes."""
        return (
            Presence(full=self.users, server_time=server_time),
            Cursors(full=self.cursors, server_time=server_time),
        )

    def _name_who_waits(self) -> None:
        while self._unnamed and len(self._named) < self._users_max:
            user_id = next(iter(self._unnamed))
            if self._name_bytes + _bytes(user_id) > NAMES_BYTES_MAX:
                break
            del self._unnamed[user_id]
            self._named[user_id] = None
            insort(self._names, user_id)
            self._name_bytes += _bytes(user_id)
            self._has_changed(user_id)

    def _forget_cursor(self, user_id: str) -> None:
        if self._cursors.pop(user_id, None) is not None:
            self._cursor_bytes_total -= self._cursor_bytes.pop(user_id)

    def _has_changed(self, user_id: str) -> None:
        self._changed[user_id] = None
        self._users = None


class Sessions:
    """Owns the sessions of one run, and with them its presence. Bounded by `sessions_per_run_max`."""

    def __init__(self, context: RunContext, publisher_of: Callable[[str], str | None], now: int) -> None:
        """`publisher_of` returns the user as whom a client id has published, None if it never has."""
        self._context = context
        self._publisher_of = publisher_of
        self._superseded: list[int] = []
        self._sessions: dict[str, Session] = {}  # by client id
        self._presence_sent_at = now - ns(context.config.presence_interval_s)
        self._cursors_sent_at = now - ns(context.config.cursor_interval_s)
        self.attendance = Attendance(context.config.presence_users_max)

    def __len__(self) -> int:
        return len(self._sessions)

    def count(self, connections: Collection[int]) -> tuple[int, int]:
        """How many sessions there are, and how many of them point to a connection that is not among these."""
        owners = [each.connection_id for each in self._sessions.values() if each.connection_id is not None]
        return len(self._sessions), sum(owner not in connections for owner in owners)

    def session_of(self, client_id: str) -> Session | None:
        return self._sessions.get(client_id)

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
        """Make a connection of that generation the owner of the client's session; `take_superseded` returns the WebSocket that
        lost it. Raises RemoteError: FORBIDDEN (another user's client id), SUPERSEDED (a newer one owns it) or OVERLOADED."""
        self.check_owner(client_id, user_id)
        session = self._sessions.get(client_id)
        if session is None:
            sessions_max = self._context.config.sessions_per_run_max
            if len(self._sessions) >= sessions_max:
                reason = f"session limit reached: this run already has {sessions_max} sessions"
                raise RemoteError(CloseCode.OVERLOADED, reason, Limit.RUN_SESSIONS)
            session = Session(named_session_id or new_session_id, client_id, user_id, generation, transport)
            self._sessions[client_id] = session
            if self.attendance.arrive(user_id):
                self._presence_changed(now)
            return session
        if generation < session.generation:  # 8.22
            raise RemoteError(CloseCode.SUPERSEDED, "a newer connection owns this session")
        superseded, session.connection_id = session.connection_id, None
        if superseded is not None:
            self._superseded.append(superseded)
        session.session_id = named_session_id or session.session_id  # an identifier only, it grants nothing (10.4)
        session.generation = generation
        session.transport = transport
        self._context.timers.cancel((RunTimer.GRACE, client_id))
        return session

    def take_superseded(self) -> list[int]:
        """The WebSockets whose session was taken over."""
        if not self._superseded:
            return self._superseded
        superseded, self._superseded = self._superseded, []
        return superseded

    def check_owner(self, client_id: str, user_id: str) -> None:
        """Raise RemoteError FORBIDDEN if that client id belongs to another user."""
        session = self._sessions.get(client_id)
        owner = self._publisher_of(client_id) if session is None else session.user_id
        if owner not in (None, user_id):
            raise RemoteError(CloseCode.FORBIDDEN, "this client id belongs to another user")

    def disconnected(self, session: Session, now: int) -> None:
        """The session's WebSocket has ended; its user stays for the grace period (8.32)."""
        session.connection_id = None
        self.stay(session, ns(self._context.config.presence_grace_s), now)

    def stay(self, session: Session, duration: int, now: int) -> None:
        """The session is over if the client sends nothing for `duration` ns."""
        self._context.timers.set((RunTimer.GRACE, session.client_id), now + duration)

    def leave(self, client_id: str, now: int) -> None:
        """The session is over."""
        session = self._sessions.pop(client_id, None)
        self._context.timers.cancel((RunTimer.GRACE, client_id))
        if session is None:
            return
        self._context.observations.append(Departed(session.session_id, client_id))
        if self.attendance.leave(session.user_id):
            self._presence_changed(now)

    def move_cursor(self, user_id: str, at: Data, now: int) -> None:
        """Raises RemoteError BAD_FRAME."""
        try:
            check_cursor(at)
        except InvalidEvent as error:
            raise RemoteError(CloseCode.BAD_FRAME, f"a cursor that cannot be kept: {error}") from None
        if self.attendance.is_present(user_id):  # 8.30
            self.attendance.move_cursor(user_id, at)
            self._gather(RunTimer.CURSORS, self._cursors_sent_at + ns(self._context.config.cursor_interval_s), now)

    def send_presence(self, readers: tuple[int, ...], now: int) -> None:
        self._presence_sent_at = now  # 8.29
        self._context.send(readers, self.attendance.take_returned(now // NS_PER_MS))
        self._context.send(readers, self.attendance.take_presence(now // NS_PER_MS))

    def send_cursors(self, readers: tuple[int, ...], now: int) -> None:
        self._cursors_sent_at = now
        self._context.send(readers, self.attendance.take_cursors(now // NS_PER_MS))

    def _presence_changed(self, now: int) -> None:
        self._gather(RunTimer.PRESENCE, self._presence_sent_at + ns(self._context.config.presence_interval_s), now)

    def _gather(self, timer: RunTimer, not_before: int, now: int) -> None:
        if (timer, THE_RUN) not in self._context.timers:
            self._context.timers.set((timer, THE_RUN), max(now, not_before))
