"""The clock of a session: trio's, plus the time for which the machine was suspended.

trio's clock stands still while a laptop sleeps or a virtual machine is paused. For the session that time has passed: publishes
grow old, and a connection that was silent meanwhile is probably dead. Where the system can tell (Linux: CLOCK_BOOTTIME), it is
added as soon as anything happens after the suspend.
"""

import time
from collections.abc import Callable

import trio

from reference.protocol.timers import NS_PER_S

_NOTICED_NS = NS_PER_S // 2
"""Less is the time between the two readings, on a busy machine."""


def suspended_ns() -> int:
    """For how long this machine has been suspended since it was booted, in ns; 0 where the system cannot tell."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return 0 if boot_time is None else time.clock_gettime_ns(boot_time) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class SessionClock:
    """Never goes backwards. `suspended`: how the time of suspension is read, in ns."""

    def __init__(self, suspended: Callable[[], int] = suspended_ns) -> None:
        self._suspended = suspended
        self._began = suspended()
        self._added = 0

    def now(self) -> int:
        """In ns."""
        added = self._suspended() - self._began
        if added - self._added > _NOTICED_NS:
            self._added = added
        return round(trio.current_time() * NS_PER_S) + self._added

    def in_trios_time(self, at: int) -> float:
        """A time of this clock in seconds of trio's, if the machine is not suspended before."""
        return (at - self._added) / NS_PER_S
