"""Faults of a database server: it ends a connection at any moment, stops and restarts, serves two processes at
once, and refuses writes.
"""

import contextlib
import math
import os
import random
import resource
import struct
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import psycopg
import pytest
import trio
from postgres_server import HANGS_S, end_connections, execute, hangable
from sqlalchemy.engine import make_url

from reference.protocol.records import Append, RunState, Snapshot
from reference.store import EventStore, StoreConflict, StoreError, StoreUnavailable, open_store, postgresql, sql
from reference.store.changes import RunChange
from reference.store.postgresql import PostgresqlCommits, exact_text
from reference.store.sql import SqlStore

from .samples import EPOCH, HANG_S, OTHER_RUN, RUN, append, entry, load, refusal

OURS = "application_name = 'steadywire'"
LOCKED = f"{OURS} AND wait_event_type = 'Lock'"
DESCRIPTORS_MAX = 2048
"""A connection of the store gets a descriptor below this."""


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


async def test_a_connection_that_is_opened_beside_a_thousand_sockets_commits(postgres_url: str) -> None:
    """Its descriptor is above 1023, which `select.select` does not take: after a restart of the database, every commit failed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < DESCRIPTORS_MAX:
        pytest.skip(f"this system allows {hard} descriptors")
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        descriptor = 0
        while descriptor < 1024:
            descriptor = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, descriptor)
        async with open_store(postgres_url) as store:
            await store.create_run(RUN, EPOCH)
            assert [await store.append([append(number)]) for number in (1, 2)] == [[None], [None]]


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


@pytest.mark.parametrize("step", [1, 2, 6, 7, 8])  # a commit; the ping of the pool; what a load reads
async def test_a_connection_that_the_driver_lost_is_not_used_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """When a server ends at a certain moment, psycopg reports "connection socket closed" and leaves its connection open, in the
    middle of a command. It stayed in use, and every later commit or load failed."""
    wait = psycopg.Connection.wait
    waits = 0

    def wait_and_lose(connection: psycopg.Connection[Any], generator: Any, **options: Any) -> Any:
        nonlocal waits
        waits += 1
        if waits != step:
            return wait(connection, generator, **options)
        try:
            next(generator)  # the command is sent
        except StopIteration as done:  # there was none
            return done.value
        raise psycopg.OperationalError("connection socket closed")

    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1)]) == [None]
        await load(store)
        monkeypatch.setattr(psycopg.Connection, "wait", wait_and_lose)
        for use in (load, lambda store: store.append([append(2)])):
            waits = 0
            with suppress(StoreUnavailable):
                await use(store)
            monkeypatch.setattr(psycopg.Connection, "wait", wait)
            head = (await load(store)).head
            assert await store.append([append(head + 1)]) == [None]
            await store.check()
            monkeypatch.setattr(psycopg.Connection, "wait", wait_and_lose)


async def test_a_trim_reads_the_answers_of_the_clients_whose_events_it_deletes_and_no_others(postgres_url: str) -> None:
    """Before the next vacuum the database expects many events to delete, and chose to read all answers of the run."""
    others = 2000
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        for first in range(1, 1000, 50):  # by twenty clients
            assert await store.append([append(first, 50, client_id=f"client-{first}")]) == [None]
    await trio.to_thread.run_sync(
        execute,
        postgres_url,
        "INSERT INTO persisted_collaboration_messages SELECT gen_random_uuid(), run_id, 'u', 'CHAT', '{}', now(), number, false,"
        " 'client-1', number FROM collaboration_runs, generate_series(2000, 40000) number",
        "DELETE FROM persisted_collaboration_messages WHERE sequence_number >= 2000",  # dead rows until the next vacuum
        f"INSERT INTO collaboration_answers SELECT '{RUN}', 'other-' || client, number, number"
        f" FROM generate_series(1, {others}) client, generate_series(1, 10) number",
    )
    rows_read = (
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
        " WHERE relname = 'collaboration_answers'"
    )
    ((before,),) = await trio.to_thread.run_sync(execute, postgres_url, rows_read)
    async with open_store(postgres_url) as store:
        assert await store.append([append(1001, snapshot_at=1000, oldest=101)]) == [None]
    while True:  # the server counts what a connection did when the connection has ended
        ((after,),) = await trio.to_thread.run_sync(execute, postgres_url, rows_read)
        if after != before:
            break
    assert int(str(after)) - int(str(before)) < 10 * others


async def test_whatever_is_killed_when_what_was_confirmed_is_there_once(postgres_url: str) -> None:
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        here = "datname = current_database()"  # other tests have databases of their own, at the same time
        victims = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {here} AND {OURS} AND state <> 'idle'"
        with psycopg.connect(postgres_url, autocommit=True) as other:
            while not is_over.wait(0.05):
                (count,) = other.execute(victims.encode()).fetchone() or (0,)
                killed.append(count)

    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        lost = head = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, kill)
            try:  # a thread cannot be cancelled: what fails here must end it
                while sum(killed) < 5 or lost < 3 or head < 20:
                    (outcome,) = await store.append([append(head + 1, 2)])
                    if outcome is None:
                        head += 2
                        continue
                    assert isinstance(outcome, StoreUnavailable)
                    lost += 1
                    with trio.fail_after(HANG_S):
                        head = await until_loaded(store, at_least=head)
            finally:
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
        assert await load(one) == await load(two)


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
    missing = url.set(database="missing").render_as_string(hide_password=False)
    assert "there is no such database; make it with createdb" in await refusal(missing)
    stranger = url.set(username="nobody_at_all").render_as_string(hide_password=False)
    assert "this user may not connect" in await refusal(stranger)


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
    async with open_store(postgres_url) as store:
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


EDGES: list[object] = [
    *(-0.0, 0.0, -0.5, 5e-324, 1e-320, 1.7976931348623157e308, 1e22, 1e21, 2e16, 123456789012345680000.0, 1e-7, -1e-5),
    *(2**63 - 1, -(2**63), 0.1, 1.0, 100.0, 1e5, 1e15, 1e16, 1e17, "1e5", "-0.0", [-0.0, 1e30], {"": 1e30}),
]


async def test_every_number_comes_back_as_it_was(postgres_url: str) -> None:
    drawn = random.Random(7)
    floats = [struct.unpack("<d", drawn.randbytes(8))[0] for _ in range(500)]
    values = [*EDGES, *(value for value in floats if math.isfinite(value))]
    entries = tuple(entry(number, value=value) for number, value in enumerate(values, 1))
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        snapshot = Snapshot(1, RunState(grafts={"at": {"value": values}}))
        assert await store.append([Append(RUN, EPOCH, entries, snapshot, 1)]) == [None]
        stored = await load(store)
    assert [repr(event.data["value"]) for event in stored.events] == [repr(value) for value in values]
    assert repr(stored.snapshot.state.grafts["at"]["value"]) == repr(values)


def test_identifiers_and_hashes_do_not_look_like_numbers() -> None:
    drawn = random.Random(1)
    ids = [str(uuid.UUID(int=drawn.getrandbits(128), version=4)) for _ in range(1000)]
    assert not any(exact_text(msgspec.json.encode({"id": one, "list": [one]})) for one in ids)
    assert not any(exact_text(msgspec.json.encode({"id": drawn.randbytes(32).hex()})) for _ in range(1000))


ZERO_NUMBER = b'{"a":0.' + b"0" * 20_000 + b"1}"


@pytest.mark.parametrize("text", [b'{"a":1E5}', b'{"a": -0}', b'{"a":[1,-0.00]}', b'{"a":1e-16400}', ZERO_NUMBER])
def test_what_jsonb_would_change_is_kept_as_text(text: bytes) -> None:
    assert exact_text(text) == text


async def test_a_locked_row_costs_its_run_and_no_other(postgres_url: str) -> None:
    runs = [str(uuid.UUID(int=number)) for number in range(1, 6)]
    async with open_store(postgres_url) as store:
        for run in runs:
            await store.create_run(run, EPOCH)
        with psycopg.connect(postgres_url) as operator:
            operator.execute("SELECT * FROM collaboration_runs WHERE run_id = %s FOR UPDATE", (runs[0],))
            for number in (1, 2):
                batches = [append(number if run != runs[0] else 1, run_id=run) for run in runs]
                outcomes = await store.append(batches)
                assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, *[type(None)] * 4]
                assert "another session holds its row" in str(outcomes[0])
        assert await store.append([append(1, run_id=runs[0]), append(3, run_id=runs[1])]) == [None, None]
        assert [(await load(store, run)).head for run in runs] == [1, 3, 2, 2, 2]


async def test_a_table_that_is_locked_fails_the_group_and_not_for_long(postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        with psycopg.connect(postgres_url) as operator:
            operator.execute("LOCK TABLE persisted_collaboration_messages")
            with trio.fail_after(15):
                (outcome,) = await store.append([append(1)])
            assert isinstance(outcome, StoreUnavailable)
            assert "another session holds a lock" in str(outcome)
        assert await store.append([append(1)]) == [None]


async def test_who_loads_a_run_from_a_database_that_hangs_may_leave(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stopped meanwhile waited for the database, for ever."""
    monkeypatch.setattr(sql, "CLOSE_S_MAX", 0.2)
    async with hangable(postgres_url) as (url, hang), open_store(url) as store:
        await store.create_run(RUN, EPOCH)
        hang()
        with trio.move_on_after(0.2) as scope:
            await store.load_run(RUN)
        assert scope.cancelled_caught


