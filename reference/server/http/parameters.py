"""Query parameters, validated against the struct that declares them."""

import types
import typing
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from reference.protocol.errors import CloseCode, RemoteError

T = TypeVar("T", bound=msgspec.Struct)


def parameters(query: bytes, kind: type[T]) -> T:
    """The query parameters of a URL. Raises RemoteError BAD_FRAME.

    A parameter may be given several times if its field is a tuple; a parameter that is an object is JSON; an unknown parameter is
    ignored, like an unknown field of a frame.
    """
    hints = _hints(kind)
    all_given = parse_qs(query.decode("latin-1"), keep_blank_values=True, errors="replace")
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        given = all_given.get(field.encode_name, [])
        if given:
            values[field.name] = _value(field.encode_name, given, hints[field.name])
        elif field.required:
            raise RemoteError(CloseCode.BAD_FRAME, f"parameter {field.encode_name}: is missing")
    try:
        return kind(**values)
    except ValueError as error:  # a rule that involves several fields
        raise RemoteError(CloseCode.BAD_FRAME, str(error)) from None


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _value(name: str, given: list[str], hint: Any) -> Any:
    wanted = _without_none(hint)  # None means left out; in a URL "null" is ordinary text
    if not _is_tuple(wanted) and len(given) > 1:
        raise RemoteError(CloseCode.BAD_FRAME, f"parameter {name}: is given {len(given)} times")
    try:
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            return msgspec.json.decode(given[0], type=wanted)
        return msgspec.convert(given if _is_tuple(wanted) else given[0], wanted, strict=False)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteError(CloseCode.BAD_FRAME, f"parameter {name}: {error}") from None


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        kept = [option for option in typing.get_args(hint) if option is not type(None)]
        return kept[0] if len(kept) == 1 else typing.Union[tuple(kept)]  # noqa: UP007  # made at run time
    return hint


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint) is tuple
