"""The ports of one address, a NAT's or a load balancer's: many connections at once can use them up."""

from collections import deque

from reference.protocol.timers import ns
from simulation.clock import Clock
from simulation.scenario.paths import PortPool


class Ports:
    """The ports of one address. `used`: by existing connections."""

    __slots__ = ("_clock", "_free_at", "_pool", "used")

    def __init__(self, clock: Clock, pool: PortPool) -> None:
        self._clock = clock
        self._pool = pool
        self._free_at: deque[int] = deque()  # of the waiting ones, in order
        self.used = 0

    @property
    def limit(self) -> int:
        return self._pool.ports

    @property
    def drops(self) -> bool:
        """Whether a SYN without a free port is dropped; else it is answered by a reset."""
        return self._pool.when_exhausted == "drop"

    @property
    def taken(self) -> int:
        """In use, or waiting until they may be used again."""
        while self._free_at and self._free_at[0] <= self._clock.now:
            self._free_at.popleft()
        return self.used + len(self._free_at)

    def take(self) -> bool:
        """A connection needs a port. Returns whether it got one."""
        if self.taken >= self._pool.ports:
            return False
        self.used += 1
        return True

    def give_back(self, *, is_reset: bool) -> None:
        """The connection is over."""
        self.used -= 1
        if self._pool.time_wait_s and not is_reset:
            self._free_at.append(self._clock.now + ns(self._pool.time_wait_s))
