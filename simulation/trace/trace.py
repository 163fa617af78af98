"""The trace: what happened in one run, simulated or real, as one list of small frozen records.

Everything that is judged, counted or plotted is read from a trace, and from nothing else: virtual time and a real afternoon are
told in the same words. `recording` has the functions that write it, the same in both worlds.

    who        records
    the world  TraceStarted, FaultHappened, FaultOver, PathTroubled, FaultsStopped, CameToRest,
               ServerStarted, ServerKilled, ServerStopped, QueueSampled, QueuePeaked, WorkSampled, RosterSampled
    a client   ClientStarted, Published, PublishRefused, CursorMoved, LeaveAsked (what it asked for)
               Accepted, Failed, Delivered, SnapshotTaken, ResetTaken, StateTurned, SessionOver (what it was told)
               PresenceSeen, CursorSeen (latest values, beside the log)
               AttemptMade, RequestMade, ConnectionLost, ConnectionLeft, WaitAsked, RoundTripTaken (its driver)
               PositionHeld, BeginningGiven, EventShown, PublishSent, RetryAsked, AckSent, AlarmServed, RequestAnswered,
               ReadingTurned, RosterHeard (where every frame is watched)
    a server   SessionJoined, SessionLeft, SessionDeparted, RoundTripReported, AnswerGiven
               EventsCommitted, FrameGiven, PublishTaken, ReaderBlocked, ServerAlarmServed, ClockStepped, TokenTaken, ByeTaken,
               RosterGiven, CursorTaken, PollingBegun, TrespassAnswered, ConnectionRefused (where every frame is watched)
    the store  LogStored, EntryStored (at the end, and when a fault takes it)

`at` is in whole ns since the run began, by one clock for the whole trace; records stand in the order in which things happened,
which settles ties. One trace is of one run of the protocol. Written as JSON lines; equal runs give equal bytes.

A publish is followed by `data["publishId"]`, which whoever publishes puts there (`simulation.trace.publishes`). Of a run that
is too large for a record per message, one record of sums stands at the end in their place (`simulation.trace.measured`).
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
    ToldRecord,
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
    "ToldRecord",
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
    """Records in the order in which things happened. Append-only; as long as the run is."""

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
        """The history that this client was last seen in, as far as it was recorded here."""
        return self._epochs.get(client)

    def enter_epoch(self, client: str, epoch: str | None) -> None:
        self._epochs[client] = epoch

    def deliver(self, client: str, epoch: str | None, number: int, event: Event, now: int) -> None:
        """A sequenced event was handed to the application. One of these comes for each client and event, so a trace that keeps
        nothing of it can do without the record."""
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
        """Nothing more will happen; only what the store holds is still to be added."""

    def to_bytes(self) -> bytes:
        """JSON lines. Equal traces give equal bytes."""
        return _encoder.encode_lines(self._records)

    def digest(self) -> str:
        """A short name for exactly this trace, in hex."""
        return blake2b(self.to_bytes(), digest_size=16).hexdigest()

    def write(self, path: FilePath) -> None:
        """Write JSON lines; raises OSError."""
        path.write_bytes(self.to_bytes())

    @classmethod
    def read(cls, path: FilePath) -> "Trace":
        """What `write` wrote, or a client's own recording, whose last line may be cut off. Raises OSError, or ConfigError that
        says which line is wrong, or which version of the format it is."""
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
    """What the first line of any version has; before version 2 it was left out, or named otherwise."""

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
