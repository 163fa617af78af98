"""The trace of a session: what a client can record of itself, as the records of a trace, and their format.

A trace is a file of JSON lines, one record a line, `at` in whole ns since it began. Its first record says its format version and
all that is needed to read the others. `simulation.trace` has the records that only the world around a client can write (faults,
servers, stores) and reads every trace, simulated or real, by one path.

A client's own recording (`client.record`, `keeps = "session"`) has no token and no message in it: an event is a type, a number
and a size in bytes. It may begin in the middle of a session, and ends where the program or the disk did.
"""

from typing import Literal

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.events import Data
from reference.protocol.frames import ResetReason
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.fallback import Fallback, FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import ReconnectPolicy
from reference.protocol.records import RunState
from reference.protocol.states import ClientState, Transport

FORMAT_VERSION = 2
PUBLISH_ID = "publishId"
"""The field of an event's data that names the publish that made it."""
World = Literal["simulation", "real", "adversary", "server_under_test", "client_under_test"]
Keeps = Literal["full", "histograms", "session"]


def publish_id_of(data: Data) -> str | None:
    """The publish that made an event, or None if its data do not say."""
    value = data.get(PUBLISH_ID)
    return value if isinstance(value, str) else None


class TraceRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", omit_defaults=True, gc=False):
    at: int
    """ns since the run began."""


class TraceStarted(TraceRecord, frozen=True, tag="trace_started", kw_only=True, gc=False):
    """The first record, with all that is needed to judge the others.

    world: "adversary" is the adversarial world; "server_under_test" and "client_under_test" are somebody else's, between ours.
    recovery_bound_s: G6, how long after the last fault everyone is live and at the head. tail_bound_s: G13, how long a live
    connection may leave its client behind with nothing arriving. notice_bound_s: how long a dead connection may look alive.
    warm_up_s: what happens before is left out of figures. began_ms: on the wall clock, in ms since 1970, where that is known.
    keeps: "full": each message has its records; "histograms": sums stand for them; "session": one client's own view, without
    what messages say, and without faults or log. client, server, policy, fallback: how the run was set, as far as that is
    known; a simulated one has its scenario.
    """

    format_version: int
    world: World
    seed: int
    run_id: str
    recovery_bound_s: float
    tail_bound_s: float
    notice_bound_s: float
    warm_up_s: float = 0.0
    began_ms: int | None = None
    keeps: Keeps = "full"
    client: ClientConfig | None = None
    server: ServerConfig | None = None
    policy: Policy | None = None
    fallback: Fallback | None = None


class ClientStarted(TraceRecord, frozen=True, tag="client_started", kw_only=True, gc=False):
    client: str
    client_id: str
    user_id: str


class Published(TraceRecord, frozen=True, tag="published", kw_only=True, gc=False):
    """Queued under this ticket. size_bytes: of the data as JSON, where the data are not in the trace."""

    client: str
    ticket: int
    event_type: str
    data: Data = {}
    size_bytes: int | None = None

    @property
    def publish_id(self) -> str | None:
        return publish_id_of(self.data)


class AcceptedRecord(TraceRecord, frozen=True, tag="accepted", kw_only=True, gc=False):
    """`epoch`: of the history that the client was in."""

    client: str
    ticket: int
    epoch: str | None
    sequence_number: int
    duplicate: bool = False


class Failed(TraceRecord, frozen=True, tag="failed", kw_only=True, gc=False):
    """Given up, visibly."""

    client: str
    ticket: int
    code: str
    message: str = ""
    may_have_arrived: bool = False


class Delivered(TraceRecord, frozen=True, tag="delivered", kw_only=True, gc=False):
    """A sequenced event was handed to the application. size_bytes: as for a publish."""

    client: str
    epoch: str | None
    sequence_number: int
    event_type: str
    user_id: str = ""
    data: Data = {}
    size_bytes: int | None = None

    @property
    def publish_id(self) -> str | None:
        return publish_id_of(self.data)


class SnapshotTaken(TraceRecord, frozen=True, tag="snapshot_taken", kw_only=True, gc=False):
    """The application was given the state at that number in place of the events before it."""

    client: str
    epoch: str
    sequence_number: int
    state: RunState = RunState()
    reason: ResetReason | None = None


