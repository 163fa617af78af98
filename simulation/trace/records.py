"""The records of a trace, by who they are of; `simulation.trace.trace` says what a trace is, and gives all of them.

`at` is in whole ns since the run began.
"""

from typing import Literal

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.events import Data
from reference.protocol.frames import ResetReason
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.fallback import Fallback
from reference.protocol.records import RunState
from reference.protocol.states import ClientState, Transport
from simulation.scenario.faults import Fault
from simulation.trace.frames_seen import FrameSeen
from simulation.trace.measured import MessagesMeasured
from simulation.trace.publishes import publish_id_of

FORMAT_VERSION = 1
World = Literal["simulation", "real", "adversary", "under_test"]
PathTrouble = Literal["idle_silence", "idle_reset", "connection_age", "websocket_age", "gave_up", "late"]


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", omit_defaults=True, gc=False):
    at: int
    """ns since the run began."""


# The world.


class TraceStarted(_Record, frozen=True, tag="trace_started", kw_only=True, gc=False):
    """The first record, with all that is needed to judge the others.

    recovery_bound_s: G6, how long after the last fault everyone is live and at the head. tail_bound_s: G13, how long a live
    connection may leave its client behind with nothing arriving. notice_bound_s: how long a dead connection may look alive.
    warm_up_s: what happens before is left out of figures. keeps: whether each message has its records, or sums stand for them.
    client, server, policy, fallback: how the run was set, as far as that is known; a simulated one has its scenario.
    world: "adversary" is the adversarial world, "under_test" a server or client of somebody else around our own sessions or run.
    """

    world: World
    seed: int
    run_id: str
    recovery_bound_s: float
    tail_bound_s: float
    notice_bound_s: float
    warm_up_s: float = 0.0
    keeps: Literal["full", "histograms"] = "full"
    client: ClientConfig | None = None
    server: ServerConfig | None = None
    policy: Policy | None = None
    fallback: Fallback | None = None
    format_version: int = FORMAT_VERSION


class FaultHappened(_Record, frozen=True, tag="fault_happened", kw_only=True, gc=False):
    fault: Fault


class FaultOver(_Record, frozen=True, tag="fault_over", kw_only=True, gc=False):
    """A fault that lasts has ended. For a server restart: the process was started again."""

    fault: Fault


class PathTroubled(_Record, frozen=True, tag="path_troubled", kw_only=True, gc=False):
    """A path has done by itself what faults do: a middlebox or a kernel ended a connection, or it took longer than its stated
    bound. At work until `until`, in ns."""

    client: str
    what: PathTrouble
    until: int


class FaultsStopped(_Record, frozen=True, tag="faults_stopped", kw_only=True, gc=False):
    """Anything may have gone wrong before, and nothing does from now on. What is dead by now stays dead."""


class CameToRest(_Record, frozen=True, tag="came_to_rest", kw_only=True, gc=False):
    """The faults stopped long ago and nothing is under way: what has not come right by now never will."""


class ServerStarted(_Record, frozen=True, tag="server_started", kw_only=True, gc=False):
    """A server process has loaded the run."""

    epoch: str
    head: int


class ServerKilled(_Record, frozen=True, tag="server_killed", kw_only=True, gc=False): ...


class ServerStopped(_Record, frozen=True, tag="server_stopped", kw_only=True, gc=False):
    """A server process has ended by itself, after it was asked to and had stored what it had accepted.

    unstored: events that had a number and were not durable then."""

    unstored: int = 0


class WorkSampled(_Record, frozen=True, tag="work_sampled", kw_only=True, gc=False):
    """What the machine of a server with a capacity has done since the last sample of this process.

    jobs: taken up, of those that cost time; waited_s: how long these had waited, all together, and waited_max_s at the most.
    busy_s: time of processors spent on what was finished. shed: clients that were turned away for want of time. syns_dropped:
    SYNs that found the backlog full.
    """

    jobs: int
    waited_s: float
    waited_max_s: float
    busy_s: float
    shed: int = 0
    syns_dropped: int = 0


class QueueSampled(_Record, frozen=True, tag="queue_sampled", kw_only=True, gc=False):
    """How much something holds now, and the most that it may hold. `place`: a client's name, or "server"."""

    place: str
    queue: str
    length: int
    limit: int


class RosterSampled(_Record, frozen=True, tag="roster_sampled", kw_only=True, gc=False):
    """Who is here and where their cursors are, as one side has it. `place`: a client's name, or "server"."""

    place: str
    users: tuple[str, ...]
    cursors: dict[str, Data] = {}


# A client: what it asked for.


class ClientStarted(_Record, frozen=True, tag="client_started", kw_only=True, gc=False):
    client: str
    client_id: str
    user_id: str


