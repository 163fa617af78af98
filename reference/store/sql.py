"""The SQL store: commits directly with the driver, everything else with SQLAlchemy Core.

One thread commits (`Worker`). It remembers the positions of recently written runs (`position`), so a commit is: check the
batches, move the head of each run from its expected value (compare and set), insert one row per event. If a stored head differs,
another writer was there; then the position is read again and the batches are checked again.

Reads have threads of their own and see the database at one moment. `changes` defines the rows; `sqlite` and `postgresql` have
what differs between the databases.
"""

import datetime
import functools
import math
import queue
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import trio
from outcome import Outcome, Value, capture
from sqlalchemy import URL, Connection, Engine, String, cast, delete, func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from reference.protocol.events import Event
from reference.protocol.records import ANSWERS_KEPT, Append, RunState, Snapshot, StoredClient, StoredRun
from reference.protocol.timers import NS_PER_MS
from reference.store.base import StoreConflict, StoreError, StoreUnavailable, check_run_id, closed, is_run_id, no_thread
from reference.store.changes import Changes, RunChange
from reference.store.history import CommitsFile, ConfirmedHeads
from reference.store.kept import kept_data, kept_state
from reference.store.migrations import upgrade
from reference.store.position import Position
from reference.store.sqlite import WRITING, SqliteCommits, sqlite_engine
from reference.store.sqlite import advice as sqlite_advice
from reference.store.tables import answers, clients, messages, runs, snapshots

T = TypeVar("T")

READ_THREADS_MAX = 4
"""Threads that load runs, each with a connection."""
CLOSE_S_MAX = 30.0
"""How long `aclose` waits for a commit that hangs, in seconds, before it leaves it to the end of the
process.
"""
CHECK_INTERVAL_S = 1.0
"""How long the result of a successful readiness check is reused: more checks cause no more writes."""
CHECK_S_MAX = 4.0
"""How long a readiness check waits for the database."""
_CLIENTS_REMEMBERED_MAX = 200_000
"""For how many clients, over all runs, positions are kept in memory."""
_TRIES_MAX = 3
"""How often a batch is checked again because another process has moved the position."""

_BAD_VALUES = (TypeError, ValueError, OverflowError)
"""What a driver raises for a value that it cannot pass on, such as half a surrogate pair."""


class CommitConnection(Protocol):
    """The committing connection of one kind of database; for one thread. Raises what the driver raises, and StoreUnavailable."""

    def position(self, run_id: str) -> Position | None:
        """The position of the run; None if there is no such run."""

    def commit(self, changes: Sequence[RunChange]) -> dict[str, StoreUnavailable | None]:
        """Make `changes` durable together. Returns the runs that were not changed: with None if their stored head differs."""

    def renew_epoch(self, run_id: str, epoch: str) -> None:
        """Give the run a new epoch if it still has this one."""

    def check(self) -> None:
        """Write as much as a publish."""

    def check_place(self) -> None:
        """Raise StoreUnavailable if the database is no longer where it was opened."""

    def is_usable(self, error: Exception) -> bool:
        """After `error`: whether the database works, so that a value was the cause."""

    def close(self) -> None:
        """Release everything."""


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self.token = trio.lowlevel.current_trio_token()
        self.result: Outcome[Any] = Value(None)

    def report(self) -> None:
        if self.task is not None:
            trio.lowlevel.reschedule(self.task, self.result)


