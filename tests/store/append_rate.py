"""How many events a second a store makes durable. Run it: `.venv/bin/python tests/store/append_rate.py
[directory]`.

One, ten and a hundred runs, a client of its own in each, a hundred events a commit: the shapes that a busy server
has. The directory decides which disk SQLite is measured on; a tmpfs flatters. PostgreSQL is the one that the tests
use (tests/postgres_server.py says which). The last line compares the two.
"""

import sys
import tempfile
import uuid
from pathlib import Path

import trio

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot
from reference.store import EventStore, open_store

ROWS_PER_COMMIT = 100
COMMITS = 200


async def measure(store: EventStore, *, runs: int) -> float:
    """Events per second, `ROWS_PER_COMMIT` a commit, spread over `runs` runs."""
    run_ids = [str(uuid.uuid4()) for _ in range(runs)]
    for run_id in run_ids:
        await store.create_run(run_id, "epoch")
    entries_per_run = ROWS_PER_COMMIT // runs
    groups = [[_append(run_id, commit * entries_per_run, entries_per_run) for run_id in run_ids] for commit in range(COMMITS)]
    started = trio.current_time()
    for group in groups:
        assert await store.append(group) == [None] * runs
    return ROWS_PER_COMMIT * COMMITS / (trio.current_time() - started)


def _append(run_id: str, head: int, count: int) -> Append:
    entries = tuple(
        LogEntry(
            Event("GRAFT", "alice", 1_700_000_000_000 + n, n, {"position": f"p{n}", "text": "x" * 100}, True),
            "client-of-alice",
            n,
        )
        for n in range(head + 1, head + count + 1)
    )
    snapshot = Snapshot(head + count, RunState()) if (head + count) % 100 == 0 else None
    return Append(run_id, "epoch", entries, snapshot, max(1, head + count - 1000))


async def main(directory: str | None) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from postgres_server import new_database  # the tests' own module, found from their folder

    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=directory) as place, new_database() as database:
        for name, url in (("memory", "memory:"), ("sqlite", str(Path(place) / "rate.sqlite3")), ("postgresql", database)):
            async with open_store(url) as store:
                for runs in (1, 10, 100):
                    rates.setdefault(name, []).append(rate := await measure(store, runs=runs))
                    print(f"{name}: {rate:,.0f} events/s over {runs} runs, {ROWS_PER_COMMIT} a commit", flush=True)
    ratios = [one / other for one, other in zip(rates["postgresql"], rates["sqlite"], strict=True)]
    print("postgresql to sqlite: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else None)
