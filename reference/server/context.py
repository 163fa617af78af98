"""What all live runs of one server share."""

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
    """What all live runs of one server share."""

    clock: ServerClock
    writer: GroupCommit
    authenticator: Authenticator
    user_connections: UserConnections
    monitor: Monitor
    observe: Callable[[str, Observation, Traffic], None]
    """Called with the run id, what was observed, and the traffic of the connection that it is about."""
    new_id: Callable[[], str]
    next_connection_id: Callable[[], int]
    on_fault: OnFault
    holds_runs: Callable[[], bool]
    """Whether the runs here are certainly still this process's; asked before each answer (`store.ownership`)."""
    nursery: trio.Nursery
    """Of the server: for the tasks that wait for sockets which were full."""
    control_frames_max: int
    close_timeout_s: float
