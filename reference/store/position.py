"""The position of a run in a store, and the rule by which batches are accepted.

All stores, including the simulated one, use this one rule (8.8), so that a test store cannot accept what a real one refuses:

    a batch fits if  its epoch is the stored one,
                     its entries are numbered head + 1, head + 2, ... without a gap,
                     each client's numbers in it rise, and are above that client's last one, unless the batch
                     lets that client be forgotten,
                     its snapshot, if there is one, is not ahead of the log after this batch.

Two values only move forward: the snapshot (an older one is ignored) and `oldest`, which follows the batch within the rule of
`records.retention`.
"""

from dataclasses import dataclass, field

from reference.protocol.records import Append, retention
from reference.store.base import StoreConflict


@dataclass(slots=True)
class ClientPosition:
    """One client in one run: its user, its newest stored number, and the highest timestamp of its events, in ms since 1970."""

    user_id: str
    last_client_sequence: int = 0
    used_at: int = 0


@dataclass(slots=True)
class Position:
    """One run: the highest stored number, the lowest retained one (head + 1 if none is), and the number of
    the snapshot.
    """

    run_id: str
    epoch: str
    head: int = 0
    oldest: int = 1
    snapshot_number: int = 0
    clients: dict[str, ClientPosition] = field(default_factory=dict)

    def conflict_with(self, batch: Append) -> StoreConflict | None:
        """Why `batch` does not fit here, or None if it does. Changes nothing."""
        if batch.epoch != self.epoch:
            return StoreConflict(f"run {self.run_id}: the batch is of epoch {batch.epoch}, stored is {self.epoch}")
        expected = self.head + 1
        newest: dict[str, int] = {}
        for entry in batch.entries:
            number, client_id = entry.sequence_number, entry.client_id
            if number != expected:
                return StoreConflict(f"run {self.run_id}: the batch brings event {number} where {expected} must follow")
            if client_id not in newest:
                client = None if client_id in batch.forgotten else self.clients.get(client_id)
                newest[client_id] = 0 if client is None else client.last_client_sequence
            if entry.client_sequence <= newest[client_id]:
                return StoreConflict(
                    f"run {self.run_id}: publish {entry.client_sequence} of client {client_id} "
                    f"comes after its publish {newest[client_id]}"
                )
            newest[client_id] = entry.client_sequence
            expected += 1
        if batch.snapshot is not None and batch.snapshot.sequence_number >= expected:
            ahead = batch.snapshot.sequence_number
            return StoreConflict(f"run {self.run_id}: the snapshot at {ahead} is ahead of the last event, {expected - 1}")
        return None

    def advance(self, batch: Append) -> None:
        """Advance to the position after `batch`, which must fit. A client keeps the user of its first publish."""
        self.head += len(batch.entries)
        for client_id in batch.forgotten:
            self.clients.pop(client_id, None)
        for entry in batch.entries:
            client = self.clients.setdefault(entry.client_id, ClientPosition(entry.event.user_id))
            client.last_client_sequence = entry.client_sequence
            client.used_at = max(client.used_at, entry.event.timestamp)
        if batch.snapshot is not None:
            self.snapshot_number = max(self.snapshot_number, batch.snapshot.sequence_number)
        self.oldest = retention(self.oldest, batch.oldest, self.snapshot_number)
