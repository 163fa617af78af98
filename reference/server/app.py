"""Assembly of the server: store, writer, runs and front door; how it starts and stops.

    open_server   the server within an `async with` block: for tests, notebooks and other programs
    serve         the same until SIGTERM or SIGINT: for `steadywire serve`
    Server        the interface of a running server, and how it stops

On PostgreSQL, which several processes may share, it also joins the other processes (`cluster`).

The store outlives the writer, the writer outlives the runs, the runs outlive the connections. The server stops in the reverse
order, within `stop_timeout_s`:

    no new clients           the listener closes; upgrades and requests are asked to retry later
    clients are sent away    with a time to wait and a spread, so that they do not all return at the same moment
    accepted events are kept   every event that has a number is stored before the writer stops
    the rest is cut
"""

import itertools
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from reference.protocol import frames, metrics
from reference.protocol.errors import ConfigError
from reference.protocol.events import EventRegistry
from reference.protocol.server.observations import Observation
from reference.protocol.statistics import Held
from reference.protocol.timers import ns
from reference.server.access.admission import AccessControl
from reference.server.access.auth import Authenticator
from reference.server.access.origins import OriginPolicy
from reference.server.access.users import RefusedUsers, RefusingAuthenticator, UserConnections
from reference.server.clock import ServerClock
from reference.server.cluster.admin import ActionsOfAll, AdminOfAll, PeerProcesses
from reference.server.cluster.cluster import Cluster
from reference.server.cluster.membership import Membership, open_ownership
from reference.server.cluster.request_relay import connection_pool
from reference.server.connection import Upgrades
from reference.server.context import ServerContext
from reference.server.http.admin_actions import AdminActions
from reference.server.http.admin_api import AdminApi
from reference.server.http.application import Exchanges, HttpApi
from reference.server.http.operator_api import OPERATOR_PATHS, OperatorApi
from reference.server.http.pages import DocsApi, WebPages
from reference.server.http.run_api import RunApi
from reference.server.monitoring.logs import FaultLog, SessionLog, log_event
from reference.server.monitoring.metrics import MetricSet, tune_collector, watch_lag, watched_turns
from reference.server.monitoring.monitor import Monitor
from reference.server.registry import RunRegistry
from reference.server.settings import ServerSettings, split_address
from reference.server.wire.front_door import FrontDoor, OnProblem
from reference.server.wire.listener import Listening, connect_in_memory, listen
from reference.server.wire.memory_stream import MemoryPushStream
from reference.server.wire.push_stream import Address
from reference.store import EventStore, GroupCommit, open_store, watch_place
from reference.web.files import WebSettings

if TYPE_CHECKING:
    from reference.store.ownership import Ownership

SUSPEND_CHECK_S = 1.0
"""Between two checks whether the machine was suspended."""


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
        return connect_in_memory(self._nursery, self._parts.door.serve, capacity_bytes=capacity_bytes)

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
            appends_waiting=self._parts.writer.appends_waiting,
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
                self._parts.cluster.go_away(retry_after_ms, spread_ms)
            await self._parts.runs.stored()
            if self._parts.cluster is not None:
                await self._parts.cluster.leave()
            await self._parts.exchanges.none_left()
            await self._parts.door.no_websockets()

    def cut(self) -> None:
        """End at once, as close to a crash as possible within one process: no client is sent `goaway`, only the close code 1001,
        and events that are not with the store are lost. The block of `open_server` is cancelled.
        """
        self._nursery.cancel_scope.cancel()

    async def listen(self) -> None:
        """Begin to accept connections. Raises ListenError."""
        self._listening = await self._nursery.start(self._listen)

    async def join_cluster(self) -> None:
        """Join the other processes, if the database may be shared. Raises ConfigError, StoreUnavailable."""
        cluster = self._parts.cluster
        if cluster is not None:
            advertised = self.settings.advertise
            host, port = self.addresses[0] if advertised is None else split_address(advertised)
            if host in ("0.0.0.0", "::"):
                raise ConfigError(f"other processes cannot reach this one at {host}; say where they can (--advertise HOST:PORT)")
            await cluster.join(host, port, self._nursery)

    async def _listen(self, task_status: "trio.TaskStatus[Listening]") -> None:
        with self._listener:
            await listen(
                self.settings.host,
                self.settings.port,
                self._parts.door.serve,
                limits=self.settings.listening,
                on_problem=self._parts.on_problem,
                nursery=self._nursery,  # a connection may outlive the listener
                task_status=task_status,
            )


