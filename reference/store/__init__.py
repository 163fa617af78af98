"""Durable event stores: `EventStore`, its implementations, the single writer in front of them, and `open_store` to open one by
URL.

Read `base` for the guarantees, `position` for the rule that keeps them, then `memory`. A store on disk is `sql` with `changes`,
`sqlite` and `postgresql` (commits), `tables` and `migrations`, and `history` (detects that a database is older than it was).
A server uses a store through `writer.GroupCommit`; `ownership` decides which of several servers serves which run.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from reference.protocol.errors import ConfigError
from reference.store.base import EventStore, StoreConflict, StoreError, StoreOverloaded, StoreUnavailable
from reference.store.memory import MemoryStore
from reference.store.writer import GroupCommit

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = [
    "EventStore",
    "GroupCommit",
    "MemoryStore",
    "StoreConflict",
    "StoreError",
    "StoreOverloaded",
    "StoreUnavailable",
    "hide_password",
    "open_store",
    "parse_url",
    "shared_url",
    "watch_place",
]

PLACE_INTERVAL_S = 2.0
"""How often the file of a store is checked for being in its place; every commit checks it, too."""

_SQLITE = "sqlite:///"
_POSTGRESQL = ("postgresql://", "postgres://")


def open_store(url: str) -> AbstractAsyncContextManager[EventStore]:
    """The store that `url` names, open within the `async with` block.

    `memory:` is lost when it closes. `sqlite:///path` is a file, created if missing; so is a bare path
    that ends in .sqlite3 or .db. `postgresql://user@host/database` is a database that exists; several servers
    may use it at once. Raises ConfigError at once for any other url, StoreUnavailable on entering
    if the store cannot be opened and written.
    """
    parsed = parse_url(url)
    return _memory() if parsed is None else _sql(parsed)


def parse_url(url: str) -> "URL | None":
    """The database that `url` names, None for memory:. Raises ConfigError."""
    if url == "memory:":
        return None
    path = url.removeprefix(_SQLITE)
    if url.startswith(_SQLITE) or ("://" not in url and url.endswith((".sqlite3", ".db"))):
        if path in ("", ":memory:"):
            raise ConfigError(f"the store {url!r} names no file; use sqlite:///path, or memory: to keep nothing")
        if url.startswith(_SQLITE) and "?" in path:
            raise ConfigError(
                f"the store {url!r} has parameters, and SQLite takes none here; write sqlite:///{path.partition('?')[0]}"
            )
        from sqlalchemy import URL  # imported here, because it takes a third of a second, which a client need not spend

        return URL.create("sqlite", database=path)
    if url.startswith(_POSTGRESQL):
        return _postgresql(url)
    raise ConfigError(
        f"unknown kind of store {hide_password(url)!r}; use memory:, sqlite:///path, "
        "postgresql://user@host/database, or a path ending in .sqlite3 or .db"
    )


def hide_password(url: str) -> str:
    """The URL of a store without its password, for output and logs."""
    url = re.sub(r"(?<=://)([^/@:]*):.*@", r"\1:***@", url)
    return re.sub(r"(?<=[?&])(password|sslpassword)=[^&]*", r"\1=***", url)


def shared_url(store: EventStore) -> "URL | None":
    """The database of `store` if several server processes may use it at once (`ownership`), else None."""
    url: URL | None = getattr(store, "shared_url", None)
    return url


async def watch_place(store: EventStore, on_lost: Callable[[StoreError], None]) -> None:
    """Notify `on_lost`, within seconds and repeatedly, that the file of `store` was removed or replaced. Returns at once for a
    store that is not a file."""
    check: Callable[[], Awaitable[None]] | None = getattr(store, "check_place", None)
    while check is not None:
        await trio.sleep(PLACE_INTERVAL_S)
        try:
            await check()
        except StoreError as error:
            on_lost(error)


@asynccontextmanager
async def _memory() -> AsyncIterator[EventStore]:
    store = MemoryStore()
    try:
        yield store
    finally:
        await store.aclose()


def _postgresql(url: str) -> "URL":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    example = "postgresql://user:password@host:5432/database"
    try:
        parsed = make_url(re.sub("^postgres://", _POSTGRESQL[0], url))  # libpq takes both, and hosts give the short one
    except (ArgumentError, ValueError):
        raise ConfigError(f"invalid store URL {hide_password(url)!r}; write it like {example}") from None
    if not parsed.database:
        raise ConfigError(f"the store {hide_password(url)!r} names no database; write it like {example}")
    return parsed


@asynccontextmanager
async def _sql(url: "URL") -> AsyncIterator[EventStore]:
    from reference.store.sql import SqlStore

    store = await SqlStore.open(url)
    try:
        yield store
    finally:
        await store.aclose()
