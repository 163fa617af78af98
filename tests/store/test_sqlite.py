"""Faults of a store on disk: losing confirmed data, keeping data that it should drop, and failing without a
reason.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from sqlalchemy import URL
from trio.testing import wait_all_tasks_blocked

from reference.protocol.records import Append, StoredRun
from reference.store import MemoryStore, StoreUnavailable, open_store, sql
from reference.store.kept import parsed
from reference.store.sql import SqlStore
from reference.store.sqlite import SqliteCommits

from .samples import EPOCH, OTHER_RUN, RUN, append, entry, load, refusal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite3"


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


async def test_what_comes_back_after_closing_equals_the_store_in_memory(path: Path) -> None:
    memory = MemoryStore()
    await memory.create_run(RUN, EPOCH)
    for first in range(1, 1300, 50):
        batch = append(first, 50, snapshot_at=first + 20, oldest=first - 900, client_id=f"client-{first % 3}")
        assert await memory.append([batch]) == [None]
        async with open_store(str(path)) as store:
            assert await store.create_run(RUN, EPOCH) == (first == 1)
            assert await store.append([batch]) == [None]
    async with open_store(f"sqlite:///{path}") as store:
        assert await load(store) == await load(memory)
    await memory.aclose()


@pytest.mark.slow
@pytest.mark.parallel
async def test_rows_that_are_not_needed_any_more_are_deleted_in_bulk(path: Path) -> None:
    kept: list[int] = []
    async with open_store(str(path)) as store:
        await store.create_run(RUN, EPOCH)
        for n in range(1, 1001):
            await store.append([append(n, snapshot_at=n, oldest=n - 49)])
            if n % 10 == 0:
                kept.append(rows(path, "persisted_collaboration_messages"))
                assert rows(path, "collaboration_answers") < 64 + 64
    assert max(kept) < 50 + 100
    assert sum(later < earlier for earlier, later in pairwise(kept)) == 9
    assert rows(path, "collaboration_snapshots") == 1


def test_everything_confirmed_is_there_after_kill_9(path: Path) -> None:
    script = f"""
import trio
from reference.store import open_store
from store.samples import EPOCH, RUN, append

async def main():
    async with open_store({str(path)!r}) as store:
        await store.create_run(RUN, EPOCH)
        first = 1
        while True:
            group = [append(first, 3), append(first + 3, 2, snapshot_at=first)]
            assert await store.append(group) == [None, None]
            first += 5
            print(first - 1, flush=True)

trio.run(main)
"""
    tests = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    confirmed = 0
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            confirmed = int(line)
            if confirmed >= 500:
                process.kill()  # in the middle of whatever it does now; what it printed meanwhile is read on
    assert process.returncode == -9

    async def load() -> StoredRun | None:
        async with open_store(str(path)) as store:
            return await store.load_run(RUN)

    stored = trio.run(load)
    assert stored is not None
    assert stored.head >= confirmed >= 500
    assert stored.head % 5 == 0, "a group is one transaction, so all of it is there or nothing"
    assert [event.sequence_number for event in stored.events] == list(range(1, stored.head + 1))
    assert parsed(stored).events == tuple(entry(n).event for n in range(1, stored.head + 1))


async def test_a_place_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    missing, below_a_file = tmp_path / "missing" / "x.db", tmp_path / "file" / "x.db"
    assert f"{missing}: the directory {missing.parent} does not exist; create it" in await refusal(missing)
    assert "this is a directory; name a file in it" in await refusal(f"sqlite:///{tmp_path}")
    assert "is not a directory; choose another path" in await refusal(below_a_file)


async def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    content = b"Dear diary, " * 1000
    await trio.Path(path).write_bytes(content)
    assert f"{path}: the file is not an SQLite database; choose another path" in await refusal(path)
    assert await trio.Path(path).read_bytes() == content
    assert os.listdir(path.parent) == [path.name]


@contextmanager
def nobody_special() -> Iterator[None]:
    """Give up root's rights for a while, if this is root: file permissions do not bind root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_place_that_cannot_be_written() -> None:
    # not in tmp_path, which nobody but its owner may enter
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "events.sqlite3"
        async with open_store(str(path)) as store:
            await store.create_run(RUN, EPOCH)
        path.chmod(0o444)
        path.parent.chmod(0o555)
        with nobody_special():
            line = await refusal(path)
            other = await refusal(path.parent / "other.sqlite3")
        path.parent.chmod(0o755)
    assert str(path) in line
    assert "write permission" in line
    assert "give this user write permission on it and on" in other


async def test_a_file_that_another_process_holds(path: Path) -> None:
    store = await SqlStore.open(URL.create("sqlite", database=str(path)), busy_timeout_s=0)
    await store.create_run(RUN, EPOCH)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await store.append([append(1), append(2)])
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
        assert "another process holds the database" in str(outcomes[0])
        with pytest.raises(StoreUnavailable, match="another process holds"):
            await store.check()
        other.execute("ROLLBACK")
    await store.check()
    assert await store.append([append(1), append(2)]) == [None, None]
    await store.aclose()


async def test_checks_at_the_same_moment_write_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, checks = SqliteCommits.check, 0

    def counted(commits: SqliteCommits) -> None:
        nonlocal checks
        checks += 1
        check(commits)

    monkeypatch.setattr(SqliteCommits, "check", counted)
    async with open_store(str(path)) as store, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(store.check)
    assert checks == 1


