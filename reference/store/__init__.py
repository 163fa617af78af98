"""Durable logs: `EventStore` and its implementations, the single writer in front of them, and `open_store` to
get one by URL.

Read `base` for what is promised, `position` for the rule that keeps it, then `memory`, and `sql` with
`changes`, `tables` and `sqlite`. `writer.GroupCommit` is how a server uses any of them.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from reference.protocol.errors import ConfigError
from reference.store.base import (
    ANSWERS_KEPT_PER_CLIENT,
    EventStore,
    StoreConflict,
    StoreError,
    StoreOverloaded,
    StoreUnavailable,
)
from reference.store.memory import MemoryStore
from reference.store.writer import GroupCommit, WriterStatistics

__all__ = [
    "ANSWERS_KEPT_PER_CLIENT",
    "EventStore",
    "GroupCommit",
    "MemoryStore",
    "StoreConflict",
    "StoreError",
    "StoreOverloaded",
    "StoreUnavailable",
    "WriterStatistics",
    "open_store",
]

_SQLITE = "sqlite:///"


def open_store(url: str) -> AbstractAsyncContextManager[EventStore]:
    """The store that `url` names, open for the length of the `async with` block.

    `memory:` forgets when it closes. `sqlite:///path` is a file, made if it is missing; so is a bare path
    that ends in .sqlite3 or .db. Raises ConfigError at once for any other url, StoreUnavailable on entering
    if the store cannot be opened and written.
    """
    if url == "memory:":
        return _memory()
    path = url.removeprefix(_SQLITE)
    if url.startswith(_SQLITE) or ("://" not in url and url.endswith((".sqlite3", ".db"))):
        if path in ("", ":memory:"):
            raise ConfigError(f"the store {url!r} names no file; use sqlite:///path, or memory: to keep nothing")
        return _sqlite(path)
    raise ConfigError(
        f"the store {url!r} is of no known kind; known are memory:, sqlite:///path, and a path ending in .sqlite3 or .db"
    )


@asynccontextmanager
async def _memory() -> AsyncIterator[EventStore]:
    store = MemoryStore()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def _sqlite(path: str) -> AsyncIterator[EventStore]:
    from sqlalchemy import (
        URL,
    )  # here, because it takes a third of a second, which a client or a memory store need not pay

    from reference.store.sql import SqlStore

    store = await SqlStore.open(URL.create("sqlite", database=path))
    try:
        yield store
    finally:
        await store.aclose()
