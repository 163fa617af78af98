"""The monitor: what happened, counted, from what the machines let observe and what the pump carried out."""

from typing import assert_never

from reference.protocol.observations import Answered, FellBack, Joined, Left, Observation, RoundTripMeasured
from reference.server import metrics
from reference.server.metrics import MetricSet
from reference.store import StoreError


class Monitor:
    """Counts for one server."""

    def __init__(self) -> None:
        self.metrics = MetricSet()
        counter, histogram = self.metrics.counter, self.metrics.histogram
        self._connections = counter(metrics.CONNECTIONS)
        self._disconnections = counter(metrics.DISCONNECTIONS)
        self._reconnections = counter(metrics.RECONNECTIONS)
        self._messages_in = counter(metrics.MESSAGES_IN)
        self._messages_out = counter(metrics.MESSAGES_OUT)
        self._rejected = counter(metrics.FAILURES).labels("rejected")
        self._bad_frames = counter(metrics.FAILURES).labels("bad_frame")
        self._store_failures = counter(metrics.FAILURES).labels("store")
        self._latency = histogram(metrics.LATENCY)
        self._fallbacks = counter(metrics.FALLBACKS)
        self._resumes = counter(metrics.RESUMES)
        self._commit = histogram(metrics.COMMIT)
        self._events_stored = counter(metrics.EVENTS_STORED)

    def observe(self, observation: Observation) -> None:
        """Something that a run let observe."""
        match observation:
            case Joined(outcome=outcome, is_return=is_return):
                self._connections.inc()
                self._resumes.labels(outcome).inc()
                if is_return:
                    self._reconnections.inc()
            case Left(code=code):
                self._disconnections.labels("none" if code is None else str(code)).inc()
            case FellBack():
                self._fallbacks.inc()
            case RoundTripMeasured(round_trip_ms=round_trip_ms):
                self._latency.observe(round_trip_ms / 1000)
            case Answered(accepted=accepted):
                if not accepted:
                    self._rejected.inc()
            case _:
                assert_never(observation)

    def received(self, *, is_nonsense: bool = False) -> None:
        """A message came from a client; `is_nonsense`: and it was no frame."""
        self._messages_in.inc()
        if is_nonsense:
            self._bad_frames.inc()

    def sent(self, messages: int) -> None:
        """That many messages were given to readers."""
        self._messages_out.inc(messages)

    def committed(self, seconds: float, events: int, error: StoreError | None) -> None:
        """A batch of a run is durable, or failed, that long after it was handed to the writer."""
        if error is None:
            self._commit.observe(seconds)
            self._events_stored.inc(events)
        else:
            self._store_failures.inc(events)
