"""The description of the HTTP API, for programs and for people; and the answer to a broken upgrade."""

from collections.abc import Iterable
from functools import cached_property

import msgspec

from reference.server.http.answers import JSON, STATUSES, Answer, problem
from reference.server.http.description import get, operations_in
from reference.server.http.docs_page import CSP, docs_page
from reference.server.http.openapi import document
from reference.server.http.request import Request
from reference.server.wire.framing import UPGRADE_LOST


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
