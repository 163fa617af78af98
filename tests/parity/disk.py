"""The disk under the real server: the shipped MemoryStore, with the time that a commit takes, and a power that can fail.

As the simulated store it draws, when the server is killed in the middle of a commit, whether the disk has it.
"""

from collections.abc import Callable, Sequence

import msgspec
import trio

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry
from reference.store import MemoryStore, StoreError, StoreUnavailable
from simulation.random import EntityRandom


class Disk(MemoryStore):
    """A store that survives the servers that use it, one after the other."""

    def __init__(self, commit_time_s: float, random_source: EntityRandom, watch: Callable[[], None] | None = None) -> None:
        """`watch`: is called when a commit begins and when it ends."""
        super().__init__()
        self.entries: list[LogEntry] = []
        """Every entry that ever became durable, as the simulated store keeps them too."""
        self._commit_time_s = commit_time_s
        self._random_source = random_source
        self._watch = watch or (lambda: None)
        self._commits = 0
        self._power_failed = trio.Event()

    def crash(self) -> None:
        """The server is killed; a commit under way ends now, this way or that."""
        self._power_failed.set()
        self._power_failed = trio.Event()

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        self._commits += 1
        commit, power_failed = self._commits, self._power_failed
        self._watch()
        with trio.move_on_after(self._commit_time_s):
            await power_failed.wait()
        self._watch()
        if power_failed.is_set() and self._random_source.uniform("crash", commit) >= 0.5:
            return [StoreUnavailable("the power failed") for _ in batches]
        outcomes = await super().append(batches)
        for batch, error in zip(batches, outcomes, strict=True):
            if error is None:
                self.entries += [_readable(entry) for entry in batch.entries]
        return outcomes


def _readable(entry: LogEntry) -> LogEntry:
    """Its data as an object: a server keeps the bytes that came."""
    return msgspec.structs.replace(entry, event=msgspec.json.decode(msgspec.json.encode(entry.event), type=Event))
