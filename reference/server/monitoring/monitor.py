"""The monitor: counts what the machines observe and what connections transfer.

It keeps metrics over everything (`metrics`) and a record for each session (`sessions`). Reports of clients change these figures
and never the behaviour of the server.
"""

import math
from collections.abc import Callable, Sequence
from typing import ParamSpec, assert_never

from reference.protocol import metrics
from reference.protocol.client.health import Quality
from reference.protocol.errors import RemoteError
from reference.protocol.frames import Frame, PollAnswer, Report
from reference.protocol.limits import Limit
from reference.protocol.server.observations import (
    Answered,
    Departed,
    FellBack,
    Joined,
    Left,
    LimitReached,
    Observation,
    Refused,
    Reported,
    RoundTripMeasured,
)
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_S
from reference.server.monitoring.metrics import MetricSet
from reference.server.monitoring.sessions import MonitoredSessions, SessionRecord, Traffic
from reference.store import StoreError

P = ParamSpec("P")

_PEER_CODES = frozenset(code for code, by in metrics.LABEL_VALUES[metrics.DISCONNECTIONS] if by == "client")


class Monitor:
    """Counts for one server."""

    def __init__(
        self,
        *,
        session_records_max: int = 20_000,
        session_age_max_ns: int = 3600 * NS_PER_S,
        on_limit: Callable[[Limit], None] | None = None,
        on_refused: Callable[[str, int], None] | None = None,
    ) -> None:
        """`on_limit` is called with each limit that is reached; `on_refused` with each WebSocket refused before it reached a run:
        the run id in its URL, and the code."""
        self._on_refused = on_refused
        self.metrics = MetricSet()
        self._on_limit = on_limit
        self.sessions = MonitoredSessions(session_records_max, session_age_max_ns)
        counter, histogram = self.metrics.counter, self.metrics.histogram
        self._connections = counter(metrics.CONNECTIONS)
        self._disconnections = counter(metrics.DISCONNECTIONS)
        self._reconnections = counter(metrics.RECONNECTIONS)
        self._messages_in = counter(metrics.MESSAGES_IN)
        self._messages_out = counter(metrics.MESSAGES_OUT)
        self._failures = counter(metrics.FAILURES)
        self._latency = histogram(metrics.LATENCY)
        self._fallbacks = counter(metrics.FALLBACKS)
        self._refusals = counter(metrics.REFUSALS)
        self._resumes = counter(metrics.RESUMES)
        self._resume_events = histogram(metrics.RESUME_EVENTS)
        self._failed_attempts = counter(metrics.FAILED_ATTEMPTS)
        self._recovery = histogram(metrics.RECOVERY)
        self._detection = histogram(metrics.DETECTION)
        self._gaps = counter(metrics.GAPS)
        self._duplicate_events = counter(metrics.DUPLICATE_EVENTS)
        self._client_queue = histogram(metrics.CLIENT_QUEUE)
        self._accepted = counter(metrics.ACCEPTED)
        self._duplicates = counter(metrics.DUPLICATES)
        self._deferred = counter(metrics.DEFERRED)
        self._commit = histogram(metrics.COMMIT)
        self._events_stored = counter(metrics.EVENTS_STORED)
        self._http_requests = counter(metrics.HTTP_REQUESTS)
        self._runs_created = counter(metrics.RUNS_CREATED)
        self._limits = counter(metrics.LIMITS)
        self._problems = counter(metrics.PROBLEMS)
        self._log_lines_dropped = counter(metrics.LOG_LINES_DROPPED)
        self._show_sessions()

    def observe(self, run_id: str, observation: Observation, traffic: Traffic, now: int) -> None:
        """An observation of a run; `traffic` is that of the connection concerned, if there is one."""
        match observation:
            case Joined():
                self._joined(run_id, observation, traffic, now)
            case Left():
                self._left(run_id, observation, now)
            case Refused(code=code):
                self._refusals.labels(str(code)).inc()
            case FellBack():
                self._fell_back(run_id, observation, now)
            case Departed(client_id=client_id):
                record = self.sessions.find(run_id, client_id)
                if record is not None:
                    self.sessions.vanishes(record, now)
            case RoundTripMeasured(client_id=client_id, round_trip_ms=round_trip_ms):
                self._latency.observe(round_trip_ms / 1000)
                record = self.sessions.find(run_id, client_id)
                if record is not None:
                    self.sessions.measured(record, round_trip_ms)
            case Reported(client_id=client_id, report=report):
                self._reported(report, self.sessions.find(run_id, client_id))
            case Answered():
                self._answered(observation, self.sessions.find(run_id, observation.client_id))
            case LimitReached(limit=limit):
                self.limit_reached(limit)
            case _:
                assert_never(observation)

    def limit_reached(self, limit: Limit) -> None:
        """A peer has reached a limit."""
        self._limits.labels(limit.value).inc()
        if self._on_limit is not None:
            self._on_limit(limit)

    def refused(self, error: RemoteError, run_id: str) -> None:
        """A WebSocket was closed before it reached a run."""
        if self._on_refused is not None:
            self._on_refused(run_id, error.code)
        self._refusals.labels(str(error.code)).inc()
        if error.limit is not None:
            self.limit_reached(error.limit)

    def received(self, messages: Sequence[Frame | RemoteError]) -> None:
        """Messages arrived from a client; a message that is not a frame is given as the error."""
        self._messages_in.inc(len(messages))
        malformed = sum(isinstance(message, RemoteError) for message in messages)
        if malformed:
            self._failures.labels("bad_frame").inc(malformed)

    def sent(self, messages: int) -> None:
        """This many messages were sent to readers."""
        self._messages_out.inc(messages)

    def requested(self, run_id: str, client_id: str | None, now: int) -> None:
        """A request of that client arrived."""
        record = None if client_id is None else self.sessions.find(run_id, client_id)
        if record is not None:
            record.received_before += 1
            record.traffic.active_at = max(record.traffic.active_at, now)

    def answered(self, run_id: str, client_id: str | None, answer: Frame) -> None:
        """A request of that client was answered. An answer is one message, but a poll counts as one for each of its events."""
        messages = max(1, len(answer.events)) if isinstance(answer, PollAnswer) else 1
        record = None if client_id is None else self.sessions.find(run_id, client_id)
        if record is not None:
            record.sent_before += messages
        self.sent(messages)

    def committed(self, seconds: float, events: int, error: StoreError | None) -> None:
        """A batch of a run is durable, or failed, this long after it was given to the writer."""
        if error is None:
            self._commit.observe(seconds)
            self._events_stored.inc(events)
        else:
            self._failures.labels("store").inc(events)

    def http_answered(self, address: str, status: int) -> None:
        """An HTTP request was answered; `address` is its template, empty if there is no such address."""
        self._http_requests.labels(address or "none", str(status)).inc()

    def log_line_dropped(self) -> None:
        """The reader of the log is too slow."""
        self._log_lines_dropped.inc()

    def run_created(self) -> None:
        self._runs_created.inc()

    def and_count(self, log: Callable[P, None]) -> Callable[P, None]:
        """Log a fault of the server, and count it."""

        def tell(*args: P.args, **kwargs: P.kwargs) -> None:
            self._problems.inc()
            log(*args, **kwargs)

        return tell

    def _joined(self, run_id: str, joined: Joined, traffic: Traffic, now: int) -> None:
        self._connections.inc()
        self._resumes.labels(joined.outcome).inc()
        self._resume_events.observe(joined.replayed)
        key = (run_id, joined.client_id)
        record = self.sessions.appears(key, joined.session_id, joined.user_id, joined.transport, traffic, now)
        if record is not None:
            record.connection_id = joined.connection_id
        if joined.is_return:
            self._reconnections.inc()
            if record is not None:
                record.reconnections += 1
                self.sessions.changed(record)

    def _left(self, run_id: str, left: Left, now: int) -> None:
        if left.code is not None:
            self._disconnections.labels(str(left.code), "server").inc()
        else:
            code = "none" if left.peer_code is None else str(left.peer_code)
            self._disconnections.labels(code if code in _PEER_CODES else metrics.OTHER, "client").inc()
        record = self.sessions.find(run_id, left.client_id)
        if record is not None and record.connection_id == left.connection_id:
            record.close_code = left.peer_code if left.code is None else left.code
            self.sessions.vanishes(record, now)

    def _fell_back(self, run_id: str, fell: FellBack, now: int) -> None:
        self._fallbacks.labels(fell.reason or "unknown").inc()
        key = (run_id, fell.client_id)
        record = self.sessions.appears(key, fell.session_id, fell.user_id, Transport.POLLING, Traffic(), now)
        if record is not None:
            record.connection_id = None
            record.fallbacks += 1

    def _reported(self, report: Report, record: SessionRecord | None) -> None:
        self._failed_attempts.inc(report.failed_attempts)
        self._gaps.inc(report.gaps)
        self._duplicate_events.inc(report.duplicates)
        self._failures.labels("client").inc(report.failed_messages)
        self._client_queue.observe(report.queued_messages)
        for outage in report.recoveries:
            self._recovery.observe(outage.recovery_ms / 1000)
            if outage.silence_ms is not None:
                self._detection.observe(outage.silence_ms / 1000)
        if record is not None:
            record.reported(report)
            self.sessions.changed(record)

    def _answered(self, answered: Answered, record: SessionRecord | None) -> None:
        if answered.is_duplicate:
            self._duplicates.inc()
        elif answered.accepted:
            self._accepted.inc(answered.count)
            if record is not None:
                record.accepted += answered.count
                self.sessions.changed(record)
        elif answered.code is not None and answered.code.is_retryable:
            self._deferred.labels(answered.code.value).inc()
        else:
            self._failures.labels("rejected").inc()
            if record is not None:
                record.failed += 1
                self.sessions.changed(record)

    def _show_sessions(self) -> None:
        show, totals = self.metrics.show, self.sessions.totals
        for transport in Transport:
            show(metrics.SESSIONS, lambda transport=transport: totals.by_transport[transport], transport=transport.value)  # type: ignore[misc]  # mypy does not infer a lambda's default
        for quality in Quality:
            show(metrics.SESSIONS_BY_QUALITY, lambda quality=quality: totals.by_quality[quality], quality=quality.value)  # type: ignore[misc]  # as above
        show(metrics.QUALITY, lambda: _or_nan(totals.score))
        show(metrics.DELIVERY_RATE, lambda: _or_nan(totals.delivery_rate))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
