"""The durable store: SQLAlchemy Core on a synchronous driver, in worker threads.

One thread writes. Its limiter is the queue in front of the database: commits happen one after the other, in
the order they were asked for, and a commit that hangs holds up the next one rather than racing it. Reads have
threads of their own and see the database as of one moment.

The append path is kept short, because it bounds what a server can accept: two reads (where do the runs stand,
where do the clients), then one executemany per table. What the rows are is decided in `changes`; what a
database needs beyond these statements is in `sqlite` and `postgresql`.

On PostgreSQL the first read also locks the rows of the runs, which is what serialises two servers; SQLite has
locked the whole file by then.
"""

import datetime
import functools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import msgspec
import trio
from sqlalchemy import (
    URL,
    BindParameter,
    Connection,
    Dialect,
    Engine,
    bindparam,
    delete,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from reference.protocol.events import Event
from reference.protocol.records import Append, RunState, Snapshot, StoredClient, StoredRun
from reference.store.base import ANSWERS_KEPT_PER_CLIENT, StoreError, StoreUnavailable, check_run_id, closed, is_run_id
from reference.store.changes import Changes
from reference.store.migrations import upgrade
from reference.store.position import ClientPosition, Position
from reference.store.prepared import inserting, updating
from reference.store.sqlite import WRITING, sqlite_engine
from reference.store.sqlite import advice as sqlite_advice
from reference.store.tables import answers, clients, messages, runs, snapshots

T = TypeVar("T")

READ_THREADS_MAX = 4
CLOSE_S_MAX = 30.0
"""How long `aclose` waits for a commit that hangs, in seconds, before it leaves it to the end of the
process.
"""

_BAD_VALUES = (TypeError, ValueError, OverflowError)
"""What a driver raises when it is handed a value that it cannot pass on, such as half a surrogate pair."""
_NEW_TRANSACTION_ID = text("SELECT pg_current_xact_id()")
"""What PostgreSQL refuses where nothing can be written."""

_AT_RUN: BindParameter[str] = bindparam("at_run_id")
_AT_CLIENT: BindParameter[str] = bindparam("at_client_id")
_POSITIONS = (
    select(runs.c.run_id, runs.c.epoch, runs.c.head, runs.c.oldest, snapshots.c.sequence_number)
    .join_from(runs, snapshots)
    .where(runs.c.run_id.in_(bindparam("run_ids", expanding=True)))
    .order_by(runs.c.run_id)  # locks are taken in this order everywhere, so two servers cannot wait for each other
    .with_for_update()
)
_CLIENTS = select(clients).where(
    clients.c.run_id.in_(bindparam("run_ids", expanding=True)),
    clients.c.client_id.in_(bindparam("client_ids", expanding=True)),
)
_DELETE_MESSAGES = delete(messages).where(messages.c.run_id == _AT_RUN, messages.c.sequence_number < bindparam("at_oldest"))
_DELETE_ANSWERS = delete(answers).where(
    answers.c.run_id == _AT_RUN,
    answers.c.client_id == _AT_CLIENT,
    answers.c.client_sequence
    < select(answers.c.client_sequence)
    .where(answers.c.run_id == _AT_RUN, answers.c.client_id == _AT_CLIENT)
    .order_by(answers.c.client_sequence.desc())
    .limit(1)
    .offset(ANSWERS_KEPT_PER_CLIENT - 1)
    .scalar_subquery(),
)


class _Writes:
    """The writing half of an append, for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        at_run, at_client = {"at_run_id": runs.c.run_id}, {"at_run_id": clients.c.run_id, "at_client_id": clients.c.client_id}
        self._insert_messages = inserting(messages, dialect)
        self._insert_answers = inserting(answers, dialect)
        self._insert_clients = inserting(clients, dialect)
        self._move_run = updating(runs, ("head", "oldest"), at_run, dialect)
        self._move_snapshot = updating(snapshots, ("sequence_number", "state"), {"at_run_id": snapshots.c.run_id}, dialect)
        self._move_client = updating(clients, ("last_client_sequence", "accepted"), at_client, dialect)

    def execute(self, connection: Connection, changes: Changes) -> None:
        self._insert_messages.execute(connection, changes.messages)
        self._move_run.execute(connection, changes.runs())
        self._move_snapshot.execute(connection, changes.snapshots())
        self._insert_clients.execute(connection, changes.clients(new=True))
        self._move_client.execute(connection, changes.clients(new=False))
        self._insert_answers.execute(connection, changes.answers)
        for statement, rows in (
            (_DELETE_MESSAGES, changes.deletable_messages()),
            (_DELETE_ANSWERS, changes.deletable_answers()),
        ):
            if rows:
                connection.execute(statement, rows)


class SqlStore:
    """An EventStore in a SQL database. Made by `open`; belongs to the trio run that opened it."""

    def __init__(self, engine: Engine) -> None:
        assert engine.dialect.dbapi is not None, "an engine has a driver"
        self._engine = engine
        self._driver_error: type[Exception] = engine.dialect.dbapi.Error
        self._failures = (SQLAlchemyError, self._driver_error, *_BAD_VALUES)
        self._writing = engine.execution_options(**{WRITING: True})
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._reading = engine if self._is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self._writes = _Writes(engine.dialect)
        self._write_limiter = trio.CapacityLimiter(1)
        self._read_limiter = trio.CapacityLimiter(READ_THREADS_MAX)
        self._is_closed = False

    @property
    def shared_url(self) -> URL | None:
        """The database, if several server processes may use it at once."""
        return None if self._is_sqlite else self._engine.url

    @classmethod
    async def open(cls, url: URL, *, busy_timeout_s: float = 5.0) -> Self:
        """Open the database at `url`, make or upgrade its tables, and find out whether it can be written.

        `busy_timeout_s`: seconds to wait for another process that holds the file. Raises StoreUnavailable.
        """
        store = cls(_engine(url, busy_timeout_s))
        try:
            await store._in_writer(store._migrate, upgrade)
        except BaseException:
            await store.aclose()
            raise
        return store

    @classmethod
    async def migrate(cls, url: URL, work: Callable[[Connection], T]) -> T:
        """Do `work`, one of `migrations`, in one writing transaction on the database at `url`. Raises
        StoreUnavailable.
        """
        store = cls(_engine(url, busy_timeout_s=5.0))
        try:
            return await store._in_writer(store._migrate, work)
        finally:
            await store.aclose()

    async def create_run(self, run_id: str, epoch: str) -> bool:
        """As EventStore.create_run."""
        check_run_id(run_id)
        return await self._in_writer(self._create_run, run_id, epoch)

    async def delete_run(self, run_id: str) -> bool:
        """As EventStore.delete_run: behind the commits that wait."""
        return is_run_id(run_id) and await self._in_writer(self._delete_run, run_id)

    async def load_run(self, run_id: str) -> StoredRun | None:
        """As EventStore.load_run."""
        if self._is_closed:
            raise closed()
        if not is_run_id(run_id):
            return None
        return await trio.to_thread.run_sync(self._load_run, run_id, limiter=self._read_limiter)

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        """As EventStore.append. Cancelling it does not stop a commit that has begun; only the outcome is
        lost.
        """
        if self._is_closed:
            await trio.lowlevel.checkpoint()
            return [closed() for _ in batches]
        return await self._in_writer(self._append, tuple(batches), abandon_on_cancel=True)

    async def check(self) -> None:
        """As EventStore.check: takes the write lock, behind the commits that wait, and lets it go."""
        await self._in_writer(self._check)

    async def aclose(self) -> None:
        """As EventStore.aclose: waits for the commit and the reads under way, then closes every
        connection.
        """
        if self._is_closed:
            return
        self._is_closed = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S_MAX):
            for _ in range(READ_THREADS_MAX):
                await self._read_limiter.acquire_on_behalf_of(object())
            await trio.to_thread.run_sync(self._engine.dispose, limiter=self._write_limiter, abandon_on_cancel=True)

    async def _in_writer(self, work: Callable[..., T], *arguments: object, abandon_on_cancel: bool = False) -> T:
        if self._is_closed:
            raise closed()
        call = functools.partial(work, *arguments)
        return await trio.to_thread.run_sync(call, limiter=self._write_limiter, abandon_on_cancel=abandon_on_cancel)

    # From here on everything runs in a worker thread.

    @contextmanager
    def _unavailable_for_driver_errors(self) -> Iterator[None]:
        try:
            yield
        except self._failures as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, StoreUnavailable):
            return error
        cause = (error.orig if isinstance(error, DBAPIError) else None) or error
        if self._is_sqlite and isinstance(cause, sqlite3.Error):
            return StoreUnavailable(sqlite_advice(cause, Path(self._engine.url.database or "")))
        if not self._is_sqlite and (self._is_down(error) or isinstance(error, ProgrammingError)):
            from reference.store.postgresql import advice

            return StoreUnavailable(advice(cause, self._engine.url))
        reason = str(cause).partition("\n")[0]
        return StoreUnavailable(f"the database does not take this: {reason}; check values before they are stored")

    def _is_down(self, error: Exception) -> bool:
        """Whether the database is what failed, not a value that it was handed."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        return isinstance(error, StoreUnavailable | OperationalError | self._driver_error)

    def _migrate(self, work: Callable[[Connection], T]) -> T:
        with self._unavailable_for_driver_errors(), self._writing.begin() as connection:
            return work(connection)

    def _check(self) -> None:
        with self._unavailable_for_driver_errors(), self._writing.begin() as connection:
            connection.execute(select(runs.c.run_id).limit(1) if self._is_sqlite else _NEW_TRANSACTION_ID).all()

    def _create_run(self, run_id: str, epoch: str) -> bool:
        now = datetime.datetime.now(datetime.UTC)
        run = {"run_id": run_id, "epoch": epoch, "created_at": now, "head": 0, "oldest": 1}
        snapshot = {"run_id": run_id, "sequence_number": 0, "state": RunState()}
        with self._unavailable_for_driver_errors():
            try:
                with self._writing.begin() as connection:
                    connection.execute(insert(runs), run)
                    connection.execute(insert(snapshots), snapshot)
            except IntegrityError:
                return False
        return True

    def _delete_run(self, run_id: str) -> bool:
        with self._unavailable_for_driver_errors(), self._writing.begin() as connection:
            # The row of the run first, and locked: a batch that another process has under way is before this or finds nothing.
            if connection.execute(select(runs.c.run_id).where(runs.c.run_id == run_id).with_for_update()).first() is None:
                return False
            for table in (answers, clients, messages, snapshots, runs):
                connection.execute(delete(table).where(table.c.run_id == run_id))
        return True

    def _append(self, batches: tuple[Append, ...]) -> list[StoreError | None]:
        try:
            with self._writing.begin() as connection:
                changes = Changes(_positions(connection, batches))
                outcomes: list[StoreError | None] = [changes.add(batch) for batch in batches]
                self._writes.execute(connection, changes)
        except (StoreUnavailable, *self._failures) as error:
            if len(batches) > 1 and not self._is_down(error):
                # The database works, but one of the batches holds what it does not take: find out which.
                return [outcome for batch in batches for outcome in self._append((batch,))]
            return [self._unavailable(error) for _ in batches]
        return outcomes

    def _load_run(self, run_id: str) -> StoredRun | None:
        with self._unavailable_for_driver_errors(), self._reading.begin() as connection:
            run = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
            if run is None:
                return None
            snapshot = connection.execute(select(snapshots).where(snapshots.c.run_id == run_id)).one()
            events = _events(connection, run_id, run.oldest)
            stored_clients = _clients(connection, run_id)
        if len(events) != run.head - run.oldest + 1:
            raise StoreUnavailable(
                f"run {run_id}: {len(events)} events are stored where {run.oldest} to {run.head} must be; "
                "restore the database from a backup"
            )
        state = msgspec.convert(snapshot.state, RunState)
        return StoredRun(run_id, run.epoch, run.head, Snapshot(snapshot.sequence_number, state), events, stored_clients)


def _engine(url: URL, busy_timeout_s: float) -> Engine:
    connections_max = READ_THREADS_MAX + 1
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, busy_timeout_s=busy_timeout_s, connections_max=connections_max)
    from reference.store.postgresql import postgresql_engine  # here, because not everybody has a PostgreSQL

    return postgresql_engine(url, connections_max=connections_max)


