"""The trace: the events of one run, simulated or real, as one list of small frozen records.

Every check, count and figure is computed from a trace alone: simulated and real runs use the same records. `writer` has the
functions that write it, the same for both. The records stand below by their subject: the world, a client, a server, the store;
those "in detail" come from worlds that see every frame. A client can write some records about itself, so the reference defines
them (`reference.protocol.session_trace`); they are imported here.

`at` is in whole ns since the run began, by one clock for the whole trace; records are in the order of the events, also for equal
times. A trace is of one run of the protocol. Its file has JSON lines; equal runs give equal bytes.

A publish is identified by `data["publishId"]`, which the publisher sets (`simulation.trace.publishes`). In a run that is too
large for a record per message, one record of sums at the end replaces them (`simulation.trace.measured`).
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Literal

import msgspec

from reference.protocol.errors import ConfigError
from reference.protocol.events import Data, Event
from reference.protocol.records import RunState
from reference.protocol.session_trace import FORMAT_VERSION as FORMAT_VERSION
from reference.protocol.session_trace import AcceptedRecord as AcceptedRecord
from reference.protocol.session_trace import AttemptMade as AttemptMade
from reference.protocol.session_trace import ClientStarted as ClientStarted
from reference.protocol.session_trace import ConnectionLeft as ConnectionLeft
from reference.protocol.session_trace import ConnectionLost as ConnectionLost
from reference.protocol.session_trace import Delivered as Delivered
from reference.protocol.session_trace import Failed as Failed
from reference.protocol.session_trace import Published as Published
from reference.protocol.session_trace import RequestMade as RequestMade
from reference.protocol.session_trace import ResetTaken as ResetTaken
from reference.protocol.session_trace import RoundTripTaken as RoundTripTaken
from reference.protocol.session_trace import SessionOver as SessionOver
from reference.protocol.session_trace import SnapshotTaken as SnapshotTaken
from reference.protocol.session_trace import StateTurned as StateTurned
from reference.protocol.session_trace import TraceRecord, publish_id_of
from reference.protocol.session_trace import TraceStarted as TraceStarted
from reference.protocol.session_trace import WaitAsked as WaitAsked
from simulation.scenario.faults import Fault
from simulation.trace.frames_seen import FrameSeen
from simulation.trace.measured import MessagesMeasured

PathTrouble = Literal[
    "idle_silence", "idle_reset", "connection_age", "websocket_age", "gave_up", "late", "no_port", "old_address", "unresolved"
]


# The world.


class FaultHappened(TraceRecord, frozen=True, tag="fault_happened", kw_only=True, gc=False):
    fault: Fault


class FaultOver(TraceRecord, frozen=True, tag="fault_over", kw_only=True, gc=False):
    """A fault with a duration has ended. For a server restart: the process was started again."""

    fault: Fault


class PathTroubled(TraceRecord, frozen=True, tag="path_troubled", kw_only=True, gc=False):
    """A path has done by itself what faults do: a middlebox or a kernel ended a connection, or something took longer than its
    declared bound. Active until `until`, in ns."""

    client: str
    what: PathTrouble
    until: int


class FaultsStopped(TraceRecord, frozen=True, tag="faults_stopped", kw_only=True, gc=False):
    """Faults may have happened before, and none happens from now on. A connection that is dead by now stays dead."""


class CameToRest(TraceRecord, frozen=True, tag="came_to_rest", kw_only=True, gc=False):
    """The faults stopped long ago and nothing is under way: what is still wrong will stay wrong. `is_blocked`: some clients'
    WebSockets are still refused, so that they can only poll."""

    is_blocked: bool = False


class ServerStarted(TraceRecord, frozen=True, tag="server_started", kw_only=True, gc=False):
    """A server process has loaded the run."""

    epoch: str
    head: int


class ServerKilled(TraceRecord, frozen=True, tag="server_killed", kw_only=True, gc=False): ...


class ServerStopped(TraceRecord, frozen=True, tag="server_stopped", kw_only=True, gc=False):
    """A server process has stopped by itself, after it was asked to and had stored what it had accepted.

    unstored: numbered events that were not durable then."""

    unstored: int = 0


class WorkSampled(TraceRecord, frozen=True, tag="work_sampled", kw_only=True, gc=False):
    """The work of a server machine with a capacity since the last sample of this process.

    jobs: started ones that take time; waited_s: how long these had waited, in total, and waited_max_s at most. busy_s: processor
    time of finished jobs. shed: clients refused because of overload. syns_dropped: SYNs that found the backlog full.
    backlog_most: the most connections that waited to be accepted."""

    jobs: int
    waited_s: float
    waited_max_s: float
    busy_s: float
    shed: int = 0
    syns_dropped: int = 0
    backlog_most: int = 0


class QueueSampled(TraceRecord, frozen=True, tag="queue_sampled", kw_only=True, gc=False):
    """The current length of a queue, and its limit. `place`: a client's name, or "server"."""

    place: str
    queue: str
    length: int
    limit: int


