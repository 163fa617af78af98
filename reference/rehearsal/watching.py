"""What one can see of a run while it is played: scenes, and sentences between them.

A scene is a frozen picture, taken several times a second; a sentence says what has just happened. Whoever watches decides what to
make of them: a table that changes in place (`live`) or lines (`plain`).
"""

import enum
from dataclasses import dataclass
from typing import Protocol

from reference.protocol.states import ClientState
from simulation.faults import Fault
from simulation.paths import Path


class Act(enum.Enum):
    WORK = "at work"
    SETTLE = "coming to rest"
    END = "at rest"


@dataclass(frozen=True, slots=True)
class Row:
    """One client now. `state` None: it has not joined. `round_trip_ms`: the median of its last pings."""

    name: str
    path: Path
    state: ClientState | None
    transport: str | None
    position: int
    queued: int
    round_trip_ms: float | None
    reconnections: int


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything now. `faults`: those under way."""

    act: Act
    at_s: float
    seconds: float
    server_is_up: bool
    faults: tuple[Fault, ...]
    published: int
    accepted: int
    delivered: int
    head: int
    rows: tuple[Row, ...]


class Watcher(Protocol):
    """Somebody who watches. Neither method may wait."""

    def say(self, at_s: float, sentence: str) -> None:
        """Something has happened, `at_s` seconds after the work began."""
        ...

    def show(self, scene: Scene) -> None:
        """This is how it looks now."""
        ...
