"""Put the client and the number of its publish into each event's row, so that a commit writes one row per event; keep JSON
exactly; and create the tables that detect a restored database and one that cannot be written. Their purpose is in
`reference.store.tables`.

A message whose answer was no longer kept gets no client; it is not needed any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "v14"
down_revision = "v13"
branch_labels = None
depends_on = None

_MESSAGES = "persisted_collaboration_messages"


def upgrade() -> None:
    op.add_column(_MESSAGES, sa.Column("client_id", sa.String))
    op.add_column(_MESSAGES, sa.Column("client_sequence", sa.BigInteger))
    op.add_column(_MESSAGES, sa.Column("exact_data", sa.JSON))
    op.execute(
        f"UPDATE {_MESSAGES} SET client_id = a.client_id, client_sequence = a.client_sequence FROM collaboration_answers a"
        f" WHERE a.run_id = {_MESSAGES}.run_id AND a.sequence_number = {_MESSAGES}.sequence_number"
    )
    op.execute(
        "DELETE FROM collaboration_answers WHERE EXISTS (SELECT 1 FROM persisted_collaboration_messages m"
        " WHERE m.run_id = collaboration_answers.run_id AND m.sequence_number = collaboration_answers.sequence_number)"
    )
    op.drop_column("collaboration_clients", "accepted")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE collaboration_snapshots ALTER COLUMN state TYPE json USING state::text::json")
    op.create_table(
        "collaboration_history",
        sa.Column("history_id", sa.Integer, primary_key=True),
        sa.Column("commits", sa.BigInteger, nullable=False),
        sa.Column("server", sa.String, nullable=False),
    )
    op.create_table(
        "collaboration_probe",
        sa.Column("probe_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("padding", sa.String, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("collaboration_probe")
    op.drop_table("collaboration_history")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE collaboration_snapshots ALTER COLUMN state TYPE jsonb USING state::text::jsonb")
    op.execute(
        "INSERT INTO collaboration_clients (run_id, client_id, user_id, last_client_sequence)"
        f" SELECT run_id, client_id, min(user_id), max(client_sequence) FROM {_MESSAGES} WHERE client_id IS NOT NULL"
        " GROUP BY run_id, client_id ON CONFLICT (run_id, client_id)"
        " DO UPDATE SET last_client_sequence = excluded.last_client_sequence"
    )
    op.execute(
        "INSERT INTO collaboration_answers (run_id, client_id, client_sequence, sequence_number)"
        f" SELECT run_id, client_id, client_sequence, sequence_number FROM {_MESSAGES} WHERE client_id IS NOT NULL"
    )
    # `accepted` only decides when old answers are deleted: the number of kept answers is enough.
    op.add_column("collaboration_clients", sa.Column("accepted", sa.BigInteger, nullable=False, server_default="64"))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE collaboration_clients ALTER COLUMN accepted DROP DEFAULT")
    for column in ("exact_data", "client_sequence", "client_id"):
        op.drop_column(_MESSAGES, column)
