"""The tables that the code names, the tables that the migrations make, and the brief's table are the same."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import trio
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from postgres_server import execute, new_database
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from reference.protocol.records import StoredRun
from reference.store import StoreUnavailable, open_store, parse_url, postgresql
from reference.store.sql import SqlStore
from reference.store.tables import SCHEMA_VERSION, VERSION_TABLE
from simulation.cli import run

from .samples import EPOCH, RUN, append, load


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "events.sqlite3"

    async def make() -> None:
        async with open_store(str(path)) as store:
            await store.create_run(RUN, EPOCH)

    trio.run(make)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    else:
        with new_database() as url:
            execute(url, "CREATE TABLE somebody_elses (id integer)")
            yield url


def change(url: str, statement: str) -> None:
    parsed = parse_url(url)
    assert parsed is not None

    async def work() -> None:
        await SqlStore.migrate(parsed, lambda connection: connection.exec_driver_sql(statement).close())

    trio.run(work)


def test_up_check_and_down(empty: str, capsys: pytest.CaptureFixture[str]) -> None:
    def migrate(what: str, *options: str) -> tuple[int, str]:
        code = run(["migrate", what, "--store", empty, *options])
        return code, "".join(capsys.readouterr())

    assert migrate("up") == (0, f"{empty}: the tables are those of this program\n")
    assert migrate("check") == (0, f"{empty}: the tables are those of this program\n")
    assert migrate("up")[0] == 0
    change(empty, "DROP INDEX idx_critical_messages")
    change(empty, "ALTER TABLE collaboration_runs DROP COLUMN created_at")
    code, reported = migrate("check")
    assert (code, sorted(reported.replace(f"{empty}: ", "").splitlines())) == (
        1,
        ["add column collaboration_runs created_at", "add index idx_critical_messages"],
    )
    code, reported = migrate("down")
    assert code == 2
    assert "every run and every event in it will be deleted; say --yes" in reported
    assert migrate("check")[0] == 1
    assert migrate("down", "--yes") == (0, f"{empty}: the tables are gone\n")
    code, reported = migrate("check")
    assert code == 1
    assert f"the schema version is missing, this program's is {SCHEMA_VERSION}" in reported
    assert migrate("down", "--yes")[0] == 0
    assert migrate("up")[0] == 0
    assert migrate("check")[0] == 0


def test_down_leaves_what_is_not_ours() -> None:
    with new_database() as url:
        execute(url, "CREATE TABLE somebody_elses (id integer)")
        run(["migrate", "up", "--store", url])
        run(["migrate", "down", "--store", url, "--yes"])
        tables = execute(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        assert tables == [("somebody_elses",)]


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("memory:", "has no tables"),
        ("mysql://host/x", "unknown kind of store"),
        ("sqlite:///nowhere/x.db", "there is no such file"),
        ("postgresql://ada:secret@127.0.0.1:1/x", "can be reached"),
    ],
)
def test_a_store_that_cannot_be_migrated(store: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate", "check", "--store", store]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("steadywire migrate: ")
    assert why in line
    assert "secret" not in line


def test_the_schema_version_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "reference.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [SCHEMA_VERSION]
    assert Path(scripts.get_revision("v12").path).stem == "v12__create_persisted_collaboration_messages"


def test_the_table_of_the_brief_on_postgresql(postgres_url: str) -> None:
    async def make() -> None:
        async with open_store(postgres_url):
            pass

    trio.run(make)
    columns = execute(
        postgres_url,
        "SELECT column_name, udt_name FROM information_schema.columns"
        " WHERE table_name = 'persisted_collaboration_messages' ORDER BY ordinal_position",
    )
    assert columns == [
        *(("id", "uuid"), ("run_id", "uuid"), ("user_id", "varchar"), ("event_type", "varchar")),
        *(("message_data", "jsonb"), ("timestamp", "timestamptz"), ("sequence_number", "int8"), ("is_critical", "bool")),
        *(("client_id", "varchar"), ("client_sequence", "int8"), ("exact_data", "json")),
    ]
    indexes = execute(postgres_url, "SELECT indexname FROM pg_indexes WHERE tablename = 'persisted_collaboration_messages'")
    assert {name for (name,) in indexes} >= {"idx_run_id_timestamp", "idx_run_id_sequence", "idx_critical_messages"}


def test_the_table_of_the_brief(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        table = "persisted_collaboration_messages"
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        indexes = {row[1] for row in connection.execute(f"PRAGMA index_list({table})")}
    assert columns == [
        *("id", "run_id", "user_id", "event_type", "message_data", "timestamp", "sequence_number", "is_critical"),
        *("client_id", "client_sequence", "exact_data"),
    ]
    assert indexes >= {"idx_run_id_timestamp", "idx_run_id_sequence", "idx_critical_messages"}


async def test_a_database_of_a_newer_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'v99'")
    with pytest.raises(StoreUnavailable, match=f"schema v99, this program knows {SCHEMA_VERSION}; upgrade steadywire"):
        async with open_store(str(path)):
            pass


def test_alembic_is_not_even_imported_when_the_schema_is_up_to_date(path: Path, tmp_path: Path) -> None:
    script = f"""
