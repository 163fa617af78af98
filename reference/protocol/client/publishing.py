"""Publishing, the sending half of a client session: the outbox, and how answers and rejections change it.

The outbox keeps publishes in the order in which they were made until the server has answered (7.1). A message is *queued* until
it is first sent, and gets its number only then. From then on it is *unanswered*, and copies of it may be anywhere on the network.
So a queued message can be dropped without leaving a hole in the numbers. An unanswered message that is given up leaves a hole,
which the next publish declares (`Publish.after`, 7.6): the server must never wait for a missing number.

A message is sent only once per connection unless the server asks for it again: unanswered messages are sent again, in order, on
the next connection or after a retryable rejection (7.8). The server recognises copies by their number.

Nothing here knows which transport carries the messages: `Publishing` returns what can be sent now, and is notified of what was
answered, put off or lost. It sends nothing while it waits after a retryable rejection.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reference.protocol import frames
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.health import HealthRecord
from reference.protocol.client.outcomes import FailureCode, PublishAccepted, PublishFailed
from reference.protocol.config import OutboxPolicy
from reference.protocol.errors import InvalidEvent, OutboxFull, RejectCode
from reference.protocol.events import KEY_FIELD, Data, EventRegistry, check_cursor
from reference.protocol.frames import FRAME_BYTES_MAX, Message, encoded_bytes
from reference.protocol.policies.reconnect import capped
from reference.protocol.saved_session import Change, NumberSaved, PublishForgotten, PublishSaved, SavedSession
from reference.protocol.timers import NS_PER_MS, ns

_RETRY_CAP_S = 30.0
_FRAME_OVERHEAD_BYTES = 160
"""The most bytes that a publish frame adds to its type and data."""

_NUMBER_USED_UP = (RejectCode.INVALID_EVENT, RejectCode.UNKNOWN_EVENT_TYPE, RejectCode.STATE_FULL)
"""Rejections that settle a publish: a copy of it gets the same answer (8.4, 7.9)."""


@dataclass(slots=True)
class Queued:
    """One message in the outbox. `ticket` identifies it to the application; times in ns."""

    ticket: int
    event_type: str
    data: Data
    size_bytes: int
    queued_at: int
    client_sequence: int | None = None
    in_flight: bool = False
    copies_out: int = 0
    """Copies sent and not answered: while there is one, the message may have arrived."""
    is_perhaps_lost: bool = False
    """A copy was unanswered when a history was lost: it may have arrived there, whatever the next history answers."""
    tries: int = 0

    @property
    def conflation_key(self) -> tuple[str, object] | None:
        """A newer message with the same key may replace this one; None: never, every message of its type counts."""
        field = KEY_FIELD.get(self.event_type)
        return None if field is None else (self.event_type, self.data[field])


class Outbox:
    """Bounded in messages and bytes; its owner bounds their age with `expire`."""

    __slots__ = (
        "_bytes",
        "_bytes_max",
        "_last_accepted",
        "_messages_max",
        "_next_sequence",
        "_next_ticket",
        "_policy",
        "_queue",
        "_save",
        "_unanswered",
        "_unanswered_max",
    )

    def __init__(
        self,
        messages_max: int,
        bytes_max: int,
        unanswered_max: int,
        policy: OutboxPolicy,
        save: Callable[[Change], None] | None = None,
    ) -> None:
        self._save = save
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._unanswered_max = unanswered_max
        self._policy = policy
        self._unanswered: dict[int, Queued] = {}  # by client_sequence, ascending
        self._queue: dict[int, Queued] = {}  # by ticket, ascending
        self._bytes = 0
        self._next_ticket = 1
        self._next_sequence = 1
        self._last_accepted = 0

    def __len__(self) -> int:
        return len(self._unanswered) + len(self._queue)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    @property
    def unanswered(self) -> int:
        return len(self._unanswered)

    def add(self, event_type: str, data: Data, size_bytes: int, now: int) -> tuple[int, list[Queued]]:
        """Queue one message; returns its ticket and the messages dropped to make room. Raises OutboxFull."""
        message = Queued(self._next_ticket, event_type, data, size_bytes, now)
        dropped = self._make_room(message)
        self._next_ticket += 1
        self._queue[message.ticket] = message
        self._bytes += size_bytes
        if self._save is not None:
            self._save(PublishSaved(message.ticket, event_type, data))
        return message.ticket, dropped

    def restore(self, message: Queued) -> None:
        """Add a publish from before the program restarted; call in the order of the publishes. If it was sent, it may have
        arrived."""
        self._next_ticket = max(self._next_ticket, message.ticket + 1)
        self._bytes += message.size_bytes
        if message.client_sequence is None:
            self._queue[message.ticket] = message
        else:
            message.copies_out = 1
            self._unanswered[message.client_sequence] = message

    def number_from(self, next_sequence: int) -> None:
        """Lower numbers were used before the program restarted."""
        self._next_sequence = next_sequence

    def resume_numbering(self, last_client_sequence: int) -> None:
        """The server knows this client id up to that number, from before a restart: continue the numbering there (7.5)."""
        if self._next_sequence == 1:
            self._next_sequence = last_client_sequence + 1
            self._last_accepted = last_client_sequence
        elif last_client_sequence < self._last_accepted:
            self._last_accepted = 0  # forgotten, or an older history: declare earlier numbers as settled (7.6)

    def keep_unanswered_below(self, unanswered_max: int) -> None:
        """The server's limit, if it is below ours."""
        self._unanswered_max = min(self._unanswered_max, unanswered_max)

    def new_epoch(self) -> None:
        """The server lost its history and with it the numbers it knew of this client (7.7)."""
        self._last_accepted = 0
        for message in self._unanswered.values():
            if message.copies_out > 0 and not message.is_perhaps_lost:
                message.is_perhaps_lost = True
                self._save_number(message)

    def take_sendable(self, bytes_max: int | None = None) -> list[Message]:
        """What to send now, in order: first unanswered messages that are not in flight, then queued ones, within the window.

        With `bytes_max`: no more than fits into that many bytes, but at least one message.
        """
        messages: list[Message] = []
        room = bytes_max
        before = 0
        for sequence, message in self._unanswered.items():
            if not message.in_flight:
                if room is not None:
                    room -= message.size_bytes
                    if room < 0 and messages:
                        return messages
                messages.append(self._send(sequence, message, before))
            before = sequence
        while self._queue and len(self._unanswered) < self._unanswered_max:  # 7.4
            message = next(iter(self._queue.values()))
            if room is not None:
                room -= message.size_bytes
                if room < 0 and messages:
                    return messages
            del self._queue[message.ticket]
            sequence = self._next_sequence
            self._next_sequence += 1
            message.client_sequence = sequence
            self._save_number(message)
            self._unanswered[sequence] = message
            messages.append(self._send(sequence, message, before))
            before = sequence
        return messages

    def connection_lost(self) -> None:
        """Messages in flight may or may not have arrived; they will be sent again."""
        for message in self._unanswered.values():
            message.in_flight = False

    def accepted(self, client_sequence: int) -> Queued | None:
        """The server accepted it. None if that was known, or the message was given up."""
        message = self._remove(client_sequence)
        if message is not None:
            self._last_accepted = max(self._last_accepted, client_sequence)
        return message

    def refused(self, client_sequence: int) -> Queued | None:
        """The server refused it for good. None if the answer is no longer awaited."""
        message = self._remove(client_sequence)
        if message is not None:
            message.copies_out -= 1
        return message

    def put_off(self, client_sequence: int, retry_limit: int, *, as_out_of_order: bool) -> tuple[bool, Queued | None]:
        """A retryable rejection of a message in flight: it and all later ones are sent again.

        Only a rejection of the oldest unanswered message counts as one of its tries; later messages are rejected as a
        consequence. Returns whether anything must be sent again, and the message itself if its tries are used up: it is then
        removed.

        `as_out_of_order`: the server misses an earlier message. If it had accepted that one, it has lost its memory since: the
        next copy declares that nothing before it will come, and this rejection does not count as a try.
        """
        message = self._unanswered.get(client_sequence)
        if message is None:
            return False, None
        message.copies_out -= 1
        if not message.in_flight:
            return False, None
        is_oldest = next(iter(self._unanswered)) == client_sequence
        for sequence, later in self._unanswered.items():
            if sequence >= client_sequence:
                later.in_flight = False
        if is_oldest and as_out_of_order and self._last_accepted:
            self._last_accepted = 0
        elif is_oldest:
            message.tries += 1
            if message.tries > retry_limit:
                return True, self._remove(client_sequence)
            self._save_number(message)
        return True, None

    def tries_of_oldest(self) -> int:
        """How often the oldest unanswered message was put off."""
        return next(iter(self._unanswered.values())).tries if self._unanswered else 0

    def oldest_waiting_since(self) -> int | None:
        """When the oldest message that is not in flight was queued, in ns."""
        for message in self._waiting():
            return message.queued_at
        return None

    def expire(self, queued_before: int) -> list[Queued]:
        """Give up messages queued at or before that time and not in flight."""
        expired = [message for message in self._waiting() if message.queued_at <= queued_before]
        for message in expired:
            self._drop(message)
        return expired

    def give_up_larger_than(self, bytes_max: int) -> list[Queued]:
        """Give up messages that exceed the server's limit and are not in flight."""
        too_large = [message for message in self._waiting() if message.size_bytes > bytes_max]
        for message in too_large:
            self._drop(message)
        return too_large

    def clear(self) -> list[Queued]:
        """Give up everything, oldest first."""
        everything = [*self._unanswered.values(), *self._queue.values()]
        self._unanswered.clear()
        self._queue.clear()
        self._bytes = 0
        return everything

    def _send(self, sequence: int, message: Queued, before: int) -> Message:
        message.in_flight = True
        message.copies_out += 1
        # The server knows that `sequence - 1` is settled if that number came directly before, or was accepted.
        follows = before == sequence - 1 or (before == 0 and self._last_accepted == sequence - 1)
        return Message(
            client_sequence=sequence, event_type=message.event_type, data=message.data, after=None if follows else before
        )

    def _waiting(self) -> Iterator[Queued]:
        yield from (message for message in self._unanswered.values() if not message.in_flight)
        yield from self._queue.values()

    def _make_room(self, message: Queued) -> list[Queued]:
        if message.size_bytes > self._bytes_max:
            raise OutboxFull(f"a message of {message.size_bytes} bytes; the outbox holds at most {self._bytes_max}")
        dropped: list[Queued] = []
        while len(self) - len(dropped) >= self._messages_max or (
            self._bytes - sum(old.size_bytes for old in dropped) + message.size_bytes > self._bytes_max
        ):
            victim = self._victim_for(message, dropped)
            if victim is None:
                raise OutboxFull(
                    f"{len(self)} messages of {self._bytes} bytes wait; the limits are {self._messages_max} and "
                    f"{self._bytes_max}. Wait for answers, or choose another outbox_policy"
                )
            dropped.append(victim)
        for old in dropped:
            self._drop(old)
        return dropped

    def _victim_for(self, message: Queued, dropped: list[Queued]) -> Queued | None:
        """The message to drop for `message` by the policy (7.2): always one that was never sent."""
        gone = {old.ticket for old in dropped}
        key = message.conflation_key
        for old in self._queue.values():
            if old.ticket not in gone and (
                self._policy == "drop_oldest" or (self._policy == "conflate" and key is not None and old.conflation_key == key)
            ):
                return old
        return None

    def _drop(self, message: Queued) -> None:
        if message.client_sequence is None:
            del self._queue[message.ticket]
            self._bytes -= message.size_bytes
            self._forget(message)
        else:
            self._remove(message.client_sequence)

    def _remove(self, client_sequence: int) -> Queued | None:
        message = self._unanswered.pop(client_sequence, None)
        if message is not None:
            self._bytes -= message.size_bytes
            self._forget(message)
        return message

    def _save_number(self, message: Queued) -> None:
        if self._save is not None and message.client_sequence is not None:
            self._save(NumberSaved(message.ticket, message.client_sequence, message.is_perhaps_lost, message.tries))

    def _forget(self, message: Queued) -> None:
        if self._save is not None:
            self._save(PublishForgotten(message.ticket))


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
            message.is_perhaps_lost = each.is_perhaps_lost
            message.tries = each.tries
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
                self._fail(message, result.code, result.message, server_counts=True)
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

    def _fail(self, message: Queued, code: str, reason: str, *, server_counts: bool = False) -> None:
        """`server_counts`: it was rejected for good, which the server counts itself."""
        self._record.failed += 1
        self._context.client_report.failed_messages += not server_counts
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
