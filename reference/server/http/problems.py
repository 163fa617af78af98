"""Errors over HTTP: the same codes as on a WebSocket close, in one body, under the status that fits.

Whatever ends a request ends up here: the protocol's refusals, Litestar's own (no such address, wrong method), and our faults, of
which a client is told nothing but that they were ours.
"""

from collections.abc import Callable

import msgspec
from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from reference.protocol.errors import CloseCode, HttpProblem, RemoteError, SteadywireError
from reference.protocol.limits import Limit
from reference.server.monitoring.logs import OnFault
from reference.server.wire.framing import INTERNAL_ERROR, UPGRADE_LOST
from reference.server.wire.request_head import HttpRefusal

AnyRequest = Request[object, object, State]
Handler = Callable[[AnyRequest, Exception], Response[bytes]]

STATUSES: dict[int, int] = {
    CloseCode.GOING_AWAY: 503,
    CloseCode.HEARTBEAT_LOST: 408,
    CloseCode.TOO_SLOW: 408,
    CloseCode.RATE: 429,
    CloseCode.OVERLOADED: 503,
    CloseCode.SUPERSEDED: 409,
    CloseCode.SESSION_EXPIRED: 410,
    CloseCode.BAD_FRAME: 400,
    CloseCode.TOKEN: 401,
    CloseCode.FORBIDDEN: 403,
    CloseCode.NO_SUCH_RUN: 404,
    CloseCode.VERSION: 406,
    CloseCode.TOO_BIG: 413,
    UPGRADE_LOST: 426,
    INTERNAL_ERROR: 500,
}
"""The HTTP status for each code of the protocol."""


class RequestRefused(SteadywireError):
    """A request ends with an error: its code, a sentence, and perhaps a time to wait in ms."""

    def __init__(self, code: int, message: str, retry_after_ms: int | None = None, limit: Limit | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.limit = limit


def problem(
    status: int, code: int, message: str, retry_after_ms: int | None = None, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """An answer that is an error."""
    headers = dict(headers or {})
    if retry_after_ms is not None:
        # Whole seconds, rounded up: coming back too early is the error to avoid.
        headers["retry-after"] = str(-(-retry_after_ms // 1000))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    body = msgspec.json.encode(HttpProblem(code=code, message=message, retry_after_ms=retry_after_ms))
    return Response(body, status_code=status, media_type=MediaType.JSON, headers=headers)


_COME_BACK = (CloseCode.RATE, CloseCode.OVERLOADED, CloseCode.GOING_AWAY)
"""Codes that come with a time to wait, always."""


def exception_handlers(
    on_fault: OnFault, on_limit: Callable[[Limit], None], retry_after_ms: int
) -> "dict[type[Exception] | int, Handler]":
    """Litestar's table of exception handlers. Our own faults go to `on_fault`, limits that were reached to `on_limit`.

    `retry_after_ms` is asked for where a wait makes sense and none is known.
    """

    def refused(request: AnyRequest, error: Exception) -> Response[bytes]:
        assert isinstance(error, RemoteError | RequestRefused)
        if error.limit is not None:
            on_limit(error.limit)
        wait_ms = error.retry_after_ms if isinstance(error, RequestRefused) else None
        if wait_ms is None and error.code in _COME_BACK:
            wait_ms = retry_after_ms
        return problem(STATUSES.get(error.code, 500), error.code, error.message, wait_ms)

    def door(request: AnyRequest, error: Exception) -> Response[bytes]:
        assert isinstance(error, HttpRefusal)
        return problem(error.status, error.code, error.message, error.retry_after_ms)

    def routing(request: AnyRequest, error: Exception) -> Response[bytes]:
        assert isinstance(error, HTTPException)
        if error.status_code >= 500:
            return fault(request, error)
        if error.status_code == 404:
            return problem(404, CloseCode.NO_SUCH_RUN, f"there is nothing at {request.url.path}; see /openapi.json")
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return problem(error.status_code, CloseCode.BAD_FRAME, str(error.detail), headers=headers)

    def fault(request: AnyRequest, error: Exception) -> Response[bytes]:
        on_fault(f"{request.method} {request.url.path} failed", error)
        return problem(500, INTERNAL_ERROR, "internal error")

    return {RemoteError: refused, RequestRefused: refused, HttpRefusal: door, HTTPException: routing, Exception: fault}
