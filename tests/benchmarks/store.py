"""How fast a store makes events durable, and the cost of a commit, compared with the database's driver alone.

    .venv/bin/python -m tests.benchmarks.store [--directory DIRECTORY] [--commits 200] [--rounds 3]

Each row is the median of several rounds, in which the stores and the bare drivers take turns. Processor time is that of this
process; the database server's own is not in it. The bare driver writes the same rows into the same table, with nothing judged.
The directory decides which disk SQLite is measured on; a tmpfs flatters. PostgreSQL is the one that the tests use
(tests/postgres_server.py says which); without one its rows are left out.

The goals (on a quiet machine, 64 events a commit): SQLite 40,000 events/s and 20 us of processor per event, PostgreSQL 15,000
events/s; one event a commit: 0.4 ms of processor.
"""

import argparse
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
import trio
from sqlalchemy.engine import make_url

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot
from reference.store import EventStore, open_store
from tests.postgres_server import new_database

SHAPES = ((64, 1), (64, 16), (64, 64), (1, 1))
"""Events a commit, and over how many runs they are spread."""


class Measured(msgspec.Struct):
    events_per_s: float
    processor_us: float
    """Of this process, per event."""


def appends(run_ids: list[str], head: int, per_run: int) -> list[Append]:
    """One batch for each run."""
    group = []
    for run_id in run_ids:
        entries = tuple(
            LogEntry(
                Event("GRAFT", "alice", 1_700_000_000_000 + n, n, {"position": f"p{n % 50}", "text": "x" * 100}, True),
                "client-of-alice",
                n,
            )
            for n in range(head + 1, head + per_run + 1)
        )
        last = head + per_run
        snapshot = Snapshot(last, RunState()) if last // 100 > head // 100 else None
        group.append(Append(run_id, "epoch", entries, snapshot, max(1, last - 1000)))
    return group


async def measure(
    commits: int, events: int, runs: int, append: Callable[[list[Append]], Awaitable[object]], run_ids: list[str]
) -> Measured:
    groups = [appends(run_ids, number * (events // runs), events // runs) for number in range(commits)]
    started, processor = time.perf_counter(), time.process_time()
    for group in groups:
        await append(group)
    elapsed, used = time.perf_counter() - started, time.process_time() - processor
    return Measured(events * commits / elapsed, used / (events * commits) * 1e6)


async def with_store(store: EventStore, commits: int, events: int, runs: int) -> Measured:
    run_ids = [str(uuid.uuid4()) for _ in range(runs)]
    for run_id in run_ids:
        await store.create_run(run_id, "epoch")

    async def append(group: list[Append]) -> None:
        outcomes = await store.append(group)
        assert outcomes == [None] * runs, outcomes

    return await measure(commits, events, runs, append, run_ids)


async def with_driver_alone(url: str, commits: int, events: int, runs: int) -> Measured:
    """Insert the rows of the messages, and nothing else."""
    run_ids = [str(uuid.uuid4()) for _ in range(runs)]
    async with open_store(url) as store:
        for run_id in run_ids:
            await store.create_run(run_id, "epoch")
    is_sqlite = url.startswith("sqlite")
    connection = _driver(url)
    columns = "id, run_id, user_id, event_type, message_data, timestamp, sequence_number, is_critical"
    mark = "?" if is_sqlite else "%s"
    insert = f"INSERT INTO persisted_collaboration_messages ({columns}) VALUES ({', '.join([mark] * 8)})"

    async def append(group: list[Append]) -> None:
        rows = [
            (
                uuid.uuid4().hex,
                batch.run_id.replace("-", "") if is_sqlite else batch.run_id,
                entry.event.user_id,
                entry.event.event_type,
                msgspec.json.encode(entry.event.data).decode(),
                "2026-01-01 00:00:00.000000",
                entry.sequence_number,
                True,
            )
            for batch in group
            for entry in batch.entries
        ]
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.executemany(insert, rows)
        cursor.execute("COMMIT")

    try:
        return await measure(commits, events, runs, append, run_ids)
    finally:
        connection.close()


def _driver(url: str):  # type: ignore[no-untyped-def]  # two drivers, which share only what is used here
    if url.startswith("sqlite"):
        import sqlite3

        connection = sqlite3.connect(make_url(url).database or "", isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        return connection
    import psycopg

    return psycopg.connect(url, autocommit=True)


async def main(directory: str | None, commits: int, rounds: int) -> None:
    found: dict[tuple[str, int, int], list[Measured]] = {}
    with ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(dir=directory))
        urls = {"memory": "memory:", "sqlite": f"sqlite:///{Path(place) / 'store.sqlite3'}"}
        try:
            urls["postgresql"] = stack.enter_context(new_database())
        except pytest.skip.Exception as reason:
            print(reason, file=sys.stderr)
        for _ in range(rounds):
            for events, runs in SHAPES:
                for name, url in urls.items():
                    if name != "memory":
                        alone = await with_driver_alone(url, commits, events, runs)
                        found.setdefault((f"{name}, driver alone", events, runs), []).append(alone)
                    async with open_store(url) as store:
                        found.setdefault((name, events, runs), []).append(await with_store(store, commits, events, runs))
    print(f"{'store':26} {'events/commit':>13} {'runs':>5} {'events/s':>10} {'us/event':>9} {'ms/commit':>10}")
    for (name, events, runs), measured in sorted(found.items(), key=lambda item: (-item[0][1], item[0][2], item[0][0])):
        rate = statistics.median(one.events_per_s for one in measured)
        used = statistics.median(one.processor_us for one in measured)
        print(f"{name:26} {events:13} {runs:5} {rate:10,.0f} {used:9.1f} {used * events / 1000:10.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How fast the stores are, beside their drivers alone.")
    parser.add_argument("--directory", help="where the SQLite file goes (default: the system's place for temporary files)")
    parser.add_argument("--commits", type=int, default=200, help="commits in each round (default: 200)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    given = parser.parse_args()
    trio.run(main, given.directory, given.commits, given.rounds)
