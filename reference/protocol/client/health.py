"""Connection health: round trips, delivery rate, and one word for the quality.

A round trip is measured by one clock, the client's, from a ping to its own pong. The score is the brief's:
0.4 latency + 0.3 reconnections + 0.3 * 100 * delivery rate, each in points from 0 to 100.
"""

import enum
import math

import msgspec

from reference.protocol.frames import MILLISECONDS_MAX
from reference.protocol.timers import NS_PER_MS


class Quality(enum.StrEnum):
    """The quality score as a word (7.34)."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNHEALTHY = "UNHEALTHY"
    UNKNOWN = "UNKNOWN"


class Status(enum.StrEnum):
    """The connection status as shown to a person."""

    CONNECTED = "Connected"
    RECONNECTED = "Reconnected"
    DISCONNECTED = "Disconnected"
    HTTP_POLLING = "HTTP Polling"


class RoundTrips(msgspec.Struct, frozen=True, rename="camel"):
    """Over the last `round_trip_samples_max` answered pings, in ms; all None before the first."""

    samples: int = 0
    mean_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """A client's health at one moment.

    last_error: why the session has no transport, or, during polling, why its last WebSocket failed; None while a WebSocket
    carries the session. delivery_rate: accepted / (accepted + failed for good), None before the first publish was settled.
    quality_score: 0 to 100, None without a round trip; at most 49 while the session has no transport.
    """

    status: Status
    transport: str | None
    round_trip: RoundTrips
    delivery_rate: float | None
    reconnections: int
    queued_messages: int
    quality: Quality
    quality_score: float | None
    last_error: str | None = None


_LATENCY_POINTS = ((50, 100), (100, 90), (200, 75), (500, 50), (1000, 25))
_RECONNECTION_POINTS = ((0, 100), (1, 80), (2, 60), (5, 40), (10, 20))


def quality_score(mean_ms: float, reconnections: int, delivery_rate: float) -> float:
    """The brief's score, from 0 to 100 (7.33)."""
    latency = next((points for limit, points in _LATENCY_POINTS if mean_ms <= limit), 10)
    stability = next((points for limit, points in _RECONNECTION_POINTS if reconnections <= limit), 5)
    return 0.4 * latency + 0.3 * stability + 0.3 * 100 * delivery_rate


UNCARRIED_SCORE_MAX = 49.0
"""While no transport carries a session, its quality is UNHEALTHY, whatever the score (7.34)."""


def quality_of(score: float | None) -> Quality:
    if score is None:
        return Quality.UNKNOWN
    if score >= 80:  # 7.34
        return Quality.HEALTHY
    return Quality.DEGRADED if score >= 50 else Quality.UNHEALTHY


def percentile(ascending: list[float], fraction: float) -> float:
    """The value at `fraction` of a non-empty ascending list, interpolated between its two neighbours."""
    place = fraction * (len(ascending) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (ascending[high] - ascending[low]) * (place - low)


def summary_of(round_trips_ms: list[float]) -> RoundTrips:
    """Mean and percentiles of round trips, given in any order."""
    if not round_trips_ms:
        return RoundTrips()
    ascending = sorted(round_trips_ms)
    mean = math.fsum(ascending) / len(ascending)
    return RoundTrips(len(ascending), mean, *(percentile(ascending, fraction) for fraction in (0.5, 0.95, 0.99)))


class HealthRecord:
    """The data from which a client's health is computed. Bounded by `samples_max`."""

    __slots__ = (
        "_round_trips",
        "_samples_max",
        "_was_connected",
        "accepted",
        "failed",
        "reconnections",
    )

    def __init__(self, samples_max: int) -> None:
        self._samples_max = samples_max
        self._round_trips: list[int] = []  # not a deque, which takes 0.7 KiB when it is empty
        self.accepted = 0
        self.failed = 0
        self.reconnections = 0
        self._was_connected = False

    def connected(self) -> None:
        """The session has a transport; each time after the first counts as a reconnection."""
        self.reconnections += self._was_connected
        self._was_connected = True

    def round_trip(self, duration: int) -> None:
        """A ping was answered after `duration` ns."""
        self._round_trips.append(duration)
        del self._round_trips[: -self._samples_max]

    @property
    def round_trips_ms(self) -> tuple[float, ...]:
        """Oldest first."""
        return tuple(duration / NS_PER_MS for duration in self._round_trips)

    @property
    def last_round_trip_ms(self) -> float | None:
        return min(self._round_trips[-1] / NS_PER_MS, MILLISECONDS_MAX) if self._round_trips else None

    def report(
        self, status: Status, transport: str | None, queued_messages: int, *, is_carried: bool, last_error: str | None = None
    ) -> Health:
        trips = summary_of([duration / NS_PER_MS for duration in self._round_trips])
        score, rate = None, None
        if self.accepted + self.failed:
            rate = self.accepted / (self.accepted + self.failed)
        if trips.mean_ms is not None:
            score = quality_score(trips.mean_ms, self.reconnections, 1.0 if rate is None else rate)
            score = score if is_carried else min(score, UNCARRIED_SCORE_MAX)
        quality = quality_of(score)
        return Health(status, transport, trips, rate, self.reconnections, queued_messages, quality, score, last_error)
