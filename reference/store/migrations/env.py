"""Alembic's environment: applies the migrations on the caller's connection, in its
transaction.
"""

from alembic import context

from reference.store.tables import VERSION_TABLE, metadata_for

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata_for(connection.dialect),
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
