"""Client-side counters reported to the server; kept until acknowledged.

A report has the counts since the last one and the outages that have ended. It is sent with a ping and acknowledged by the pong,
or sent with a poll and acknowledged by its answer. If the connection is lost or the poll fails first, the report is sent again: a
count may be reported twice, when only the answer was lost, but is never left out. The server uses reports for metrics only
(protocol 7.41).
"""

from reference.protocol.frames import MILLISECONDS_MAX, RECOVERIES_MAX, TALLY_MAX, Recovery, Report
from reference.protocol.policies.keepalive import ANSWERS_AWAITED_MAX
from reference.protocol.timers import NS_PER_MS

POLL = -1
"""Stands for a ping's nonce: the report was sent with the current poll."""


class ClientReport:
    """Bounded: counts, the last few outages, and the reports of the last few pings. Times in ns."""

    __slots__ = (
        "_lost_at",
        "_recoveries",
        "_silent_ns",
        "_under_way",
        "duplicates",
        "failed_attempts",
        "failed_messages",
        "gaps",
    )

    def __init__(self) -> None:
        self.failed_attempts = 0
        self.gaps = 0
        self.duplicates = 0
        self.failed_messages = 0
        self._recoveries: list[Recovery] = []
        self._under_way: dict[int, Report] = {}
        self._lost_at: int | None = None
        self._silent_ns: int | None = None

    def lost(self, now: int, *, silent_since: int | None) -> None:
        """The session has lost its transport. `silent_since`: the client closed it, having received nothing since then; None: the
        loss was reported."""
        if self._lost_at is None:
            self._lost_at = now
            self._silent_ns = None if silent_since is None else now - silent_since

    def recovered(self, now: int) -> None:
        """The session has a transport again."""
        if self._lost_at is None:
            return
        silent_ms = None if self._silent_ns is None else _ms(self._silent_ns)
        self._recoveries.append(Recovery(recovery_ms=_ms(now - self._lost_at), silence_ms=silent_ms))
        del self._recoveries[:-RECOVERIES_MAX]
        self._lost_at = self._silent_ns = None

    def report(self, nonce: int, queued_messages: int) -> Report | None:
        """The report to send with the ping of that nonce, or with POLL; None if there is nothing to report."""
        counts = self.failed_attempts or self.gaps or self.duplicates or self.failed_messages
        if not (counts or queued_messages or self._recoveries):
            return None
        report = Report(
            failed_attempts=min(self.failed_attempts, TALLY_MAX),
            gaps=min(self.gaps, TALLY_MAX),
            duplicates=min(self.duplicates, TALLY_MAX),
            failed_messages=min(self.failed_messages, TALLY_MAX),
            queued_messages=min(queued_messages, TALLY_MAX),
            recoveries=tuple(self._recoveries),
        )
        self.failed_attempts = self.gaps = self.duplicates = self.failed_messages = 0
        self._recoveries = []
        self._under_way[nonce] = report
        self._join_oldest()
        return report

    def acknowledged(self, nonce: int) -> None:
        """A pong arrived: every report up to its ping was received."""
        if self._under_way:
            self._under_way = {number: report for number, report in self._under_way.items() if number > nonce or number == POLL}

    def poll_acknowledged(self) -> None:
        """The answer to the poll arrived."""
        self._under_way.pop(POLL, None)

    def unreported(self) -> None:
        """The WebSocket is lost; which of its reports arrived is unknown."""
        for nonce in [nonce for nonce in reversed(self._under_way) if nonce != POLL]:
            self._take_back(nonce)

    def poll_unreported(self) -> None:
        """The poll failed, or its answer is no longer awaited."""
        if POLL in self._under_way:
            self._take_back(POLL)

    def _join_oldest(self) -> None:
        """A client remembers its last few pings: the report of an older one is kept with that of the next."""
        pings = [nonce for nonce in self._under_way if nonce != POLL]
        if len(pings) > ANSWERS_AWAITED_MAX:
            first, second = self._under_way.pop(pings[0]), self._under_way[pings[1]]
            self._under_way[pings[1]] = Report(
                failed_attempts=first.failed_attempts + second.failed_attempts,
                gaps=first.gaps + second.gaps,
                duplicates=first.duplicates + second.duplicates,
                failed_messages=first.failed_messages + second.failed_messages,
                recoveries=(first.recoveries + second.recoveries)[-RECOVERIES_MAX:],
            )

    def _take_back(self, nonce: int) -> None:
        report = self._under_way.pop(nonce)
        self.failed_attempts += report.failed_attempts
        self.gaps += report.gaps
        self.duplicates += report.duplicates
        self.failed_messages += report.failed_messages
        self._recoveries[:0] = report.recoveries
        del self._recoveries[:-RECOVERIES_MAX]


def _ms(duration: int) -> int:
    return min(duration // NS_PER_MS, MILLISECONDS_MAX)
