"""Databases for tests, on the PostgreSQL server that STEADYWIRE_TEST_POSTGRES names.

Its value is a URL of a database to connect to, as a user who may make databases and end other connections;
without it, postgresql://postgres@127.0.0.1:5432/postgres. Each database has a random name and is dropped at
the end, including open connections. Where no server answers, tests that need one say so and skip.
"""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import psycopg
import pytest
import trio
from psycopg import sql
from sqlalchemy.engine import make_url

SERVER = os.environ.get("STEADYWIRE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")

HANGS_S = 5.0
"""How long a database of `hangable` hangs before it is cut off, so that a test that waits for it fails and does not hang."""


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on the database `url`, each for itself; returns the rows of the last one."""
    rows: list[tuple[object, ...]] = []
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


def end_connections(url: str, which: str = "true") -> int:
    """End the other connections to the database `url` for which the condition holds, and wait until they have ended; how many
    there were."""
    ended = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
    rows = execute(url, f"{ended} WHERE datname = current_database() AND pid <> pg_backend_pid() AND ({which})")
    ids = ", ".join(str(process_id) for process_id, _ in rows)
    while rows and execute(url, f"SELECT 1 FROM pg_stat_activity WHERE pid IN ({ids})"):
        pass
    return len(rows)


@asynccontextmanager
async def hangable(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """The database `url` at another address, and a function: from its call on the connections that are open take everything and
    answer nothing."""
    made = make_url(url)
    hangs = trio.Event()

    def hang() -> None:
        nonlocal hangs
        hangs.set()
        hangs = trio.Event()

    async def carry(source: trio.SocketStream, sink: trio.SocketStream, hangs: trio.Event, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                if not hangs.is_set():
                    await sink.send_all(data)
        scope.cancel()

    async def serve(client: trio.SocketStream) -> None:
        until = hangs
        database = await trio.open_tcp_stream(made.host or "127.0.0.1", made.port or 5432)
        async with database, trio.open_nursery() as nursery:
            nursery.start_soon(carry, client, database, until, nursery.cancel_scope)
            nursery.start_soon(carry, database, client, until, nursery.cancel_scope)
            await until.wait()
            await trio.sleep(HANGS_S)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        yield made.set(host="127.0.0.1", port=port).render_as_string(hide_password=False), hang
        nursery.cancel_scope.cancel()


@contextmanager
def new_database() -> Iterator[str]:
    """The URL of a new, empty database; it is dropped at the end. Skips the test if there is no server."""
    name = f"steadywire_test_{secrets.token_hex(6)}"
    try:
        with psycopg.connect(SERVER, autocommit=True, connect_timeout=5) as server:
            server.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name)))
    except psycopg.OperationalError as error:
        reason = str(error).partition("\n")[0]
        pytest.skip(f"no PostgreSQL here ({reason}); start one, or name one in STEADYWIRE_TEST_POSTGRES")
    try:
        yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(SERVER, autocommit=True, connect_timeout=5) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[str]:
    """One database for all tests of the session; take `postgres_url` instead."""
    with new_database() as url:
        yield url


@pytest.fixture
def postgres_url(shared_postgres: str) -> str:
    """The URL of a database in which there is no run."""
    if execute(shared_postgres, "SELECT to_regclass('collaboration_runs')") != [(None,)]:
        execute(shared_postgres, "TRUNCATE collaboration_runs CASCADE")
    return shared_postgres
