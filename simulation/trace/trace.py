"""The trace: the events of one run, simulated or real, as one list of small frozen records.

Every check, count and figure is computed from a trace alone: simulated and real runs use the same records. `writer` has the
functions that write it, the same for both.

    subject    records
    the world  TraceStarted, FaultHappened, FaultOver, PathTroubled, FaultsStopped, CameToRest,
               ServerStarted, ServerKilled, ServerStopped, QueueSampled, QueuePeaked, WorkSampled, RosterSampled
    a client   ClientStarted, Published, PublishRefused, CursorMoved, LeaveAsked (requests)
               Accepted, Failed, Delivered, SnapshotTaken, ResetTaken, StateTurned, SessionOver (deliveries)
               PresenceSeen, CursorSeen (latest values, beside the log)
               AttemptMade, RequestMade, ConnectionLost, ConnectionLeft, WaitAsked, RoundTripTaken (its driver)
               PositionHeld, BeginningGiven, EventShown, PublishSent, RetryAsked, AckSent, AlarmServed, RequestAnswered,
               ReadingTurned, RosterHeard (in worlds that see every frame)
    a server   SessionJoined, SessionLeft, SessionDeparted, RoundTripReported, AnswerGiven
               EventsCommitted, FrameGiven, PublishTaken, ReaderBlocked, ServerAlarmServed, ClockStepped, TokenTaken, ByeTaken,
               RosterGiven, CursorTaken, PollingBegun, TrespassAnswered, ConnectionRefused (in worlds that see every frame)
    the store  LogStored, EntryStored (at the end, and before a fault deletes it)

`at` is in whole ns since the run began, by one clock for the whole trace; records are in the order of the events, also for equal
times. A trace is of one run of the protocol. Its file has JSON lines; equal runs give equal bytes.

A publish is identified by `data["publishId"]`, which the publisher sets (`simulation.trace.publishes`). In a run that is too
large for a record per message, one record of sums at the end replaces them (`simulation.trace.measured`).
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path as FilePath

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.events import Event
from reference.protocol.session_trace import (
    FORMAT_VERSION,
    AcceptedRecord,
    AttemptMade,
    ClientStarted,
    ConnectionLeft,
    ConnectionLost,
    Delivered,
    Failed,
    Published,
    RequestMade,
    ResetTaken,
    RoundTripTaken,
    SessionOver,
    SnapshotTaken,
    StateTurned,
    TraceStarted,
    WaitAsked,
)
from simulation.trace.records import (
    AckSent,
    AlarmServed,
    AnswerGiven,
    AskedRecord,
    BeginningGiven,
    ByeTaken,
    CameToRest,
    ClientRecord,
    ClockStepped,
    ConnectionRefused,
    CursorMoved,
    CursorSeen,
    CursorTaken,
    DriverRecord,
    EntryStored,
    EventsCommitted,
    EventShown,
    FaultHappened,
    FaultOver,
    FaultsStopped,
    FrameGiven,
    LeaveAsked,
    LifeRecord,
    LogStored,
    OutcomeRecord,
    PathTrouble,
    PathTroubled,
    PollingBegun,
    PositionHeld,
    PresenceSeen,
    PublishRefused,
    PublishSent,
    PublishTaken,
    QueuePeaked,
    QueueSampled,
    ReaderBlocked,
    ReadingTurned,
    Record,
    RequestAnswered,
    RetryAsked,
    RosterGiven,
    RosterHeard,
    RosterSampled,
    RoundTripReported,
    ServerAlarmServed,
    ServerKilled,
    ServerRecord,
    ServerStarted,
    ServerStopped,
    SessionDeparted,
    SessionJoined,
    SessionLeft,
    StoreRecord,
    TokenTaken,
    TrespassAnswered,
    WatchedRecord,
    WatchedServerRecord,
    WorkSampled,
    WorldRecord,
)

__all__ = [
    "FORMAT_VERSION",
    "AcceptedRecord",
    "AckSent",
    "AlarmServed",
    "AnswerGiven",
    "AskedRecord",
    "AttemptMade",
    "BeginningGiven",
    "ByeTaken",
    "CameToRest",
    "ClientRecord",
    "ClientStarted",
    "ClockStepped",
    "ConnectionLeft",
    "ConnectionLost",
    "ConnectionRefused",
    "CursorMoved",
    "CursorSeen",
    "CursorTaken",
    "Delivered",
    "DriverRecord",
    "EntryStored",
    "EventShown",
    "EventsCommitted",
    "Failed",
    "FaultHappened",
    "FaultOver",
    "FaultsStopped",
    "FrameGiven",
    "LeaveAsked",
    "LifeRecord",
    "LogStored",
    "OutcomeRecord",
    "PathTrouble",
    "PathTroubled",
    "PollingBegun",
    "PositionHeld",
    "PresenceSeen",
    "PublishRefused",
    "PublishSent",
    "PublishTaken",
    "Published",
    "QueuePeaked",
    "QueueSampled",
    "ReaderBlocked",
    "ReadingTurned",
    "Record",
    "RequestAnswered",
    "RequestMade",
    "ResetTaken",
    "RetryAsked",
    "RosterGiven",
    "RosterHeard",
    "RosterSampled",
    "RoundTripReported",
    "RoundTripTaken",
    "ServerAlarmServed",
    "ServerKilled",
    "ServerRecord",
    "ServerStarted",
    "ServerStopped",
    "SessionDeparted",
    "SessionJoined",
    "SessionLeft",
    "SessionOver",
    "SnapshotTaken",
    "StateTurned",
    "StoreRecord",
    "TokenTaken",
    "Trace",
    "TraceStarted",
    "TrespassAnswered",
    "WaitAsked",
    "WatchedRecord",
    "WatchedServerRecord",
    "WorkSampled",
    "WorldRecord",
]

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: "msgspec.json.Decoder[Record]" = msgspec.json.Decoder(Record)


class Trace:
    """Records in the order of events. Append-only; as long as the run."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: list[Record] = list(records)
        self._epochs: dict[str, str | None] = {}
        self.add: Callable[[Record], None] = self._records.append
        """Append one record."""

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def epoch_of(self, client: str) -> str | None:
        """The history in which this client last was, as far as it was recorded here."""
        return self._epochs.get(client)

    def enter_epoch(self, client: str, epoch: str | None) -> None:
        self._epochs[client] = epoch

    def deliver(self, client: str, epoch: str | None, number: int, event: Event, now: int) -> None:
        """A sequenced event was delivered to the application. There is one for each client and event, so a trace that keeps none
        of them overrides this without creating a record."""
        self.add(
            Delivered(
                at=now,
                client=client,
                epoch=epoch,
                sequence_number=number,
                event_type=event.event_type,
                user_id=event.user_id,
                data=event.data,
            )
        )

    def finish(self, now: int) -> None:
        """The run has ended; only the contents of the store may still be added."""

    def to_bytes(self) -> bytes:
        """JSON lines. Equal traces give equal bytes."""
        return _encoder.encode_lines(self._records)

    def digest(self) -> str:
        """A hash of this trace, in hex."""
        return blake2b(self.to_bytes(), digest_size=16).hexdigest()

    def write(self, path: FilePath) -> None:
        """Write JSON lines; raises OSError."""
        path.write_bytes(self.to_bytes())

    @classmethod
    def read(cls, path: FilePath) -> "Trace":
        """Read a file of `write`, or a client's own recording, whose last line may be incomplete. Raises OSError, or ConfigError
        that names the wrong line or the file's format version."""
        *lines, rest = path.read_bytes().split(b"\n")
        started = _started(path, lines[0] if lines else rest)
        if rest and started.keeps != "session":
            lines.append(rest)
        records: list[Record] = [started]
        for number, line in enumerate(lines[1:], start=2):
            try:
                records.append(_decoder.decode(line))
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise ConfigError(f"{path}, line {number}: not a record of a trace: {error}") from None
        return cls(records)


class _Head(msgspec.Struct):
    """The first line of any version; before version 2 the version was missing, or had another name."""

    record: str = ""
    format_version: int | None = None


_head_decoder = msgspec.json.Decoder(_Head)
_started_decoder = msgspec.json.Decoder(TraceStarted)


def _started(path: FilePath, line: bytes) -> TraceStarted:
    """The first record of a file. Raises ConfigError."""
    try:
        head = _head_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError):
        head = _Head()
    if head.record not in ("trace_started", "record_started"):
        raise ConfigError(f"{path} is no trace: its first line is no trace_started record")
    if head.format_version != FORMAT_VERSION or head.record != "trace_started":
        was = (
            "of a session in an old format"
            if head.record == "record_started"
            else f"in format version {head.format_version or 1}"
        )
        todo = "record it again with this version, or read it with the version that wrote it"
        raise ConfigError(f"{path} is a trace {was}; this version reads format version {FORMAT_VERSION}: {todo}")
    try:
        return _started_decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}, line 1: not a trace_started record: {error}") from None
