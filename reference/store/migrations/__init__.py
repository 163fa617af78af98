"""The schema's history, applied when a SqlStore opens.

Each module in `versions` is one step, named like the brief's Flyway scripts, and never changed once released.
Reading one number from the version table is enough when the schema is up to date; alembic is imported only
when it is not.
"""

import threading

from sqlalchemy import Connection, inspect, text

from reference.store.base import StoreUnavailable
from reference.store.tables import SCHEMA_VERSION, VERSION_TABLE

_alembic_lock = threading.Lock()
"""Alembic keeps the migration under way in module globals: one at a time in a process."""


def stored_version(connection: Connection) -> str | None:
    """The schema version of this database; None if it has none of our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()
    return None if version is None else str(version)


def upgrade(connection: Connection) -> None:
    """Bring the schema up to SCHEMA_VERSION within the caller's transaction; raises StoreUnavailable if it is
    a newer one.
    """
    found = stored_version(connection)
    if found == SCHEMA_VERSION:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "reference.store:migrations")  # resolved by import, so also from a wheel
    config.attributes["connection"] = connection
    with _alembic_lock:
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreUnavailable(
                f"the database has schema {found}, this program knows {SCHEMA_VERSION}; "
                "upgrade steadywire or choose another database"
            ) from error
