"""Create the brief's table of messages and the tables beside it; their purpose is in
`reference.store.tables`.

Written out instead of imported from `tables`: a migration must not change when the tables do.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "v12"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    uuid = sa.Uuid(as_uuid=False)
    json = sa.JSON().with_variant(JSONB(), "postgresql")

    op.create_table(
        "collaboration_runs",
        sa.Column("run_id", uuid, primary_key=True),
        sa.Column("epoch", sa.String, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("head", sa.BigInteger, nullable=False),
        sa.Column("oldest", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "persisted_collaboration_messages",
        sa.Column("id", uuid, primary_key=True),
        sa.Column("run_id", uuid, sa.ForeignKey("collaboration_runs.run_id"), nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("message_data", json, nullable=False),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence_number", sa.BigInteger, nullable=False),
        sa.Column("is_critical", sa.Boolean, nullable=False),
    )
    messages = "persisted_collaboration_messages"
    op.create_index("idx_run_id_timestamp", messages, ["run_id", "timestamp"])
    op.create_index("idx_run_id_sequence", messages, ["run_id", "sequence_number"], unique=True)
    op.create_index("idx_critical_messages", messages, ["run_id", "is_critical", "sequence_number"])
    op.create_table(
        "collaboration_snapshots",
        sa.Column("run_id", uuid, sa.ForeignKey("collaboration_runs.run_id"), primary_key=True),
        sa.Column("sequence_number", sa.BigInteger, nullable=False),
        sa.Column("state", json, nullable=False),
    )
    op.create_table(
        "collaboration_clients",
        sa.Column("run_id", uuid, sa.ForeignKey("collaboration_runs.run_id"), primary_key=True),
        sa.Column("client_id", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("last_client_sequence", sa.BigInteger, nullable=False),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "collaboration_answers",
        sa.Column("run_id", uuid, sa.ForeignKey("collaboration_runs.run_id"), primary_key=True),
        sa.Column("client_id", sa.String, primary_key=True),
        sa.Column("client_sequence", sa.BigInteger, primary_key=True),
        sa.Column("sequence_number", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for table in ("answers", "clients", "snapshots"):
        op.drop_table(f"collaboration_{table}")
    op.drop_table("persisted_collaboration_messages")
    op.drop_table("collaboration_runs")
