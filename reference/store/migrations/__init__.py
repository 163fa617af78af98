"""The schema's history, applied when a SqlStore opens and by `steadywire migrate`.

Each module in `versions` is one step, named like the brief's Flyway scripts, and never changed once released.
If the schema is up to date, reading the version number is enough; alembic is imported only
otherwise.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select, text

from reference.store.base import StoreUnavailable
from reference.store.tables import SCHEMA_VERSION, VERSION_TABLE, metadata_for

if TYPE_CHECKING:
    from alembic.config import Config

LOCK_S_MAX = 20
"""How long a migration waits for a table that somebody uses, on PostgreSQL."""
_alembic_lock = threading.Lock()
"""Alembic keeps its state in module globals: only one migration at a time in a process."""
_POSTGRESQL_LOCK = 0x5354_4459
"""The advisory lock under which one process at a time migrates a database; SQLite has locked its file by then."""


def stored_version(connection: Connection) -> str | None:
    """The schema version of this database; None if it has no tables of steadywire."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()
    return None if version is None else str(version)


def upgrade(connection: Connection) -> None:
    """Bring the schema up to SCHEMA_VERSION within the caller's transaction; raises StoreUnavailable if it is a newer one."""
    if stored_version(connection) == SCHEMA_VERSION:
        return
    from alembic import command

    _migrate(connection, lambda config: command.upgrade(config, "head"))


def downgrade(connection: Connection) -> None:
    """Remove every table of steadywire with its contents, within the caller's transaction. Raises StoreUnavailable if the schema
    is a newer one."""
    if stored_version(connection) is None:
        return
    from alembic import command

    _migrate(connection, lambda config: command.downgrade(config, "base"))
    connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))


def differences(connection: Connection) -> list[str]:
    """The differences between the tables of this database and those of this program, one line each. Other tables are ignored."""
    found = stored_version(connection)
    if found != SCHEMA_VERSION:
        return [f"the schema version is {found or 'missing'}, this program's is {SCHEMA_VERSION}"]
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    ours = metadata_for(connection.dialect)

    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or name in ours.tables

    options = {"version_table": VERSION_TABLE, "include_name": is_ours, "compare_type": True}
    context = MigrationContext.configure(connection, opts=options)
    return [_in_words(change) for change in compare_metadata(context, ours)]


def _migrate(connection: Connection, step: "Callable[[Config], None]") -> None:
    from alembic.config import Config
    from alembic.util import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_POSTGRESQL_LOCK)))
        # To change very many rows takes longer than a statement of a running server may. Waits for others stay bounded.
        bounds = func.set_config("lock_timeout", f"{LOCK_S_MAX}s", True), func.set_config("statement_timeout", "0", True)
        connection.execute(select(*bounds))
    config = Config()
    config.set_main_option("script_location", "reference.store:migrations")  # resolved by import, so also from a wheel
    config.attributes["connection"] = connection
    with _alembic_lock:
        try:
            step(config)
        except CommandError as error:
            found = stored_version(connection)
            raise StoreUnavailable(
                f"the database has schema {found}, this program knows {SCHEMA_VERSION}; "
                "upgrade steadywire or choose another database"
            ) from error


def _in_words(change: object) -> str:
    """One of alembic's differences, as a line: how it would change the database."""
    if isinstance(change, list):
        return "; ".join(_in_words(one) for one in change)
    assert isinstance(change, tuple)
    what, *parts = change
    names = [part if isinstance(part, str) else getattr(part, "name", None) for part in parts]
    return f"{what.replace('_', ' ')} {' '.join(name for name in names if isinstance(name, str))}"
