"""The requests and answers of the admin API. Times in ms since 1970."""

from typing import Annotated

import msgspec

from reference.protocol.client.health import Quality, RoundTrips, Status
from reference.protocol.frames import Count
from reference.protocol.states import Transport
from reference.server.monitoring.sessions import SessionMetrics

PAGE_MAX = 1000


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
