"""What is decided before real processes play a run: who takes part, what each of them does and when, and which faults come.

A plan is a value. It may be drawn (`simulation.processes.demo.schedule`), or taken over from a simulated run.
Times are in seconds from the beginning of the work.
"""

from typing import Any

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.events import Data
from reference.protocol.policies.fallback import FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import ReconnectPolicy
from simulation.scenario.faults import Fault, ServerRestart
from simulation.scenario.paths import Path


class Move(msgspec.Struct, frozen=True):
    """One thing that a client does: an event that it publishes, or a place for its cursor."""

    at_s: float
    event_type: str
    data: Data


class ClientPlan(msgspec.Struct, frozen=True):
    """One client. Its user has the same name."""

    name: str
    path: Path
    joins_at_s: float
    moves: tuple[Move, ...]


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """How clients and server are set.

    wait_max_s: the longest wait of the policy. fallback, heartbeat: None for what the config says. round_trip_max_s: of a request
    to a server that is well, on the slowest path here and on a machine with other things to do.
    """

    client: ClientConfig
    server: ServerConfig
    policy: ReconnectPolicy
    wait_max_s: float
    round_trip_max_s: float
    fallback: FallbackPolicy | None = None
    heartbeat: HeartbeatPolicy | None = None

    @property
    def recovery_bound_s(self) -> float:
        """G6: within this many seconds after the last fault everyone is back."""
        return recovery_bound_s(self.client, self.wait_max_s, self.round_trip_max_s, heartbeat=self.heartbeat)

    @property
    def settle_s_max(self) -> float:
        """Until everyone is at the head again, and then over WebSocket: two probes may be needed for that."""
        return self.recovery_bound_s + 2 * self.client.probe_interval_max_s

    @property
    def policy_in_words(self) -> dict[str, Any]:
        """The policy's own parameters."""
        words = msgspec.to_builtins(self.policy)
        return words if isinstance(words, dict) else {"policy": words}


class Plan(msgspec.Struct, frozen=True):
    """Everything that is decided before a run.

    seconds: of work. settle_s: how long everyone stays after it; None: until all is at rest, or should be.
    """

    seed: int
    seconds: float
    clients: tuple[ClientPlan, ...]
    faults: tuple[Fault, ...]
    parameters: Parameters
    settle_s: float | None = None

    @property
    def kills(self) -> tuple[ServerRestart, ...]:
        return tuple(fault for fault in self.faults if isinstance(fault, ServerRestart))
