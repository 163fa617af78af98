"""The context shared by all live runs of one server."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from reference.protocol.server.observations import Observation
from reference.server.access.auth import Authenticator
from reference.server.access.user_limits import UserConnections
from reference.server.clock import ServerClock
from reference.server.monitoring.logs import OnFault
from reference.server.monitoring.monitor import Monitor
from reference.server.monitoring.sessions import Traffic
from reference.store import GroupCommit


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Shared by all live runs of one server."""

    clock: ServerClock
    writer: GroupCommit
    authenticator: Authenticator
    user_connections: UserConnections
    monitor: Monitor
    observe: Callable[[str, Observation, Traffic], None]
    """Called with the run id, the observation, and the traffic of the connection concerned."""
    new_id: Callable[[], str]
    next_connection_id: Callable[[], int]
    on_fault: OnFault
    holds_runs: Callable[[], bool]
    """Whether this process certainly still owns its runs; checked before each answer (`store.ownership`)."""
    nursery: trio.Nursery
    """The server's nursery: for the tasks that wait for full sockets."""
    control_frames_max: int
    close_timeout_s: float
