"""What one can see of a demo while it runs: scenes, and sentences between them.

A scene is a frozen picture, taken several times a second; a sentence says what has just happened. Whoever watches decides what to
make of them: a table that changes in place (`live`) or lines (`plain`).
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

from reference.protocol.states import ClientState
from simulation.faults import BlockUpgrade, Fault, HalfOpen, Outage, Path, Refuse, Reset, ServerRestart, Stall

NAMES_SHOWN_MAX = 6


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
    """Somebody who watches a demo. Neither method may wait."""

    def say(self, at_s: float, sentence: str) -> None:
        """Something has happened, `at_s` seconds after the work began."""
        ...

    def show(self, scene: Scene) -> None:
        """This is how it looks now."""
        ...


def describe(fault: Fault) -> str:
    """A fault in words, as it begins."""
    whom = enumerate_names(fault.clients) if fault.clients else "everyone"
    match fault:
        case Outage(duration_s=lasts_s):
            return f"{whom}: the line is down for {lasts_s:.1f} s"
        case Stall(duration_s=lasts_s):
            return f"{whom}: nothing comes from the server for {lasts_s:.1f} s"
        case Reset():
            return f"{whom}: every connection is reset"
        case HalfOpen():
            return f"{whom}: every connection goes silent for good, and nobody is told"
        case Refuse(duration_s=lasts_s):
            return f"{whom}: new connections are refused for {lasts_s:.1f} s"
        case BlockUpgrade(duration_s=lasts_s):
            return f"{whom}: WebSocket is cut and forbidden for {lasts_s:.1f} s"
        case ServerRestart(duration_s=lasts_s):
            return f"the server is killed (SIGKILL), to be started again after {lasts_s:.1f} s"
        case _:
            assert_never(fault)


def enumerate_names(names: Sequence[str]) -> str:
    """Names as one writes them, not too many."""
    if len(names) > NAMES_SHOWN_MAX:
        return f"{', '.join(names[: NAMES_SHOWN_MAX - 1])} and {len(names) - NAMES_SHOWN_MAX + 1} more"
    return ", ".join(names)
