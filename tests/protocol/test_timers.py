"""Timers compared with a model that searches all of them each time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.timers import ENTRIES_LEFT_MAX, FewTimers, Timers, ns

KEYS = "abc"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(KEYS), st.integers(0, 7)),
        st.tuples(st.just("cancel"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.just("pop"), st.just(""), st.integers(0, 7)),
    ),
    min_size=15,
    max_size=40,
)


class NaiveTimers:
    """The first by deadline, then by when it was set."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[int, int]] = {}

    def first(self) -> str | None:
        return min(self.entries, key=self.entries.__getitem__, default=None)

    def pop(self, now: int) -> str | None:
        key = self.first()
        if key is None or self.entries[key][0] > now:
            return None
        del self.entries[key]
        return key


@pytest.mark.parametrize("kind", [Timers, FewTimers])
@given(steps=STEPS)
def test_timers_fire_like_the_model(kind: type[Timers[str]], steps: list[tuple[str, str, int]]) -> None:
    timers = kind()
    model = NaiveTimers()
    for count, (step, key, at) in enumerate(steps):
        if step == "set":
            timers.set(key, at)
            model.entries[key] = (at, count)
        elif step == "cancel":
            timers.cancel(key)
            model.entries.pop(key, None)
        else:
            assert timers.pop_expired(at) == model.pop(at)
        first = model.first()
        assert timers.next_deadline() == (None if first is None else model.entries[first][0])
        assert len(timers) == len(model.entries)
        for name in KEYS:
            assert (name in timers) == (name in model.entries)
            assert timers.deadline_of(name) == model.entries.get(name, (None,))[0]


def test_a_timer_that_is_moved_to_a_later_time_all_day_keeps_one_place_in_the_heap() -> None:
    timers: Timers[str] = Timers()
    for at in range(10_000):
        timers.set("silence", at)
    assert len(timers._heap) == 1  # what makes it cheap cannot be seen from outside
    assert timers.next_deadline() == 9_999


def test_a_timer_that_was_cancelled_leaves_before_it_would_have_been_due() -> None:
    """Each connection has timers for the end of its token, a day ahead, and most connections end within minutes."""
    timers: Timers[int] = Timers()
    for number in range(20):
        timers.set(-number, 10**9 + number)
    for number in range(1, 1001):
        timers.set(number, 10**12)
        timers.cancel(number)
        assert timers.entries <= 2 * len(timers) + ENTRIES_LEFT_MAX
    for number in range(1, 1001):
        timers.set(0, 10**9 - number)  # each time earlier than before
        assert timers.entries <= 2 * len(timers) + ENTRIES_LEFT_MAX
    expired = [timers.pop_expired(2 * 10**9) for _ in range(21)]
    assert expired == [0, *range(-1, -20, -1), None]
    assert timers.entries <= ENTRIES_LEFT_MAX


def test_seconds_become_whole_nanoseconds() -> None:
    assert ns(0.25) == 250_000_000
    assert ns(1e-9) == 1
    assert isinstance(ns(10.0), int)
