"""Strategies for frames, made from their types: whatever `frames` declares is drawn, bounds and patterns included.

The few rules that stand in `__post_init__` and not in the types are kept by `_REPAIRS`.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from reference.protocol import frames
from reference.protocol.events import Data, Event

SERVER_FRAMES: tuple[type[frames.Frame], ...] = frames.ServerFrame.__args__
CLIENT_FRAMES: tuple[type[frames.Frame], ...] = frames.ClientFrame.__args__
ANSWER_FRAMES: tuple[type[frames.Frame], ...] = frames.AnswerFrame.__args__

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
"""Text that JSON and every store carry: no NUL, no half of a surrogate pair."""
_leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
data_objects: st.SearchStrategy[Data] = st.dictionaries(texts, json_values, max_size=4)
"""Payloads: JSON objects that `events.check_data` lets pass."""


def frames_of(frame_type: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Frames of one type, valid in themselves."""
    info = inspect.type_info(frame_type)
    assert isinstance(info, inspect.StructType)
    return _of(info)


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType(cls=cls, fields=fields):
            return _struct(cls, {field.name: _of(field.type) for field in fields})
        case inspect.Metadata(type=inner):
            return _of(inner)
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**53) if low is None else low, 2**53 if high is None else high)
        case inspect.FloatType(ge=low):
            return st.floats(min_value=low, allow_nan=False, allow_infinity=False)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.StrType(pattern=str()):
            return st.text("abcXYZ019._:@+-", min_size=1, max_size=20)
        case inspect.StrType(min_length=low):
            return texts.filter(lambda text: len(text) >= (low or 0))
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case inspect.UnionType(types=types):
            return st.one_of([_of(option) for option in types])
        case inspect.VarTupleType(item_type=item):
            return st.lists(_of(item), max_size=4).map(tuple)
        case inspect.DictType(key_type=key, value_type=inspect.AnyType()):
            return st.dictionaries(_of(key), json_values, max_size=4)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(_of(key), _of(value), max_size=3)
        case _:
            raise AssertionError(f"no strategy for {info}")


def _struct(cls: type[msgspec.Struct], fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    repair = _REPAIRS.get(cls, lambda drawn: drawn)
    return st.fixed_dictionaries(fields).map(lambda drawn: cls(**repair(drawn)))


def _position_whole(drawn: dict[str, Any]) -> dict[str, Any]:
    return drawn if drawn["after_sequence"] is not None and drawn["epoch"] else {**drawn, "epoch": None, "after_sequence": None}


def _after_below(drawn: dict[str, Any]) -> dict[str, Any]:
    after = drawn["after"]
    return drawn if after is None else {**drawn, "after": after % drawn["client_sequence"]}


def _contiguous(drawn: dict[str, Any]) -> dict[str, Any]:
    events: tuple[Event, ...] = drawn["events"]
    first = abs((events[0].sequence_number or 0) if events else 0) % 2**40 + 1
    numbered = (msgspec.structs.replace(event, sequence_number=number) for number, event in enumerate(events, first))
    return {**drawn, "events": tuple(numbered)}


_REPAIRS: dict[type[msgspec.Struct], Callable[[dict[str, Any]], dict[str, Any]]] = {
    frames.Hello: _position_whole,
    frames.Publish: _after_below,
    frames.Message: _after_below,
    frames.Events: _contiguous,
    frames.PollAnswer: _contiguous,
}

client_frames = st.one_of([frames_of(frame_type) for frame_type in CLIENT_FRAMES])
server_frames = st.one_of([frames_of(frame_type) for frame_type in SERVER_FRAMES])
