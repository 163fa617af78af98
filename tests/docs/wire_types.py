"""Types as docs/protocol.md writes them: the words for fields of frames and for bounds of settings, from the code.

`fields_of` gives the first three columns of a frame's table: name on the wire, type, default. The document defines the named
types (id, count, ...) in one table of its own, which is checked against `NAMED`.
"""

import json
from typing import Any

import msgspec

from reference.protocol import frames

NAMED: dict[str, Any] = {
    "id": frames.Id,
    "token": frames.Token,
    "type name": frames.TypeName,
    "count": frames.Count,
    "ordinal": frames.Ordinal,
    "ms": frames.Milliseconds,
    "tally": frames.Tally,
    "start": frames.Start,
    "outcome": frames.Outcome,
    "reset reason": frames.ResetReason,
    "fallback reason": frames.FallbackReason,
}
"""Types that the document names instead of spelling out."""


def fields_of(struct: type[msgspec.Struct]) -> list[tuple[str, str, str]]:
    """(name on the wire, type, default) of each field, as the tables have them."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    return [(field.encode_name, describe(field.type) + _or_null(field), _default(field)) for field in info.fields]


def describe(kind: msgspec.inspect.Type) -> str:
    """A type in the document's words."""
    for name, named in NAMED.items():
        if kind == msgspec.inspect.type_info(named):
            return name
    return spell_out(kind)


def spell_out(kind: msgspec.inspect.Type) -> str:
    """A type with its bounds, without its name."""
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(describe(one) for one in types if not isinstance(one, msgspec.inspect.NoneType))
        case msgspec.inspect.StructType(cls=cls):
            tag = getattr(kind, "tag", None)
            return tag if isinstance(tag, str) else cls.__name__
        case msgspec.inspect.LiteralType(values=values):
            return ", ".join(json.dumps(value) for value in values)
        case msgspec.inspect.VarTupleType(item_type=item, max_length=longest):
            return f"list of {describe(item)}" + ("" if longest is None else f", at most {longest}")
        case msgspec.inspect.DictType(value_type=msgspec.inspect.AnyType()):
            return "object"
        case msgspec.inspect.DictType(value_type=value):
            return f"map of {describe(value)}"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            word = "integer" if isinstance(kind, msgspec.inspect.IntType) else "number"
            return ", ".join([word, *filter(None, [bounds(kind)])])
        case msgspec.inspect.StrType():
            parts = ["string"]
            if kind.max_length is not None:
                parts.append(f"{kind.min_length or 0} to {kind.max_length} characters")
            if kind.pattern is not None:
                parts.append(f"`{kind.pattern}`")
            return ", ".join(parts)
        case msgspec.inspect.BoolType():
            return "boolean"
        case _:
            raise AssertionError(f"the document has no word for {kind}")


def bounds(kind: msgspec.inspect.IntType | msgspec.inspect.FloatType) -> str:
    """The bounds of a number: empty without any."""
    high = "2^53" if kind.le == 2**53 else f"{kind.le}"
    if kind.gt is not None:
        return f"above {kind.gt}" + ("" if kind.le is None else f", at most {high}")
    if kind.le is None:
        return "" if kind.ge is None else f"at least {kind.ge}"
    return f"{kind.ge} to {high}"


def _or_null(field: msgspec.inspect.Field) -> str:
    """A field whose default is none may be left out; any other that takes null says so."""
    takes_null = isinstance(field.type, msgspec.inspect.UnionType) and field.type.includes_none
    return " or null" if takes_null and field.default is not None else ""


def _default(field: msgspec.inspect.Field) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return json.dumps(field.default_factory())
    if field.default is msgspec.NODEFAULT:
        return "required"
    return "none" if field.default is None else json.dumps(field.default)
