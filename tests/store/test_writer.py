"""The single writer: batches, in order, each event exactly once, whatever the store does."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from reference.protocol.errors import ConfigError
from reference.protocol.records import Append
from reference.store import GroupCommit, MemoryStore, StoreConflict, StoreError, StoreOverloaded, StoreUnavailable, open_store
from reference.store.sql import SqlStore

from .samples import EPOCH, RUN, append


class SlowStore(MemoryStore):
    """A store in memory whose disk waits for a permit, and which remembers how many batches each group
    had.
    """

    def __init__(self, permits: int = 0) -> None:
        super().__init__()
        self.permits = trio.Semaphore(permits)
        self.groups: list[list[int]] = []

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        self.groups.append([len(batch.entries) for batch in batches])
        await self.permits.acquire()
        return await super().append(batches)


class Log:
    """Collects the calls of `done`: the first number of each batch, and the kind of its error."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, type[StoreError] | None]] = []

    def __call__(self, batch: Append, error: StoreError | None) -> None:
        self.outcomes.append((batch.entries[0].sequence_number, None if error is None else type(error)))


@pytest.fixture
async def slow() -> SlowStore:
    store = SlowStore()
    await store.create_run(RUN, EPOCH)
    return store


async def test_what_arrives_during_a_commit_becomes_the_next_one(slow: SlowStore, nursery: trio.Nursery) -> None:
    writer, log = GroupCommit(slow), Log()
    nursery.start_soon(writer.run)
    writer.submit(append(1), log)
    await wait_all_tasks_blocked()
    for n in range(2, 7):
        writer.submit(append(n), log)
    await wait_all_tasks_blocked()
    assert (slow.groups, log.outcomes) == ([[1]], [])
    slow.permits.release()
    await wait_all_tasks_blocked()
    assert (slow.groups, log.outcomes) == ([[1], [1] * 5], [(1, None)])
    slow.permits.release()
    await wait_all_tasks_blocked()
    assert log.outcomes == [(n, None) for n in range(1, 7)]
    writer.submit(append(7), log)
    slow.permits.release()
    await wait_all_tasks_blocked()
    assert log.outcomes[-1] == (7, None)
    assert (slow.groups, writer.appends_waiting) == ([[1], [1] * 5, [1]], 0)


async def test_a_group_holds_so_many_entries_and_at_least_one_batch(nursery: trio.Nursery) -> None:
    store, log = SlowStore(permits=9), Log()
    await store.create_run(RUN, EPOCH)
    writer = GroupCommit(store, entries_per_commit_max=10)
    first = 1
    for count in (4, 6, 1, 25, 5, 6):
        writer.submit(append(first, count), log)
        first += count
    nursery.start_soon(writer.run)
    await wait_all_tasks_blocked()
    assert store.groups == [[4, 6], [1], [25], [5], [6]]
    assert [error for _, error in log.outcomes] == [None] * 6


async def test_a_refused_batch_is_reported_in_its_place(nursery: trio.Nursery) -> None:
    store, log = SlowStore(permits=9), Log()
    await store.create_run(RUN, EPOCH)
    writer = GroupCommit(store)
    for batch in (append(1), append(2, epoch="wrong"), append(3), append(2)):
        writer.submit(batch, log)
    nursery.start_soon(writer.run)
    await wait_all_tasks_blocked()
    assert log.outcomes == [(1, None), (2, StoreConflict), (3, StoreConflict), (2, None)]


async def test_the_queue_is_bounded(slow: SlowStore, nursery: trio.Nursery) -> None:
    writer, log = GroupCommit(slow, appends_waiting_max=3), Log()
    nursery.start_soon(writer.run)
    for n in (1, 2, 3):
        writer.submit(append(n), log)
        await wait_all_tasks_blocked()
    with pytest.raises(StoreOverloaded, match="3 batches wait"):
        writer.submit(append(4), log)
    slow.permits.release()
    await wait_all_tasks_blocked()
    writer.submit(append(4), log)
    slow.permits.release()