class QueuePeaked(TraceRecord, frozen=True, tag="queue_peaked", kw_only=True, gc=False):
    """The maximum length of a queue in the whole run, recorded where it grows, so that nothing between two samples is missed.
    `place`: a client's name, or "server" (of all its processes, and of all connections the maximum)."""

    place: str
    queue: str
    length: int
    limit: int


class RosterSampled(TraceRecord, frozen=True, tag="roster_sampled", kw_only=True, gc=False):
    """The users present and the cursors, as one side has them. `place`: a client's name, or "server"."""

    place: str
    users: tuple[str, ...]
    cursors: dict[str, Data]


# A client: requests of its application.


class PublishRefused(TraceRecord, frozen=True, tag="publish_refused", kw_only=True, gc=False):
    """The publish was not even queued; with the error given to the application (`error`: OutboxFull, InvalidEvent,
    SessionClosed)."""

    client: str
    event_type: str
    error: str


class LeaveAsked(TraceRecord, frozen=True, tag="leave_asked", kw_only=True, gc=False):
    """The application leaves: with a bye, if the server can be notified."""

    client: str


class CursorMoved(TraceRecord, frozen=True, tag="cursor_moved", kw_only=True, gc=False):
    client: str
    data: Data


# A client: deliveries to its application.


class PresenceSeen(TraceRecord, frozen=True, tag="presence_seen", kw_only=True, gc=False):
    client: str
    user_id: str
    is_present: bool


class CursorSeen(TraceRecord, frozen=True, tag="cursor_seen", kw_only=True, gc=False):
    client: str
    user_id: str
    data: Data


class BeginningGiven(TraceRecord, frozen=True, tag="beginning_given", kw_only=True, gc=False):
    """The server named the position after which a session without a snapshot gets events."""

    client: str
    epoch: str
    sequence_number: int


# A client in detail: only in worlds that see every frame of a client.


class PositionHeld(TraceRecord, frozen=True, tag="position_held", kw_only=True, gc=False):
    """The position that a session reports for its application; recorded when it changes."""

    client: str
    epoch: str | None
    sequence_number: int


class EventShown(TraceRecord, frozen=True, tag="event_shown", kw_only=True, gc=False):
    """A transport delivered this event to the client, whether or not its application gets it."""

    client: str
    epoch: str
    sequence_number: int
    publish_id: str | None


class PublishSent(TraceRecord, frozen=True, tag="publish_sent", kw_only=True, gc=False):
    """A publish was sent on a WebSocket."""

    client: str
    connection_id: int
    client_sequence: int


class RetryAsked(TraceRecord, frozen=True, tag="retry_asked", kw_only=True, gc=False):
    """The server rejected a publish on this connection for now: this publish and later ones may be sent again there, or on the
    probe that took them over from polling (7.29), after `retry_after_ms` if the rejection named a time."""

    client: str
    connection_id: int
    client_sequence: int = 0
    retry_after_ms: int | None = None


class RosterHeard(TraceRecord, frozen=True, tag="roster_heard", kw_only=True, gc=False):
    """A frame with presence or cursors came to a client, on a connection that it has not left.

    users, cursors: everyone who is present, and all their cursors; None: the frame names changes only, in `joined`, `left` and
    `moved`. `epoch`: of the history that an answer to a poll names; None: the frame came on a WebSocket.
    """

    client: str
    connection_id: int
    users: tuple[str, ...] | None = None
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    cursors: dict[str, Data] | None = None
    moved: dict[str, Data] = msgspec.field(default_factory=dict)
    epoch: str | None = None


