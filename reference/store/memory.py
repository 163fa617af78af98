"""An in-memory store, lost when the process ends: for tests and for virtual time.

No threads and no disk, so it runs under trio's autojump clock; every method still passes a checkpoint, because code must not rely
on a store that answers at once. Everything is kept as JSON bytes: stored values cannot be changed through a reference, and values
that JSON cannot represent are refused as by a database.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from reference.protocol.records import ANSWERS_KEPT, Append, RunState, Snapshot, StoredClient, StoredRun
from reference.store.base import StoreConflict, StoreError, StoreUnavailable, check_run_id, closed
from reference.store.kept import kept_event, kept_state
from reference.store.position import Position


@dataclass(slots=True)
class _Run:
    position: Position
    state: bytes = field(default_factory=lambda: msgspec.json.encode(RunState()))
    events: deque[bytes] = field(default_factory=deque)
    """The retained window: its first element is event `position.oldest`."""
    answers: dict[str, deque[tuple[int, int]]] = field(default_factory=dict)


class MemoryStore:
    """An EventStore in memory. `durable` here means: until the process ends."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._is_closed = False

    async def create_run(self, run_id: str, epoch: str) -> bool:
        """As EventStore.create_run."""
        check_run_id(run_id)
        await self.check()
        if run_id in self._runs:
            return False
        self._runs[run_id] = _Run(Position(run_id, epoch))
        return True

    async def delete_run(self, run_id: str) -> bool:
        """As EventStore.delete_run."""
        await self.check()
        return self._runs.pop(run_id, None) is not None

    async def load_run(self, run_id: str) -> StoredRun | None:
        """As EventStore.load_run."""
        await self.check()
        run = self._runs.get(run_id)
        if run is None:
            return None
        position = run.position
        return StoredRun(
            run_id=run_id,
            epoch=position.epoch,
            head=position.head,
            snapshot=Snapshot(position.snapshot_number, kept_state(run.state)),
            events=tuple(map(kept_event, run.events)),
            clients=tuple(
                StoredClient(
                    client_id, client.user_id, client.last_client_sequence, tuple(run.answers[client_id]), client.used_at
                )
                for client_id, client in sorted(position.clients.items())
            ),
        )

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        """As EventStore.append."""
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            return [closed() for _ in batches]
        return [self._append(batch) for batch in batches]

    async def check(self) -> None:
        """As EventStore.check; fails only after `aclose`."""
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise closed()

    async def aclose(self) -> None:
        """As EventStore.aclose; the stored data are lost."""
        self._is_closed = True
        self._runs.clear()

    def _append(self, batch: Append) -> StoreError | None:
        run = self._runs.get(batch.run_id)
        if run is None:
            return StoreConflict(f"run {batch.run_id} has not been created in this store")
        position = run.position
        conflict = position.conflict_with(batch)
        if conflict is not None:
            return conflict
        try:
            events = [msgspec.json.encode(entry.event) for entry in batch.entries]
            state = None if batch.snapshot is None else msgspec.json.encode(batch.snapshot.state)
        except (TypeError, ValueError, OverflowError) as error:
            return StoreUnavailable(
                f"run {batch.run_id}: a batch holds what JSON cannot carry ({error}); check events before they are stored"
            )
        oldest, snapshot_number = position.oldest, position.snapshot_number
        position.advance(batch)
        if state is not None and position.snapshot_number > snapshot_number:
            run.state = state
        run.events.extend(events)
        for _ in range(position.oldest - oldest):
            run.events.popleft()
        for client_id in batch.forgotten:
            run.answers.pop(client_id, None)
        for entry in batch.entries:
            answers = run.answers.setdefault(entry.client_id, deque(maxlen=ANSWERS_KEPT))
            answers.append((entry.client_sequence, entry.sequence_number))
        return None
