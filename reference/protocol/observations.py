"""What a run lets its driver observe, for monitors, metrics and logs. Observing changes nothing."""

from dataclasses import dataclass

from reference.protocol.frames import Outcome
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
    """A session's connection has ended. `code` is ours if we closed it, else None."""

    connection_id: int
    session_id: str
    code: int | None


@dataclass(frozen=True, slots=True)
class FellBack:
    """A client came by polling that had a WebSocket before, or has none."""

    session_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class RoundTripMeasured:
    """A client reports the round trip of its last ping, in ms by its own clock."""

    session_id: str
    round_trip_ms: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A publish was accepted or rejected for good."""

    session_id: str | None
    accepted: bool


Observation = Joined | Left | FellBack | RoundTripMeasured | Answered
