"""Server: the interface of a running server, and how it stops."""

from dataclasses import dataclass

import trio

from reference.protocol.errors import ConfigError
from reference.protocol.statistics import Held
from reference.server.access.admission import AccessControl
from reference.server.clock import ServerClock
from reference.server.cluster.cluster import Cluster
from reference.server.http.exchanges import Exchanges
from reference.server.monitoring.monitor import Monitor
from reference.server.registry import RunRegistry
from reference.server.settings import ServerSettings, split_address
from reference.server.wire.front_door import FrontDoor, OnProblem
from reference.server.wire.listener import Listening, connect_in_memory, listen
from reference.server.wire.memory_stream import MemoryPushStream
from reference.server.wire.push_stream import Address, PushStream
from reference.store import GroupCommit

SUSPEND_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """The sizes of what the server holds now."""

    connections: int
    """Open connections of both kinds, at the front door."""
    websockets: int
    """WebSocket connections to runs."""
    runs_loaded: int
    appends_waiting: int
    """Batches that are not durable yet."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a server, for `Server` alone."""

    clock: ServerClock
    monitor: Monitor
    writer: GroupCommit
    runs: RunRegistry
    admission: AccessControl
    exchanges: Exchanges
    door: FrontDoor
    on_problem: OnProblem
    cluster: Cluster | None = None
    """None for a process that serves alone."""


class Server:
    """A running server. Created by `open_server`."""

    def __init__(self, settings: ServerSettings, parts: "Parts", nursery: trio.Nursery) -> None:
        self.settings = settings
        self.monitor = parts.monitor
        self._parts = parts
        self._nursery = nursery
        self._listening: Listening | None = None
        self._listener = trio.CancelScope()
        self._parted = trio.lowlevel.ParkingLot()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses where it listens; empty if it does not."""
        return () if self._listening is None else self._listening.addresses

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._listening is not None, "this server was opened without listening"
        return self._listening.port

    @property
    def url(self) -> str:
        """Its address, for clients on this machine."""
        host = self.addresses[0][0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def connect(self, *, capacity_bytes: int | None = None) -> MemoryPushStream:
        """The client's end of a new connection without a socket; each direction holds `capacity_bytes` unread bytes."""
        return connect_in_memory(self._nursery, self._serve, capacity_bytes=capacity_bytes)

    async def create_run(self, run_id: str) -> bool:
        """Create a run, as PUT /api/runs/{runId} does; False if it existed. Raises RemoteError."""
        return await self._parts.runs.create(run_id)

    async def watch_suspends(self) -> None:
        """Let time count while the machine is suspended; runs for ever."""
        while True:
            await trio.sleep(SUSPEND_CHECK_S)
            if self._parts.clock.notice_suspend():
                for live in self._parts.runs.runs:
                    live.wake()

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(
            connections=self._parts.door.statistics().connections,
            websockets=sum(live.websockets for live in self._parts.runs.runs),
            runs_loaded=len(self._parts.runs),
            appends_waiting=self._parts.writer.statistics().appends_waiting,
        )

    def held(self, run_id: str) -> tuple[Held, ...]:
        """The current size of everything that can grow, including that run if it is in memory, each with its limit (G7)."""
        holds, settings = self.statistics(), self.settings
        return (
            Held("connections at the door", holds.connections, settings.door.connections_max),
            Held("runs in memory", holds.runs_loaded, settings.loaded_runs_max),
            *(held for live in self._parts.runs.runs if live.run_id == run_id for held in live.held),
        )

    async def stop(self) -> None:
        """Refuse new clients, send all clients away, store what is accepted; within `stop_timeout_s` in all.

        Idle connections are not waited for.
        """
        if self._nursery.cancel_scope.cancel_called:
            return  # `cut` was called
        self._listener.cancel()
        self._parts.admission.close()
        settings = self.settings
        spread_s = settings.go_away_spread_for(self.statistics().websockets)
        retry_after_ms, spread_ms = round(settings.go_away_retry_after_s * 1000), round(spread_s * 1000)
        with trio.move_on_after(settings.stop_timeout_s):
            for live in self._parts.runs.runs:
                await live.send_away(retry_after_ms, spread_ms)
            if self._parts.cluster is not None:
                self._parts.cluster.upgrades.go_away(retry_after_ms, spread_ms)
            await self._parts.runs.stored()
            if self._parts.cluster is not None:
                await self._parts.cluster.part()
            await self._parts.exchanges.none_left()
            while self._parts.door.statistics().websockets:
                await self._parted.park()

    def cut(self) -> None:
        """End at once, as close to a crash as possible within one process: no client is notified, and events that are not stored
        are lost. The block of `open_server` is cancelled.
        """
        self._nursery.cancel_scope.cancel()

    async def listen(self) -> None:
        """Begin to accept connections. Raises ListenError."""
        settings = self.settings
        self._listening = await self._nursery.start(self._listen, settings)

    async def join_the_others(self) -> None:
        """Join the other processes, if the database may be shared. Raises ConfigError, StoreUnavailable."""
        cluster = self._parts.cluster
        if cluster is not None:
            advertised = self.settings.advertise
            host, port = self.addresses[0] if advertised is None else split_address(advertised)
            if host in ("0.0.0.0", "::"):
                raise ConfigError(f"other processes cannot reach this one at {host}; say where they can (--advertise HOST:PORT)")
            await cluster.join(host, port, self._nursery)

    async def _listen(self, settings: ServerSettings, task_status: "trio.TaskStatus[Listening]") -> None:
        with self._listener:
            await listen(
                settings.host,
                settings.port,
                self._take,
                limits=settings.listening,
                on_problem=self._parts.on_problem,
                task_status=task_status,
            )

    async def _take(self, stream: PushStream) -> None:
        """Serve a connection in a task of the server's nursery: it may outlive the listener."""
        self._nursery.start_soon(self._serve, stream, name="connection")  # trio would make a name for each of its own

    async def _serve(self, stream: PushStream) -> None:
        try:
            await self._parts.door.serve(stream)
        finally:
            self._parted.unpark_all()
