"""The metrics in one table: names, units, labels and meanings, for the server, the simulator, dashboards and alerts.

The brief's eight come first, under its names with underscores for dots. Counters end in `_total`; times are in seconds. Label
values come from small, fixed sets and are never the id of a run, a session or a user: a metric covers all of them, and the admin
API shows single sessions. `LABEL_VALUES` lists the values that are exported as 0 from the start, because a rate over a series
that does not exist yet misses its first step.

This module has definitions only. `reference.server.monitoring.metrics` counts on a server; a simulation counts differently, under
the same names.
"""

from dataclasses import dataclass
from typing import Literal

from reference.protocol.client.health import Quality
from reference.protocol.errors import CloseCode, RejectCode
from reference.protocol.limits import Limit


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: kind, exported name, unit, description, and labels or bucket bounds."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    unit: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_WS = "orchestrator_websocket_"
_ROUND_TRIP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
_COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_OUTAGE_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
_COUNTS = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)

# The brief's eight.
CONNECTIONS = Metric("counter", _WS + "connections_total", "connections", "WebSocket connections that joined a run")
DISCONNECTIONS = Metric(
    "counter",
    _WS + "disconnections_total",
    "connections",
    "Ended WebSocket connections of sessions, by close code and by the side that closed; none: cut without a code",
    ("code", "by"),
)
RECONNECTIONS = Metric(
    "counter", _WS + "reconnections_total", "connections", "Connections of sessions that were in the run before"
)
MESSAGES_IN = Metric("counter", _WS + "messages_in_total", "messages", "Frames and requests from clients")
MESSAGES_OUT = Metric(
    "counter",
    _WS + "messages_out_total",
    "messages",
    "Events and other frames sent to readers: each event counts once for each reader",
)
FAILURES = Metric(
    "counter",
    _WS + "message_failures_total",
    "messages",
    "Messages that failed: a publish rejected for good, one that a client says it gave up, what came and was no frame, "
    "an event whose commit failed",
    ("reason",),
)
LATENCY = Metric(
    "histogram",
    _WS + "message_latency_seconds",
    "seconds",
    "Round trips that clients measured with ping and pong, by their own clocks",
    buckets=_ROUND_TRIP_S,
)
FALLBACKS = Metric(
    "counter",
    _WS + "fallback_http_total",
    "sessions",
    "Sessions that fell back to HTTP polling, by the last stage their WebSocket reached; unknown: not reported",
    ("reason",),
)

# Connections and sessions.
ACTIVE = Metric("gauge", _WS + "connections_active", "connections", "Open WebSocket connections")
SESSIONS = Metric("gauge", _WS + "sessions", "sessions", "Carried sessions, by transport", ("transport",))
SESSIONS_BY_QUALITY = Metric(
    "gauge",
    _WS + "sessions_by_quality",
    "sessions",
    "Carried sessions, by the quality of their connection",
    ("quality",),
)
QUALITY = Metric(
    "gauge", _WS + "quality_score", "points", "Mean quality score, 0 to 100, of the sessions that have one; NaN if none has"
)
DELIVERY_RATE = Metric(
    "gauge",
    _WS + "delivery_rate_ratio",
    "ratio",
    "The accepted part of the settled publishes of all carried sessions; NaN if there are none",
)
REFUSALS = Metric(
    "counter", _WS + "refusals_total", "connections", "WebSockets closed before a welcome, by close code", ("code",)
)
RESUMES = Metric(
    "counter", _WS + "resumes_total", "connections", "Welcomes by their outcome: fresh, resumed, snapshot, reset", ("outcome",)
)
RESUME_EVENTS = Metric(
    "histogram",
    _WS + "resume_events",
    "events",
    "Events between a welcomed session's position and the head",
    buckets=_COUNTS,
)

# What clients report.
FAILED_ATTEMPTS = Metric(
    "counter",
    _WS + "failed_attempts_total",
    "connections",
    "WebSockets that failed before they were steady, as reported by clients",
)
RECOVERY = Metric(
    "histogram",
    _WS + "recovery_seconds",
    "seconds",
    "From the loss of a connection until the session was carried again, as reported by clients",
    buckets=_OUTAGE_S,
)
DETECTION = Metric(
    "histogram",
    _WS + "detection_seconds",
    "seconds",
    "The silence after which clients left connections as half-open, as reported by clients",
    buckets=_OUTAGE_S,
)
GAPS = Metric("counter", _WS + "gaps_total", "gaps", "Times that an event was missing, as reported by clients")
DUPLICATE_EVENTS = Metric("counter", _WS + "duplicate_events_total", "events", "Events delivered again, as reported by clients")
CLIENT_QUEUE = Metric(
    "histogram",
    _WS + "client_queue_messages",
    "messages",
    "Unanswered publishes of a client when it sent a ping or a poll",
    buckets=_COUNTS,
)