class AckSent(TraceRecord, frozen=True, tag="ack_sent", kw_only=True, gc=False):
    """An acknowledgement was sent; `epoch`: of the connection's welcome."""

    client: str
    epoch: str | None
    sequence_number: int


class RequestAnswered(TraceRecord, frozen=True, tag="request_answered", kw_only=True, gc=False):
    """The answer to an HTTP request has arrived. has_more: a poll's answer says that there is more."""

    client: str
    connection_id: int
    request: str
    has_more: bool = False


class ReadingTurned(TraceRecord, frozen=True, tag="reading_turned", kw_only=True, gc=False):
    """The application stops taking events, or takes them again."""

    client: str
    is_holding: bool


class AlarmServed(TraceRecord, frozen=True, tag="alarm_served", kw_only=True, gc=False):
    """A client's alarm was due and its session has handled its timers; actions overdue after this will not happen."""

    client: str


# A server, and its store at the end.


class SessionJoined(TraceRecord, frozen=True, tag="session_joined", kw_only=True, gc=False):
    """A session has a connection. `connection_id` is the server's number for it."""

    client_id: str
    session_id: str
    connection_id: int
    outcome: str
    replayed: int
    is_return: bool


class SessionLeft(TraceRecord, frozen=True, tag="session_left", kw_only=True, gc=False):
    """A session's connection has ended, at the server. `code` None: not by the server."""

    session_id: str
    connection_id: int
    code: int | None = None


class SessionDeparted(TraceRecord, frozen=True, tag="session_departed", kw_only=True, gc=False):
    """A session is over at the server: its client has left, or has not returned within the grace period."""

    client_id: str
    session_id: str


class RoundTripReported(TraceRecord, frozen=True, tag="round_trip_reported", kw_only=True, gc=False):
    """A client has reported the round trip of its last ping, by its own clock."""

    session_id: str
    round_trip_ms: float


class AnswerGiven(TraceRecord, frozen=True, tag="answer_given", kw_only=True, gc=False):
    """The server has answered a publish, or repeated its answer. A retryable rejection is not final and is not recorded.

    Either `sequence_number` (accepted) or `code` (refused for good) is set. `epoch`: of the history, if known.
    """

    client_id: str
    client_sequence: int
    sequence_number: int | None = None
    code: str | None = None
    duplicate: bool = False
    epoch: str | None = None


# A server in detail: only in worlds that see every frame of a server.


class EventsCommitted(TraceRecord, frozen=True, tag="events_committed", kw_only=True, gc=False):
    """Everything up to `head` is durable now."""

    epoch: str
    head: int


class FrameGiven(TraceRecord, frozen=True, tag="frame_given", kw_only=True, gc=False):
    """A WebSocket took a frame of the server. first, last: the numbers of its events; for a welcome, `last` is the position after
    which events follow."""

    client_id: str
    connection_id: int
    frame: str
    epoch: str
    first: int = 0
    last: int = 0


class PublishTaken(TraceRecord, frozen=True, tag="publish_taken", kw_only=True, gc=False):
    """A publish that arrived on this WebSocket is the newest of its client that the server knows."""

    client_id: str
    connection_id: int
    client_sequence: int


class ReaderBlocked(TraceRecord, frozen=True, tag="reader_blocked", kw_only=True, gc=False):
    """A WebSocket's socket is full, or has room again."""

    client_id: str
    connection_id: int
    is_blocked: bool


class ServerAlarmServed(TraceRecord, frozen=True, tag="server_alarm_served", kw_only=True, gc=False):
    """The server's alarm was due and its run has handled its timers; actions overdue after this will not happen."""


class ClockStepped(TraceRecord, frozen=True, tag="clock_stepped", kw_only=True, gc=False):
    """The server's clock was set: durations that it measures across this moment differ from the trace's."""


class TokenTaken(TraceRecord, frozen=True, tag="token_taken", kw_only=True, gc=False):
    """The server has found a connection's token valid until `good_until`, in ns since the run began; None: for ever."""

    client_id: str
    connection_id: int
    good_until: int | None = None


