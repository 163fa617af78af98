"""The state of one client's access link: its active faults, and their effect on connections.

Simulator, emulator and the parity test's bare world share this class; each supplies its own connections. Faults are counted by
kind, so overlapping faults need no special rule: `begin_fault` adds one, `end_fault` removes one. A fault applies to all
connections of the link, including those opened while it lasts (`apply_to`).
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar, assert_never

from simulation.random import RandomStreams
from simulation.scenario.faults import (
    BlockUpgrade,
    Direction,
    HalfOpen,
    LinkFault,
    LoadBalancerCut,
    Outage,
    Refuse,
    Reset,
    Stall,
)
from simulation.scenario.paths import UpgradeHandling

T = TypeVar("T")


class LinkConnection(Protocol):
    """The effects of an access link's faults on one connection."""

    def hold(self, direction: Direction = "both") -> None: ...

    def release(self, direction: Direction = "both") -> None: ...

    def stall(self) -> None: ...

    def unstall(self) -> None: ...

    def cut(self) -> None:
        """Reset both endpoints now, whatever the state of the link."""

    def cut_at_box(self) -> None:
        """A middlebox beyond the access link resets both endpoints; during an outage the reset does not reach the client."""

    def cut_if_websocket(self) -> None: ...

    def silence(self, direction: Direction = "both") -> None:
        """Become half-open: silent for ever, and neither endpoint is notified."""


class LinkState:
    """`outages`: the directions of the active ones. `stalls`, `refusals`: how many are active. `random_source`: of `client`,
    decides whether a load balancer's cut affects it. `upgrades_normally`: how the path handles upgrades without a fault."""

    __slots__ = ("blocks", "client", "outages", "random_source", "refusals", "stalls", "upgrades_normally")

    def __init__(self, client: str, upgrades_normally: UpgradeHandling, random_source: RandomStreams) -> None:
        self.client = client
        self.random_source = random_source
        self.outages: tuple[Direction, ...] = ()
        self.stalls = 0
        self.refusals = 0
        self.blocks: tuple[BlockUpgrade, ...] = ()
        self.upgrades_normally = upgrades_normally

    @property
    def upgrades(self) -> UpgradeHandling:
        """How an upgrade request is handled now; of several faults the last one decides."""
        return self.blocks[-1].how if self.blocks else self.upgrades_normally

    def apply_to(self, connection: LinkConnection) -> None:
        """A connection is being opened: apply the active faults to it too."""
        for direction in self.outages:
            connection.hold(direction)
        for _ in range(self.stalls):
            connection.stall()

    def begin_fault(self, fault: LinkFault, connections: Iterable[LinkConnection]) -> None:
        """`fault` begins now. `connections`: the open ones of the link."""
        match fault:
            case Outage(direction=direction):
                self.outages = (*self.outages, direction)
                for connection in connections:
                    connection.hold(direction)
            case Stall():
                self.stalls += 1
                for connection in connections:
                    connection.stall()
            case Reset():
                for connection in connections:
                    connection.cut()
            case HalfOpen(direction=direction):
                for connection in connections:
                    connection.silence(direction)
            case Refuse():
                self.refusals += 1
            case BlockUpgrade():
                self.blocks = (*self.blocks, fault)
                for connection in connections:
                    connection.cut_if_websocket()
            case LoadBalancerCut(at_s=at_s, share=share):
                self.refusals += 1
                if self.random_source.of(self.client).uniform("cut", round(at_s * 1e9)) < share:
                    for connection in connections:
                        connection.cut_at_box()
            case _:
                assert_never(fault)

    def end_fault(self, fault: LinkFault, connections: Iterable[LinkConnection]) -> None:
        """`fault`, which has begun, ends."""
        match fault:
            case Outage(direction=direction):
                self.outages = without(self.outages, direction)
                for connection in connections:
                    connection.release(direction)
            case Stall():
                self.stalls -= 1
                for connection in connections:
                    connection.unstall()
            case Refuse() | LoadBalancerCut():
                self.refusals -= 1
            case BlockUpgrade():
                self.blocks = without(self.blocks, fault)
            case Reset() | HalfOpen():
                pass
            case _:
                assert_never(fault)


def without(values: tuple[T, ...], value: T) -> tuple[T, ...]:
    """The values without one that equals `value`."""
    place = values.index(value)
    return (*values[:place], *values[place + 1 :])
