"""The admin API: connections, session metrics and the health of the server (5.10). Needs the role admin. Times in its answers are
in ms since 1970.

It reads the monitor's table of sessions and the runs in memory; nothing here changes what a client receives.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated

import msgspec
import trio

from reference.protocol.client.health import Quality, RoundTrips, Status, quality_of, summary_of
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.frames import Count
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS
from reference.server.access.admission import AccessControl
from reference.server.clock import ServerClock
from reference.server.http.answers import RequestRefused
from reference.server.http.description import get, post
from reference.server.http.operator_api import READY_TIMEOUT_S
from reference.server.http.request import Request
from reference.server.live_run import LiveRun
from reference.server.monitoring.logs import log_event
from reference.server.monitoring.monitor import Monitor, MonitoredSessions, SessionRecord
from reference.server.registry import RunRegistry, canonical_run_id
from reference.store import EventStore, StoreError

ADMIN = "/api/admin/websocket"
PAGE_MAX = 1000
"""Items in one answer."""


class Page(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The requested part of a list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    offset: Count = 0


class SessionsRequest(Page, frozen=True, kw_only=True, rename="camel"):
    """GET .../metrics. `connected_only` leaves out sessions that have ended."""

    run_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    user_id: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    connected_only: bool = False


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """GET .../metrics/{sessionId}. A client may choose its session id; the other fields distinguish two sessions with the same
    id."""

    run_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    client_id: Annotated[str, msgspec.Meta(max_length=128)] | None = None


class CleanupRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST .../cleanup-stale."""

    max_age_ms: Annotated[int, msgspec.Meta(ge=0, le=30 * 86_400_000)] = 300_000


class ConnectionInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A session that is connected now, by a WebSocket or by polls."""

    session_id: str
    run_id: str
    client_id: str
    user_id: str
    transport: Transport
    status: Status
    joined_at: int
    last_activity_at: int
    lag_events: int | None
    """Durable events that were not sent to its WebSocket yet; null over polling."""


class ConnectionsAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`total_connections` are WebSockets; `total_polling` sessions poll. The list has both, in pages."""

    total_connections: int
    total_polling: int
    connections_per_run: dict[str, int]
    """WebSockets by run, for runs that have any."""
    has_more: bool
    connections: tuple[ConnectionInfo, ...]
    processes_silent: tuple[str, ...] = ()
    """HOST:PORT of processes on the same database that did not answer in time: their part is missing."""