class Worker:
    """One thread, as long as the store is open, that executes functions in order. Created inside trio; `run` is for trio tasks.

    Its queue is the queue of the database: functions run one after the other, and one that hangs delays the next instead of
    racing with it. A dedicated thread is cheaper than one from a pool, which costs 0.1 ms per call, and cannot be refused by the
    system later. A daemon thread: a function that hangs does not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        """Raises StoreUnavailable if no thread can be started."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._has_ended = trio.Event()
        self._thread = threading.Thread(target=self._serve, args=(trio.lowlevel.current_trio_token(),), name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise no_thread(error) from error

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, executed in the thread. A cancelled caller does not get it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(work)
        self._jobs.put(job)

        def abandon(_: object) -> trio.lowlevel.Abort:
            job.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        result: T = await trio.lowlevel.wait_task_rescheduled(abandon)
        return result

    async def stop(self) -> None:
        """Let the thread end after the queued functions, and wait for that."""
        self._jobs.put(None)
        await self._has_ended.wait()

    def _serve(self, token: trio.lowlevel.TrioToken) -> None:
        while (job := self._jobs.get()) is not None:
            job.result = capture(job.work)
            with suppress(trio.RunFinishedError):  # then no task waits any more
                job.token.run_sync_soon(job.report)
            del job
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(self._has_ended.set)


class _Positions:
    """The stored positions of recently written runs."""

    def __init__(self) -> None:
        self._positions: OrderedDict[str, Position] = OrderedDict()
        self._clients = 0

    def take(self, run_id: str) -> Position | None:
        """Remove and return the position of this run; `put` adds it again."""
        position = self._positions.pop(run_id, None)
        if position is not None:
            self._clients -= len(position.clients)
        return position

    def put(self, position: Position) -> None:
        """Remember the position of a run."""
        self.take(position.run_id)
        self._positions[position.run_id] = position
        self._clients += len(position.clients)
        while self._clients + len(self._positions) > _CLIENTS_REMEMBERED_MAX and len(self._positions) > 1:
            self.take(next(iter(self._positions)))


class SqlStore:
    """An EventStore in a SQL database. Created by `open`; belongs to the trio run that opened it."""

    def __init__(self, url: URL, busy_timeout_s: float) -> None:
        """Raises StoreUnavailable if no thread can be started."""
        engine = _engine(url, busy_timeout_s)
        assert engine.dialect.dbapi is not None, "an engine has a driver"
        self._engine = engine
        self._busy_timeout_s = busy_timeout_s
        self._driver_error: type[Exception] = engine.dialect.dbapi.Error
        self._failures = (SQLAlchemyError, self._driver_error, *_BAD_VALUES)
        self._writing = engine.execution_options(**{WRITING: True})
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._reading = engine if self._is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self._read_limiter = trio.CapacityLimiter(READ_THREADS_MAX)
        self._is_closed = False
        self._checked_at = -math.inf
        self._checking = trio.Lock()
        self._is_check_queued = False
        self._worker = Worker("steadywire store")
        self._commits: CommitConnection | None = None
        self._witness: CommitsFile | None = None
        self._positions = _Positions()
        self._confirmed = ConfirmedHeads()

    @property
    def shared_url(self) -> URL | None:
        """The database, if several server processes may use it at once."""
        return None if self._is_sqlite else self._engine.url

    @classmethod
    async def open(cls, url: URL, *, busy_timeout_s: float = 5.0) -> Self:
        """Open the database at `url`, create or upgrade its tables, and check that it can be written.

        A SQLite file is for one server: raises StoreUnavailable if another one has it open. `busy_timeout_s`: seconds to
        wait for another program that holds the file. Raises StoreUnavailable.
        """
        store = cls(url, busy_timeout_s)
        try:
            await store._in_worker(store._open)
        except BaseException:
            await store.aclose()
            raise
        return store

    @classmethod
    async def migrate(cls, url: URL, work: Callable[[Connection], T], *, is_alone: bool = False) -> T:
        """Do `work`, one of `migrations`, in one writing transaction on the database at `url`. `is_alone`: not while a
        server uses this SQLite file. Raises StoreUnavailable.
        """
        store = cls(url, 5.0)
        try:
            return await store._in_worker(functools.partial(store._migrate_alone if is_alone else store._migrate, work))
        finally:
            await store.aclose()

    async def create_run(self, run_id: str, epoch: str) -> bool:
        """As EventStore.create_run."""
        check_run_id(run_id)
        return await self._in_worker(functools.partial(self._create_run, run_id, epoch))

    async def delete_run(self, run_id: str) -> bool:
        """As EventStore.delete_run: after the waiting commits."""
        return is_run_id(run_id) and await self._in_worker(functools.partial(self._delete_run, run_id))

    async def load_run(self, run_id: str) -> StoredRun | None:
        """As EventStore.load_run."""
        if not is_run_id(run_id):
            await trio.lowlevel.checkpoint()
            return None
        stored = await self._in_reader(functools.partial(self._load_run, run_id))
        if stored is not None and self._confirmed.is_lost(run_id, stored.epoch, stored.head):
            # Lost, or confirmed while it was read: the commit shows which.
            await self._in_worker(functools.partial(self._renew_epoch_if_lost, run_id))
            stored = await self._in_reader(functools.partial(self._load_run, run_id))
        return stored

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        """As EventStore.append."""
        if self._is_closed:
            await trio.lowlevel.checkpoint()
            return [closed() for _ in batches]
        return await self._worker.run(functools.partial(self._append, tuple(batches)))

    async def check(self) -> None:
        """As EventStore.check. Writes as much as a publish, at most once in `CHECK_INTERVAL_S`."""
        if self._is_closed:
            raise closed()
        late = StoreUnavailable(f"the database did not answer within {CHECK_S_MAX:g} s; see what holds it")
        with trio.move_on_after(CHECK_S_MAX):
            async with self._checking:  # of several at the same moment only the first writes
                if trio.current_time() < self._checked_at + CHECK_INTERVAL_S:
                    await self._check_place()
                    return
                if self._is_check_queued:  # by a caller who has given up: a second one would only delay commits
                    raise late
                await trio.lowlevel.checkpoint_if_cancelled()  # behind this it is queued for certain
                self._is_check_queued = True
                await self._in_worker(self._check)
                self._checked_at = trio.current_time()
                return
        raise late

    @property
    def check_place(self) -> Callable[[], Awaitable[None]] | None:
        """Returns if the file is where it was opened, raises StoreUnavailable if it was removed or replaced. None if the
        database is not a file.
        """
        return self._check_place if self._is_sqlite else None

    async def aclose(self) -> None:
        """As EventStore.aclose."""
        if self._is_closed:
            return
        self._is_closed = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S_MAX):
            for _ in range(READ_THREADS_MAX):
                await self._read_limiter.acquire_on_behalf_of(object())
            await self._worker.run(self._close)
            await self._worker.stop()

    async def _in_worker(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise closed()
        return await self._worker.run(work)

    async def _in_reader(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise closed()
        try:
            return await trio.to_thread.run_sync(work, limiter=self._read_limiter, abandon_on_cancel=True)
        except RuntimeError as error:
            raise no_thread(error) from error

    async def _check_place(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._commits is not None:
            self._commits.check_place()

    # Everything below runs in the worker's thread or, for reads, in one of the pool.

    def _open(self) -> None:
        if self._is_sqlite:
            path = Path(self._engine.url.database or "")
            self._witness = _witness(path)
            try:
                self._migrate(upgrade)
            except StoreUnavailable:
                if self._witness is not None:
                    self._witness.discard()
                raise
            if self._witness is None:
                raise StoreUnavailable(f"{path}.commits cannot be written; give this user write permission on the directory")
            with self._unavailable_for_driver_errors():
                self._commits = SqliteCommits(path, self._witness, busy_timeout_s=self._busy_timeout_s)
        else:
            from reference.store.postgresql import PostgresqlCommits  # here, because not everybody has a PostgreSQL

            self._migrate(upgrade)
            self._commits = PostgresqlCommits(self._engine)

    def _close(self) -> None:
        commits, self._commits = self._commits, None
        witness, self._witness = self._witness, None
        try:
            if commits is not None:
                commits.close()
        finally:
            self._engine.dispose()
            if witness is not None:
                witness.close()

    def _committing(self) -> CommitConnection:
        if self._commits is None:
            raise closed()
        return self._commits

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
        if not self._is_sqlite and isinstance(error, SQLAlchemyError | self._driver_error):
            from reference.store.postgresql import advice

            return StoreUnavailable(advice(cause, self._engine.url))
        reason = str(cause).partition("\n")[0]
        return StoreUnavailable(f"the database does not take this: {reason}; check values before they are stored")

    def _migrate(self, work: Callable[[Connection], T]) -> T:
        with self._unavailable_for_driver_errors(), self._writing.begin() as connection:
            return work(connection)

    def _migrate_alone(self, work: Callable[[Connection], T]) -> T:
        path = Path(self._engine.url.database or "")
        if self._is_sqlite and Path(f"{path}.commits").exists():
            self._witness = CommitsFile(path)
        return self._migrate(work)

    def _check(self) -> None:
        commits = self._committing()
        try:
            commits.check()
        except Exception as error:
            commits.is_usable(error)
            raise self._unavailable(error) from error
        finally:
            self._is_check_queued = False

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
        self._committing().check_place()
        return True

    def _delete_run(self, run_id: str) -> bool:
        with self._unavailable_for_driver_errors(), self._writing.begin() as connection:
            # Lock the row of the run first: then a batch of another process is complete, or will find no run.
            if connection.execute(select(runs.c.run_id).where(runs.c.run_id == run_id).with_for_update()).first() is None:
                return False
            for table in (answers, clients, messages, snapshots, runs):
                connection.execute(delete(table).where(table.c.run_id == run_id))
        self._positions.take(run_id)
        self._confirmed.forget(run_id)
        self._committing().check_place()
        return True

    def _renew_epoch_if_lost(self, run_id: str) -> None:
        commits = self._committing()
        try:
            self._read_position(commits, run_id)
        except Exception as error:
            commits.is_usable(error)
            raise self._unavailable(error) from error

    def _append(self, batches: tuple[Append, ...]) -> list[StoreError | None]:
        try:
            return self._judge_and_commit(batches)
        except Exception as error:
            self._checked_at = -math.inf
            is_usable = self._commits is not None and self._commits.is_usable(error)
            if is_usable and len(batches) > 1:
                # The database works, but refuses a value of one of the batches: find out which.
                return [outcome for batch in batches for outcome in self._append((batch,))]
            return [self._unavailable(error) for _ in batches]

    def _judge_and_commit(self, batches: tuple[Append, ...]) -> list[StoreError | None]:
        commits = self._committing()
        outcomes: list[StoreError | None] = [None] * len(batches)
        waiting: dict[str, list[int]] = {}
        for index, batch in enumerate(batches):
            waiting.setdefault(batch.run_id, []).append(index)
        for _ in range(_TRIES_MAX):
            changes, positions = Changes(), {}
            for run_id, indexes in waiting.items():
                position = self._positions.take(run_id)
                is_remembered = position is not None
                position = position or self._read_position(commits, run_id)
                judged = [changes.add(batches[index], position) for index in indexes]
                if is_remembered and any(isinstance(outcome, StoreConflict) for outcome in judged):
                    # Another server may have written the run since: check against the stored position, from the start.
                    changes.discard(run_id)
                    position = self._read_position(commits, run_id)
                    judged = [changes.add(batches[index], position) for index in indexes]
                for index, outcome in zip(indexes, judged, strict=True):
                    outcomes[index] = outcome
                if position is not None:
                    positions[run_id] = position
            unchanged = commits.commit(changes.runs) if changes.runs else {}
            for run_id, position in positions.items():
                if run_id not in unchanged:
                    self._positions.put(position)
                    self._confirmed.confirm(run_id, position.epoch, position.head)
            for run_id, error in unchanged.items():
                for index in waiting[run_id]:
                    outcomes[index] = outcomes[index] or error
            waiting = {run_id: waiting[run_id] for run_id, error in unchanged.items() if error is None}
            if not waiting:
                return outcomes
        for run_id, indexes in waiting.items():
            for index in indexes:
                outcomes[index] = StoreConflict(f"run {run_id}: another server writes it all the time")
        return outcomes

    def _read_position(self, commits: CommitConnection, run_id: str) -> Position | None:
        position = commits.position(run_id) if is_run_id(run_id) else None
        if position is not None and self._confirmed.is_lost(run_id, position.epoch, position.head):
            commits.renew_epoch(run_id, position.epoch)
            return commits.position(run_id)
        return position

    def _load_run(self, run_id: str) -> StoredRun | None:
        with self._unavailable_for_driver_errors(), self._reading.begin() as connection:
            run = connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()
            if run is None:
                return None
            columns = snapshots.c.sequence_number, cast(snapshots.c.state, String)
            snapshot_at, state = connection.execute(select(*columns).where(snapshots.c.run_id == run_id)).one()
            events, published = _events(connection, run_id, run.oldest)
            stored_clients = _clients(connection, run_id, published)
        self._committing().check_place()
        if len(events) != run.head - run.oldest + 1:
            raise StoreUnavailable(
                f"run {run_id}: {len(events)} events are stored where {run.oldest} to {run.head} must be; "
                "restore the database from a backup"
            )
        return StoredRun(run_id, run.epoch, run.head, Snapshot(snapshot_at, kept_state(state)), events, stored_clients)


def _engine(url: URL, busy_timeout_s: float) -> Engine:
    connections_max = READ_THREADS_MAX + 2
    if url.get_backend_name() == "sqlite":
        return sqlite_engine(url, busy_timeout_s=busy_timeout_s, connections_max=connections_max)
    from reference.store.postgresql import postgresql_engine  # here, because not everybody has a PostgreSQL

    return postgresql_engine(url, connections_max=connections_max)


def _witness(path: Path) -> CommitsFile | None:
    """The locked file beside the database; None if it cannot be created, and so there is no database either."""
    if path.is_dir():
        return None
    try:
        return CommitsFile(path)
    except OSError:
        return None


def _events(connection: Connection, run_id: str, oldest: int) -> tuple[tuple[Event, ...], Sequence[Any]]:
    """The events from `oldest` on, and the publishes of all stored events, in order."""
    columns = messages.c
    query = (
        select(
            columns.event_type,
            columns.user_id,
            columns.timestamp,
            columns.sequence_number,
            func.coalesce(cast(columns.exact_data, String), cast(columns.message_data, String)),
            columns.is_critical,
            columns.client_id,
            columns.client_sequence,
        )
        .where(columns.run_id == run_id)
        .order_by(columns.sequence_number)
    )
    rows = connection.execute(query).all()
    events = tuple(Event(row[0], row[1], row[2], row[3], kept_data(row[4]), row[5]) for row in rows if row[3] >= oldest)
    return events, rows


def _clients(connection: Connection, run_id: str, published: Sequence[Any]) -> tuple[StoredClient, ...]:
    users: dict[str, str] = {}
    last: dict[str, int] = {}
    used_at: dict[str, int] = {}
    pairs: dict[str, list[tuple[int, int]]] = {}
    for row in connection.execute(select(clients).where(clients.c.run_id == run_id)):
        users[row.client_id], last[row.client_id] = row.user_id, row.last_client_sequence
        # Without a time it was written by a program of the version before, which may still run beside this one.
        used_at[row.client_id] = time.time_ns() // NS_PER_MS if row.used_at is None else row.used_at
    query = select(answers).where(answers.c.run_id == run_id).order_by(answers.c.client_sequence)
    for row in connection.execute(query):
        pairs.setdefault(row.client_id, []).append((row.client_sequence, row.sequence_number))
    for row in published:
        if row.client_id is not None:
            users.setdefault(row.client_id, row.user_id)
            last[row.client_id] = row.client_sequence
            used_at[row.client_id] = max(used_at.get(row.client_id, 0), row.timestamp)
            pairs.setdefault(row.client_id, []).append((row.client_sequence, row.sequence_number))
    return tuple(
        StoredClient(
            client_id, users[client_id], last[client_id], tuple(pairs.get(client_id, [])[-ANSWERS_KEPT:]), used_at[client_id]
        )
        for client_id in sorted(users)  # by code point, whatever the database's collation
    )
