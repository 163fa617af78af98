"""The server's clock: nanoseconds since 1970 that never go backwards.

The machines count in whole nanoseconds; trio sleeps in seconds as a float. This module converts between them. The wall clock is
read once, when the server starts; from then on trio's clock counts. So setting the computer's time moves no deadline, and with
trio's MockClock a whole server runs in virtual time, from an origin that a test chooses.

Trio's clock stops while the machine is suspended. That time has to count: a silence limit, a grace period or a token does not
stop while a laptop sleeps. `notice_suspend` adds it. Tokens are checked with the current wall clock (`wall`).
"""

import time

import trio

from reference.protocol.timers import NS_PER_S

SUSPEND_MIN_NS = NS_PER_S // 2
"""A smaller difference is the time between reading two clocks."""


def suspended_ns() -> int:
    """How long this machine has been suspended since it was started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class ServerClock:
    """One per server; created inside trio. `origin_ns` is the time at which it starts, by default the wall clock's."""

    def __init__(self, origin_ns: int | None = None) -> None:
        self._is_virtual = origin_ns is not None
        self._origin_ns = time.time_ns() if origin_ns is None else origin_ns
        self._started_s = trio.current_time()
        self._latest_ns = self._origin_ns
        self._suspended_ns = 0
        self._suspended_before_ns = suspended_ns()

    def now(self) -> int:
        """Nanoseconds since 1970."""
        elapsed_ns = round((trio.current_time() - self._started_s) * NS_PER_S)
        self._latest_ns = max(self._latest_ns, self._origin_ns + elapsed_ns + self._suspended_ns)
        return self._latest_ns

    def wall(self) -> int:
        """The current wall clock, in ns since 1970, with which tokens are checked; in virtual time the same as `now`.

        It follows changes of the system time and includes suspended time.
        """
        return self.now() if self._is_virtual else time.time_ns()

    def trio_deadline(self, at_ns: int) -> float:
        """The same moment on trio's clock, for a CancelScope."""
        return self._started_s + (at_ns - self._origin_ns - self._suspended_ns) / NS_PER_S

    def notice_suspend(self) -> bool:
        """Add the time for which the machine was suspended. Returns whether it was: then deadlines on trio's clock are late.

        Call it every second or so.
        """
        total_ns = suspended_ns() - self._suspended_before_ns
        if total_ns - self._suspended_ns < SUSPEND_MIN_NS:
            return False
        self._suspended_ns = total_ns
        return True

    def reached(self, at_ns: int) -> int:
        """The time when an alarm set for `at_ns` has gone off: not earlier than that, whatever a float was rounded to.

        Otherwise an alarm could go off a nanosecond early, find nothing due, and be set again for the same moment, for ever in
        virtual time.
        """
        self._latest_ns = max(self._latest_ns, at_ns)
        return self.now()
