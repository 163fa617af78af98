"""What the server writes down: one line for each event of a session, and faults of ours and of the store.

A line names things by their ids. It never holds a token, nor anything of what users say to each other; what a peer can make
happen as often as it likes (to reach a limit) is written once in a while, with a count.
"""

import contextlib
from collections.abc import Callable

import structlog

from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.protocol.server.observations import Departed, FellBack, Joined, Left, Observation, Refused
from reference.protocol.timers import NS_PER_S
from reference.server.wire.front_door import Problem
from reference.store import StoreError

LIMIT_INTERVAL_NS = 10 * NS_PER_S
"""Between two lines about one limit."""

OnFault = Callable[[str, BaseException], None]
"""Told, for the log, what failed and how."""

log = structlog.get_logger("steadywire.server")


def log_problem(problem: Problem) -> None:
    """Write down what went wrong at the byte level."""
    _log_error(problem.what, problem.error, peer=problem.peer, request=problem.request)


def log_fault(what: str, error: BaseException) -> None:
    """Write down a fault of ours, or of the store."""
    _log_error(what, error)


def log_event(event: str, **context: object) -> None:
    """Write down something that is as it should be."""
    # A log that fails, on a full disk say, must take neither a connection nor a run with it.
    with contextlib.suppress(Exception):
        log.info(event, **context)


class SessionLog:
    """One line for each event of a session."""

    def __init__(self) -> None:
        self._limits: dict[Limit, tuple[int, int]] = {}  # when it was last written of, and how often it was reached since

    def observe(self, run_id: str, observation: Observation) -> None:
        """Something that a run let observe; most of it is for metrics only."""
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
                log_event("session polls", run=run_id, **who, reason=observation.reason)
            case Departed():
                log_event("session ended", run=run_id, client=observation.client_id, session=observation.session_id)
            case Refused(code=code):
                log_event("connection refused", run=run_id, connection=observation.connection_id, code=code, why=_name(code))
            case _:
                pass

    def limit_reached(self, limit: Limit, now: int) -> None:
        """A peer has reached a limit."""
        written_at, count = self._limits.get(limit, (now - LIMIT_INTERVAL_NS, 0))
        count += 1
        if now - written_at >= LIMIT_INTERVAL_NS:
            log_event("limit reached", limit=limit.value, times=count)
            written_at, count = now, 0
        self._limits[limit] = written_at, count


def _name(code: int | None) -> str:
    """A close code in words."""
    if code is None:
        return "cut"
    try:
        return CloseCode(code).name.lower()
    except ValueError:
        return {1000: "normal", 1001: "going away", 1011: "internal error"}.get(code, "other")


def _log_error(what: str, error: BaseException, **context: object) -> None:
    with contextlib.suppress(Exception):
        if isinstance(error, StoreError):
            # Its message says what to do. A traceback would say less, and drawing one may take seconds in which nobody is served.
            log.error(what, **context, reason=str(error))
        else:
            log.error(what, **context, exc_info=error)
