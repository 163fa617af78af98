"""The log of one run: the retained window of its sequenced events, and the positions from which a reader may go on.

Live delivery, reconnect, late join and polling are all the same read after a cursor (8.12). The log has only durable events, so
everything that can be read is stored.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from reference.protocol.codec import encoded_bytes
from reference.protocol.events import Event
from reference.protocol.frames import Outcome, ResetReason, SnapshotFrame, Start
from reference.protocol.records import LogEntry, Snapshot, retention

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
