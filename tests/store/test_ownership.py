"""Ownership of runs: one owner at a time under any concurrency, and never longer than its process lives."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from postgres_server import HANGS_S, end_connections, execute, hangable
from sqlalchemy.engine import make_url

from reference.store import StoreUnavailable, open_store, ownership, postgresql
from reference.store.ownership import Ownership

from .samples import EPOCH, HANG_S, OTHER_RUN, RUN

HOLDS_A_LEASE = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"


@pytest.fixture
async def url(postgres_url: str) -> str:
    async with open_store(postgres_url) as store:
        for run_id in (RUN, OTHER_RUN):
            await store.create_run(run_id, EPOCH)
    return postgres_url


@asynccontextmanager
async def joined(url: str, count: int) -> AsyncIterator[list[Ownership]]:
    processes = [Ownership(make_url(url)) for _ in range(count)]
    try:
        for number, process in enumerate(processes, 1):
            await process.join(f"host-{number}", number)
        yield processes
    finally:
        for process in processes:
            await process.aclose()


async def test_of_many_who_want_a_run_one_gets_it_and_the_others_hear_where_it_is(url: str) -> None:
    answers: dict[int, str | None] = {}

    async def claim(number: int, process: Ownership) -> None:
        place = await process.claim(RUN)
        answers[number] = None if place is None else place.host

    async with joined(url, 4) as processes:
        async with trio.open_nursery() as nursery:
            for number, process in enumerate(processes, 1):
                nursery.start_soon(claim, number, process)
        (winner,) = [number for number, host in answers.items() if host is None]
        assert {host for number, host in answers.items() if number != winner} == {f"host-{winner}"}
        assert await processes[winner - 1].claim(RUN) is None
        found = await processes[winner % 4].find(RUN)
        assert found == processes[winner - 1].place
        assert await processes[winner - 1].find(RUN) is None
        assert await processes[winner % 4].claim(OTHER_RUN) is None


async def test_a_run_that_was_released_is_free(url: str) -> None:
    async with joined(url, 2) as (one, two):
        assert await one.claim(RUN) is None
        assert await two.claim(RUN) == one.place
        await two.release(RUN)  # is not its to release
        assert await two.claim(RUN) == one.place
        await one.release(RUN)
        assert await two.claim(RUN) is None
        assert await one.claim(RUN) == two.place


async def test_a_process_that_leaves_owns_nothing(url: str) -> None:
    async with joined(url, 2) as (one, two):
        assert [await one.claim(RUN), await one.claim(OTHER_RUN)] == [None, None]
        await one.leave()
        assert [await two.claim(RUN), await two.claim(OTHER_RUN)] == [None, None]
        with pytest.raises(StoreUnavailable, match="not connected to the others"):
            await one.claim(RUN)
        await one.leave()
        await one.join("again", 1)
        assert await one.claim(RUN) == two.place


async def test_a_process_that_loses_its_connection_is_notified_at_once_and_has_lost_its_runs(url: str) -> None:
    async with joined(url, 1) as (one,):
        assert await one.claim(RUN) is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, end_connections, url, HOLDS_A_LEASE)
            with trio.fail_after(HANG_S), pytest.raises(StoreUnavailable, match="ended by the server"):
                await one.keep()
        async with joined(url, 1) as (two,):
            assert await two.claim(RUN) is None
            with pytest.raises(StoreUnavailable, match="given this one up"):
                await one.claim(OTHER_RUN)


async def test_a_silent_process_is_given_up_and_notified(url: str) -> None:
    async with joined(url, 2) as (one, two):
        assert await one.claim(RUN) is None
        await trio.to_thread.run_sync(
            execute, url, "UPDATE collaboration_processes SET seen_at = now() - interval '1 min' WHERE port = 1"
        )
        assert await two.find(RUN) is None
        assert await two.claim(RUN) is None
        with trio.fail_after(HANG_S), pytest.raises(StoreUnavailable):
            await one.keep()


async def test_a_joining_process_deletes_the_rows_of_dead_ones(url: str) -> None:
    async with joined(url, 2) as (one, _):
        assert await one.claim(RUN) is None
        assert await trio.to_thread.run_sync(end_connections, url, HOLDS_A_LEASE) == 2
        async with joined(url, 1) as (three,):
            rows = await trio.to_thread.run_sync(execute, url, "SELECT process_id FROM collaboration_processes")
            assert three.place is not None
            assert rows == [(three.place.process_id,)]
            assert await trio.to_thread.run_sync(execute, url, "SELECT * FROM collaboration_owners") == []


async def test_who_leaves_while_the_database_hangs_does_not_wait_for_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "ANSWER_S_MAX", 0.2)
    async with hangable(url) as (behind, hang):
        process = Ownership(make_url(behind))
        await process.join("host", 1)
        assert await process.claim(RUN) is None
        hang()
        with trio.move_on_after(0.1):  # a thread that has not come back
            await process.claim(OTHER_RUN)
        with trio.fail_after(HANGS_S / 2):
            await process.leave()
            await process.aclose()
        assert process.place is None


async def test_a_lease_that_is_never_answered_does_not_keep_the_process_from_joining_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "SEEN_INTERVAL_S", 0.0)
    monkeypatch.setattr(ownership, "ANSWER_S_MAX", 0.1)
    async with hangable(url) as (behind, hang):
        process = Ownership(make_url(behind))
        await process.join("host", 1)
        hang()
        with trio.fail_after(HANGS_S):  # then the connection is cut
            monkeypatch.setattr(postgresql, "ANSWER_S_MAX", 0.2)
            with pytest.raises(StoreUnavailable, match="did not answer"):
                await process.keep()
            await process.leave()
            monkeypatch.undo()
            await process.join("host", 1)
            assert await process.claim(RUN) is None
            await process.aclose()


async def test_what_happens_without_the_database(url: str) -> None:
    process = Ownership(make_url(url).set(port=1))
    with pytest.raises(StoreUnavailable, match="can be reached"):
        await process.join("host", 1)
    await process.aclose()


@pytest.mark.slow
@pytest.mark.parallel
async def test_without_a_thread_the_database_cannot_be_reached(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other error ended the server."""

    async def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    async with joined(url, 1) as (one,):
        with monkeypatch.context() as patched:
            patched.setattr(trio.to_thread, "run_sync", refuse)
            with pytest.raises(StoreUnavailable, match="gives no thread"):
                await one.claim(RUN)
            with trio.fail_after(HANG_S), pytest.raises(StoreUnavailable, match="gives no thread"):
                await one.keep()
            await one.leave()
        await one.join("again", 1)
        assert await one.claim(RUN) is None