class Published(_Record, frozen=True, tag="published", kw_only=True, gc=False):
    """Queued under this ticket."""

    client: str
    ticket: int
    event_type: str
    data: Data

    @property
    def publish_id(self) -> str | None:
        return publish_id_of(self.data)


class PublishRefused(_Record, frozen=True, tag="publish_refused", kw_only=True, gc=False):
    """The publish was not even queued; the application was told why (`error`: OutboxFull, InvalidEvent, SessionClosed)."""

    client: str
    event_type: str
    error: str


class LeaveAsked(_Record, frozen=True, tag="leave_asked", kw_only=True, gc=False):
    """The application leaves: a bye, if anyone can be told, and nothing more."""

    client: str


class CursorMoved(_Record, frozen=True, tag="cursor_moved", kw_only=True, gc=False):
    client: str
    data: Data


# A client: what it was told.


class AcceptedRecord(_Record, frozen=True, tag="accepted", kw_only=True, gc=False):
    """`epoch`: of the history that the client was in."""

    client: str
    ticket: int
    epoch: str | None
    sequence_number: int
    duplicate: bool = False


class Failed(_Record, frozen=True, tag="failed", kw_only=True, gc=False):
    """Given up, visibly."""

    client: str
    ticket: int
    code: str
    message: str
    may_have_arrived: bool = False


class Delivered(_Record, frozen=True, tag="delivered", kw_only=True, gc=False):
    """A sequenced event was handed to the application."""

    client: str
    epoch: str | None
    sequence_number: int
    event_type: str
    user_id: str
    data: Data

    @property
    def publish_id(self) -> str | None:
        return publish_id_of(self.data)


class SnapshotTaken(_Record, frozen=True, tag="snapshot_taken", kw_only=True, gc=False):
    """The application was given the state at that number in place of the events before it."""

    client: str
    epoch: str
    sequence_number: int
    state: RunState
    reason: ResetReason | None = None


class ResetTaken(_Record, frozen=True, tag="reset_taken", kw_only=True, gc=False):
    """The application was told that its history is gone."""

    client: str
    epoch: str
    sequence_number: int
    state: RunState
    reason: ResetReason | None = None


class StateTurned(_Record, frozen=True, tag="state_turned", kw_only=True, gc=False):
    """is_carried: a welcomed WebSocket or answered polls carry the session (protocol 7.42)."""

    client: str
    state: ClientState
    is_carried: bool


class SessionOver(_Record, frozen=True, tag="session_over", kw_only=True, gc=False):
    """Nothing more will come. `code` None: this side ended it."""

    client: str
    code: int | None
    message: str


class PresenceSeen(_Record, frozen=True, tag="presence_seen", kw_only=True, gc=False):
    client: str
    user_id: str
    is_present: bool


class CursorSeen(_Record, frozen=True, tag="cursor_seen", kw_only=True, gc=False):
    client: str
    user_id: str
    data: Data


# A client's driver.


class AttemptMade(_Record, frozen=True, tag="attempt_made", kw_only=True, gc=False):
    """A connection is being opened; the id is the client's own name for it. A polling lane costs nothing before its requests."""

    client: str
    connection_id: int
    transport: Transport


class RequestMade(_Record, frozen=True, tag="request_made", kw_only=True, gc=False):
    """An HTTP request has left. `request`: "poll" or "publishMany"."""

    client: str
    connection_id: int
    request: str


class ConnectionLost(_Record, frozen=True, tag="connection_lost", kw_only=True, gc=False):
    """The network or the server ended a connection, or an HTTP request failed (`request`)."""

    client: str
    connection_id: int
    code: int | None = None
    message: str = ""
    request: str | None = None


class ConnectionLeft(_Record, frozen=True, tag="connection_left", kw_only=True, gc=False):
    """The client ended a connection itself. `code` None: it cut it."""

    client: str
    connection_id: int
    code: int | None = None
    message: str = ""


class WaitAsked(_Record, frozen=True, tag="wait_asked", kw_only=True, gc=False):
    """The server asked this client to stay away for so long, and then for a draw of the spread (goaway, Retry-After)."""

    client: str
    retry_after_ms: int
    spread_ms: int = 0


# A client's driver, closely watched: only worlds that see every frame of a client record these.


class PositionHeld(_Record, frozen=True, tag="position_held", kw_only=True, gc=False):
    """Where a session says that its application stands; recorded when it changes."""

    client: str
    epoch: str | None
    sequence_number: int


class BeginningGiven(_Record, frozen=True, tag="beginning_given", kw_only=True, gc=False):
    """The server named the position from which a session without a snapshot is given events."""

    client: str
    epoch: str
    sequence_number: int


