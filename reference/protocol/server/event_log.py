"""The log of one run, and its readers: each is a cursor into the log.

Live delivery, reconnect, late join and polling are all the same read after a cursor (8.12). `EventLog` is the retained window. It
has only durable events, so everything that can be read is stored.

A reader is *current* when it was sent everything up to the head, otherwise it is *lagging* (8.16). All current readers are at the
same position, so one batch serves them all: it is built once, encoded once, and pushed to each socket without waiting. A reader
whose socket does not take the whole batch becomes lagging and keeps its cursor; it is then served alone, batch by batch, as fast
as its socket takes them, until it is current again (8.17). A lagging reader needs no queue: its unread events stay in the log.

Presence, cursors and heartbeats go to current readers only. A reader that becomes current again is sent the latest of each.

`FanOut` keeps the cursors. `Readers` moves them as drivers report what sockets took, and closes a reader whose socket takes
nothing for `slow_reader_timeout_s`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from reference.protocol.actions import Deliver
from reference.protocol.config import ServerConfig
from reference.protocol.events import Event
from reference.protocol.frames import Events, Outcome, ResetReason, SnapshotFrame, Start, encoded_bytes
from reference.protocol.records import LogEntry, Snapshot, retention
from reference.protocol.server.context import RunContext, RunTimer
from reference.protocol.server.sessions import Attendance
from reference.protocol.timers import NS_PER_MS, ns

TRIM_AT = 256  # drop trimmed events in pieces of this size: cheap per event


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """Where a reader begins: after this number, perhaps with a snapshot first."""

    outcome: Outcome
    reason: ResetReason | None
    after: int
    snapshot: Snapshot | None

    @property
    def first_frame(self) -> SnapshotFrame | None:
        """The snapshot to send before the first event, if there is one."""
        return None if self.snapshot is None else SnapshotFrame(self.snapshot.sequence_number, self.snapshot.state)


class EventLog:
    """Contiguous from `oldest` to `head`; `snapshot` covers everything before `oldest`."""

    def __init__(self, epoch: str, head: int, snapshot: Snapshot, events: Iterable[Event], kept_max: int) -> None:
        self.epoch = epoch
        self.head = head
        self.snapshot = snapshot
        self._kept_max = kept_max
        self._events = list(events)
        self._sizes = [encoded_bytes(event) for event in self._events]
        self._base = head - len(self._events)  # the number before the first event in the list
        assert snapshot.sequence_number >= self._base, "the snapshot covers what was trimmed"

    @property
    def oldest(self) -> int:
        """The lowest number that can be read; head + 1 if there is none."""
        return retention(self._base + 1, self.head - self._kept_max + 1, self.snapshot.sequence_number)

    @property
    def in_memory(self) -> int:
        """Events in memory, including those that will be trimmed."""
        return len(self._events)

    def append(self, entries: Sequence[LogEntry], snapshot: Snapshot | None) -> None:
        """Add events that have become durable."""
        events = [entry.event for entry in entries]
        numbers = range(self.head + 1, self.head + 1 + len(events))
        assert [event.sequence_number for event in events] == list(numbers), "the log has no gaps"
        self.head += len(events)
        self._events += events
        self._sizes += map(encoded_bytes, events)
        if snapshot is not None:
            self.snapshot = snapshot
        surplus = self.oldest - 1 - self._base
        if surplus >= TRIM_AT:
            del self._events[:surplus]
            del self._sizes[:surplus]
            self._base += surplus

    def read(self, after: int, events_max: int, bytes_max: int) -> tuple[Event, ...]:
        """The events after `after`, within both limits, but at least one if there is any."""
        assert self.oldest - 1 <= after <= self.head, "a reader that fell out of the window is notified before it reads"
        start = after - self._base
        events, sizes = self._events[start : start + events_max], self._sizes[start : start + events_max]
        if sum(sizes) > bytes_max:
            fit = bisect_right(list(accumulate(sizes)), bytes_max)
            del events[max(1, fit) :]
        return tuple(events)

    def nearest(self, after: int) -> int:
        """The number nearest to `after` from which the log can be read."""
        return min(max(after, self.oldest - 1), self.head)

    def holds(self, after: int) -> bool:
        """Whether every event after that number can still be read."""
        return after >= self.oldest - 1

    def place(self, epoch: str | None, after: int | None, start: Start) -> ReadPosition:
        """Where a reader with that position goes on (8.14), or where one without a position begins (8.13)."""
        if after is None:
            match start:
                case "oldest":
                    return ReadPosition("fresh", None, self.oldest - 1, None)
                case "head":
                    return ReadPosition("fresh", None, self.head, None)
                case "snapshot":
                    return self._from_snapshot("fresh", None)
        if epoch is not None and epoch != self.epoch:
            return self._from_snapshot("reset", "epoch")
        if after > self.head:
            return self._from_snapshot("reset", "ahead")
        if not self.holds(after):  # the history is the same, but events were trimmed (8.15)
            return self._from_snapshot("snapshot", "expired")
        return ReadPosition("resumed", None, after, None)

    def _from_snapshot(self, outcome: Outcome, reason: ResetReason | None) -> ReadPosition:
        return ReadPosition(outcome, reason, self.snapshot.sequence_number, self.snapshot)


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
