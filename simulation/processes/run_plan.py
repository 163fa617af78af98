"""The plan of a run of real processes: the clients, what each does and when, and the faults.

A plan is a value. It is generated (`simulation.processes.demo.schedule`), or taken from a simulated run.
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
    """One action of a client: an event to publish, or a cursor position."""

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
    """The settings of clients and server.

    wait_max_s: the longest wait of the policy. fallback, heartbeat: None for what the config says. round_trip_max_s: of a request
    to a healthy server, on the slowest path of the plan and on a busy machine."""

    client: ClientConfig
    server: ServerConfig
    policy: ReconnectPolicy
    wait_max_s: float
    round_trip_max_s: float
    fallback: FallbackPolicy | None = None
    heartbeat: HeartbeatPolicy | None = None

    @property
    def recovery_bound_s(self) -> float:
        """G6: within this many seconds after the last fault every client has recovered."""
        return recovery_bound_s(self.client, self.wait_max_s, self.round_trip_max_s, heartbeat=self.heartbeat)

    @property
    def settle_s_max(self) -> float:
        """The longest time until every client is at the head again, over WebSocket: two probes may be needed for that."""
        return self.recovery_bound_s + 2 * self.client.probe_interval_max_s

    @property
    def policy_in_words(self) -> dict[str, Any]:
        """The policy's own parameters."""
        words = msgspec.to_builtins(self.policy)
        return words if isinstance(words, dict) else {"policy": words}


class Plan(msgspec.Struct, frozen=True):
    """The complete plan of a run.

    seconds: of work. settle_s: how long clients stay after it; None: until everything has settled, or the limit has passed.
    """

    seed: int
    seconds: float
    clients: tuple[ClientPlan, ...]
    faults: tuple[Fault, ...]
    parameters: Parameters
    settle_s: float | None = None

    @property
    def kills(self) -> tuple[ServerRestart, ...]:
        """The restarts of the server, graceful ones too."""
        return tuple(fault for fault in self.faults if isinstance(fault, ServerRestart))
