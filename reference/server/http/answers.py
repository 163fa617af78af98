"""HTTP answers: the results and errors of operations.

Error codes are those of a WebSocket close, in one body (`errors.HttpProblem`), with a matching HTTP status.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from reference.protocol.errors import CloseCode, HttpProblem, SteadywireError
from reference.protocol.limits import Limit
from reference.server.wire.request_head import INTERNAL_ERROR, UPGRADE_LOST, retry_after

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
"""The HTTP status for each code of the protocol (5.6)."""

COME_BACK = (CloseCode.RATE, CloseCode.OVERLOADED, CloseCode.GOING_AWAY)
"""Codes whose answers always have a time to wait."""

JSON = "application/json"


class RequestRefused(SteadywireError):
    """A request that ends with an error: its code, a sentence, and optionally a time to wait in ms."""

    def __init__(self, code: int, message: str, retry_after_ms: int | None = None, limit: Limit | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    body: bytes
    content_type: str | None = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers in addition to `content-type` and `content-length`; names in lower case."""


def json_answer(value: msgspec.Struct, status: int = 200) -> Answer:
    """`value` as JSON."""
    return Answer(msgspec.json.encode(value), status=status)


def problem(
    status: int, code: int, message: str, retry_after_ms: int | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An error answer."""
    headers = dict(headers or {})
    if retry_after_ms is not None:
        headers["retry-after"] = retry_after(retry_after_ms)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    body = msgspec.json.encode(HttpProblem(code=code, message=message, retry_after_ms=retry_after_ms))
    return Answer(body, status=status, headers=headers)
