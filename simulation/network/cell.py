"""A cell: a bottleneck shared equally by many clients (processor sharing), like a radio cell or a fair queue.

Of n clients that have something to send, each is served at 1/n of the rate; the items of one client are served in order. `Cell`
is pure: it computes in virtual service (the service that a client gets that is always served), in which every finish is known as
soon as service begins, whatever other clients do. `SimulatedCell` waits in SimPy's queue. Times are ns.

For Poisson arrivals of clients the mean time in it is E[S] / (1 - load) whatever the distribution of sizes (Kleinrock 1967).
"""

import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from reference.protocol.timers import NS_PER_S
from simulation.clock import ARRIVAL, Call, Clock

Departed = Callable[[], None]
_EXACT = 0.01  # ns


class Cell:
    """See the module."""

    __slots__ = ("_at", "_entered", "_ns_per_byte", "_served", "_service", "_waiting")

    def __init__(self, bytes_per_s: float) -> None:
        self._ns_per_byte = NS_PER_S / bytes_per_s
        self._at = 0
        self._service = 0.0  # the service of one client by `_at`
        self._served: list[tuple[float, int, str, Departed]] = []  # each client's first item: the service at which it is done
        self._waiting: dict[str, deque[tuple[int, Departed]]] = {}  # of each client that is served
        self._entered = 0

    def enter(self, now: int, client: str, size_bytes: int, departed: Departed) -> None:
        """An item of `client` enters; `departed` is returned by `depart`."""
        self._advance(now)
        if client in self._waiting:
            self._waiting[client].append((size_bytes, departed))
        else:
            self._waiting[client] = deque()
            self._serve(client, self._service, size_bytes, departed)

    def next_at(self) -> int | None:
        """When the next item departs if none enters before."""
        if not self._served:
            return None
        return self._at + max(0, math.ceil((self._served[0][0] - self._service) * len(self._served)))

    def depart(self, now: int) -> list[Departed]:
        """The items that have departed by `now`."""
        self._advance(now)
        gone = []
        while self._served and self._served[0][0] <= self._service + _EXACT:
            done_at, _, client, departed = heappop(self._served)
            gone.append(departed)
            waiting = self._waiting[client]
            if waiting:
                self._serve(client, done_at, *waiting.popleft())
            else:
                del self._waiting[client]
        return gone

    def _serve(self, client: str, since: float, size_bytes: int, departed: Departed) -> None:
        self._entered += 1
        heappush(self._served, (since + size_bytes * self._ns_per_byte, self._entered, client, departed))

    def _advance(self, now: int) -> None:
        if self._served:
            self._service += (now - self._at) / len(self._served)
        self._at = now


class SimulatedCell:
    """A cell in virtual time."""

    __slots__ = ("_cell", "_clock", "_waking_at")

    def __init__(self, clock: Clock, bytes_per_s: float) -> None:
        self._clock = clock
        self._cell = Cell(bytes_per_s)
        self._waking_at: int | None = None

    def enter(self, client: str, size_bytes: int, departed: Departed) -> None:
        """`departed` is called when the item has left."""
        self._cell.enter(self._clock.now, client, size_bytes, departed)
        self._wait()

    def _wait(self) -> None:
        at = self._cell.next_at()
        if at is not None and (self._waking_at is None or at < self._waking_at):
            self._waking_at = at
            Call(self._clock, at, ARRIVAL, self._wake)

    def _wake(self, _: Call) -> None:
        if self._waking_at != self._clock.now:
            return
        self._waking_at = None
        for departed in self._cell.depart(self._clock.now):
            departed()
        self._wait()
