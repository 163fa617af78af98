"""The brief's measures of a connection, and the intervals in which its alerts would have fired.

    clients   each client's health at the end: status, quality, round trips, reconnections, delivery rate
    minutes   the same per minute, over all clients
    alerts    high reconnection rate (> 10/min), poor delivery (< 95 %), high latency (p95 > 500 ms), frequent fallback (> 1/min)

An alert is evaluated like a Prometheus rule with no `for` time. Latency is judged twice: from publish to delivery, which users
notice, and by the round trips that clients measure, which the server's metric shows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reference.protocol.client.health import quality_of, quality_score
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.results.columns import framed
from simulation.results.connection_frames import transport_of
from simulation.results.counts import moves_at, moves_of
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import Delivered

STEP_S = 15.0
WINDOW_S = 60.0
"""An alert is evaluated every `STEP_S`, over the `WINDOW_S` before."""
ROUND_TRIPS_KEPT = 100
"""How many of a client's latest round trips decide its quality; as in the client itself."""


def clients(trace_index: TraceIndex) -> pd.DataFrame:
    """One row per client, at the end of the trace. round_trip_*: of its last 100 pings, as reported to the server. As a client's
    own health, all of it is of the whole run, the warm-up too.

    quality_score: the brief's, 0.4 latency + 0.3 reconnections + 0.3 * 100 * delivery rate; NaN without a round trip.
    """
    pings: dict[str, list[float]] = {}
    for report in trace_index.round_trips:
        pings.setdefault(trace_index.session_owners.get(report.session_id, ""), []).append(
            report.round_trip_ms * NS_PER_MS / NS_PER_S
        )
    rows = []
    for client in trace_index.clients.values():
        trips = np.array(pings.get(client.client_id, [])[-ROUND_TRIPS_KEPT:])
        accepted, failed = _settled(trace_index, client)
        rate = accepted / (accepted + failed) if accepted + failed else None
        moves = moves_of(client)
        mean_s = float(trips.mean()) if len(trips) else None
        score = None if mean_s is None else quality_score(1000 * mean_s, moves["reconnections"], 1.0 if rate is None else rate)
        rows.append(
            {
                "client": client.name,
                "status": _status(client, moves["reconnections"]),
                "transport": transport_of(client.state, is_carried=client.is_carried),
                "quality": quality_of(score).value,
                "quality_score": score,
                "round_trips": len(trips),
                "round_trip_mean_s": mean_s,
                "round_trip_p95_s": float(np.quantile(trips, 0.95)) if len(trips) else None,
                "reconnections": moves["reconnections"],
                "fallbacks": moves["fallbacks"],
                "accepted": accepted,
                "failed": failed,
                "delivery_rate": rate,
                "has_left": client.left_at is not None,
            }
        )
    types = {
        "client": "str",
        "status": "str",
        "transport": "str",
        "quality": "str",
        "quality_score": "float64",
        "round_trips": "int64",
        "round_trip_mean_s": "float64",
        "round_trip_p95_s": "float64",
        "reconnections": "int64",
        "fallbacks": "int64",
        "accepted": "int64",
        "failed": "int64",
        "delivery_rate": "float64",
        "has_left": "bool",
    }
    return framed(rows, types)


@dataclass(frozen=True, slots=True)
class _Series:
    """Values at ascending times, in s."""

    at_s: np.ndarray
    values: np.ndarray

    def between(self, after_s: float, until_s: float) -> np.ndarray:
        return self.values[np.searchsorted(self.at_s, after_s, "right") : np.searchsorted(self.at_s, until_s, "right")]

    @classmethod
    def of(cls, pairs: list[tuple[float, float]]) -> "_Series":
        at_s, values = np.array(sorted(pairs), dtype=float).reshape(-1, 2).T
        return cls(at_s, values)


def minutes(trace_index: TraceIndex) -> pd.DataFrame:
    """One row per minute of the run, without what happened in the warm-up. fallbacks_per_min, reconnections_per_min: the number
    in that minute, of all clients together; in the last row that in its `length_s`. reconnections_per_client: the same, divided
    by the number of clients. delivery_rate: of the publishes that were settled in that minute."""
    series = _all_series(trace_index)
    end_s = trace_index.ended_at / NS_PER_S
    rows = []
    for start_s in np.arange(0.0, max(end_s, WINDOW_S), WINDOW_S):
        row: dict[str, object] = {"start_s": start_s, "length_s": min(WINDOW_S, max(end_s - start_s, 0.0))}
        for name, measure in MEASURES.items():
            row[name] = measure.read(series[measure.series].between(start_s, start_s + WINDOW_S))
        row["reconnections_per_client"] = len(series["reconnections"].between(start_s, start_s + WINDOW_S)) / max(
            1, len(trace_index.clients)
        )
        rows.append(row)
    types = dict.fromkeys(("start_s", "length_s", *MEASURES, "reconnections_per_client"), "float64")
    return framed(rows, types)


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure over an interval, and the threshold of the brief's alert."""

    series: str
    read: Callable[[np.ndarray], float]
    limit: float
    is_above: bool = True
    is_count: bool = False
    """It counts what all clients do, so a world of fewer clients has less of it."""

    def fires(self, value: float) -> bool:
        return bool(value > self.limit if self.is_above else value < self.limit)


