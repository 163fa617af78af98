"""What alembic runs for every command: apply the migrations on the connection that the caller brings, in its
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
