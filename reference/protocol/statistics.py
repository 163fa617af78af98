"""Statistics: what a machine holds at one moment, as frozen values for monitors, tests and the simulator.

Everything that could grow is a `Held` with its limit (G7); the rest are positions and counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from reference.protocol.frames import Limits
from reference.protocol.states import ClientState


@dataclass(frozen=True, slots=True)
class Held:
    """The current size of something, and its limit."""

    what: str
    length: int
    limit: int


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """Of a client session. `last`: the number of the last delivered event, in `epoch`. `failures`: failed attempts in a row.
    `limits`: the server's, from its last welcome."""

    state: ClientState
    epoch: str | None
    last: int
    failures: int
    reconnections: int
    publishes_accepted: int
    publishes_failed: int
    limits: Limits | None
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """Of a run. Event numbers are those of durable events. `current` and `lagging` count readers."""

    epoch: str
    head: int
    oldest: int
    snapshot_at: int
    connections: int
    sessions: int
    current: int
    lagging: int
    publishers: int
    held: tuple[Held, ...]


def beyond(held: Iterable[Held]) -> list[Held]:
    """The entries that exceed their limit."""
    return [each for each in held if each.length > each.limit]
