"""One client's way to the server: a path, the connections on it, and the faults that lie on it.

Every connection of a line has the path for itself. Faults lie on the line and so on all its connections, those opened while the
fault lasts included. They are counted by kind, so faults that overlap need no rule of their own: `begin` adds one, `end` takes
one away, and the first and the last of a kind do something. This is the emulator's line in virtual time.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, assert_never

from reference.protocol import frames
from simulation.clock import Clock
from simulation.network.delay import directions_of
from simulation.random import RandomStreams
from simulation.scenario.faults import (
    BlockUpgrade,
    Direction,
    HalfOpen,
    LineFault,
    LoadBalancerCut,
    Outage,
    Refuse,
    Reset,
    Stall,
    UpgradeHandling,
)
from simulation.scenario.paths import Path
from simulation.trace.frames_seen import Moment, Watch, Way
from simulation.trace.trace import PathTrouble

if TYPE_CHECKING:  # a line knows its links only by what it does to them
    from simulation.network.connection import TcpConnection

T = TypeVar("T")
Report = Callable[[str, PathTrouble, int], None]
"""Told of what a line's path does by itself: the client, what it was, and until when it is at work, in ns."""


class AccessLink:
    """The line of one client. `outages`: the directions of those under way."""

    __slots__ = (
        "_late_until",
        "_links",
        "_opened",
        "_report",
        "blocks",
        "client",
        "clock",
        "outages",
        "path",
        "random_source",
        "refusals",
        "stalls",
        "watch",
        "ways",
    )

    def __init__(self, clock: Clock, client: str, path: Path, random_source: RandomStreams, report: Report | None = None) -> None:
        self.clock = clock
        self.client = client
        self.path = path
        self.ways = directions_of(path)
        self.random_source = random_source
        self.outages: tuple[Direction, ...] = ()
        self.stalls = 0
        self.refusals = 0
        self.blocks: tuple[BlockUpgrade, ...] = ()
        self.watch: Watch | None = None
        """Is told of every frame, if anyone wants to know."""
        self._report = report
        self._late_until = 0
        self._links: dict[int, TcpConnection] = {}  # by the order in which they were opened
        self._opened = 0

    @property
    def links(self) -> int:
        """Connections that one end at least still has."""
        return len(self._links)

    @property
    def upgrades(self) -> UpgradeHandling:
        """What happens to a request for an upgrade now; of several faults the last one decides."""
        return self.blocks[-1].how if self.blocks else self.path.middlebox.upgrades

    def saw(self, link: "TcpConnection", way: Way, moment: Moment, frame: frames.Frame) -> None:
        """A frame leaves one end of a connection, or arrives at the other. Only for a line with a `watch`."""
        assert self.watch is not None, "whoever calls this for each frame has looked"
        self.watch(link, self.client, way, moment, frame)

    def note_trouble(self, what: PathTrouble) -> None:
        """The path has done something to a connection by itself."""
        if self._report is not None:
            self._report(self.client, what, self.clock.now)

    def note_late(self, until: int) -> None:
        """Something on a connection takes longer than the path's stated bound."""
        if until > self._late_until and self._report is not None:
            self._late_until = until
            self._report(self.client, "late", until)

    def add(self, link: "TcpConnection") -> int:
        """A connection is being opened; returns its number on this line."""
        self._opened += 1
        self._links[self._opened] = link
        return self._opened

    def remove(self, number: int) -> None:
        self._links.pop(number, None)

    def served(self) -> "tuple[TcpConnection, ...]":
        """The connections of which a server process has its end."""
        return tuple(link for link in self._links.values() if link.is_served)

    def begin(self, fault: LineFault) -> None:
        """Let `fault` happen to this line now."""
        links = tuple(self._links.values())
        match fault:
            case Outage(direction=direction):
                self.outages = (*self.outages, direction)
                for link in links:
                    link.hold(direction)
            case Stall():
                self.stalls += 1
                for link in links:
                    link.stall()
            case Reset():
                for link in links:
                    link.cut()
            case HalfOpen(direction=direction):
                for link in links:
                    link.silence(direction)
            case Refuse():
                self.refusals += 1
            case BlockUpgrade():
                self.blocks = (*self.blocks, fault)
                for link in links:
                    link.cut_if_websocket()
            case LoadBalancerCut(at_s=at_s, share=share):
                self.refusals += 1
                if self.random_source.of(self.client).uniform("cut", round(at_s * 1e9)) < share:
                    for link in links:
                        link.cut()
            case _:
                assert_never(fault)

    def end(self, fault: LineFault) -> None:
        """Let `fault`, which has begun, be over."""
        links = tuple(self._links.values())
        match fault:
            case Outage(direction=direction):
                self.outages = _without(self.outages, direction)
                for link in links:
                    link.release(direction)
            case Stall():
                self.stalls -= 1
                for link in links:
                    link.unstall()
            case Refuse() | LoadBalancerCut():
                self.refusals -= 1
            case BlockUpgrade():
                self.blocks = _without(self.blocks, fault)
            case Reset() | HalfOpen():
                pass
            case _:
                assert_never(fault)


def _without(values: tuple[T, ...], value: T) -> tuple[T, ...]:
    place = values.index(value)
    return (*values[:place], *values[place + 1 :])
