"""What only a database server can do: end a connection at any moment, go away and come back, serve two of us at
once, and stop taking writes.
"""

import threading

import psycopg
import pytest
import trio
from postgres_server import end_connections, execute
from sqlalchemy.engine import make_url

from reference.protocol.records import Append, StoredRun
from reference.store import EventStore, StoreConflict, StoreError, StoreUnavailable, open_store
from reference.store.postgresql import encode_jsonb
from reference.store.sql import SqlStore

from .samples import EPOCH, OTHER_RUN, RUN, append, entry

OURS = "application_name = 'steadywire'"
LOCKED = f"{OURS} AND wait_event_type = 'Lock'"


async def refusal(url: str) -> str:
    """The line with which a store refuses to open."""
    with pytest.raises(StoreUnavailable) as caught:
        async with open_store(url):
            pass
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400
    return line


async def load(store: EventStore, run_id: str = RUN) -> StoredRun:
    stored = await store.load_run(run_id)
    assert stored is not None
    return stored


async def test_connections_that_died_unused_are_replaced_unnoticed(postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1)]) == [None]
        assert await trio.to_thread.run_sync(end_connections, postgres_url, OURS) >= 1
        assert await store.append([append(2)]) == [None]
        assert await trio.to_thread.run_sync(end_connections, postgres_url, OURS) >= 1
        assert (await load(store)).head == 2
        assert await trio.to_thread.run_sync(end_connections, postgres_url, OURS) >= 1
        await store.check()


async def test_a_connection_that_dies_within_a_commit_leaves_nothing_and_the_store_recovers(postgres_url: str) -> None:
    outcomes: list[StoreError | None] = []

    async def write(store: EventStore) -> None:
        outcomes.extend(await store.append([append(1), append(2, 2)]))

    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        async with trio.open_nursery() as nursery:
            with psycopg.connect(postgres_url) as other:
                other.execute("SELECT * FROM collaboration_runs FOR UPDATE")  # the commit cannot get past this
                nursery.start_soon(write, store)
                while not await trio.to_thread.run_sync(end_connections, postgres_url, LOCKED):
                    pass
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 2
        assert (await load(store)).head == 0
        assert await store.append([append(1), append(2, 2)]) == [None, None]


async def test_whatever_is_killed_when_what_was_confirmed_is_there_once(postgres_url: str) -> None:
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        victims = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OURS} AND state <> 'idle'"
        with psycopg.connect(postgres_url, autocommit=True) as other:
            while not is_over.wait(0.05):
                (count,) = other.execute(victims.encode()).fetchone() or (0,)
                killed.append(count)

    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        lost = head = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, kill)
            while sum(killed) < 5 or lost < 3 or head < 20:
                (outcome,) = await store.append([append(head + 1, 2)])
                if outcome is None:
                    head += 2
                    continue
                assert isinstance(outcome, StoreUnavailable)
                lost += 1
                with trio.fail_after(5):
                    head = await until_loaded(store, at_least=head)
            is_over.set()
        stored = await load(store)
        assert stored.events == tuple(entry(n).event for n in range(1, head + 1))


async def until_loaded(store: EventStore, *, at_least: int) -> int:
    """Where the run stands: what was confirmed, and perhaps the batch whose fate was not known."""
    while True:
        try:
            head = (await load(store)).head
        except StoreUnavailable:
            continue
        assert head in (at_least, at_least + 2)
        return head


async def test_two_servers_do_not_overwrite_each_other(postgres_url: str) -> None:
    async with open_store(postgres_url) as one, open_store(postgres_url) as two:
        assert [await one.create_run(RUN, EPOCH), await two.create_run(RUN, "another")] == [True, False]
        assert await one.append([append(1, 3)]) == [None]
        (outcome,) = await two.append([append(1, 3)])
        assert isinstance(outcome, StoreConflict)
        assert await two.append([append(4, client_id="client-2")]) == [None]
        assert await one.load_run(RUN) == await two.load_run(RUN)


async def test_two_servers_that_write_the_same_runs_never_wait_for_each_other_in_a_circle(postgres_url: str) -> None:
    taken: list[int] = []

    async def write(store: EventStore, runs: tuple[str, str]) -> None:
        for number in range(1, 21):
            outcomes = await store.append([append(number, run_id=run) for run in runs])
            assert all(outcome is None or isinstance(outcome, StoreConflict) for outcome in outcomes)
            taken.extend(number for outcome in outcomes if outcome is None)

    async with open_store(postgres_url) as one, open_store(postgres_url) as two:
        for run_id in (RUN, OTHER_RUN):
            await one.create_run(run_id, EPOCH)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, one, (RUN, OTHER_RUN))
            nursery.start_soon(write, two, (OTHER_RUN, RUN))
        assert len(taken) == (await load(one)).head + (await load(one, OTHER_RUN)).head


async def test_why_it_cannot_be_opened(postgres_url: str) -> None:
    url = make_url(postgres_url)
    nobody = url.set(port=1, password="secret").render_as_string(hide_password=False)
    line = await refusal(nobody)
    assert "check that the database is there and can be reached" in line
    assert "secret" not in line
    assert 'database "missing" does not exist' in await refusal(url.set(database="missing").render_as_string(hide_password=False))


async def test_a_standby_is_not_taken_for_the_primary(postgres_url: str) -> None:
    name = make_url(postgres_url).database
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        try:
            await trio.to_thread.run_sync(execute, postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await trio.to_thread.run_sync(end_connections, postgres_url, OURS)
            (outcome,) = await store.append([append(1)])
            assert isinstance(outcome, StoreUnavailable)
            assert "read-only" in str(outcome)
            with pytest.raises(StoreUnavailable, match="read-only"):
                await store.check()
        finally:
            await trio.to_thread.run_sync(
                execute,
                postgres_url,
                "SET default_transaction_read_only = off",
                f"ALTER DATABASE {name} RESET default_transaction_read_only",
            )
        assert await store.append([append(1)]) == [None]


async def test_a_number_is_stored_once_even_if_the_bookkeeping_is_wrong(postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        await store.append([append(1, 5)])
        await trio.to_thread.run_sync(execute, postgres_url, "UPDATE collaboration_runs SET head = 3")
        (outcome,) = await store.append([Append(RUN, EPOCH, (entry(4, "client-2"),), None, 1)])
        assert isinstance(outcome, StoreUnavailable)
        assert "unique" in str(outcome)


async def test_every_commit_waits_for_the_disk_and_no_statement_waits_for_ever(postgres_url: str) -> None:
    store = await SqlStore.open(make_url(postgres_url))
    with store._engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("synchronous_commit", "statement_timeout", "idle_in_transaction_session_timeout")
        ]
    assert settings == ["on", "20s", "20s"]
    await store.aclose()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 2.006373583359127e16}, '{"a":20063735833591272.0}'),
        ([-1e22, (1e16,)], "[-10000000000000000000000.0,[10000000000000000.0]]"),
        ({"a": "1e5", "b": 1e-7}, '{"a":"1e5","b":1e-7}'),
        ({"a": 0.5, "b": 3}, '{"a":0.5,"b":3}'),
    ],
)
def test_a_number_is_written_so_that_it_stays_what_it_is(value: object, text: str) -> None:
    assert encode_jsonb(value) == text
