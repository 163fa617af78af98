"""G5: a snapshot at any number, plus the later events, is the fold of all events; and the limits of the state."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.events import Event
from reference.protocol.frames import encoded_bytes
from reference.protocol.records import RunState, Snapshot
from reference.protocol.server.sequencer import Fold

NAMES = st.sampled_from(("a", "b", "é", 'quo"te', "\x01\x02"))
PAYLOADS = st.one_of(
    st.builds(lambda at, n: ("GRAFT", {"position": at, "n": n}), NAMES, st.integers(0, 3)),
    st.builds(lambda at: ("PRUNE", {"step": at}), NAMES),
    st.builds(lambda n: ("FLAG", {"n": n}), st.integers(0, 3)),
    st.builds(lambda n: ("CHAT", {"n": n}), st.integers(0, 3)),
)
START = Snapshot(0, RunState())


def numbered(payloads: list[tuple[str, dict[str, Any]]], after: int = 0) -> tuple[Event, ...]:
    return tuple(
        Event(event_type, "ann", 0, number, data, event_type != "CHAT")
        for number, (event_type, data) in enumerate(payloads, after + 1)
    )


def fold(start: Snapshot, following: tuple[Event, ...]) -> Snapshot:
    """The snapshot after `following`."""
    state = Fold(start.state)
    for event in following:
        state.apply(event.event_type, event.data)
    return state.snapshot(start.sequence_number + len(following))


@given(st.lists(PAYLOADS, max_size=25), st.integers(0, 25))
def test_a_snapshot_and_the_rest_are_the_fold_of_all(payloads: list[tuple[str, dict[str, Any]]], at: int) -> None:
    events = numbered(payloads)
    at = min(at, len(events))
    snapshot = fold(START, events[:at])
    assert snapshot.sequence_number == at
    assert fold(snapshot, events[at:]) == fold(START, events)


@given(st.lists(PAYLOADS, max_size=25))
def test_the_fold_is_what_it_says(payloads: list[tuple[str, dict[str, Any]]]) -> None:
    state = fold(START, numbered(payloads)).state
    assert state.grafts == {data["position"]: data for kind, data in payloads if kind == "GRAFT"}
    assert state.prunes == tuple(sorted({data["step"] for kind, data in payloads if kind == "PRUNE"}))
    assert state.flags == tuple(data for kind, data in payloads if kind == "FLAG")


@given(st.lists(PAYLOADS, max_size=25), st.integers(0, 25))
def test_the_size_that_is_counted_is_that_of_the_json(payloads: list[tuple[str, dict[str, Any]]], restart_at: int) -> None:
    state = Fold(RunState())
    for number, (event_type, data) in enumerate(payloads):
        if number == restart_at:
            state = Fold(state.state())
        state.apply(event_type, data)
        frozen = state.state()
        assert state.entries == len(frozen.grafts) + len(frozen.prunes) + len(frozen.flags)
        assert state.size_bytes == encoded_bytes(frozen)


@given(st.lists(PAYLOADS, max_size=25), st.integers(50, 200))
def test_what_has_room_keeps_the_limit(payloads: list[tuple[str, dict[str, Any]]], bytes_max: int) -> None:
    state = Fold(RunState())
    for event_type, data in payloads:
        before = state.size_bytes
        if state.has_room(event_type, data, 5, bytes_max):
            state.apply(event_type, data)
            assert state.size_bytes <= max(before, bytes_max)
            assert state.entries <= 5


def test_a_full_state_can_be_made_smaller() -> None:
    state = Fold(RunState())
    for position in "abcd":
        state.apply("GRAFT", {"position": position, "text": "x" * 1000})
    for bytes_max in (state.size_bytes, state.size_bytes // 2):  # full, and fuller than the limit is now
        assert state.has_room("GRAFT", {"position": "a", "text": "x" * 500}, 4, bytes_max)
        assert state.has_room("GRAFT", {"position": "a", "text": "y" * 1000}, 4, bytes_max), "it grows by nothing"
        assert not state.has_room("GRAFT", {"position": "a", "text": "x" * 1001}, 4, bytes_max)


@given(st.lists(PAYLOADS, max_size=25))
def test_what_fits_exactly_has_room_and_one_byte_more_has_not(payloads: list[tuple[str, dict[str, Any]]]) -> None:
    """1.8: the limit is the largest size that is allowed."""
    state = Fold(RunState())
    for event_type, data in payloads:
        before, after = state.size_bytes, Fold(state.state())
        after.apply(event_type, data)
        size_bytes = encoded_bytes(after.state())
        assert state.has_room(event_type, data, 100, size_bytes)
        if size_bytes > before:
            assert not state.has_room(event_type, data, 100, size_bytes - 1)
        state = after


def test_a_frozen_state_does_not_follow_the_fold() -> None:
    state = Fold(RunState())
    state.apply("GRAFT", {"position": "a"})
    frozen = state.state()
    state.apply("GRAFT", {"position": "b"})
    assert list(frozen.grafts) == ["a"]


def test_a_full_state_takes_what_needs_no_new_entry() -> None:
    state = Fold(RunState())
    state.apply("GRAFT", {"position": "a"})
    state.apply("PRUNE", {"step": "a"})

    def room(event_type: str, data: dict[str, Any], bytes_max: int = 10_000) -> bool:
        return state.has_room(event_type, data, 2, bytes_max)

    assert room("GRAFT", {"position": "a", "n": 2})
    assert room("PRUNE", {"step": "a"})
    assert room("CHAT", {})
    assert not room("GRAFT", {"position": "b"})
    assert not room("PRUNE", {"step": "b"})
    assert not room("FLAG", {})
    assert not room("GRAFT", {"position": "a", "n": 2}, bytes_max=state.size_bytes)
    data = {"position": "a", "n": 2}
    just = state.size_bytes + len(',"n":2')
    assert room("GRAFT", data, bytes_max=just)
    assert not room("GRAFT", data, bytes_max=just - 1)
