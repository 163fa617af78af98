"""Who is in a run, and where their cursors are: latest values, beside the log and never in its way.

A user is present as long as at least one of their sessions is. Changes are gathered and sent as one frame to every reader that is
not behind; whoever was behind is given everything when it has caught up. `version` counts the frames sent.
"""

from reference.protocol.events import Data
from reference.protocol.frames import Cursors, Presence


class Attendance:
    """Bounded by the sessions of the run."""

    def __init__(self) -> None:
        self._sessions: dict[str, int] = {}  # user -> how many of their sessions are present
        self._cursors: dict[str, Data] = {}
        self._changed: dict[str, None] = {}  # users who came or went since the last frame
        self._moved: dict[str, None] = {}
        self.version = 0

    @property
    def users(self) -> tuple[str, ...]:
        return tuple(sorted(self._sessions))

    @property
    def cursors(self) -> dict[str, Data]:
        return dict(self._cursors)

    def is_present(self, user_id: str) -> bool:
        return user_id in self._sessions

    def arrive(self, user_id: str) -> bool:
        """One more session of that user. Returns whether there is something to tell."""
        count = self._sessions.get(user_id, 0)
        self._sessions[user_id] = count + 1
        if count == 0:
            self._changed[user_id] = None
        return bool(self._changed)

    def leave(self, user_id: str) -> bool:
        """One session fewer. Returns whether there is something to tell."""
        self._sessions[user_id] -= 1
        if self._sessions[user_id] == 0:
            del self._sessions[user_id]
            self._cursors.pop(user_id, None)
            self._moved.pop(user_id, None)
            self._changed[user_id] = None
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
        joined = tuple(user for user in self._changed if user in self._sessions)
        left = tuple(user for user in self._changed if user not in self._sessions)
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
