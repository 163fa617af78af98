"""Whatever is appended, the store in memory and those on disk say the same, also after they were opened again: the same window,
which meets the snapshot, and hardly more in the database than that.
"""

import uuid
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, func, select
from sqlalchemy.engine import make_url

from reference.protocol.events import Event
from reference.protocol.records import Append, LogEntry, RunState, Snapshot, StoredRun
from reference.store import MemoryStore
from reference.store.changes import EVENTS_DELETED_AT_ONCE
from reference.store.kept import parsed
from reference.store.sql import SqlStore
from reference.store.tables import messages

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""What `protocol.events` lets pass: no NaN, no NUL, no half characters, no integer beyond 64 bits."""
data = st.dictionaries(texts, json_values, max_size=3)
random_source = st.fixed_dictionaries(
    {
        "run": st.integers(0, 1),
        "entries": st.sampled_from([0, 1, 2, 7, 70, 130]),
        "clients": st.integers(1, 3),
        "misplaced": st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]),
        "wrong_epoch": st.sampled_from([False] * 9 + [True]),
        "repeats": st.sampled_from([False] * 9 + [True]),
        "snapshot_back": st.none() | st.integers(-1, 150),
        "window": st.integers(0, 150),
        "data": data,
        "timestamp": st.integers(0, 253_402_300_799_999),
        "forgets": st.sets(st.integers(0, 3), max_size=2),
    }
)
steps = st.lists(st.lists(random_source, max_size=3) | st.just("reopen"), max_size=8)


def batch(run_id: str, heads: dict[str, int], draw: dict) -> Append:
    """A batch that fits unless the draw says otherwise; `heads` guesses where the run stands if all of it is
    stored.
    """
    first = heads[run_id] + 1 + draw["misplaced"]
    last = first + draw["entries"] - 1
    entries = tuple(
        LogEntry(
            Event("CHAT", f"user {n % 2}", draw["timestamp"], n, draw["data"], n % 3 == 0),
            f"client {n % draw['clients']}",
            1 if draw["repeats"] else 2 * n,
        )
        for n in range(first, last + 1)
    )
    heads[run_id] = max(last, 0)
    at = None if draw["snapshot_back"] is None else last - draw["snapshot_back"]
    snapshot = None if at is None or at < 0 else Snapshot(at, RunState(grafts={"p": draw["data"]}, prunes=(str(at),)))
    forgotten = tuple(f"client {n}" for n in sorted(draw["forgets"]))
    return Append(run_id, "wrong" if draw["wrong_epoch"] else "epoch", entries, snapshot, last - draw["window"], forgotten)


async def compare(url: URL, script: list) -> None:
    # Fresh ids on one file: making the tables for every example would take most of the time.
    run_ids = [str(uuid.uuid4()) for _ in range(2)]
    memory, sql = MemoryStore(), await SqlStore.open(url)
    try:
        for run_id in run_ids:
            assert await memory.create_run(run_id, "epoch")
            assert await sql.create_run(run_id, "epoch")
        for step in script:
            if step == "reopen":
                await sql.aclose()
                sql = await SqlStore.open(url)
            else:
                heads = {run_id: (await loaded(memory, run_id)).head for run_id in run_ids}
                group = [batch(run_ids[draw["run"]], heads, draw) for draw in step]
                expected, found = await memory.append(group), await sql.append(group)
                assert [repr(outcome) for outcome in found] == [repr(outcome) for outcome in expected]
            for run_id in run_ids:
                stored = await loaded(sql, run_id)
                assert parsed(stored) == parsed(await loaded(memory, run_id))
                assert len(stored.events) <= stored.head
                assert stored.snapshot.sequence_number >= stored.head - len(stored.events)
                assert all(len(client.answers) <= 64 for client in stored.clients)
                kept = await trio.to_thread.run_sync(rows_of, sql, run_id)
                assert len(stored.events) <= kept < len(stored.events) + EVENTS_DELETED_AT_ONCE
    finally:
        await sql.aclose()
        await memory.aclose()


def rows_of(store: SqlStore, run_id: str) -> int:
    """How many events of the run the database really holds."""
    with store._engine.connect() as connection:
        return connection.execute(select(func.count()).where(messages.c.run_id == run_id)).scalar_one()


async def loaded(store: MemoryStore | SqlStore, run_id: str) -> StoredRun:
    stored = await store.load_run(run_id)
    assert stored is not None
    return stored


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "postgresql":
        return make_url(str(request.getfixturevalue("postgres_url")))
    return URL.create("sqlite", database=str(tmp_path / "equal.sqlite3"))


@pytest.mark.slow
@pytest.mark.parallel
def test_both_stores_always_say_the_same(url: URL) -> None:
    @settings(max_examples=20, deadline=None)
    @given(steps)
    def check(script: list) -> None:
        trio.run(compare, url, script)

    check()
