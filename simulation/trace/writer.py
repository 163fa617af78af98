"""Trace writer: converts the output of a machine to trace records, with the same functions in every world.

It interprets nothing; `index` and `checks` do. The last part does the same for a client's tap, the only way from a real session
into a trace. The simulator does not import the trio client; it recognises a tap's records by their fields.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, assert_never, runtime_checkable

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Close, Open, PauseReading, RefreshToken, ResumeReading, Save, Send
from reference.protocol.client.outcomes import (
    NotConnected,
    Outcome,
    PublishAccepted,
    PublishFailed,
    ResetReceived,
    SessionEnded,
    SnapshotReceived,
    StateChanged,
)
from reference.protocol.events import CURSOR_MOVE, USER_JOIN, USER_LEAVE, Data, Event
from reference.protocol.frames import Frame
from reference.protocol.records import LogEntry, StoredRun
from reference.protocol.server.observations import Departed, Joined, Left, Observation, RoundTripMeasured
from reference.protocol.session_trace import FORMAT_VERSION
from reference.protocol.states import Transport
from simulation.scenario.scenario import Scenario
from simulation.trace.aggregated import AggregatedTrace
from simulation.trace.trace import (
    AcceptedRecord,
    AnswerGiven,
    AttemptMade,
    BeginningGiven,
    ConnectionLeft,
    ConnectionLost,
    CursorSeen,
    EntryStored,
    Failed,
    LogStored,
    PresenceSeen,
    Published,
    RequestMade,
    ResetTaken,
    RoundTripReported,
    SessionDeparted,
    SessionJoined,
    SessionLeft,
    SessionOver,
    SnapshotTaken,
    StateTurned,
    Trace,
    TraceStarted,
    WaitAsked,
)


def begin_trace(scenario: Scenario, run_id: str) -> Trace:
    """The trace of a simulated run, with its first record."""
    trace = AggregatedTrace(scenario.warm_up_s) if scenario.record == "histograms" else Trace()
    trace.add(
        TraceStarted(
            at=0,
            format_version=FORMAT_VERSION,
            world="simulation",
            seed=scenario.seed,
            run_id=run_id,
            recovery_bound_s=scenario.recovery_bound_s,
            tail_bound_s=scenario.tail_bound_s,
            notice_bound_s=scenario.notice_bound_s,
            warm_up_s=scenario.warm_up_s,
            keeps=scenario.record,
        )
    )
    return trace


class HasPosition(Protocol):
    """A client session, or what stands for it."""

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and number of the last delivered event."""


def record_outcomes(
    trace: Trace,
    client: str,
    outcomes: Sequence[Outcome],
    now: int,
    *,
    epoch: str | None = None,
    session: HasPosition | None = None,
) -> None:
    """The outcomes delivered to the application of `client` at `now`, in ns since the run began.

    `session` has the position after these outcomes. It is needed only for a session that begins without a snapshot, because
    otherwise the outcomes have it; its beginning is recorded. `epoch` alone is for worlds that record the beginning themselves,
    or cannot."""
    entered = trace.epoch_of(client)
    if entered is None:
        entered, last = (epoch, 0) if session is None else session.position
        trace.enter_epoch(client, entered)
        if session is not None and entered is not None:
            _record_beginning(trace, client, outcomes, entered, last, now)
    for outcome in outcomes:
        match outcome:
            case Event():
                number = outcome.sequence_number
                if number is None:
                    _record_latest_value(trace, client, outcome, now)
                else:
                    trace.deliver(client, entered, number, outcome, now)
            case PublishAccepted(ticket=ticket, sequence_number=number, duplicate=duplicate):
                where = outcome.epoch or entered
                trace.add(
                    AcceptedRecord(at=now, client=client, ticket=ticket, epoch=where, sequence_number=number, duplicate=duplicate)
                )
            case PublishFailed():
                trace.add(
                    Failed(
                        at=now,
                        client=client,
                        ticket=outcome.ticket,
                        code=outcome.code,
                        message=outcome.message,
                        may_have_arrived=outcome.may_have_arrived,
                    )
                )
            case SnapshotReceived() | ResetReceived():
                entered = outcome.epoch
                trace.enter_epoch(client, entered)
                taken = SnapshotTaken if isinstance(outcome, SnapshotReceived) else ResetTaken
                trace.add(
                    taken(
                        at=now,
                        client=client,
                        epoch=entered,
                        sequence_number=outcome.snapshot.sequence_number,
                        state=outcome.snapshot.state,
                        reason=outcome.reason,
                    )
                )
            case StateChanged(state=state, is_carried=is_carried):
                trace.add(StateTurned(at=now, client=client, state=state, is_carried=is_carried))
            case NotConnected():
                pass  # the trace has the end of each connection
            case SessionEnded(code=code, message=message):
                trace.add(SessionOver(at=now, client=client, code=code, message=message))
            case _:
                raise AssertionError(f"{outcome!r} is no outcome of a client session")


