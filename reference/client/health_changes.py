"""A client's health, each time it has changed: the latest value, and never more often than is of use to anyone.

Nothing is queued: health is looked at when the reader asks for it, so a slow reader costs nothing and reads what is true now.
"""

from collections.abc import Awaitable, Callable

import trio

from reference.protocol.client.health import Health

LOOK_INTERVAL_S = 0.1


class HealthChanges:
    """An async iterator; ends after the health at the session's end."""

    def __init__(
        self, look: Callable[[], Health], wait_for_turn: Callable[[], Awaitable[None]], is_over: Callable[[], bool]
    ) -> None:
        self._look = look
        self._wait_for_turn = wait_for_turn
        self._is_over = is_over
        self._last: Health | None = None
        self._next_look_at = -float("inf")

    def __aiter__(self) -> "HealthChanges":
        return self

    async def __anext__(self) -> Health:
        while True:
            await trio.sleep_until(self._next_look_at)
            self._next_look_at = trio.current_time() + LOOK_INTERVAL_S
            health = self._look()
            if health != self._last:
                self._last = health
                return health
            if self._is_over():
                raise StopAsyncIteration
            await self._wait_for_turn()
