"""Session records: counts, round trips and quality of each session, for the admin API and for gauges over all sessions.

A session is one client in one run, and these two are its key: a client may choose its session id (protocol 2.4), so two clients
may have the same. A record is *carried* while the session has a WebSocket or polls; a lost session is not a connection. Records
of ended sessions are kept for a while, for later questions, and then expire; the table is bounded, and makes room by removing the
session that ended first.

Totals over all sessions are updated with each change (`Totals`), so that a scrape costs the same with one session and with twenty
thousand.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from reference.protocol.client.health import Quality, RoundTrips, Status, quality_of, quality_score, summary_of
from reference.protocol.frames import Report
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS

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
        """Runs without carried sessions are left out."""
        self.accepted = 0
        self.failed = 0
        self._score_millionths = 0
        self._scored = 0

    @property
    def carried(self) -> int:
        return self.by_transport.total()

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
