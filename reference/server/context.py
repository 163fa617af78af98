"""The context shared by all live runs of one server."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from reference.server.access.auth import Authenticator
from reference.server.access.users import UserConnections
from reference.server.clock import ServerClock
from reference.server.monitoring.logs import OnFault
from reference.server.monitoring.monitor import Monitor
from reference.store import GroupCommit


@dataclass(frozen=True, slots=True)
class ServerContext:
    """Shared by all live runs of one server."""

    clock: ServerClock
    writer: GroupCommit
    authenticator: Authenticator
    user_connections: UserConnections
    monitor: Monitor
    new_id: Callable[[], str]
    next_connection_id: Callable[[], int]
    on_fault: OnFault
    holds_runs: Callable[[], bool]
    """Whether this process certainly still owns its runs; checked before each answer (`store.ownership`)."""
    nursery: trio.Nursery
    """The server's nursery: for the alarms and loads of runs, and for the tasks that wait for full sockets."""
    control_frames_max: int
