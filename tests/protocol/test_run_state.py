"""G5: a snapshot at any number, plus what follows, is the fold of everything; and the limits of the state."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.codec import encoded_bytes
from reference.protocol.events import Event
from reference.protocol.records import RunState, Snapshot
from reference.protocol.server.fold import Fold, fold

NAMES = st.sampled_from(("a", "b", "é", 'quo"te'))
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


@given(st.lists(PAYLOADS, max_size=25))
def test_the_size_that_is_counted_is_that_of_the_json_nearly(payloads: list[tuple[str, dict[str, Any]]]) -> None:
    state = Fold(RunState())
    for event_type, data in payloads:
        state.apply(event_type, data)
    frozen = state.state()
    assert state.entries == len(frozen.grafts) + len(frozen.prunes) + len(frozen.flags)
    assert abs(state.size_bytes - encoded_bytes(frozen)) <= 4 + 4 * state.entries


def test_the_size_is_exact_for_plain_keys_but_for_the_last_commas() -> None:
    state = Fold(RunState())
    empty = encoded_bytes(RunState())
    assert state.size_bytes == empty
    steps = [
        ("GRAFT", {"position": "abc"}, len('"abc":{"position":"abc"},')),
        ("GRAFT", {"position": "d", "n": 1}, len('"d":{"position":"d","n":1},')),
        ("GRAFT", {"position": "abc", "n": 10}, len(',"n":10')),
        ("GRAFT", {"position": "abc"}, -len(',"n":10')),
        ("PRUNE", {"step": "xyz"}, len('"xyz",')),
        ("PRUNE", {"step": "xyz"}, 0),
        ("FLAG", {"n": 1}, len('{"n":1},')),
        ("CHAT", {"n": 1}, 0),
    ]
    for event_type, data, grows_by in steps:
        before = state.size_bytes
        state.apply(event_type, data)
        assert state.size_bytes - before == grows_by, (event_type, data)
    assert state.size_bytes == encoded_bytes(state.state()) + 3, "a comma behind the last of each kind"
    assert Fold(state.state()).size_bytes == encoded_bytes(state.state())


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
    just = state.size_bytes + encoded_bytes(data)
    assert room("GRAFT", data, bytes_max=just)
    assert not room("GRAFT", data, bytes_max=just - 1)


def test_a_fold_takes_every_event_in_order() -> None:
    with pytest.raises(AssertionError, match="in order"):
        fold(START, numbered([("CHAT", {})], after=1))