def _per_minute(values: np.ndarray) -> float:
    return len(values) * 60.0 / WINDOW_S


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _p95(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.95)) if len(values) else np.nan


MEASURES: dict[str, Measure] = {
    "reconnections_per_min": Measure("reconnections", _per_minute, 10.0, is_count=True),
    "delivery_rate": Measure("settled", _share, 0.95, is_above=False),
    "latency_p95_s": Measure("latency", _p95, 0.5),
    "round_trip_p95_s": Measure("round_trip", _p95, 0.5),
    "fallbacks_per_min": Measure("fallbacks", _per_minute, 1.0, is_count=True),
}


def alerts(trace_index: TraceIndex, scale: float = 1.0) -> pd.DataFrame:
    """One row per interval in which a threshold was crossed. fired_s: when it was first detected; until_s: when it was last
    detected; worst: the value furthest beyond. is_judged False: the trace kept no messages, so this threshold could not be
    checked. scale: the full world is so many times larger, and counts of all clients are judged for it."""
    series = _all_series(trace_index)
    rows = []
    unknown = () if trace_index.measured is None else ("settled", "latency", "round_trip")
    for name, measure in MEASURES.items():
        if measure.series in unknown:
            rows.append({"alert": name, "limit": measure.limit, "is_judged": False})
            continue
        larger = scale if measure.is_count else 1.0
        for fired_s, until_s, worst in _stretches(series[measure.series], measure, trace_index.ended_at / NS_PER_S, larger):
            stretch = {"fired_s": fired_s, "until_s": until_s, "worst": worst, "is_judged": True}
            rows.append({"alert": name, "limit": measure.limit, **stretch})
    types = {
        "alert": "str",
        "limit": "float64",
        "fired_s": "float64",
        "until_s": "float64",
        "worst": "float64",
        "is_judged": "bool",
    }
    return framed(rows, types)


def _stretches(series: _Series, measure: Measure, end_s: float, larger: float) -> Iterator[tuple[float, float, float]]:
    fired_s: float | None = None
    until_s = worst = 0.0
    for at_s in np.arange(STEP_S, end_s + STEP_S, STEP_S):
        value = larger * measure.read(series.between(at_s - WINDOW_S, at_s))
        if measure.fires(value):
            if fired_s is None:
                fired_s, worst = float(at_s), value
            until_s, worst = float(at_s), (max if measure.is_above else min)(worst, value)
        elif fired_s is not None:
            yield fired_s, until_s, worst
            fired_s = None
    if fired_s is not None:
        yield fired_s, until_s, worst


def _all_series(trace_index: TraceIndex) -> dict[str, _Series]:
    """By the `series` of a measure, without the warm-up."""
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in ("reconnections", "fallbacks", "settled", "latency")}
    published_s = {
        publish.publish_id: publish.at / NS_PER_S
        for client in trace_index.clients.values()
        for publish in client.published.values()
    }
    for client in trace_index.clients.values():
        for name, at in moves_at(client):
            pairs.setdefault(name, []).append((at / NS_PER_S, 1.0))
        pairs["settled"] += [(answers[0].at / NS_PER_S, 1.0) for answers in client.accepted.values()]
        failed = (ends[0] for ticket, ends in client.failed.items() if ticket not in client.accepted)
        pairs["settled"] += [(record.at / NS_PER_S, 0.0) for record in failed]
        given = (record for record in client.records if isinstance(record, Delivered) and record.publish_id in published_s)
        pairs["latency"] += [(record.at / NS_PER_S, record.at / NS_PER_S - published_s[record.publish_id]) for record in given]
    pairs["round_trip"] = [
        (report.at / NS_PER_S, report.round_trip_ms * NS_PER_MS / NS_PER_S) for report in trace_index.round_trips
    ]
    warm_up_s = trace_index.started.warm_up_s
    return {name: _Series.of([pair for pair in of_name if pair[0] >= warm_up_s]) for name, of_name in pairs.items()}


def _settled(trace_index: TraceIndex, client: ClientIndex) -> tuple[int, int]:
    """Publishes that were accepted, and that failed for good."""
    if trace_index.measured is not None:
        sums = trace_index.measured.clients.get(client.name)
        return (0, 0) if sums is None else (sums.accepted, sums.failed)
    return len(client.accepted), len(client.failed.keys() - client.accepted.keys())


def _status(client: ClientIndex, reconnections: int) -> str:
    """The brief's status names."""
    if not client.is_carried:
        return "Disconnected"
    if client.state.is_polling:
        return "HTTP Polling"
    return "Reconnected" if reconnections else "Connected"