async def test_a_file_is_for_one_server(path: Path, tmp_path: Path) -> None:
    other_name = tmp_path / "link.db"
    other_name.symlink_to(path)
    async with open_store(str(path)) as one:
        await one.create_run(RUN, EPOCH)
        for name in (path, other_name):
            assert f"{name}: another server uses this file; stop it" in await refusal(name)
        assert await one.append([append(1, 3)]) == [None]
    async with open_store(str(path)) as two:
        assert await two.append([append(4)]) == [None]


def test_the_file_is_free_when_its_server_was_killed(path: Path) -> None:
    script = f"""
import trio
from reference.store import open_store

async def main():
    async with open_store({str(path)!r}):
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "another server uses this file" in trio.run(refusal, path)
        process.kill()

    async def use() -> None:
        async with open_store(str(path)) as store:
            assert await store.create_run(RUN, EPOCH)

    trio.run(use)


@pytest.mark.parametrize("what", ["removed", "replaced", "log removed"])
async def test_a_file_that_is_gone_takes_nothing_more(path: Path, what: str) -> None:
    async with open_store(str(path)) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1)]) == [None]
        if what == "replaced":
            shutil.copy(path, path.with_suffix(".copy"))
            path.with_suffix(".copy").replace(path)
        else:
            (path if what == "removed" else Path(f"{path}-wal")).unlink()
        (outcome,) = await store.append([append(2)])
        assert isinstance(outcome, StoreUnavailable)
        assert "was removed or replaced" in str(outcome)
        for call in (store.check, lambda: store.load_run(RUN), lambda: store.create_run(OTHER_RUN, EPOCH)):
            with pytest.raises(StoreUnavailable, match="was removed or replaced"):
                await call()


async def test_a_file_that_comes_from_a_backup_means_a_new_epoch(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    async with open_store(str(path)) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1, 3)]) == [None]
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as copy:
            source.backup(copy)
        assert await store.append([append(4, 2)]) == [None]
    async with open_store(str(path)) as store:
        stored = await load(store)
        assert (stored.epoch, stored.head) == (EPOCH, 5)
    shutil.copy(backup, path)
    epochs = set()
    for _ in range(2):  # and only one
        async with open_store(str(path)) as store:
            stored = await load(store)
            assert stored.head == 3
            epochs.add(stored.epoch)
    assert len(epochs) == 1
    assert EPOCH not in epochs


async def test_a_full_disk_is_named_and_nothing_half_written_remains(path: Path) -> None:
    store = await SqlStore.open(URL.create("sqlite", database=str(path)))
    await store.create_run(RUN, EPOCH)
    store._commits._connection.execute("PRAGMA max_page_count=60")
    head = 0
    while (outcome := (await store.append([append(head + 1, 100)]))[0]) is None:
        head += 100
    assert isinstance(outcome, StoreUnavailable)
    assert "the disk is full; free some space" in str(outcome)
    stored = await load(store)
    assert (stored.head, len(stored.events)) == (head, head)
    await store.aclose()


async def test_a_log_with_a_hole_is_not_taken_for_whole(path: Path) -> None:
    async with open_store(str(path)) as store:
        await store.create_run(RUN, EPOCH)
        await store.append([append(1, 5)])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DELETE FROM persisted_collaboration_messages WHERE sequence_number = 3")
        with pytest.raises(StoreUnavailable, match="4 events are stored where 1 to 5 must be"):
            await store.load_run(RUN)


async def test_a_number_is_stored_once_even_if_the_bookkeeping_is_wrong(path: Path) -> None:
    async with open_store(str(path)) as store:
        await store.create_run(RUN, EPOCH)
        await store.append([append(1, 5)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE collaboration_runs SET head = 3")
    async with open_store(str(path)) as store:
        (outcome,) = await store.append([Append(RUN, EPOCH, (entry(4, "client-2"),), None, 1)])
        assert isinstance(outcome, StoreUnavailable)
        assert "UNIQUE" in str(outcome)


async def test_every_commit_waits_for_the_disk(path: Path) -> None:
    store = await SqlStore.open(URL.create("sqlite", database=str(path)))
    with store._engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        ]
    assert settings == ["wal", 2, 5000, 1]
    await store.aclose()


async def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "a b%20ü?x=1#y.sqlite3"
    async with open_store(str(path)) as store:
        await store.create_run(RUN, EPOCH)
    assert path.exists()


async def test_checks_of_a_database_that_hangs_do_not_pile_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each left its write with the thread, and every commit waited for them once the database was back."""
    goes_on = threading.Event()
    async with open_store(str(path)) as store, trio.open_nursery() as nursery:
        assert isinstance(store, SqlStore)
        nursery.start_soon(store._worker.run, goes_on.wait)
        await wait_all_tasks_blocked()
        with monkeypatch.context() as patched:
            patched.setattr(sql, "CHECK_S_MAX", 0.01)
            try:
                for _ in range(10):
                    with pytest.raises(StoreUnavailable, match="did not answer"):
                        await store.check()
                assert store._worker._jobs.qsize() == 1
            finally:
                goes_on.set()
        await store._worker.run(lambda: None)  # until it has come to what was queued
        await store.check()
