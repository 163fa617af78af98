"""Fan-out: every reader of a run is a cursor into its log.

A reader is *current* when it was sent everything up to the head, otherwise it is *lagging* (8.16). All current readers are at the
same position, so one batch serves them all: it is built once, encoded once, and pushed to each socket without waiting. A reader
whose socket does not take the whole batch becomes lagging and keeps its cursor; it is then served alone, batch by batch, as fast
as its socket takes them, until it is current again (8.17). A lagging reader needs no queue: its unread events stay in the log.

Presence, cursors and heartbeats go to current readers only. A reader that becomes current again is sent the latest of each.

`FanOut` keeps the cursors. `Readers` moves them as drivers report what sockets took, and closes a reader whose socket takes
nothing for `slow_reader_timeout_s`.
"""

from dataclasses import dataclass

from reference.protocol.actions import Deliver
from reference.protocol.config import ServerConfig
from reference.protocol.frames import Events
from reference.protocol.server.context import RunContext, RunTimer
from reference.protocol.server.event_log import EventLog
from reference.protocol.server.sessions import Attendance
from reference.protocol.timers import NS_PER_MS, ns


@dataclass(slots=True)
class Lagging:
    """A reader that was sent everything up to `after`; `seen` is the version of presence that it was last sent."""

    after: int
    seen: int


class FanOut:
    """The readers of one run."""

    def __init__(self, log: EventLog, config: ServerConfig) -> None:
        self._log = log
        self._events_max = config.batch_events_max
        self._bytes_max = config.batch_bytes_max
        self._through = log.head  # current readers were sent everything up to here
        self._current: dict[int, None] = {}
        self._lagging: dict[int, Lagging] = {}

    def __len__(self) -> int:
        return len(self._current) + len(self._lagging)

    @property
    def current(self) -> tuple[int, ...]:
        """The readers that were sent everything, in the order in which they became current."""
        return tuple(self._current)

    @property
    def behind(self) -> int:
        """How many readers lag."""
        return len(self._lagging)

    @property
    def lag_max(self) -> int:
        """The number of durable events that the most lagging reader was not sent."""
        furthest = min((reader.after for reader in self._lagging.values()), default=self._through)
        return self._log.head - min(furthest, self._through)

    def is_lagging(self, connection_id: int) -> bool:
        return connection_id in self._lagging

    def lag_of(self, connection_id: int) -> int:
        """The number of durable events that a reader was not sent."""
        reader = self._lagging.get(connection_id)
        return self._log.head - (self._through if reader is None else reader.after)

    def add(self, connection_id: int, after: int, seen: int) -> None:
        """Add a reader; it is lagging until `next_batch` finds nothing more for it."""
        self._lagging[connection_id] = Lagging(after, seen)

    def remove(self, connection_id: int) -> None:
        self._current.pop(connection_id, None)
        self._lagging.pop(connection_id, None)

    def grow(self) -> list[Deliver]:
        """The log has grown: the batches for all current readers."""
        batches = []
        while self._through < self._log.head:
            batch = self._batch(self.current, self._through)
            self._through = batch.last
            if self._current:
                batches.append(batch)
        return batches

    def next_batch(self, connection_id: int) -> Deliver | None:
        """The next batch for a lagging reader, or None: it is current now, or gone."""
        reader = self._lagging.get(connection_id)
        if reader is None:
            return None
        if reader.after < self._log.head:
            batch = self._batch((connection_id,), reader.after)
            reader.after = batch.last
            return batch
        return None

    def catch_up(self, connection_id: int) -> int | None:
        """Make a lagging reader that has everything current; returns the version of presence that it has seen."""
        reader = self._lagging.get(connection_id)
        if reader is None or reader.after < self._through or self._through < self._log.head:
            return None
        del self._lagging[connection_id]
        self._current[connection_id] = None
        return reader.seen

    def took_nothing_of(self, connection_id: int, batch: Deliver, seen: int) -> None:
        """The reader's socket refused a batch: the cursor stays before it."""
        self._lag(connection_id, batch.first - 1, seen)

    def took_no_more_than(self, connection_id: int, batch: Deliver | None, seen: int) -> None:
        """The reader's socket took a batch (None: everything sent to current readers) and is now full."""
        self._lag(connection_id, self._through if batch is None else batch.last, seen)

    def fallen_out(self) -> list[int]:
        """The readers whose next event is no longer kept."""
        return [connection_id for connection_id, reader in self._lagging.items() if not self._log.holds(reader.after)]

    def _lag(self, connection_id: int, after: int, seen: int) -> None:
        reader = self._lagging.get(connection_id)
        if reader is not None:
            reader.after = min(reader.after, after)
        elif connection_id in self._current:
            del self._current[connection_id]
            self._lagging[connection_id] = Lagging(after, seen)

    def _batch(self, connection_ids: tuple[int, ...], after: int) -> Deliver:
        events = self._log.read(after, self._events_max, self._bytes_max)
        return Deliver(connection_ids, Events(events), after + 1, after + len(events))


class Readers:
    """Moves the cursors of one run's readers as drivers report."""

    __slots__ = ("_attendance", "_context", "_fan_out")

    def __init__(self, context: RunContext, fan_out: FanOut, attendance: Attendance) -> None:
        self._context = context
        self._fan_out = fan_out
        self._attendance = attendance

    def next_batch(self, connection_id: int, now: int) -> Deliver | None:
        """The next batch for a lagging reader. None: it is current now, and was sent the presence that it missed."""
        batch = self._fan_out.next_batch(connection_id)
        if batch is not None:
            self._watch(connection_id, now)
            return batch
        seen = self._fan_out.catch_up(connection_id)
        if seen is not None:
            self._context.timers.cancel((RunTimer.STALLED, connection_id))
            if seen != self._attendance.version:
                for frame in self._attendance.full(now // NS_PER_MS):  # 8.19
                    self._context.send((connection_id,), frame)
        return None

    def refused(self, connection_id: int, batch: Deliver, now: int) -> None:
        """The socket took nothing of a batch."""
        self._fan_out.took_nothing_of(connection_id, batch, self._attendance.version)
        self._watch_lag(connection_id, now)

    def blocked(self, connection_id: int, batch: Deliver | None, now: int) -> None:
        """The socket took a batch (None: everything sent to it) and is now full."""
        self._fan_out.took_no_more_than(connection_id, batch, self._attendance.version)
        self._watch_lag(connection_id, now)

    def bytes_taken(self, connection_id: int, now: int) -> None:
        """The socket has sent some bytes: the reader is slow, but not stalled."""
        if (RunTimer.STALLED, connection_id) in self._context.timers:
            self._watch(connection_id, now)

    def _watch_lag(self, connection_id: int, now: int) -> None:
        if (RunTimer.STALLED, connection_id) not in self._context.timers and self._fan_out.is_lagging(connection_id):
            self._watch(connection_id, now)

    def _watch(self, connection_id: int, now: int) -> None:
        self._context.timers.set((RunTimer.STALLED, connection_id), now + ns(self._context.config.slow_reader_timeout_s))
