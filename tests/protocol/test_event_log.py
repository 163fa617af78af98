"""The log of a run: which events can be read, how many at a time, and where a reader continues."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.frames import encoded_bytes
from reference.protocol.records import LogEntry, RunState, Snapshot
from reference.protocol.server.event_log import TRIM_AT, EventLog, ReadPosition

from .machines import EPOCH, chat

NO_LIMIT = 10**9


def log_of(head: int, *, snapshot_at: int = 0, kept_max: int = NO_LIMIT) -> EventLog:
    events = [chat(number) for number in range(1, head + 1)]
    return EventLog(EPOCH, head, Snapshot(snapshot_at, RunState()), events, kept_max)


def entries(first: int, count: int) -> list[LogEntry]:
    return [LogEntry(chat(number), "client-1", number) for number in range(first, first + count)]


@given(st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=8), st.integers(1, 500))
def test_the_window_keeps_enough_and_everything_after_the_snapshot(batches: list[tuple[int, bool]], kept_max: int) -> None:
    log = EventLog(EPOCH, 0, Snapshot(0, RunState()), (), kept_max)
    for count, has_snapshot in batches:
        log.append(entries(log.head + 1, count), Snapshot(log.head + count, RunState()) if has_snapshot else None)
        assert log.oldest == max(0, min(log.head - kept_max, log.snapshot.sequence_number)) + 1
        assert log.snapshot.sequence_number >= log.oldest - 1, "the snapshot covers what was trimmed"
        everything = log.read(log.oldest - 1, NO_LIMIT, NO_LIMIT)
        assert [event.sequence_number for event in everything] == list(range(log.oldest, log.head + 1))
        assert log.holds(log.oldest - 1)
        assert not log.holds(log.oldest - 2)


@given(st.integers(0, 12), st.integers(1, 12), st.integers(1, 1500))
def test_a_read_keeps_both_limits_but_brings_something(after: int, events_max: int, bytes_max: int) -> None:
    log = log_of(12)
    brought = log.read(after, events_max, bytes_max)
    assert [event.sequence_number for event in brought] == list(range(after + 1, after + 1 + len(brought)))
    assert len(brought) <= events_max
    assert bool(brought) is (after < log.head)
    sizes = [encoded_bytes(event) for event in brought]
    assert len(brought) <= 1 or sum(sizes) <= bytes_max
    if brought and len(brought) < events_max and after + len(brought) < log.head:
        assert sum(sizes) + encoded_bytes(chat(after + len(brought) + 1)) > bytes_max, "no more would have fitted"


def test_a_read_is_exact_to_the_byte() -> None:
    size = sum(encoded_bytes(chat(number)) for number in (1, 2, 3))
    assert len(log_of(5).read(0, 5, size)) == 3
    assert len(log_of(5).read(0, 5, size - 1)) == 2


def test_events_that_were_appended_are_measured_like_those_that_were_stored() -> None:
    log = log_of(0)
    log.append(entries(1, 5), None)
    size = sum(encoded_bytes(chat(number)) for number in (1, 2, 3))
    assert len(log.read(0, 5, size)) == 3
    assert len(log.read(0, 5, size - 1)) == 2


def test_what_is_trimmed_leaves_memory_in_pieces() -> None:
    log = log_of(0, kept_max=10)
    log.append(entries(1, 10 + TRIM_AT - 1), Snapshot(10 + TRIM_AT - 1, RunState()))
    assert (log.oldest, log.in_memory) == (TRIM_AT, 10 + TRIM_AT - 1)
    log.append(entries(log.head + 1, 1), Snapshot(log.head + 1, RunState()))
    assert (log.oldest, log.in_memory) == (TRIM_AT + 1, 10)
    assert [event.sequence_number for event in log.read(TRIM_AT, 2, NO_LIMIT)] == [TRIM_AT + 1, TRIM_AT + 2]


def test_the_nearest_place_from_which_can_be_read() -> None:
    log = log_of(10, snapshot_at=8, kept_max=5)
    assert [log.nearest(after) for after in (0, 4, 5, 7, 10, 11)] == [5, 5, 5, 7, 10, 10]


def test_a_reader_outside_of_the_window_is_our_own_mistake() -> None:
    log = log_of(10, snapshot_at=8, kept_max=5)
    for after in (4, 11):
        with pytest.raises(AssertionError, match="fell out of the window"):
            log.read(after, 1, 1)


SNAPSHOT = Snapshot(8, RunState())


@pytest.mark.parametrize(
    ("epoch", "after", "start", "place"),
    [
        (None, None, "snapshot", ReadPosition("fresh", None, 8, SNAPSHOT)),
        (None, None, "oldest", ReadPosition("fresh", None, 5, None)),
        (None, None, "head", ReadPosition("fresh", None, 10, None)),
        (EPOCH, 10, "snapshot", ReadPosition("resumed", None, 10, None)),
        (EPOCH, 5, "head", ReadPosition("resumed", None, 5, None)),
        (EPOCH, 4, "snapshot", ReadPosition("snapshot", "expired", 8, SNAPSHOT)),
        (EPOCH, 0, "oldest", ReadPosition("snapshot", "expired", 8, SNAPSHOT)),
        (EPOCH, 11, "snapshot", ReadPosition("reset", "ahead", 8, SNAPSHOT)),
        ("epoch-2", 7, "snapshot", ReadPosition("reset", "epoch", 8, SNAPSHOT)),
        ("epoch-2", 99, "snapshot", ReadPosition("reset", "epoch", 8, SNAPSHOT)),
        (None, 7, "snapshot", ReadPosition("resumed", None, 7, None)),
    ],
)
def test_where_a_reader_goes_on(epoch: str | None, after: int | None, start: str, place: ReadPosition) -> None:
    log = log_of(10, snapshot_at=8, kept_max=5)
    assert log.oldest == 6
    assert log.place(epoch, after, start) == place  # type: ignore[arg-type]


def test_a_log_without_events_places_every_reader_at_its_head() -> None:
    log = EventLog(EPOCH, 7, Snapshot(7, RunState()), (), 1000)
    assert (log.oldest, log.head) == (8, 7)
    assert log.place(EPOCH, 7, "snapshot").outcome == "resumed"
    assert log.place(EPOCH, 6, "snapshot").outcome == "snapshot"
    assert log.read(7, 1, 1) == ()


def test_a_log_has_no_gaps() -> None:
    with pytest.raises(AssertionError, match="no gaps"):
        log_of(3).append(entries(5, 1), None)
