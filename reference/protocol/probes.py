"""When WebSocket is probed behind polling: rarely, more rarely with each probe that fails, and never by all clients at once."""

from reference.protocol.backoff import Draws, capped
from reference.protocol.client_desk import Desk, Timer
from reference.protocol.timers import ns


class Probes:
    """Waits of interval * 2**failed, capped, each spread by the jitter to both sides."""

    __slots__ = (
        "_desk",
        "_draws",
        "_failed",
        "_index",
    )

    def __init__(self, desk: Desk, draws: Draws) -> None:
        self._desk = desk
        self._draws = draws
        self._failed = 0
        self._index = 0

    def failed(self) -> None:
        self._failed += 1

    def forget_failures(self) -> None:
        self._failed = 0

    def schedule(self, now: int, not_before: int) -> None:
        """Time the next probe; never before `not_before`. Times in ns."""
        config = self._desk.config
        wait_s = capped(config.probe_interval_s, 2.0, self._failed, config.probe_interval_max_s)
        spread = config.probe_jitter * (2 * self._draws.uniform("probe", self._index) - 1)
        self._index += 1
        self._desk.timers.set(Timer.PROBE, max(now + ns(wait_s * (1 + spread)), not_before))
