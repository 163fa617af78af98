"""One client's record as a trace, with what the network did concluded from what the client met (`conclusions`).

What others published is seen only when it arrives. In a stretch without a connection their events are taken as evenly spread.
"""

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.events import Data
from reference.protocol.records import RunState
from reference.protocol.session_record import (
    ConnectionEnded,
    ConnectionTried,
    EventCame,
    PublishQueued,
    PublishSettled,
    RecordStarted,
    RoundTripTaken,
    SessionLine,
    SessionTurned,
    SnapshotCame,
)
from reference.protocol.timers import NS_PER_S
from simulation.replay.conclusions import Assumption, concluded_faults
from simulation.scenario.faults import Fault
from simulation.trace.publishes import publish_data
from simulation.trace.trace import (
    AcceptedRecord,
    AttemptMade,
    ClientStarted,
    ConnectionLeft,
    ConnectionLost,
    Delivered,
    Failed,
    FaultHappened,
    FaultOver,
    Published,
    Record,
    ResetTaken,
    RoundTripReported,
    SessionJoined,
    SnapshotTaken,
    StateTurned,
    Trace,
)
from simulation.trace.writer import start_trace

ME, OTHERS = "me", "others"
"""The clients of such a trace."""
EPOCH = "recorded"
WAIT_S_MAX, ROUND_TRIP_S_MAX = 60.0, 5.0


def _server_for(client: ClientConfig) -> ServerConfig:
    """A recording does not tell how its server was set; it has waited for as long as this client may say nothing."""
    usual = ServerConfig()
    return msgspec.structs.replace(usual, silence_max_s=max(usual.silence_max_s, min(2 * client.ping_interval_s, 86_400.0)))


def trace_of(lines: Sequence[SessionLine], assumption: Assumption) -> Trace:
    """The trace of one client among others."""
    first = lines[0]
    assert isinstance(first, RecordStarted), "decode_lines has seen to it"
    trace = start_trace(
        world="real",
        seed=0,
        run_id=first.run_id,
        client=first.config,
        server=_server_for(first.config),
        wait_max_s=WAIT_S_MAX,
        round_trip_max_s=ROUND_TRIP_S_MAX,
        policy=first.policy,
    )
    records: list[tuple[int, int, Record]] = []

    def add(record: Record) -> None:
        records.append((record.at, len(records), record))

    add(ClientStarted(at=0, client=ME, client_id=ME, user_id=ME))
    add(ClientStarted(at=0, client=OTHERS, client_id=OTHERS, user_id=OTHERS))
    add(SessionJoined(at=0, client_id=ME, session_id=ME, connection_id=0, outcome="fresh", replayed=0, is_return=False))
    add(StateTurned(at=0, client=ME, state=first.state, is_carried=first.is_carried))
    for line in lines:
        for record in _records(line):
            add(record)
    for number, (at, event_type, size_bytes) in enumerate(_of_others(lines)):
        data = publish_data(f"{OTHERS}:{number}", filler="." * max(0, size_bytes - 40))
        add(Published(at=at, client=OTHERS, ticket=number, event_type=event_type, data=data))
    for fault, is_over in _faults(lines, assumption):
        add(FaultOver(at=round(fault.end_s * NS_PER_S), fault=fault) if is_over else _happened(fault))
    for _, _, record in sorted(records, key=lambda item: item[:2]):
        trace.add(record)
    return trace


def _happened(fault: Fault) -> FaultHappened:
    return FaultHappened(at=round(fault.at_s * NS_PER_S), fault=fault)


def _records(line: SessionLine) -> Iterator[Record]:
    at = line.at
    match line:
        case PublishQueued(ticket=ticket, event_type=event_type, size_bytes=size_bytes):
            data: Data = publish_data(f"{ME}:{ticket}", filler="." * max(0, size_bytes - 40))
            yield Published(at=at, client=ME, ticket=ticket, event_type=event_type, data=data)
        case PublishSettled(ticket=ticket, sequence_number=int(number)):
            yield AcceptedRecord(at=at, client=ME, ticket=ticket, epoch=EPOCH, sequence_number=number)
        case PublishSettled(ticket=ticket, code=code):
            yield Failed(at=at, client=ME, ticket=ticket, code=code or "", message="")
        case ConnectionTried(connection_id=connection_id, transport=transport):
            yield AttemptMade(at=at, client=ME, connection_id=connection_id, transport=transport)
        case ConnectionEnded(connection_id=connection_id, by_client=True, code=code):
            yield ConnectionLeft(at=at, client=ME, connection_id=connection_id, code=code)
        case ConnectionEnded(connection_id=connection_id, code=code):
            yield ConnectionLost(at=at, client=ME, connection_id=connection_id, code=code)
        case SessionTurned(state=state, is_carried=is_carried):
            yield StateTurned(at=at, client=ME, state=state, is_carried=is_carried)
        case RoundTripTaken(round_trip_ms=round_trip_ms):
            yield RoundTripReported(at=at, session_id=ME, round_trip_ms=round_trip_ms)
        case EventCame(sequence_number=number, event_type=event_type):
            yield Delivered(at=at, client=ME, epoch=EPOCH, sequence_number=number, event_type=event_type, user_id=OTHERS, data={})
        case SnapshotCame(sequence_number=number, is_reset=is_reset):
            kind = ResetTaken if is_reset else SnapshotTaken
            yield kind(at=at, client=ME, epoch=EPOCH, sequence_number=number, state=RunState())
        case RecordStarted():
            pass


def _of_others(lines: Sequence[SessionLine]) -> Iterator[tuple[int, str, int]]:
    """When others published, as far as can be told: time, type and size."""
    mine = {line.sequence_number for line in lines if isinstance(line, PublishSettled)}  # only ever asked
    cut_at: int | None = None
    for at, group in itertools.groupby(lines, key=lambda line: line.at):
        moment = list(group)
        came = [line for line in moment if isinstance(line, EventCame) and line.sequence_number not in mine]
        since = at if cut_at is None else cut_at
        for number, line in enumerate(came, start=1):
            yield since + (at - since) * number // len(came), line.event_type, line.size_bytes
        cut_at = None if came else cut_at
        if any(isinstance(line, SessionTurned) and not line.is_carried for line in moment) and cut_at is None:
            cut_at = at


def _faults(lines: Sequence[SessionLine], assumption: Assumption) -> Iterator[tuple[Fault, bool]]:
    for concluded in concluded_faults(lines, assumption):
        fault = msgspec.structs.replace(concluded, clients=(ME,))
        yield fault, False
        if hasattr(fault, "duration_s"):
            yield fault, True