import sys, trio
from reference.store import open_store
assert "sqlalchemy" not in sys.modules

async def main():
    async with open_store({str(path)!r}) as store:
        await store.check()
    assert "alembic" not in sys.modules
    async with open_store({str(tmp_path / "new.db")!r}) as store:
        await store.check()
    assert "alembic" in sys.modules

trio.run(main)
"""
    project = Path(__file__).parent.parent.parent
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path, env={"PYTHONPATH": str(project)})


async def test_of_several_who_open_a_new_database_at_once_all_that_may_use_it_can(empty: str) -> None:
    url = make_url(empty)
    stores: list[SqlStore] = []
    refused: list[str] = []

    async def open_one() -> None:
        try:
            stores.append(await SqlStore.open(url))
        except StoreUnavailable as error:
            refused.append(str(error))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(open_one)
    if url.get_backend_name() == "sqlite":
        assert [("another server uses this file" in line) for line in refused] == [True] * 3
    created = [await store.create_run(RUN, EPOCH) for store in stores]
    assert created == [True, *[False] * (3 - len(refused))]
    for store in stores:
        await store.aclose()


async def test_a_database_of_the_version_before_keeps_every_event_and_answer(empty: str) -> None:
    url = make_url(empty)
    async with open_store(empty) as store:
        await store.create_run(RUN, EPOCH)
        assert await store.append([append(1, 1, client_id="rare")]) == [None]
        for first in range(2, 400, 40):
            at = first + 39
            assert await store.append([append(first, 40, snapshot_at=at, oldest=at - 150, client_id=f"c{first % 3}")]) == [None]
        before = await load(store)
    await SqlStore.migrate(url, lambda connection: step(connection, "v13"))
    # what the program of that version would have found: each answer that is kept, with its client
    answers = await SqlStore.migrate(url, lambda connection: connection.exec_driver_sql(ANSWERS).scalar_one())
    assert answers >= sum(len(client.answers) for client in before.clients)
    if url.database is not None and url.get_backend_name() == "sqlite":
        await trio.Path(f"{url.database}.commits").unlink()  # that version did not know it
    async with open_store(empty) as store:  # brings it up again
        loaded = await load(store)
        assert _without_times(loaded) == _without_times(before)
        # What was deleted counts as used when the tables were brought up.
        assert all(client.used_at >= known.used_at for client, known in zip(loaded.clients, before.clients, strict=True))
        assert await store.append([append(before.head + 1, client_id="rare")]) == [None]
        after = await load(store)
    assert after.head == before.head + 1
    assert [client.answers for client in after.clients if client.client_id == "rare"] == [((1, 1), (after.head, after.head))]


async def test_a_client_without_a_time_counts_as_used_now(empty: str) -> None:
    """A program of the version before, which runs beside this one, writes none; its clients must not be forgotten for that."""
    async with open_store(empty) as store:
        await store.create_run(RUN, EPOCH)
        await store.append([append(1, 1, client_id="rare")])
        await store.append([append(2, 250, snapshot_at=251, oldest=200)])
        began_at = time.time_ns() // 1_000_000
        times = {client.client_id: client.used_at for client in (await load(store)).clients}
        assert times["rare"] == 1_700_000_000_001
    url = make_url(empty)
    await SqlStore.migrate(
        url, lambda connection: connection.exec_driver_sql("UPDATE collaboration_clients SET used_at = NULL").close()
    )
    async with open_store(empty) as store:
        times = {client.client_id: client.used_at for client in (await load(store)).clients}
        assert times["rare"] >= began_at


async def test_a_migration_of_very_many_rows_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had to change a whole table within the time that a statement of a running server may take."""
    with new_database() as url:
        async with open_store(url) as store:
            await store.create_run(RUN, EPOCH)
            await store.append([append(1, 250, snapshot_at=250, oldest=200)])
        await SqlStore.migrate(make_url(url), lambda connection: step(connection, "v14"))
        execute(
            url,
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END'",
            "CREATE TRIGGER slow BEFORE UPDATE ON collaboration_clients FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        monkeypatch.setattr(postgresql, "_SESSION", postgresql._SESSION.replace("20s", "250ms"))
        async with open_store(url) as store:
            assert (await load(store)).head == 250


ANSWERS = "SELECT count(*) FROM collaboration_answers a JOIN collaboration_clients c USING (run_id, client_id)"


def step(connection: Connection, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", "reference.store:migrations")
    config.attributes["connection"] = connection
    command.downgrade(config, version)


def _without_times(stored: StoredRun) -> StoredRun:
    clients = tuple(msgspec.structs.replace(client, used_at=0) for client in stored.clients)
    return msgspec.structs.replace(stored, clients=clients)