# Publishes.
ACCEPTED = Metric("counter", _WS + "publishes_accepted_total", "messages", "Accepted publishes, without copies")
DUPLICATES = Metric(
    "counter", _WS + "publishes_duplicate_total", "messages", "Copies of publishes, which got the first answer again"
)
DEFERRED = Metric(
    "counter",
    _WS + "publishes_deferred_total",
    "messages",
    "Publishes rejected as retryable, by the code of the rejection",
    ("code",),
)
LAGGING = Metric("gauge", _WS + "readers_lagging", "connections", "Readers that have not been sent every event")
LAG = Metric("gauge", _WS + "lag_events", "events", "Events not yet sent to the reader furthest behind")
CONTROL_QUEUE = Metric("gauge", _WS + "control_queue_frames", "frames", "Frames other than events that wait for full sockets")

# The store and the server.
COMMIT = Metric(
    "histogram",
    "orchestrator_store_commit_seconds",
    "seconds",
    "From giving events of a run to the store until they were durable",
    buckets=_COMMIT_S,
)
EVENTS_STORED = Metric("counter", "orchestrator_store_events_total", "events", "Events made durable")
STORE_QUEUE = Metric(
    "gauge", "orchestrator_store_queue_batches", "batches", "Batches given to the store that are not durable yet"
)
RUNS = Metric("gauge", "orchestrator_runs_loaded", "runs", "Runs in memory")
RUNS_CREATED = Metric("counter", "orchestrator_runs_new_total", "runs", "Runs that were created")
HTTP_REQUESTS = Metric(
    "counter",
    "orchestrator_http_requests_total",
    "requests",
    "HTTP requests by operation and status; operation none: no such path, or refused before it was known",
    ("operation", "status"),
)
HTTP_CONNECTIONS = Metric(
    "gauge", "orchestrator_http_connections_active", "connections", "Open connections, including WebSockets"
)
RELAYED = Metric(
    "gauge", "orchestrator_relayed_connections", "connections", "WebSockets relayed to the process that serves their run"
)
RELAY_FAILURES = Metric(
    "counter", "orchestrator_relay_failures_total", "times", "Times that the process that serves a run could not be reached"
)
LIMITS = Metric("counter", "orchestrator_limits_reached_total", "times", "Times that a peer reached a limit", ("limit",))
PROBLEMS = Metric("counter", "orchestrator_problems_total", "problems", "Faults of the server or its store; the log says which")
_PAUSES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
LOOP_LAG = Metric(
    "histogram",
    "orchestrator_loop_lag_seconds",
    "seconds",
    "How late the event loop wakes a task",
    buckets=_PAUSES,
)
LONG_TURNS = Metric(
    "histogram",
    "orchestrator_loop_long_turns_seconds",
    "seconds",
    "Turns of the event loop that took 1 ms or longer",
    buckets=_PAUSES,
)
COLLECTIONS = Metric(
    "histogram",
    "orchestrator_gc_pause_seconds",
    "seconds",
    "Garbage collections, which pause the server",
    buckets=_PAUSES,
)
LOG_LINES_DROPPED = Metric(
    "counter",
    "orchestrator_log_lines_dropped_total",
    "lines",
    "Log lines dropped because the log's reader was too slow",
)

METRICS: tuple[Metric, ...] = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""All of them, in the order above."""

_OURS = (*map(str, CloseCode), "1000", "1011")
_THEIRS = ("none", "1000", "1001", "1006", str(CloseCode.GOING_AWAY), str(CloseCode.HEARTBEAT_LOST), str(CloseCode.BAD_FRAME))
OTHER = "other"
"""In place of any other close code of a client."""

LABEL_VALUES: dict[Metric, tuple[tuple[str, ...], ...]] = {
    DISCONNECTIONS: (*((code, "server") for code in _OURS), *((code, "client") for code in (*_THEIRS, OTHER))),
    REFUSALS: tuple((code,) for code in _OURS),
    FAILURES: (("rejected",), ("client",), ("bad_frame",), ("store",)),
    FALLBACKS: (("not_opened",), ("not_welcomed",), ("not_steady",), ("unknown",)),
    SESSIONS: (("websocket",), ("polling",)),
    SESSIONS_BY_QUALITY: tuple((quality.value,) for quality in Quality),
    RESUMES: (("fresh",), ("resumed",), ("snapshot",), ("reset",)),
    DEFERRED: tuple((code.value,) for code in RejectCode if code.is_retryable),
    LIMITS: tuple((limit.value,) for limit in Limit),
}
"""By metric: all values of its labels, in the order of `labels`. Only HTTP_REQUESTS has more: the API's operations and HTTP
statuses."""