def _positions(connection: Connection, batches: tuple[Append, ...]) -> dict[str, Position]:
    run_ids = list(dict.fromkeys(batch.run_id for batch in batches if is_run_id(batch.run_id)))
    client_ids = list(dict.fromkeys(entry.client_id for batch in batches for entry in batch.entries))
    positions = {row[0]: Position(*row) for row in connection.execute(_POSITIONS, {"run_ids": run_ids}).all()}
    if client_ids and positions:
        for row in connection.execute(_CLIENTS, {"run_ids": list(positions), "client_ids": client_ids}):
            client = ClientPosition(row.user_id, row.last_client_sequence, row.accepted)
            positions[row.run_id].clients[row.client_id] = client
    return positions


def _events(connection: Connection, run_id: str, oldest: int) -> tuple[Event, ...]:
    columns = messages.c
    query = (
        select(
            columns.event_type,
            columns.user_id,
            columns.timestamp,
            columns.sequence_number,
            columns.message_data,
            columns.is_critical,
        )
        .where(columns.run_id == run_id, columns.sequence_number >= oldest)
        .order_by(columns.sequence_number)
    )
    return tuple(Event(*row) for row in connection.execute(query))


def _clients(connection: Connection, run_id: str) -> tuple[StoredClient, ...]:
    pairs: dict[str, list[tuple[int, int]]] = {}
    query = select(answers).where(answers.c.run_id == run_id).order_by(answers.c.client_sequence)
    for row in connection.execute(query):
        pairs.setdefault(row.client_id, []).append((row.client_sequence, row.sequence_number))
    rows = connection.execute(select(clients).where(clients.c.run_id == run_id)).all()
    return tuple(
        StoredClient(
            row.client_id,
            row.user_id,
            row.last_client_sequence,
            tuple(pairs.get(row.client_id, [])[-ANSWERS_KEPT_PER_CLIENT:]),
        )
        for row in sorted(rows, key=lambda row: str(row.client_id))  # by code point, whatever the database's collation
    )
