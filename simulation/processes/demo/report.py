"""The figures of a demo, as one JSON object.

    input                seed, clients, seconds, schedule (all faults), parameters
    measurements         counts, round trips, recovery times, the time until everything had settled
    results              guarantees: true (held), false (violated), null (not exercised by this run); verdicts: with sentences

A round trip is one ping over WebSocket, by the client's own clock; every ping of every client counts equally.
`simulation.results.recovery` defines a recovery.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from reference.protocol.client.health import percentile
from reference.protocol.config import ClientConfig, ServerConfig
from simulation.checks.checkers import Status, Verdict, check_index
from simulation.processes.real_run import Played
from simulation.processes.run_plan import Parameters
from simulation.results.counts import Counts, count
from simulation.results.recovery import recoveries
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Reset, ServerRestart
from simulation.trace.index import index_of


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles; None without a sample."""

    p50: float | None
    p95: float | None
    p99: float | None


class RecoverySummary(msgspec.Struct, frozen=True):
    """In seconds; None if no connection was lost."""

    p50: float | None
    p99: float | None


class Judgement(msgspec.Struct, frozen=True):
    """The result of one guarantee: its sentence and verdict. `checked`: how many things were checked."""

    sentence: str
    status: Status
    checked: int
    violated: int
    violations: tuple[str, ...]


class ParametersShown(msgspec.Struct, frozen=True):
    """The settings of client and server, and the bounds of recovery and settling, in seconds."""

    client: ClientConfig
    server: ServerConfig
    reconnect_policy: dict[str, Any]
    recovery_bound_s: float
    settle_s_max: float


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a demo, as in the module's table. The counts are those of `simulation.results.counts`.

    process_delay_ms: how late the demo's own process did what was due at a time. If that is much, the machine could not keep up,
    and the other times measure the machine.
    settled_s: how long all clients took to settle after the work, None if longer than the limit; late: a sentence for each client
    that did not settle.
    """

    seed: int
    clients: int
    seconds: float
    published: int
    accepted: int
    failed: int
    refused: int
    unsettled: int
    delivered: int
    snapshots: int
    resets: int
    duplicates: int
    gaps: int
    out_of_order: int
    lost: int
    lost_with_store: int
    reconnections: int
    fallbacks: int
    returns_to_websocket: int
    server_restarts: int
    round_trip_ms: Percentiles
    process_delay_ms: Percentiles
    delivery_rate: float | None
    recovery_s: RecoverySummary
    settled_s: float | None
    late: tuple[str, ...]
    passed: bool
    shortcomings: tuple[str, ...]
    """Why it has not passed, one sentence for each reason."""
    guarantees: dict[str, bool | None]
    verdicts: dict[str, Judgement]
    schedule: tuple[Fault, ...]
    parameters: ParametersShown

    def write(self, path: Path) -> None:
        """Write it as JSON. Raises OSError."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def report_on(played: Played) -> DemoReport:
    """Check a run."""
    trace_index = index_of(played.trace)
    verdicts, counts, plan = check_index(trace_index), count(trace_index), played.plan
    cut_off_s = sorted(took_s for _, took_s in recoveries(trace_index))
    settled = counts.accepted + counts.failed
    shortcomings = tuple(_shortcomings(played, verdicts, counts))
    return DemoReport(
        seed=plan.seed,
        clients=len(plan.clients),
        seconds=plan.seconds,
        **_shared(counts),
        round_trip_ms=_milliseconds(played.round_trips_ms),
        process_delay_ms=_milliseconds(played.delays_ms),
        delivery_rate=counts.accepted / settled if settled else None,
        recovery_s=RecoverySummary(*(_percentile(cut_off_s, fraction) for fraction in (0.5, 0.99))),
        settled_s=played.settled_s,
        late=played.late,
        passed=not shortcomings,
        shortcomings=shortcomings,
        guarantees={name: None if verdict.status == "not exercised" else verdict.ok for name, verdict in verdicts.items()},
        verdicts={
            name: Judgement(verdict.sentence, verdict.status, verdict.checked, verdict.violated, verdict.violations)
            for name, verdict in verdicts.items()
        },
        schedule=plan.faults,
        parameters=_parameters(plan.parameters),
    )


WITHOUT_FAULTS = {"G6": "there was no fault to recover from", "G11": "the server was not killed"}
"""What a demo without faults cannot exercise, and why."""


def _shortcomings(played: Played, verdicts: dict[str, Verdict], counts: Counts) -> Iterator[str]:
    has_faults = bool(played.plan.faults)
    for name, verdict in verdicts.items():
        if verdict.status == "violated":
            yield f"{name} did not hold: {verdict.sentence}"
        elif verdict.status == "not exercised" and (has_faults or name not in WITHOUT_FAULTS):
            yield f"{name} was not exercised, and should have been: {verdict.sentence}"
    if played.settled_s is None:
        allowed_s = played.plan.parameters.settle_s_max
        yield f"not all clients had settled {allowed_s:.1f} s after the work: {'; '.join(played.late)}"
    for what, happened, needs in (
        ("was reconnected", counts.reconnections, (Reset, HalfOpen, BlockUpgrade, ServerRestart)),
        ("fell back to HTTP polling", counts.fallbacks, (BlockUpgrade,)),
        ("returned to WebSocket", counts.returns_to_websocket, (BlockUpgrade,)),
    ):
        if not happened and any(isinstance(fault, needs) for fault in played.plan.faults):
            yield f"no client {what}, so this run has not shown it"
    if counts.server_restarts != len(played.plan.kills):
        yield f"the server was started again {counts.server_restarts} times, not {len(played.plan.kills)} times as planned"


def _parameters(parameters: Parameters) -> ParametersShown:
    return ParametersShown(
        parameters.client,
        parameters.server,
        parameters.policy_in_words,
        parameters.recovery_bound_s,
        parameters.settle_s_max,
    )


def _milliseconds(samples: Sequence[float]) -> Percentiles:
    ascending = sorted(samples)
    return Percentiles(*(_percentile(ascending, fraction) for fraction in (0.5, 0.95, 0.99)))


def _percentile(ascending: list[float], fraction: float) -> float | None:
    return round(percentile(ascending, fraction), 3) if ascending else None


def _shared(counts: Counts) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(counts).items() if name in DemoReport.__struct_fields__}
