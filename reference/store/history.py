"""History: detects that a database is older than it was, so that every run gets a new epoch (2.7).

After a backup is restored, or a standby that missed the last commits takes over, numbers that clients have seen are given to
other events. The database alone cannot show it: everything that could was reset with it. So it is compared with a witness outside
of it.

    SQLite        the file FILE.commits beside the database holds the number of commits; the database holds it too. It is
                  written after each commit, so it is ahead only if the database is older than it was.
    PostgreSQL    the server that the database is on: its system identifier, its timeline, which a failover and a recovery
                  change, and the number of the database on it. The database holds their last values.
    both          the process remembers the last confirmed head of each run (`ConfirmedHeads`)

A server also locks `FILE.commits`, to be the only one that uses the file: it holds the lock until the process ends, in whatever
way, and then the system releases it.
"""

import contextlib
import fcntl
import os
from collections import OrderedDict
from pathlib import Path

from reference.store.base import StoreUnavailable

_DIGITS = 20
_CONFIRMED_MAX = 20_000
"""Runs whose last confirmed head is remembered."""


class CommitsFile:
    """The file FILE.commits, locked. `commits` is the number in it, 0 if it is new."""

    def __init__(self, database: Path) -> None:
        """Raises StoreUnavailable if another process has locked it, OSError if it cannot be opened."""
        self.path = Path(f"{os.path.realpath(database)}.commits")
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock(database)
            text = os.pread(self._file, _DIGITS, 0).decode("ascii", "replace")
        except BaseException:
            os.close(self._file)
            raise
        self.commits = int(text) if text.strip().isdecimal() else 0

    def write(self, commits: int) -> None:
        """Record the number of commits of the database."""
        self.commits = commits
        with contextlib.suppress(OSError):  # an older number only makes the witness weaker
            os.pwrite(self._file, f"{commits:{_DIGITS}d}".encode(), 0)

    def discard(self) -> None:
        """Remove the file if it is new: there is no database for it."""
        if not self.commits:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock. May be called again."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _lock(self, database: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(
                f"{database}: another server uses this file; stop it, give each server a file of its own, "
                "or let them share a PostgreSQL database"
            ) from None
        except OSError as error:
            raise StoreUnavailable(
                f"{database}: files cannot be locked here ({error.strerror}); put the file on a local disk"
            ) from None


class ConfirmedHeads:
    """The last head confirmed to this process for each run; the runs written least recently are forgotten."""

    def __init__(self) -> None:
        self._heads: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def confirm(self, run_id: str, epoch: str, head: int) -> None:
        """The store has event `head`."""
        self._heads[run_id] = epoch, head
        self._heads.move_to_end(run_id)
        if len(self._heads) > _CONFIRMED_MAX:
            self._heads.popitem(last=False)

    def forget(self, run_id: str) -> None:
        """The run was deleted."""
        self._heads.pop(run_id, None)

    def is_lost(self, run_id: str, epoch: str, head: int) -> bool:
        """Whether confirmed events are missing, given the head that the store has now in this epoch."""
        known = self._heads.get(run_id)
        return known is not None and known[0] == epoch and head < known[1]