def _record_beginning(trace: Trace, client: str, outcomes: Sequence[Outcome], epoch: str, number: int, now: int) -> None:
    """A session has a position for the first time, after these outcomes."""
    for outcome in outcomes:
        if isinstance(outcome, SnapshotReceived | ResetReceived):
            return  # it begins with that
        if isinstance(outcome, Event) and outcome.sequence_number is not None:
            number = outcome.sequence_number - 1
            break
    trace.add(BeginningGiven(at=now, client=client, epoch=epoch, sequence_number=number))


_REQUESTS = frozenset({frames.PollRequest, frames.PublishRequest})


def record_actions(trace: Trace, client: str, actions: Iterable[ClientAction], now: int) -> None:
    """The actions about connections that the driver of `client` carries out."""
    for action in actions:
        match action:
            case Send(connection_ids=connection_ids, frame=frame):
                if type(frame) in _REQUESTS:
                    request = "poll" if isinstance(frame, frames.PollRequest) else "publishMany"
                    trace.add(RequestMade(at=now, client=client, connection_id=connection_ids[0], request=request))
            case Open(connection_id=connection_id, transport=transport):
                trace.add(AttemptMade(at=now, client=client, connection_id=connection_id, transport=transport))
            case Close(connection_ids=connection_ids, code=code, message=message):
                for connection_id in connection_ids:
                    trace.add(ConnectionLeft(at=now, client=client, connection_id=connection_id, code=code, message=message))
            case RefreshToken() | PauseReading() | ResumeReading() | Save():
                pass
            case _:
                assert_never(action)


def record_loss(
    trace: Trace,
    client: str,
    connection_id: int,
    now: int,
    *,
    code: int | None = None,
    message: str = "",
    retry_after_ms: int | None = None,
) -> None:
    """The arguments of a `connection_lost` of the driver of `client`."""
    trace.add(ConnectionLost(at=now, client=client, connection_id=connection_id, code=code, message=message))
    if retry_after_ms is not None:
        trace.add(WaitAsked(at=now, client=client, retry_after_ms=retry_after_ms))


RECORDED_FRAMES = frozenset({frames.Goaway, frames.RequestFailed})
"""The frames of which `record_frame` records something."""


def record_frame(trace: Trace, client: str, connection_id: int, frame: frames.Frame, now: int) -> None:
    """A frame arrived at `client`: only what the retry rules need is recorded."""
    if isinstance(frame, frames.Goaway):
        trace.add(WaitAsked(at=now, client=client, retry_after_ms=frame.retry_after_ms, spread_ms=frame.spread_ms))
    elif isinstance(frame, frames.RequestFailed):
        trace.add(
            ConnectionLost(
                at=now,
                client=client,
                connection_id=connection_id,
                code=frame.code,
                message=frame.message,
                request=frame.request,
            )
        )
        if frame.retry_after_ms is not None:
            trace.add(WaitAsked(at=now, client=client, retry_after_ms=frame.retry_after_ms))


def record_observations(trace: Trace, observations: Iterable[Observation], now: int) -> None:
    """The observations of a run: which connection has which session."""
    for observation in observations:
        if isinstance(observation, Joined) and observation.transport is Transport.WEBSOCKET:
            trace.add(
                SessionJoined(
                    at=now,
                    client_id=observation.client_id,
                    session_id=observation.session_id,
                    connection_id=observation.connection_id,
                    outcome=observation.outcome,
                    replayed=observation.replayed,
                    is_return=observation.is_return,
                )
            )
        elif isinstance(observation, Departed):
            trace.add(SessionDeparted(at=now, client_id=observation.client_id, session_id=observation.session_id))
        elif isinstance(observation, RoundTripMeasured):
            session_id, round_trip_ms = observation.session_id, observation.round_trip_ms
            trace.add(RoundTripReported(at=now, session_id=session_id, round_trip_ms=round_trip_ms))
        elif isinstance(observation, Left):
            trace.add(
                SessionLeft(
                    at=now, session_id=observation.session_id, connection_id=observation.connection_id, code=observation.code
                )
            )


