"""What a trace says, sorted once for everyone who judges or counts it.

One walk through the records; after it the checkers and counts look at one client, one publish or one stored number at a time.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from reference.protocol.errors import ConfigError
from reference.protocol.states import ClientState
from reference.protocol.timers import ns
from simulation.faults import Fault, HalfOpen, ServerRestart
from simulation.frames_seen import FrameSeen
from simulation.measured import MessagesMeasured
from simulation.trace import (
    Accepted,
    AnswerGiven,
    ClientRecord,
    ClientStarted,
    Delivered,
    EntryStored,
    Failed,
    FaultHappened,
    FaultOver,
    LeaveAsked,
    LogStored,
    PathTroubled,
    Published,
    PublishRefused,
    QueueSampled,
    Record,
    ResetTaken,
    RoundTripReported,
    ServerKilled,
    ServerStarted,
    ServerStopped,
    SessionJoined,
    SessionLeft,
    SessionOver,
    SnapshotTaken,
    StateTurned,
    Trace,
    TraceStarted,
    WorkSampled,
)

Progress = Delivered | SnapshotTaken | ResetTaken
"""A record that moves its client's position."""


@dataclass(slots=True)
class ClientFacts:
    """One client. `records` are all of it, in order."""

    name: str
    client_id: str
    user_id: str
    started_at: int
    records: list[ClientRecord] = field(default_factory=list)
    published: dict[int, Published] = field(default_factory=dict)
    accepted: dict[int, list[Accepted]] = field(default_factory=dict)
    failed: dict[int, list[Failed]] = field(default_factory=dict)
    refused: int = 0
    """Publishes that were not even queued."""
    epoch: str | None = None
    """Where it is at the end, as `position`."""
    position: int = 0
    state: ClientState = ClientState.NEW
    is_over: bool = False
    left_at: int | None = None
    """When its application left of its own will, in ns."""

    @property
    def is_live(self) -> bool:
        """Something carries its session at the end."""
        return self.state.is_connected and not self.is_over

    def progress(self) -> Iterator[Progress]:
        return (record for record in self.records if isinstance(record, Delivered | SnapshotTaken | ResetTaken))

    def turns(self) -> Iterator[StateTurned]:
        return (record for record in self.records if isinstance(record, StateTurned))


@dataclass(frozen=True, slots=True)
class Trouble:
    """A stretch of time, in ns, in which a fault (`kind`: its tag), or a path by itself, was at work on some clients; `clients`
    empty: on all."""

    kind: str
    start: int
    end: int
    clients: tuple[str, ...]

    def touches(self, client: str, start: int, end: int) -> bool:
        return (not self.clients or client in self.clients) and self.start <= end and start <= self.end


@dataclass(slots=True)
class Facts:
    """A whole trace."""

    started: TraceStarted
    clients: dict[str, ClientFacts] = field(default_factory=dict)
    entries: dict[tuple[str, int], list[EntryStored]] = field(default_factory=dict)
    log: LogStored | None = None
    """What the store holds at the end."""
    logs: dict[str, LogStored] = field(default_factory=dict)
    """By epoch: that, and what a store held that was lost."""
    visible_at: dict[tuple[str | None, int], int] = field(default_factory=dict)
    """When a number was first seen outside of the server, by anyone."""
    troubles: list[Trouble] = field(default_factory=list)
    kills: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    """When a server process ended by itself."""
    losses: list[int] = field(default_factory=list)
    """When the server was killed and its store was lost."""
    starts: list[ServerStarted] = field(default_factory=list)
    samples: list[QueueSampled] = field(default_factory=list)
    sessions: list[SessionJoined | SessionLeft] = field(default_factory=list)
    session_owners: dict[str, str] = field(default_factory=dict)
    """Which client id a session is of."""
    round_trips: list[RoundTripReported] = field(default_factory=list)
    answers: list[AnswerGiven | None] = field(default_factory=list)
    """In order. None: the store was lost, and with it the memory of what was answered."""
    work: list[WorkSampled] = field(default_factory=list)
    measured: MessagesMeasured | None = None
    """What stands for the messages of a run that was too large to keep them."""
    ended_at: int = 0

    @property
    def troubles_end(self) -> int:
        """When the last fault had ended, in ns; 0 if there was none."""
        return max((trouble.end for trouble in self.troubles), default=0)

    def entry(self, epoch: str | None, number: int) -> EntryStored | None:
        found = self.entries.get((epoch or "", number))
        return found[0] if found else None

    def is_retained(self, epoch: str | None, number: int) -> bool:
        """Whether the stored log, as the trace has it, says what this number was."""
        log = self.logs.get(epoch or "")
        return log is not None and number >= log.oldest

    def copies(self) -> Counter[tuple[str, str]]:
        """How often each publish stands in the stored log of each epoch."""
        ids = ((epoch, entry.publish_id) for (epoch, _), found in self.entries.items() for entry in found)
        return Counter((epoch, publish_id) for epoch, publish_id in ids if publish_id is not None)


