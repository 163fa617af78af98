"""The context shared by all live runs of one server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import trio

from reference.server.access.auth import Authenticator
from reference.server.access.users import UserConnections
from reference.server.clock import ServerClock
from reference.server.monitoring.logs import OnFault
from reference.server.monitoring.monitor import Monitor
from reference.store import GroupCommit
from reference.store.base import ProcessAddress


class Owners(Protocol):
    """Which process serves which run; see store.ownership."""

    @property
    def is_held(self) -> bool:
        """Whether this process certainly still owns its runs; checked before each answer."""

    async def claim(self, run_id: str) -> ProcessAddress | None:
        """The owner of the run; None: this process owns it from now on. Raises StoreUnavailable."""

    async def find(self, run_id: str) -> ProcessAddress | None:
        """The other process that serves the run, None if there is none. Raises StoreUnavailable."""

    async def release(self, run_id: str) -> None:
        """This process no longer serves the run. Raises nothing."""


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
    owners: Owners | None
    """With other processes on one database: who serves which run. None: this process serves all."""
    nursery: trio.Nursery
    """The server's nursery: for the alarms and loads of runs, and for the tasks that wait for full sockets."""
    control_frames_max: int
