"""The table of metrics, brought to life: what is counted here and how Prometheus reads it.

Names and meanings stand in `reference.protocol.metrics`. Each server has a registry of its own, so two servers in one process
do not count into each other.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from reference.protocol.metrics import LABEL_VALUES, METRICS, Metric

# A time series beside every counter that says when it was made: it doubles the number of series and tells nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library ships it untyped


class MetricSet:
    """One server's metrics."""

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
        for metric, combinations in LABEL_VALUES.items():
            family = self._counters[metric] if metric.kind == "counter" else self._gauges[metric]
            for values in combinations:
                family.labels(*values)

    def counter(self, metric: Metric) -> Counter:
        return self._counters[metric]

    def gauge(self, metric: Metric) -> Gauge:
        return self._gauges[metric]

    def histogram(self, metric: Metric) -> Histogram:
        return self._histograms[metric]

    def show(self, metric: Metric, value: Callable[[], float], **labels: str) -> None:
        """Let the gauge `metric` be what `value` returns when somebody looks."""
        gauge = self._gauges[metric]
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    def value(self, metric: Metric, **labels: str) -> float:
        """What a counter or a gauge stands at now. Raises KeyError if there is no such series."""
        value = self._registry.get_sample_value(metric.name, labels)
        if value is None:
            raise KeyError(f"{metric.name} with the labels {labels}")
        return value

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its content type: OpenMetrics if the Accept header asks for it, else Prometheus' own."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
