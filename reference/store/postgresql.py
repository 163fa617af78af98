"""PostgreSQL as a durable log: the settings of its connections, and advice for its errors.

    synchronous_commit=on  COMMIT returns when the server has it on disk, whatever the server's default is
    statement_timeout      a statement that hangs gives up, and so does a wait for another server's lock
    keepalives             a server that disappears without closing is noticed; otherwise a thread, and with it every
                           later commit, would wait for ever
    the answer             a statement that is not answered in time ends its connection: where the system of the other end, or a
                           proxy, still confirms every byte, neither keepalives nor the server's own timeout would
    pre-ping               a connection that died while idle is replaced before a transaction begins on it, so a restart
                           of the database affects only transactions under way

    READ COMMITTED         whatever the database's default is: a commit compares the head that it moves and needs
                           no other isolation
    class 40               a transaction that the database aborted because of a deadlock is repeated, a few times
    lock_timeout           another session holds the row of a run (an open transaction of an operator): after 0.25 s the runs
                           that are free are stored, and that run fails. As long as the row is held, it fails at once

A server that has become a standby accepts connections and writes nothing. Such an answer counts as a lost connection, so the next
one is opened to whichever host in the URL can be written.
"""

import datetime
import functools
import json
import re
import secrets
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

from reference.store.base import StoreUnavailable
from reference.store.changes import PADDING_BYTES, RunChange, forget, stored_position, trim
from reference.store.position import Position
from reference.store.tables import encode_json

T = TypeVar("T")

CONNECT_S_MAX = 5
STATEMENT_S_MAX = 20
"""For one statement, as the database counts it."""
ANSWER_S_MAX = 25.0
"""For the answer to one statement: more than the database needs to report that a statement took too long, and less than the 30 s
that the writer waits for a commit."""
_SILENCE_S_MAX = 15
"""After this long without progress, a connection counts as lost."""

