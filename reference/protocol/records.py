"""Records: what a store keeps of a run, and what the run gives to the store.

The run decides what is written and when it becomes visible; the store only makes it durable. `StoredRun` is what the store
returns after a restart: with it a run continues as if nothing had happened.
"""

import msgspec

from reference.protocol.events import Data, Event

ANSWERS_KEPT = 64
"""Answers remembered for each client id (8.3, 9.4): no client may have more unanswered publishes."""


def retention(oldest: int, wanted: int, snapshot_number: int) -> int:
    """The number of the oldest event to keep (1.10): the one rule of retention, for the log in memory and for every store.

    `oldest` is kept now, `wanted` is where the window should begin. The window only moves forward, and never beyond the event
    after the snapshot, so that snapshot and window always connect.
    """
    return max(oldest, min(wanted, snapshot_number + 1))


class RunState(msgspec.Struct, frozen=True, rename="camel"):
    """The fold of all critical events up to some number.

    grafts: position -> data of the last graft there; prunes: the pruned steps, sorted; flags: data of every flag, in order.
    """

    grafts: dict[str, Data] = {}
    prunes: tuple[str, ...] = ()
    flags: tuple[Data, ...] = ()


class Snapshot(msgspec.Struct, frozen=True, rename="camel"):
    """The state of a run after event `sequence_number` (0: before the first)."""

    sequence_number: int
    state: RunState


class LogEntry(msgspec.Struct, frozen=True):
    """A sequenced event together with the publish that made it."""

    event: Event
    client_id: str
    client_sequence: int

    @property
    def sequence_number(self) -> int:
        number = self.event.sequence_number
        assert number is not None, "only sequenced events are logged"
        return number


class Append(msgspec.Struct, frozen=True):
    """One batch to make durable in one transaction, completely or not at all.

    `entries` are contiguous and directly follow the previous batch. `snapshot` is set when one falls due within the batch. Events
    below `oldest` may be deleted once this batch is durable. `forgotten` are client ids whose records from before this batch are
    deleted (8.3).
    """

    run_id: str
    epoch: str
    entries: tuple[LogEntry, ...]
    snapshot: Snapshot | None
    oldest: int
    forgotten: tuple[str, ...] = ()


class StoredClient(msgspec.Struct, frozen=True):
    """The deduplication memory of one client in one run: its user, its newest accepted number, and its last answers.

    `answers` are pairs (client_sequence, sequence_number), ascending, at least the newest 64 accepted ones. `used_at` is the
    highest timestamp of its events, in ms since 1970.
    """

    client_id: str
    user_id: str
    last_client_sequence: int
    answers: tuple[tuple[int, int], ...]
    used_at: int = 0


class StoredRun(msgspec.Struct, frozen=True):
    """All that is durable of a run. `events` is the retained window: ascending, contiguous, ending at the head."""

    run_id: str
    epoch: str
    head: int
    snapshot: Snapshot
    events: tuple[Event, ...]
    clients: tuple[StoredClient, ...]
