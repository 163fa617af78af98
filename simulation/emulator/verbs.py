"""The faults of simulation.scenario.faults as methods, the same for one link and for all links of an emulator.

A verb lasts as long as its fault: it returns when the fault is over, and cancelling it ends the fault early.
Overlapping verbs compose: the link is up again when every outage on it is over.
"""

import abc
from typing import Literal

from simulation.scenario.faults import BlockUpgrade, Direction, Fault, HalfOpen, LoadBalancerCut, Outage, Refuse, Reset, Stall


class FaultVerbs(abc.ABC):
    """Faults as methods. Durations are in seconds; ConfigError for a negative or infinite one."""

    @abc.abstractmethod
    async def apply(self, fault: Fault) -> None:
        """Let `fault` happen now, whatever its `at_s`, and return when it is over."""

    async def outage(self, duration_s: float, direction: Direction = "both") -> None:
        """No data pass and new connections hang; afterwards lost data are sent again."""
        await self.apply(Outage(at_s=0, duration_s=duration_s, direction=direction))

    async def stall(self, duration_s: float) -> None:
        """Data from the server are held back, then delivered all at once; the other direction works."""
        await self.apply(Stall(at_s=0, duration_s=duration_s))

    async def reset(self) -> None:
        """Cut every connection at once, with a reset to both ends; half-open ones stay silent."""
        await self.apply(Reset(at_s=0))

    async def half_open(self, direction: Direction = "both") -> None:
        """Make every existing connection silent for ever; new ones work."""
        await self.apply(HalfOpen(at_s=0, direction=direction))

    async def refuse(self, duration_s: float) -> None:
        """Refuse new connections; existing ones are not affected."""
        await self.apply(Refuse(at_s=0, duration_s=duration_s))

    async def block_upgrade(self, duration_s: float, how: Literal["block", "strip", "hang"] = "block") -> None:
        """Cut existing WebSockets; answer 403 to every upgrade, strip its headers, or never answer it. Other HTTP passes."""
        await self.apply(BlockUpgrade(at_s=0, duration_s=duration_s, how=how))

    async def load_balancer_cut(self, duration_s: float, share: float = 1.0) -> None:
        """Cut this share of the links, the same ones each time, and refuse all new connections."""
        await self.apply(LoadBalancerCut(at_s=0, duration_s=duration_s, share=share))
