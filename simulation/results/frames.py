"""Results as tidy pandas frames: one row per thing, one column per property, SI units in the column names.

    messages       one row per publish and client: when it was published, and when that client was given it
    publishes      one row per publish: its result for the sender
    states         one row per interval that a client spent in one state
    interruptions  one row per interval in which a client that had been connected had no transport
    attempts       one row per attempt to connect: its wait, and its result
    connections    one row per connection that was welcomed: how long it lasted, and how it ended
    faults         one row per fault, also of what a path did by itself: its start and end
    queues         one row per queue: its maximum
    samples        one row per sample of a queue whose length had changed
    work           one row per sample of a server with a capacity: its work since the last, the waits of jobs, refused clients
    round_trips    one row per answered ping
    clients        one row per client: the brief's health of a connection (`measures`)
    minutes        one row per minute: reconnections, fallbacks, delivery rate, latency
    alerts         one row per interval in which one of the brief's alerts would have fired
    groups         one row per group of clients: its publishes, latency as its clients see it, interruptions, fallback
    metrics        one row per series, under the server's names (`metric_frames`)
    summary        one row: counts, and every latency beside the share of messages that have one

A message that was never delivered has no latency; it still has its row, and is in every count. Delivered messages alone would
look too fast. Figures leave out what happened in the warm-up; counts and guarantees do not.

Of a run with `record = "histograms"` there are no rows for messages; the summary's latencies come from its histograms, within the
relative error given with them.
"""

import json
import math
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path as FilePath
from typing import Any, Literal

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from reference.protocol.timers import NS_PER_S
from simulation.results.connection_frames import (
    attempts,
    connections,
    faults,
    interruptions,
    queues,
    round_trips,
    samples,
    states,
    work,
)
from simulation.results.counts import count
from simulation.results.measures import alerts, clients, minutes
from simulation.results.message_frames import messages, publishes
from simulation.results.metric_frames import metrics
from simulation.results.outage_figures import fallback_share, group_of, of_attempts, of_interruptions, until_back
from simulation.trace.histograms import LogHistogram
from simulation.trace.index import TraceIndex
from simulation.trace.measured import MessagesMeasured

UNITS = "*_s: seconds of the run; *_ms: milliseconds; *_per_s, *_per_min: a second, a minute; *_share, *_rate: 0 to 1"
CSV_HEAD_LINES = 8
"""Lines with metadata at the top of a CSV file, before the line with the column names."""
HIGH_WATER = {
    "outbox": "outbox_max",
    "application": "application_queue_max",
    "accept backlog": "accept_queue_max",
    "work queue": "work_queue_max",
    "control frames of one connection": "control_frames_max",
    "not durable": "not_durable_max",
    "commit under way": "commit_events_max",
    "open requests": "open_requests_max",
}
"""The queues whose maxima are in the summary, and their column names."""
QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