class RunConnections(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The same for one run; a run that is not in memory has no connections and no known head."""

    run_id: str
    total_connections: int
    total_polling: int
    active_users: tuple[str, ...]
    head: int | None
    has_more: bool
    connections: tuple[ConnectionInfo, ...]


class SessionMetrics(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One session, as the admin API shows it. Times in ms since 1970; a round trip is measured by the client."""

    session_id: str
    run_id: str
    client_id: str
    user_id: str
    transport: Transport
    status: Status
    is_connected: bool
    joined_at: int
    last_activity_at: int
    disconnected_at: int | None
    close_code: int | None
    """The last close code, the server's or the client's; null if there was none, or a cut."""
    messages_sent: int
    """Events and other frames sent to the connection."""
    messages_received: int
    publishes_accepted: int
    message_failures: int
    """Publishes rejected for good, or given up according to the client."""
    delivery_rate: float | None
    reconnections: int
    fallbacks: int
    failed_attempts: int
    gaps: int
    duplicate_events: int
    queued_messages: int
    round_trip: RoundTrips
    round_trip_max_ms: float | None
    quality: Quality
    quality_score: float | None


class SessionsAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Matching sessions, including those that have ended and are not forgotten yet."""

    total_sessions: int
    has_more: bool
    sessions: tuple[SessionMetrics, ...]
    processes_silent: tuple[str, ...] = ()
    """As in `ConnectionsAnswer`."""


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Health of one process. `status` is the quality of the mean score of all connected sessions; UNHEALTHY while the store
    cannot be written. Round trips are the last 1000 measured, over all sessions."""

    status: Quality
    quality_score: float | None
    is_store_writable: bool
    is_going_away: bool
    uptime_ms: int
    runs_loaded: int
    total_connections: int
    total_polling: int
    sessions_by_quality: dict[Quality, int]
    delivery_rate: float | None
    round_trip: RoundTrips
    readers_lagging: int
    store_queue_batches: int
    sessions_remembered: int


class CleanedUp(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    removed: int
    remaining: int
    processes_silent: tuple[str, ...] = ()
    """As in `ConnectionsAnswer`."""


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

    @get(ADMIN + "/connections", "admin", "All connections", "Disconnected sessions are not listed.")
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

    @get(ADMIN + "/connections/{runId}", "admin", "The connections of one run", refuses=(404,))
    async def run_connections(self, request: Request, query: Page) -> RunConnections:
        self._sessions.expire(self._clock.now())
        run_id = canonical_run_id(request.run_id)
        live = self._runs.get(run_id)
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
        ADMIN + "/metrics",
        "admin",
        "Metrics of all sessions",
        "Disconnected sessions are listed until they expire.",
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
        ADMIN + "/metrics/{sessionId}",
        "admin",
        "Metrics of one session",
        "409: several sessions have this id, which a client may choose; add runId and clientId.",
        name="sessionMetrics",
        refuses=(404, 409),
    )
    async def session(self, request: Request, query: SessionRequest) -> SessionMetrics:
        self._sessions.expire(self._clock.now())
        return metrics_of(find_session(self._sessions, request.path_parameters["sessionId"], query))

    @get(ADMIN + "/health", "admin", "Health of the server and its connections", "Of this process only.")
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
        ADMIN + "/cleanup-stale",
        "admin",
        "Remove sessions that ended long ago",
        "They also expire by themselves. Connected sessions are never removed.",
        name="cleanUpStale",
    )
    async def clean_up(self, request: Request, query: CleanupRequest) -> CleanedUp:
        removed = self._sessions.expire(self._clock.now(), query.max_age_ms * NS_PER_MS)
        log_event("stale metrics removed", admin=request.user_id, max_age_ms=query.max_age_ms, removed=removed)
        return CleanedUp(removed=removed, remaining=len(self._sessions))

    def _described(self, records: Iterable[SessionRecord]) -> tuple[ConnectionInfo, ...]:
        return tuple(_connection(record, self._runs.get(record.run_id)) for record in records)

    async def _is_store_writable(self) -> bool:
        with trio.move_on_after(READY_TIMEOUT_S):
            try:
                await self._store.check()
            except StoreError:
                return False
            return True
        return False


def find_session(sessions: MonitoredSessions, session_id: str, query: SessionRequest) -> SessionRecord:
    """The session with this id. Raises RemoteError or RequestRefused if there is none, or more than one."""
    of_runs = sessions if query.run_id is None else sessions.of_run(canonical_run_id(query.run_id))
    found = [one for one in of_runs if one.session_id == session_id and query.client_id in (None, one.client_id)]
    if not found:
        raise RemoteError(CloseCode.NO_SUCH_RUN, "no session with this id is known here; it may have expired")
    if len(found) > 1:
        reason = f"{len(found)} sessions have this id; add runId and clientId, which /api/admin/websocket/metrics shows"
        raise RequestRefused(CloseCode.SUPERSEDED, reason)
    return found[0]


def metrics_of(record: SessionRecord) -> SessionMetrics:
    """A frozen copy of `record` for the API."""
    return SessionMetrics(
        session_id=record.session_id,
        run_id=record.run_id,
        client_id=record.client_id,
        user_id=record.user_id,
        transport=record.transport,
        status=record.status,
        is_connected=record.is_carried,
        joined_at=record.joined_at // NS_PER_MS,
        last_activity_at=record.traffic.active_at // NS_PER_MS,
        disconnected_at=None if record.gone_at is None else record.gone_at // NS_PER_MS,
        close_code=record.close_code,
        messages_sent=record.sent_before + record.traffic.sent,
        messages_received=record.received_before + record.traffic.received,
        publishes_accepted=record.accepted,
        message_failures=record.failed,
        delivery_rate=record.delivery_rate,
        reconnections=record.reconnections,
        fallbacks=record.fallbacks,
        failed_attempts=record.failed_attempts,
        gaps=record.gaps,
        duplicate_events=record.duplicates,
        queued_messages=record.queued,
        round_trip=summary_of(record.round_trips),
        round_trip_max_ms=record.round_trip_max,
        quality=quality_of(record.score),
        quality_score=record.score,
    )


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
