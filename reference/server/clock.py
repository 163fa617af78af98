"""The server's clock: nanoseconds since 1970 that never go backwards.

The machines count in whole nanoseconds; trio sleeps in seconds as a float. Both directions go through here. The wall clock is
read once, when the server starts; from then on trio's clock counts, so setting the computer's time moves no deadline, and under
trio's MockClock a whole server lives in virtual time, from an origin that a test chooses.
"""

import time

import trio

from reference.protocol.timers import NS_PER_S


class ServerClock:
    """One per server; made inside of trio. `origin_ns` is the time at which it starts, by default the wall clock's."""

    def __init__(self, origin_ns: int | None = None) -> None:
        self._is_virtual = origin_ns is not None
        self._origin_ns = time.time_ns() if origin_ns is None else origin_ns
        self._started_s = trio.current_time()
        self._latest_ns = self._origin_ns

    def now(self) -> int:
        """Nanoseconds since 1970."""
        elapsed_ns = round((trio.current_time() - self._started_s) * NS_PER_S)
        self._latest_ns = max(self._latest_ns, self._origin_ns + elapsed_ns)
        return self._latest_ns

    def wall(self) -> int:
        """The wall clock as it is now, in ns since 1970, by which tokens are judged; in virtual time the same as `now`.

        It follows a clock that was set, and the time that a suspended machine has slept.
        """
        return self.now() if self._is_virtual else time.time_ns()

    def trio_deadline(self, at_ns: int) -> float:
        """The same moment on trio's clock, for a CancelScope."""
        return self._started_s + (at_ns - self._origin_ns) / NS_PER_S

    def reached(self, at_ns: int) -> int:
        """An alarm that was set for `at_ns` has gone off: it is not earlier than that, whatever a float was rounded to.

        Without this an alarm could go off a nanosecond too soon, find nothing to do, and be set again for the same moment,
        for ever in virtual time. Returns the time.
        """
        self._latest_ns = max(self._latest_ns, at_ns)
        return self.now()