async def test_done_may_submit(nursery: trio.Nursery) -> None:
    store, seen = SlowStore(permits=99), Log()
    await store.create_run(RUN, EPOCH)
    writer = GroupCommit(store)

    def again(batch: Append, error: StoreError | None) -> None:
        seen(batch, error)
        if (head := batch.entries[0].sequence_number) < 5:
            writer.submit(append(head + 1), again)

    nursery.start_soon(writer.run)
    writer.submit(append(1), again)
    await wait_all_tasks_blocked()
    assert seen.outcomes == [(n, None) for n in range(1, 6)]


async def test_cancelled_it_finishes_what_the_store_has_and_reports_the_rest(slow: SlowStore) -> None:
    writer, log = GroupCommit(slow), Log()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.submit(append(1), log)
        await wait_all_tasks_blocked()
        writer.submit(append(2), log)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            assert log.outcomes == []
            slow.permits.release()
    assert log.outcomes == [(1, None), (2, StoreUnavailable)]
    stored = await slow.load_run(RUN)
    assert stored is not None
    assert stored.head == 1
    with pytest.raises(StoreUnavailable, match="has stopped"):
        writer.submit(append(2), log)


async def test_a_store_that_hangs_is_given_up(slow: SlowStore, autojump_clock: MockClock) -> None:
    writer, log = GroupCommit(slow, commit_s_max=30), Log()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        writer.submit(append(1), log)
        await trio.sleep(29.9)
        assert log.outcomes == []
        await trio.sleep(0.2)
        assert log.outcomes == [(1, StoreUnavailable)]
        writer.submit(append(2), log)
        nursery.cancel_scope.cancel()
    assert trio.current_time() < 31
    assert log.outcomes == [(1, StoreUnavailable), (2, StoreUnavailable)]


async def test_a_done_that_fails_ends_the_writer_and_forgets_no_batch(slow: SlowStore) -> None:
    writer, log = GroupCommit(slow), Log()

    def fail(batch: Append, error: StoreError | None) -> None:
        raise RuntimeError("a bug in the server")

    writer.submit(append(1), fail)
    writer.submit(append(2), log)
    slow.permits.release()
    with pytest.raises(RuntimeError, match="a bug"):
        await writer.run()
    assert log.outcomes == [(2, StoreUnavailable)]


async def test_with_a_fault_handler_the_writer_survives_faults_that_are_not_its_own(nursery: trio.Nursery) -> None:
    class Faulty(MemoryStore):
        async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
            if batches[0].entries[0].sequence_number == 1 and self.fails:
                self.fails = False
                raise RuntimeError("can't start new thread")
            return await super().append(batches)

        fails = True

    store, log = Faulty(), Log()
    faults: list[str] = []
    await store.create_run(RUN, EPOCH)
    writer = GroupCommit(store, on_fault=lambda what, error: faults.append(f"{what}: {error}"))
    nursery.start_soon(writer.run)

    def fail(batch: Append, error: StoreError | None) -> None:
        raise ValueError("a bug in the server")

    writer.submit(append(1), log)
    await wait_all_tasks_blocked()
    assert log.outcomes == [(1, StoreUnavailable)]
    writer.submit(append(1), fail)
    writer.submit(append(2), log)
    await wait_all_tasks_blocked()
    assert log.outcomes[1:] == [(2, None)]
    assert faults == [
        "a commit failed: can't start new thread",
        "the outcome of a commit could not be handled: a bug in the server",
    ]


async def test_many_writers_on_disk_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, commits, append_to = Log(), 0, SqlStore.append

    async def counted(store: SqlStore, batches: Sequence[Append]) -> list[StoreError | None]:
        nonlocal commits
        commits += 1
        return await append_to(store, batches)

    monkeypatch.setattr(SqlStore, "append", counted)
    async with open_store(str(tmp_path / "events.db")) as store:
        await store.create_run(RUN, EPOCH)
        writer = GroupCommit(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            for n in range(1, 501):
                writer.submit(append(n), log)
                if n % 20 == 0:
                    await trio.lowlevel.checkpoint()
            while len(log.outcomes) < 500:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert log.outcomes == [(n, None) for n in range(1, 501)]
        assert 2 <= commits < 100
        stored = await store.load_run(RUN)
        assert stored is not None
        assert stored.head == 500


@pytest.mark.parametrize("name", ["entries_per_commit_max", "appends_waiting_max", "commit_s_max"])
async def test_limits_are_above_zero(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be above 0, but is 0"):
        GroupCommit(MemoryStore(), **{name: 0})
