"""The health score at each of its boundaries, percentiles compared with numpy's, and the values before there are samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.client.health import HealthRecord, Quality, Status, percentile, quality_of, quality_score
from reference.protocol.timers import NS_PER_MS


@pytest.mark.parametrize(
    ("mean_ms", "points"),
    [
        (0, 100),
        (50, 100),
        (50.001, 90),
        (100, 90),
        (100.001, 75),
        (200, 75),
        (200.001, 50),
        (500, 50),
        (500.001, 25),
        (1000, 25),
        (1000.001, 10),
        (1e9, 10),
    ],
)
def test_points_for_latency(mean_ms: float, points: float) -> None:
    assert quality_score(mean_ms, 0, 1.0) == pytest.approx(0.4 * points + 30 + 30)


@pytest.mark.parametrize(
    ("reconnections", "points"), [(0, 100), (1, 80), (2, 60), (3, 40), (5, 40), (6, 20), (10, 20), (11, 5), (1000, 5)]
)
def test_points_for_reconnections(reconnections: int, points: float) -> None:
    assert quality_score(0, reconnections, 1.0) == pytest.approx(40 + 0.3 * points + 30)


@pytest.mark.parametrize("rate", [0.0, 0.25, 1.0])
def test_points_for_delivery(rate: float) -> None:
    assert quality_score(0, 0, rate) == pytest.approx(70 + 30 * rate)


@pytest.mark.parametrize(
    ("score", "quality"),
    [
        (100, Quality.HEALTHY),
        (80, Quality.HEALTHY),
        (79.999, Quality.DEGRADED),
        (50, Quality.DEGRADED),
        (49.999, Quality.UNHEALTHY),
        (0, Quality.UNHEALTHY),
        (None, Quality.UNKNOWN),
    ],
)
def test_one_word_for_a_score(score: float | None, quality: Quality) -> None:
    assert quality_of(score) is quality


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=100), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], fraction: float) -> None:
    ascending = sorted(values)
    assert percentile(ascending, fraction) == pytest.approx(float(np.quantile(ascending, fraction)), rel=1e-9, abs=1e-6)


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=150))
def test_a_report_is_about_the_last_100_round_trips(durations: list[int]) -> None:
    record = HealthRecord(100)
    for duration in durations:
        record.round_trip(duration)
    trips = record.report(Status.CONNECTED, "websocket", 0, is_carried=True).round_trip
    kept = [duration / NS_PER_MS for duration in durations[-100:]]
    assert trips.samples == len(kept)
    assert trips.mean_ms == pytest.approx(np.mean(kept))
    assert [trips.p50_ms, trips.p95_ms, trips.p99_ms] == pytest.approx(list(np.quantile(kept, [0.5, 0.95, 0.99])))
    assert record.last_round_trip_ms == kept[-1]


def test_nothing_is_known_before_the_first_round_trip() -> None:
    health = HealthRecord(100).report(Status.DISCONNECTED, None, 3, is_carried=False)
    assert health.quality is Quality.UNKNOWN
    assert health.quality_score is None
    assert health.delivery_rate is None
    assert health.round_trip.samples == 0
    assert health.round_trip.mean_ms is None
    assert health.queued_messages == 3


def test_the_delivery_rate_counts_what_was_settled() -> None:
    record = HealthRecord(100)
    record.round_trip(10 * NS_PER_MS)
    assert record.report(Status.CONNECTED, "websocket", 0, is_carried=True).quality_score == pytest.approx(100)
    record.accepted, record.failed = 3, 1
    health = record.report(Status.CONNECTED, "websocket", 0, is_carried=True)
    assert health.delivery_rate == 0.75
    assert health.quality_score == pytest.approx(40 + 30 + 22.5)
