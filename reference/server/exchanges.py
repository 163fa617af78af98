"""Exchanges: how many requests are being answered, so that a server that stops can wait for just those."""

from typing import Any

import trio

from reference.server.wire.exchange import AsgiApp


class Exchanges:
    """An ASGI application around another one, which counts."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._under_way = 0
        self._ended = trio.lowlevel.ParkingLot()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1
            self._ended.unpark_all()

    async def none_left(self) -> None:
        """Wait until no request is being answered."""
        while self._under_way:
            await self._ended.park()
