"""The state of a run: the fold of its critical events, and its limits.

Graft: the last write wins at each position. Prune: a set of steps. Flag: append-only. Events of other types leave it alone.
"""

from reference.protocol import events
from reference.protocol.codec import encoded_bytes
from reference.protocol.events import Data, Event
from reference.protocol.records import RunState, Snapshot


class Fold:
    """A run's state that grows with each event. Size in bytes is that of its JSON, nearly."""

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
        match event_type:
            case events.GRAFT:
                position = data["position"]
                replaced = self._grafts.get(position)
                if replaced is not None:
                    self.size_bytes -= encoded_bytes(replaced) + len(position) + 4
                self._grafts[position] = data
                self.size_bytes += encoded_bytes(data) + len(position) + 4
            case events.PRUNE:
                step = data["step"]
                if step not in self._prunes:
                    self._prunes[step] = None
                    self.size_bytes += len(step) + 3
            case events.FLAG:
                self._flags.append(data)
                self.size_bytes += encoded_bytes(data) + 1
            case _:
                pass

    def has_room(self, event_type: str, data: Data, entries_max: int, bytes_max: int) -> bool:
        """Whether the event may be folded in. What only replaces an entry needs no new one."""
        if event_type not in (events.GRAFT, events.PRUNE, events.FLAG):
            return True
        known = (event_type == events.GRAFT and data["position"] in self._grafts) or (
            event_type == events.PRUNE and data["step"] in self._prunes
        )
        return (known or self.entries < entries_max) and self.size_bytes + encoded_bytes(data) <= bytes_max

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
