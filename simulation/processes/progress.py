"""Progress of a run of real processes: snapshots of its state, several times a second, and sentences about what just happened.

The demo shows them as a table that changes in place (`demo.live`) or as lines (`demo.plain`).
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from reference.protocol.states import ClientState
from simulation.processes.participant import Participant
from simulation.processes.recorder import Recorder
from simulation.processes.run_plan import Plan
from simulation.scenario.faults import Fault, enumerate_names
from simulation.scenario.paths import Path


class Phase(enum.Enum):
    WORK = "working"
    SETTLE = "settling"
    END = "settled"


@dataclass(frozen=True, slots=True)
class Row:
    """One client at this moment. `state` None: it has not joined. `round_trip_ms`: the median of its last pings."""

    name: str
    path: Path
    state: ClientState | None
    transport: str | None
    position: int
    queued: int
    round_trip_ms: float | None
    reconnections: int


@dataclass(frozen=True, slots=True)
class RunView:
    """The whole run at this moment. `at_s`: since the work began. `seconds`: of work, as planned. `faults`: the active ones."""

    phase: Phase
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
    """Shows the progress. Neither method may wait."""

    def say(self, at_s: float, sentence: str) -> None:
        """An event, `at_s` seconds after the work began."""
        ...

    def show(self, view: RunView) -> None:
        """The run at this moment."""
        ...


SHOWN_S_MIN = 1.0
"""How long an instantaneous fault is shown."""


def view_of(plan: Plan, participants: Sequence[Participant], recorder: Recorder, phase: Phase, *, server_is_up: bool) -> RunView:
    """The run at this moment."""
    now_s, counts = recorder.now_s, recorder.counts
    return RunView(
        phase=phase,
        at_s=now_s,
        seconds=plan.seconds,
        server_is_up=server_is_up,
        faults=tuple(fault for fault in plan.faults if fault.at_s <= now_s <= max(fault.end_s, fault.at_s + SHOWN_S_MIN)),
        published=counts["published"],
        accepted=counts["accepted"],
        delivered=counts["delivered"],
        head=recorder.head,
        rows=tuple(_row(participant, recorder) for participant in participants),
    )


def transport_changes(recorder: Recorder) -> Iterator[str]:
    """A sentence for each direction in which clients have changed their transport since the last call."""
    fallen, returned = [], []
    while recorder.turns:
        name, before, after = recorder.turns.popleft()
        if after is ClientState.POLLING and not before.is_polling:
            fallen.append(name)
        elif after is ClientState.LIVE and before.is_polling:
            returned.append(name)
    if fallen:
        yield f"{enumerate_names(fallen)}: fallen back to HTTP polling"
    if returned:
        yield f"{enumerate_names(returned)}: back on WebSocket"


def _row(participant: Participant, recorder: Recorder) -> Row:
    client, name = participant.client, participant.plan.name
    if client is None:
        return Row(name, participant.plan.path, None, None, 0, 0, None, 0)
    health = client.health
    return Row(
        name=name,
        path=participant.plan.path,
        state=client.state,
        transport=health.transport,
        position=recorder.positions[name],
        queued=health.queued_messages,
        round_trip_ms=health.round_trip.p50_ms,
        reconnections=health.reconnections,
    )
