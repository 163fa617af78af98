"""The server's metrics at the end of a run, computed from a trace, under the server's names (`reference.protocol.metrics`).

Only metrics that a trace can show: the counters of connections, publishes and fallbacks, the log, and the histograms of round
trips, recovery and resumes with the server's own buckets. Metrics of the server's sockets and its HTTP front door are missing.
"""

import json
from collections import Counter
from collections.abc import Iterable

import pandas as pd

from reference.protocol import metrics as table
from reference.protocol.metrics import Metric
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.results.columns import framed
from simulation.results.counts import moves_of
from simulation.trace.index import TraceIndex, interruptions
from simulation.trace.trace import SessionJoined, SessionLeft

_Row = dict[str, object]


def metrics(trace_index: TraceIndex) -> pd.DataFrame:
    """One row per series: metric, labels (as JSON), unit, value. A histogram has its buckets (`le`), sum and count."""
    joined = [record for record in trace_index.sessions if isinstance(record, SessionJoined)]
    left = [record for record in trace_index.sessions if isinstance(record, SessionLeft)]
    fallbacks = sum(moves_of(client)["fallbacks"] for client in trace_index.clients.values())
    counters: list[tuple[Metric, dict[str, str], float]] = [
        (table.CONNECTIONS, {}, len(joined)),
        (table.RECONNECTIONS, {}, sum(record.is_return for record in joined)),
        *_by_code(left),
        *(
            (table.RESUMES, {"outcome": outcome}, number)
            for outcome, number in sorted(Counter(record.outcome for record in joined).items())
        ),
        (table.FALLBACKS, {"reason": "unknown"}, fallbacks),
    ]
    if trace_index.log is not None:
        counters.append((table.EVENTS_STORED, {}, trace_index.log.head))
    if trace_index.measured is None:
        counters += _of_answers(trace_index)
    rows = [_row(metric, labels, value) for metric, labels, value in counters]
    rows += _histogram(table.RESUME_EVENTS, (float(record.replayed) for record in joined))
    rows += _histogram(table.RECOVERY, _recoveries(trace_index))
    if trace_index.measured is None:
        rows += _histogram(table.LATENCY, (report.round_trip_ms * NS_PER_MS / NS_PER_S for report in trace_index.round_trips))
    return framed(rows, {"metric": "str", "labels": "str", "unit": "str", "value": "float64"})


def _row(metric: Metric, labels: dict[str, str], value: float, suffix: str = "") -> _Row:
    return {"metric": metric.name + suffix, "labels": json.dumps(labels), "unit": metric.unit, "value": value}


def _histogram(metric: Metric, values: Iterable[float]) -> list[_Row]:
    seen = list(values)
    rows = [_row(metric, {"le": f"{le:g}"}, sum(value <= le for value in seen), "_bucket") for le in metric.buckets]
    rows.append(_row(metric, {"le": "+Inf"}, len(seen), "_bucket"))
    rows.append(_row(metric, {}, sum(seen), "_sum"))
    rows.append(_row(metric, {}, len(seen), "_count"))
    return rows


def _by_code(left: list[SessionLeft]) -> list[tuple[Metric, dict[str, str], float]]:
    """By the code of the server's close; a cut, or a close by a client, has none in a trace."""
    codes = Counter("none" if record.code is None else str(record.code) for record in left)
    return [
        (table.DISCONNECTIONS, {"code": code, "by": "client" if code == "none" else "server"}, number)
        for code, number in sorted(codes.items())
    ]


def _of_answers(trace_index: TraceIndex) -> list[tuple[Metric, dict[str, str], float]]:
    answers = [answer for answer in trace_index.answers if answer is not None]
    accepted = [answer for answer in answers if answer.sequence_number is not None]
    return [
        (table.ACCEPTED, {}, sum(not answer.duplicate for answer in accepted)),
        (table.DUPLICATES, {}, sum(answer.duplicate for answer in accepted)),
        (table.FAILURES, {"reason": "rejected"}, sum(answer.code is not None for answer in answers)),
    ]


def _recoveries(trace_index: TraceIndex) -> Iterable[float]:
    for client in trace_index.clients.values():
        for start, end, has_returned in interruptions(client, trace_index.ended_at):
            if has_returned:
                yield (end - start) / NS_PER_S
