"""Trace index: one pass through the records, then queries by client, publish or sequence number.

`index_of` builds it. Below it are the queries that checkers and results share: how each client's position moved, which state it
had folded, when it was behind and nothing arrived. None of them is a verdict.
"""

import itertools
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from reference.protocol.errors import ConfigError
from reference.protocol.events import FLAG, GRAFT, PRUNE, Data
from reference.protocol.records import RunState
from reference.protocol.states import ClientState
from reference.protocol.timers import ns
from simulation.scenario.faults import Fault, HalfOpen, ServerRestart
from simulation.trace.frames_seen import FrameSeen
from simulation.trace.measured import MessagesMeasured
from simulation.trace.trace import (
    AcceptedRecord,
    AnswerGiven,
    BeginningGiven,
    ByeTaken,
    CameToRest,
    ClientRecord,
    ClientStarted,
    ClockStepped,
    ConnectionRefused,
    CursorTaken,
    Delivered,
    EntryStored,
    EventsCommitted,
    Failed,
    FaultHappened,
    FaultOver,
    FaultsStopped,
    FrameGiven,
    LeaveAsked,
    LogStored,
    PathTroubled,
    PollingBegun,
    Published,
    PublishRefused,
    PublishTaken,
    QueuePeaked,
    QueueSampled,
    ReaderBlocked,
    Record,
    ResetTaken,
    RosterGiven,
    RosterSampled,
    RoundTripReported,
    RoundTripTaken,
    ServerAlarmServed,
    ServerKilled,
    ServerRecord,
    ServerStarted,
    ServerStopped,
    SessionDeparted,
    SessionJoined,
    SessionLeft,
    SessionOver,
    SnapshotTaken,
    StateTurned,
    TokenTaken,
    Trace,
    TraceStarted,
    TrespassAnswered,
    WorkSampled,
)

Progress = Delivered | SnapshotTaken | ResetTaken
"""A record that moves its client's position."""


@dataclass(slots=True)
class ClientIndex:
    """One client. `records` are all its records, in order."""

    name: str
    client_id: str
    user_id: str
    started_at: int
    records: list[ClientRecord] = field(default_factory=list)
    published: dict[int, Published] = field(default_factory=dict)
    accepted: dict[int, list[AcceptedRecord]] = field(default_factory=dict)
    failed: dict[int, list[Failed]] = field(default_factory=dict)
    refused: int = 0
    """Publishes that were not even queued."""
    epoch: str | None = None
    """Its position at the end, as `position`."""
    position: int = 0
    has_begun: bool = False
    """Whether anything was delivered to its application."""
    state: ClientState = ClientState.NEW
    is_carried: bool = False
    is_over: bool = False
    left_at: int | None = None
    """When its application left deliberately, in ns."""

    @property
    def is_live(self) -> bool:
        """Whether a transport carries its session at the end."""
        return self.is_carried and not self.is_over

    def progress(self) -> Iterator[Progress]:
        return (record for record in self.records if isinstance(record, Delivered | SnapshotTaken | ResetTaken))

    def turns(self) -> Iterator[StateTurned]:
        return (record for record in self.records if isinstance(record, StateTurned))


@dataclass(frozen=True, slots=True)
class FaultInterval:
    """An interval, in ns, in which a fault (`kind`: its tag), or a path by itself, affected some clients; `clients` empty:
    all."""

    kind: str
    start: int
    end: int
    clients: tuple[str, ...]

    def touches(self, client: str, start: int, end: int) -> bool:
        return (not self.clients or client in self.clients) and self.start <= end and start <= self.end


