"""Who is in a run, and where their cursors are: latest values, beside the log and never in its way.

A user is present as long as at least one of their sessions is. Changes are gathered and sent as one frame to every reader that is
not behind; whoever was behind is given everything when it has caught up. `version` counts the frames sent.
"""

from reference.protocol.events import Data
from reference.protocol.frames import Cursors, Presence


class Attendance:
    """Bounded by the sessions of the run. It names at most `users_max` users, for to tell N readers of N users costs N * N: in a
    large run it has to stop somewhere. Who comes later is named as soon as one of them has left."""

    __slots__ = ("_changed", "_cursors", "_moved", "_named", "_sessions", "_sorted", "_unnamed", "_users_max", "version")

    def __init__(self, users_max: int) -> None:
        self._users_max = users_max
        self._sessions: dict[str, int] = {}  # user -> how many of their sessions are present
        self._named: dict[str, None] = {}
        self._unnamed: dict[str, None] = {}  # the others, in the order in which they came
        self._sorted: tuple[str, ...] | None = ()  # the named users, until they change: a storm of welcomes asks for them
        self._cursors: dict[str, Data] = {}
        self._changed: dict[str, None] = {}  # users who came or went since the last frame
        self._moved: dict[str, None] = {}
        self.version = 0

    @property
    def users(self) -> tuple[str, ...]:
        """Who is named, sorted."""
        if self._sorted is None:
            self._sorted = tuple(sorted(self._named))
        return self._sorted

    @property
    def cursors(self) -> dict[str, Data]:
        return dict(self._cursors)

    def is_present(self, user_id: str) -> bool:
        """And named: readers know nothing of the others."""
        return user_id in self._named

    def arrive(self, user_id: str) -> bool:
        """One more session of that user. Returns whether there is something to tell."""
        count = self._sessions.get(user_id, 0)
        self._sessions[user_id] = count + 1
        if count == 0:
            self._unnamed[user_id] = None
            self._name_who_waits()
        return bool(self._changed)

    def leave(self, user_id: str) -> bool:
        """One session fewer. Returns whether there is something to tell."""
        self._sessions[user_id] -= 1
        if self._sessions[user_id] == 0:
            del self._sessions[user_id]
            self._unnamed.pop(user_id, None)
            if user_id in self._named:
                del self._named[user_id]
                self._cursors.pop(user_id, None)
                self._moved.pop(user_id, None)
                self._has_changed(user_id)
            self._name_who_waits()
        return bool(self._changed)

    def move_cursor(self, user_id: str, at: Data) -> None:
        self._cursors[user_id] = at
        self._moved[user_id] = None

    def take_presence(self, server_time: int) -> Presence | None:
        """Where everyone stands who came or went since the last frame, or None.

        Whoever left and came back is told too: a reader that was welcomed in between does not know of them.
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
        """Everything, for a reader that has missed something."""
        return (
            Presence(full=self.users, server_time=server_time),
            Cursors(full=self.cursors, server_time=server_time),
        )

    def _name_who_waits(self) -> None:
        while self._unnamed and len(self._named) < self._users_max:
            user_id = next(iter(self._unnamed))
            del self._unnamed[user_id]
            self._named[user_id] = None
            self._has_changed(user_id)

    def _has_changed(self, user_id: str) -> None:
        self._changed[user_id] = None
        self._sorted = None
