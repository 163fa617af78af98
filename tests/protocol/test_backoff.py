"""Waits before a reconnect: bounded after any number of failures, spread over the whole range, never below a server's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.errors import ConfigError
from reference.protocol.policies.reconnect import AskedWait, Attempt, FullJitter, Reconnector, capped
from reference.protocol.timers import NS_PER_MS, ns

from .machines import Always

DRAWN = st.floats(0, 1, exclude_max=True)


def attempt(failures: int, draw: float, first_spread_s: float = 1.0) -> Attempt:
    return Attempt(failures, 0.0, first_spread_s, 0, Always(draw))


def reconnector(draw: float, policy: FullJitter | None = None) -> Reconnector:
    return Reconnector(policy or FullJitter(), Always(draw), 1.0, AskedWait())


@given(st.integers(1, 5000), DRAWN)
def test_full_jitter_keeps_its_bounds_after_any_number_of_failures(failures: int, draw: float) -> None:
    wait = FullJitter().wait_s(attempt(failures, draw))
    widest = min(30.0, 2.0 ** min(failures - 1, 60))
    assert 0.25 <= wait <= 0.25 + widest
    assert wait == pytest.approx(0.25 + draw * widest)


@pytest.mark.parametrize(("failures", "widest_s"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (100_000, 30)])
def test_full_jitter_doubles_up_to_its_cap(failures: int, widest_s: float) -> None:
    assert FullJitter().wait_s(attempt(failures, 0.0)) == 0.25
    assert FullJitter().wait_s(attempt(failures, 1.0)) == 0.25 + widest_s


@given(DRAWN, st.floats(0, 100))
def test_the_first_wait_after_a_live_session_is_spread_as_the_server_said(draw: float, spread_s: float) -> None:
    assert FullJitter().wait_s(attempt(0, draw, spread_s)) == draw * spread_s


@pytest.mark.parametrize(
    "wrong",
    [{"base_s": 0}, {"base_s": -1}, {"cap_s": 0.5}, {"factor": 0.9}, {"floor_s": -0.1}, {"base_s": float("nan")}],
    ids=str,
)
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="needs base_s > 0"):
        FullJitter(**wrong)


def test_a_policy_that_just_works_is_taken() -> None:
    policy = FullJitter(base_s=1, factor=1, cap_s=1, floor_s=0)
    assert [policy.wait_s(attempt(failures, 0.5)) for failures in (1, 2, 9)] == [0.5, 0.5, 0.5]


def test_capped_takes_any_exponent() -> None:
    assert capped(1.0, 2.0, 100_000, 30.0) == 30.0
    assert capped(1.0, 2.0, 3, 30.0) == 8.0


@given(DRAWN, st.integers(0, 20), st.integers(0, 10**12), st.integers(0, 86_400_000), st.none() | st.integers(0, 86_400_000))
def test_nothing_is_tried_before_the_time_that_the_server_asked_for(
    draw: float, failures: int, now: int, retry_after_ms: int, spread_ms: int | None
) -> None:
    client = reconnector(draw)
    for _ in range(failures):
        client.failed()
    client.asked_to_wait(now, retry_after_ms, spread_ms)
    asked = now + retry_after_ms * NS_PER_MS
    at = client.next_attempt_at(now)
    assert at is not None
    assert at >= asked
    if spread_ms is not None:
        assert at == asked + ns(draw * (spread_ms / 1000)), "goaway replaces the policy"
    else:
        widest = 1.0 if failures == 0 else min(30.0, 2.0 ** (failures - 1))
        floor = 0.0 if failures == 0 else 0.25
        assert at == pytest.approx(asked + ns(floor + draw * widest), abs=2), "the policy's wait comes on top"


def test_a_spread_counts_once_and_a_time_for_as_long_as_it_lies_ahead() -> None:
    client = reconnector(0.5)
    client.asked_to_wait(0, 10_000, 4_000)
    assert client.next_attempt_at(0) == ns(12)
    assert client.next_attempt_at(0) == ns(10.5)
    assert client.next_attempt_at(ns(60)) == ns(60.5)


def test_of_several_times_the_latest_stands_on_all_transports() -> None:
    asked = AskedWait()
    websocket = Reconnector(FullJitter(), Always(0.0), 1.0, asked)
    polling = Reconnector(FullJitter(), Always(0.0), 1.0, asked, purpose="poll_backoff")
    websocket.asked_to_wait(0, 5_000, None)
    polling.asked_to_wait(0, 2_000, None)
    assert websocket.not_before == polling.not_before == ns(5)
    assert polling.earliest(0) == ns(5)


def test_a_network_that_is_back_is_used_when_the_time_that_the_server_asked_for_is_over() -> None:
    client = reconnector(0.0)
    client.asked_to_wait(0, 5_000, None)
    assert [client.hurry(ns(5) - 1, 0.5), client.hurry(ns(5), 0.5)] == [None, ns(5.5)]


def test_failures_count_until_a_connection_was_steady() -> None:
    client = reconnector(1.0)
    waits = []
    for _ in range(3):
        client.failed()
        waits.append(client.next_attempt_at(0))
    assert waits == [ns(1.25), ns(2.25), ns(4.25)]
    client.steady()
    assert client.failures == 0
    assert client.next_attempt_at(0) == ns(1)


def test_each_wait_has_a_draw_of_its_own() -> None:
    random_source = Always(0.5)
    client = Reconnector(FullJitter(), random_source, 1.0, AskedWait(), purpose="poll_backoff")
    for _ in range(3):
        client.next_attempt_at(0)
    assert random_source.asked == [("poll_backoff", 0), ("poll_backoff", 1), ("poll_backoff", 2)]


class Remembers:
    """A policy that waits twice as long as before, and remembers its arguments."""

    def __init__(self) -> None:
        self.reported: list[tuple[int, float, float, int]] = []

    def wait_s(self, attempt: Attempt) -> float:
        self.reported.append((attempt.failures, attempt.previous_s, attempt.first_spread_s, attempt.index))
        return 2 * attempt.previous_s or 3.0


def test_a_policy_is_told_the_failures_the_wait_before_the_servers_spread_and_which_draw_it_is() -> None:
    policy = Remembers()
    client = Reconnector(policy, Always(0.5), 7.0, AskedWait())
    waits = []
    for _ in range(3):
        waits.append(client.next_attempt_at(0))
        client.failed()
    client.steady()
    waits.append(client.next_attempt_at(0))
    assert policy.reported == [(0, 0.0, 7.0, 0), (1, 3.0, 7.0, 1), (2, 6.0, 7.0, 2), (0, 0.0, 7.0, 3)]
    assert waits == [ns(3), ns(6), ns(12), ns(3)]


class GivesUp:
    def wait_s(self, attempt: Attempt) -> float | None:
        return None


def test_a_policy_may_give_up() -> None:
    assert Reconnector(GivesUp(), Always(0.5), 1.0, AskedWait()).next_attempt_at(0) is None