class ResetTaken(TraceRecord, frozen=True, tag="reset_taken", kw_only=True, gc=False):
    """The application was notified that its history is gone."""

    client: str
    epoch: str
    sequence_number: int
    state: RunState = RunState()
    reason: ResetReason | None = None


class StateTurned(TraceRecord, frozen=True, tag="state_turned", kw_only=True, gc=False):
    """is_carried: a welcomed WebSocket or answered polls carry the session (protocol 7.42)."""

    client: str
    state: ClientState
    is_carried: bool


class SessionOver(TraceRecord, frozen=True, tag="session_over", kw_only=True, gc=False):
    """Nothing more will come. `code` None: this side ended it."""

    client: str
    code: int | None
    message: str


class AttemptMade(TraceRecord, frozen=True, tag="attempt_made", kw_only=True, gc=False):
    """A connection is being opened; the id is the client's own name for it. A polling lane costs nothing before its requests."""

    client: str
    connection_id: int
    transport: Transport


class RequestMade(TraceRecord, frozen=True, tag="request_made", kw_only=True, gc=False):
    """An HTTP request has left. `request`: "poll" or "publishMany"."""

    client: str
    connection_id: int
    request: str


class ConnectionLost(TraceRecord, frozen=True, tag="connection_lost", kw_only=True, gc=False):
    """The network or the server ended a connection, or an HTTP request failed (`request`)."""

    client: str
    connection_id: int
    code: int | None = None
    message: str = ""
    request: str | None = None


class ConnectionLeft(TraceRecord, frozen=True, tag="connection_left", kw_only=True, gc=False):
    """The client ended a connection itself. `code` None: it cut it."""

    client: str
    connection_id: int
    code: int | None = None
    message: str = ""


class WaitAsked(TraceRecord, frozen=True, tag="wait_asked", kw_only=True, gc=False):
    """The server asked this client to stay away for so long, and then for a draw of the spread, if it named one (goaway does, a
    refusal does not)."""

    client: str
    retry_after_ms: int
    spread_ms: int | None = None


class RoundTripTaken(TraceRecord, frozen=True, tag="round_trip_taken", kw_only=True, gc=False):
    """A client has measured how long a ping took, by its own clock."""

    client: str
    round_trip_ms: float


def trace_started(
    *,
    world: World,
    seed: int,
    run_id: str,
    client: ClientConfig,
    server: ServerConfig,
    wait_max_s: float,
    round_trip_max_s: float,
    heartbeat: HeartbeatPolicy | None = None,
    policy: ReconnectPolicy | None = None,
    fallback: FallbackPolicy | None = None,
    keeps: Keeps = "full",
    began_ms: int | None = None,
) -> TraceStarted:
    """The first record of a trace. `wait_max_s`: the longest wait of the reconnect policy; `round_trip_max_s`: of a request to a
    server that is well, its store included; `heartbeat`: None for the one of the client's config. `policy` and `fallback` (None
    for the one of the client's config) are noted if they can be written down."""
    heartbeat = heartbeat or client.heartbeat_policy
    fallback = fallback or client.fallback_policy
    return TraceStarted(
        at=0,
        format_version=FORMAT_VERSION,
        world=world,
        seed=seed,
        run_id=run_id,
        recovery_bound_s=recovery_bound_s(client, wait_max_s, round_trip_max_s, heartbeat=heartbeat),
        tail_bound_s=server.heartbeat_interval_s + client.tail_timeout_s + round_trip_max_s,
        notice_bound_s=heartbeat.notice_max_s + round_trip_max_s,
        keeps=keeps,
        began_ms=began_ms,
        client=client,
        server=None if keeps == "session" else server,
        policy=policy if isinstance(policy, Policy) else None,
        fallback=fallback if isinstance(fallback, Fallback) else None,
    )


SessionRecord = (
    TraceStarted
    | ClientStarted
    | Published
    | AcceptedRecord
    | Failed
    | Delivered
    | SnapshotTaken
    | ResetTaken
    | StateTurned
    | SessionOver
    | AttemptMade
    | RequestMade
    | ConnectionLost
    | ConnectionLeft
    | WaitAsked
    | RoundTripTaken
)
"""What a client's own recording is made of."""

ME = "me"
"""The name of the client in its own recording."""
_encoder = msgspec.json.Encoder(order="deterministic")


def encode_record(record: TraceRecord) -> bytes:
    """One line, with its end."""
    return _encoder.encode(record) + b"\n"
