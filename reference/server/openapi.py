"""The description of the HTTP side, as OpenAPI 3.1, made from the very types that requests are checked against.

One table says what there is; the parameters, bodies and answers in it are the protocol's own structs, so their limits in the
document are the limits that hold. A test compares the table with the routes.
"""

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec

from reference.protocol import frames
from reference.protocol.errors import HttpProblem
from reference.server.operator_api import Status
from reference.server.replay import ReplayAnswer, ReplayRequest
from reference.server.run_api import CreatedRun

_REASONS = {
    400: "something in the request is not as it must be",
    401: "no token, or one that is not accepted",
    403: "this token, or this web page, does not allow it",
    404: "no such run",
    408: "the client was too slow",
    409: "a newer connection owns this session",
    413: "the body is too big",
    503: "not now; Retry-After says when, if it is known",
}
_OF_RUNS = (400, 401, 403, 404, 503)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address."""

    method: str
    path: str
    text: str
    answers: dict[int, type | str]
    """By status: a type for JSON, or the media type of text."""
    parameters: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    errors: tuple[int, ...] = field(default=())
    needs_token: bool = True


OPERATIONS = (
    Operation("put", "/api/runs/{runId}", "Make a run", {200: CreatedRun, 201: CreatedRun}, errors=_OF_RUNS),
    Operation(
        "get",
        "/api/runs/{runId}/collaboration/poll",
        "What is new after a position; may be held until there is something",
        {200: frames.PollAnswer},
        parameters=frames.PollRequest,
        errors=(*_OF_RUNS, 408, 409),
    ),
    Operation(
        "post",
        "/api/runs/{runId}/collaboration/publish",
        "Publish events, once each however often they are sent",
        {200: frames.PublishAnswer},
        body=frames.PublishRequest,
        errors=(*_OF_RUNS, 408, 409, 413),
    ),
    Operation(
        "get",
        "/api/runs/{runId}/collaboration/replay",
        "What is kept, ascending; without fromSequence all critical events",
        {200: ReplayAnswer},
        parameters=ReplayRequest,
        errors=_OF_RUNS,
    ),
    Operation("get", "/healthz", "Whether the process lives", {200: Status}, needs_token=False),
    Operation("get", "/readyz", "Whether the store can be written", {200: Status}, errors=(503,), needs_token=False),
    Operation("get", "/metrics", "Metrics, for Prometheus or as OpenMetrics", {200: "text/plain"}, needs_token=False),
    Operation("get", "/openapi.json", "This document", {200: "application/json"}, needs_token=False),
)

_REF = "#/components/schemas/{name}"


@cache
def document() -> bytes:
    """The document, as JSON."""
    types = {type_ for operation in OPERATIONS for type_ in _types(operation)}
    ordered = sorted(types, key=lambda type_: type_.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _described(operation)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "steadywire", "version": version("steadywire")},
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            },
        }
    )


def _described(operation: Operation) -> dict[str, Any]:
    answers = {str(status): {"description": "done", "content": _content(answer)} for status, answer in operation.answers.items()}
    problem = _content(HttpProblem)
    answers |= {str(status): {"description": _REASONS[status], "content": problem} for status in sorted(operation.errors)}
    described: dict[str, Any] = {"summary": operation.text, "parameters": _parameters(operation), "responses": answers}
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    if operation.needs_token:
        described["security"] = [{"token": []}]
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    if "{runId}" in operation.path:
        run_id = {"type": "string", "format": "uuid"}
        parameters.append({"name": "runId", "in": "path", "required": True, "schema": run_id})
    if operation.parameters is not None:
        _, components = msgspec.json.schema_components([operation.parameters], ref_template=_REF)
        properties = components[operation.parameters.__name__]["properties"]
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in properties.items()
            if name != "type"  # what makes it a frame; an address says that already
        ]
    return parameters


def _content(answer: type | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {answer: {}}
    return {"application/json": {"schema": {"$ref": _REF.format(name=answer.__name__)}}}


def _types(operation: Operation) -> list[type]:
    answers = [answer for answer in operation.answers.values() if isinstance(answer, type)]
    return [*answers, *([operation.body] if operation.body else []), HttpProblem]