async def test_a_database_that_takes_everything_and_never_answers_keeps_no_thread(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system of the other end, or a proxy, confirmed every byte, so no keepalive failed: no commit succeeded ever again."""

    async with hangable(postgres_url) as (url, hang), open_store(url) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1)]) == [None]
        with trio.fail_after(HANGS_S):  # then the connections are cut
            monkeypatch.setattr(postgresql, "ANSWER_S_MAX", 0.1)
            hang()
            (outcome,) = await store.append([append(2)])
            assert isinstance(outcome, StoreUnavailable)
            assert "did not answer within 0.1 s" in str(outcome)
            monkeypatch.undo()
            assert await store.append([append(2)]) == [None]
            monkeypatch.setattr(postgresql, "ANSWER_S_MAX", 1.0)
            hang()
            assert (await load(store)).head == 2, "a connection that was not in use is replaced"


async def test_a_database_that_is_serializable_by_default(postgres_url: str) -> None:
    name = make_url(postgres_url).database
    setting = f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
    await trio.to_thread.run_sync(execute, postgres_url, setting)
    runs = [str(uuid.UUID(int=number)) for number in range(1, 4)]

    async def write(run: str) -> None:
        async with open_store(postgres_url) as store:
            await store.create_run(run, EPOCH)
            for number in range(1, 31):
                assert await store.append([append(number, run_id=run, client_id=run)]) == [None]

    try:
        async with trio.open_nursery() as nursery:
            for run in runs:
                nursery.start_soon(write, run)
    finally:
        await trio.to_thread.run_sync(execute, postgres_url, f"ALTER DATABASE {name} RESET default_transaction_isolation")


async def test_what_the_database_ended_to_end_a_deadlock_is_repeated(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await SqlStore.open(make_url(postgres_url))
    await store.create_run(RUN, EPOCH)
    move, failures = PostgresqlCommits._move, [psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure]

    def fails_first(self: PostgresqlCommits, changes: Sequence[RunChange]) -> dict[str, None]:
        if failures:
            raise failures.pop()("could not be ordered")
        return move(self, changes)

    monkeypatch.setattr(PostgresqlCommits, "_move", fails_first)
    assert await store.append([append(1)]) == [None]
    failures += [psycopg.errors.DeadlockDetected] * 9
    (outcome,) = await store.append([append(2)])
    assert isinstance(outcome, StoreUnavailable)
    assert len(failures) == 4
    failures.clear()
    assert await store.append([append(2)]) == [None]
    await store.aclose()


async def test_another_database_server_means_a_new_epoch(postgres_url: str) -> None:
    async with open_store(postgres_url) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1, 3)]) == [None]
    async with open_store(postgres_url) as store:
        await store.check()
        assert (await load(store)).epoch == EPOCH
        # as after a takeover: the database says it was on another server, and the connection is made anew
        await trio.to_thread.run_sync(execute, postgres_url, "UPDATE collaboration_history SET server = '1/00000001/2'")
        await trio.to_thread.run_sync(end_connections, postgres_url, OURS)
        (outcome,) = await store.append([append(4)])
        assert isinstance(outcome, StoreConflict | StoreUnavailable)
        await store.check()
        stored = await load(store)
        assert (stored.epoch != EPOCH, stored.head) == (True, 3)
        assert await store.append([append(4, epoch=stored.epoch)]) == [None]


async def test_events_that_were_confirmed_and_are_gone_mean_a_new_epoch(postgres_url: str) -> None:
    back = (
        "DELETE FROM persisted_collaboration_messages WHERE sequence_number > 3",
        "UPDATE collaboration_runs SET head = 3",
    )
    async with open_store(postgres_url) as store:
        for run in (RUN, OTHER_RUN):
            await store.create_run(run, EPOCH)
            assert await store.append([append(1, 5, run_id=run)]) == [None]
        await trio.to_thread.run_sync(execute, postgres_url, *back)
        assert (await load(store)).epoch != EPOCH  # detected when it is loaded
        (outcome,) = await store.append([append(6, run_id=OTHER_RUN)])  # or by the next commit
        assert isinstance(outcome, StoreConflict)
        assert (await load(store, OTHER_RUN)).epoch != EPOCH
