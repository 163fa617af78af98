"""The log: one line for each event of a session, and the faults of server, system and store; and the queue that writes it.

A line names things by their ids. It never contains a token or a message. An event that a peer or the system can cause as often as
it likes (a limit that is reached, a fault) is logged once in 10 s, with a count.
"""

import contextlib
import re
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import TextIO

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

LINES_MAX = 10_000
"""Lines that may wait for the reader of the log."""
CHARACTERS_MAX = 4 * 1024 * 1024
"""Of all waiting lines; a traceback is one line."""
GATHER_S = 0.02
"""How long lines are collected before they are written."""
CLOSE_TIMEOUT_S = 2.0
"""For writing the remaining lines when the server ends."""

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

    def __init__(self, now: Callable[[], int]) -> None:
        """`now` in ns."""
        self._now = now
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

    def origin_refused(self, origin: str) -> None:
        """A page of an origin that is not allowed has sent a request."""
        count = self._origins.due(None, self._now())
        if count:
            log_event("page refused", origin=origin[:ORIGIN_CHARACTERS], count=count, hint="see allowed_origins")

    def limit_reached(self, limit: Limit) -> None:
        """A peer has reached a limit."""
        count = self._limits.due(limit, self._now())
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


class LogQueue:
    """A bounded queue between the server and the reader of its log: the part of a text stream that a logger needs. `write` may be
    called from any thread and never waits for the reader.

    A dedicated thread writes the lines of `GATHER_S` at once: a thousand sessions that join wake it once. Lines that do not fit
    are dropped and counted; the count is written as soon as there is room again.
    """

    def __init__(
        self,
        target: TextIO,
        *,
        dropped_line: Callable[[int], str] = 'event="log lines dropped" count={}\n'.format,
        lines_max: int = LINES_MAX,
    ) -> None:
        """`dropped_line` formats the line that says how many lines were dropped."""
        self._target = target
        self._lines_max = lines_max
        self._lines: deque[str] = deque()
        self._characters = 0
        self._dropped = 0
        self._closed = threading.Event()
        self._dropped_line = dropped_line
        self._changed = threading.Condition()
        self.on_drop: Callable[[], None] = lambda: None
        """Called for each line that is dropped, in the thread that wrote it."""
        self._thread = threading.Thread(target=self._write_all, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Write a line, including its newline."""
        with self._changed:
            fits = len(self._lines) < self._lines_max and self._characters + len(line) <= CHARACTERS_MAX
            if fits and not self._closed.is_set():
                if not self._lines:
                    self._changed.notify()
                self._lines.append(line)
                self._characters += len(line)
                return
            self._dropped += 1
        self.on_drop()

    def flush(self) -> None:
        """Does nothing: the thread flushes."""

    def close(self) -> None:
        """Take no more lines, and wait a short time until the remaining ones are written."""
        with self._changed:
            self._closed.set()
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._dropped:
                    if self._closed.is_set():
                        return
                    self._changed.wait()
            self._closed.wait(GATHER_S)
            with self._changed:
                taken = list(self._lines)
                dropped, self._dropped = self._dropped, 0
            # Its reader may be gone, or its disk full; the server continues.
            with contextlib.suppress(OSError, ValueError):
                self._target.write("".join(taken))
                if dropped:
                    self._target.write(self._dropped_line(dropped))
                self._target.flush()
            with self._changed:  # until now they counted as waiting
                for _ in taken:
                    self._characters -= len(self._lines.popleft())
