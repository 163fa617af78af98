"""The values that an event may carry: those that pass JSON and every store unchanged, and nothing else."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from reference.protocol.errors import ConfigError, InvalidEvent
from reference.protocol.events import (
    CURSOR_BYTES_MAX,
    DATA_DEPTH_MAX,
    DEFAULT_REGISTRY,
    KEY_CHARACTERS_MAX,
    EventClass,
    EventRegistry,
    check_cursor,
    check_data,
)
from simulation.testing.frames import json_objects

NUL = "text contains the character NUL, which no database keeps; remove it"
SURROGATE = "text contains half of a surrogate pair, which is not Unicode; remove it"


def nested(levels: int, *, in_lists: bool, value: Any = 1) -> Any:
    """Data whose innermost value lies that many levels down."""
    for _ in range(levels):
        value = [value] if in_lists else {"a": value}
    return value


@settings(max_examples=25)
@given(json_objects)
def test_what_is_allowed_survives_json_unchanged(data: dict[str, Any]) -> None:
    try:
        check_data(data)
    except InvalidEvent:
        assert "\\u0000" in msgspec.json.encode(data).decode(), "of these objects only those with NUL are refused"
    assert msgspec.json.decode(msgspec.json.encode(data)) == data


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "nan is not a JSON number; leave it out or send it as a string"),
        (float("inf"), "inf is not a JSON number; leave it out or send it as a string"),
        (float("-inf"), "-inf is not a JSON number; leave it out or send it as a string"),
        (2**63, "the integer 9223372036854775808 does not fit into 64 bits; send it as a string"),
        (-(2**63) - 1, "the integer -9223372036854775809 does not fit into 64 bits; send it as a string"),
        ("a\0b", NUL),
        ("\ud800", SURROGATE),
        (b"bytes", "a bytes is not JSON: use strings, numbers, booleans, null, lists and objects"),
        ({1, 2}, "a set is not JSON: use strings, numbers, booleans, null, lists and objects"),
        (..., "a ellipsis is not JSON: use strings, numbers, booleans, null, lists and objects"),
        ({1: "x"}, "the key 1 is not a string, which JSON requires"),
        ({"a\0": 1}, NUL),
        ({"\udfff": 1}, SURROGATE),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_does_not_survive_is_refused_wherever_it_stands(value: object, says: str) -> None:
    for data in ({"x": value}, {"x": [1, {"y": value}]}, value):
        with pytest.raises(InvalidEvent, match=f"^{says}$"):
            check_data(data)


@pytest.mark.parametrize(
    "value", [2**63 - 1, -(2**63), True, None, 1.5, "", (), {}, "😀", 5e-324], ids=lambda value: type(value).__name__
)
def test_what_is_just_within_the_limits_is_allowed(value: object) -> None:
    check_data({"x": value})


@pytest.mark.parametrize("value", [1, "[", [], {}])
@pytest.mark.parametrize("in_lists", [True, False])
def test_the_depth_is_limited_whatever_the_innermost_value_is(in_lists: bool, value: Any) -> None:
    check_data(nested(DATA_DEPTH_MAX, in_lists=in_lists, value=value))
    with pytest.raises(InvalidEvent, match=f"deeper than {DATA_DEPTH_MAX}"):
        check_data(nested(DATA_DEPTH_MAX + 1, in_lists=in_lists, value=value))
    with pytest.raises(InvalidEvent, match="deeper"):
        check_data(nested(100_000, in_lists=in_lists))


def test_data_that_contains_itself_is_refused() -> None:
    knot: dict[str, Any] = {}
    knot["again"] = knot
    with pytest.raises(InvalidEvent, match="deeper"):
        check_data(knot)


def test_a_cursor_is_limited_to_the_byte() -> None:
    room = CURSOR_BYTES_MAX - len(b'{"x":""}')
    check_cursor({"x": "y" * room})
    with pytest.raises(InvalidEvent, match=f"a cursor of {CURSOR_BYTES_MAX + 1} bytes"):
        check_cursor({"x": "y" * (room + 1)})


@pytest.mark.parametrize(("event_type", "key"), [("GRAFT", "position"), ("PRUNE", "step")])
def test_a_critical_event_says_what_it_changes(event_type: str, key: str) -> None:
    for fine in ("k", "k" * KEY_CHARACTERS_MAX):
        assert DEFAULT_REGISTRY.check_publish(event_type, {key: fine}) is EventClass.CRITICAL
    with pytest.raises(InvalidEvent, match="not a JSON number"):
        DEFAULT_REGISTRY.check_publish(event_type, {key: "k", "n": float("nan")})
    for wrong in ({}, {key: ""}, {key: 5}, {key: None}, {key: "k" * (KEY_CHARACTERS_MAX + 1)}):
        with pytest.raises(InvalidEvent, match=rf"^{event_type} needs data\.{key}, a string of 1 to 256 characters$"):
            DEFAULT_REGISTRY.check_publish(event_type, wrong)


def test_only_sequenced_types_are_published() -> None:
    assert DEFAULT_REGISTRY.check_publish("FLAG", {}) is EventClass.CRITICAL
    assert DEFAULT_REGISTRY.check_publish("CHAT", {}) is EventClass.SEQUENCED
    with pytest.raises(InvalidEvent, match=r"^unknown event type 'DANCE'; this server knows CHAT, FLAG, GRAFT, PRUNE$"):
        DEFAULT_REGISTRY.check_publish("DANCE", {})
    for event_type in ("USER_JOIN", "USER_LEAVE", "CURSOR_MOVE"):
        with pytest.raises(
            InvalidEvent, match=rf"^{event_type} is not published: the server makes presence, cursors have their own frame$"
        ):
            DEFAULT_REGISTRY.check_publish(event_type, {})


@pytest.mark.parametrize("name", ["", "X" * 65, "WITH SPACE", "É", "A-B", "a\n", "GRAFT", "CURSOR_MOVE"])
def test_a_type_that_cannot_be_registered_is_named(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        EventRegistry((name,))
    assert str(refused.value) in (
        f"event type {name!r}: use 1 to 64 ASCII letters, digits and underscores",
        f"event type {name} is built in and cannot be registered again",
    )


def test_an_application_registers_its_own_types() -> None:
    registry = EventRegistry(("NOTE", "X" * 64, "_", "note_2"))
    assert registry.check_publish("NOTE", {}) is registry.class_of("note_2") is EventClass.SEQUENCED
    assert registry.class_of("CHAT") is None
