"""Observations: what a run reports to monitors, metrics and logs. Observing changes nothing."""

import msgspec

from reference.protocol.errors import RejectCode
from reference.protocol.frames import FallbackReason, Outcome, Report
from reference.protocol.limits import Limit
from reference.protocol.states import Transport


class Joined(msgspec.Struct, frozen=True):
    """A session has a connection. `is_return`: the client says that it had been welcomed before."""

    connection_id: int
    session_id: str
    client_id: str
    user_id: str
    transport: Transport
    outcome: Outcome
    is_return: bool
    replayed: int
    """Events between its position and the head."""


class Left(msgspec.Struct, frozen=True):
    """A session's connection has ended: `code` is ours if we closed it, else None, and `peer_code` the peer's if it sent one."""

    connection_id: int
    session_id: str
    client_id: str
    code: int | None
    peer_code: int | None = None


class Refused(msgspec.Struct, frozen=True):
    """A WebSocket was closed before it was welcomed."""

    connection_id: int
    code: int


class FellBack(msgspec.Struct, frozen=True):
    """A client has begun to poll that had a WebSocket before, or could not get one. `reason` is as the client reports it."""

    session_id: str
    client_id: str
    user_id: str
    reason: FallbackReason | None


class Departed(msgspec.Struct, frozen=True):
    """A session is over: it sent bye, or did not return within the grace period."""

    session_id: str
    client_id: str


class RoundTripMeasured(msgspec.Struct, frozen=True):
    """A client reports the round trip of its last ping, in ms by its own clock."""

    session_id: str
    client_id: str
    round_trip_ms: float


class Reported(msgspec.Struct, frozen=True):
    """A client's report. Used for metrics only."""

    session_id: str
    client_id: str
    report: Report


class Answered(msgspec.Struct, frozen=True):
    """Publishes were accepted or rejected. `code`: the reason; `is_duplicate`: the answer to a copy; `count`: how many in this
    turn."""

    client_id: str
    accepted: bool
    code: RejectCode | None = None
    is_duplicate: bool = False
    count: int = 1


class LimitReached(msgspec.Struct, frozen=True):
    """A peer has reached a limit."""

    limit: Limit


Observation = Joined | Left | Refused | FellBack | Departed | RoundTripMeasured | Reported | Answered | LimitReached
