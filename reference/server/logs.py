"""What the server writes down about itself: faults of ours and of the store, never of clients."""

import contextlib

import structlog

from reference.server.wire.front_door import Problem

log = structlog.get_logger("steadywire.server")


def log_problem(problem: Problem) -> None:
    """Write down what went wrong at the byte level."""
    _log(problem.what, problem.error, peer=problem.peer, request=problem.request)


def log_fault(what: str, error: BaseException) -> None:
    """Write down a fault of ours, or of the store."""
    _log(what, error)


def _log(what: str, error: BaseException, **context: object) -> None:
    # A log that fails, on a full disk say, must take neither a connection nor a run with it.
    with contextlib.suppress(Exception):
        log.error(what, **context, exc_info=error)
