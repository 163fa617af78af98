"""SQLite as a durable log: the settings of its connections, and advice for its errors.

    journal_mode=WAL      readers do not block the writer, and a commit is one append to one file
    synchronous=FULL      that append is on the disk before COMMIT returns; with NORMAL a loss of power could
                          undo the last commits
    busy_timeout          how long to wait for another process that holds the file
    BEGIN IMMEDIATE       a writing transaction takes the lock at its start, so what it reads stays valid
                          until it commits

Python's driver begins transactions by itself, too late and not for every statement; this is switched off, and this module begins
them.

A file that was removed or replaced while it is open accepts commits, and all of them are lost when it is closed. So a commit
counts only if, after it, the file and its write-ahead log are still in their place.
"""

import datetime
import json
import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event

from reference.store.base import StoreUnavailable
from reference.store.changes import PADDING_BYTES, RunChange, forget, stored_position, trim
from reference.store.history import CommitsFile
from reference.store.position import Position
from reference.store.tables import encode_json

WRITING = "steadywire_writing"
"""The execution option that marks a transaction as one that will write."""

_NOT_WRITABLE = "the database cannot be written; give this user write permission on the file and its directory"
_HELD = "another process holds the database; stop it or give each server a file of its own"
_EPOCH = datetime.datetime(1970, 1, 1)
_MILLISECOND = datetime.timedelta(milliseconds=1)

_MOVE_RUN = """
    UPDATE collaboration_runs SET head = ?, oldest = ? WHERE run_id = ? AND epoch = ? AND head = ?"""
