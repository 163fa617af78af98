"""SQLite as a durable log: how its connections are set up, and what its errors ask of the operator.

    journal_mode=WAL      readers do not stop the writer, and a commit is one append to one file
    synchronous=FULL      that append is on the disk before COMMIT returns; with NORMAL a power cut could
                          take the last commits back
    busy_timeout          another process that holds the file is waited for, this long
    BEGIN IMMEDIATE       a writing transaction takes the lock at its start, so what it reads stays true
                          until it commits

Python's driver begins transactions by itself, too late and not for every statement; it is told not to, and we
begin them.
"""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event

from reference.store.base import StoreUnavailable

WRITING = "steadywire_writing"
"""The execution option that marks a transaction as one that will write."""

_NOT_WRITABLE = "the database cannot be written; give this user write permission on the file and its directory"
_HELD = "another process holds the database; stop it or give each server a file of its own"
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
    """An engine on the file that `url` names; nothing is opened yet. A connection may move between threads,
    one at a time.
    """
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


def encode_json(value: object) -> str:
    """JSON text, as the wire has it; records become objects with their wire names."""
    return msgspec.json.encode(value).decode()


def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
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