class SleepyClock:
    """A clock that counts sleep, of a machine that a test puts to sleep."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def __call__(self) -> int:
        return time.monotonic_ns() + round(self.slept_s * 1e9)


@pytest.mark.slow
@pytest.mark.parallel
async def test_after_a_sleep_nothing_is_held_until_it_is_known_that_nobody_took_it(url: str) -> None:
    clock = SleepyClock()
    one = Ownership(make_url(url), clock_ns=clock)
    assert not one.is_held
    await one.join("host", 1)
    assert one.is_held
    assert await one.claim(RUN) is None
    clock.slept_s = 13
    assert one.is_held
    clock.slept_s = 14.1
    assert not one.is_held
    with pytest.raises(StoreUnavailable, match="silent for so long"):
        await one.claim(OTHER_RUN)
    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.keep)
            while not one.is_held:  # noqa: ASYNC110 - nothing reports it; nobody wanted its runs meanwhile
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    await one.leave()
    assert not one.is_held
    await one.aclose()


async def test_a_process_that_was_cut_off_owns_nothing_from_then_on(url: str) -> None:
    async with joined(url, 1) as (one,):
        assert one.is_held
        await trio.to_thread.run_sync(end_connections, url, HOLDS_A_LEASE)
        with trio.fail_after(HANG_S):
            while one.is_held:  # nobody has to ask the database
                await trio.lowlevel.checkpoint()
