"""Random fault schedules: faults whose times, durations and clients are sampled in each replication.

    [[drawn_faults]]
    name = "deploys"
    every = { kind = "exponential", scale = 300 }
    duration = { kind = "uniform", low = 1, high = 10 }
    fault = { kind = "server_restart", at_s = 30, duration_s = 5 }

The n-th fault of a name and its properties are samples of (name, n): all settings of a sweep have the same faults.
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from reference.protocol.errors import ConfigError
from simulation.random import RandomStreams
from simulation.scenario.distributions import Distribution
from simulation.scenario.faults import Failover, Fault, ServerFault
from simulation.scenario.population import Name

DRAWN_MAX = 100_000
"""Faults of one name, in one run."""


class DrawnFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Repeated faults like `fault`. Times in seconds.

    The first begins a sample of `every` after `fault.at_s`, each other one that long after the one before, until the horizon;
    `times`: at most so many. duration: replaces the fault's own; no fault lasts beyond the horizon. share: each of the clients
    that `fault` names (none: everyone) is affected with this probability, sampled for each fault.
    """

    name: Name
    fault: Fault
    every: Distribution
    duration: Distribution | None = None
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    times: Annotated[int, msgspec.Meta(ge=1, le=DRAWN_MAX)] = DRAWN_MAX

    def __post_init__(self) -> None:
        kind = self.fault.__struct_config__.tag
        if self.duration is not None and not hasattr(self.fault, "duration_s"):
            raise ConfigError(f"drawn_faults.{self.name}: a {kind} has no duration_s; remove duration")
        if self.share < 1 and isinstance(self.fault, ServerFault | Failover):
            raise ConfigError(f"drawn_faults.{self.name}: a {kind} hits everyone; remove share")


def drawn(process: DrawnFaults, clients: tuple[str, ...], until_s: float, random_source: RandomStreams) -> Iterator[Fault]:
    """The faults of one name, in order. `clients`: the names of the clients that may be affected; `until_s`: the horizon."""
    own = random_source.of(f"faults {process.name}")
    at_s = process.fault.at_s
    for index in range(process.times):
        at_s += max(1e-3, process.every.at(own.uniform("every", index)))
        if at_s >= until_s:
            return
        changes: dict[str, object] = {"at_s": at_s}
        if hasattr(process.fault, "duration_s"):
            lasts_s = (
                process.fault.duration_s if process.duration is None else process.duration.at(own.uniform("duration", index))
            )
            changes["duration_s"] = min(max(0.0, lasts_s), until_s - at_s)
        if process.share < 1:
            hit = tuple(name for name in clients if own.uniform(f"hits {name}", index) < process.share)
            if not hit:
                continue
            changes["clients"] = hit
        elif process.fault.clients:
            changes["clients"] = clients
        yield msgspec.structs.replace(process.fault, **changes)
