"""Two servers on one database, as two processes would be: they share only the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reference.server.app import open_server
from reference.server.settings import ServerSettings

from .visitors import RUN, House


@asynccontextmanager
async def house_in(url: str, **settings: Any) -> AsyncIterator[House]:
    """A server on the database `url`, and ways to visit it."""
    settings = {"port": 0, "go_away_spread_s": 0.0, "stop_timeout_s": 2.0} | settings
    async with open_server(ServerSettings(store=url, **settings)) as server:
        yield House(server)


@asynccontextmanager
async def street(url: str, **settings: Any) -> AsyncIterator[tuple[House, House]]:
    """Two of them, and one run, which is served by nobody yet."""
    async with house_in(url, **settings) as one, house_in(url, **settings) as two:
        await one.server.create_run(RUN)
        yield one, two
