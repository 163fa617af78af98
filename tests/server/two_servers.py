"""Two servers on one database, as two processes would be: they share only the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from postgres_server import execute

from reference.server.app import open_server
from reference.server.settings import ServerSettings

from .running_server import RUN, RunningServer


@asynccontextmanager
async def running_server_on(url: str, **settings: Any) -> AsyncIterator[RunningServer]:
    """A server on the database `url`, and ways to connect to it."""
    settings = {"port": 0, "go_away_spread_s": 0.0, "stop_timeout_s": 2.0} | settings
    async with open_server(ServerSettings(store=url, **settings)) as server:
        yield RunningServer(server)


@asynccontextmanager
async def two_servers(url: str, **settings: Any) -> AsyncIterator[tuple[RunningServer, RunningServer]]:
    """Two of them, and one run, which is served by nobody yet."""
    async with running_server_on(url, **settings) as one, running_server_on(url, **settings) as two:
        await one.server.create_run(RUN)
        yield one, two


async def on_database(url: str, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last statement."""
    return await trio.to_thread.run_sync(execute, url, *statements)
