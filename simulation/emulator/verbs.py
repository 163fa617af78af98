"""The faults of simulation.scenario.faults as methods, the same for one line and for all lines of an emulator.

A verb lasts as long as its fault: it returns when the fault is over, and cancelling it ends the fault early.
Verbs that overlap compose: the line is up again when every outage on it is over.
"""

import abc
from typing import Literal

from simulation.scenario.faults import BlockUpgrade, Direction, Fault, HalfOpen, LoadBalancerCut, Outage, Refuse, Reset, Stall


class FaultVerbs(abc.ABC):
    """Faults by hand. Durations are in seconds; ConfigError when one is negative or not finite."""

    @abc.abstractmethod
    async def apply(self, fault: Fault) -> None:
        """Let `fault` happen now, whatever its `at_s`, and return when it is over."""

    async def outage(self, duration_s: float, direction: Direction = "both") -> None:
        """Nothing passes and new connections hang; afterwards what was on the way is sent again."""
        await self.apply(Outage(at_s=0, duration_s=duration_s, direction=direction))

    async def stall(self, duration_s: float) -> None:
        """What comes from the server is held back, then delivered all at once; the other direction flows."""
        await self.apply(Stall(at_s=0, duration_s=duration_s))

    async def reset(self) -> None:
        """Cut every connection at once, with a reset to both ends; half-open ones stay silent."""
        await self.apply(Reset(at_s=0))

    async def half_open(self, direction: Direction = "both") -> None:
        """Make every connection that stands silent for ever; new ones work."""
        await self.apply(HalfOpen(at_s=0, direction=direction))

    async def refuse(self, duration_s: float) -> None:
        """Refuse new connections; the ones that stand are left alone."""
        await self.apply(Refuse(at_s=0, duration_s=duration_s))

    async def block_upgrade(self, duration_s: float, how: Literal["block", "strip", "hang"] = "block") -> None:
        """Cut the WebSockets that stand; answer 403 to every upgrade, take from it what makes it one, or let it hang. Other HTTP
        passes."""
        await self.apply(BlockUpgrade(at_s=0, duration_s=duration_s, how=how))

    async def load_balancer_cut(self, duration_s: float, share: float = 1.0) -> None:
        """Cut this share of the lines, the same ones each time, and refuse new connections to all."""
        await self.apply(LoadBalancerCut(at_s=0, duration_s=duration_s, share=share))
