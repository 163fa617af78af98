"""Delivery from a client session to its application: events in order and once, and no more than the application takes.

`Inbox` holds the position: epoch and number of the last delivered event. The next number is delivered. A number at or below the
position is a duplicate and is dropped. A higher number is held and means a gap, which only a reconnect with the position can
fill. Both transports feed the same inbox, even at the same time, while a WebSocket probe runs during polling.

A snapshot moves the position forward or into another epoch, never back in the same epoch: a slower transport does no harm.

`Roster` turns the server's latest values into events without a number (7.35): `USER_JOIN`, `USER_LEAVE` and `CURSOR_MOVE`.

`FlowControl` limits how many events wait until the application takes them: a slow application slows the server down.
"""

from collections.abc import Iterable

import msgspec

from reference.protocol import frames
from reference.protocol.client.context import ClientContext, Timer
from reference.protocol.client.outcomes import Outcome, ResetReceived, SnapshotReceived
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.events import CURSOR_MOVE, USER_JOIN, USER_LEAVE, Data, Event
from reference.protocol.frames import Cursors, Presence
from reference.protocol.records import Snapshot
from reference.protocol.timers import ns

_NEED_ROOM = (frames.Events, frames.SnapshotFrame, frames.PollAnswer)


class Received(msgspec.Struct, frozen=True):
    """The result of one batch. `gap`: a number between the position and the batch is missing."""

    deliver: list[Event]
    duplicates: int
    gap: bool


class Inbox:
    """Order, duplicates and gaps of one client in one run."""

    __slots__ = (
        "_held",
        "_held_max",
        "epoch",
        "last",
    )

    def __init__(self, held_max: int) -> None:
        self._held_max = held_max
        self._held: dict[int, Event] | None = None  # created when an event is missing for the first time
        self.epoch: str | None = None
        self.last = 0

    @property
    def held(self) -> int:
        """How many events are held because an earlier one is missing."""
        return len(self._held) if self._held else 0

    def start_at(self, epoch: str, sequence_number: int) -> None:
        """Take a new position: a snapshot covers everything up to `sequence_number` in `epoch`."""
        if epoch != self.epoch or sequence_number < self.last:
            self._held = None  # held events belong to the old history
        self.epoch = epoch
        self.last = sequence_number
        if self._held:
            self._held = {number: event for number, event in self._held.items() if number > sequence_number}

    def receive(self, events: Iterable[Event]) -> Received:
        """Classify a batch: events to deliver now, duplicates, and whether an event is missing."""
        deliver: list[Event] = []
        duplicates = 0
        if self._held:
            self._release(self._held, deliver)
        for event in events:
            number = event.sequence_number
            assert number is not None, "only sequenced events come in an events frame"
            if number == self.last + 1:  # 7.12
                self.last = number
                deliver.append(event)
                if self._held:
                    self._release(self._held, deliver)
            elif number <= self.last or (self._held and number in self._held):
                duplicates += 1
            elif self.held < self._held_max:
                if self._held is None:
                    self._held = {}
                self._held[number] = event
        return Received(deliver, duplicates, bool(self._held))

    def _release(self, held: dict[int, Event], deliver: list[Event]) -> None:
        while (event := held.pop(self.last + 1, None)) is not None:
            self.last += 1
            deliver.append(event)


class Roster:
    """The latest presence and cursors. Bounded by what the server sends, whose own tables are bounded."""

    __slots__ = (
        "_cursors",
        "_users",
    )

    def __init__(self) -> None:
        self._users: dict[str, None] = {}
        self._cursors: dict[str, Data] = {}

    @property
    def users(self) -> tuple[str, ...]:
        """Users who are present, sorted."""
        return tuple(sorted(self._users))

    @property
    def positions(self) -> dict[str, Data]:
        """Cursor positions, by user."""
        return dict(self._cursors)

    def full(self, users: tuple[str, ...], cursors: dict[str, Data], server_time: int) -> list[Event]:
        """Replace everything, as a welcome or a poll does."""
        if not (users or cursors or self._users or self._cursors):
            return []
        return self.presence(Presence(full=users, server_time=server_time)) + self.cursors(
            Cursors(full=cursors, server_time=server_time)
        )

    def presence(self, frame: Presence) -> list[Event]:
        joined, left = frame.joined, frame.left
        if frame.full is not None:
            now_here = frozenset(frame.full)
            joined, left = frame.full, tuple(user for user in self._users | self._cursors if user not in now_here)
        changes = []
        for user in joined:
            if user not in self._users:
                self._users[user] = None
                changes.append(_unnumbered(USER_JOIN, user, {}, frame.server_time))
        for user in left:
            if user in self._users or user in self._cursors:  # a cursor may arrive before its user's name
                self._users.pop(user, None)
                self._cursors.pop(user, None)
                changes.append(_unnumbered(USER_LEAVE, user, {}, frame.server_time))
        return changes

    def cursors(self, frame: Cursors) -> list[Event]:
        moved = frame.moved if frame.full is None else frame.full
        changes = []
        ended = [] if frame.full is None else [user for user in self._cursors if user not in moved]
        for user in ended:  # a cursor ends only with its user's presence, so a user who is here has left and returned (8.30)
            del self._cursors[user]
            changes.append(_unnumbered(USER_LEAVE, user, {}, frame.server_time))
            if user in self._users:
                changes.append(_unnumbered(USER_JOIN, user, {}, frame.server_time))
        for user, at in moved.items():
            if self._cursors.get(user) != at:
                self._cursors[user] = at
                changes.append(_unnumbered(CURSOR_MOVE, user, at, frame.server_time))
        return changes


