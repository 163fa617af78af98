"""The database tables, in types that both SQLite and PostgreSQL have.

`persisted_collaboration_messages` and its three indexes are the brief's, column for column; its run_id points
at `collaboration_runs`, which replaces `ai_run` of the brief's host application. The other tables hold
what a log needs to survive a restart without repeating a number or storing a publish twice.

    collaboration_runs       one row per run: its epoch, and where its retained window begins and ends
    collaboration_snapshots  the newest snapshot of each run; created with the run, at number 0
    collaboration_clients    one row per client in a run with events that were deleted: its user, its newest number in them, and
                             the highest timestamp of them, which decides when it is forgotten (8.3)
    collaboration_answers    the last answers to each client in events that were deleted: which number its publish was given
    collaboration_history    one row: shows whether this database is older than it was (`history`)
    collaboration_probe      what a readiness check writes

A message has the client and the number of the publish that made it, so a commit writes one row per event. Together with the
remaining messages the tables of clients and answers have everything about a client.

JSONB would return `1e22` as an integer and `-0.0` without its sign. There `exact_data` keeps the received text (1.6); it is NULL
elsewhere, and always on SQLite, which keeps text.

On PostgreSQL, which several server processes may share, two more say which process serves which run (`ownership`):

    collaboration_processes  one row per member process: its address for the others, and since when
                             it has been silent
    collaboration_owners     one row per run that is being served: by which process

`head` and `oldest` could be computed from the messages, but are stored with the run: one row gives its position, locks it against
a second writer on PostgreSQL, and is right even when the window is empty. `oldest` is needed because rows are deleted late.

A change here needs a new module in `migrations/versions` and SCHEMA_VERSION; a test compares the two.
"""

import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA_VERSION = "v15"
"""The newest migration, whose result these tables are."""
VERSION_TABLE = "collaboration_schema_version"
"""Alembic's own table, under a name that does not collide with another application's."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


class Milliseconds(TypeDecorator[int]):
    """A timestamp column that Python sees as integer ms since 1970, exactly. SQLite returns naive datetimes,
    which are UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> datetime.datetime | None:
        return None if value is None else _EPOCH + value * _MILLISECOND

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        moment: datetime.datetime = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return (moment - _EPOCH) // _MILLISECOND


_UUID = Uuid(as_uuid=False)
_JSON = JSON().with_variant(JSONB(), "postgresql")

metadata = MetaData()

runs = Table(
    "collaboration_runs",
    metadata,
    Column("run_id", _UUID, primary_key=True),
    Column("epoch", String, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("head", BigInteger, nullable=False),
    Column("oldest", BigInteger, nullable=False),
)


def _run_id(*, primary_key: bool = False) -> Column[str]:
    return Column("run_id", _UUID, ForeignKey(runs.c.run_id), primary_key=primary_key, nullable=False)


messages = Table(
    "persisted_collaboration_messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    _run_id(),
    Column("user_id", String, nullable=False),
    Column("event_type", String, nullable=False),
    Column("message_data", _JSON, nullable=False),
    Column("timestamp", Milliseconds, nullable=False),
    Column("sequence_number", BigInteger, nullable=False),
    Column("is_critical", Boolean, nullable=False),
    Column("client_id", String),
    Column("client_sequence", BigInteger),
    Column("exact_data", JSON),
    Index("idx_run_id_timestamp", "run_id", "timestamp"),
    Index("idx_run_id_sequence", "run_id", "sequence_number", unique=True),
    Index("idx_critical_messages", "run_id", "is_critical", "sequence_number"),
)

snapshots = Table(
    "collaboration_snapshots",
    metadata,
    _run_id(primary_key=True),
    Column("sequence_number", BigInteger, nullable=False),
    Column("state", JSON, nullable=False),
)

clients = Table(
    "collaboration_clients",
    metadata,
    _run_id(primary_key=True),
    Column("client_id", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("last_client_sequence", BigInteger, nullable=False),
    Column("used_at", Milliseconds),
    sqlite_with_rowid=False,
)

answers = Table(
    "collaboration_answers",
    metadata,
    _run_id(primary_key=True),
    Column("client_id", String, primary_key=True),
    Column("client_sequence", BigInteger, primary_key=True),
    Column("sequence_number", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

history = Table(
    "collaboration_history",
    metadata,
    Column("history_id", Integer, primary_key=True),
    Column("commits", BigInteger, nullable=False),
    Column("server", String, nullable=False),
)

probe = Table(
    "collaboration_probe",
    metadata,
    Column("probe_id", BigInteger, primary_key=True, autoincrement=False),
    Column("padding", String, nullable=False),
)

processes = Table(
    "collaboration_processes",
    metadata,
    Column("process_id", Integer, primary_key=True),
    Column("host", String, nullable=False),
    Column("port", Integer, nullable=False),
    Column("secret", String, nullable=False),
    Column("joined_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

owners = Table(
    "collaboration_owners",
    metadata,
    Column("run_id", _UUID, primary_key=True),
    Column("process_id", Integer, ForeignKey(processes.c.process_id, ondelete="CASCADE"), nullable=False),
    Index("idx_owners_process", "process_id"),
)


def encode_json(value: object) -> str:
    """JSON text in the form of the protocol; records become objects with their protocol names."""
    return msgspec.json.encode(value).decode()


def metadata_for(dialect: Dialect) -> MetaData:
    """The tables for a database of this kind."""
    if dialect.name == "postgresql":
        return metadata
    alone = MetaData()
    for table in metadata.sorted_tables:
        if table not in (processes, owners):
            table.to_metadata(alone)
    return alone
