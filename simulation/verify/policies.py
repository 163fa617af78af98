"""Reconnect policies in both languages: as the simulator ships them, and as a schedule of waits of the theory."""

from dataclasses import dataclass

from simulation.scenario import FullJitterPolicy
from simulation.theory.backoff import Schedule, exponential, floored_full_jitter


@dataclass(frozen=True, slots=True)
class Policy:
    """shipped: what a scenario's client has. first_spread_s: what the server's welcome asks for, if the policy listens to it."""

    shipped: FullJitterPolicy
    schedule: Schedule
    first_spread_s: float = 1.0


POLICIES: dict[str, Policy] = {
    "ours": Policy(FullJitterPolicy(), floored_full_jitter()),
    "ours, spread 5 s": Policy(FullJitterPolicy(), floored_full_jitter(first_spread_s=5.0), first_spread_s=5.0),
    "full jitter": Policy(FullJitterPolicy(base_s=2.0, floor_s=0.0), exponential("full")),
}