class PublishSent(_Record, frozen=True, tag="publish_sent", kw_only=True, gc=False):
    """A publish has left on a WebSocket."""

    client: str
    connection_id: int
    client_sequence: int


class RetryAsked(_Record, frozen=True, tag="retry_asked", kw_only=True, gc=False):
    """The server rejected a publish on this WebSocket for now: from it on, publishes may be sent again there."""

    client: str
    connection_id: int


class AckSent(_Record, frozen=True, tag="ack_sent", kw_only=True, gc=False):
    """An acknowledgement has left; `epoch`: of the history that the connection's welcome named."""

    client: str
    epoch: str | None
    sequence_number: int


class AlarmServed(_Record, frozen=True, tag="alarm_served", kw_only=True, gc=False):
    """A client's alarm was due and its session was told the time; what is overdue after this stays undone."""

    client: str


# A server, and its store at the end.


class SessionJoined(_Record, frozen=True, tag="session_joined", kw_only=True, gc=False):
    """A session has a connection. `connection_id` is the server's own name for it."""

    client_id: str
    session_id: str
    connection_id: int
    outcome: str
    replayed: int
    is_return: bool


class SessionLeft(_Record, frozen=True, tag="session_left", kw_only=True, gc=False):
    """A session's connection has ended, at the server. `code` None: not by the server."""

    session_id: str
    connection_id: int
    code: int | None = None


class RoundTripReported(_Record, frozen=True, tag="round_trip_reported", kw_only=True, gc=False):
    """A client has told how long its last ping took, by its own clock."""

    session_id: str
    round_trip_ms: float


class AnswerGiven(_Record, frozen=True, tag="answer_given", kw_only=True, gc=False):
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


class EventsCommitted(_Record, frozen=True, tag="events_committed", kw_only=True, gc=False):
    """Everything up to `head` is durable now."""

    epoch: str
    head: int


class FrameGiven(_Record, frozen=True, tag="frame_given", kw_only=True, gc=False):
    """A WebSocket took a frame of the server. first, last: the numbers of its events; of a welcome, `last` is the position from
    which events follow."""

    client_id: str
    connection_id: int
    frame: str
    epoch: str
    first: int = 0
    last: int = 0


class PublishTaken(_Record, frozen=True, tag="publish_taken", kw_only=True, gc=False):
    """A publish that came on this WebSocket is the newest of its client that the server knows."""

    client_id: str
    connection_id: int
    client_sequence: int


class ReaderBlocked(_Record, frozen=True, tag="reader_blocked", kw_only=True, gc=False):
    """A WebSocket's socket takes nothing more, or takes something again."""

    client_id: str
    connection_id: int
    is_blocked: bool


class ReadersChecked(_Record, frozen=True, tag="readers_checked", kw_only=True, gc=False):
    """The server's alarm was served while readers were blocked: whoever has been blocked for too long is closed by now."""


class ConnectionRefused(_Record, frozen=True, tag="connection_refused", kw_only=True, gc=False):
    """The server has ended a connection, or refused a request, with this code."""

    client_id: str
    connection_id: int
    code: int | None
    message: str = ""


class LogStored(_Record, frozen=True, tag="log_stored", kw_only=True, gc=False):
    """What the store holds: entries from `oldest` to `head` (each an EntryStored before this), and the newest snapshot.
    `is_whole`: entries that the store has dropped since are in the trace too, so that they begin at 1."""

    epoch: str
    oldest: int
    head: int
    snapshot_number: int
    snapshot_state: RunState
    is_whole: bool


class EntryStored(_Record, frozen=True, tag="entry_stored", kw_only=True, gc=False):
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
    | WorkSampled
    | RosterSampled
)
LifeRecord = ServerStarted | ServerKilled | ServerStopped
AskedRecord = Published | PublishRefused | CursorMoved | LeaveAsked
ToldRecord = (
    AcceptedRecord | Failed | Delivered | SnapshotTaken | ResetTaken | StateTurned | SessionOver | PresenceSeen | CursorSeen
)
DriverRecord = AttemptMade | RequestMade | ConnectionLost | ConnectionLeft | WaitAsked
WatchedRecord = PositionHeld | BeginningGiven | PublishSent | RetryAsked | AckSent | AlarmServed
WatchedServerRecord = EventsCommitted | FrameGiven | PublishTaken | ReaderBlocked | ReadersChecked | ConnectionRefused
ServerRecord = SessionJoined | SessionLeft | RoundTripReported | AnswerGiven | WatchedServerRecord
StoreRecord = LogStored | EntryStored
ClientRecord = AskedRecord | ToldRecord | DriverRecord | WatchedRecord
Record = WorldRecord | LifeRecord | ClientStarted | ClientRecord | ServerRecord | StoreRecord | MessagesMeasured | FrameSeen
