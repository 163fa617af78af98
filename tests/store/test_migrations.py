"""The tables that the code names, the tables that the migrations make, and the brief's table are the same."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, create_engine

from reference.store import StoreUnavailable, open_store
from reference.store.sql import SqlStore
from reference.store.tables import SCHEMA_VERSION, VERSION_TABLE, metadata

from .samples import EPOCH, RUN


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "events.sqlite3"

    async def make() -> None:
        async with open_store(str(path)) as store:
            await store.create_run(RUN, EPOCH)

    trio.run(make)
    return path


def test_the_migrations_make_exactly_the_tables_of_the_code(path: Path) -> None:
    engine = create_engine(URL.create("sqlite", database=str(path)))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_schema_version_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", "reference.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [SCHEMA_VERSION]
    assert Path(scripts.get_revision("v12").path).stem == "v12__create_persisted_collaboration_messages"


def test_the_table_of_the_brief(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        table = "persisted_collaboration_messages"
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        indexes = {row[1] for row in connection.execute(f"PRAGMA index_list({table})")}
    assert columns == [
        *("id", "run_id", "user_id", "event_type", "message_data", "timestamp", "sequence_number", "is_critical"),
    ]
    assert indexes >= {"idx_run_id_timestamp", "idx_run_id_sequence", "idx_critical_messages"}


async def test_a_database_of_a_newer_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = 'v99'")
    with pytest.raises(StoreUnavailable, match="schema v99, this program knows v12; upgrade steadywire"):
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


async def test_a_new_file_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    url = URL.create("sqlite", database=str(tmp_path / "new.db"))
    stores: list[SqlStore] = []

    async def open_one() -> None:
        stores.append(await SqlStore.open(url))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(open_one)
    created = [await store.create_run(RUN, EPOCH) for store in stores]
    assert created == [True, False, False, False]
    for store in stores:
        await store.aclose()
