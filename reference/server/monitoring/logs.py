"""The log: one line for each event of a session, and the faults of server, system and store.

A line names things by their ids. It never contains a token or a message. An event that a peer or the system can cause as often as
it likes (a limit that is reached, a fault) is logged once in 10 s, with a count.
"""

import contextlib
import re
from collections.abc import Callable, Hashable

import structlog

from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.protocol.server.observations import Departed, FellBack, Joined, Left, Observation, Refused
from reference.protocol.timers import NS_PER_S
from reference.server.wire.front_door import Problem
from reference.store import StoreError

INTERVAL_NS = 10 * NS_PER_S
"""Between two lines about one limit, or about one kind of fault."""
FAULT_KINDS_MAX = 256
"""Kinds of faults remembered; above it all are forgotten and logged again."""

RUN_ID_CHARACTERS = 36
"""How many characters of an unchecked run id are logged."""
ORIGIN_CHARACTERS = 100
"""How many characters of a refused origin are logged."""

OnFault = Callable[[str, BaseException], None]
"""Called with what failed and the error, for the log."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger("steadywire.server")


def log_event(event: str, **context: object) -> None:
    """Log a normal event."""
    # If the log fails, for example on a full disk, connections and runs must not fail with it.
    with contextlib.suppress(Exception):
        log.info(event, **context)


class _Interval:
    """Passes one line of each kind per interval, with the number of occurrences that it stands for."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, tuple[int, int]] = {}  # when the kind was last logged, and its count since then

    def due(self, kind: Hashable, now: int) -> int:
        """Count one occurrence. Returns the count since the last line if a line is due now; else 0."""
        if kind not in self._kinds and len(self._kinds) >= FAULT_KINDS_MAX:
            self._kinds.clear()
        written_at, count = self._kinds.get(kind, (now - INTERVAL_NS, 0))
        is_due = now - written_at >= INTERVAL_NS
        self._kinds[kind] = (now, 0) if is_due else (written_at, count + 1)
        return count + 1 if is_due else 0


class FaultLog:
    """Faults of the server, the system and the store: for each kind one line per interval, with a count.

    For example, when file descriptors run out, each attempt to accept a connection fails; the log must not fill the disk then.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        """`now` in ns."""
        self._now = now
        self._kinds = _Interval()

    def problem(self, problem: Problem) -> None:
        """Log a problem of the byte level."""
        self._write(problem.what, problem.error, peer=problem.peer, request=problem.request)

    def fault(self, what: str, error: BaseException) -> None:
        """Log a fault of the server or the store."""
        self._write(what, error)

    def _write(self, what: str, error: BaseException, **context: object) -> None:
        with contextlib.suppress(Exception):
            count = self._kinds.due(_kind(what, error), self._now())
            if not count:
                return
            if count > 1:
                context["count"] = count
            if isinstance(error, StoreError | OSError):
                # The message says what to do. A traceback would say less, and formatting it may block the server for seconds.
                log.error(what, **context, reason=str(error))
            else:
                log.error(what, **context, exc_info=error)


class SessionLog:
    """One line for each event of a session."""

    def __init__(self) -> None:
        self._limits = _Interval()
        self._origins = _Interval()

    def observe(self, run_id: str, observation: Observation) -> None:
        """An observation of a run; most of them are for metrics only."""
        match observation:
            case Joined():
                context: dict[str, object] = {
                    "user": observation.user_id,
                    "client": observation.client_id,
                    "session": observation.session_id,
                    "connection": observation.connection_id,
                    "outcome": observation.outcome,
                    "events": observation.replayed,
                    "is_return": observation.is_return,
                }
                log_event("session joined", run=run_id, **context)
            case Left(code=code, peer_code=peer_code):
                last = peer_code if code is None else code
                context = {
                    "client": observation.client_id,
                    "session": observation.session_id,
                    "connection": observation.connection_id,
                    "code": last,
                    "why": _name(last),
                    "by": "client" if code is None else "server",
                }
                log_event("session left", run=run_id, **context)
            case FellBack():
                who = {"user": observation.user_id, "client": observation.client_id, "session": observation.session_id}
                log_event("session fell back to polling", run=run_id, **who, reason=observation.reason)
            case Departed():
                log_event("session ended", run=run_id, client=observation.client_id, session=observation.session_id)
            case Refused(code=code):
                log_event("connection refused", run=run_id, connection=observation.connection_id, code=code, why=_name(code))
            case _:
                pass

    def refused(self, run_id: str, code: int) -> None:
        """A WebSocket was closed before it reached a run; `run_id` as in its URL."""
        log_event("connection refused", run=run_id[:RUN_ID_CHARACTERS], code=code, why=_name(code))

    def origin_refused(self, origin: str, now: int) -> None:
        """A page of an origin that is not allowed has sent a request."""
        count = self._origins.due(None, now)
        if count:
            log_event("page refused", origin=origin[:ORIGIN_CHARACTERS], count=count, hint="see allowed_origins")

    def limit_reached(self, limit: Limit, now: int) -> None:
        """A peer has reached a limit."""
        count = self._limits.due(limit, now)
        if count:
            log_event("limit reached", limit=limit.value, count=count)


def _name(code: int | None) -> str:
    """A close code as text."""
    if code is None:
        return "cut"
    try:
        return CloseCode(code).name.lower()
    except ValueError:
        return {1000: "normal", 1001: "going away", 1011: "internal error"}.get(code, "other")


def _kind(what: str, error: BaseException) -> Hashable:
    """The key of one kind of fault: its type, and where it was raised; without ids and paths."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where: Hashable = _ID.sub("", what) if at is None else (at.tb_frame.f_code.co_filename, at.tb_lineno)
    return type(error), getattr(error, "errno", None), where
