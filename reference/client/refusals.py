"""What an HTTP answer that is not a success says: our server's own words, or just any failure.

A code of the protocol is believed only from a body of the protocol's own form (`HttpProblem` with a code of four digits that
begins with 4). Between client and server stand proxies with opinions of their own: their 403 for an upgrade means that this way
is blocked, not that this user is forbidden, and must lead to the next attempt or to polling.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from reference.protocol.errors import HttpProblem

RETRY_AFTER_MS_MAX = 86_400_000
"""A wait longer than a day is not believed to be meant; the same limit as for goaway."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is the protocol's, or None; `retry_after_ms` is None unless the answer asked for a wait."""

    code: int | None
    message: str
    retry_after_ms: int | None


def read_refusal(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Refusal:
    """Judge an answer by its status, headers and body (or the beginning of it)."""
    waits = [value for name, value in headers if name.lower() == b"retry-after"]
    retry_after_ms = _seconds_as_ms(waits[0]) if waits else None
    try:
        problem = msgspec.json.decode(body, type=HttpProblem)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        problem = None
    if problem is None or not 4000 <= problem.code <= 4999:
        return Refusal(None, f"HTTP status {status}, not from a server of this protocol", retry_after_ms)
    if problem.retry_after_ms is not None:
        retry_after_ms = max(0, min(problem.retry_after_ms, RETRY_AFTER_MS_MAX))
    return Refusal(problem.code, problem.message, retry_after_ms)


def _seconds_as_ms(value: bytes) -> int | None:
    """Retry-After in seconds. Its other form, a date, is a matter of two clocks that may disagree, and is left out."""
    text = value.strip()
    if not text.isdigit() or len(text) > 9:
        return None
    return min(int(text) * 1000, RETRY_AFTER_MS_MAX)
