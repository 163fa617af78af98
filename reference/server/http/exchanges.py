"""Exchanges: counts the requests being answered, so that a stopping server can wait for them, and reports how each ended."""

from collections.abc import Callable
from typing import Any

import trio

from reference.server.wire.exchange import AsgiApp


class Exchanges:
    """An ASGI middleware that counts."""

    def __init__(self, app: AsgiApp, address_of: Callable[[str], str], on_answer: Callable[[str, int], None]) -> None:
        """`address_of`: the template that a path matches. `on_answer` is called with the template and the status; the template is
        empty for an unknown address."""
        self._app = app
        self._address_of = address_of
        self._on_answer = on_answer
        self._under_way = 0
        self._ended = trio.lowlevel.ParkingLot()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._under_way += 1

        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._on_answer(self._address_of(scope["path"]), message["status"])
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
