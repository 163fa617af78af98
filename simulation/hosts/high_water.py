"""High-water marks: the maximum length of each queue of a run, recorded where the queue grows."""

from collections.abc import Iterator

from simulation.trace.trace import QueuePeaked


class HighWater:
    """The marks of one run, by place and queue."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], tuple[int, int]] = {}

    def note(self, place: str, queue: str, length: int, limit: int) -> None:
        """The queue has this length now, and may have `limit`."""
        before = self._marks.get((place, queue))
        if before is None or length > before[0]:
            self._marks[place, queue] = (length, limit)

    def records(self, at: int) -> Iterator[QueuePeaked]:
        """The records of the maxima for the trace, at the end of the run; `at`: that time, in ns."""
        for (place, queue), (length, limit) in self._marks.items():
            yield QueuePeaked(at=at, place=place, queue=queue, length=length, limit=limit)
