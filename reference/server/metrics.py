"""The metrics, in one table: the brief's eight, with underscores where it has dots, and what else an operator needs.

Each app has a registry of its own, so two servers in one process do not count into each other. Counters end in `_total` on the
wire, as Prometheus wants it; times are in seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

# A time series beside every counter that says when it was made: it doubles the number of series and tells nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library ships it untyped


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its kind, its name on the wire, what it counts, and its labels or the bounds of its buckets."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_ROUND_TRIP_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
_COMMIT_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)

CONNECTIONS = Metric("counter", "orchestrator_websocket_connections_total", "Sessions that got a WebSocket connection")
DISCONNECTIONS = Metric(
    "counter",
    "orchestrator_websocket_disconnections_total",
    "WebSocket connections of sessions that ended, by our close code; cut or left by the client: code none",
    ("code",),
)
RECONNECTIONS = Metric(
    "counter", "orchestrator_websocket_reconnections_total", "Connections of sessions that had been in the run before"
)
MESSAGES_IN = Metric("counter", "orchestrator_websocket_messages_in_total", "Frames and requests that came from clients")
MESSAGES_OUT = Metric(
    "counter",
    "orchestrator_websocket_messages_out_total",
    "Events and other frames given to readers: each event counts once for each reader",
)
FAILURES = Metric(
    "counter",
    "orchestrator_websocket_message_failures_total",
    "Messages that failed: a publish rejected for good, what came and was no frame, a commit that failed",
    ("reason",),
)
LATENCY = Metric(
    "histogram",
    "orchestrator_websocket_message_latency_seconds",
    "Round trips that clients measured with ping and pong, by their own clocks",
    buckets=_ROUND_TRIP_BUCKETS_S,
)
FALLBACKS = Metric("counter", "orchestrator_websocket_fallback_http_total", "Sessions that went over to HTTP polling")
RESUMES = Metric(
    "counter",
    "orchestrator_websocket_resumes_total",
    "Welcomes by their outcome: fresh, resumed, snapshot, reset",
    ("outcome",),
)
COMMIT = Metric(
    "histogram",
    "orchestrator_store_commit_seconds",
    "From handing events of a run to the store until they were durable",
    buckets=_COMMIT_BUCKETS_S,
)
EVENTS_STORED = Metric("counter", "orchestrator_store_events_total", "Events made durable")
ACTIVE = Metric("gauge", "orchestrator_websocket_connections_active", "WebSocket connections that stand now")
RUNS = Metric("gauge", "orchestrator_runs_loaded", "Runs in memory")
LAGGING = Metric("gauge", "orchestrator_websocket_readers_lagging", "Readers that have not been given every event")

METRICS = (
    CONNECTIONS,
    DISCONNECTIONS,
    RECONNECTIONS,
    MESSAGES_IN,
    MESSAGES_OUT,
    FAILURES,
    LATENCY,
    FALLBACKS,
    RESUMES,
    COMMIT,
    EVENTS_STORED,
    ACTIVE,
    RUNS,
    LAGGING,
)
LABEL_VALUES: dict[Metric, tuple[str, ...]] = {
    RESUMES: ("fresh", "resumed", "snapshot", "reset"),
    FAILURES: ("rejected", "bad_frame", "store"),
}
"""Label values that are shown from the start, at 0: a rate over a series that does not exist yet misses its first step."""


class MetricSet:
    """The table, brought to life in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for metric in METRICS:
            match metric.kind:
                case "counter":
                    self._counters[metric] = Counter(metric.name, metric.text, metric.labels, registry=self._registry)
                case "gauge":
                    self._gauges[metric] = Gauge(metric.name, metric.text, metric.labels, registry=self._registry)
                case "histogram":
                    self._histograms[metric] = Histogram(
                        metric.name, metric.text, metric.labels, registry=self._registry, buckets=metric.buckets
                    )
        for metric, values in LABEL_VALUES.items():
            for value in values:
                self._counters[metric].labels(value)

    def counter(self, metric: Metric) -> Counter:
        return self._counters[metric]

    def histogram(self, metric: Metric) -> Histogram:
        return self._histograms[metric]

    def show(self, metric: Metric, value: Callable[[], float]) -> None:
        """Let the gauge `metric` be what `value` returns when somebody looks."""
        self._gauges[metric].set_function(value)

    def value(self, metric: Metric, **labels: str) -> float:
        """What a counter or a gauge stands at now."""
        return self._registry.get_sample_value(metric.name, labels) or 0.0

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its content type: OpenMetrics if the Accept header asks for it, else Prometheus' own."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
