"""The state of a run: the fold of its critical events, and its limits.

Graft: the last write wins at each position. Prune: a set of steps. Flag: append-only. Events of other types leave it alone.
"""

from reference.protocol import events
from reference.protocol.codec import encoded_bytes
from reference.protocol.events import Data, Event, key_of
from reference.protocol.records import RunState, Snapshot


class Fold:
    """A run's state that grows with each event. `size_bytes` is that of its JSON, to a comma."""

    def __init__(self, state: RunState) -> None:
        self._grafts: dict[str, Data] = dict(state.grafts)
        self._prunes: dict[str, None] = dict.fromkeys(state.prunes)
        self._flags: list[Data] = list(state.flags)
        self.size_bytes = encoded_bytes(state)

    @property
    def entries(self) -> int:
        return len(self._grafts) + len(self._prunes) + len(self._flags)

    def apply(self, event_type: str, data: Data) -> None:
        """Fold one event in. Its data has passed EventRegistry.check_publish."""
        self.size_bytes += self._growth(event_type, data)[1]
        match event_type:
            case events.GRAFT:
                position = key_of(event_type, data)
                self._grafts[position] = data
            case events.PRUNE:
                step = key_of(event_type, data)
                self._prunes[step] = None
            case events.FLAG:
                self._flags.append(data)
            case _:
                pass

    def has_room(self, event_type: str, data: Data, entries_max: int, bytes_max: int) -> bool:
        """Whether the event may be folded in (1.8). One that makes the state no larger always may."""
        entries, size_bytes = self._growth(event_type, data)
        return (entries <= 0 or self.entries < entries_max) and (size_bytes <= 0 or self.size_bytes + size_bytes <= bytes_max)

    def _growth(self, event_type: str, data: Data) -> tuple[int, int]:
        """By how many entries and bytes of JSON the state grows with this event."""
        match event_type:
            case events.GRAFT:
                position = key_of(event_type, data)
                replaced = self._grafts.get(position)
                if replaced is not None:
                    return 0, encoded_bytes(data) - encoded_bytes(replaced)
                return 1, encoded_bytes(position) + encoded_bytes(data) + 2  # a colon, a comma
            case events.PRUNE:
                step = key_of(event_type, data)
                return (0, 0) if step in self._prunes else (1, encoded_bytes(step) + 1)
            case events.FLAG:
                return 1, encoded_bytes(data) + 1
            case _:
                return 0, 0

    def state(self) -> RunState:
        """A frozen copy."""
        return RunState(dict(self._grafts), tuple(sorted(self._prunes)), tuple(self._flags))

    def snapshot(self, sequence_number: int) -> Snapshot:
        return Snapshot(sequence_number, self.state())


def fold(start: Snapshot, following: tuple[Event, ...]) -> Snapshot:
    """The snapshot after `following`, which follow directly on `start` (G5)."""
    state = Fold(start.state)
    number = start.sequence_number
    for event in following:
        state.apply(event.event_type, event.data)
        number += 1
        assert event.sequence_number == number, "a fold takes every event in order"
    return state.snapshot(number)
