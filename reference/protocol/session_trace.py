"""The trace of a session: the trace records that a client can write about itself, and their format.

A trace is a file of JSON lines, one record per line, `at` in whole ns since its start. Its first record has the format version
and everything needed to read the others. `simulation.trace` has the records that only the environment of a client can write
(faults, servers, stores) and reads every trace, simulated or real, in the same way.

A client's own recording (`client.record`, `keeps = "session"`) has no token and no message in it: an event is a type, a number
and a size in bytes. It may begin in the middle of a session, and may end at any record if the program or the disk failed.
"""

from typing import Literal

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig, recovery_bound_s
from reference.protocol.events import Data
from reference.protocol.frames import ResetReason
from reference.protocol.policies.catalogue import Policy
from reference.protocol.policies.fallback import Fallback, FallbackPolicy
from reference.protocol.policies.keepalive import Heartbeat, HeartbeatPolicy
from reference.protocol.policies.reconnect import ReconnectPolicy
from reference.protocol.records import RunState
from reference.protocol.states import ClientState, Transport

FORMAT_VERSION = 2
PUBLISH_ID = "publishId"
"""The field of an event's data that identifies the publish that made it."""
World = Literal["simulation", "real", "adversary", "server_under_test", "client_under_test"]
Keeps = Literal["full", "histograms", "session"]


def publish_id_of(data: Data) -> str | None:
    """The id of the publish that made an event, or None if its data have none."""
    value = data.get(PUBLISH_ID)
    return value if isinstance(value, str) else None


class TraceRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", omit_defaults=True, gc=False):
    at: int
    """ns since the run began."""


class TraceStarted(TraceRecord, frozen=True, tag="trace_started", kw_only=True, gc=False):
    """The first record, with all that is needed to judge the others.

    world: "adversary" is the adversarial world; in "server_under_test" and "client_under_test" one side is not ours.
    recovery_bound_s: G6, the time after the last fault within which everyone is live and at the head. tail_bound_s: G13, how long
    a live connection may leave its client behind without anything arriving. notice_bound_s: how long a dead connection may go
    unnoticed. warm_up_s: figures leave out what happens before. began_ms: on the wall clock, in ms since 1970, if that is known.
    keeps: "full": each message has its records; "histograms": sums replace them; "session": one client's own view, without
    message contents, faults or log. client, server, policy, fallback, heartbeat: the settings of the run, as far as they are
    known; a simulated run has its scenario.
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
    heartbeat: Heartbeat | None = None


class ClientStarted(TraceRecord, frozen=True, tag="client_started", kw_only=True, gc=False):
    client: str
    client_id: str
    user_id: str


class Published(TraceRecord, frozen=True, tag="published", kw_only=True, gc=False):
    """Queued under this ticket. size_bytes: of the data as JSON, if the data are not in the trace."""

    client: str
    ticket: int
    event_type: str
    data: Data = {}
    size_bytes: int | None = None

    @property
    def publish_id(self) -> str | None:
        return publish_id_of(self.data)


class AcceptedRecord(TraceRecord, frozen=True, tag="accepted", kw_only=True, gc=False):
    """`epoch`: of the history that has the event; the client may be in another still."""

    client: str
    ticket: int
    epoch: str | None
    sequence_number: int
    duplicate: bool = False


class Failed(TraceRecord, frozen=True, tag="failed", kw_only=True, gc=False):
    """Given up and reported as failed."""

    client: str
    ticket: int
    code: str
    message: str = ""
    may_have_arrived: bool = False


class Delivered(TraceRecord, frozen=True, tag="delivered", kw_only=True, gc=False):
    """A sequenced event was delivered to the application. size_bytes: as for a publish."""

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
    """The application was given the state at that number in place of the earlier events."""

    client: str
    epoch: str
    sequence_number: int
    state: RunState = RunState()
    reason: ResetReason | None = None


class ResetTaken(TraceRecord, frozen=True, tag="reset_taken", kw_only=True, gc=False):
    """The application was notified that its history is lost."""

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
    """The session is over. `code` None: this side ended it."""

    client: str
    code: int | None
    message: str


class AttemptMade(TraceRecord, frozen=True, tag="attempt_made", kw_only=True, gc=False):
    """A connection is being opened; the id was chosen by the client. A polling transport costs nothing before its requests."""

    client: str
    connection_id: int
    transport: Transport


class RequestMade(TraceRecord, frozen=True, tag="request_made", kw_only=True, gc=False):
    """An HTTP request was sent. `request`: "poll" or "publishMany"."""

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
    """The client closed a connection. `code` None: it cut the connection."""

    client: str
    connection_id: int
    code: int | None = None
    message: str = ""


class WaitAsked(TraceRecord, frozen=True, tag="wait_asked", kw_only=True, gc=False):
    """The server asked this client to stay away for this long, plus a sample of the spread if it gave one (goaway does, a refusal
    does not)."""

    client: str
    retry_after_ms: int
    spread_ms: int | None = None


class RoundTripTaken(TraceRecord, frozen=True, tag="round_trip_taken", kw_only=True, gc=False):
    """A client has measured the round trip of a ping by its own clock."""

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
    healthy server, including its store; `heartbeat` and `fallback`: None for the one of the client's config. The policies are
    recorded if they can be written as a value."""
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
        heartbeat=heartbeat if isinstance(heartbeat, Heartbeat) else None,
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
    | ConnectionLost
    | ConnectionLeft
    | WaitAsked
    | RoundTripTaken
)
"""The record types of a client's own recording."""

ME = "me"
"""The name of the client in its own recording."""
_encoder = msgspec.json.Encoder(order="deterministic")


def encode_record(record: TraceRecord) -> bytes:
    """The record as one line, including the newline."""
    return _encoder.encode(record) + b"\n"
