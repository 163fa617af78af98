"""Assembly of the server: store, writer, runs and front door; how it starts and stops.

    open_server   the server within an `async with` block: for tests, notebooks and other programs
    serve         the same until SIGTERM or SIGINT: for `steadywire serve`

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
from typing import TYPE_CHECKING

import trio

from reference.protocol import codec, frames, metrics
from reference.protocol.events import EventRegistry
from reference.protocol.server.observations import Observation
from reference.protocol.timers import ns
from reference.server.access.admission import AccessControl
from reference.server.access.auth import Authenticator
from reference.server.access.origins import OriginPolicy
from reference.server.access.refused_users import RefusedUsers, RefusingAuthenticator
from reference.server.access.user_limits import UserConnections
from reference.server.clock import ServerClock
from reference.server.cluster.admin import ActionsOfAll, AdminOfAll
from reference.server.cluster.cluster import Cluster
from reference.server.cluster.membership import Membership, open_ownership
from reference.server.cluster.peer_processes import PeerProcesses
from reference.server.cluster.request_relay import connection_pool
from reference.server.connection import Upgrades
from reference.server.context import ServerContext
from reference.server.http.admin_actions import AdminActions
from reference.server.http.admin_api import AdminApi
from reference.server.http.application import HttpApi
from reference.server.http.docs_api import DocsApi
from reference.server.http.exchanges import Exchanges
from reference.server.http.operator_api import OPERATOR_PATHS, OperatorApi
from reference.server.http.run_api import RunApi
from reference.server.http.web_pages import WebPages
from reference.server.monitoring.logs import FaultLog, SessionLog, log_event
from reference.server.monitoring.loop import tune_collector, watch_lag, watched_turns
from reference.server.monitoring.metrics import MetricSet
from reference.server.monitoring.monitor import Monitor
from reference.server.monitoring.sessions import Traffic
from reference.server.registry import RunRegistry
from reference.server.server import Parts, Server, ServerStatistics
from reference.server.settings import ServerSettings
from reference.server.wire.front_door import FrontDoor
from reference.store import EventStore, GroupCommit, open_store, watch_place
from reference.web.files import WebSettings

if TYPE_CHECKING:
    from reference.store.ownership import Ownership

__all__ = ["Server", "ServerStatistics", "new_secret_id", "open_server", "serve"]


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
            clock, session_log = ServerClock(origin_ns), SessionLog() if log_sessions else None
            server = _assemble(settings, events, ownership, authenticator, clock, new_id, observe, session_log, nursery)
            try:
                if listening:
                    await server.listen()
                    await server.join_the_others()
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
    new_id: Callable[[], str],
    observe: Callable[[Observation], None] | None,
    session_log: SessionLog | None,
    nursery: trio.Nursery,
) -> Server:
    monitor = Monitor(
        session_records_max=settings.session_records_max,
        session_age_max_ns=ns(settings.session_age_max_s),
        on_limit=None if session_log is None else lambda limit: session_log.limit_reached(limit, clock.now()),
        on_refused=None if session_log is None else session_log.refused,
    )

    def tell(run_id: str, observation: Observation, traffic: Traffic) -> None:
        monitor.observe(run_id, observation, traffic, clock.now())
        if session_log is not None:
            session_log.observe(run_id, observation)
        if observe is not None:
            observe(observation)

    refused = RefusedUsers()
    authenticator = RefusingAuthenticator(authenticator, refused)
    faults = FaultLog(clock.now)
    on_fault = monitor.and_count(faults.fault)
    on_problem = monitor.and_count(faults.problem)
    writer = GroupCommit(store, on_fault=on_fault)
    nursery.start_soon(writer.run)
    shared = ServerContext(
        clock=clock,
        writer=writer,
        authenticator=authenticator,
        user_connections=UserConnections(settings.connections_per_user_max),
        monitor=monitor,
        observe=tell,
        new_id=new_id,
        next_connection_id=itertools.count(1).__next__,
        on_fault=on_fault,
        holds_runs=(lambda: True) if ownership is None else (lambda: ownership.is_held),
        nursery=nursery,
        control_frames_max=settings.control_frames_max,
        close_timeout_s=settings.websocket.close_timeout_s,
    )
    membership = None if ownership is None else Membership(ownership, shared.on_fault)
    runs = RunRegistry(
        store,
        shared,
        nursery,
        config=settings.protocol,
        events=EventRegistry(settings.event_types),
        limits=settings.limits,
        loaded_runs_max=settings.loaded_runs_max,
        owners=membership,
    )
    nursery.start_soon(watch_place, store, runs.drop)
    _show_gauges(monitor.metrics, runs, writer)
    origins = OriginPolicy(
        settings.allowed_origins,
        is_development=settings.is_development,
        on_refused=(lambda origin: None)
        if session_log is None
        else lambda origin: session_log.origin_refused(origin, clock.now()),
    )
    admission = AccessControl(
        authenticator,
        clock,
        origins,
        retry_after_ms=round(settings.go_away_retry_after_s * 1000),
        requests_per_s_max=settings.requests_per_user_per_s_max,
        unauthenticated_max=settings.unauthenticated_max,
    )
    pool = connection_pool()  # opens no connection before it is used
    parts = (runs, store, monitor, admission, clock, lambda: writer.statistics().appends_waiting)
    acting = (runs, monitor, clock, refused)
    if membership is None:
        admin, actions = AdminApi(*parts), AdminActions(*acting)
    else:
        others = PeerProcesses(membership, pool)
        admin, actions = AdminOfAll(*parts, peer_processes=others), ActionsOfAll(*acting, peer_processes=others)
    run_api = RunApi(
        runs,
        admission,
        clock,
        runs_per_minute_max=settings.runs_per_user_per_minute_max,
    )
    pages = WebPages(WebSettings(is_development=settings.is_development))
    apis = (run_api, admin, actions, OperatorApi(store, monitor, admission, shared.on_fault), pages)
    app = HttpApi(
        (*apis, DocsApi(apis)),
        admission,
        decoders={frames.PublishRequest: lambda body: codec.decode_received_request(body, settings.door.body_bytes_max)},
        on_fault=shared.on_fault,
        on_limit=monitor.limit_reached,
        retry_after_ms=settings.door.retry_after_ms,
    )
    cluster = None if membership is None else Cluster(membership, runs, admission, app, pool, monitor.metrics)
    exchanges = Exchanges(app if cluster is None else cluster.app, app.address_of, monitor.http_answered)
    accepted_elsewhere = None if cluster is None else cluster.upgrades.serve_accepted
    door = FrontDoor(
        exchanges,
        Upgrades(runs, admission, monitor, settings.protocol, accepted_elsewhere).on_upgrade,
        elsewhere=None if cluster is None else cluster.upgrades.serve,
        limits=settings.door,
        websocket_limits=settings.websocket_limits,
        on_problem=on_problem,
        on_limit=monitor.limit_reached,
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
    shown.show(metrics.STORE_QUEUE, lambda: writer.statistics().appends_waiting)


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
