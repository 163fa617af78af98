"""Converts tables written by a person (TOML, JSON) to values: settings, scenarios, studies, cases.

    value_of(table, Scenario)        every mistake is one ConfigError: where, what, and the valid names
    guess("latncy_s", known)         "did you mean 'latency_s'?", or the list of valid names

msgspec finds that something is wrong. For an unknown key or value its message does not say what is valid, so the table is then
searched for the first name that its type does not have.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, overload

import msgspec
from msgspec import inspect

from reference.protocol.errors import ConfigError

T = TypeVar("T")
_PLACE = re.compile(r"^(?P<what>.*?) - at `(?:key in )?\$\.?(?P<place>.*)`$", re.DOTALL)


@overload
def value_of(table: object, kind: type[T], place: str = "", *, strict: bool = True) -> T: ...
@overload
def value_of(table: object, kind: Any, place: str = "", *, strict: bool = True) -> Any: ...
def value_of(table: object, kind: Any, place: str = "", *, strict: bool = True) -> Any:
    """The value of type `kind` that a table describes. `place`: where the table stands in its file, for the message.

    Raises ConfigError: "PLACE: what is wrong".
    """
    try:
        return msgspec.convert(table, kind, strict=strict)
    except msgspec.ValidationError as error:
        for found in _wrong_names(table, _type_of(kind), place):
            raise ConfigError(found) from None
        raise ConfigError(_placed(str(error), place)) from None


def guess(name: object, known: Iterable[str]) -> str:
    """What an unknown name may stand for: the nearest name, else all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


@cache
def _type_of(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _placed(message: str, place: str) -> str:
    """msgspec puts the place last, after a `$`; here it comes first, where a reader looks for it."""
    found = _PLACE.match(message)
    what, inner = (found["what"], found["place"]) if found else (message, "")
    where = f"{place}{'.' if place and inner and not inner.startswith('[') else ''}{inner}"
    return f"{where}: {what}" if where else what


def _wrong_names(value: object, kind: inspect.Type, place: str) -> Iterator[str]:
    """A sentence for each name in `value` that its type does not have."""
    head = f"{place}: " if place else ""
    match kind:
        case inspect.StructType() if isinstance(value, Mapping):
            fields = {field.encode_name: field.type for field in kind.fields}
            known = [*([kind.tag_field] if kind.tag_field else []), *fields]
            for key, item in value.items():
                if key in fields:
                    yield from _wrong_names(item, fields[key], f"{place}.{key}" if place else str(key))
                elif key not in known and kind.forbid_unknown_fields:
                    yield f"{head}there is no key {key!r}; {guess(key, known)}"
        case inspect.UnionType(types=types):
            yield from _wrong_in_union(value, types, place)
        case inspect.LiteralType(values=values) if isinstance(value, str) and value not in values:
            yield f"{head}{value!r} is not a valid value; {guess(value, map(str, values))}"
        case inspect.VarTupleType(item_type=item_type) | inspect.ListType(item_type=item_type) if isinstance(value, list | tuple):
            for number, item in enumerate(value):
                yield from _wrong_names(item, item_type, f"{place}[{number}]")
        case inspect.DictType(value_type=value_type) if isinstance(value, Mapping):
            for key, item in value.items():
                yield from _wrong_names(item, value_type, f"{place}.{key}" if place else str(key))
        case _:
            pass


def _wrong_in_union(value: object, types: tuple[inspect.Type, ...], place: str) -> Iterator[str]:
    head = f"{place}: " if place else ""
    if not isinstance(value, Mapping):
        if not any(isinstance(option, inspect.StrType) for option in types):
            for option in types:
                yield from _wrong_names(value, option, place)
        return
    structs = [option for option in types if isinstance(option, inspect.StructType)]
    tagged = {str(option.tag): option for option in structs if option.tag is not None}
    if len(structs) == 1 or not tagged:
        for option in structs[:1]:
            yield from _wrong_names(value, option, place)
        return
    name = structs[0].tag_field or ""
    if name not in value:
        yield f"{head}needs `{name}`, one of {', '.join(tagged)}"
    elif value[name] not in tagged:
        yield f"{head}there is no {name} {value[name]!r}; {guess(value[name], tagged)}"
    else:
        yield from _wrong_names(value, tagged[value[name]], place)
