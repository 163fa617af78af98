"""Request: the argument of every operation; and its query parameters, validated against the struct that declares them."""

import types
import typing
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
import trio

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.server.connection import Identity
from reference.server.http.answers import RequestRefused
from reference.server.wire.exchange import Receive
from reference.server.wire.request_head import RequestHead

T = TypeVar("T", bound=msgspec.Struct)

PARAMETERS_MAX = 100
"""In the query of one request: eight thousand, which fit into its head, take 13 ms."""


@dataclass(frozen=True, slots=True)
class Request:
    """One admitted request."""

    head: RequestHead
    receive: Receive
    """ASGI's receive: the body, and then the notice that the client has disconnected."""
    path_parameters: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    """The user of the token; None for operations that need none."""

    @property
    def user_id(self) -> str:
        """Only for an operation that needs a token."""
        return self.caller.user_id

    @property
    def caller(self) -> Identity:
        """Only for an operation that needs a token."""
        assert self.identity is not None, "this operation is answered to everybody"
        return self.identity

    @property
    def run_id(self) -> str:
        """Only for an operation with {runId} in its path; in canonical form."""
        return self.path_parameters["runId"]

    async def body(self) -> bytes:
        """The whole body, whose size the front door limits. Raises RequestRefused if the client disconnects before its end."""
        body = await whole_body(self.receive)
        if body is None:
            raise RequestRefused(CloseCode.TOO_SLOW, "the client went away before its request was complete")
        return body


def head_of(scope: Any) -> RequestHead:
    """The head of the request of an ASGI scope."""
    query = scope["query_string"]
    return RequestHead(
        method=scope["method"],
        target=scope["raw_path"] + (b"?" + query if query else b""),
        http_version=scope["http_version"],
        headers=tuple(scope["headers"]),
        client=scope["client"],
        server=scope["server"],
    )


async def whole_body(receive: Receive) -> bytes | None:
    """The body of a request; None if the client disconnects before its end."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def wait_until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    """Cancel `scope` when the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def parameters(query: bytes, kind: type[T]) -> T:
    """The query parameters of a URL. Raises RemoteError BAD_FRAME.

    A parameter may be given several times if its field is a tuple; a parameter that is an object is JSON; an unknown parameter is
    ignored, like an unknown field of a frame.
    """
    hints = _hints(kind)
    try:
        all_given = parse_qs(query.decode("latin-1"), keep_blank_values=True, errors="replace", max_num_fields=PARAMETERS_MAX)
    except ValueError:
        raise RemoteError(CloseCode.BAD_FRAME, f"a request has at most {PARAMETERS_MAX} parameters") from None
    values: dict[str, Any] = {}
    for one in msgspec.structs.fields(kind):
        given = all_given.get(one.encode_name, [])
        if given:
            values[one.name] = _value(one.encode_name, given, hints[one.name])
        elif one.required:
            raise RemoteError(CloseCode.BAD_FRAME, f"parameter {one.encode_name}: is missing")
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
