"""Runs, events and batches for the tests of the stores."""

from typing import Any

import pytest

from reference.protocol.events import CHAT, GRAFT, Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot, StoredRun
from reference.store import EventStore, StoreUnavailable, open_store
from reference.store.kept import parsed

RUN = "8f14e45f-ceea-467f-a8d1-0123456789ab"
OTHER_RUN = "c9f0f895-fb98-4b91-99c5-ba9876543210"
EPOCH = "0123456789abcdef0123456789abcdef"
HANG_S = 60
"""Ends a test that hangs; a loaded machine takes seconds for what else takes milliseconds."""


def entry(number: int, client_id: str = "client-1", client_sequence: int | None = None, **data: Any) -> LogEntry:
    """Event `number`, with the same number as its client's own unless another is given."""
    event = Event(
        event_type=GRAFT if number % 2 else CHAT,
        user_id=f"user of {client_id}",
        timestamp=1_700_000_000_000 + number,
        sequence_number=number,
        data=data or {"position": f"p{number}"},
        is_critical=bool(number % 2),
    )
    return LogEntry(event, client_id, number if client_sequence is None else client_sequence)


def append(
    first: int,
    count: int = 1,
    *,
    run_id: str = RUN,
    epoch: str = EPOCH,
    client_id: str = "client-1",
    snapshot_at: int | None = None,
    oldest: int = 1,
) -> Append:
    """A batch of `count` events from number `first` on."""
    entries = tuple(entry(number, client_id) for number in range(first, first + count))
    snapshot = None if snapshot_at is None else Snapshot(snapshot_at, RunState(grafts={"at": {"n": snapshot_at}}))
    return Append(run_id, epoch, entries, snapshot, oldest)


async def load(store: EventStore, run_id: str = RUN) -> StoredRun:
    stored = await store.load_run(run_id)
    assert stored is not None
    return parsed(stored)


async def refusal(url: object) -> str:
    """The line with which a store refuses to open."""
    with pytest.raises(StoreUnavailable) as caught:
        async with open_store(str(url)):
            pass
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400
    return line
