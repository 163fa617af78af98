"""A recording played as it was, and with changes: three columns that can be compared, and one that says what is uncertain.

    recorded   what really happened
    as it was  the same in the simulator, with the same parameters; how far it is from what is recorded says how far to trust
               the next column
    changed    the same with the changes

Where the record leaves a range (`conclusions`), a simulated figure is a range, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

import numpy as np

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S
from simulation.replay.conclusions import Assumption, trace_of
from simulation.replay.rebuild import scenario_of
from simulation.results.counts import moves_of
from simulation.results.recovery import recoveries
from simulation.scenario.scenario import Scenario
from simulation.trace.index import TraceIndex, index_of, interruptions
from simulation.trace.trace import Trace
from simulation.world import run

ASSUMPTIONS: tuple[Assumption, ...] = ("earliest", "latest")
Column = Literal["recorded", "as it was", "changed"]
MEASURES = (
    "interruptions",
    "recovery p50, s",
    "recovery p95, s",
    "cut off in all, s",
    "answer p50, s",
    "answer p95, s",
    "fallbacks",
    "published",
    "accepted",
    "failed",
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording: one trace, or the two that a client's record allows. watched: the clients whose figures are shown."""

    traces: tuple[Trace, ...]
    watched: tuple[str, ...]

    def scenarios(self) -> tuple[Scenario, ...]:
        return tuple(scenario_of(trace) for trace in self.traces)


@dataclass(frozen=True, slots=True)
class WhatIfResult:
    """figures: by column and measure, one for each trace of the recording; None where there was nothing to measure."""

    changes: Mapping[str, Any]
    figures: Mapping[Column, tuple[Mapping[str, float | None], ...]]

    def range_of(self, column: Column, measure: str) -> tuple[float, float] | None:
        """The least and the greatest that the recording allows."""
        values = [figures[measure] for figures in self.figures[column]]
        known = [value for value in values if value is not None]
        return (min(known), max(known)) if known else None


def read_recording(path: FilePath) -> Recorded:
    """A trace: of many clients, or of one that recorded itself (`client.record`). Raises ConfigError."""
    try:
        trace = Trace.read(path)
    except OSError as error:
        raise ConfigError(f"cannot read the recording {path}: {error.strerror or error}") from None
    trace_index = index_of(trace)
    clients = tuple(trace_index.clients)
    if trace_index.started.keeps != "session":
        return Recorded((trace,), clients)
    return Recorded(tuple(trace_of(trace, assumption) for assumption in ASSUMPTIONS), clients)


def what_if(recorded: Recorded, changes: Mapping[str, Any]) -> WhatIfResult:
    """Play a recording as it was and with changes (by the paths of a scenario's parameters). Raises ConfigError."""
    as_it_was = recorded.scenarios()
    changed = tuple(scenario.replace(changes) for scenario in as_it_was)
    return WhatIfResult(
        dict(changes),
        {
            "recorded": tuple(figures_of(index_of(trace), recorded.watched) for trace in recorded.traces[:1]),
            "as it was": tuple(_simulated(scenario, recorded.watched) for scenario in as_it_was),
            "changed": tuple(_simulated(scenario, recorded.watched) for scenario in changed),
        },
    )


def figures_of(trace_index: TraceIndex, watched: tuple[str, ...]) -> dict[str, float | None]:
    """The measures of some clients of a trace."""
    mine = [trace_index.clients[name] for name in watched if name in trace_index.clients]
    recovered = [took_s for name, took_s in recoveries(trace_index) if name in watched]
    unrecovered = [
        (end - start) / NS_PER_S
        for client in mine
        for start, end, has_returned in interruptions(client, trace_index.ended_at)
        if not has_returned
    ]
    answers = [
        (client.accepted[ticket][0].at - publish.at) / NS_PER_S
        for client in mine
        for ticket, publish in client.published.items()
        if ticket in client.accepted
    ]
    return {
        "interruptions": float(len(recovered) + len(unrecovered)),
        "recovery p50, s": _quantile(recovered, 0.5),
        "recovery p95, s": _quantile(recovered, 0.95),
        "cut off in all, s": float(sum(recovered) + sum(unrecovered)),
        "answer p50, s": _quantile(answers, 0.5),
        "answer p95, s": _quantile(answers, 0.95),
        "fallbacks": float(sum(moves_of(client)["fallbacks"] for client in mine)),
        "published": float(sum(len(client.published) for client in mine)),
        "accepted": float(sum(len(client.accepted) for client in mine)),
        "failed": float(sum(len(client.failed.keys() - client.accepted.keys()) for client in mine)),
    }


def _simulated(scenario: Scenario, watched: tuple[str, ...]) -> dict[str, float | None]:
    return figures_of(run(scenario).trace_index, tuple(f"{name}-0" for name in watched))


def _quantile(values: list[float], fraction: float) -> float | None:
    return float(np.quantile(values, fraction)) if values else None
