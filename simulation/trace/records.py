"""The records of a trace, by who they are of; `simulation.trace.trace` says what a trace is, and gives all of them. Those that a
client can write of itself are defined by the reference (`reference.protocol.session_trace`).

`at` is in whole ns since the run began.
"""

from typing import Literal

import msgspec

from reference.protocol.events import Data
from reference.protocol.records import RunState
from reference.protocol.session_trace import (
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
    TraceRecord,
    TraceStarted,
    WaitAsked,
    publish_id_of,
)
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
    """A fault that lasts has ended. For a server restart: the process was started again."""

    fault: Fault


class PathTroubled(TraceRecord, frozen=True, tag="path_troubled", kw_only=True, gc=False):
    """A path has done by itself what faults do: a middlebox or a kernel ended a connection, or it took longer than its stated
    bound. At work until `until`, in ns."""

    client: str
    what: PathTrouble
    until: int


class FaultsStopped(TraceRecord, frozen=True, tag="faults_stopped", kw_only=True, gc=False):
    """Anything may have gone wrong before, and nothing does from now on. What is dead by now stays dead."""


class CameToRest(TraceRecord, frozen=True, tag="came_to_rest", kw_only=True, gc=False):
    """The faults stopped long ago and nothing is under way: what has not come right by now never will. `is_blocked`: some
    clients' WebSockets are still refused, so that polling has to be enough for them."""

    is_blocked: bool = False


class ServerStarted(TraceRecord, frozen=True, tag="server_started", kw_only=True, gc=False):
    """A server process has loaded the run."""

    epoch: str
    head: int


class ServerKilled(TraceRecord, frozen=True, tag="server_killed", kw_only=True, gc=False): ...


class ServerStopped(TraceRecord, frozen=True, tag="server_stopped", kw_only=True, gc=False):
    """A server process has ended by itself, after it was asked to and had stored what it had accepted.

    unstored: events that had a number and were not durable then."""

    unstored: int = 0


class WorkSampled(TraceRecord, frozen=True, tag="work_sampled", kw_only=True, gc=False):
    """What the machine of a server with a capacity has done since the last sample of this process.

    jobs: taken up, of those that cost time; waited_s: how long these had waited, all together, and waited_max_s at the most.
    busy_s: time of processors spent on what was finished. shed: clients that were turned away for want of time. syns_dropped:
    SYNs that found the backlog full. backlog_most: connections that waited to be accepted, at the most.
    """

    jobs: int
    waited_s: float
    waited_max_s: float
    busy_s: float
    shed: int = 0
    syns_dropped: int = 0
    backlog_most: int = 0


class QueueSampled(TraceRecord, frozen=True, tag="queue_sampled", kw_only=True, gc=False):
    """How much something holds now, and the most that it may hold. `place`: a client's name, or "server"."""

    place: str
    queue: str
    length: int
    limit: int


class QueuePeaked(TraceRecord, frozen=True, tag="queue_peaked", kw_only=True, gc=False):
    """The most that a queue has held in the whole run, noted where it grows, so that nothing between two looks is missed.
    `place`: a client's name, or "server" (of all its processes, and of all connections the one with the most)."""

    place: str
    queue: str
    length: int
    limit: int


class RosterSampled(TraceRecord, frozen=True, tag="roster_sampled", kw_only=True, gc=False):
    """Who is here and where their cursors are, as one side has it. `place`: a client's name, or "server"."""

    place: str
    users: tuple[str, ...]
    cursors: dict[str, Data]


# A client: what it asked for.


class PublishRefused(TraceRecord, frozen=True, tag="publish_refused", kw_only=True, gc=False):
    """The publish was not even queued; the application was told why (`error`: OutboxFull, InvalidEvent, SessionClosed)."""

    client: str
    event_type: str
    error: str


class LeaveAsked(TraceRecord, frozen=True, tag="leave_asked", kw_only=True, gc=False):
    """The application leaves: a bye, if anyone can be told, and nothing more."""

    client: str


class CursorMoved(TraceRecord, frozen=True, tag="cursor_moved", kw_only=True, gc=False):
    client: str
    data: Data