class Frames:
    """The frames of one trace, each built when it is first used: `frames["messages"]`. `scale`: how many times larger the full
    world is, if the trace is of a scaled one; figures of a study use it."""

    def __init__(self, trace_index: TraceIndex, scale: float = 1.0) -> None:
        self._trace_index, self.scale = trace_index, scale
        self._built: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A frame by its name; raises KeyError."""
        if name not in self._built:
            of_trace = OF_TRACE.get(name)
            self._built[name] = OF_FRAMES[name](self._trace_index, self) if of_trace is None else of_trace(self._trace_index)
        return self._built[name]

    def measured(self, name: str) -> pd.DataFrame:
        """The rows of a frame that figures use: without the warm-up. Raises KeyError for a frame that has no warm-up."""
        frame = self[name]
        return frame[frame["is_measured"]]

    def write(self, directory: FilePath, *, scenario: str = "", kind: "FileKind" = "parquet") -> list[FilePath]:
        """Write each frame to `directory`/<name>.<kind>; equal runs give equal bytes. Raises OSError.

        Each file has metadata: `scenario` (the scenario's text), the seed, the versions and the units. A Parquet file has them in
        its own metadata, a CSV file in its first `CSV_HEAD_LINES` lines (`pandas.read_csv(path, skiprows=8)`), and a JSON file
        under "metadata", beside "rows"."""
        paths = [directory / f"{name}.{kind}" for name in NAMES]
        for name, path in zip(NAMES, paths, strict=True):
            WRITERS[kind](self[name], path, self.metadata(scenario))
        return paths

    def metadata(self, scenario: str = "") -> dict[str, str]:
        """Metadata about the origin of a file."""
        started = self._trace_index.started
        return {
            "steadywire.version": package_version(),
            "steadywire.trace_format": str(started.format_version),
            "steadywire.world": started.world,
            "steadywire.seed": str(started.seed),
            "steadywire.run_id": started.run_id,
            "steadywire.warm_up_s": f"{started.warm_up_s:g}",
            "steadywire.scenario": scenario,
            "steadywire.units": UNITS,
        }

    def _repr_html_(self) -> str:
        """The summary, and the list of frames."""
        table = self["summary"].T.to_html(header=False, float_format=lambda value: f"{value:.4g}")
        return f"<p>Frames: {', '.join(NAMES)}</p>{table}"


def write_parquet(frame: pd.DataFrame, path: FilePath, metadata: Mapping[str, str] | None = None) -> None:
    """Write a frame to one file; equal frames give equal bytes. `metadata`: in addition to what pandas writes. Raises OSError."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    pyarrow.parquet.write_table(table, path, compression="zstd")


def write_csv(frame: pd.DataFrame, path: FilePath, metadata: Mapping[str, str]) -> None:
    """Write a frame to one file, under its metadata: a line `# name: value` for each, the value as JSON. Raises OSError."""
    about = "".join(f"# {name}: {json.dumps(value)}\n" for name, value in metadata.items())
    path.write_text(about + frame.to_csv(index=False, lineterminator="\n"), encoding="utf-8")


def write_json(frame: pd.DataFrame, path: FilePath, metadata: Mapping[str, str]) -> None:
    """Write {"metadata": {...}, "rows": [{...}, ...]}; a missing value is null. Raises OSError."""
    rows = frame.to_json(orient="records", double_precision=15)
    path.write_text(f'{{"metadata": {json.dumps(dict(metadata), indent=1)},\n"rows": {rows}}}\n', encoding="utf-8")


def package_version() -> str:
    """The version of the installed package; "unknown" if the sources are used without installation."""
    try:
        return version("steadywire")
    except PackageNotFoundError:
        return "unknown"


def summary(trace_index: TraceIndex) -> pd.DataFrame:
    """One row. Counts are of the whole run, all other figures of the time after the warm-up.

    delivery_rate        accepted / (accepted + failed for good), of the publishes made after the warm-up
    refused              publishes that an outbox did not take
    messages             publishes times readers, without readers that had left; with them if the trace kept no messages
    undelivered          of these, neither delivered nor covered by a snapshot when the trace ended: they have no latency
    delivered_share      1 - undelivered / messages; read the latencies beside it
    error_share          the relative error of latencies and round trips (0: exact)
    gave_up              clients whose session ended against their will
    interruption_*       quantiles of those that ended; mean and max of all
    attempts_per_s_max   WebSockets that were tried in the busiest second; accepts_per_s_max: that were welcomed
    back_50_s, ...       from the last fault until 50, 90, 99, 100 % of the clients were back
    fallback_share       the share of the clients' time in which they polled
    *_queue_max, ...     the most that any queue of that kind ever held (`queues`); NaN where none was recorded
    """
    return Frames(trace_index)["summary"]


def _summary_of(trace_index: TraceIndex, frames: Frames) -> pd.DataFrame:
    counts = count(trace_index)
    row: dict[str, Any] = {
        "clients": len(trace_index.clients),
        "duration_s": trace_index.ended_at / NS_PER_S,
        **msgspec.structs.asdict(counts),
        "gave_up": sum(client.is_over and client.left_at is None for client in trace_index.clients.values()),
        "error_share": 0.0,
    }
    row |= _of_messages(frames) if trace_index.measured is None else _of_sums(trace_index.measured, trace_index)
    gone = frames.measured("interruptions")
    row |= _quantiles("interruption", gone["duration_s"][gone["has_returned"]])
    row |= of_interruptions(gone)
    row["not_returned"] = int((~gone["has_returned"]).sum())
    row |= of_attempts(frames.measured("attempts"))
    row |= until_back(trace_index)
    row["fallback_share"] = fallback_share(frames["states"], trace_index.started.warm_up_s)
    longest = frames["queues"].groupby("queue")["length_max"].max()
    row |= {column: float(longest.get(queue, math.nan)) for queue, column in HIGH_WATER.items()}
    floats = [name for name in row if name.endswith(("_s", "_rate", "_share"))]
    return pd.DataFrame([row]).astype(dict.fromkeys(floats, "float64"))


def _groups_of(trace_index: TraceIndex, frames: Frames) -> pd.DataFrame:
    """One row per group of a scenario's clients (their name without the number). What the group published, and how its clients
    were given what anyone published; figures leave out the warm-up. Latencies are empty where the trace kept no messages."""
    measured = trace_index.measured
    names = {group_of(name): None for name in trace_index.clients}
    parts = {name: frames[name] for name in ("messages", "publishes", "interruptions", "states")}
    columns = {"messages": "reader", "publishes": "sender", "interruptions": "client", "states": "client"}
    rows = []
    for group in names:
        of = {name: frame[frame[columns[name]].map(group_of) == group] for name, frame in parts.items()}
        gone, read = of["interruptions"][of["interruptions"]["is_measured"]], of["messages"][of["messages"]["is_measured"]]
        sent, members = of["publishes"], [name for name in trace_index.clients if group_of(name) == group]
        counts = {"published": len(sent)} | {what: int((sent["outcome"] == what).sum()) for what in ("accepted", "failed")}
        if measured is not None:
            sums = [measured.clients[name] for name in members if name in measured.clients]
            counts = {what: sum(getattr(each, what) for each in sums) for what in counts}
        row: dict[str, Any] = {
            "group": group,
            "clients": len(members),
            **counts,
            **_quantiles("latency", read["latency_s"]),
            "interruptions": len(gone),
            **of_interruptions(gone),
            "fallback_share": fallback_share(of["states"], trace_index.started.warm_up_s),
        }
        rows.append(row)
    floats = [name for name in (rows[0] if rows else {}) if name.endswith(("_s", "_share"))]
    return pd.DataFrame(rows).astype(dict.fromkeys(floats, "float64"))


def _of_messages(frames: Frames) -> dict[str, Any]:
    sent, all_messages, pings = frames["publishes"], frames["messages"], frames["round_trips"]
    outcomes = sent[sent["is_measured"]]["outcome"].value_counts()
    settled = int(outcomes.get("accepted", 0) + outcomes.get("failed", 0))
    owed = all_messages[all_messages["is_measured"] & ~all_messages["has_left"]]
    undelivered = int((~(owed["is_delivered"] | owed["is_covered"])).sum())
    return {
        "delivery_rate": outcomes.get("accepted", 0) / settled if settled else None,
        "messages": len(owed),
        "undelivered": undelivered,
        "delivered_share": 1 - undelivered / len(owed) if len(owed) else None,
        **_quantiles("latency", owed["latency_s"]),
        **_quantiles("round_trip", pings["round_trip_s"][pings["is_measured"]]),
    }


def _of_sums(measured: MessagesMeasured, trace_index: TraceIndex) -> dict[str, Any]:
    """The number of expected deliveries per client is unknown there; the number of deliveries is known."""
    accepted, failed = measured.settled_measured
    latency, round_trip = measured.latency.histogram(), measured.round_trip.histogram()
    return {
        "error_share": latency.relative_error,
        "delivery_rate": accepted / (accepted + failed) if accepted + failed else None,
        "messages": measured.measured_publishes * len(trace_index.clients),
        "undelivered": float("nan"),
        "delivered_share": None,
        **_read("latency", latency),
        **_read("round_trip", round_trip),
    }


def _quantiles(name: str, values: "pd.Series[float]") -> dict[str, float | None]:
    there = bool(values.notna().any())
    return {f"{name}_{label}_s": float(values.quantile(fraction)) if there else None for fraction, label in QUANTILES}


def _read(name: str, histogram: LogHistogram) -> dict[str, float | None]:
    return {f"{name}_{label}_s": histogram.quantile(fraction) for fraction, label in QUANTILES}


FileKind = Literal["parquet", "csv", "json"]
WRITERS: dict[str, Callable[[pd.DataFrame, FilePath, Mapping[str, str]], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "json": write_json,
}
OF_TRACE: dict[str, Callable[[TraceIndex], pd.DataFrame]] = {
    "messages": messages,
    "publishes": publishes,
    "states": states,
    "interruptions": interruptions,
    "attempts": attempts,
    "connections": connections,
    "faults": faults,
    "queues": queues,
    "samples": samples,
    "work": work,
    "round_trips": round_trips,
    "clients": clients,
    "minutes": minutes,
    "alerts": alerts,
    "metrics": metrics,
}
OF_FRAMES: dict[str, Callable[[TraceIndex, Frames], pd.DataFrame]] = {"groups": _groups_of, "summary": _summary_of}
"""Made of other frames, which are built once."""
NAMES = (*OF_TRACE, *OF_FRAMES)
