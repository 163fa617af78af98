"""One client's way to the server: a path, the connections on it, and the faults that lie on it.

Every connection of a line has the path for itself. Faults lie on the line and so on all its connections, those opened while the
fault lasts included. They are counted by kind, so faults that overlap need no rule of their own: `begin` adds one, `end` takes
one away, and the first and the last of a kind do something. This is the emulator's line in virtual time.
"""

from typing import TYPE_CHECKING, assert_never

from simulation.clock import Clock
from simulation.draws import Draws
from simulation.faults import BlockUpgrade, HalfOpen, LineFault, LoadBalancerCut, Outage, Refuse, Reset, Stall
from simulation.paths import Path

if TYPE_CHECKING:  # a line knows its links only by what it does to them
    from simulation.network import Link


class Line:
    """The line of one client."""

    def __init__(self, clock: Clock, client: str, path: Path, draws: Draws) -> None:
        self.clock = clock
        self.client = client
        self.path = path
        self.draws = draws
        self.outages = 0
        self.stalls = 0
        self.refusals = 0
        self.blocks = 0
        self._links: dict[int, Link] = {}  # by the order in which they were opened
        self._opened = 0

    @property
    def links(self) -> int:
        """Connections that one end at least still has."""
        return len(self._links)

    def add(self, link: "Link") -> int:
        """A connection is being opened; returns its number on this line."""
        self._opened += 1
        self._links[self._opened] = link
        return self._opened

    def remove(self, number: int) -> None:
        self._links.pop(number, None)

    def server_died(self) -> None:
        """The server's process was killed: every connection that it had is reset."""
        for link in tuple(self._links.values()):
            link.server_dies()

    def begin(self, fault: LineFault) -> None:
        """Let `fault` happen to this line now."""
        links = tuple(self._links.values())
        match fault:
            case Outage():
                self.outages += 1
                for link in links:
                    link.hold()
            case Stall():
                self.stalls += 1
                for link in links:
                    link.stall()
            case Reset():
                for link in links:
                    link.cut()
            case HalfOpen():
                for link in links:
                    link.silence()
            case Refuse():
                self.refusals += 1
            case BlockUpgrade():
                self.blocks += 1
                for link in links:
                    link.cut_if_websocket()
            case LoadBalancerCut(at_s=at_s, share=share):
                self.refusals += 1
                if self.draws.of(self.client).uniform("cut", round(at_s * 1e9)) < share:
                    for link in links:
                        link.cut()
            case _:
                assert_never(fault)

    def end(self, fault: LineFault) -> None:
        """Let `fault`, which has begun, be over."""
        links = tuple(self._links.values())
        match fault:
            case Outage():
                self.outages -= 1
                for link in links:
                    link.release()
            case Stall():
                self.stalls -= 1
                for link in links:
                    link.unstall()
            case Refuse() | LoadBalancerCut():
                self.refusals -= 1
            case BlockUpgrade():
                self.blocks -= 1
            case Reset() | HalfOpen():
                pass
            case _:
                assert_never(fault)
