"""Named timers in one table, with one next deadline.

A machine sets and cancels timers by name; its driver asks for `next_deadline()` and sets one alarm. Moving a timer to a later
time, which happens with every frame, costs one dictionary write: the heap entry stays where it is and is corrected when it
reaches the top. Cancelling costs the same; when more entries remain than there are timers, the heap is rebuilt, because the entry
of a token that ends tomorrow would stay until then. Timers that expire together fire in the order of their deadlines, then in
the order in which they were set.
"""

import heapq
from typing import Generic, TypeVar

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

ENTRIES_LEFT_MAX = 64
"""Entries that may be left in a heap beside as many as there are timers."""

K = TypeVar("K")


def ns(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * NS_PER_S)


class Timers(Generic[K]):
    """Deadlines by key, in ns. A key has at most one."""

    __slots__ = ("_count", "_deadlines", "_heap", "_queued", "expired_at")

    def __init__(self) -> None:
        self._deadlines: dict[K, tuple[int, int]] = {}
        self._queued: dict[K, int] = {}  # the earliest heap entry of each key; never later than its deadline
        self._heap: list[tuple[int, int, K]] = []
        self._count = 0
        self.expired_at = 0
        """When the timer that was popped last was due."""

    def set(self, key: K, deadline: int) -> None:
        """Let `key` expire at `deadline`, in place of any earlier setting."""
        self._count += 1
        self._deadlines[key] = (deadline, self._count)
        queued = self._queued.get(key)
        if queued is None or deadline < queued:
            self._push(key, deadline, self._count)

    def cancel(self, key: K) -> None:
        if self._deadlines.pop(key, None) is not None:
            self._tidy()

    @property
    def entries(self) -> int:
        """In the heap: at most twice as many as there are timers, and `ENTRIES_LEFT_MAX`."""
        return len(self._heap)

    def deadline_of(self, key: K) -> int | None:
        """When `key` expires, or None if it is not set."""
        entry = self._deadlines.get(key)
        return None if entry is None else entry[0]

    def __contains__(self, key: K) -> bool:
        return key in self._deadlines

    def __len__(self) -> int:
        return len(self._deadlines)

    def next_deadline(self) -> int | None:
        """When the first timer expires, or None if none is set."""
        while self._heap:
            queued_at, count, key = self._heap[0]
            current = self._deadlines.get(key)
            if current is not None and current[1] == count:  # no two are set with the same number
                return queued_at
            heapq.heappop(self._heap)
            if self._queued.get(key) == queued_at:
                del self._queued[key]
                if current is not None:
                    self._push(key, *current)
        return None

    def pop_expired(self, now: int) -> K | None:
        """Remove and return the first timer that has expired by `now`, or None. Call until None: firing one may set others."""
        if not self._heap or self._heap[0][0] > now:
            return None  # no entry is later than its deadline
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        if self._queued.get(key) == deadline:
            del self._queued[key]
        del self._deadlines[key]
        self._tidy()
        self.expired_at = deadline
        return key

    def _push(self, key: K, deadline: int, count: int) -> None:
        self._queued[key] = deadline
        # The count is unique, so the heap never compares two keys.
        heapq.heappush(self._heap, (deadline, count, key))
        self._tidy()

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._deadlines) + ENTRIES_LEFT_MAX:
            self._queued = {key: deadline for key, (deadline, _) in self._deadlines.items()}
            self._heap = [(deadline, count, key) for key, (deadline, count) in self._deadlines.items()]
            heapq.heapify(self._heap)


class FewTimers(Generic[K]):
    """The same for a machine with few timers: one small table, in the order in which the timers were set, and no heap. The first
    deadline is searched only when it is asked for and not known. Each client has one of these, so it is small.

    Both attributes may be read directly, because they are needed for every frame. deadlines: by key. first: when the first
    expires, None if that is not known or there is none.
    """

    __slots__ = ("deadlines", "first")

    def __init__(self) -> None:
        self.deadlines: dict[K, int] = {}
        self.first: int | None = None

    def set(self, key: K, deadline: int) -> None:
        """As Timers.set."""
        deadlines, first = self.deadlines, self.first
        if key in deadlines:
            if deadlines[key] == first:
                first = self.first = None
            del deadlines[key]  # so that it becomes the last one set
        deadlines[key] = deadline
        if first is not None and deadline < first:
            self.first = deadline

    def cancel(self, key: K) -> None:
        deadlines = self.deadlines
        if key in deadlines:
            if deadlines[key] == self.first:
                self.first = None
            del deadlines[key]

    def deadline_of(self, key: K) -> int | None:
        """As Timers.deadline_of."""
        return self.deadlines.get(key)

    def __contains__(self, key: K) -> bool:
        return key in self.deadlines

    def __len__(self) -> int:
        return len(self.deadlines)

    def next_deadline(self) -> int | None:
        """As Timers.next_deadline."""
        first = self.first
        if first is None and self.deadlines:
            first = self.first = min(self.deadlines.values())
        return first

    def pop_expired(self, now: int) -> K | None:
        """As Timers.pop_expired."""
        first = self.first
        if first is None:
            first = self.next_deadline()
        if first is None or first > now:
            return None
        key = min(self.deadlines, key=self.deadlines.__getitem__)  # of equal ones, the one set first
        self.cancel(key)
        return key
