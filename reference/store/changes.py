"""What one transaction writes: batches in, rows for each table out.

A group of batches becomes one list of rows per table, because a database takes a list of rows many times
faster than the rows one by one. Batches are judged here, against positions read within the transaction, so a
batch that does not fit leaves no row behind.

Rows are deleted late and in bulk: a run's events when `oldest` passes a multiple of 100, a client's answers
when its accepted publishes pass a multiple of 64. Both rules need nothing but the numbers before and after,
so nothing has to be counted or remembered between commits; what is overdue is left out when a run is loaded.
"""

import uuid
from collections.abc import Mapping

from reference.protocol.records import ANSWERS_KEPT, Append, LogEntry, Snapshot
from reference.store.base import StoreConflict
from reference.store.position import Position
from reference.store.prepared import Row

EVENTS_DELETED_AT_ONCE = 100


class Changes:
    """Collects the rows of one transaction. `positions` holds every run and client that the batches name and
    the store knows.
    """

    def __init__(self, positions: Mapping[str, Position]) -> None:
        self._positions = positions
        self._oldest_before = {run_id: position.oldest for run_id, position in positions.items()}
        self._accepted_before = {
            (run_id, client_id): client.accepted
            for run_id, position in positions.items()
            for client_id, client in position.clients.items()
        }
        self._touched_runs: dict[str, uuid.UUID] = {}
        self._touched_clients: dict[tuple[str, str], None] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self.messages: list[Row] = []
        self.answers: list[Row] = []

    def add(self, batch: Append) -> StoreConflict | None:
        """Take the rows of `batch`, or say why it does not fit."""
        position = self._positions.get(batch.run_id)
        if position is None:
            return StoreConflict(f"run {batch.run_id} has not been created in this store")
        conflict = position.conflict_with(batch)
        if conflict is not None:
            return conflict
        if batch.snapshot is not None and batch.snapshot.sequence_number > position.snapshot_number:
            self._snapshots[batch.run_id] = batch.snapshot
        position.advance(batch)
        namespace = self._touched_runs.setdefault(batch.run_id, uuid.UUID(batch.run_id))
        for entry in batch.entries:
            self._add_entry(batch, entry, namespace)
        return None

    def _add_entry(self, batch: Append, entry: LogEntry, namespace: uuid.UUID) -> None:
        event, number = entry.event, entry.sequence_number
        self.messages.append(
            {
                # derived, not drawn: the same event has the same id wherever its row is made
                "id": uuid.uuid5(namespace, f"{batch.epoch}/{number}"),
                "run_id": batch.run_id,
                "user_id": event.user_id,
                "event_type": event.event_type,
                "message_data": event.data,
                "timestamp": event.timestamp,
                "sequence_number": number,
                "is_critical": event.is_critical,
            }
        )
        self.answers.append(
            {
                "run_id": batch.run_id,
                "client_id": entry.client_id,
                "client_sequence": entry.client_sequence,
                "sequence_number": number,
            }
        )
        self._touched_clients[batch.run_id, entry.client_id] = None

    def runs(self) -> list[Row]:
        """Where each touched run stands now."""
        return [
            {
                "at_run_id": run_id,
                "head": self._positions[run_id].head,
                "oldest": self._positions[run_id].oldest,
            }
            for run_id in self._touched_runs
        ]

    def snapshots(self) -> list[Row]:
        """The newest snapshot of each run that has a newer one."""
        return [
            {"at_run_id": run_id, "sequence_number": snapshot.sequence_number, "state": snapshot.state}
            for run_id, snapshot in self._snapshots.items()
        ]

    def clients(self, *, new: bool) -> list[Row]:
        """Where each touched client stands now: those that have no row yet, or those that have one."""
        rows: list[Row] = []
        for run_id, client_id in self._touched_clients:
            if new != ((run_id, client_id) not in self._accepted_before):
                continue
            client = self._positions[run_id].clients[client_id]
            row: Row = {"last_client_sequence": client.last_client_sequence, "accepted": client.accepted}
            if new:
                row |= {"run_id": run_id, "client_id": client_id, "user_id": client.user_id}
            else:
                row |= {"at_run_id": run_id, "at_client_id": client_id}
            rows.append(row)
        return rows

    def deletable_messages(self) -> list[Row]:
        """Runs whose events below `oldest` are due to be deleted."""
        due: list[Row] = []
        for run_id in self._touched_runs:
            oldest = self._positions[run_id].oldest
            if _passes_multiple(self._oldest_before[run_id], oldest, EVENTS_DELETED_AT_ONCE):
                due.append({"at_run_id": run_id, "at_oldest": oldest})
        return due

    def deletable_answers(self) -> list[Row]:
        """Clients of which all answers but the newest 64 are due to be deleted."""
        due: list[Row] = []
        for run_id, client_id in self._touched_clients:
            before = self._accepted_before.get((run_id, client_id), 0)
            after = self._positions[run_id].clients[client_id].accepted
            if _passes_multiple(before, after, ANSWERS_KEPT):
                due.append({"at_run_id": run_id, "at_client_id": client_id})
        return due


def _passes_multiple(before: int, after: int, step: int) -> bool:
    return after // step > before // step
