"""Strategies for frames of every type, generated from the types and their bounds in `reference.protocol.frames`.

Rules between fields, which a type cannot express, are applied by `_SETTLED`; a missing rule is detected, because building a frame
checks it.
"""

import re
import string
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from reference.protocol import frames
from reference.protocol.events import Data, Event

INT64_MAX = 2**63 - 1

CLIENT_FRAMES: tuple[type[frames.Frame], ...] = typing.get_args(frames.ClientFrame)
SERVER_FRAMES: tuple[type[frames.Frame], ...] = typing.get_args(frames.ServerFrame)
REQUEST_FRAMES: tuple[type[frames.Frame], ...] = typing.get_args(frames.RequestFrame)
ANSWER_FRAMES: tuple[type[frames.Frame], ...] = typing.get_args(frames.AnswerFrame)


def _json_values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    numbers = st.integers(-INT64_MAX - 1, INT64_MAX) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    )


_any_texts = st.text(max_size=12)
_kept_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
json_values = _json_values(_any_texts)
"""Any JSON value."""
json_objects = st.dictionaries(_any_texts, json_values, max_size=3)
_payloads: st.SearchStrategy[Data] = st.dictionaries(_kept_texts, _json_values(_kept_texts), max_size=4)


def payloads() -> st.SearchStrategy[Data]:
    """JSON objects that every store and every reader preserves (protocol 1.6): no NUL, no unpaired surrogate."""
    return _payloads


def _values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type as msgspec describes it, its bounds among them."""
    match kind:
        case inspect.AnyType():
            return json_values
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=low, le=high):
            return st.integers(-INT64_MAX - 1 if low is None else int(low), INT64_MAX if high is None else int(high))
        case inspect.FloatType(ge=low, le=high):
            return st.floats(low, high, allow_nan=False, allow_infinity=False)
        case inspect.StrType(min_length=low, max_length=high, pattern=pattern):
            letters = st.characters(codec="utf-8")
            if pattern is not None:
                letters = st.sampled_from([letter for letter in string.printable if re.fullmatch(pattern, letter)])
            short = st.text(letters, min_size=low or 0, max_size=min(high or 12, 12))
            return short if high is None else short | st.integers(high, high).flatmap(lambda n: letters.map(lambda c: c * n))
        case inspect.LiteralType(values=values):
            return st.sampled_from(sorted(values, key=str))
        case inspect.UnionType(types=types):
            return st.one_of(*map(_values_of, types))
        case inspect.VarTupleType(item_type=item, max_length=high):
            return st.lists(_values_of(item), max_size=min(high or 3, 3)).map(tuple)
        case inspect.DictType():
            return st.dictionaries(_values_of(kind.key_type), _values_of(kind.value_type), max_size=3)
        case inspect.StructType(cls=struct):
            return frames_of(struct)
        case _:
            raise AssertionError(f"no strategy for {kind}: a new kind of field needs one")


def client_frames() -> st.SearchStrategy[frames.Frame]:
    """Frames that a client may send over WebSocket."""
    return st.one_of([frames_of(kind) for kind in CLIENT_FRAMES])


def server_frames() -> st.SearchStrategy[frames.Frame]:
    """Frames that a server may send over WebSocket."""
    return st.one_of([frames_of(kind) for kind in SERVER_FRAMES])


def frames_of(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Valid frames of one type, or valid structs of any other type that frames are made of."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    fields = {field.name: _values_of(field.type) for field in info.fields}
    return st.fixed_dictionaries(fields).map(lambda values: struct(**_settled(struct, values)))


def _settled(struct: type[msgspec.Struct], values: dict[str, Any]) -> dict[str, Any]:
    settle = _SETTLED.get(struct)
    return values if settle is None else values | settle(values)


def _position(values: dict[str, Any]) -> dict[str, Any]:
    """Both halves of a position or none."""
    if values["epoch"] is None or values["after_sequence"] is None:
        return {"epoch": None, "after_sequence": None}
    return {}


def _after(values: dict[str, Any]) -> dict[str, Any]:
    """Below the number that it stands with."""
    after = values["after"]
    return {"after": None if after is None else after % values["client_sequence"]}


def _contiguous(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers that follow each other, from wherever the first one is."""
    events: tuple[Event, ...] = values["events"]
    first = 1 + abs(events[0].sequence_number or 0) % 2**53 if events else 1
    return {"events": tuple(msgspec.structs.replace(event, sequence_number=first + i) for i, event in enumerate(events))}


_SETTLED = {
    frames.Hello: _position,
    frames.Publish: _after,
    frames.Message: _after,
    frames.Events: _contiguous,
    frames.PollAnswer: _contiguous,
}


def nearly(wire: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that are nearly `wire`: cut, doubled, overwritten, or with something foreign inside."""
    foreign = st.binary(max_size=4) | st.sampled_from(_FOREIGN)
    places = st.integers(0, len(wire))
    edits = st.tuples(st.sampled_from(("cut", "insert", "overwrite", "double")), places, places, foreign)
    return st.lists(edits, min_size=1, max_size=3).map(lambda chosen: _edited(wire, chosen))


_FOREIGN = [
    b"null",
    b"-1",
    b"0.5",
    b"1e999",
    b"9" * 30,
    b"NaN",
    b"[]",
    b"{}",
    b'"',
    b"\\ud800",
    b"\x00",
    b"\xff",
    b",",
    b"}",
    b"\xed\xa0\x80",
]


def _edited(wire: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    for edit, a, b, foreign in edits:
        low, high = min(a, b), max(a, b)
        match edit:
            case "cut":
                wire = wire[:low] + wire[high:]
            case "insert":
                wire = wire[:low] + foreign + wire[low:]
            case "overwrite":
                wire = wire[:low] + foreign + wire[low + len(foreign) :]
            case "double":
                wire = wire[:high] + wire[low:]
            case _:
                raise AssertionError(edit)
    return wire
