"""Publishing, the sending half of a client session: the outbox, and how answers and rejections change it.

It does not know which transport carries its messages: it returns what can be sent now, and is notified of what was answered, put
off or lost. It sends nothing while it waits after a retryable rejection.
"""

from reference.protocol import frames
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.health import HealthRecord
from reference.protocol.client.outbox import Outbox, Queued
from reference.protocol.client.outcomes import FailureCode, PublishAccepted, PublishFailed
from reference.protocol.codec import FRAME_BYTES_MAX, encoded_bytes
from reference.protocol.errors import InvalidEvent, RejectCode
from reference.protocol.events import Data, EventRegistry, check_cursor
from reference.protocol.policies.reconnect import capped
from reference.protocol.saved_session import SavedSession
from reference.protocol.timers import NS_PER_MS, ns

_RETRY_CAP_S = 30.0
_FRAME_OVERHEAD_BYTES = 160
"""The most bytes that a publish frame adds to its type and data."""

_NUMBER_USED_UP = (RejectCode.INVALID_EVENT, RejectCode.UNKNOWN_EVENT_TYPE, RejectCode.STATE_FULL)
"""Rejections that settle a publish: a copy of it gets the same answer (8.4, 7.9)."""


class Publishing:
    """Owns the outbox and the cursor that waits to be sent."""

    __slots__ = (
        "_asked_until",
        "_context",
        "_cursor",
        "_cursor_is_sent",
        "_frame_bytes_max",
        "_record",
        "_registry",
        "is_empty",
        "limits",
        "outbox",
    )

    def __init__(self, context: ClientContext, registry: EventRegistry, record: HealthRecord) -> None:
        config = context.config
        self._context = context
        self._registry = registry
        self._record = record
        save = context.save if context.saves else None
        self.outbox = Outbox(
            config.outbox_messages_max, config.outbox_bytes_max, config.unanswered_max, config.outbox_policy, save
        )
        self._cursor: Data | None = None  # the latest
        self._cursor_is_sent = False
        self._asked_until: int | None = None  # the server put a message off until this time
        self._frame_bytes_max = FRAME_BYTES_MAX  # until the server sends its own limit
        self.limits: frames.Limits | None = None
        """From the server's last welcome."""
        self.is_empty = True
        """Nothing waits, as after most inputs: a caller can skip `take`."""

    def publish(self, event_type: str, data: Data, now: int) -> int:
        """Queue one event; returns its ticket. Raises InvalidEvent or OutboxFull."""
        _check_object(data)
        self._registry.check_publish(event_type, data)
        size_bytes = self._frame_bytes(data) + len(event_type)
        ticket, dropped = self.outbox.add(event_type, data, size_bytes, now)
        for message in dropped:
            self._fail(message, FailureCode.DROPPED, "dropped to make room for a newer message")
        self.is_empty = False
        self.watch_age()
        return ticket

    def restore(self, saved: SavedSession, now: int) -> None:
        """Restore what was queued or sent before the program restarted."""
        self.outbox.number_from(saved.next_sequence)
        for each in saved.publishes:
            size_bytes = encoded_bytes(each.data) + _FRAME_OVERHEAD_BYTES + len(each.event_type)
            queued_at = now - each.age_ms * NS_PER_MS
            message = Queued(each.ticket, each.event_type, each.data, size_bytes, queued_at, each.client_sequence)
            self.outbox.restore(message)
        self.is_empty = False
        self.watch_age()

    def move_cursor(self, data: Data) -> None:
        """Keep the latest cursor until it can be sent. Raises InvalidEvent."""
        _check_object(data)
        check_cursor(data)
        self._cursor = data
        self._cursor_is_sent = self.is_empty = False

    def take(self, now: int, *, as_one_body: bool) -> tuple[tuple[frames.Message, ...], Data | None]:
        """What can be sent now, in order, and the cursor if it has moved and may be sent again.

        `as_one_body`: everything has to fit into one request.
        """
        if not len(self.outbox) and (self._cursor is None or self._cursor_is_sent):
            self.is_empty = True
            return (), None
        if Timer.RESEND in self._context.timers:
            return (), None
        messages = tuple(self.outbox.take_sendable(self._frame_bytes_max if as_one_body else None))
        self.watch_age()
        if self._cursor is None or self._cursor_is_sent or Timer.CURSOR in self._context.timers:
            return messages, None
        config = self._context.config
        interval_s = config.poll_interval_s if as_one_body else config.cursor_interval_s  # 7.11
        self._context.timers.set(Timer.CURSOR, now + ns(interval_s))
        self._cursor_is_sent = True
        return messages, self._cursor

    def receive(self, result: frames.Accepted | frames.Rejected, now: int, *, epoch: str | None) -> None:
        """The server's answer to one message (6.7), over either transport; `epoch` is the epoch of that answer."""
        number = result.client_sequence
        if isinstance(result, frames.Accepted):
            message = self.outbox.accepted(number)
            if message is not None:
                self._record.accepted += 1
                self._context.outcomes.append(PublishAccepted(message.ticket, result.sequence_number, result.duplicate, epoch))
        elif result.retryable:
            self._put_off(result, now)
        else:
            message = self.outbox.refused(number)
            if message is not None:
                self._fail(message, result.code, result.message)
        self.watch_age()

    def resend(self) -> None:
        """The wait after a rejection is over."""
        self._asked_until = None

    def wait_until(self, at: int) -> None:
        """Send nothing before `at`, nor before the time that a rejection has named (7.10)."""
        self._context.timers.set(Timer.RESEND, at if self._asked_until is None else max(at, self._asked_until))

    def connection_lost(self) -> None:
        """Messages in flight will be sent again on the next transport, but not before the time that the server asked for."""
        self._context.timers.cancel(Timer.RESEND)
        self._context.timers.cancel(Timer.CURSOR)
        if self._asked_until is not None:
            self.wait_until(self._asked_until)
        self._cursor_is_sent = self.is_empty = False
        self.outbox.connection_lost()
        self.watch_age()

    def server_knows(self, last_client_sequence: int, *, is_reset: bool) -> None:
        """At the start of a connection: the newest number of this client that the server has taken."""
        self.outbox.resume_numbering(last_client_sequence)
        if is_reset:
            self.outbox.new_epoch()

    def expire(self, now: int) -> None:
        """Give up messages that have waited too long (7.9)."""
        for message in self.outbox.expire(now - ns(self._context.config.outbox_age_max_s)):
            self._fail(message, FailureCode.EXPIRED, "waited for a connection for too long")
        self.watch_age()

    def give_up(self, reason: str) -> None:
        """The session ends: remaining messages are reported as failed (7.39, 6.8)."""
        if self._context.saves:
            reason = f"{reason}; it is saved and will be sent after a restart of the program"
        for message in self.outbox.clear():
            self._fail(message, FailureCode.CLOSED, reason)

    def watch_age(self) -> None:
        since = self.outbox.oldest_waiting_since()
        if since is None:
            self._context.timers.cancel(Timer.EXPIRE)
        else:
            self._context.timers.set(Timer.EXPIRE, since + ns(self._context.config.outbox_age_max_s))

    def keep_limits(self, limits: frames.Limits) -> None:
        """The server's limits are known; a waiting message that exceeds them is reported as failed."""
        self.limits = limits
        self._frame_bytes_max = limits.frame_bytes_max
        self.outbox.keep_unanswered_below(limits.unanswered_max)
        for message in self.outbox.give_up_larger_than(limits.frame_bytes_max):
            reason = f"its frame is larger than the {limits.frame_bytes_max} bytes that this server takes"
            self._fail(message, FailureCode.TOO_BIG, reason)

    def _frame_bytes(self, data: Data) -> int:
        """How large the frame around `data` may become. Raises InvalidEvent if every server would refuse it."""
        size_bytes = encoded_bytes(data) + _FRAME_OVERHEAD_BYTES
        if size_bytes > self._frame_bytes_max:  # 7.3
            limit = self._frame_bytes_max
            raise InvalidEvent(f"a frame of {size_bytes} bytes; the server takes {limit}. Send less, or a reference to it")
        return size_bytes

    def _put_off(self, rejected: frames.Rejected, now: int) -> None:
        again, failed = self.outbox.put_off(
            rejected.client_sequence,
            self._context.config.retry_limit,
            as_out_of_order=rejected.code == RejectCode.OUT_OF_ORDER,
        )
        if failed is not None:
            self._fail(failed, rejected.code, f"{rejected.message} (tried {failed.tries} times)")
        if again:
            tries = max(1, self.outbox.tries_of_oldest())  # 7.10: n
            wait_s = capped(self._context.config.retry_base_s, 2.0, tries - 1, _RETRY_CAP_S)
            if rejected.retry_after_ms is not None:
                self._asked_until = max(self._asked_until or 0, now + rejected.retry_after_ms * NS_PER_MS)
            self.wait_until(now + ns(wait_s))

    def _fail(self, message: Queued, code: str, reason: str) -> None:
        self._record.failed += 1
        if code in tuple(FailureCode):  # the server refused it, so it did not arrive
            self._context.client_report.failed_messages += 1
        self._context.outcomes.append(PublishFailed(message.ticket, code, reason, _may_have_arrived(message, code)))


def _check_object(data: object) -> None:
    if not isinstance(data, dict):
        raise InvalidEvent(f"data is a {type(data).__name__}; it has to be a JSON object (a dict)")


def _may_have_arrived(message: Queued, code: str) -> bool:
    """Whether a publish that is given up may still be in a log: a copy is unanswered and its number was not used up, or a copy
    was unanswered when a history was lost."""
    if code == RejectCode.ANSWER_EXPIRED or message.is_perhaps_lost:
        return True
    return message.copies_out > 0 and code not in _NUMBER_USED_UP
