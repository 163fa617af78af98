"""Exchanges: how many requests are being answered, so that a server that stops can wait for just those; and how each ended."""

from collections.abc import Callable
from typing import Any

import trio

from reference.server.wire.exchange import AsgiApp


class Exchanges:
    """An ASGI application around another one, which counts."""

    def __init__(self, app: AsgiApp, on_answer: Callable[[str, int], None]) -> None:
        """`on_answer` is told the template of the address, or an empty one for an address that there is not, and the status."""
        self._app = app
        self._on_answer = on_answer
        self._under_way = 0
        self._ended = trio.lowlevel.ParkingLot()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._under_way += 1

        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                is_known = message["status"] not in (404, 405)
                self._on_answer(scope.get("path_template", "") if is_known else "", message["status"])
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            self._under_way -= 1
            self._ended.unpark_all()

    async def none_left(self) -> None:
        """Wait until no request is being answered."""
        while self._under_way:
            await self._ended.park()