def facts_of(trace: Trace) -> Facts:
    """Sort a trace. Raises ConfigError if it does not begin with TraceStarted."""
    records = iter(trace)
    first = next(records, None)
    if not isinstance(first, TraceStarted):
        raise ConfigError("a trace begins with trace_started; this one does not")
    facts = Facts(first)
    under_way: dict[Fault, list[int]] = {}
    for record in records:
        _take(facts, record, under_way)
    for fault, begun in under_way.items():  # never declared over: at work until the end
        facts.troubles += [Trouble(_kind(fault), start, facts.ended_at, fault.clients) for start in begun]
    facts.troubles.sort(key=lambda trouble: (trouble.start, trouble.end))
    return facts


def _kind(fault: Fault) -> str:
    return str(fault.__struct_config__.tag)


def _take(facts: Facts, record: Record, under_way: dict[Fault, list[int]]) -> None:
    match record:
        case EntryStored():
            facts.entries.setdefault((record.epoch, record.sequence_number), []).append(record)
            return
        case LogStored():
            facts.log = facts.logs[record.epoch] = record
        case ServerStopped(at=at):
            facts.stops.append(at)
        case WorkSampled():
            facts.work.append(record)
        case FaultHappened(at=at, fault=fault):
            if isinstance(fault, ServerRestart) and fault.loses_state:
                facts.losses.append(at)
                facts.answers.append(None)
            if hasattr(fault, "duration_s"):
                under_way.setdefault(fault, []).append(at)
            else:
                end = at + ns(facts.started.notice_bound_s) if isinstance(fault, HalfOpen) else at
                facts.troubles.append(Trouble(_kind(fault), at, end, fault.clients))
        case FaultOver(at=at, fault=fault):
            begun = under_way.get(fault, [])
            facts.troubles.append(Trouble(_kind(fault), begun.pop(0) if begun else at, at, fault.clients))
            if not begun:
                under_way.pop(fault, None)
        case PathTroubled(at=at, client=name, what=what, until=until):
            end = at + ns(facts.started.notice_bound_s) if what == "idle_silence" else until
            facts.troubles.append(Trouble(what, at, end, (name,)))
        case ServerStarted():
            facts.starts.append(record)
        case ServerKilled(at=at):
            facts.kills.append(at)
        case QueueSampled():
            facts.samples.append(record)
        case SessionJoined():
            facts.sessions.append(record)
            facts.session_owners[record.session_id] = record.client_id
        case SessionLeft():
            facts.sessions.append(record)
        case RoundTripReported():
            facts.round_trips.append(record)
        case AnswerGiven():
            facts.answers.append(record)
        case ClientStarted(at=at, client=name, client_id=client_id, user_id=user_id):
            facts.clients[name] = ClientFacts(name, client_id, user_id, at)
        case FrameSeen():
            return
        case MessagesMeasured():
            _take_measured(facts, record)
        case TraceStarted():
            raise ConfigError("a trace has one trace_started, at its beginning")
        case _:
            _take_of_client(facts, record)
    facts.ended_at = max(facts.ended_at, record.at)


def _take_measured(facts: Facts, measured: MessagesMeasured) -> None:
    facts.measured = measured
    for name, place in measured.clients.items():
        client = facts.clients.get(name)
        if client is None:
            raise ConfigError(f"the trace speaks of client {name!r}, which never started")
        client.epoch, client.position, client.refused = place.epoch, place.position, place.refused


def _take_of_client(facts: Facts, record: ClientRecord) -> None:
    client = facts.clients.get(record.client)
    if client is None:
        raise ConfigError(f"the trace speaks of client {record.client!r}, which never started")
    client.records.append(record)
    match record:
        case Delivered(epoch=epoch, sequence_number=number):
            client.epoch, client.position = epoch, number
            facts.visible_at.setdefault((epoch, number), record.at)
        case SnapshotTaken(epoch=epoch, sequence_number=number) | ResetTaken(epoch=epoch, sequence_number=number):
            client.epoch, client.position = epoch, number
        case StateTurned(state=state):
            client.state = state
        case Accepted(ticket=ticket):
            client.accepted.setdefault(ticket, []).append(record)
            facts.visible_at.setdefault((record.epoch, record.sequence_number), record.at)
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
        case _:
            pass
