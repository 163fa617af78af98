"""High-water marks: the most that each queue of a run has ever held. Each is noted where the queue grows."""

from collections.abc import Iterator

from simulation.trace.trace import QueuePeaked


class HighWater:
    """The marks of one run, by place and queue."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], tuple[int, int]] = {}

    def note(self, place: str, queue: str, length: int, limit: int) -> None:
        """It holds so much now, and may hold `limit`."""
        before = self._marks.get((place, queue))
        if before is None or length > before[0]:
            self._marks[place, queue] = (length, limit)

    def records(self, at: int) -> Iterator[QueuePeaked]:
        """What a trace keeps of them, at the end of the run; `at`: then, in ns."""
        for (place, queue), (length, limit) in self._marks.items():
            yield QueuePeaked(at=at, place=place, queue=queue, length=length, limit=limit)