_INSERT_MESSAGES = """
    INSERT INTO persisted_collaboration_messages
    (id, run_id, user_id, event_type, message_data, timestamp, sequence_number, is_critical, client_id, client_sequence)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_FORGET = forget("IN (SELECT value FROM json_each(:client_ids))")
_TRIM = trim("IN ({clients})")
_MOVE_SNAPSHOT = """
    UPDATE collaboration_snapshots SET sequence_number = ?, state = ? WHERE run_id = ?"""
_ADVICE: dict[int, str] = {
    sqlite3.SQLITE_NOTADB: "the file is not an SQLite database; choose another path, it was left as it is",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; restore it from a backup",
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check it, and its free space",
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
}


def sqlite_engine(url: URL, *, busy_timeout_s: float, connections_max: int) -> Engine:
    """An engine on the file that `url` names; opens nothing yet. A connection may move between threads, one at a time."""
    engine = create_engine(
        url,
        pool_size=connections_max,
        max_overflow=0,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        json_serializer=encode_json,
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":  # SQLite does not wait for others here, so a process sets it while it has the file alone
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(f"SQLite cannot keep a write-ahead log here (mode {mode}); put the file on a local disk")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get(WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def advice(error: sqlite3.Error, path: Path) -> str:
    """One line: what is wrong at `path`, and what to do."""
    primary_code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the upper bits only refine the lower eight
    if primary_code == sqlite3.SQLITE_CANTOPEN:
        return f"{path}: {_why_not_opened(path)}"
    return f"{path}: {_ADVICE.get(primary_code, 'the database failed')} ({error})"


def _why_not_opened(path: Path) -> str:
    directory = path.absolute().parent
    if path.is_dir():
        return "this is a directory; name a file in it"
    if not directory.exists():
        return f"the directory {directory} does not exist; create it or choose another path"
    if not directory.is_dir():
        return f"{directory} is not a directory; choose another path"
    return f"the file cannot be opened; give this user write permission on it and on {directory}"


class SqliteCommits:
    """The connection that commits. For the thread of the store's worker."""

    def __init__(self, path: Path, witness: CommitsFile, *, busy_timeout_s: float) -> None:
        """`path`: a database whose tables are up to date. Raises StoreUnavailable and what the driver raises."""
        self._path = Path(os.path.realpath(path))
        self._witness = witness
        self._connection = sqlite3.connect(self._path, timeout=busy_timeout_s, check_same_thread=False, cached_statements=64)
        try:
            _set_up(self._connection, None)
            self._commits = self._count_commits()
            self._opened = self._found()
        except BaseException:
            self._connection.close()
            raise

    def position(self, run_id: str) -> Position | None:
        """The position of the run; None if there is no such run."""
        return stored_position(run_id, lambda statement: self._connection.execute(statement, {"run_id": _key(run_id)}).fetchall())

    def commit(self, changes: Sequence[RunChange]) -> dict[str, StoreUnavailable | None]:
        """Make `changes` durable, all in one transaction. Returns the runs that were not changed: with None if their stored head
        differs."""
        moved: dict[str, StoreUnavailable | None] = {}
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            rows: list[tuple[object, ...]] = []
            for change in changes:
                key = _key(change.run_id)
                if not execute(_MOVE_RUN, (change.head, change.oldest, key, change.epoch, change.head_before)).rowcount:
                    moved[change.run_id] = None
                    continue
                rows += [(row[0], key, row[1], row[2], row[3].decode(), _timestamp(row[4]), *row[5:]) for row in change.messages]
                if change.snapshot is not None:
                    execute(_MOVE_SNAPSHOT, (change.snapshot.sequence_number, change.snapshot_state.decode(), key))
            self._connection.executemany(_INSERT_MESSAGES, rows)
            for change in changes:
                if change.forgotten and change.run_id not in moved:
                    ids = json.dumps(sorted(change.forgotten))
                    for statement in _FORGET:
                        execute(statement, {"run_id": _key(change.run_id), "head": change.head_before, "client_ids": ids})
                if change.is_trim_due and change.run_id not in moved:
                    for statement in _TRIM:
                        execute(statement, {"run_id": _key(change.run_id), "oldest": change.oldest})
            self._end_transaction()
        except BaseException:
            self._roll_back()
            raise
        return moved

    def renew_epoch(self, run_id: str, epoch: str) -> None:
        """Give the run a new epoch if it still has this one, because events of it are lost."""
        self._connection.execute(
            "UPDATE collaboration_runs SET epoch = ? WHERE run_id = ? AND epoch = ?", (secrets.token_hex(16), _key(run_id), epoch)
        )

    def check(self) -> None:
        """Write as much as a publish. Raises what `commit` raises."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            padding = secrets.token_hex(PADDING_BYTES // 2)
            self._connection.execute("INSERT OR REPLACE INTO collaboration_probe (probe_id, padding) VALUES (1, ?)", (padding,))
            self._end_transaction()
        except BaseException:
            self._roll_back()
            raise

    def check_place(self) -> None:
        """Raise StoreUnavailable if the file is no longer in its place."""
        if self._found() != self._opened:
            raise StoreUnavailable(
                f"{self._path}: the file was removed or replaced while the server has it open, so nothing can be stored; "
                "put the right file there and start the server again"
            )

    def is_usable(self, error: Exception) -> bool:
        """Whether the database works, so that `error` was caused by a value."""
        return not isinstance(error, sqlite3.OperationalError | StoreUnavailable)

    def close(self) -> None:
        """Close the connection and release the file."""
        try:
            self._connection.close()
        finally:
            self._witness.close()

    def _end_transaction(self) -> None:
        self._commits += 1
        self._connection.execute("UPDATE collaboration_history SET commits = ? WHERE history_id = 1", (self._commits,))
        self._connection.execute("COMMIT")
        self.check_place()
        self._witness.write(self._commits)

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _count_commits(self) -> int:
        """The number of commits of the database. If the witness has a higher one, every run gets a new epoch (2.7)."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        execute("INSERT OR IGNORE INTO collaboration_history (history_id, commits, server) VALUES (1, 0, '')")
        (commits,) = execute("SELECT commits FROM collaboration_history").fetchone()
        if self._witness.commits > commits:
            execute("UPDATE collaboration_runs SET epoch = lower(hex(randomblob(16)))")
            commits = self._witness.commits + 1
            execute("UPDATE collaboration_history SET commits = ?", (commits,))
        execute("COMMIT")
        self._witness.write(commits)
        return int(commits)

    def _found(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_identity(path) for path in (str(self._path), f"{self._path}-wal"))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _key(run_id: str) -> str:
    """A run's id as SQLAlchemy's type Uuid stores it on SQLite."""
    return run_id.replace("-", "")


def _timestamp(ms: int) -> str:
    """A timestamp as SQLAlchemy's type DateTime stores it on SQLite."""
    return (_EPOCH + ms * _MILLISECOND).isoformat(" ", "microseconds")
