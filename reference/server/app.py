"""The server, put together: store, writer, runs, and a door for connections; how it starts and how it stops.

    open_server   the server for the length of an `async with` block: for tests, notebooks, and other programs
    serve         the same until SIGTERM or SIGINT: for `steadywire serve`

From the outside in: the store outlives the writer, the writer outlives the runs, the runs outlive the connections. Stopping goes
the other way, and is bounded by `stop_timeout_s`:

    nobody new is let in     the listener closes; upgrades and requests are told to come back
    everybody is sent away   with a time to wait and a spread, so they do not all come back in the same moment
    what is accepted stays   every event that has a number is stored before the writer stops
    the rest is cut
"""

import contextlib
import itertools
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

import structlog
import trio

from reference.protocol.events import EventRegistry
from reference.protocol.observations import Observation
from reference.server import metrics
from reference.server.admission import Admission
from reference.server.auth import Authenticator, authenticator_for
from reference.server.clock import ServerClock
from reference.server.connection import Upgrades
from reference.server.live_run import Surroundings
from reference.server.monitor import Monitor
from reference.server.operator_api import OperatorApi
from reference.server.origins import OriginPolicy
from reference.server.registry import RunRegistry
from reference.server.routes import http_app
from reference.server.run_api import RunApi
from reference.server.settings import ServerSettings
from reference.server.wire.front_door import FrontDoor, Problem
from reference.server.wire.listener import Listening, connect_in_memory, listen
from reference.server.wire.memory_stream import MemoryPushStream
from reference.server.wire.push_stream import Address, PushStream
from reference.store import EventStore, GroupCommit, open_store

log = structlog.get_logger("steadywire.server")


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """What the server holds now."""

    connections: int
    """Open connections of both kinds, at the door."""
    websockets: int
    """WebSocket connections to runs."""
    runs_loaded: int
    appends_waiting: int
    """Batches that are not durable yet."""


def new_secret_id() -> str:
    """128 random bits that nobody can guess, for epochs and session ids."""
    return secrets.token_hex(16)


class Server:
    """A running server. Made by `open_server`."""

    def __init__(self, settings: ServerSettings, parts: "_Parts", nursery: trio.Nursery) -> None:
        self.settings = settings
        self.monitor = parts.monitor
        self._parts = parts
        self._nursery = nursery
        self._listening: Listening | None = None
        self._listener = trio.CancelScope()
        self._open = 0
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens; empty if it does not."""
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
        """The client's end of a new connection that needs no socket; each direction holds `capacity_bytes` un-read bytes."""
        return connect_in_memory(self._nursery, self._serve, capacity_bytes=capacity_bytes)

    async def create_run(self, run_id: str) -> bool:
        """Make a run, as PUT /api/runs/{runId} does; False if it was there. Raises RemoteError."""
        return await self._parts.runs.create(run_id)

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(
            connections=self._parts.door.statistics().connections,
            websockets=sum(live.websockets for live in self._parts.runs.runs),
            runs_loaded=len(self._parts.runs),
            appends_waiting=self._parts.writer.statistics().appends_waiting,
        )

    async def stop(self) -> None:
        """Let nobody new in, send everybody away, store what is accepted; at most `stop_timeout_s` in all."""
        self._listener.cancel()
        self._parts.admission.close()
        settings = self.settings
        retry_after_ms, spread_ms = round(settings.go_away_retry_after_s * 1000), round(settings.go_away_spread_s * 1000)
        with trio.move_on_after(settings.stop_timeout_s):
            for live in self._parts.runs.runs:
                live.go_away(retry_after_ms, spread_ms)
            await self._parts.runs.stored()
            while self._open:
                await self._changed.park()

    def cut(self) -> None:
        """End at once: every connection is cut, and what is not yet with the store is not accepted."""
        self._nursery.cancel_scope.cancel()

    async def listen(self) -> None:
        """Begin to accept connections. Raises ListenError."""
        settings = self.settings
        self._listening = await self._nursery.start(self._listen, settings)

    async def _listen(self, settings: ServerSettings, task_status: "trio.TaskStatus[Listening]") -> None:
        with self._listener:
            await listen(
                settings.host,
                settings.port,
                self._take,
                limits=settings.listening,
                on_problem=log_problem,
                task_status=task_status,
            )

    async def _take(self, stream: PushStream) -> None:
        """Serve a connection in a task of the server's own: it may outlive the listener."""
        self._nursery.start_soon(self._serve, stream)

    async def _serve(self, stream: PushStream) -> None:
        self._open += 1
        try:
            await self._parts.door.serve(stream)
        finally:
            self._open -= 1
            self._changed.unpark_all()


