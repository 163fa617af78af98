"""The Prometheus metrics of one server: counts them and exports them.

`reference.protocol.metrics` defines names and meanings. Each server has its own registry, so two servers in one process do not
share counters.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from reference.protocol.metrics import LABEL_VALUES, METRICS, Metric

# It would add a time series to every counter with its creation time: twice as many series for nothing.
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
        """Let the gauge `metric` call `value` whenever it is read."""
        gauge = self._gauges[metric]
        (gauge.labels(**labels) if labels else gauge).set_function(value)

    def value(self, metric: Metric, **labels: str) -> float:
        """The current value of a counter or a gauge. Raises KeyError if there is no such series."""
        value = self._registry.get_sample_value(metric.name, labels)
        if value is None:
            raise KeyError(f"{metric.name} with the labels {labels}")
        return value

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its content type: OpenMetrics if the Accept header asks for it, else Prometheus' own."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
