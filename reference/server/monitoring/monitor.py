"""The monitor: counts what the machines observe and what connections transfer.

It keeps metrics over everything (`metrics`), a record for each session, for the admin API and for gauges over all sessions, and
writes the log of the sessions. Reports of clients change these figures and never the behaviour of the server.

A session is one client in one run, and these two are its key: a client may choose its session id (protocol 2.4), so two clients
may have the same. A record is *carried* while the session has a WebSocket or polls; a lost session is not a connection. Records
of ended sessions are kept for a while, for later questions, and then expire; the table is bounded, and makes room by removing the
session that ended first.

Totals over all sessions are updated with each change (`Totals`), so that a scrape costs the same with one session and with twenty
thousand.
"""

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, assert_never

from reference.protocol import metrics
from reference.protocol.client.health import Quality, Status, quality_of, quality_score
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
from reference.server.monitoring.logs import SessionLog
from reference.server.monitoring.metrics import MetricSet
from reference.store import StoreError

P = ParamSpec("P")

_PEER_CODES = frozenset(code for code, by in metrics.LABEL_VALUES[metrics.DISCONNECTIONS] if by == "client")

ROUND_TRIPS_KEPT = 100
"""Per session, as many as a client keeps."""

RECENT_ROUND_TRIPS = 1000
"""Over all sessions, for the health of the server."""

Key = tuple[str, str]
"""Run id and client id."""


@dataclass(slots=True)
class Traffic:
    """The traffic of one connection; its transport counts here."""

    received: int = 0
    sent: int = 0
    active_at: int = 0
    """When data last arrived from the client, in ns."""