@dataclass(slots=True)
class TraceIndex:
    """A whole trace."""

    started: TraceStarted
    clients: dict[str, ClientIndex] = field(default_factory=dict)
    entries: dict[tuple[str, int], list[EntryStored]] = field(default_factory=dict)
    log: LogStored | None = None
    """The contents of the store at the end."""
    logs: dict[str, LogStored] = field(default_factory=dict)
    """By epoch: the same, and the contents of a store that was lost."""
    visible_at: dict[tuple[str | None, int], int] = field(default_factory=dict)
    """When a number first appeared outside of the server, for any client."""
    troubles: list[FaultInterval] = field(default_factory=list)
    kills: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    """When a server process stopped by itself."""
    losses: list[int] = field(default_factory=list)
    """When the server was killed and its store was lost."""
    starts: list[ServerStarted] = field(default_factory=list)
    samples: list[QueueSampled] = field(default_factory=list)
    peaks: list[QueuePeaked] = field(default_factory=list)
    served: list[ServerRecord | ServerStarted | ServerKilled] = field(default_factory=list)
    """The work of server processes, in order."""
    rosters: list[RosterSampled] = field(default_factory=list)
    unstored: list[ServerStopped] = field(default_factory=list)
    """Ends of server processes that had not stored everything."""
    rest: CameToRest | None = None
    """The last time at which the world had settled."""
    sessions: list[SessionJoined | SessionLeft] = field(default_factory=list)
    session_owners: dict[str, str] = field(default_factory=dict)
    """The client id of each session."""
    round_trips: list[RoundTripReported] = field(default_factory=list)
    answers: list[AnswerGiven | None] = field(default_factory=list)
    """In order. None: the store was lost, and with it the memory of answers."""
    work: list[WorkSampled] = field(default_factory=list)
    measured: MessagesMeasured | None = None
    """The sums of a run that was too large to keep its messages."""
    ended_at: int = 0

    @property
    def faults_end(self) -> int:
        """When the last fault ended, in ns; 0 if there was none."""
        return max((trouble.end for trouble in self.troubles), default=0)

    def entry(self, epoch: str | None, number: int) -> EntryStored | None:
        found = self.entries.get((epoch or "", number))
        return found[0] if found else None

    def is_retained(self, epoch: str | None, number: int) -> bool:
        """Whether the stored log in the trace has the event of this number."""
        log = self.logs.get(epoch or "")
        return log is not None and number >= log.oldest

    def copies(self) -> Counter[tuple[str, str]]:
        """How often each publish is in the stored log of each epoch."""
        ids = ((epoch, entry.publish_id) for (epoch, _), found in self.entries.items() for entry in found)
        return Counter((epoch, publish_id) for epoch, publish_id in ids if publish_id is not None)


def index_of(trace: Trace) -> TraceIndex:
    """Build the index. Raises ConfigError if the trace does not begin with TraceStarted."""
    records = iter(trace)
    first = next(records, None)
    if not isinstance(first, TraceStarted):
        raise ConfigError("a trace begins with trace_started; this one does not")
    trace_index = TraceIndex(first)
    under_way: dict[Fault, list[int]] = {}
    for record in records:
        _take(trace_index, record, under_way)
    for fault, begun in under_way.items():  # never recorded as over: active until the end
        trace_index.troubles += [FaultInterval(_kind(fault), start, trace_index.ended_at, fault.clients) for start in begun]
    trace_index.troubles.sort(key=lambda trouble: (trouble.start, trouble.end))
    return trace_index


def _kind(fault: Fault) -> str:
    return str(fault.__struct_config__.tag)


def _take(trace_index: TraceIndex, record: Record, under_way: dict[Fault, list[int]]) -> None:
    match record:
        case EntryStored():
            trace_index.entries.setdefault((record.epoch, record.sequence_number), []).append(record)
            return
        case LogStored():
            trace_index.log = trace_index.logs[record.epoch] = record
        case ServerStopped(at=at, unstored=unstored):
            trace_index.stops.append(at)
            if unstored:
                trace_index.unstored.append(record)
        case WorkSampled():
            trace_index.work.append(record)
        case FaultHappened(at=at, fault=fault):
            if isinstance(fault, ServerRestart) and fault.loses_state:
                trace_index.losses.append(at)
                trace_index.answers.append(None)
            if hasattr(fault, "duration_s"):
                under_way.setdefault(fault, []).append(at)
            else:
                end = at + ns(trace_index.started.notice_bound_s) if isinstance(fault, HalfOpen) else at
                trace_index.troubles.append(FaultInterval(_kind(fault), at, end, fault.clients))
        case FaultOver(at=at, fault=fault):
            begun = under_way.get(fault, [])
            trace_index.troubles.append(FaultInterval(_kind(fault), begun.pop(0) if begun else at, at, fault.clients))
            if not begun:
                under_way.pop(fault, None)
        case PathTroubled(at=at, client=name, what=what, until=until):
            end = at + ns(trace_index.started.notice_bound_s) if what == "idle_silence" else until
            trace_index.troubles.append(FaultInterval(what, at, end, (name,)))
        case FaultsStopped(at=at):
            trace_index.troubles.append(FaultInterval("anything", 0, at, ()))
        case CameToRest():
            trace_index.rest = record
        case RosterSampled():
            trace_index.rosters.append(record)
        case ServerStarted():
            trace_index.starts.append(record)
            trace_index.served.append(record)
        case ServerKilled(at=at):
            trace_index.kills.append(at)
            trace_index.served.append(record)
        case SessionDeparted() | ClockStepped() | TokenTaken() | ByeTaken() | TrespassAnswered():
            trace_index.served.append(record)
        case RosterGiven() | CursorTaken() | PollingBegun():
            trace_index.served.append(record)
        case EventsCommitted() | FrameGiven() | PublishTaken() | ReaderBlocked() | ServerAlarmServed() | ConnectionRefused():
            trace_index.served.append(record)
        case QueueSampled():
            trace_index.samples.append(record)
        case QueuePeaked():
            trace_index.peaks.append(record)
        case SessionJoined():
            trace_index.sessions.append(record)
            trace_index.served.append(record)
            trace_index.session_owners[record.session_id] = record.client_id
        case SessionLeft():
            trace_index.sessions.append(record)
            trace_index.served.append(record)
        case RoundTripReported():
            trace_index.round_trips.append(record)
        case AnswerGiven():
            trace_index.answers.append(record)
            trace_index.served.append(record)
        case ClientStarted(at=at, client=name, client_id=client_id, user_id=user_id):
            trace_index.clients[name] = ClientIndex(name, client_id, user_id, at)
        case FrameSeen():
            return
        case MessagesMeasured():
            _take_measured(trace_index, record)
        case TraceStarted():
            raise ConfigError("a trace has one trace_started, at its beginning")
        case _:
            _take_of_client(trace_index, record)
    trace_index.ended_at = max(trace_index.ended_at, record.at)


