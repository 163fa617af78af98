"""The client's view of who is here and where their cursors are.

The server sends latest values; the application sees them as events without a number, `USER_JOIN`, `USER_LEAVE` and `CURSOR_MOVE`,
made from the difference to what was known before.
"""

from reference.protocol.events import CURSOR_MOVE, USER_JOIN, USER_LEAVE, Data, Event
from reference.protocol.frames import Cursors, Presence


class Roster:
    """Bounded by what the server sends: its own tables are."""

    __slots__ = (
        "_cursors",
        "_users",
    )

    def __init__(self) -> None:
        self._users: dict[str, None] = {}
        self._cursors: dict[str, Data] = {}

    @property
    def users(self) -> tuple[str, ...]:
        """Who is here, sorted."""
        return tuple(sorted(self._users))

    @property
    def positions(self) -> dict[str, Data]:
        """Where the cursors are, by user."""
        return dict(self._cursors)

    def full(self, users: tuple[str, ...], cursors: dict[str, Data], server_time: int) -> list[Event]:
        """Everything anew, as a welcome or a poll brings it."""
        if not (users or cursors or self._users or self._cursors):
            return []
        return self.presence(Presence(full=users, server_time=server_time)) + self.cursors(
            Cursors(full=cursors, server_time=server_time)
        )

    def presence(self, frame: Presence) -> list[Event]:
        joined, left = frame.joined, frame.left
        if frame.full is not None:
            now_here = frozenset(frame.full)
            joined, left = frame.full, tuple(user for user in self._users if user not in now_here)
        changes = []
        for user in joined:
            if user not in self._users:
                self._users[user] = None
                changes.append(_unnumbered(USER_JOIN, user, {}, frame.server_time))
        for user in left:
            if user in self._users:
                del self._users[user]
                self._cursors.pop(user, None)
                changes.append(_unnumbered(USER_LEAVE, user, {}, frame.server_time))
        return changes

    def cursors(self, frame: Cursors) -> list[Event]:
        moved = frame.moved
        if frame.full is not None:
            moved = frame.full
            self._cursors = {user: at for user, at in self._cursors.items() if user in moved}
        changes = []
        for user, at in moved.items():
            if self._cursors.get(user) != at:
                self._cursors[user] = at
                changes.append(_unnumbered(CURSOR_MOVE, user, at, frame.server_time))
        return changes


def _unnumbered(event_type: str, user_id: str, data: Data, timestamp: int) -> Event:
    return Event(event_type, user_id, timestamp, None, data, False)
