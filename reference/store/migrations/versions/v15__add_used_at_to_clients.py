"""Remember when a client published last, so that client ids can be forgotten when they were not used for long.

The times of deleted events are unknown: their clients count as used now.
"""

import datetime

import sqlalchemy as sa
from alembic import op

revision = "v15"
down_revision = "v14"
branch_labels = None
depends_on = None

_CLIENTS = "collaboration_clients"


def upgrade() -> None:
    op.add_column(_CLIENTS, sa.Column("used_at", sa.DateTime(timezone=True)))
    clients = sa.table(_CLIENTS, sa.column("used_at", sa.DateTime(timezone=True)))
    now = datetime.datetime.now(datetime.UTC)
    op.execute(sa.update(clients).values(used_at=now.replace(microsecond=now.microsecond // 1000 * 1000)))


def downgrade() -> None:
    op.drop_column(_CLIENTS, "used_at")
