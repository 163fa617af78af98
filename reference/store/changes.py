"""The rows and the statements of one commit: converts batches to rows for each table.

Batches are checked here, one after the other, by the rule of `position` (8.8); a batch that does not fit, or that contains values
JSON cannot represent, leaves no row and does not affect the others. The rows of a run belong to the head that was checked: a
driver stores them only if the stored head is still that one (compare and set).

    runs        the new head and the new beginning of the window of each run, in the order of their ids
    messages    one row per event, with the client and the number of the publish that made it: the answer to a copy
    snapshots   the newest snapshot of each run that has a newer one
    trims       runs of which a piece of events below the window is due to be deleted

Events are deleted late and in batches (1.10), and a trim moves their answers and clients (8.3) to tables of their own first.
Parameters of the statements are written `:name`. Only the inserts of many rows differ between the databases; they are in `sqlite`
and `postgresql`.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from reference.protocol.records import ANSWERS_KEPT, Append, Snapshot
from reference.store.base import StoreConflict, StoreError, StoreUnavailable
from reference.store.position import ClientPosition, Position

EVENTS_DELETED_AT_ONCE = 100
_ID_VERSION = "8"  # RFC 9562: a UUID whose content is the application's
_UNIQUE_DIGITS = 19
PADDING_BYTES = 8192
"""Size of the write of a readiness check: as large as a large publish, to detect a full disk."""

POSITION = """
    SELECT r.epoch, r.head, r.oldest, s.sequence_number
    FROM collaboration_runs r JOIN collaboration_snapshots s ON s.run_id = r.run_id
    WHERE r.run_id = :run_id"""

CLIENTS_OF_DELETED = """
    SELECT client_id, user_id, last_client_sequence FROM collaboration_clients WHERE run_id = :run_id"""

CLIENTS_OF_MESSAGES = """
    SELECT g.client_id, m.user_id, g.last_client_sequence
    FROM (SELECT client_id, min(sequence_number) AS first, max(client_sequence) AS last_client_sequence
          FROM persisted_collaboration_messages WHERE run_id = :run_id AND client_id IS NOT NULL GROUP BY client_id) g
    JOIN persisted_collaboration_messages m ON m.run_id = :run_id AND m.sequence_number = g.first"""

_CLIENTS_TRIMMED = """
    SELECT client_id FROM persisted_collaboration_messages
    WHERE run_id = :run_id AND sequence_number < :oldest AND client_id IS NOT NULL"""


class MessageRow(NamedTuple):
    """One event; `message_id` is a UUID in 32 digits, `data` its JSON."""

    message_id: str
    user_id: str
    event_type: str
    data: bytes
    timestamp: int
    sequence_number: int
    is_critical: bool
    client_id: str | None
    """None, as its number, if it is forgotten."""
    client_sequence: int | None


@dataclass(slots=True)
class RunChange:
    """What is written for one run if its stored head is still `head_before`, in the epoch `epoch`."""

    run_id: str
    epoch: str
    head_before: int
    oldest_before: int
    head: int
    oldest: int
    messages: list[MessageRow] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    """Clients of which nothing is remembered from before `messages`."""
    snapshot: Snapshot | None = None
    snapshot_state: bytes = b""

    @property
    def is_trim_due(self) -> bool:
        """Whether it is time to delete some of the events below `oldest`."""
        return self.oldest // EVENTS_DELETED_AT_ONCE > self.oldest_before // EVENTS_DELETED_AT_ONCE


class Changes:
    """Collects the rows of one commit."""

    def __init__(self) -> None:
        self._runs: dict[str, RunChange] = {}

    @property
    def runs(self) -> list[RunChange]:
        """The changed runs, by id: locks are taken in this order, so that two servers rarely deadlock."""
        return [self._runs[run_id] for run_id in sorted(self._runs)]

    def discard(self, run_id: str) -> None:
        """Remove the rows of this run."""
        self._runs.pop(run_id, None)

    def add(self, batch: Append, position: Position | None) -> StoreError | None:
        """Add the rows of `batch`, or return why it cannot be stored.

        `position`: the position of its run after the batches before it, None if the store does not know it. It advances if the
        batch is taken, and is right only if the commit succeeds.
        """
        if position is None:
            return StoreConflict(f"run {batch.run_id} has not been created in this store")
        conflict = position.conflict_with(batch)
        if conflict is not None:
            return conflict
        try:
            rows = _rows(batch)
            is_newer = batch.snapshot is not None and batch.snapshot.sequence_number > position.snapshot_number
            state = msgspec.json.encode(batch.snapshot.state) if batch.snapshot is not None and is_newer else b""
        except (TypeError, ValueError, OverflowError) as error:
            return StoreUnavailable(
                f"run {batch.run_id}: a batch holds what JSON cannot carry ({error}); check events before they are stored"
            )
        change = self._runs.get(batch.run_id)
        if change is None:
            change = self._runs[batch.run_id] = RunChange(
                batch.run_id, batch.epoch, position.head, position.oldest, position.head, position.oldest
            )
        position.advance(batch)
        change.head, change.oldest = position.head, position.oldest
        if batch.forgotten:
            change.forgotten.update(batch.forgotten)
            change.messages = [
                row._replace(client_id=None, client_sequence=None) if row.client_id in batch.forgotten else row
                for row in change.messages
            ]
        change.messages += rows
        if is_newer:
            change.snapshot, change.snapshot_state = batch.snapshot, state
        return None


def _rows(batch: Append) -> list[MessageRow]:
    unique = unique_digits(batch.run_id, batch.epoch)
    rows = []
    for entry in batch.entries:
        event, number = entry.event, entry.sequence_number
        rows.append(
            MessageRow(
                message_id(number, unique),
                event.user_id,
                event.event_type,
                msgspec.json.encode(event.data),
                event.timestamp,
                number,
                event.is_critical,
                entry.client_id,
                entry.client_sequence,
            )
        )
    return rows


def message_id(number: int, unique: str) -> str:
    """The id of event `number`, in 32 hexadecimal digits: a UUID of version 8 that begins with the number.

    It is derived from its content, so an event has the same id wherever its row is built; and it rises with the number, so
    inserts append to the index instead of changing all of it.
    """
    return f"{number:012x}{_ID_VERSION}{unique}"


@functools.lru_cache(maxsize=4096)
def unique_digits(run_id: str, epoch: str) -> str:
    """The part of the ids that distinguishes runs and epochs: 19 digits, the fourth of which is the variant."""
    digits = hashlib.blake2b(f"{run_id}/{epoch}".encode(), digest_size=10).hexdigest()
    return f"{digits[:3]}8{digits[3 : _UNIQUE_DIGITS - 1]}"


def stored_position(run_id: str, rows: Callable[[str], list[Any]]) -> Position | None:
    """The position of the run; None if there is no such run. `rows` executes a statement about that run."""
    found = rows(POSITION)
    if not found:
        return None
    clients: dict[str, ClientPosition] = {}
    for statement in (CLIENTS_OF_DELETED, CLIENTS_OF_MESSAGES):
        for client_id, user_id, last in rows(statement):
            clients.setdefault(client_id, ClientPosition(user_id)).last_client_sequence = last
    epoch, head, oldest, snapshot_number = found[0]
    return Position(run_id, epoch, head, oldest, snapshot_number, clients)


def forget(among: str) -> tuple[str, ...]:
    """Statements that leave nothing remembered of clients (8.3) up to event `:head`; `among` is the condition on `client_id`."""
    return (
        f"DELETE FROM collaboration_answers WHERE run_id = :run_id AND client_id {among}",
        f"DELETE FROM collaboration_clients WHERE run_id = :run_id AND client_id {among}",
        f"""UPDATE persisted_collaboration_messages SET client_id = NULL, client_sequence = NULL
        WHERE run_id = :run_id AND sequence_number <= :head AND client_id {among}""",
    )


def trim(among: str) -> tuple[str, ...]:
    """Statements that move what must be remembered of the events below `:oldest`, and delete them (1.10, 8.3). `among`: the
    condition on `client_id` that makes the database look up the answers of `{clients}` only, not all answers of the run."""
    return (
        """
    INSERT INTO collaboration_clients (run_id, client_id, user_id, last_client_sequence, used_at)
    SELECT m.run_id, g.client_id, m.user_id, g.last_client_sequence, g.used_at
    FROM (SELECT client_id, min(sequence_number) AS first, max(client_sequence) AS last_client_sequence,
                 max(timestamp) AS used_at
          FROM persisted_collaboration_messages
          WHERE run_id = :run_id AND sequence_number < :oldest AND client_id IS NOT NULL GROUP BY client_id) g
    JOIN persisted_collaboration_messages m ON m.run_id = :run_id AND m.sequence_number = g.first
    WHERE true
    ON CONFLICT (run_id, client_id) DO UPDATE SET last_client_sequence = excluded.last_client_sequence,
        used_at = CASE WHEN collaboration_clients.used_at > excluded.used_at THEN collaboration_clients.used_at
                  ELSE excluded.used_at END""",
        """
    INSERT INTO collaboration_answers (run_id, client_id, client_sequence, sequence_number)
    SELECT run_id, client_id, client_sequence, sequence_number FROM persisted_collaboration_messages
    WHERE run_id = :run_id AND sequence_number < :oldest AND client_id IS NOT NULL""",
        f"""
    DELETE FROM collaboration_answers WHERE run_id = :run_id AND (client_id, client_sequence) IN (
        SELECT client_id, client_sequence
        FROM (SELECT client_id, client_sequence,
                     row_number() OVER (PARTITION BY client_id ORDER BY client_sequence DESC) AS age
              FROM collaboration_answers
              WHERE run_id = :run_id AND client_id {among.format(clients=_CLIENTS_TRIMMED)}) of_clients
        WHERE age > {ANSWERS_KEPT})""",
        """
    DELETE FROM persisted_collaboration_messages WHERE run_id = :run_id AND sequence_number < :oldest""",
    )
