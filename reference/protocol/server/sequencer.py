"""The sequencer of one run: turns publishes into numbered events, each publish once.

A client numbers its publishes. The sequencer takes them in that order and remembers its answers, so a duplicate gets the first
answer again. A numbered event is *pending* until the store has it; only then may its acknowledgement be sent. A final rejection
is remembered like an acceptance, and is sent only after everything that the run took before it is durable. Otherwise a crash
could make the server forget an earlier publish, although the client believes that it is settled (8.7, 8.9).

    duplicate of an answered publish   the same answer, marked as duplicate
    duplicate of a pending publish     answered when the first is answered
    the next number                    accepted or finally rejected; either way the number is used up
    a number after a hole              deferred, unless the client declares (`after`) that it gave the hole up

Each program that starts uses a new client id, so a run would run out of places for them. When a new one needs a place, the ids
that have published nothing for `clients_kept_s` are forgotten (8.3); the store forgets them with the next batch.

`Fold` is the state of the run: an event that would exceed its limits is refused before it is numbered.

`Appending` gives events to the store, one batch at a time. Everything published while a batch is being stored becomes the next
batch, so a busy run stores, encodes and pushes larger batches without a setting for it. A quiet run never waits.
"""

from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from reference.protocol import events
from reference.protocol.config import ServerConfig
from reference.protocol.errors import InvalidEvent, RejectCode
from reference.protocol.events import Data, Event, EventClass, EventRegistry, key_of
from reference.protocol.frames import Accepted, Message, Publish, Rejected, encoded_bytes
from reference.protocol.records import ANSWERS_KEPT, Append, LogEntry, RunState, Snapshot, StoredRun, retention
from reference.protocol.server.connection import PublishRate, TokenBucket
from reference.protocol.statistics import Held
from reference.protocol.timers import NS_PER_MS, ns

_OVERLOAD_RETRY_MS = 1000
_FORGOTTEN_AT_ONCE_MAX = 100
"""Client ids; the next one that needs a place has more of them forgotten."""

Answer = Accepted | Rejected


@dataclass(slots=True)
class _Publisher:
    """The deduplication memory of one client, and its rate limit."""

    user_id: str
    rate_limit: PublishRate
    used_at: int
    """When it published last, in ns."""
    last: int = 0
    is_stored: bool = False
    """Whether the store knows it, or is about to: whether an event of it was numbered."""
    answers: dict[int, Answer] = field(default_factory=dict)
    pending: dict[int, "_Pending"] = field(default_factory=dict)


class _Pending(msgspec.Struct):
    """A publish whose answer waits for the store. `reply_to`: the connections to be answered."""

    publisher: _Publisher
    answer: Answer
    reply_to: list[int]


class Reply(msgspec.Struct, frozen=True):
    """An answer that may be sent now."""

    connection_id: int
    answer: Answer


class Sequencer:
    """Bounded by ServerConfig: clients per run, answers per client, pending events."""

    def __init__(self, stored: StoredRun, config: ServerConfig, registry: EventRegistry) -> None:
        self._run_id = stored.run_id
        self._epoch = stored.epoch
        self._config = config
        self._registry = registry
        self._stored_clients = {client.client_id: client for client in stored.clients}
        """Clients that published before the run was loaded and not since: restoring all of them would take too long."""
        self._publishers: dict[str, _Publisher] = {}
        self._clients_of = Counter(client.user_id for client in stored.clients)
        self._kept_ns = ns(config.clients_kept_s)
        self._none_unused_before = 0
        """Until then no client id can have been unused for too long, in ns."""
        self._forgotten: list[str] = []  # since the last append
        self._fold = Fold(stored.snapshot.state)
        for event in stored.events:
            number = event.sequence_number
            if number is not None and number > stored.snapshot.sequence_number:
                self._fold.apply(event.event_type, event.data)
        self._head = stored.head  # of the numbered events; the log's head is that of the durable ones
        self._snapshot_at = stored.snapshot.sequence_number
        self._snapshot_due: Snapshot | None = None
        self._pending: deque[_Pending] = deque()
        self._to_append: list[LogEntry] = []
        self._replies: list[Reply] = []
        self._events_pending = 0

    @property
    def events_pending(self) -> int:
        """Events that are numbered and not yet durable."""
        return self._events_pending

    @property
    def publishers(self) -> int:
        """Client ids that have published."""
        return len(self._publishers) + len(self._stored_clients)

    def held(self) -> tuple[Held, ...]:
        """Everything that can grow; of per-client sizes, the largest."""
        config, everyone = self._config, self._publishers.values()
        unsettled = max((len(each.pending) for each in everyone), default=0)
        answers = [len(each.answers) for each in everyone] + [len(each.answers) for each in self._stored_clients.values()]
        pending = [pending for each in everyone for pending in each.pending.values()]
        return (
            Held("events that are not durable", self._events_pending, config.appends_pending_max),
            Held("clients that published", self.publishers, config.clients_per_run_max),
            Held("users whose clients published", len(self._clients_of), config.clients_per_run_max),
            Held("clients that the store is to forget", len(self._forgotten), config.clients_per_run_max),
            Held("answers kept for one client", max(answers, default=0), ANSWERS_KEPT),
            Held("pending publishes of one client", unsettled, config.unanswered_max),
            Held(
                "connections that wait for one answer",
                max((len(each.reply_to) for each in pending), default=0),
                config.connections_per_run_max,
            ),
        )

    def user_of(self, client_id: str) -> str | None:
        """The user to which this client id is bound, or None if it has never published."""
        publisher = self._publishers.get(client_id) or self._stored_clients.get(client_id)
        return None if publisher is None else publisher.user_id

    def last_of(self, client_id: str) -> int:
        """The newest number of that client that was taken; 0 if none."""
        publisher = self._publishers.get(client_id)
        stored = self._stored_clients.get(client_id)
        return publisher.last if publisher is not None else stored.last_client_sequence if stored is not None else 0

    def publish(self, client_id: str, user_id: str, publish: Publish | Message, connection_id: int, now: int) -> None:
        """Take one publish. `take_replies` returns its answer, now or once it is stored."""
        number = publish.client_sequence
        known = self._publishers.get(client_id) or self._restore(client_id)
        if known is None and (refusal := self._refuse_newcomer(number, user_id, now)) is not None:
            self._reply(connection_id, refusal)
            return
        publisher = known or self._new_publisher(user_id, now)
        publisher.used_at = now
        if number <= publisher.last:  # 8.2
            self._answer_again(publisher, number, connection_id)
            return
        size_bytes = encoded_bytes(publish.data)
        put_off = self._put_off(publisher, publish, size_bytes, now)
        if put_off is not None:
            self._reply(connection_id, put_off)
            return
        if known is None:  # and not before: of what was never taken there is nothing to remember
            self._publishers[client_id] = publisher  # bound from now on (10.3)
            self._clients_of[user_id] += 1
        self._take(publisher, client_id, publish, size_bytes, connection_id, now)

    @property
    def has_append(self) -> bool:
        """Whether anything has been numbered since the last `take_append`."""
        return bool(self._to_append)

    def take_append(self) -> Append | None:
        """The events numbered since the last call, to be stored."""
        if not self._to_append:
            return None
        entries, self._to_append = tuple(self._to_append), []
        snapshot, self._snapshot_due = self._snapshot_due, None
        oldest = retention(1, entries[-1].sequence_number - self._config.events_kept_max + 1, self._snapshot_at)
        forgotten, self._forgotten = tuple(self._forgotten), []
        return Append(self._run_id, self._epoch, entries, snapshot, oldest, forgotten)

    def appended(self, through: int) -> None:
        """Everything up to that sequence number is durable: the answers may be sent."""
        while self._pending:
            answer = self._pending[0].answer
            if type(answer) is Accepted:
                if answer.sequence_number > through:
                    return
                self._events_pending -= 1
            self._settle(self._pending.popleft())

    def take_replies(self) -> list[Reply]:
        if not self._replies:
            return self._replies
        replies, self._replies = self._replies, []
        return replies

    def forget_connection(self, connection_id: int, client_id: str) -> None:
        """Send no more answers to this connection, which was that client's. Costs nothing for other clients' publishes."""
        publisher = self._publishers.get(client_id)
        for pending in () if publisher is None else publisher.pending.values():
            if connection_id in pending.reply_to:
                pending.reply_to.remove(connection_id)

    def _refuse_newcomer(self, number: int, user_id: str, now: int) -> Rejected | None:
        """The rejection if there is no room for another client id of that user (8.3), else None."""
        reason = self._full_for(user_id)
        if reason is not None and now >= self._none_unused_before:
            self._forget_unused(user_id, now)
            reason = self._full_for(user_id)
        return None if reason is None else _rejected(number, RejectCode.TOO_MANY_CLIENTS, reason)

    def _full_for(self, user_id: str) -> str | None:
        if self.publishers >= self._config.clients_per_run_max:
            return f"client limit reached: {self.publishers} clients have published in this run"
        if self._clients_of[user_id] >= self._config.clients_per_user_max:
            return f"{self._clients_of[user_id]} clients of this user have published in this run, the limit"
        return None

    def _forget_unused(self, user_id: str, now: int) -> None:
        """Forget client ids that were not used for too long, first those of that user."""
        used_at = {each: stored.used_at * NS_PER_MS for each, stored in self._stored_clients.items()}
        used_at |= {each: publisher.used_at for each, publisher in self._publishers.items()}
        waits = {each for each, publisher in self._publishers.items() if publisher.pending}
        unused = [client_id for client_id, at in used_at.items() if at + self._kept_ns <= now and client_id not in waits]
        unused.sort(key=lambda client_id: self.user_of(client_id) != user_id)
        for client_id in unused[:_FORGOTTEN_AT_ONCE_MAX]:
            owner = self.user_of(client_id)
            assert owner is not None, "it is remembered"
            self._clients_of[owner] -= 1
            if not self._clients_of[owner]:
                del self._clients_of[owner]
            publisher = self._publishers.pop(client_id, None)
            if self._stored_clients.pop(client_id, None) is not None or (publisher is not None and publisher.is_stored):
                self._forgotten.append(client_id)
            del used_at[client_id]
        self._none_unused_before = min(used_at.values(), default=now) + self._kept_ns

    def _restore(self, client_id: str) -> _Publisher | None:
        """The publisher of a client id that published before the run was loaded and not since, or None."""
        stored = self._stored_clients.pop(client_id, None)
        if stored is None:
            return None
        publisher = self._publishers[client_id] = self._new_publisher(stored.user_id, stored.used_at * NS_PER_MS)
        publisher.last = stored.last_client_sequence
        publisher.is_stored = True
        publisher.answers = {number: Accepted(client_sequence=number, sequence_number=at) for number, at in stored.answers}
        return publisher

    def _new_publisher(self, user_id: str, used_at: int) -> _Publisher:
        """A publisher with full buckets (8.6)."""
        config = self._config
        publishes = TokenBucket(config.publishes_per_s, config.publish_burst)
        data_bytes = TokenBucket(config.publish_bytes_per_s, config.publish_bytes_burst)
        return _Publisher(user_id, PublishRate(publishes, data_bytes), used_at)

    def _answer_again(self, publisher: _Publisher, number: int, connection_id: int) -> None:
        pending = publisher.pending.get(number)
        answer = publisher.answers.get(number)
        if pending is not None:
            if connection_id not in pending.reply_to:
                pending.reply_to.append(connection_id)
        elif answer is not None:
            self._reply(connection_id, _of_a_copy(answer))
        else:
            reason = f"publish {number} is settled, or was given up, and its answer is no longer kept"
            self._reply(connection_id, _rejected(number, RejectCode.ANSWER_EXPIRED, reason))

    def _put_off(self, publisher: _Publisher, publish: Publish | Message, size_bytes: int, now: int) -> Rejected | None:
        """A rejection that does not use up the number, if there is a reason for one."""
        number, config = publish.client_sequence, self._config
        follows = number - 1 if publish.after is None else publish.after
        if publisher.last < follows:  # 8.5
            return _rejected(number, RejectCode.OUT_OF_ORDER, f"publish {follows} comes first; the last one was {publisher.last}")
        if len(publisher.pending) >= config.unanswered_max:  # 8.6, in this order
            return _rejected(number, RejectCode.TOO_MANY_UNANSWERED, f"{config.unanswered_max} publishes wait for their answers")
        if self._events_pending >= config.appends_pending_max:
            reason = f"{self._events_pending} events wait to be stored"
            return _rejected(number, RejectCode.OVERLOADED, reason, _OVERLOAD_RETRY_MS)
        # What is too large for any frame comes through, so that it is refused for good and not put off for ever.
        charged_bytes = size_bytes if size_bytes < config.frame_bytes_max else config.frame_bytes_max
        wait_ms, bytes_wait_ms = publisher.rate_limit.spend(now, charged_bytes)
        if wait_ms or bytes_wait_ms:
            what = f"{config.publishes_per_s:g} publishes" if wait_ms else f"{config.publish_bytes_per_s} bytes of publishes"
            return _rejected(number, RejectCode.RATE, f"more than {what} per second", max(wait_ms, bytes_wait_ms))
        return None

    def _take(
        self, publisher: _Publisher, client_id: str, publish: Publish | Message, size_bytes: int, connection_id: int, now: int
    ) -> None:
        number = publish.client_sequence
        answer: Answer
        judged = self._judge(publish, size_bytes)
        if type(judged) is Rejected:
            answer = judged
        else:
            self._head += 1  # 8.1
            event = Event(
                publish.event_type,
                publisher.user_id,  # 10.2
                now // NS_PER_MS,
                self._head,
                publish.data,
                judged is EventClass.CRITICAL,
            )
            self._record(LogEntry(event, client_id, number))
            publisher.is_stored = True
            answer = Accepted(client_sequence=number, sequence_number=self._head)
        publisher.last = number
        pending = _Pending(publisher, answer, [connection_id])
        publisher.pending[number] = pending
        if type(answer) is Rejected and not self._pending:  # else it waits in order (8.9)
            self._settle(pending)
        else:
            self._pending.append(pending)

    def _judge(self, publish: Publish | Message, size_bytes: int) -> EventClass | Rejected:
        """The class of the event, or a final rejection if there is a reason for one."""
        number = publish.client_sequence
        try:
            event_class = self._registry.check_publish(publish.event_type, publish.data)
        except InvalidEvent as error:
            if self._registry.class_of(publish.event_type) is None:
                return _rejected(number, RejectCode.UNKNOWN_EVENT_TYPE, f"unknown event type {publish.event_type!r}")
            return _rejected(number, RejectCode.INVALID_EVENT, str(error))
        if size_bytes > self._config.frame_bytes_max:  # a POST may carry more than a frame, an event may not
            reason = f"data of {size_bytes} bytes; the limit is {self._config.frame_bytes_max}"
            return _rejected(number, RejectCode.INVALID_EVENT, reason)
        if event_class is not EventClass.CRITICAL:
            return event_class
        entries_max, bytes_max = self._config.state_entries_max, self._config.state_bytes_max
        if not self._fold.has_room(publish.event_type, publish.data, entries_max, bytes_max):
            reason = f"the run's state is full: {self._fold.entries} entries, {self._fold.size_bytes} bytes"
            return _rejected(number, RejectCode.STATE_FULL, reason)
        return event_class

    def _record(self, entry: LogEntry) -> None:
        if entry.event.is_critical:
            self._fold.apply(entry.event.event_type, entry.event.data)
        self._to_append.append(entry)
        self._events_pending += 1
        if self._head - self._snapshot_at >= self._config.snapshot_interval_events:
            self._snapshot_due = self._fold.snapshot(self._head)
            self._snapshot_at = self._head

    def _settle(self, pending: _Pending) -> None:
        publisher, answer = pending.publisher, pending.answer
        del publisher.pending[answer.client_sequence]
        publisher.answers[answer.client_sequence] = answer
        while len(publisher.answers) > ANSWERS_KEPT:
            del publisher.answers[next(iter(publisher.answers))]
        reply_to = pending.reply_to
        if reply_to:
            self._replies.append(Reply(reply_to[0], answer))
        for connection_id in reply_to[1:]:
            self._reply(connection_id, _of_a_copy(answer))

    def _reply(self, connection_id: int, answer: Answer) -> None:
        self._replies.append(Reply(connection_id, answer))