@dataclass(slots=True)
class SessionRecord:
    """One session. Times in ns since 1970."""

    run_id: str
    client_id: str
    session_id: str
    user_id: str
    transport: Transport
    joined_at: int
    traffic: Traffic
    connection_id: int | None = None
    is_carried: bool = True
    gone_at: int | None = None
    close_code: int | None = None
    received_before: int = 0
    sent_before: int = 0
    accepted: int = 0
    failed: int = 0
    reconnections: int = 0
    fallbacks: int = 0
    failed_attempts: int = 0
    gaps: int = 0
    duplicates: int = 0
    queued: int = 0
    round_trips: list[float] = field(default_factory=list)
    """The last ROUND_TRIPS_KEPT; not a deque, which takes 0.7 KiB when empty."""
    round_trip_max: float | None = None
    counted: "Contribution | None" = None
    """What `Totals` include of it now."""

    @property
    def key(self) -> Key:
        return self.run_id, self.client_id

    @property
    def status(self) -> Status:
        if not self.is_carried:
            return Status.DISCONNECTED
        if self.transport is Transport.POLLING:
            return Status.HTTP_POLLING
        return Status.RECONNECTED if self.reconnections else Status.CONNECTED

    @property
    def delivery_rate(self) -> float | None:
        """Accepted publishes divided by settled ones; None before any was settled."""
        settled = self.accepted + self.failed
        return self.accepted / settled if settled else None

    @property
    def score(self) -> float | None:
        """0 to 100; None without a round trip."""
        if not self.round_trips:
            return None
        rate = self.delivery_rate
        return quality_score(sum(self.round_trips) / len(self.round_trips), self.reconnections, 1.0 if rate is None else rate)

    def measured(self, round_trip_ms: float) -> None:
        self.round_trips.append(round_trip_ms)
        del self.round_trips[:-ROUND_TRIPS_KEPT]
        self.round_trip_max = max(self.round_trip_max or 0.0, round_trip_ms)

    def reported(self, report: Report) -> None:
        self.failed += report.failed_messages
        self.failed_attempts += report.failed_attempts
        self.gaps += report.gaps
        self.duplicates += report.duplicates
        self.queued = report.queued_messages

    def turn_to(self, traffic: Traffic) -> None:
        """From now on the session's traffic is counted in `traffic`, of another connection."""
        self.received_before += self.traffic.received
        self.sent_before += self.traffic.sent
        traffic.active_at = max(traffic.active_at, self.traffic.active_at)
        self.traffic = traffic


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of one carried session to the totals."""

    run_id: str
    transport: Transport
    quality: Quality
    score_millionths: int | None
    """Whole numbers, so that subtracting gives back exactly what was added."""
    accepted: int
    failed: int


class Totals:
    """Over all carried sessions."""

    def __init__(self) -> None:
        self.by_transport: Counter[Transport] = Counter()
        self.by_quality: Counter[Quality] = Counter()
        self.websockets_by_run: Counter[str] = Counter()
        """Runs without a WebSocket are left out."""
        self.accepted = 0
        self.failed = 0
        self._score_millionths = 0
        self._scored = 0

    @property
    def score(self) -> float | None:
        """The mean of the sessions that have a score."""
        return self._score_millionths / self._scored / 1e6 if self._scored else None

    @property
    def delivery_rate(self) -> float | None:
        """Over all settled publishes."""
        settled = self.accepted + self.failed
        return self.accepted / settled if settled else None

    def count(self, one: Contribution, sign: int) -> None:
        """Add (1) or subtract (-1) a session."""
        self.by_transport[one.transport] += sign
        self.by_quality[one.quality] += sign
        self.accepted += sign * one.accepted
        self.failed += sign * one.failed
        if one.score_millionths is not None:
            self._score_millionths += sign * one.score_millionths
            self._scored += sign
        if one.transport is Transport.WEBSOCKET:
            self.websockets_by_run[one.run_id] += sign
            if not self.websockets_by_run[one.run_id]:
                del self.websockets_by_run[one.run_id]


class MonitoredSessions:
    """All sessions of one server, at most `records_max`; a session that ended `age_max_ns` ago expires."""

    def __init__(self, records_max: int, age_max_ns: int) -> None:
        self._records_max = records_max
        self._age_max_ns = age_max_ns
        self._runs: dict[str, dict[str, SessionRecord]] = {}
        self._carried: dict[Key, SessionRecord] = {}
        self._gone: OrderedDict[Key, SessionRecord] = OrderedDict()  # in the order in which they ended
        self._count = 0
        self.totals = Totals()
        self.recent_round_trips: deque[float] = deque(maxlen=RECENT_ROUND_TRIPS)
        """In ms, over all sessions."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SessionRecord]:
        for clients in self._runs.values():
            yield from clients.values()

    def of_run(self, run_id: str) -> Iterator[SessionRecord]:
        yield from self._runs.get(run_id, {}).values()

    def find(self, run_id: str, client_id: str) -> SessionRecord | None:
        return self._runs.get(run_id, {}).get(client_id)

    def carried(self) -> Iterator[SessionRecord]:
        yield from self._carried.values()

    def measured(self, record: SessionRecord, round_trip_ms: float) -> None:
        """A round trip of that session was measured."""
        record.measured(round_trip_ms)
        self.recent_round_trips.append(round_trip_ms)
        self.changed(record)

    def changed(self, record: SessionRecord) -> None:
        """Call after any change of `record` that affects the totals."""
        if record.counted is not None:
            self.totals.count(record.counted, -1)
            record.counted = None
        if record.is_carried:
            score = record.score
            millionths = None if score is None else round(score * 1e6)
            record.counted = Contribution(
                record.run_id, record.transport, quality_of(score), millionths, record.accepted, record.failed
            )
            self.totals.count(record.counted, 1)

    def appears(
        self, key: Key, session_id: str, user_id: str, transport: Transport, traffic: Traffic, now: int
    ) -> SessionRecord | None:
        """A connection, or a poll, now belongs to this session. None if there is no room for a record."""
        self.expire(now)
        record = self.find(*key)
        if record is None:
            if not self._make_room():
                return None
            record = SessionRecord(*key, session_id, user_id, transport, now, traffic)
            self._runs.setdefault(key[0], {})[key[1]] = record
            self._count += 1
        else:
            record.turn_to(traffic)
            self._gone.pop(key, None)
        traffic.active_at = max(traffic.active_at, now)
        record.session_id, record.user_id, record.transport = session_id, user_id, transport
        record.is_carried, record.gone_at = True, None
        self._carried[key] = record
        self.changed(record)
        return record

    def vanishes(self, record: SessionRecord, now: int) -> None:
        """The session has no connection any more."""
        if record.is_carried:
            record.is_carried, record.connection_id, record.gone_at = False, None, now
            self._gone[record.key] = record
            self._carried.pop(record.key, None)
            self.changed(record)

    def run_ended(self, run_id: str, now: int) -> None:
        """The run has left memory, and its sessions with it."""
        for record in self.of_run(run_id):
            self.vanishes(record, now)

    def expire(self, now: int, age_max_ns: int | None = None) -> int:
        """Remove sessions that ended that long ago. Returns how many."""
        limit = now - (self._age_max_ns if age_max_ns is None else age_max_ns)
        count = 0
        while self._gone:
            oldest = next(iter(self._gone.values()))
            if oldest.gone_at is None or oldest.gone_at > limit:
                break
            self._forget(oldest)
            count += 1
        return count

    def _make_room(self) -> bool:
        if self._count < self._records_max:
            return True
        if not self._gone:
            return False
        self._forget(next(iter(self._gone.values())))
        return True

    def _forget(self, record: SessionRecord) -> None:
        del self._gone[record.key]
        clients = self._runs[record.run_id]
        del clients[record.client_id]
        if not clients:
            del self._runs[record.run_id]
        self._count -= 1


class Monitor:
    """Counts for one server."""

    def __init__(
        self,
        *,
        session_records_max: int = 20_000,
        session_age_max_ns: int = 3600 * NS_PER_S,
        session_log: SessionLog | None = None,
        observer: Callable[[Observation], None] | None = None,
    ) -> None:
        """`session_log` gets every event of a session too; `observer` is called with every observation, and must not raise."""
        self._session_log = session_log
        self._observer = observer
        self.metrics = MetricSet()
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
        if self._session_log is not None:
            self._session_log.observe(run_id, observation)
        if self._observer is not None:
            self._observer(observation)

    def limit_reached(self, limit: Limit) -> None:
        """A peer has reached a limit."""
        self._limits.labels(limit.value).inc()
        if self._session_log is not None:
            self._session_log.limit_reached(limit)

    def refused(self, error: RemoteError, run_id: str) -> None:
        """A WebSocket was closed before it reached a run; `run_id` as in its URL."""
        if self._session_log is not None:
            self._session_log.refused(run_id, error.code)
        self._refusals.labels(str(error.code)).inc()
        if error.limit is not None:
            self.limit_reached(error.limit)

    def origin_refused(self, origin: str) -> None:
        """A page of an origin that is not allowed has sent a request."""
        if self._session_log is not None:
            self._session_log.origin_refused(origin)

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
        """`log`, which logs a fault of the server, and count it."""

        def log_and_count(*args: P.args, **kwargs: P.kwargs) -> None:
            self._problems.inc()
            log(*args, **kwargs)

        return log_and_count

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