def _unnumbered(event_type: str, user_id: str, data: Data, timestamp: int) -> Event:
    return Event(event_type, user_id, timestamp, None, data, False)


def is_sequenced(outcome: Outcome) -> bool:
    """Whether an outcome counts until the application takes it: latest values and answers do not count."""
    if type(outcome) is Event:
        return outcome.sequence_number is not None
    return isinstance(outcome, SnapshotReceived | ResetReceived)


class FlowControl:
    """Limits how many events wait until the application takes them.

    A session created with `outcomes_waiting_max` counts sequenced outcomes (numbered events, snapshots, resets) that it has
    delivered and the application has not taken yet (`ClientSession.application_took`). When the limit is reached, frames with
    events are postponed: the session delivers as many events as there is room for and asks its driver to stop reading from that
    connection (`PauseReading`). TCP's buffers fill, and the server sees a lagging reader. An application that takes at least one
    event within `patience_s` is served like this for as long as it likes, at its own speed.

    Pausing alone is not enough, because pongs and answers stand behind the events in the same byte stream. If nothing were read,
    the connection would count as half-open and be closed, and so would the next one. And an application that waits for its own
    publish inside its reading loop would wait for an answer behind events that only it can take. So when the application has
    taken nothing for `patience_s`, the session *holds* (protocol 7.19): it reads on, answers pings, takes answers and presence,
    but does not take the events; its position stays. When half of the room is free again, it goes on from its position with a
    resume. Nothing is dropped; a reader that has fallen too far behind gets a snapshot in place of the events it missed.

    Bounded by `outcomes_max` sequenced outcomes, and by one postponed frame for each connection that is read one frame at a time.

    waiting: sequenced outcomes that the application has not taken. is_holding: the session holds because nothing was taken.
    """

    __slots__ = ("_postponed", "_worth_waiting_for", "is_holding", "outcomes_max", "paused", "waiting")

    def __init__(self, outcomes_max: int) -> None:
        self.outcomes_max = outcomes_max
        self.waiting = 0
        self.is_holding = False
        self.paused: dict[int, None] = {}
        """Connections that the driver was asked not to read."""
        self._postponed: dict[int, list[frames.Frame]] = {}
        self._worth_waiting_for = max(1, outcomes_max // 4)

    @property
    def room(self) -> int:
        """How many more sequenced outcomes may be delivered now."""
        return max(0, self.outcomes_max - self.waiting)

    @property
    def is_half_empty(self) -> bool:
        return self.waiting <= self.outcomes_max // 2

    @property
    def postponed(self) -> int:
        """Frames that wait for room."""
        return sum(map(len, self._postponed.values()))

    @property
    def waits(self) -> tuple[int, ...]:
        """Connections with postponed frames."""
        return tuple(self._postponed)

    def must_queue(self, connection_id: int, frame: frames.Frame, *, is_stream: bool) -> bool:
        """Whether a frame must go through `postpone`: it needs room, or follows one that does on the same stream."""
        return isinstance(frame, _NEED_ROOM) or (is_stream and connection_id in self._postponed)

    def postpone(self, connection_id: int, frame: frames.Frame) -> None:
        self._postponed.setdefault(connection_id, []).append(frame)

    def forget(self, connection_id: int) -> None:
        """The connection is gone; the next one brings again what was not taken from it."""
        self._postponed.pop(connection_id, None)
        self.paused.pop(connection_id, None)

    def next_readable(self, *, takes_any: bool, is_patient: bool) -> tuple[int, frames.Frame] | None:
        """The next frame, or part of one, that may be delivered now. `takes_any`: events need no room, because they are not
        taken.

        `is_patient`: wait until there is room for the whole frame or for a good part of `outcomes_max`; otherwise a reader that
        is slightly too slow would be served event by event.
        """
        for connection_id, queue in self._postponed.items():
            frame = queue[0]
            wanted = len(frame.events) if isinstance(frame, frames.Events) else int(isinstance(frame, _NEED_ROOM))
            least = min(wanted, self._worth_waiting_for if is_patient else 1)
            if not takes_any and self.room < least:
                continue
            if takes_any or self.room >= wanted or not isinstance(frame, frames.Events):
                del queue[0]
                if not queue:
                    del self._postponed[connection_id]
                return connection_id, frame
            room = self.room
            queue[0] = frames.Events(frame.events[room:])
            return connection_id, frames.Events(frame.events[:room])
        return None

    def took(self, count: int) -> None:
        """The application has taken this many."""
        assert count <= self.waiting, "only what was handed over is taken"
        self.waiting -= count


class EventDelivery:
    """Owns the position, the roster and the acknowledgements. `flow`: None if the application takes everything at once."""

    __slots__ = (
        "_acked",
        "_announced",
        "_context",
        "_holding",
        "_is_tail_certain",
        "_known_head",
        "_passed_over",
        "_stream_epochs",
        "flow",
        "inbox",
        "roster",
    )

    def __init__(self, context: ClientContext, flow: FlowControl | None = None) -> None:
        self._context = context
        self.flow = flow
        self.inbox = Inbox(context.config.inbox_held_max)
        self.roster = Roster()
        self._announced: frames.Welcome | None = None  # its snapshot has not arrived yet
        self._stream_epochs: tuple[str | None, ...] = ()  # the histories that the WebSocket may be sending
        self._known_head = 0
        self._acked = 0
        self._holding = False
        self._is_tail_certain = False  # a heartbeat came after everything that was sent, and an event was missing
        self._passed_over = False  # events arrived while holding, and were not taken

    def hold(self) -> None:
        """Take no sequenced events until `release`."""
        self._holding = True
        self._context.timers.cancel(Timer.TAIL)

    def release(self, now: int) -> bool:
        """Take events again. Returns whether events were passed over, so that a resume is needed."""
        passed_over, self._holding, self._passed_over = self._passed_over, False, False
        self.head_is(self._known_head, now)
        return passed_over

    @property
    def is_holding(self) -> bool:
        return self._holding

    @property
    def stream_epoch(self) -> str | None:
        """The history that the WebSocket sends. It is not ours yet while its snapshot is being passed over."""
        return self._stream_epochs[-1]

    def greeted(self) -> None:
        """A WebSocket is open, and `hello` was sent with our position."""
        self._stream_epochs = (self.inbox.epoch,)

    def welcomed(self, welcome: frames.Welcome, now: int) -> None:
        """A WebSocket was welcomed and will send events, perhaps after a snapshot. Raises RemoteError."""
        self._check_history()
        self._stream_epochs = (self.inbox.epoch, welcome.epoch) if welcome.outcome != "resumed" else (welcome.epoch,)
        outcomes = self.roster.full(welcome.active_users, welcome.cursor_positions, welcome.server_time)
        self._context.outcomes += outcomes
        self._known_head = 0
        if welcome.outcome == "resumed":
            self.head_is(welcome.head, now)
        elif welcome.outcome == "fresh" and self._context.config.start != "snapshot":
            self._start_at(welcome.epoch, welcome.after_sequence)
            self._stream_epochs = (welcome.epoch,)
            self.head_is(welcome.head, now)
        else:
            self._announced = welcome

    def disconnected(self) -> None:
        """The WebSocket is lost; a snapshot that it announced is no longer expected."""
        self._announced = None
        self._passed_over = False
        self._known_head = 0
        for timer in (Timer.TAIL, Timer.ACK):
            self._context.timers.cancel(timer)

    def snapshot(self, frame: frames.SnapshotFrame, now: int) -> None:
        """The snapshot that a welcome announced. Raises RemoteError."""
        self._check_history()
        announced, self._announced = self._announced, None
        if announced is None:
            raise RemoteError(CloseCode.BAD_FRAME, "a snapshot that was not announced by welcome")  # 7.14
        if self._holding:
            self._passed_over = True
            return
        self._take_snapshot(announced, frame)
        self._stream_epochs = (announced.epoch,)
        self.head_is(announced.head, now)

    def events(self, events: Iterable[Event], now: int) -> bool:
        """A batch over WebSocket. Returns whether an event is missing. Raises RemoteError."""
        if self._announced is not None:
            raise RemoteError(CloseCode.BAD_FRAME, "events before the snapshot that welcome announced")
        self._check_history()
        deliver, gap = self._take_events(events)
        if deliver:
            if Timer.TAIL in self._context.timers.deadlines:
                self._context.timers.cancel(Timer.TAIL)
            if self._known_head > self.inbox.last:
                self.head_is(self._known_head, now)
        return gap

    def poll(self, answer: frames.PollAnswer, *, asked_in: str | None, takes_roster: bool) -> None:
        """The answer to a poll that was sent while our epoch was `asked_in`."""
        if self.inbox.epoch not in (asked_in, answer.epoch):
            return  # the WebSocket has moved us into another history meanwhile
        if self._holding:
            self._passed_over = True  # the next poll brings them again
        elif answer.snapshot is not None:
            self._take_snapshot(answer, answer.snapshot)
        elif answer.outcome == "fresh":
            self._start_at(answer.epoch, answer.after_sequence)
        if answer.epoch == self.inbox.epoch:  # else the answer is about a history that we have left meanwhile
            self._take_events(answer.events)
        if takes_roster:  # 7.35
            users, cursors = answer.active_users, answer.cursor_positions
            self._context.outcomes += self.roster.full(users, cursors, answer.server_time)

    @property
    def is_behind(self) -> bool:
        """Whether events are known to exist that have not arrived."""
        return self._known_head > self.inbox.last and not self._holding

    def heartbeat(self, head: int, now: int) -> None:
        """Everything up to `head` was sent on this stream before: an event that is still missing will not arrive (7.13)."""
        self.head_is(head, now)
        self._is_tail_certain = self.is_behind

    def bytes_came(self, now: int) -> None:
        """A large frame may be arriving: give it time, unless the missing events are certainly not in it."""
        if Timer.TAIL in self._context.timers.deadlines and not self._is_tail_certain:
            self._context.timers.set(Timer.TAIL, now + ns(self._context.config.tail_timeout_s))

    def head_is(self, head: int, now: int) -> None:
        """Events up to `head` exist. If they do not arrive, something was lost."""
        self._known_head = max(self._known_head, head)
        if self.is_behind and Timer.TAIL not in self._context.timers:
            self._is_tail_certain = False
            self._context.timers.set(Timer.TAIL, now + ns(self._context.config.tail_timeout_s))

    def ack_due(self, now: int) -> bool:
        """Whether to acknowledge at once; otherwise a timer does it later (7.18)."""
        unacknowledged = self.inbox.last - self._acked
        if unacknowledged < self._context.config.ack_events and Timer.ACK in self._context.timers.deadlines:
            return False
        if not self.may_ack:
            return False
        if unacknowledged >= self._context.config.ack_events:
            return True
        if unacknowledged > 0:
            self._context.timers.set(Timer.ACK, now + ns(self._context.config.ack_interval_s))
        return False

    @property
    def may_ack(self) -> bool:
        """Whether the WebSocket's server knows our position; it does not while its snapshot is being passed over."""
        return self._stream_epochs == (self.inbox.epoch,)

    def take_ack(self) -> frames.Ack:
        self._context.timers.cancel(Timer.ACK)
        self._acked = self.inbox.last
        return frames.Ack(self._acked)

    def _check_history(self) -> None:
        """Check that polling has not moved us into another history than the WebSocket's (7.17)."""
        if self.inbox.epoch not in self._stream_epochs:
            raise RemoteError(CloseCode.GOING_AWAY, "this connection is in a history that was left")

    def _take_events(self, events: Iterable[Event]) -> tuple[bool, bool]:
        """Returns whether an event was delivered, and whether one is missing."""
        if self._holding:
            self._passed_over = True
            return False, False
        received = self.inbox.receive(events)
        self._context.outcomes += received.deliver
        if self.flow is not None:
            self.flow.waiting += len(received.deliver)
        self._context.client_report.duplicates += received.duplicates
        return bool(received.deliver), received.gap

    def _start_at(self, epoch: str, sequence_number: int) -> None:
        """Begin without a snapshot (7.16). A position in this epoch that the other transport has set meanwhile is kept."""
        if epoch != self.inbox.epoch:
            self.inbox.start_at(epoch, sequence_number)
            self._acked = sequence_number

    def _take_snapshot(self, announced: frames.Welcome | frames.PollAnswer, frame: frames.SnapshotFrame) -> None:
        same_epoch = announced.epoch == self.inbox.epoch
        was_ahead = announced.reason == "ahead" and self.inbox.last > announced.head
        if same_epoch and not was_ahead and frame.sequence_number <= self.inbox.last:  # 7.15
            return
        snapshot = Snapshot(frame.sequence_number, frame.state)
        self.inbox.start_at(announced.epoch, frame.sequence_number)
        self._acked = frame.sequence_number
        kind = ResetReceived if announced.outcome == "reset" else SnapshotReceived
        self._context.outcomes.append(kind(announced.epoch, snapshot, announced.reason))
        if self.flow is not None:
            self.flow.waiting += 1
