"""Query parameters, checked against the struct that names them."""

import re
import typing
from typing import Any, TypeVar

import msgspec

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.problems import AnyRequest

T = TypeVar("T", bound=msgspec.Struct)

_AT = re.compile(r"^(?P<what>.*) - at `\$\.(?P<name>\w+).*`$")


def parameters(request: AnyRequest, kind: type[T]) -> T:
    """What stands in the address after the question mark. Raises RemoteError BAD_FRAME.

    A parameter may be given several times if its field is a tuple; one that is not known is ignored, as a field of a frame is.
    """
    many = {name for name, hint in _fields(kind).items() if _is_tuple(hint)}
    values: dict[str, Any] = {}
    for name in request.query_params:
        given = request.query_params.getall(name)
        if name in many:
            values[name] = given
        elif len(given) > 1:
            raise RemoteError(CloseCode.BAD_FRAME, f"parameter {name[:64]}: is given {len(given)} times")
        else:
            values[name] = given[0]
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        at = _AT.match(message)
        named = message if at is None else f"parameter {at['name']}: {at['what']}"
        raise RemoteError(CloseCode.BAD_FRAME, named) from None


def _fields(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """By name on the wire."""
    hints = typing.get_type_hints(kind)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(kind)}


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple
