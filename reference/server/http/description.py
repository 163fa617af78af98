"""The one description of the HTTP API (5.2): a decorator on the method that answers an operation.

    @get("/api/runs/{runId}/collaboration/poll", "runs", "Events after a position", refuses=(409,))
    async def poll(self, request: Request, query: frames.PollRequest) -> frames.PollAnswer:

Routing, admission and validation (`application`), the OpenAPI document (`openapi`) and the page at /docs (`pages`) follow
from it. A parameter `query` is read from the URL, a parameter `body` from the request's body; both are msgspec types, whose
limits also appear in the document. The return type is the answer with status 200; `answers` names others.
"""

import re
import typing
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

Tag = Literal["runs", "admin", "operation"]
Method = Literal["get", "put", "post", "delete"]

TAGS: dict[Tag, str] = {
    "runs": "Runs over HTTP: for clients without a WebSocket, and for tools. Needs a token that grants access to the run.",
    "admin": "Connections, session metrics and an operator's actions, over all processes on one database. Needs the role admin.",
    "operation": "Probes, metrics and documentation. Needs no token.",
}
_OF_ALL = (400, 408, 413, 431, 500, 503)
_WITH_TOKEN = (*_OF_ALL, 401, 403)
_BY_TAG: dict[Tag, tuple[int, ...]] = {"runs": (*_WITH_TOKEN, 404, 429), "admin": _WITH_TOKEN, "operation": _OF_ALL}
_ATTRIBUTE = "http_operation"

F = TypeVar("F", bound=Callable[..., Awaitable[object]])


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address."""

    name: str
    method: Method
    path: str
    """Parameters are in braces, as in OpenAPI; one that ends in `...` takes the rest of the path."""
    tag: Tag
    """Who is admitted: `runs` needs a token that allows the run {runId}, `admin` a token of an admin, `operation` nothing."""
    summary: str
    answers: dict[int, type[msgspec.Struct] | str]
    """By status: a type for JSON, or the media type of text."""
    errors: tuple[int, ...]
    text: str
    query: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None
    is_listed: bool
    """Whether it is in the OpenAPI document."""

    @property
    def needs_token(self) -> bool:
        return self.tag != "operation"

    @property
    def needs_owner(self) -> bool:
        """Whether it is answered by the process that serves its run; creating a run needs only the store."""
        return self.needs_token and "runId" in self.path_parameters and self.method != "put"

    @property
    def path_parameters(self) -> list[str]:
        return re.findall(r"{(\w+)(?:\.\.\.)?}", self.path)

    @property
    def pattern(self) -> "re.Pattern[str]":
        """The pattern of this operation's percent-decoded paths; parameters are named groups."""
        pieces = re.split(r"({\w+(?:\.\.\.)?})", self.path)
        return re.compile("".join(map(_path_piece, pieces)), re.DOTALL)


def operation(
    method: Method,
    path: str,
    tag: Tag,
    summary: str,
    text: str = "",
    *,
    name: str | None = None,
    refuses: tuple[int, ...] = (),
    answers: dict[int, type[msgspec.Struct] | str] | None = None,
    is_listed: bool = True,
) -> Callable[[F], F]:
    """Decorator: the method answers this operation. `refuses`: error statuses in addition to those that every operation of the
    tag has; `name`: its operationId, if that is not the method's name in camel case."""

    def describe(function: F) -> F:
        hints = typing.get_type_hints(function)
        described = Operation(
            name or _camel(function.__name__),
            method,
            path,
            tag,
            summary,
            {200: hints["return"]} if answers is None else answers,
            tuple(sorted({*_BY_TAG[tag], *refuses})),
            text,
            hints.get("query"),
            hints.get("body"),
            is_listed,
        )
        setattr(function, _ATTRIBUTE, described)
        return function

    return describe


def get(path: str, tag: Tag, summary: str, text: str = "", **more: Any) -> Callable[[F], F]:
    """As `operation`. Also answers HEAD."""
    return operation("get", path, tag, summary, text, **more)


def put(path: str, tag: Tag, summary: str, text: str = "", **more: Any) -> Callable[[F], F]:
    """As `operation`."""
    return operation("put", path, tag, summary, text, **more)


def post(path: str, tag: Tag, summary: str, text: str = "", **more: Any) -> Callable[[F], F]:
    """As `operation`."""
    return operation("post", path, tag, summary, text, **more)


def delete(path: str, tag: Tag, summary: str, text: str = "", **more: Any) -> Callable[[F], F]:
    """As `operation`."""
    return operation("delete", path, tag, summary, text, **more)


def operations_of(kind: type) -> dict[str, Operation]:
    """The operations of a class in the order of definition, by the method's name.

    A subclass that overrides such a method keeps its description.
    """
    functions = [function for base in reversed(kind.__mro__) for function in vars(base).items()]
    return {name: getattr(function, _ATTRIBUTE) for name, function in functions if hasattr(function, _ATTRIBUTE)}


def operations_in(kinds: Iterable[type]) -> tuple[Operation, ...]:
    """The operations of several classes."""
    return tuple(found for kind in kinds for found in operations_of(kind).values())


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _path_piece(piece: str) -> str:
    if not piece.startswith("{"):
        return re.escape(piece)
    name = piece.strip("{}")
    return f"(?P<{name.removesuffix('...')}>.+)" if name.endswith("...") else f"(?P<{name}>[^/]+)"
