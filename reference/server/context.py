"""The context shared by all live runs of one server."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from reference.server.access.auth import Authenticator
from reference.server.access.users import UserConnections
from reference.server.clock import ServerClock
from reference.server.cluster.membership import Membership
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
    owners: Membership | None
    """With other processes on one database: who serves which run. None: this process serves all."""
    nursery: trio.Nursery
    """The server's nursery: for the alarms and loads of runs, and for the tasks that wait for full sockets."""
    control_frames_max: int