_NETWORK: dict[str, Any] = {
    "connect_timeout": CONNECT_S_MAX,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": _SILENCE_S_MAX * 1000,
    "application_name": "steadywire",
    "target_session_attrs": "read-write",
}
_SESSION = (
    "SET synchronous_commit = on; "
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; "
    f"SET statement_timeout = '{STATEMENT_S_MAX}s'; "
    f"SET idle_in_transaction_session_timeout = '{STATEMENT_S_MAX}s'"
)
_INEXACT = re.compile(rb"[:,\[\s]-?(?:\d[\d.]*[eE]|[\d.]{300})|[:,\[\s]-0(?:\.0*)?(?![\d.])")
"""A number with an exponent, one of very many digits, or a negative zero."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)
_READ_ONLY = "25006"
LOCK_WAIT_MS_MAX = 250
"""How long a commit waits for a row that another session holds."""
_TRIES_MAX = 5
"""How often a commit is repeated that the database aborted because of a deadlock."""

_COMMIT = """
    WITH given AS (
        SELECT * FROM json_to_recordset(:runs::json) AS g(run_id uuid, epoch text, head_before int8, head int8, oldest int8)),
    moved AS (
        UPDATE collaboration_runs r SET head = g.head, oldest = g.oldest FROM given g
        WHERE r.run_id = g.run_id AND r.epoch = g.epoch AND r.head = g.head_before RETURNING r.run_id),
    stored AS (
        INSERT INTO persisted_collaboration_messages
        (id, run_id, user_id, event_type, message_data, timestamp, sequence_number, is_critical, client_id, client_sequence,
         exact_data)
        SELECT m.* FROM json_to_recordset(:messages::json) AS m(id uuid, run_id uuid, user_id text, event_type text, data jsonb,
            at timestamptz, number int8, is_critical bool, client_id text, client_sequence int8, exact json)
        JOIN moved ON moved.run_id = m.run_id),
    summed AS (
        UPDATE collaboration_snapshots s SET sequence_number = n.number, state = n.state
        FROM json_to_recordset(:snapshots::json) AS n(run_id uuid, number int8, state json) JOIN moved ON moved.run_id = n.run_id
        WHERE s.run_id = n.run_id)
    SELECT run_id::text FROM moved"""
"""A whole commit in one statement, so one round trip to the database."""
_FORGET = forget("= ANY(:client_ids)")
_TRIM = trim("= ANY (ARRAY({clients}))")
"""With `IN` it reads all answers of the run if deleted events were not vacuumed yet."""
_LOCK_FREE_RUNS = """
    SELECT run_id::text FROM collaboration_runs WHERE run_id = ANY(:run_ids::uuid[]) ORDER BY run_id FOR UPDATE SKIP LOCKED"""
_SERVER = """
    SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
                     (SELECT oid FROM pg_database WHERE datname = current_database()))"""
_PARAMETER = re.compile(r"(?<!:):(\w+)")
_ADVICE: dict[str, str] = {
    _READ_ONLY: "the database cannot be written; name the primary server, not a standby",
    "28P01": "the password is wrong",
    "28000": "this user may not connect; see the server's pg_hba.conf",
    "3D000": "there is no such database; make it with createdb",
    "42501": "this user lacks a permission; let it own the database",
    "53100": "the disk is full; free some space",
    "53300": "the server has no connection left; raise its max_connections, or close some",
    "57014": f"a statement took longer than {STATEMENT_S_MAX} s; see what holds the database",
    "57P01": "the connection was ended by the server",
    "57P03": "the server is starting or stopping",
    "55P03": "another session holds a lock; end its transaction",
}
_CONNECTING: tuple[tuple[str, str], ...] = (
    ('database ".*" does not exist', "3D000"),
    ("password authentication failed|no password supplied", "28P01"),
    ('no pg_hba.conf entry|role ".*" (does not exist|is not permitted)', "28000"),
    ("too many clients|too many connections|remaining connection slots", "53300"),
    ("system is (starting up|shutting down)|not yet accepting connections", "57P03"),
)
"""Messages of a server that refuses a connection: the driver gives no code for these."""


class _Connection(psycopg.Connection[Any]):
    """Ends when a statement is not answered in time. Since psycopg 3.3 the generator hears of each interval without an answer."""

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        return super().wait(self._in_time(gen), *arguments, **options)

    def _in_time(self, gen: PQGen[T]) -> PQGen[T]:
        give_up_at = time.monotonic() + ANSWER_S_MAX
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                if not ready and time.monotonic() >= give_up_at:  # it is called ten times a second while nothing comes
                    self.close()
                    raise psycopg.OperationalError(f"the database did not answer within {ANSWER_S_MAX:g} s")
                awaited = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result


def postgresql_engine(url: URL, *, connections_max: int) -> Engine:
    """An engine on the database that `url` names; opens no connection yet. The URL's query goes to libpq and takes precedence
    over the settings here."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=connections_max,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={name: value for name, value in _NETWORK.items() if name not in url.query},
        json_serializer=encode_json,
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine, "do_connect", lambda _dialect, _record, given, options: _Connection.connect(*given, **options))
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "handle_error", _notice_lost)
    return engine


def exact_text(data: bytes) -> bytes | None:
    """The JSON `data` if JSONB might return a number in it as another one, else None."""
    return data if _INEXACT.search(data) else None


def _set_up(connection: Any, _record: Any) -> None:
    try:
        connection.execute(_SESSION)
        connection.commit()
    except BaseException:
        connection.close()  # nobody else does
        raise


def _notice_lost(context: ExceptionContext) -> None:
    if _is_lost(context.original_exception):
        context.is_disconnect = True


def _is_lost(error: BaseException) -> bool:
    """Whether the connection is of no more use: the server cannot be written, or the driver reports by itself, so without a code,
    that the connection has ended. It does not always close the connection then, which would refuse every later statement."""
    sqlstate = getattr(error, "sqlstate", None)
    return sqlstate == _READ_ONLY or (isinstance(error, psycopg.OperationalError) and sqlstate is None)