def record_answers(trace: Trace, client_id: str, frame: frames.Frame, now: int, *, epoch: str | None = None) -> None:
    """A frame that the server sends to `client_id`: the answers to publishes in it. `epoch`: of its run, if known."""
    match frame:
        case frames.Accepted() | frames.Rejected():
            _record_answer(trace, client_id, frame, now, epoch)
        case frames.PublishAnswer(results=results):
            for result in results:
                _record_answer(trace, client_id, result, now, epoch)
        case _:
            pass


def record_stored(trace: Trace, stored: StoredRun, now: int, entries: Iterable[LogEntry] | None = None) -> None:
    """The contents of the store at the end.

    `entries`: every event that was ever stored in this epoch, if the store has them; otherwise the retained events are recorded.
    """
    if entries is None:
        senders = {number: (client.client_id, sent) for client in stored.clients for sent, number in client.answers}
        for event in stored.events:
            client_id, client_sequence = senders.get(event.sequence_number or 0, (None, None))
            record_entry(trace, stored.epoch, event, client_id, client_sequence, now)
        oldest = stored.head - len(stored.events) + 1
    else:
        for entry in entries:
            record_entry(trace, stored.epoch, entry.event, entry.client_id, entry.client_sequence, now)
        oldest = 1
    trace.add(
        LogStored(
            at=now,
            epoch=stored.epoch,
            oldest=oldest,
            head=stored.head,
            snapshot_number=stored.snapshot.sequence_number,
            snapshot_state=stored.snapshot.state,
            is_whole=oldest == 1,
        )
    )


def _record_latest_value(trace: Trace, client: str, event: Event, now: int) -> None:
    if event.event_type == CURSOR_MOVE:
        trace.add(CursorSeen(at=now, client=client, user_id=event.user_id, data=event.data))
    else:
        assert event.event_type in (USER_JOIN, USER_LEAVE), "only latest values have no number"
        is_present = event.event_type == USER_JOIN
        trace.add(PresenceSeen(at=now, client=client, user_id=event.user_id, is_present=is_present))


def _record_answer(trace: Trace, client_id: str, answer: frames.Accepted | frames.Rejected, now: int, epoch: str | None) -> None:
    if isinstance(answer, frames.Accepted):
        trace.add(
            AnswerGiven(
                at=now,
                client_id=client_id,
                client_sequence=answer.client_sequence,
                sequence_number=answer.sequence_number,
                duplicate=answer.duplicate,
                epoch=epoch,
            )
        )
    elif not answer.retryable:
        sequence, code = answer.client_sequence, answer.code
        trace.add(AnswerGiven(at=now, client_id=client_id, client_sequence=sequence, code=code, epoch=epoch))


def record_entry(trace: Trace, epoch: str, event: Event, client_id: str | None, client_sequence: int | None, now: int) -> None:
    """One event of a stored log."""
    assert event.sequence_number is not None, "only sequenced events are stored"
    trace.add(
        EntryStored(
            at=now,
            epoch=epoch,
            sequence_number=event.sequence_number,
            event_type=event.event_type,
            user_id=event.user_id,
            data=event.data,
            client_id=client_id,
            client_sequence=client_sequence,
        )
    )


@runtime_checkable
class _Queued(Protocol):
    """The application has published."""

    ticket: int
    event_type: str
    data: Data


@runtime_checkable
class _Received(Protocol):
    """A frame has arrived."""

    connection_id: int
    frame: Frame


@runtime_checkable
class _Lost(Protocol):
    """A connection has ended."""

    connection_id: int
    code: int | None
    message: str
    retry_after_ms: int | None


def record_tapped(trace: Trace, client: str, what: Any, at: int) -> None:
    """Record a call of the tap of `client`; `at`: in ns since the trace began."""
    match what:
        case Open() | Close() | Send():
            record_actions(trace, client, [what], at)
        case RefreshToken():
            pass
        case _Queued(ticket=ticket, event_type=event_type, data=data):
            trace.add(Published(at=at, client=client, ticket=ticket, event_type=event_type, data=data))
        case _Lost(connection_id=connection_id, code=code, message=message, retry_after_ms=retry_after_ms):
            record_loss(trace, client, connection_id, at, code=code, message=message, retry_after_ms=retry_after_ms)
        case _Received(connection_id=connection_id, frame=frame):
            record_frame(trace, client, connection_id, frame, at)
            record_answers(trace, client, frame, at)
        case _:
            record_outcomes(trace, client, [what], at)
