"""The journal: records everything in a world without sockets as an ordinary trace. It checks nothing.

The adversarial world and the worlds of `simulation.testing` use it. Their parts report each thing where it becomes visible: a
frame when a socket takes it, an outcome when an application gets it, a batch when it is durable. `simulation.checks` then checks
the trace, like those of simulated and real runs. In the adversarial world the log in the trace is that of `model`, which keeps
the durable history in the simplest possible way.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reference.protocol import frames
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.events import Data, Event
from reference.protocol.records import Append, LogEntry
from reference.protocol.server.observations import FellBack, Observation
from reference.protocol.server.run import Run
from reference.protocol.states import Transport
from simulation.adversary.model import History, StoreModel
from simulation.trace.publishes import publish_id_of
from simulation.trace.trace import (
    AckSent,
    AlarmServed,
    AttemptMade,
    BeginningGiven,
    ByeTaken,
    CameToRest,
    ClientStarted,
    ClockStepped,
    ConnectionLeft,
    ConnectionLost,
    ConnectionRefused,
    CursorTaken,
    EventsCommitted,
    EventShown,
    FaultsStopped,
    FrameGiven,
    LeaveAsked,
    LogStored,
    PollingBegun,
    PositionHeld,
    Published,
    PublishSent,
    PublishTaken,
    QueueSampled,
    ReaderBlocked,
    ReadingTurned,
    RequestAnswered,
    RequestMade,
    RetryAsked,
    RosterGiven,
    RosterHeard,
    RosterSampled,
    ServerAlarmServed,
    ServerKilled,
    ServerStarted,
    ServerStopped,
    TokenTaken,
    Trace,
    TrespassAnswered,
    WaitAsked,
)
from simulation.trace.writer import record_answers, record_entry, record_frame, record_observations, record_outcomes


class Journal:
    """See the module. `clock` gives ns on the clients' clock."""

    def __init__(self, trace: Trace, clock: Callable[[], int]) -> None:
        self.trace = trace
        self._clock = clock
        self._positions: dict[str, tuple[str | None, int]] = {}
        self._holding: set[str] = set()
        self._most: dict[tuple[str, str], int] = {}
        """The maximum of each queue, by its place and name; recorded as it grows."""

    @property
    def now(self) -> int:
        return self._clock()

    # The store.

    def stored(self, append: Append) -> None:
        """A batch has become durable."""
        self._entries(append.epoch, append.entries)

    def history_lost(self, old: History, store: StoreModel) -> None:
        """The store was restored from an older copy: `old` is over, and a new history begins with what was kept."""
        self.log_is(old)
        self._entries(store.now.epoch, store.now.entries)

    def log_is(self, history: History) -> None:
        """The log of one history in the store, complete, folded by the model."""
        self.trace.add(
            LogStored(
                at=self.now,
                epoch=history.epoch,
                oldest=1,
                head=history.head,
                snapshot_number=history.head,
                snapshot_state=history.states[-1],
                is_whole=True,
            )
        )

    def entries_are(self, history: History) -> None:
        """All that a store holds of one history, recorded at once."""
        self._entries(history.epoch, history.entries)
        self.log_is(history)

    def _entries(self, epoch: str, entries: Iterable[LogEntry]) -> None:
        head = 0
        for entry in entries:
            record_entry(self.trace, epoch, entry.event, entry.client_id, entry.client_sequence, self.now)
            head = entry.sequence_number
        self.trace.add(EventsCommitted(at=self.now, epoch=epoch, head=head))

    # The server.

    def server_started(self, epoch: str, head: int) -> None:
        self._forget("server")
        self.trace.add(ServerStarted(at=self.now, epoch=epoch, head=head))

    def server_died(self) -> None:
        self.trace.add(ServerKilled(at=self.now))

    def server_stops(self, unstored: int) -> None:
        self.trace.add(ServerStopped(at=self.now, unstored=unstored))

    def frame_sent(self, client: str, connection_id: int, frame: frames.Frame, epoch: str, *, over_http: bool) -> None:
        """The run has sent a frame to a client's connection; batches of events are reported by `delivers`."""
        record_answers(self.trace, client, frame, self.now, epoch=epoch)
        if (roster := _roster_in(frame)) is not None:
            self.trace.add(RosterGiven(at=self.now, client_id=client, connection_id=connection_id, over_http=over_http, **roster))
        if not over_http and not isinstance(frame, frames.Events):
            last = frame.after_sequence if isinstance(frame, frames.Welcome) else 0
            self._given(client, connection_id, type(frame).__name__, epoch, 0, last)

    def delivers(self, client: str, connection_id: int, batch: frames.Events, epoch: str) -> None:
        """A connection's socket takes a batch."""
        first, last = batch.events[0].sequence_number or 0, batch.events[-1].sequence_number or 0
        self._given(client, connection_id, "Events", epoch, first, last)

    def _given(self, client: str, connection_id: int, frame: str, epoch: str, first: int, last: int) -> None:
        self.trace.add(
            FrameGiven(
                at=self.now, client_id=client, connection_id=connection_id, frame=frame, epoch=epoch, first=first, last=last
            )
        )

    def brings(self, client: str, connection_id: int, frame: frames.Frame, epoch: str, asked_after: int | None = None) -> None:
        """A frame or an answer to a poll arrived at a client from a server that is not observed. `epoch`: of the connection;
        asked_after: the position in the poll."""
        events: tuple[Event, ...] = ()
        match frame:
            case frames.Welcome():
                self._given(client, connection_id, "Welcome", frame.epoch, 0, frame.after_sequence)
            case frames.SnapshotFrame():
                self._given(client, connection_id, "Welcome", epoch, 0, frame.sequence_number)
            case frames.PollAnswer():
                is_resumed = frame.outcome == "resumed" and asked_after is not None
                begins = asked_after if is_resumed and asked_after is not None else frame.after_sequence
                self._given(client, connection_id, "PollAnswer", frame.epoch, 0, begins)
                events, epoch = frame.events, frame.epoch
            case frames.Events():
                events = frame.events
            case _:
                record_answers(self.trace, client, frame, self.now, epoch=epoch)
        for event in events:
            number = event.sequence_number or 0
            self._given(client, connection_id, "Events", epoch, number, number)
            shown = EventShown(
                at=self.now, client=client, epoch=epoch, sequence_number=number, publish_id=publish_id_of(event.data)
            )
            self.trace.add(shown)

    def publish_taken(self, client: str, connection_id: int, client_sequence: int) -> None:
        self.trace.add(PublishTaken(at=self.now, client_id=client, connection_id=connection_id, client_sequence=client_sequence))

    def reader_blocked(self, client: str, connection_id: int, is_blocked: bool) -> None:
        self.trace.add(ReaderBlocked(at=self.now, client_id=client, connection_id=connection_id, is_blocked=is_blocked))

    def server_alarm_served(self) -> None:
        self.trace.add(ServerAlarmServed(at=self.now))

    def clock_stepped(self) -> None:
        self.trace.add(ClockStepped(at=self.now))

    def token_taken(self, client: str, connection_id: int, good_for: int | None) -> None:
        """The server has accepted a WebSocket's token, valid for this many ns from now."""
        good_until = None if good_for is None else self.now + good_for
        self.trace.add(TokenTaken(at=self.now, client_id=client, connection_id=connection_id, good_until=good_until))

    def cursor_taken(self, client: str, data: Data) -> None:
        """The server has taken a cursor."""
        self.trace.add(CursorTaken(at=self.now, client_id=client, data=data))

    def bye_taken(self, client: str) -> None:
        self.trace.add(ByeTaken(at=self.now, client_id=client))

    def trespass_answered(self, client: str, frame: str, code: int | None = None) -> None:
        self.trace.add(TrespassAnswered(at=self.now, client_id=client, frame=frame, code=code))

    def hung_up(self, client: str, connection_id: int, code: int | None, message: str) -> None:
        """The server has closed a connection, or refused a request."""
        refused = ConnectionRefused(at=self.now, client_id=client, connection_id=connection_id, code=code, message=message)
        self.trace.add(refused)

    def observed(self, observations: Iterable[Observation]) -> None:
        """The observations of a run."""
        for observation in observations:
            if isinstance(observation, FellBack):
                client, session_id = observation.client_id, observation.session_id
                self.trace.add(PollingBegun(at=self.now, client_id=client, session_id=session_id))
            else:
                record_observations(self.trace, (observation,), self.now)

    def run_is(self, run: Run) -> None:
        """The sizes of a run."""
        self._watch("server", run)

    # The clients' drivers.

    def client_joins(self, client: str, user: str) -> None:
        self.trace.add(ClientStarted(at=self.now, client=client, client_id=client, user_id=user))

    def published(self, client: str, ticket: int, event_type: str, data: Data) -> None:
        self.trace.add(Published(at=self.now, client=client, ticket=ticket, event_type=event_type, data=data))

    def leaves(self, client: str) -> None:
        self.trace.add(LeaveAsked(at=self.now, client=client))

    def opens(self, client: str, connection_id: int, transport: Transport) -> None:
        self.trace.add(AttemptMade(at=self.now, client=client, connection_id=connection_id, transport=transport))

    def asks(self, client: str, connection_id: int, request: str) -> None:
        """An HTTP request leaves."""
        self.trace.add(RequestMade(at=self.now, client=client, connection_id=connection_id, request=request))

    def sends(self, client: str, connection_id: int, frame: frames.Frame, epoch: str | None) -> None:
        """A frame leaves on a WebSocket whose welcome named `epoch`."""
        if isinstance(frame, frames.Publish):
            number = frame.client_sequence
            self.trace.add(PublishSent(at=self.now, client=client, connection_id=connection_id, client_sequence=number))
        elif isinstance(frame, frames.Ack):
            self.trace.add(AckSent(at=self.now, client=client, epoch=epoch, sequence_number=frame.sequence_number))

    def closes(self, client: str, connection_id: int, code: int | None, message: str) -> None:
        left = ConnectionLeft(at=self.now, client=client, connection_id=connection_id, code=code, message=message)
        self.trace.add(left)

    def loses(self, client: str, connection_id: int, code: int | None, message: str, retry_after_ms: int | None) -> None:
        """The session is notified that a connection has ended."""
        lost = ConnectionLost(at=self.now, client=client, connection_id=connection_id, code=code, message=message)
        self.trace.add(lost)
        if retry_after_ms is not None:
            self.trace.add(WaitAsked(at=self.now, client=client, retry_after_ms=retry_after_ms))

    def hears(self, client: str, connection_id: int, frame: frames.Frame, *, begins_anywhere: bool) -> None:
        """A frame is about to be given to a session, on a connection that it has not left. `begins_anywhere`: it has no position
        and asked for no snapshot."""
        record_frame(self.trace, client, connection_id, frame, self.now)
        for result in frame.results if isinstance(frame, frames.PublishAnswer) else (frame,):
            if isinstance(result, frames.Rejected) and result.retryable:
                asked = RetryAsked(
                    at=self.now,
                    client=client,
                    connection_id=connection_id,
                    client_sequence=result.client_sequence,
                    retry_after_ms=result.retry_after_ms,
                )
                self.trace.add(asked)
        if (roster := _roster_in(frame)) is not None:
            epoch = frame.epoch if isinstance(frame, frames.PollAnswer) else None
            self.trace.add(RosterHeard(at=self.now, client=client, connection_id=connection_id, epoch=epoch, **roster))
        if isinstance(frame, frames.PollAnswer | frames.PublishAnswer):
            request, has_more = ("poll", frame.has_more) if isinstance(frame, frames.PollAnswer) else ("publishMany", False)
            answered = RequestAnswered(
                at=self.now, client=client, connection_id=connection_id, request=request, has_more=has_more
            )
            self.trace.add(answered)
        if begins_anywhere and isinstance(frame, frames.Welcome | frames.PollAnswer) and frame.outcome == "fresh":
            self.begins_at(client, frame.epoch, frame.after_sequence)

    def begins_at(self, client: str, epoch: str, number: int) -> None:
        """A session without a snapshot must get the events after this position."""
        self.trace.add(BeginningGiven(at=self.now, client=client, epoch=epoch, sequence_number=number))

    def reported(self, client: str, outcomes: Sequence[Outcome], epoch: str | None) -> None:
        """A session has delivered outcomes to its application; `epoch` is the session's after them."""
        record_outcomes(self.trace, client, outcomes, self.now, epoch=epoch)

    def reading_turned(self, client: str, *, is_holding: bool) -> None:
        """Recorded only if it turned: who reads again may poll at once (7.19), and who has read all along may not."""
        if is_holding != (client in self._holding):
            self._holding ^= {client}
            self.trace.add(ReadingTurned(at=self.now, client=client, is_holding=is_holding))

    def alarm_served(self, client: str) -> None:
        self.trace.add(AlarmServed(at=self.now, client=client))

    def session_is(self, client: str, session: ClientSession) -> None:
        """The position of a session, and its sizes."""
        position = session.position
        if self._positions.get(client, (None, 0)) != position:
            self._positions[client] = position
            epoch, number = position
            self.trace.add(PositionHeld(at=self.now, client=client, epoch=epoch, sequence_number=number))
        self._watch(client, session)

    # The world.

    def faults_stop(self) -> None:
        self.trace.add(FaultsStopped(at=self.now))

    def rests(self, *, is_blocked: bool = False) -> None:
        self.trace.add(CameToRest(at=self.now, is_blocked=is_blocked))

    def roster_is(self, place: str, users: tuple[str, ...], cursors: dict[str, Data]) -> None:
        self.trace.add(RosterSampled(at=self.now, place=place, users=users, cursors=cursors))

    def _watch(self, place: str, machine: ClientSession | Run) -> None:
        """Record each queue that is longer than ever before."""
        for held in machine.statistics().held:
            key = (place, held.what)
            if held.length > self._most.get(key, 0):
                self._most[key] = held.length
                self.trace.add(QueueSampled(at=self.now, place=place, queue=held.what, length=held.length, limit=held.limit))

    def _forget(self, place: str) -> None:
        """There is a new machine, perhaps with other limits."""
        for key in [key for key in self._most if key[0] == place]:
            del self._most[key]


def _roster_in(frame: frames.Frame) -> dict[str, Any] | None:
    """What a frame says of presence and cursors, as the fields of RosterGiven and RosterHeard; None: nothing."""
    match frame:
        case frames.Welcome() | frames.PollAnswer():
            return {"users": frame.active_users, "cursors": frame.cursor_positions}
        case frames.Presence():
            return {"users": frame.full, "joined": frame.joined, "left": frame.left}
        case frames.Cursors():
            return {"cursors": frame.full, "moved": frame.moved}
        case _:
            return None
