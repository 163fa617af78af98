"""Create the tables with which several server processes share one PostgreSQL database; their purpose is
in `reference.store.tables`. An SQLite file belongs to one process and gets nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "v13"
down_revision = "v12"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.create_table(
        "collaboration_processes",
        sa.Column("process_id", sa.Integer, primary_key=True),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    processes = sa.ForeignKey("collaboration_processes.process_id", ondelete="CASCADE")
    op.create_table(
        "collaboration_owners",
        sa.Column("run_id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("process_id", sa.Integer, processes, nullable=False),
    )
    op.create_index("idx_owners_process", "collaboration_owners", ["process_id"])


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_table("collaboration_owners")
        op.drop_table("collaboration_processes")