def new_secret_id() -> str:
    """128 random bits, for epochs and session ids that must not be guessable."""
    return secrets.token_hex(16)


@asynccontextmanager
async def open_server(
    settings: ServerSettings | None = None,
    *,
    store: EventStore | None = None,
    authenticator: Authenticator | None = None,
    origin_ns: int | None = None,
    new_id: Callable[[], str] = new_secret_id,
    observe: Callable[[Observation], None] | None = None,
    log_sessions: bool = False,
    listening: bool = True,
) -> AsyncIterator[Server]:
    """A running server; it is stopped gracefully at the end of the block.

    `store` and `authenticator` replace those that `settings` name; a given store is not closed. `origin_ns` is the start time of
    the server's clock, for virtual time; `new_id` generates epochs and session ids; `observe` is called at once with every
    observation of the runs, and must not raise; `log_sessions` writes a log line for each event of a session. With `listening`
    False no socket is opened, and only `Server.connect` makes connections. Raises ConfigError, StoreUnavailable, ListenError."""
    settings = settings or ServerSettings()
    authenticator = authenticator or settings.authenticator()
    opening: AbstractAsyncContextManager[EventStore] = open_store(settings.store) if store is None else nullcontext(store)
    failure: Exception | None = None
    async with opening as events, open_ownership(events, is_reachable=listening) as ownership:
        async with trio.open_nursery() as nursery:
            clock = ServerClock(origin_ns)
            monitor = Monitor(
                session_records_max=settings.session_records_max,
                session_age_max_ns=ns(settings.session_age_max_s),
                session_log=SessionLog(clock.now) if log_sessions else None,
                observer=observe,
            )
            server = _assemble(settings, events, ownership, authenticator, clock, monitor, new_id, nursery)
            try:
                if listening:
                    await server.listen()
                    await server.join_cluster()
                yield server
            except Exception as error:
                failure = error  # raised unchanged below: our nursery would put it into a group
            finally:
                await server.stop()  # when cancelled, all clients are notified but not awaited
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


