"""The state of a run: the fold of its critical events, and its limits.

Graft: the last write wins at each position. Prune: a set of steps. Flag: append-only. Events of other types do not change it.
"""

from reference.protocol import events
from reference.protocol.codec import encoded_bytes
from reference.protocol.events import Data, Event, key_of
from reference.protocol.records import RunState, Snapshot


class Fold:
    """A run's state, to which events are applied."""

    def __init__(self, state: RunState) -> None:
        self._grafts: dict[str, Data] = dict(state.grafts)
        self._prunes: dict[str, None] = dict.fromkeys(state.prunes)
        self._flags: list[Data] = list(state.flags)
        self._graft_bytes = {position: _graft_bytes(position, data) for position, data in state.grafts.items()}
        self._entries_bytes = (
            sum(self._graft_bytes.values()) + sum(map(encoded_bytes, state.prunes)) + sum(map(encoded_bytes, state.flags))
        )

    @property
    def entries(self) -> int:
        return len(self._grafts) + len(self._prunes) + len(self._flags)

    @property
    def size_bytes(self) -> int:
        """Size of the state as JSON, as in a snapshot (1.8)."""
        commas = sum(max(0, len(entries) - 1) for entries in (self._grafts, self._prunes, self._flags))
        return _EMPTY_BYTES + self._entries_bytes + commas

    def apply(self, event_type: str, data: Data) -> None:
        """Apply one event (1.7). Its data has passed EventRegistry.check_publish."""
        match event_type:
            case events.GRAFT:
                position = key_of(event_type, data)
                size_bytes = _graft_bytes(position, data)
                self._entries_bytes += size_bytes - self._graft_bytes.get(position, 0)
                self._graft_bytes[position] = size_bytes
                self._grafts[position] = data
            case events.PRUNE:
                step = key_of(event_type, data)
                if step not in self._prunes:
                    self._prunes[step] = None
                    self._entries_bytes += encoded_bytes(step)
            case events.FLAG:
                self._flags.append(data)
                self._entries_bytes += encoded_bytes(data)
            case _:
                pass

    def has_room(self, event_type: str, data: Data, entries_max: int, bytes_max: int) -> bool:
        """Whether the event may be applied (1.8). An event that replaces an entry needs no new one, and an event that does not
        enlarge the state always has room: so a full state can be made smaller."""
        match event_type:
            case events.GRAFT:
                position = key_of(event_type, data)
                replaced_bytes = self._graft_bytes.get(position)
                grows_bytes = _graft_bytes(position, data) - (replaced_bytes or 0)
                is_new = replaced_bytes is None
            case events.PRUNE:
                step = key_of(event_type, data)
                is_new = step not in self._prunes
                grows_bytes = encoded_bytes(step) if is_new else 0
            case events.FLAG:
                is_new, grows_bytes = True, encoded_bytes(data)
            case _:
                return True
        if not is_new:
            return grows_bytes <= 0 or self.size_bytes + grows_bytes <= bytes_max
        return self.entries < entries_max and self.size_bytes + grows_bytes + 1 <= bytes_max

    def state(self) -> RunState:
        """A frozen copy."""
        return RunState(dict(self._grafts), tuple(sorted(self._prunes)), tuple(self._flags))

    def snapshot(self, sequence_number: int) -> Snapshot:
        return Snapshot(sequence_number, self.state())


_EMPTY_BYTES = encoded_bytes(RunState())


def _graft_bytes(position: str, data: Data) -> int:
    return encoded_bytes(position) + len(":") + encoded_bytes(data)


def fold(start: Snapshot, following: tuple[Event, ...]) -> Snapshot:
    """The snapshot after `following`, which directly follow `start` (G5)."""
    state = Fold(start.state)
    number = start.sequence_number
    for event in following:
        state.apply(event.event_type, event.data)
        number += 1
        assert event.sequence_number == number, "a fold takes every event in order"
    return state.snapshot(number)
