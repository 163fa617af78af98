"""The OpenAPI 3.1 document, made from the described operations."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from reference.protocol.errors import HttpProblem
from reference.server.http.description import TAGS, Operation

REASONS = {
    400: "The request is invalid; the message says what is wrong.",
    401: "No token, or a token that is not accepted.",
    403: "Not allowed for this token, or for this web page.",
    404: "There is no such run, or session.",
    408: "The client was too slow.",
    409: "Conflict: a newer connection owns the session, or the id is not unique.",
    413: "The body is too large.",
    429: "Too many requests; Retry-After says when to try again.",
    431: "The request line and headers are too large.",
    500: "An error in the server; its log has the details.",
    503: "Not available now; Retry-After says when to try again.",
}
PARAMETER_TEXTS: dict[str, str] = {
    "runId": "A run: a UUID.",
    "sessionId": "A session, by its id.",
    "afterSequence": "Events after this number. Without it the poll begins at `start`.",
    "epoch": "The history that the number belongs to; without it, the current one.",
    "waitMs": "How long the server may hold the poll while there is nothing to send, in ms.",
    "clientId": "A client: with it, a poll keeps that client's session and its user present.",
    "generation": "Counts the client's connections; of two the higher owns the session.",
    "start": "Where to begin without a position.",
    "fallback": "The last stage of the WebSocket before this client fell back to polling, for metrics.",
    "report": "The client's own measurements of its connections since its last report, for metrics.",
    "fromSequence": "The lowest requested number.",
    "toSequence": "The highest requested number.",
    "limit": "The maximum number of items in one answer.",
    "offset": "How many items of the list to skip; like limit, for each process.",
    "criticalOnly": "Only events that are folded into the state: GRAFT, PRUNE, FLAG.",
    "eventType": "Only events of this type; may be given several times.",
    "userId": "Only of this user.",
    "fromTime": "Not before this time, in ms since 1970.",
    "toTime": "Not after this time, in ms since 1970.",
    "connectedOnly": "Omit sessions that are disconnected.",
    "isFinal": "Whether the client is asked not to reconnect.",
    "retryAfterMs": "How long clients wait before they reconnect, in ms.",
    "spreadMs": "The time after that over which they spread their reconnects, in ms.",
    "forMs": "For how long, in ms.",
    "maxAgeMs": "Forget clients that have been disconnected for longer than this, in ms.",
}
_REF = "#/components/schemas/{name}"
_RETRY_AFTER = {"description": "Seconds to wait before the next try.", "schema": {"type": "integer", "minimum": 0}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    429: {"Retry-After": _RETRY_AFTER},
    503: {"Retry-After": _RETRY_AFTER},
}
_PATH_PARAMETERS = {
    "runId": {"type": "string", "format": "uuid"},
    "sessionId": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[A-Za-z0-9._:@+-]+$"},
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document of `operations`."""
    operations = [operation for operation in operations if operation.is_listed]
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "steadywire",
            "version": version("steadywire"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Collaboration over bad networks. WebSockets are at /ws/runs/{runId}/collaboration, subprotocol "
            "collab.v1.json; docs/protocol.md is their description. Errors have the same codes on both.",
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "responses": {f"Error{status}": _error(status) for status in REASONS},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HS256, RS256 or ES256; claims sub, exp, and perhaps runs and role.",
                }
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    answers: dict[str, Any] = {
        str(status): {"description": "Done.", "content": _content(answer)} for status, answer in operation.answers.items()
    }
    for status in sorted(operation.errors):
        answers[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": answers,
        "security": [{"token": []}] if operation.needs_token else [],
    }
    if operation.text:
        described["description"] = operation.text
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body)}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name], "description": PARAMETER_TEXTS[name]}
        for name in operation.path_parameters
    ]
    if operation.query is not None:
        _, components = msgspec.json.schema_components([operation.query], ref_template=_REF)
        described = components[operation.query.__name__]
        properties, required = described["properties"], described.get("required", ())
        parameters += [
            {
                "name": name,
                "in": "query",
                "required": name in required,
                **_in_address(schema),
                "description": PARAMETER_TEXTS[name],
            }
            for name, schema in properties.items()
            if name != "type"  # what makes it a frame; an address says that already
        ]
    return parameters


def _in_address(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter: one cannot be null in an address, it is left out; an object is written as JSON."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return {"content": {"application/json": {"schema": options[0]}}} if "$ref" in options[0] else {"schema": options[0]}
    return {"schema": {name: value for name, value in schema.items() if not (name == "default" and value is None)}}


def _content(answer: type | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "object" if answer == "application/json" else "string"}}}
    return {"application/json": {"schema": {"$ref": _REF.format(name=answer.__name__)}}}


def _error(status: int) -> dict[str, Any]:
    error: dict[str, Any] = {"description": REASONS[status], "content": _content(HttpProblem)}
    if status in _HEADERS:
        error["headers"] = _HEADERS[status]
    return error


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    types: set[type] = {HttpProblem}
    for operation in operations:
        types |= {answer for answer in operation.answers.values() if isinstance(answer, type)}
        if operation.body is not None:
            types.add(operation.body)
        if operation.query is not None:
            types.add(operation.query)
    ordered = sorted(types, key=lambda type_: type_.__name__)
    _, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    for operation in operations:
        if operation.body is not None:  # its `type` may be left out (protocol 4.21)
            schema = components[operation.body.__name__]
            schema["required"] = [name for name in schema["required"] if name != "type"]
        if operation.query is not None:  # of these only the objects in them are bodies
            components.pop(operation.query.__name__, None)
    return components