@dataclass(frozen=True, slots=True)
class _Parts:
    monitor: Monitor
    writer: GroupCommit
    runs: RunRegistry
    admission: Admission
    door: FrontDoor


@asynccontextmanager
async def open_server(
    settings: ServerSettings | None = None,
    *,
    store: EventStore | None = None,
    authenticator: Authenticator | None = None,
    origin_ns: int | None = None,
    new_id: Callable[[], str] = new_secret_id,
    observe: Callable[[Observation], None] | None = None,
    listening: bool = True,
) -> AsyncIterator[Server]:
    """A running server; it is stopped gracefully at the end of the block.

    `store` and `authenticator` stand in for those that `settings` name; such a store is not closed. `origin_ns` is the time at
    which the server's clock starts, for virtual time; `new_id` draws epochs and session ids; `observe` is told, at once, of whatever
    the runs let observe, and must not raise. With `listening` False no socket is
    opened, and `Server.connect` is the only way in. Raises ConfigError, StoreUnavailable, ListenError.
    """
    settings = settings or ServerSettings()
    authenticator = authenticator or authenticator_for(settings.secret)
    opening: AbstractAsyncContextManager[EventStore] = open_store(settings.store) if store is None else nullcontext(store)
    failure: Exception | None = None
    async with opening as events:
        async with trio.open_nursery() as nursery:
            server = _assemble(settings, events, authenticator, ServerClock(origin_ns), new_id, observe, nursery)
            try:
                if listening:
                    await server.listen()
                yield server
            except Exception as error:
                failure = error  # raised below, as it was: our nursery would put it into a group
            finally:
                await server.stop()  # when cancelled, everybody is told, and nobody is waited for
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


def _assemble(
    settings: ServerSettings,
    store: EventStore,
    authenticator: Authenticator,
    clock: ServerClock,
    new_id: Callable[[], str],
    observe: Callable[[Observation], None] | None,
    nursery: trio.Nursery,
) -> Server:
    monitor = Monitor()

    def tell(observation: Observation) -> None:
        monitor.observe(observation)
        if observe is not None:
            observe(observation)

    writer = GroupCommit(store)
    nursery.start_soon(writer.run)
    shared = Surroundings(
        clock=clock,
        writer=writer,
        authenticator=authenticator,
        monitor=monitor,
        observe=tell,
        new_id=new_id,
        next_connection_id=itertools.count(1).__next__,
        on_fault=log_fault,
        control_frames_max=settings.control_frames_max,
        close_timeout_s=settings.websocket.close_timeout_s,
        run_idle_s=settings.run_idle_s,
    )
    runs = RunRegistry(
        store,
        shared,
        nursery,
        config=settings.protocol,
        events=EventRegistry(settings.event_types),
        loaded_runs_max=settings.loaded_runs_max,
    )
    monitor.metrics.show(metrics.ACTIVE, lambda: sum(live.websockets for live in runs.runs))
    monitor.metrics.show(metrics.RUNS, lambda: len(runs))
    monitor.metrics.show(metrics.LAGGING, lambda: sum(live.lagging for live in runs.runs))
    origins = OriginPolicy(settings.allowed_origins, is_development=settings.secret is None)
    admission = Admission(authenticator, clock, origins, round(settings.go_away_retry_after_s * 1000))
    app = http_app(
        RunApi(runs, admission, body_bytes_max=settings.door.body_bytes_max),
        OperatorApi(store, monitor, admission, log_fault),
        allowed_origins=settings.allowed_origins,
        on_fault=log_fault,
    )
    door = FrontDoor(
        app,
        Upgrades(runs, admission, frame_bytes_max=settings.protocol.frame_bytes_max).on_upgrade,
        limits=settings.door,
        websocket_limits=settings.websocket_limits,
        on_problem=log_problem,
    )
    return Server(settings, _Parts(monitor, writer, runs, admission, door), nursery)


async def serve(settings: ServerSettings, *, task_status: "trio.TaskStatus[Server]" = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends it at once. In the main thread only. Raises as `open_server`."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_server(settings) as server:
            task_status.started(server)
            await anext(signals)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cut_at_next, signals, server)
                await server.stop()
                nursery.cancel_scope.cancel()


async def _cut_at_next(signals: AsyncIterator[int], server: Server) -> None:
    await anext(signals)
    server.cut()


def log_problem(problem: Problem) -> None:
    """Write down what went wrong at the byte level."""
    _log(problem.what, problem.error, peer=problem.peer, request=problem.request)


def log_fault(what: str, error: BaseException) -> None:
    """Write down a fault of ours, or of the store."""
    _log(what, error)


def _log(what: str, error: BaseException, **context: object) -> None:
    # A log that fails, on a full disk say, must take neither a connection nor a run with it.
    with contextlib.suppress(Exception):
        log.error(what, **context, exc_info=error)