# A client: what it was told.


class PresenceSeen(TraceRecord, frozen=True, tag="presence_seen", kw_only=True, gc=False):
    client: str
    user_id: str
    is_present: bool


class CursorSeen(TraceRecord, frozen=True, tag="cursor_seen", kw_only=True, gc=False):
    client: str
    user_id: str
    data: Data


# A client's driver.


# A client's driver, closely watched: only worlds that see every frame of a client record these.


class PositionHeld(TraceRecord, frozen=True, tag="position_held", kw_only=True, gc=False):
    """Where a session says that its application stands; recorded when it changes."""

    client: str
    epoch: str | None
    sequence_number: int


class BeginningGiven(TraceRecord, frozen=True, tag="beginning_given", kw_only=True, gc=False):
    """The server named the position from which a session without a snapshot is given events."""

    client: str
    epoch: str
    sequence_number: int


class EventShown(TraceRecord, frozen=True, tag="event_shown", kw_only=True, gc=False):
    """A transport brought this event to the client, whether or not its application is given it."""

    client: str
    epoch: str
    sequence_number: int
    publish_id: str | None


class PublishSent(TraceRecord, frozen=True, tag="publish_sent", kw_only=True, gc=False):
    """A publish has left on a WebSocket."""

    client: str
    connection_id: int
    client_sequence: int


class RetryAsked(TraceRecord, frozen=True, tag="retry_asked", kw_only=True, gc=False):
    """The server rejected a publish on this connection for now: from it on, publishes may be sent again there, but not before
    `retry_after_ms` has passed, if the rejection named a time."""

    client: str
    connection_id: int
    client_sequence: int = 0
    retry_after_ms: int | None = None


class RosterHeard(TraceRecord, frozen=True, tag="roster_heard", kw_only=True, gc=False):
    """A frame with presence or cursors came to a client, on a connection that it has not left.

    users, cursors: everyone who is present, and all their cursors; None: the frame names changes only, in `joined`, `left` and
    `moved`. `epoch`: of the history that an answer to a poll speaks of; None: the frame came on a WebSocket.
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
    """An acknowledgement has left; `epoch`: of the history that the connection's welcome named."""

    client: str
    epoch: str | None
    sequence_number: int


class RequestAnswered(TraceRecord, frozen=True, tag="request_answered", kw_only=True, gc=False):
    """The answer to an HTTP request has come. has_more: a poll's answer says that there is more at once."""

    client: str
    connection_id: int
    request: str
    has_more: bool = False


class ReadingTurned(TraceRecord, frozen=True, tag="reading_turned", kw_only=True, gc=False):
    """The application stops taking events, or takes them again."""

    client: str
    is_holding: bool


class AlarmServed(TraceRecord, frozen=True, tag="alarm_served", kw_only=True, gc=False):
    """A client's alarm was due and its session was told the time; what is overdue after this stays undone."""

    client: str


# A server, and its store at the end.


class SessionJoined(TraceRecord, frozen=True, tag="session_joined", kw_only=True, gc=False):
    """A session has a connection. `connection_id` is the server's own name for it."""

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
    """A session is over at the server: its client has left, or has not come back within the grace period."""

    client_id: str
    session_id: str


class RoundTripReported(TraceRecord, frozen=True, tag="round_trip_reported", kw_only=True, gc=False):
    """A client has told how long its last ping took, by its own clock."""

    session_id: str
    round_trip_ms: float


class AnswerGiven(TraceRecord, frozen=True, tag="answer_given", kw_only=True, gc=False):
    """The server has settled a publish, or said again how. A retryable rejection settles nothing and is not recorded.

    Either `sequence_number` (accepted) or `code` (refused for good) is set. `epoch`: of the history, where that is known.
    """

    client_id: str
    client_sequence: int
    sequence_number: int | None = None
    code: str | None = None
    duplicate: bool = False
    epoch: str | None = None


# A server's driver, closely watched: only worlds that see every frame of a server record these.


class EventsCommitted(TraceRecord, frozen=True, tag="events_committed", kw_only=True, gc=False):
    """Everything up to `head` is durable now."""

    epoch: str
    head: int