def _take_measured(trace_index: TraceIndex, measured: MessagesMeasured) -> None:
    trace_index.measured = measured
    for name, place in measured.clients.items():
        client = trace_index.clients.get(name)
        if client is None:
            raise ConfigError(f"the trace has a record of client {name!r}, which never started")
        client.epoch, client.position, client.refused = place.epoch, place.position, place.refused


def _take_of_client(trace_index: TraceIndex, record: ClientRecord) -> None:
    client = trace_index.clients.get(record.client)
    if client is None:
        raise ConfigError(f"the trace has a record of client {record.client!r}, which never started")
    client.records.append(record)
    match record:
        case Delivered(epoch=epoch, sequence_number=number):
            client.epoch, client.position, client.has_begun = epoch, number, True
            trace_index.visible_at.setdefault((epoch, number), record.at)
        case SnapshotTaken(epoch=epoch, sequence_number=number) | ResetTaken(epoch=epoch, sequence_number=number):
            client.epoch, client.position, client.has_begun = epoch, number, True
        case BeginningGiven(epoch=epoch, sequence_number=number) if not client.has_begun:
            client.epoch, client.position = epoch, number
        case StateTurned(state=state, is_carried=is_carried):
            client.state, client.is_carried = state, is_carried
        case AcceptedRecord(ticket=ticket):
            client.accepted.setdefault(ticket, []).append(record)
            trace_index.visible_at.setdefault((record.epoch, record.sequence_number), record.at)
        case Failed(ticket=ticket):
            client.failed.setdefault(ticket, []).append(record)
        case Published(ticket=ticket):
            client.published[ticket] = record
        case PublishRefused():
            client.refused += 1
        case SessionOver():
            client.is_over = True
        case LeaveAsked(at=at):
            client.left_at = at
        case RoundTripTaken(at=at, round_trip_ms=round_trip_ms):  # the client's own measurement, if there is none of the server
            trace_index.session_owners[client.name] = client.client_id
            reported = RoundTripReported(at=at, session_id=client.name, round_trip_ms=round_trip_ms)
            trace_index.round_trips.append(reported)
        case _:
            pass


def recovered_at(client: ClientIndex, since: int, epoch: str, head: int) -> int | None:
    """Since when, but not before `since`, a transport has carried this client, at `head` or beyond, until the end; None if that
    is not so at the end. While it fetches a new token it counts as carried if it was before (`renewals`)."""
    ignored = renewals(client)
    is_connected, has_begun, reached = False, False, head == 0  # without events, there is nothing to deliver
    back_at: int | None = None
    for record in client.records:
        if isinstance(record, StateTurned):
            if id(record) not in ignored:
                is_connected = record.is_carried
        elif isinstance(record, Progress) or (isinstance(record, BeginningGiven) and not has_begun):
            has_begun = has_begun or not isinstance(record, BeginningGiven)
            reached = record.epoch == epoch and record.sequence_number >= head
        else:
            continue
        if not (is_connected and reached):
            back_at = None
        elif back_at is None:
            back_at = max(record.at, since)
    return back_at