def _assemble(
    settings: ServerSettings,
    store: EventStore,
    ownership: "Ownership | None",
    authenticator: Authenticator,
    clock: ServerClock,
    monitor: Monitor,
    new_id: Callable[[], str],
    nursery: trio.Nursery,
) -> Server:
    refused = RefusedUsers()
    authenticator = RefusingAuthenticator(authenticator, refused)
    faults = FaultLog(clock.now)
    on_fault = monitor.and_count(faults.fault)
    on_problem = monitor.and_count(faults.problem)
    writer = GroupCommit(store, on_fault=on_fault)
    nursery.start_soon(writer.run)
    membership = None if ownership is None else Membership(ownership, on_fault)
    shared = ServerContext(
        clock=clock,
        writer=writer,
        authenticator=authenticator,
        user_connections=UserConnections(settings.connections_per_user_max),
        monitor=monitor,
        new_id=new_id,
        next_connection_id=itertools.count(1).__next__,
        on_fault=on_fault,
        owners=membership,
        nursery=nursery,
        control_frames_max=settings.control_frames_max,
    )
    runs = RunRegistry(
        store,
        shared,
        config=settings.protocol,
        events=EventRegistry(settings.event_types),
        limits=settings.limits,
        loaded_runs_max=settings.loaded_runs_max,
    )
    nursery.start_soon(watch_place, store, runs.drop)
    _show_gauges(monitor.metrics, runs, writer)
    origins = OriginPolicy(
        settings.allowed_origins,
        is_development=settings.is_development,
        on_refused=monitor.origin_refused,
    )
    admission = AccessControl(
        authenticator,
        clock,
        origins,
        refused,
        retry_after_ms=round(settings.go_away_retry_after_s * 1000),
        requests_per_s_max=settings.requests_per_user_per_s_max,
        upgrades_per_s_max=settings.upgrades_per_user_per_s_max,
        unauthenticated_max=settings.unauthenticated_max,
    )
    pool = connection_pool()  # opens no connection before it is used
    parts = (runs, store, monitor, admission, clock, lambda: writer.appends_waiting)
    acting = (runs, monitor, clock, refused, shared.user_connections)
    cluster: Cluster | None = None
    if membership is None:
        admin, actions = AdminApi(*parts), AdminActions(*acting)
    else:
        others = PeerProcesses(membership, pool)
        admin, actions = AdminOfAll(*parts, peer_processes=others), ActionsOfAll(*acting, peer_processes=others)
        cluster = Cluster(membership, runs, pool, monitor.metrics, actions.learn_refusals)
    run_api = RunApi(runs, admission, clock, runs_per_minute_max=settings.runs_per_user_per_minute_max)
    pages = WebPages(WebSettings(is_development=settings.is_development))
    apis = (run_api, admin, actions, OperatorApi(store, monitor, admission, shared.on_fault), pages)
    app = HttpApi(
        (*apis, DocsApi(apis)),
        admission,
        decoders={frames.PublishRequest: lambda body: frames.decode_received_request(body, settings.door.body_bytes_max)},
        on_fault=shared.on_fault,
        on_limit=monitor.limit_reached,
        retry_after_ms=settings.door.retry_after_ms,
        elsewhere=None if cluster is None else cluster.requests.serve,
    )
    exchanges = Exchanges(app, app.address_of, monitor.http_answered)
    elsewhere = None if cluster is None else cluster.upgrades.serve
    door = FrontDoor(
        exchanges,
        Upgrades(runs, admission, monitor, settings.protocol, elsewhere).on_upgrade,
        on_head=None if cluster is None else cluster.router.check_relayed,
        limits=settings.door,
        websocket_limits=settings.websocket_limits,
        on_problem=on_problem,
        on_limit=monitor.limit_reached,
        on_refusal=lambda path, status: monitor.http_answered(app.address_of(path), status),
        is_for_operators=lambda head: head.path in OPERATOR_PATHS,
    )
    monitor.metrics.show(metrics.HTTP_CONNECTIONS, lambda: door.statistics().connections)
    return Server(settings, Parts(clock, monitor, writer, runs, admission, exchanges, door, on_problem, cluster), nursery)


def _show_gauges(shown: MetricSet, runs: RunRegistry, writer: GroupCommit) -> None:
    """Register the gauges, which are computed when they are read."""
    shown.show(metrics.ACTIVE, lambda: sum(live.websockets for live in runs.runs))
    shown.show(metrics.RUNS, lambda: len(runs))
    shown.show(metrics.LAGGING, lambda: sum(live.lagging for live in runs.runs))
    shown.show(metrics.LAG, lambda: max((live.lag for live in runs.runs), default=0))
    shown.show(metrics.CONTROL_QUEUE, lambda: sum(live.control_frames for live in runs.runs))
    shown.show(metrics.STORE_QUEUE, lambda: writer.appends_waiting)


async def serve(settings: ServerSettings, *, task_status: "trio.TaskStatus[Server]" = trio.TASK_STATUS_IGNORED) -> None:
    """Serve until SIGTERM or SIGINT, then stop. In the main thread only. Raises as `open_server`."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_server(settings, log_sessions=True) as server, trio.open_nursery() as nursery:
            nursery.start_soon(watch_lag, server.monitor.metrics)
            nursery.start_soon(server.watch_suspends)
            tune_collector()
            log_event("server listens", address=server.url)
            task_status.started(server)
            with watched_turns(server.monitor.metrics):
                number = await anext(signals)
            log_event("server stops", signal=signal.Signals(number).name, websockets=server.statistics().websockets)
            nursery.cancel_scope.cancel()
    log_event("server stopped")