class FrameGiven(TraceRecord, frozen=True, tag="frame_given", kw_only=True, gc=False):
    """A WebSocket took a frame of the server. first, last: the numbers of its events; of a welcome, `last` is the position from
    which events follow."""

    client_id: str
    connection_id: int
    frame: str
    epoch: str
    first: int = 0
    last: int = 0


class PublishTaken(TraceRecord, frozen=True, tag="publish_taken", kw_only=True, gc=False):
    """A publish that came on this WebSocket is the newest of its client that the server knows."""

    client_id: str
    connection_id: int
    client_sequence: int


class ReaderBlocked(TraceRecord, frozen=True, tag="reader_blocked", kw_only=True, gc=False):
    """A WebSocket's socket takes nothing more, or takes something again."""

    client_id: str
    connection_id: int
    is_blocked: bool


class ServerAlarmServed(TraceRecord, frozen=True, tag="server_alarm_served", kw_only=True, gc=False):
    """The server's alarm was due and its run was told the time; what is overdue after this stays undone."""


class ClockStepped(TraceRecord, frozen=True, tag="clock_stepped", kw_only=True, gc=False):
    """The server's clock was set: what it measures across this moment is not the time of the trace."""


class TokenTaken(TraceRecord, frozen=True, tag="token_taken", kw_only=True, gc=False):
    """The server has found a connection's token good until `good_until`, in ns since the run began; None: for ever."""

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
    """A client has said to the server that it leaves."""

    client_id: str


class TrespassAnswered(TraceRecord, frozen=True, tag="trespass_answered", kw_only=True, gc=False):
    """Somebody with a token of another user has spoken in the name of this client, and was answered with this frame; "close"
    with `code` if the connection or request was refused."""

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
    """What the store holds: entries from `oldest` to `head` (each an EntryStored before this), and the newest snapshot.
    `is_whole`: entries that the store has dropped since are in the trace too, so that they begin at 1."""

    epoch: str
    oldest: int
    head: int
    snapshot_number: int
    snapshot_state: RunState
    is_whole: bool


class EntryStored(TraceRecord, frozen=True, tag="entry_stored", kw_only=True, gc=False):
    """One event of the stored log. `client_id` and `client_sequence`: None where the store does not bring them back."""

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


WorldRecord = (
    TraceStarted
    | FaultHappened
    | FaultOver
    | PathTroubled
    | FaultsStopped
    | CameToRest
    | QueueSampled
    | QueuePeaked
    | WorkSampled
    | RosterSampled
)
LifeRecord = ServerStarted | ServerKilled | ServerStopped
AskedRecord = Published | PublishRefused | CursorMoved | LeaveAsked
ToldRecord = (
    AcceptedRecord | Failed | Delivered | SnapshotTaken | ResetTaken | StateTurned | SessionOver | PresenceSeen | CursorSeen
)
DriverRecord = RoundTripTaken | AttemptMade | RequestMade | ConnectionLost | ConnectionLeft | WaitAsked
WatchedRecord = (
    PositionHeld
    | BeginningGiven
    | EventShown
    | PublishSent
    | RetryAsked
    | AckSent
    | AlarmServed
    | RequestAnswered
    | ReadingTurned
    | RosterHeard
)
WatchedServerRecord = (
    EventsCommitted
    | FrameGiven
    | PublishTaken
    | ReaderBlocked
    | ServerAlarmServed
    | ClockStepped
    | TokenTaken
    | RosterGiven
    | CursorTaken
    | PollingBegun
    | ByeTaken
    | TrespassAnswered
    | ConnectionRefused
)
ServerRecord = SessionJoined | SessionLeft | SessionDeparted | RoundTripReported | AnswerGiven | WatchedServerRecord
StoreRecord = LogStored | EntryStored
ClientRecord = AskedRecord | ToldRecord | DriverRecord | WatchedRecord
Record = WorldRecord | LifeRecord | ClientStarted | ClientRecord | ServerRecord | StoreRecord | MessagesMeasured | FrameSeen
