"""The admin API: connections, session metrics and the health of the server (5.10). Needs the role admin.

It reads the monitor's table of sessions and the runs in memory; nothing here changes what a client receives.
"""

from collections.abc import Callable, Iterable
from itertools import islice

import trio

from reference.protocol.client.health import Quality, quality_of, summary_of
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS
from reference.server.access.admission import AccessControl
from reference.server.clock import ServerClock
from reference.server.http.admin_answers import (
    CleanedUp,
    CleanupRequest,
    ConnectionInfo,
    ConnectionsAnswer,
    Page,
    RunConnections,
    ServerHealth,
    SessionRequest,
    SessionsAnswer,
    SessionsRequest,
)
from reference.server.http.answers import RequestRefused
from reference.server.http.description import get, post
from reference.server.http.operator_api import READY_TIMEOUT_S
from reference.server.http.request import Request
from reference.server.live_run import LiveRun
from reference.server.monitoring.logs import log_event
from reference.server.monitoring.monitor import Monitor
from reference.server.monitoring.sessions import SessionMetrics, SessionRecord, metrics_of
from reference.server.registry import RunRegistry, canonical_run_id
from reference.store import EventStore, StoreError

_ADMIN = "/api/admin/websocket"


class AdminApi:
    """Every method raises RemoteError, RequestRefused or HttpRefusal."""

    def __init__(
        self,
        runs: RunRegistry,
        store: EventStore,
        monitor: Monitor,
        admission: AccessControl,
        clock: ServerClock,
        appends_waiting: Callable[[], int],
    ) -> None:
        self._runs = runs
        self._store = store
        self._monitor = monitor
        self._sessions = monitor.sessions
        self._admission = admission
        self._clock = clock
        self._appends_waiting = appends_waiting
        self._started_at = clock.now()

    @get(_ADMIN + "/connections", "admin", "All connections", "A session that was dropped is no connection.")
    async def connections(self, request: Request, query: Page) -> ConnectionsAnswer:
        self._sessions.expire(self._clock.now())
        totals = self._sessions.totals
        shown, has_more = _page(self._sessions.carried(), query)
        return ConnectionsAnswer(
            total_connections=totals.by_transport[Transport.WEBSOCKET],
            total_polling=totals.by_transport[Transport.POLLING],
            connections_per_run=dict(totals.websockets_by_run),
            has_more=has_more,
            connections=self._described(shown),
        )

    @get(_ADMIN + "/connections/{runId}", "admin", "The connections of one run", refuses=(404,))
    async def run_connections(self, request: Request, query: Page) -> RunConnections:
        self._sessions.expire(self._clock.now())
        run_id = canonical_run_id(request.run_id)
        live = self._live().get(run_id)
        carried = [record for record in self._sessions.of_run(run_id) if record.is_carried]
        websockets = sum(record.transport is Transport.WEBSOCKET for record in carried)
        shown, has_more = _page(carried, query)
        return RunConnections(
            run_id=run_id,
            total_connections=websockets,
            total_polling=len(carried) - websockets,
            active_users=() if live is None else live.run.active_users,
            head=None if live is None else live.run.head,
            has_more=has_more,
            connections=self._described(shown),
        )

    @get(
        _ADMIN + "/metrics",
        "admin",
        "Metrics of all sessions",
        "Those that are gone are shown until they expire.",
        name="metrics",
        refuses=(404,),
    )
    async def sessions(self, request: Request, query: SessionsRequest) -> SessionsAnswer:
        self._sessions.expire(self._clock.now())
        run_id = None if query.run_id is None else canonical_run_id(query.run_id)
        matching = [
            record
            for record in (self._sessions if run_id is None else self._sessions.of_run(run_id))
            if (query.user_id is None or record.user_id == query.user_id) and (record.is_carried or not query.connected_only)
        ]
        shown, has_more = _page(matching, query)
        return SessionsAnswer(total_sessions=len(matching), has_more=has_more, sessions=tuple(map(metrics_of, shown)))

    @get(
        _ADMIN + "/metrics/{sessionId}",
        "admin",
        "Metrics of one session",
        "409: several sessions go by this id, which a client may choose; add runId and clientId.",
        name="sessionMetrics",
        refuses=(404, 409),
    )
    async def session(self, request: Request, query: SessionRequest) -> SessionMetrics:
        self._sessions.expire(self._clock.now())
        session_id: str = request.path_parameters["sessionId"]
        run_id = None if query.run_id is None else canonical_run_id(query.run_id)
        found = [
            record
            for record in (self._sessions if run_id is None else self._sessions.of_run(run_id))
            if record.session_id == session_id and query.client_id in (None, record.client_id)
        ]
        if not found:
            raise RemoteError(CloseCode.NO_SUCH_RUN, "no session of this id is known here; it may have been forgotten")
        if len(found) > 1:
            reason = f"{len(found)} sessions go by this id; add runId and clientId, which /api/admin/websocket/metrics shows"
            raise RequestRefused(CloseCode.SUPERSEDED, reason)
        return metrics_of(found[0])

    @get(_ADMIN + "/health", "admin", "How the server and its connections do", "Of this process alone.")
    async def health(self, request: Request) -> ServerHealth:
        self._sessions.expire(self._clock.now())
        is_writable = await self._is_store_writable()
        totals = self._sessions.totals
        score = totals.score
        return ServerHealth(
            status=quality_of(score) if is_writable else Quality.UNHEALTHY,
            quality_score=score,
            is_store_writable=is_writable,
            is_going_away=self._admission.is_going_away,
            uptime_ms=(self._clock.now() - self._started_at) // NS_PER_MS,
            runs_loaded=len(self._runs),
            total_connections=totals.by_transport[Transport.WEBSOCKET],
            total_polling=totals.by_transport[Transport.POLLING],
            sessions_by_quality={quality: totals.by_quality[quality] for quality in Quality},
            delivery_rate=totals.delivery_rate,
            round_trip=summary_of(list(self._sessions.recent_round_trips)),
            readers_lagging=sum(live.lagging for live in self._runs.runs),
            store_queue_batches=self._appends_waiting(),
            sessions_remembered=len(self._sessions),
        )

    @post(
        _ADMIN + "/cleanup-stale",
        "admin",
        "Forget sessions that have been gone for long",
        "They also expire by themselves. SessionsAnswer that are connected are never forgotten.",
        name="cleanUpStale",
    )
    async def clean_up(self, request: Request, query: CleanupRequest) -> CleanedUp:
        removed = self._sessions.expire(self._clock.now(), query.max_age_ms * NS_PER_MS)
        log_event("stale metrics removed", admin=request.user_id, max_age_ms=query.max_age_ms, removed=removed)
        return CleanedUp(removed=removed, remaining=len(self._sessions))

    def _live(self) -> dict[str, LiveRun]:
        return {live.run_id: live for live in self._runs.runs}

    def _described(self, records: Iterable[SessionRecord]) -> tuple[ConnectionInfo, ...]:
        live = self._live()
        return tuple(_connection(record, live.get(record.run_id)) for record in records)

    async def _is_store_writable(self) -> bool:
        with trio.move_on_after(READY_TIMEOUT_S):
            try:
                await self._store.check()
            except StoreError:
                return False
            return True
        return False


def _connection(record: SessionRecord, live: LiveRun | None) -> ConnectionInfo:
    number = record.connection_id
    return ConnectionInfo(
        session_id=record.session_id,
        run_id=record.run_id,
        client_id=record.client_id,
        user_id=record.user_id,
        transport=record.transport,
        status=record.status,
        joined_at=record.joined_at // NS_PER_MS,
        last_activity_at=record.traffic.active_at // NS_PER_MS,
        lag_events=None if live is None or number is None else live.run.lag_of(number),
    )


def _page(records: Iterable[SessionRecord], page: Page) -> tuple[list[SessionRecord], bool]:
    """The records of a page, and whether there are more; it reads no further than that."""
    found = list(islice(records, page.offset, page.offset + page.limit + 1))
    return found[: page.limit], len(found) > page.limit