def advice(error: Exception, url: URL) -> str:
    """One line: what is wrong with the database at `url`, and what to do."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    what = _ADVICE.get(getattr(error, "sqlstate", None) or _code_of(reason))
    place = url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)
    if what is None:
        return f"{place}: {reason}; check that the database is there and can be reached"
    return f"{place}: {what} ({reason})"


def _code_of(reason: str) -> str:
    return next((code for words, code in _CONNECTING if re.search(words, reason)), "")


class PostgresqlCommits:
    """The connection that commits. For the thread of the store's worker. It is opened when it is needed, and again after it was
    lost."""

    def __init__(self, engine: Engine) -> None:
        """`engine`: opens the connections."""
        self._engine = engine
        self._pooled: Any = None
        self._held: set[str] = set()
        """Runs whose rows another session held at the last commit."""

    def position(self, run_id: str) -> Position | None:
        """The position of the run; None if there is no such run."""
        return stored_position(run_id, lambda statement: self._execute(statement, {"run_id": run_id}).fetchall())

    def commit(self, changes: Sequence[RunChange]) -> dict[str, StoreUnavailable | None]:
        """Make `changes` durable, all in one transaction. Returns the runs that were not changed: with None if their stored head
        differs."""
        failed: dict[str, StoreUnavailable | None] = {}
        for tries_left in reversed(range(_TRIES_MAX)):
            try:
                return failed | self._commit([change for change in changes if change.run_id not in failed], failed)
            except psycopg.errors.LockNotAvailable:
                self._roll_back()
                self._held = {change.run_id for change in changes}  # until it is known which of them
                if not tries_left:
                    raise
            except psycopg.Error as error:
                if not (error.sqlstate or "").startswith("40") or not tries_left:
                    raise
                self._roll_back()
        raise AssertionError("the last try returns or raises")

    def renew_epoch(self, run_id: str, epoch: str) -> None:
        """Give the run a new epoch if it still has this one, because events of it are lost."""
        given = {"new": secrets.token_hex(16), "run_id": run_id, "epoch": epoch}
        self._execute("UPDATE collaboration_runs SET epoch = :new WHERE run_id = :run_id AND epoch = :epoch", given)

    def check(self) -> None:
        """Write as much as a publish. Raises what `commit` raises."""
        given: dict[str, object] = {"id": secrets.randbits(62), "padding": secrets.token_hex(PADDING_BYTES // 2)}
        try:
            self._execute("BEGIN")
            self._execute("INSERT INTO collaboration_probe (probe_id, padding) VALUES (:id, :padding)", given)
            self._execute("DELETE FROM collaboration_probe WHERE probe_id = :id", {"id": given["id"]})
            self._execute("COMMIT")
        finally:
            self._roll_back()

    def check_place(self) -> None:
        """Nothing to check: a database server ends our connections when a database is removed."""

    def is_usable(self, error: Exception) -> bool:
        """Whether the database works, so that `error` was caused by a value. A connection that is lost, or to a server that
        cannot be written, is closed."""
        pooled = self._pooled
        is_lost = pooled is None or pooled.dbapi_connection is None or pooled.dbapi_connection.closed
        if is_lost or _is_lost(error) or isinstance(error, StoreUnavailable):
            self._leave()
            return False
        self._roll_back()
        return not isinstance(error, psycopg.OperationalError)

    def close(self) -> None:
        """Close the connection."""
        self._leave()

    def _commit(self, changes: Sequence[RunChange], failed: dict[str, StoreUnavailable | None]) -> dict[str, None]:
        cleanups = [change for change in changes if change.is_trim_due or change.forgotten]
        suspects = [change.run_id for change in changes if change.run_id in self._held]
        if not (cleanups or suspects):
            return self._move(changes)
        self._execute("BEGIN")
        if suspects:
            free = {run_id for (run_id,) in self._execute(_LOCK_FREE_RUNS, {"run_ids": suspects}).fetchall()}
            self._held -= free
            for run_id in set(suspects) - free:
                failed[run_id] = StoreUnavailable(f"run {run_id}: another session holds its row; end that session's transaction")
            changes = [change for change in changes if change.run_id not in failed]
        stale = self._move(changes)
        for change in cleanups:
            if change.run_id not in stale and change.run_id not in failed:
                forgotten = {"run_id": change.run_id, "head": change.head_before, "client_ids": sorted(change.forgotten)}
                for statement in _FORGET if change.forgotten else ():
                    self._execute(statement, forgotten)
                for statement in _TRIM if change.is_trim_due else ():
                    self._execute(statement, {"run_id": change.run_id, "oldest": change.oldest})
        self._execute("COMMIT")
        return stale

    def _move(self, changes: Sequence[RunChange]) -> dict[str, None]:
        runs, snapshots, messages = [], [], []
        for change in changes:
            run_id = change.run_id
            runs.append(
                {
                    "run_id": run_id,
                    "epoch": change.epoch,
                    "head_before": change.head_before,
                    "head": change.head,
                    "oldest": change.oldest,
                }
            )
            if change.snapshot is not None:
                state = msgspec.Raw(change.snapshot_state)
                snapshots.append({"run_id": run_id, "number": change.snapshot.sequence_number, "state": state})
            for row in change.messages:
                message = {
                    "id": row.message_id,
                    "run_id": run_id,
                    "user_id": row.user_id,
                    "event_type": row.event_type,
                    "data": msgspec.Raw(row.data),
                    "at": _timestamp(row.timestamp),
                    "number": row.sequence_number,
                    "is_critical": row.is_critical,
                    "client_id": row.client_id,
                    "client_sequence": row.client_sequence,
                }
                if exact_text(row.data) is not None:
                    message["exact"] = message["data"]
                    # As doubles, so that no decimal is too long for JSONB. Not by msgspec: it takes 9 us for one near the largest
                    # float, forty times as long, and no other thread runs meanwhile.
                    message["data"] = json.loads(row.data)
                messages.append(message)
        encode = msgspec.json.encode
        given = {"runs": encode(runs).decode(), "messages": encode(messages).decode(), "snapshots": encode(snapshots).decode()}
        moved = {run_id for (run_id,) in self._execute(_COMMIT, given).fetchall()}
        return {change.run_id: None for change in changes if change.run_id not in moved}

    def _execute(self, statement: str, given: Mapping[str, object] | None = None) -> "psycopg.Cursor[Any]":
        return self._connected().execute(_for_driver(statement), given)

    def _connected(self) -> "psycopg.Connection[Any]":
        if self._pooled is not None and self._pooled.dbapi_connection is not None:
            connection: psycopg.Connection[Any] = self._pooled.dbapi_connection
            # An idle connection becomes readable only when the server ends it.
            if connection.info.transaction_status or not _is_readable(connection.fileno()):
                return connection
            self._leave()
        self._pooled = self._engine.raw_connection()
        connection = self._pooled.dbapi_connection
        connection.autocommit = True
        connection.execute(f"SET lock_timeout = {LOCK_WAIT_MS_MAX}")
        _compare_server(connection)
        return connection

    def _roll_back(self) -> None:
        connection = None if self._pooled is None else self._pooled.dbapi_connection
        if connection is not None and not connection.closed and connection.info.transaction_status:
            connection.execute("ROLLBACK")

    def _leave(self) -> None:
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            pooled.invalidate()
            pooled.close()


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()  # select.select refuses descriptors above 1023, and a server may have more connections
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _compare_server(connection: "psycopg.Connection[Any]") -> None:
    """Give every run a new epoch if the database is on another server than before: its last commits may be lost (2.7)."""
    try:
        row = connection.execute(_SERVER.encode()).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
        return  # a service that does not identify its server
    assert row is not None, "a query without a table has a row"
    server = str(row[0])
    with connection.transaction():
        new = "INSERT INTO collaboration_history (history_id, commits, server) VALUES (1, 0, %s) ON CONFLICT DO NOTHING"
        connection.execute(new, (server,))
        found = connection.execute("SELECT server FROM collaboration_history WHERE history_id = 1 FOR UPDATE").fetchone()
        if found is not None and found[0] != server:
            connection.execute("UPDATE collaboration_runs SET epoch = replace(gen_random_uuid()::text, '-', '')")
            connection.execute("UPDATE collaboration_history SET server = %s WHERE history_id = 1", (server,))


@functools.cache
def _for_driver(statement: str) -> bytes:
    return _PARAMETER.sub(r"%(\1)s", statement).encode()


def _timestamp(ms: int) -> str:
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds")