def renewals(client: ClientIndex) -> set[int]:
    """The turns, by their id(), from the moment when a client needs a new token until a transport carries it again: a client that
    polls leaves its transport for each token, and comes back with its next answered poll."""
    turns, found, is_renewing = list(client.turns()), set(), False
    for turn, following in itertools.zip_longest(turns, turns[1:]):
        is_asked = turn.state is ClientState.REFRESHING or (
            following is not None and following.state is ClientState.REFRESHING and following.at == turn.at
        )
        is_renewing = not turn.is_carried and (is_asked or (is_renewing and turn.state.is_polling))
        if is_renewing:
            found.add(id(turn))
    return found


def interruptions(client: ClientIndex, ended_at: int) -> Iterator[tuple[int, int, bool]]:
    """The intervals, after the first connection, in which no transport carried this client: start and end in ns, and whether it
    reconnected. Else the client left then, or the trace ended."""
    lost_at: int | None = None
    was_connected = False
    for turn in client.turns():
        if turn.is_carried:
            if lost_at is not None:
                yield lost_at, turn.at, True
            lost_at, was_connected = None, True
        elif was_connected and lost_at is None:
            if turn.state is ClientState.CLOSED:
                return
            lost_at = turn.at
    if lost_at is not None:
        yield lost_at, ended_at if client.left_at is None else client.left_at, False


class _Sum:
    """The state of a run, folded independently of the protocol's fold, so that they check each other."""

    def __init__(self, state: RunState) -> None:
        self._grafts = dict(state.grafts)
        self._prunes = set(state.prunes)
        self._flags = list(state.flags)

    def add(self, event_type: str, data: Data) -> None:
        if event_type == GRAFT:
            self._grafts[data["position"]] = data
        elif event_type == PRUNE:
            self._prunes.add(data["step"])
        elif event_type == FLAG:
            self._flags.append(data)

    def state(self) -> RunState:
        return RunState(dict(self._grafts), tuple(sorted(self._prunes)), tuple(self._flags))


def states_claimed(trace_index: TraceIndex, epoch: str) -> dict[int, list[tuple[str, RunState]]]:
    """The states that clients were given or have folded, by number: the client, and the state."""
    claimed: dict[int, list[tuple[str, RunState]]] = {}
    for client in trace_index.clients.values():
        total: _Sum | None = None
        for record, _, position in steps(client):
            if record.epoch != epoch:
                total = None
            elif isinstance(record, Delivered):
                if record.sequence_number == 1:
                    total = _Sum(RunState())
                if total is not None:
                    total.add(record.event_type, record.data)
            else:
                if total is not None:
                    claimed.setdefault(position, []).append((client.name, total.state()))
                total = _Sum(record.state)
                claimed.setdefault(record.sequence_number, []).append((f"the snapshot given to {client.name}", record.state))
        if total is not None:
            claimed.setdefault(client.position, []).append((client.name, total.state()))
    return claimed


def states_stored(trace_index: TraceIndex, epoch: str, head: int, wanted: Container[int]) -> dict[int, RunState]:
    """The fold of a complete log, at the wanted numbers."""
    total = _Sum(RunState())
    states = {0: total.state()}
    for number in range(1, head + 1):
        entry = trace_index.entry(epoch, number)
        if entry is None:
            break
        total.add(entry.event_type, entry.data)
        if number in wanted:
            states[number] = total.state()
    return states


def steps(client: ClientIndex) -> Iterator[tuple[Progress, str | None, int]]:
    """Every record that moves the position, with the epoch and the position before it; epoch None: it had none, and its beginning
    was not recorded."""
    epoch: str | None = None
    position, has_begun = 0, False
    for record in client.records:
        if isinstance(record, Progress):
            yield record, epoch, position
            epoch, position, has_begun = record.epoch, record.sequence_number, True
        elif isinstance(record, BeginningGiven) and not has_begun:
            epoch, position = record.epoch, record.sequence_number


def quiet_stretches(client: ClientIndex, ended_at: int) -> Iterator[tuple[int, int, str | None, int]]:
    """The intervals in which the client was LIVE and nothing arrived: start and end in ns, epoch and position."""
    quiet_since: int | None = None
    epoch: str | None = None
    position = 0
    for record in client.records:
        match record:
            case Delivered() | SnapshotTaken() | ResetTaken():
                if quiet_since is not None:
                    yield quiet_since, record.at, epoch, position
                    quiet_since = record.at
                epoch, position = record.epoch, record.sequence_number
            case StateTurned(state=state):
                if quiet_since is not None:
                    yield quiet_since, record.at, epoch, position
                quiet_since = record.at if state is ClientState.LIVE else None
            case _:
                pass
    if quiet_since is not None:
        yield quiet_since, ended_at, epoch, position
