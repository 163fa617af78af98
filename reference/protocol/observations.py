"""What a run lets its driver observe, for monitors, metrics and logs. Observing changes nothing."""

from dataclasses import dataclass

from reference.protocol.errors import RejectCode
from reference.protocol.frames import FallbackReason, Outcome, Report
from reference.protocol.limits import Limit
from reference.protocol.states import Transport


@dataclass(frozen=True, slots=True)
class Joined:
    """A session has a connection. `is_return`: the client had been welcomed before, by its own word."""

    connection_id: int
    session_id: str
    client_id: str
    user_id: str
    transport: Transport
    outcome: Outcome
    is_return: bool
    replayed: int
    """Events between its position and the head."""


@dataclass(frozen=True, slots=True)
class Left:
    """A session's connection has ended: `code` is ours if we closed it, else None, and `peer_code` the peer's if it gave one."""

    connection_id: int
    session_id: str
    client_id: str
    code: int | None
    peer_code: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A WebSocket was closed before it was welcomed."""

    connection_id: int
    code: int


@dataclass(frozen=True, slots=True)
class FellBack:
    """A client came by polling that had a WebSocket before, or has none. `reason` is by its own word."""

    session_id: str
    client_id: str
    user_id: str
    reason: FallbackReason | None


@dataclass(frozen=True, slots=True)
class Departed:
    """A session is over: it said bye, or did not come back within the grace."""

    session_id: str
    client_id: str


@dataclass(frozen=True, slots=True)
class RoundTripMeasured:
    """A client reports the round trip of its last ping, in ms by its own clock."""

    session_id: str
    client_id: str
    round_trip_ms: float


@dataclass(frozen=True, slots=True)
class Reported:
    """A client tells what only it can know. Believed for metrics only."""

    session_id: str
    client_id: str
    report: Report


@dataclass(frozen=True, slots=True)
class Answered:
    """A publish was accepted or rejected. `code` is why it was rejected; `is_duplicate`: the answer to a copy."""

    client_id: str
    accepted: bool
    code: RejectCode | None = None
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A peer has reached a limit."""

    limit: Limit


Observation = Joined | Left | Refused | FellBack | Departed | RoundTripMeasured | Reported | Answered | LimitReached