class RosterGiven(TraceRecord, frozen=True, tag="roster_given", kw_only=True, gc=False):
    """The server gave a connection a frame with presence or cursors; the fields are as in RosterHeard. `over_http`: it is the
    answer to a poll."""

    client_id: str
    connection_id: int
    users: tuple[str, ...] | None = None
    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    cursors: dict[str, Data] | None = None
    moved: dict[str, Data] = msgspec.field(default_factory=dict)
    over_http: bool = False


class CursorTaken(TraceRecord, frozen=True, tag="cursor_taken", kw_only=True, gc=False):
    """The server has taken a cursor of this client."""

    client_id: str
    data: Data


class PollingBegun(TraceRecord, frozen=True, tag="polling_begun", kw_only=True, gc=False):
    """A client has come by polling that had a WebSocket before, or no session."""

    client_id: str
    session_id: str


class ByeTaken(TraceRecord, frozen=True, tag="bye_taken", kw_only=True, gc=False):
    """A client has sent bye to the server."""

    client_id: str


class TrespassAnswered(TraceRecord, frozen=True, tag="trespass_answered", kw_only=True, gc=False):
    """Another user's token was used with the id of this client, and the answer was this frame; "close" with `code` if the
    connection or request was refused."""

    client_id: str
    frame: str
    code: int | None = None


class ConnectionRefused(TraceRecord, frozen=True, tag="connection_refused", kw_only=True, gc=False):
    """The server has ended a connection, or refused a request, with this code."""

    client_id: str
    connection_id: int
    code: int | None
    message: str = ""


class LogStored(TraceRecord, frozen=True, tag="log_stored", kw_only=True, gc=False):
    """The contents of the store: entries from `oldest` to `head` (each an EntryStored before this), and the newest snapshot.
    `is_whole`: entries that the store has deleted are in the trace too, so that they begin at 1."""

    epoch: str
    oldest: int
    head: int
    snapshot_number: int
    snapshot_state: RunState
    is_whole: bool


class EntryStored(TraceRecord, frozen=True, tag="entry_stored", kw_only=True, gc=False):
    """One event of the stored log. `client_id` and `client_sequence`: None if the store does not return them."""

    epoch: str
    sequence_number: int
    event_type: str
    user_id: str
    data: Data
    client_id: str | None = None
    client_sequence: int | None = None

    @property
    def publish_id(self) -> str | None:
        return publish_id_of(self.data)


_WorldRecord = TraceStarted | FaultHappened | FaultOver | PathTroubled | FaultsStopped | CameToRest | RosterSampled
_MachineRecord = ServerStarted | ServerKilled | ServerStopped | WorkSampled | QueueSampled | QueuePeaked
AskedRecord = Published | PublishRefused | CursorMoved | LeaveAsked
OutcomeRecord = (
    AcceptedRecord | Failed | Delivered | SnapshotTaken | ResetTaken | StateTurned | SessionOver | PresenceSeen | CursorSeen
)
DriverRecord = RoundTripTaken | AttemptMade | RequestMade | ConnectionLost | ConnectionLeft | WaitAsked
_ClientFrame = EventShown | PublishSent | RetryAsked | RosterHeard | AckSent | RequestAnswered
ClientRecord = (
    AskedRecord | OutcomeRecord | DriverRecord | PositionHeld | BeginningGiven | _ClientFrame | ReadingTurned | AlarmServed
)
_SessionRecord = SessionJoined | SessionLeft | SessionDeparted | RoundTripReported | AnswerGiven | PollingBegun
_ServerFrame = FrameGiven | PublishTaken | TokenTaken | RosterGiven | CursorTaken | ByeTaken | TrespassAnswered
ServerRecord = (
    _SessionRecord | _ServerFrame | EventsCommitted | ReaderBlocked | ServerAlarmServed | ClockStepped | ConnectionRefused
)
StoreRecord = LogStored | EntryStored
Record = _WorldRecord | _MachineRecord | ClientStarted | ClientRecord | ServerRecord | StoreRecord | MessagesMeasured | FrameSeen

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
