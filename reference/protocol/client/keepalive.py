"""Keepalive: pings over one WebSocket, which show whether it is alive and measure the round trip.

The first ping is sent with the welcome, the next ones when the heartbeat policy says so (7.31). The round trip is measured by
this clock alone. Any byte from the server counts as a sign of life. It moves no timer: its time is noted, and the policy is asked
again at the time that it named before.

If the policy would be silent for as long as the server allows, or longer, additional pings are sent.
"""

import math

from reference.protocol import frames
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.health import HealthRecord
from reference.protocol.policies.keepalive import ANSWERS_AWAITED_MAX, Due, HeartbeatPolicy, Signs
from reference.protocol.timers import NS_PER_S, ns

_PING_WITHIN_S_MIN = 1.0  # whatever limit a server sends, a client does not ping more often than this
PINGS_REMEMBERED_MAX = ANSWERS_AWAITED_MAX  # pings on their way; an older unanswered one would have ended the connection


class Keepalive:
    """The pings of one client session; `stopped` between connections."""

    __slots__ = (
        "_answered_at",
        "_context",
        "_intervals_max",
        "_intervals_s",
        "_next_nonce",
        "_ping_within_s",
        "_pinged_at",
        "_policy",
        "_record",
        "_sent_at",
        "_unanswered_since",
        "_unproven_since",
        "heard_at",
    )

    def __init__(self, context: ClientContext, record: HealthRecord, policy: HeartbeatPolicy) -> None:
        self._context = context
        self._record = record
        self._policy = policy
        self._sent_at: dict[int, int] = {}
        self._next_nonce = 0
        self._pinged_at = 0
        self._ping_within_s: float | None = None  # pings needed because the server allows less silence than the policy keeps
        self.heard_at = 0
        self._unanswered_since: int | None = None  # the oldest ping after which no byte has arrived
        self._unproven_since: int | None = None  # the oldest ping that is unanswered, as are all later ones
        self._intervals_max: int = getattr(policy, "intervals_max", 0)
        self._intervals_s: tuple[float, ...] = ()  # between answers, on this connection
        self._answered_at: int | None = None

    @property
    def remembered(self) -> int:
        """Pings whose answers can still be measured."""
        return len(self._sent_at)

    @property
    def answer_limit_s(self) -> float:
        """How long after a ping a connection that received no byte is dead, in seconds; infinite: never."""
        dead_s = self._policy.due(Signs(0.0, 0.0, 0.0, 0.0)).dead_s
        return math.inf if dead_s is None else dead_s

    def keep_limit(self, silence_max_ms: int | None) -> None:
        """The server's limit for a silent client, in ms; None: the server did not send one."""
        quiet_s, self._ping_within_s = self._policy.quiet_max_s, None
        if silence_max_ms is not None and (quiet_s is None or quiet_s * 1000 >= silence_max_ms):
            self._ping_within_s = max(silence_max_ms / 2000, _PING_WITHIN_S_MIN)

    def ping(self, now: int, queued_messages: int) -> frames.Ping:
        """The next ping, to be sent now, with the report to the server."""
        nonce = self._next_nonce
        self._next_nonce += 1
        self._sent_at[nonce] = now
        if len(self._sent_at) > PINGS_REMEMBERED_MAX:
            del self._sent_at[next(iter(self._sent_at))]
        self._pinged_at = now
        if self._unanswered_since is None:
            self._unanswered_since = now
        if self._unproven_since is None:
            self._unproven_since = now
        self._arm(self._due(now), now)
        report = self._context.client_report.report(nonce, queued_messages)
        return frames.Ping(nonce=nonce, round_trip_ms=self._record.last_round_trip_ms, report=report)

    def heard(self, now: int) -> None:
        """Bytes arrived from the server."""
        self.heard_at = now
        self._unanswered_since = None

    def pong(self, nonce: int, now: int) -> bool:
        """An answer arrived. Returns whether it answers a ping of this connection."""
        sent_at = self._sent_at.pop(nonce, None)
        if sent_at is None:
            return False
        self._record.round_trip(now - sent_at)
        self._unproven_since = next((at for later, at in self._sent_at.items() if later > nonce), None)
        if self._intervals_max:
            if self._answered_at is not None:
                interval_s = (now - self._answered_at) / NS_PER_S
                self._intervals_s = (*self._intervals_s, interval_s)[-self._intervals_max :]
            self._answered_at = now
        self._context.client_report.acknowledged(nonce)
        return True

    def is_ping_due(self, now: int) -> bool:
        """At the time that the policy named for the next ping: whether it still asks for a ping."""
        due = self._due(now)
        return self._has_come(due.ping_s) or self._arm(due, now)

    def is_dead(self, now: int) -> bool:
        """At the time that the policy named for giving up: whether it still says so (7.32)."""
        due = self._due(now)
        return self._has_come(due.dead_s) or self._arm(due, now)

    @property
    def verdict(self) -> str:
        """Why a connection is dead, as text for people."""
        if self._unanswered_since is not None:
            return "no data received after a ping"
        return "no data received for too long" if self._unproven_since is None else "a ping was not answered in time"

    def stopped(self) -> None:
        """The connection is lost or closed."""
        self._sent_at.clear()
        self._unanswered_since = self._unproven_since = self._answered_at = None
        self._intervals_s = ()
        self._context.client_report.unreported()
        for timer in (Timer.PING, Timer.PONG):
            self._context.timers.cancel(timer)

    def _due(self, now: int) -> Due:
        pinged_s, heard_s = (now - self._pinged_at) / NS_PER_S, (now - self.heard_at) / NS_PER_S
        unanswered_s, unproven_s = _since(self._unanswered_since, now), _since(self._unproven_since, now)
        due = self._policy.due(Signs(pinged_s, heard_s, unanswered_s, unproven_s, self._intervals_s))
        if self._ping_within_s is None:
            return due
        wait_s = self._ping_within_s - pinged_s
        return Due(wait_s if due.ping_s is None else min(wait_s, due.ping_s), due.dead_s)

    def _has_come(self, wait_s: float | None) -> bool:
        return wait_s is not None and ns(wait_s) <= 0

    def _arm(self, due: Due, now: int) -> bool:
        timers = self._context.timers
        for timer, wait_s in ((Timer.PING, due.ping_s), (Timer.PONG, due.dead_s)):
            if wait_s is None:
                timers.cancel(timer)
                continue
            deadline = now + ns(wait_s)
            if timers.deadline_of(timer) != deadline:
                timers.set(timer, deadline)
        return False


def _since(at: int | None, now: int) -> float | None:
    return None if at is None else (now - at) / NS_PER_S
