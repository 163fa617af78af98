"""The pages of a server, and the description of its HTTP API: for programs (/openapi.json) and for people (/docs).

The run's page, the admin view and their files need no token: they get their data from the API with their user's token.
`reference.web.files` lists them with their security policies. The page at /docs is the OpenAPI document as HTML, without scripts
and external files.
"""

import json
from collections.abc import Iterable
from functools import cached_property
from html import escape
from typing import Any

import msgspec

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.http.answers import JSON, STATUSES, Answer, problem
from reference.server.http.description import get, operations_in
from reference.server.http.openapi import document
from reference.server.http.request import Request
from reference.server.wire.request_head import UPGRADE_LOST
from reference.web.files import SETTINGS_PATH, WebFile, WebSettings, settings_file, web_files

CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""What a browser may load for this page: nothing."""

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem 1.5rem 6rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap; }
details > div { padding: 0 .75rem .75rem; }
code, .path { font-family: ui-monospace, monospace; font-size: .92em; overflow-wrap: anywhere; }
.method { font-weight: 700; min-width: 3.2rem; }
.get { color: #1a7f4b; } .put, .post { color: #b35c00; }
@media (prefers-color-scheme: dark) { .get { color: #5fd39a; } .put, .post { color: #ffb35c; } }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--soft); }
th { font-size: .85em; } td:first-child { white-space: nowrap; }
"""


class WebPages:
    """The run's page, the admin view, and their files."""

    def __init__(self, settings: WebSettings) -> None:
        """Reads the files once, here, so that no request waits for a disk."""
        self._files: dict[str, WebFile] = {**web_files(), SETTINGS_PATH: settings_file(settings)}

    @get("/", "operation", "The run's page", is_listed=False, answers={200: "text/html"})
    async def page(self, request: Request) -> Answer:
        return self._answer(request)

    @get("/admin", "operation", "The admin view", is_listed=False, answers={200: "text/html"})
    async def admin_page(self, request: Request) -> Answer:
        return self._answer(request)

    @get("/web/{name...}", "operation", "A file of these pages", is_listed=False, answers={})
    async def file(self, request: Request) -> Answer:
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        file = self._files.get(request.head.path)
        if file is None:
            raise RemoteError(CloseCode.NO_SUCH_RUN, f"there is nothing at {request.head.path}")
        known = request.head.header(b"if-none-match")
        headers = {name: value for name, value in file.headers.items() if name != "content-type"}
        if file.is_known_to(None if known is None else known.decode("latin-1")):
            return Answer(b"", None, 304, headers)
        return Answer(file.body, file.headers["content-type"], headers=headers)


class DocsApi:
    """Describes itself and the operations of other APIs."""

    def __init__(self, apis: Iterable[object]) -> None:
        self._operations = operations_in([*map(type, apis), DocsApi])

    @get("/openapi.json", "operation", "This document", name="openapi", answers={200: JSON})
    async def openapi(self, request: Request) -> Answer:
        return Answer(self._document)

    @get("/docs", "operation", "This document, for people", answers={200: "text/html"})
    async def docs(self, request: Request) -> Answer:
        return Answer(self._page, "text/html; charset=utf-8", headers={"content-security-policy": CSP})

    @get("/ws/runs/{runId}/collaboration", "operation", "WebSocket", is_listed=False, answers={})
    async def lost_upgrade(self, request: Request) -> Answer:
        """A WebSocket request that arrives as plain HTTP; complete upgrades are handled by the front door."""
        why = "WebSockets only: this request has no header Upgrade; does a proxy pass it on?"
        return problem(STATUSES[UPGRADE_LOST], UPGRADE_LOST, why, headers={"upgrade": "websocket"})

    @cached_property
    def _document(self) -> bytes:
        return msgspec.json.encode(document(self._operations))

    @cached_property
    def _page(self) -> bytes:
        return docs_page(document(self._operations))


def docs_page(document: dict[str, Any]) -> bytes:
    """The page of an OpenAPI document, in UTF-8."""
    info = document["info"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
        "<meta name=viewport content='width=device-width'>",
        f"<style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        "<p>The same for programs: <a href='/openapi.json'>/openapi.json</a> (OpenAPI 3.1).</p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2 id='{escape(tag['name'])}'>{escape(tag['name'].capitalize())}</h2><p>{escape(tag['description'])}</p>")
        parts += [
            _operation(path, method, operation, document["components"])
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
    parts.append("<h2 id=types>Types</h2>")
    parts += [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "".join(parts).encode()


def _operation(path: str, method: str, operation: dict[str, Any], components: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{one['in']}<td>"
        f"{_content(one['content']) if 'content' in one else _kind(one['schema'])}<td>{escape(one['description'])}"
        for one in operation["parameters"]
    )
    body = operation.get("requestBody")
    answers = "".join(
        f"<tr><td>{status}<td>{_content(answer.get('content', {}))}<td>{escape(answer['description'])}"
        for status, answer in ((status, _resolved(answer, components)) for status, answer in operation["responses"].items())
    )
    return (
        f"<details id='{escape(operation['operationId'])}'><summary><span class='method {method}'>{method.upper()}</span>"
        f"<span class=path>{escape(path)}</span><span>{escape(operation['summary'])}</span></summary><div>"
        + (f"<p>{escape(operation['description'])}</p>" if "description" in operation else "")
        + (f"<table><tr><th>Parameter<th>In<th>Type<th>Meaning{parameters}</table>" if parameters else "")
        + (f"<p>Body: {_content(body['content'])}</p>" if body else "")
        + f"<table><tr><th>Status<th>Body<th>Meaning{answers}</table></div></details>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_kind(kind)}<td>{'always' if field in required else 'may be left out'}"
        for field, kind in schema.get("properties", {}).items()
    )
    about = f"<p>{escape(' '.join(schema['description'].split()))}</p>" if "description" in schema else ""
    table = f"<table><tr><th>Field<th>Type<th>There{rows}</table>" if rows else f"<p>{_kind(schema)}</p>"
    return f"<details id='type-{escape(name)}'><summary><code>{escape(name)}</code></summary><div>{about}{table}</div></details>"


def _resolved(answer: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    reference = answer.get("$ref")
    if reference is None:
        return answer
    resolved: dict[str, Any] = components["responses"][reference.rpartition("/")[2]]
    return resolved


def _content(content: dict[str, Any]) -> str:
    shown = []
    for media_type, one in content.items():
        is_named = "$ref" in one["schema"]
        shown.append(_kind(one["schema"]) if is_named else escape(media_type))
    return ", ".join(shown)


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#type-{name}'><code>{name}</code></a>"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any")
    words = escape(kind if isinstance(kind, str) else " or ".join(kind))
    if schema.get("items"):
        words = f"list of {_kind(schema['items'])}"
    elif isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        words = f"map of {_kind(schema['additionalProperties'])}"
    limits = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "from"),
            ("maxLength", "to"),
            ("maxItems", "at most"),
            ("format", ""),
        )
        if key in schema
    ]
    unit = " characters" if "maxLength" in schema else ""
    bounds = f", {escape(' '.join(' '.join(limits).split()))}{unit}" if limits else ""
    default = f"; default {escape(json.dumps(schema['default']))}" if schema.get("default") not in (None, (), "") else ""
    return f"{words}{bounds}{default}"
