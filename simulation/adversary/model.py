"""The oracle: the durable history of a run in every epoch, kept in the simplest possible way.

It shares no code with the machines. A history is the list of all entries that the store ever took in one epoch, without trimming;
with each is the state of the run after it, folded by a few simple lines. The checkers compare deliveries to clients with it.
"""

from dataclasses import dataclass, field
from typing import Any

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot, StoredClient, StoredRun

ANSWERS_KEPT = 64


def fold_naively(state: RunState, event: Event) -> RunState:
    """The state after one more event."""
    data: dict[str, Any] = event.data
    if event.event_type == "GRAFT":
        return RunState({**state.grafts, data["position"]: data}, state.prunes, state.flags)
    if event.event_type == "PRUNE":
        return RunState(state.grafts, tuple(sorted({*state.prunes, data["step"]})), state.flags)
    if event.event_type == "FLAG":
        return RunState(state.grafts, state.prunes, (*state.flags, data))
    return state


@dataclass
class History:
    """Everything that was durable in one epoch: `entries[n - 1]` is event n, `states[n]` the state after it."""

    epoch: str
    entries: list[LogEntry] = field(default_factory=list)
    states: list[RunState] = field(default_factory=lambda: [RunState()])

    @property
    def head(self) -> int:
        return len(self.entries)

    def add(self, entry: LogEntry) -> None:
        self.entries.append(entry)
        self.states.append(fold_naively(self.states[-1], entry.event))

    def event(self, number: int) -> Event | None:
        return self.entries[number - 1].event if 0 < number <= self.head else None

    def snapshot(self, number: int) -> Snapshot:
        return Snapshot(number, self.states[number])


class StoreModel:
    """A store as the server sees it: one run, durable as appended."""

    def __init__(self, run_id: str = "run", epoch: str = "E1") -> None:
        self.histories: dict[str, History] = {}
        self._run_id = run_id
        self._begin(epoch, [])

    def begin(self, entries: list[LogEntry]) -> None:
        """A new epoch that begins with these entries of the previous one: the rest of that history is lost."""
        self._begin(f"E{len(self.histories) + 1}", entries)

    def _begin(self, epoch: str, entries: list[LogEntry]) -> None:
        self.now = History(epoch)
        self.histories[self.now.epoch] = self.now
        for entry in entries:
            self.now.add(entry)
        self.snapshot = self.now.snapshot(self.now.head)
        self.oldest = self.now.head + 1

    def append(self, append: Append) -> None:
        """Take one batch, with the guarantees of `reference.store`; a batch that does not follow is a fault of the run."""
        assert append.epoch == self.now.epoch, "a batch for another history"
        assert not append.forgotten, "no world lasts for days"
        newest = {entry.client_id: entry.client_sequence for entry in self.now.entries}
        for entry in append.entries:
            assert entry.sequence_number == self.now.head + 1, f"event {entry.sequence_number} after {self.now.head}"
            assert entry.client_sequence > newest.get(entry.client_id, 0), "a client's numbers must rise"
            newest[entry.client_id] = entry.client_sequence
            self.now.add(entry)
        if append.snapshot is not None:
            assert append.snapshot == self.now.snapshot(append.snapshot.sequence_number), "a snapshot is the fold so far"
            self.snapshot = append.snapshot
        assert append.oldest <= self.snapshot.sequence_number + 1, "what is trimmed is in a snapshot"
        self.oldest = max(self.oldest, append.oldest)

    def load(self) -> StoredRun:
        clients: dict[str, tuple[str, list[tuple[int, int]]]] = {}
        used_at: dict[str, int] = {}
        for entry in self.now.entries:
            _, answers = clients.setdefault(entry.client_id, (entry.event.user_id, []))
            answers.append((entry.client_sequence, entry.sequence_number))
            used_at[entry.client_id] = max(used_at.get(entry.client_id, 0), entry.event.timestamp)
        return StoredRun(
            run_id=self._run_id,
            epoch=self.now.epoch,
            head=self.now.head,
            snapshot=self.snapshot,
            events=tuple(entry.event for entry in self.now.entries[self.oldest - 1 :]),
            clients=tuple(
                StoredClient(client_id, user_id, answers[-1][0], tuple(answers[-ANSWERS_KEPT:]), used_at[client_id])
                for client_id, (user_id, answers) in sorted(clients.items())
            ),
        )
