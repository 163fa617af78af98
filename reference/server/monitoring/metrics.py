"""The Prometheus metrics of one server, and the health of its event loop.

`reference.protocol.metrics` defines names and meanings. Each server has its own registry, so two servers in one process do not
share counters.

The whole server runs on one loop, so a long turn delays every client. The lag of the loop, its long turns, and the time spent in
garbage collection are measured by `serve` only, not by tests in virtual time.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Literal

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from reference.protocol.metrics import COLLECTIONS, LABEL_VALUES, LONG_TURNS, LOOP_LAG, METRICS, Metric

# It would add a time series to every counter with its creation time: twice as many series for nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library ships it untyped

LAG_INTERVAL_S = 0.25
"""Between two measurements of the lag."""
LONG_TURN_S = 0.001
"""Shorter turns are not counted: there are thousands per second."""
YOUNG_OBJECTS = 10_000
"""Objects created before the youngest generation is collected. Frames and events are freed by reference counting, so the
collector rarely finds anything; Python's default of 700 would collect hundreds of times per second under load."""


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


def tune_collector() -> None:
    """Call when a server has started: objects that exist by then stay for good and are not scanned again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
    gc.enable()


async def watch_lag(shown: MetricSet) -> None:
    """Measure for ever how much later than requested this task is woken."""
    lag = shown.histogram(LOOP_LAG)
    while True:
        due_at = trio.current_time() + LAG_INTERVAL_S
        await trio.sleep_until(due_at)
        lag.observe(trio.current_time() - due_at)


@contextlib.contextmanager
def watched_turns(shown: MetricSet) -> Iterator[None]:
    """Count long turns of the loop, and collections, within this block. Call inside trio."""
    turns, collections = _Turns(shown), _Collections(shown)
    trio.lowlevel.add_instrument(turns)
    gc.callbacks.append(collections)
    try:
        yield
    finally:
        gc.callbacks.remove(collections)
        trio.lowlevel.remove_instrument(turns)


class _Turns(trio.abc.Instrument):
    def __init__(self, shown: MetricSet) -> None:
        self._long = shown.histogram(LONG_TURNS)
        self._began_at = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_at = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took_s = time.perf_counter() - self._began_at
        if took_s >= LONG_TURN_S:
            self._long.observe(took_s)


class _Collections:
    def __init__(self, shown: MetricSet) -> None:
        self._took = shown.histogram(COLLECTIONS)
        self._began_at = 0.0

    def __call__(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._began_at = time.perf_counter()
        else:
            self._took.observe(time.perf_counter() - self._began_at)