def _rejected(number: int, code: RejectCode, message: str, retry_after_ms: int | None = None) -> Rejected:
    return Rejected(
        client_sequence=number, code=code, message=message, retryable=code.is_retryable, retry_after_ms=retry_after_ms
    )


def _of_a_copy(answer: Answer) -> Answer:
    """The answer to a publish that is sent again."""
    if isinstance(answer, Rejected):
        return answer
    return Accepted(client_sequence=answer.client_sequence, sequence_number=answer.sequence_number, duplicate=True)


class Fold:
    """The state of a run: the fold of its critical events (1.7), and its limits.

    Graft: the last write wins at each position. Prune: a set of steps. Flag: append-only. Events of other types do not change it.
    """

    def __init__(self, state: RunState) -> None:
        self._grafts: dict[str, Data] = dict(state.grafts)
        self._prunes: dict[str, None] = dict.fromkeys(state.prunes)
        self._flags: list[Data] = list(state.flags)
        self._graft_bytes = {position: _graft_bytes(position, data) for position, data in state.grafts.items()}
        self._entries_bytes = (
            sum(self._graft_bytes.values()) + sum(map(encoded_bytes, state.prunes)) + sum(map(encoded_bytes, state.flags))
        )

    @property
    def entries(self) -> int:
        return len(self._grafts) + len(self._prunes) + len(self._flags)

    @property
    def size_bytes(self) -> int:
        """Size of the state as JSON, as in a snapshot (1.8)."""
        commas = sum(max(0, len(entries) - 1) for entries in (self._grafts, self._prunes, self._flags))
        return _EMPTY_BYTES + self._entries_bytes + commas

    def apply(self, event_type: str, data: Data) -> None:
        """Apply one event (1.7). Its data has passed EventRegistry.check_publish."""
        match event_type:
            case events.GRAFT:
                position = key_of(event_type, data)
                size_bytes = _graft_bytes(position, data)
                self._entries_bytes += size_bytes - self._graft_bytes.get(position, 0)
                self._graft_bytes[position] = size_bytes
                self._grafts[position] = data
            case events.PRUNE:
                step = key_of(event_type, data)
                if step not in self._prunes:
                    self._prunes[step] = None
                    self._entries_bytes += encoded_bytes(step)
            case events.FLAG:
                self._flags.append(data)
                self._entries_bytes += encoded_bytes(data)
            case _:
                pass

    def has_room(self, event_type: str, data: Data, entries_max: int, bytes_max: int) -> bool:
        """Whether the event may be applied (1.8). An event that replaces an entry needs no new one, and an event that does not
        enlarge the state always has room: so a full state can be made smaller."""
        others: Collection[object]
        match event_type:
            case events.GRAFT:
                others = self._grafts
                position = key_of(event_type, data)
                replaced_bytes = self._graft_bytes.get(position)
                grows_bytes = _graft_bytes(position, data) - (replaced_bytes or 0)
                is_new = replaced_bytes is None
            case events.PRUNE:
                others = self._prunes
                step = key_of(event_type, data)
                is_new = step not in self._prunes
                grows_bytes = encoded_bytes(step) if is_new else 0
            case events.FLAG:
                others = self._flags
                is_new, grows_bytes = True, encoded_bytes(data)
            case _:
                return True
        if not is_new:
            return grows_bytes <= 0 or self.size_bytes + grows_bytes <= bytes_max
        comma_bytes = 1 if others else 0
        return self.entries < entries_max and self.size_bytes + grows_bytes + comma_bytes <= bytes_max

    def state(self) -> RunState:
        """A frozen copy."""
        return RunState(dict(self._grafts), tuple(sorted(self._prunes)), tuple(self._flags))

    def snapshot(self, sequence_number: int) -> Snapshot:
        return Snapshot(sequence_number, self.state())


_EMPTY_BYTES = encoded_bytes(RunState())


def _graft_bytes(position: str, data: Data) -> int:
    return encoded_bytes(position) + len(":") + encoded_bytes(data)


class Appending:
    """Owns the batch that is being stored."""

    __slots__ = ("_sequencer", "_under_way")

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._under_way: Append | None = None

    @property
    def events_in_flight(self) -> int:
        """Events of the batch that is being stored."""
        return 0 if self._under_way is None else len(self._under_way.entries)

    @property
    def has_next(self) -> bool:
        """Whether there is a next batch, and none is being stored (8.8)."""
        return self._under_way is None and self._sequencer.has_append

    def take(self) -> Append | None:
        """The next batch, if there is one and none is being stored."""
        if self.has_next:
            self._under_way = self._sequencer.take_append()
            return self._under_way
        return None

    def landed(self, append: Append) -> None:
        """The batch is durable."""
        assert append is self._under_way, "the store answers for the batch that it was given, once"
        self._under_way = None
        self._sequencer.appended(append.entries[-1].sequence_number)
