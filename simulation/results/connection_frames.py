"""Frames about clients and their connections: states, interruptions, attempts, connections, faults, queues."""

import pandas as pd

from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.results.columns import framed
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.index import interruptions as interruptions_of
from simulation.trace.trace import AttemptMade, ConnectionLeft, ConnectionLost, StateTurned


def attempts(trace_index: TraceIndex) -> pd.DataFrame:
    """Every WebSocket attempt, and every start of polling.

    waited_s: since the end of the client's previous connection (NaN for the first). welcomed_s: when the server had accepted it;
    polling counts as welcomed when it opens. is_measured: tried after the warm-up. outcome: welcomed, failed (ended before a
    welcome), or open (at the end).
    """
    rows = []
    for client in trace_index.clients.values():
        ends, welcomes = _ending_of(client), _welcomes(client)
        ended_before: float | None = None
        for record in client.records:
            if not isinstance(record, AttemptMade):
                continue
            end, welcomed = ends.get(record.connection_id), welcomes.get(record.connection_id)
            rows.append(
                {
                    "client": client.name,
                    "connection_id": record.connection_id,
                    "transport": record.transport.value,
                    "attempted_s": record.at / NS_PER_S,
                    "is_measured": record.at / NS_PER_S >= trace_index.started.warm_up_s,
                    "waited_s": None if ended_before is None else max(0.0, record.at / NS_PER_S - ended_before),
                    "welcomed_s": None if welcomed is None else welcomed / NS_PER_S,
                    "ended_s": end.at / NS_PER_S if end else None,
                    "outcome": "welcomed" if welcomed is not None else "failed" if end else "open",
                    "code": end.code if end else None,
                    "message": end.message if end else None,
                }
            )
            ended_before = end.at / NS_PER_S if end else ended_before
    types = {
        "client": "str",
        "connection_id": "int64",
        "transport": "str",
        "attempted_s": "float64",
        "is_measured": "bool",
        "waited_s": "float64",
        "welcomed_s": "float64",
        "ended_s": "float64",
        "outcome": "str",
        "code": "Int64",
        "message": "str",
    }
    return framed(rows, types)


def connections(trace_index: TraceIndex) -> pd.DataFrame:
    """Every welcomed connection: its start, its end, and how it ended.

    ended_by: client, or network (the server included); None while it lasts. duration_s: until it ended, or the trace did.
    """
    rows = []
    for client in trace_index.clients.values():
        ends, welcomes = _ending_of(client), _welcomes(client)
        for record in client.records:
            if not isinstance(record, AttemptMade) or record.connection_id not in welcomes:
                continue
            end, welcomed = ends.get(record.connection_id), welcomes[record.connection_id]
            rows.append(
                {
                    "client": client.name,
                    "connection_id": record.connection_id,
                    "transport": record.transport.value,
                    "attempted_s": record.at / NS_PER_S,
                    "welcomed_s": welcomed / NS_PER_S,
                    "ended_s": end.at / NS_PER_S if end else None,
                    "duration_s": ((end.at if end else trace_index.ended_at) - welcomed) / NS_PER_S,
                    "ended_by": None if end is None else "client" if isinstance(end, ConnectionLeft) else "network",
                    "code": end.code if end else None,
                    "message": end.message if end else None,
                }
            )
    types = {
        "client": "str",
        "connection_id": "int64",
        "transport": "str",
        "attempted_s": "float64",
        "welcomed_s": "float64",
        "ended_s": "float64",
        "duration_s": "float64",
        "ended_by": "str",
        "code": "Int64",
        "message": "str",
    }
    return framed(rows, types)


def states(trace_index: TraceIndex) -> pd.DataFrame:
    """Every interval that a client spent in one state. is_connected: a transport carried the session; transport: which one."""
    rows = []
    for client in trace_index.clients.values():
        turns = list(client.turns())
        ends = [*(turn.at for turn in turns[1:]), trace_index.ended_at]
        rows += [
            {
                "client": client.name,
                "state": turn.state.value,
                "start_s": turn.at / NS_PER_S,
                "end_s": end / NS_PER_S,
                "is_connected": turn.is_carried,
                "transport": transport_of(turn.state, is_carried=turn.is_carried),
            }
            for turn, end in zip(turns, ends, strict=True)
        ]
    times = dict.fromkeys(("start_s", "end_s"), "float64")
    return framed(rows, {"client": "str", "state": "str", **times, "is_connected": "bool", "transport": "str"})


def interruptions(trace_index: TraceIndex) -> pd.DataFrame:
    """Every interval in which a client that had been connected had no transport. has_returned: it ended with a connection, not
    with the trace or because the client left. is_measured: it began after the warm-up."""
    rows = [
        {
            "client": client.name,
            "start_s": start / NS_PER_S,
            "end_s": end / NS_PER_S,
            "duration_s": (end - start) / NS_PER_S,
            "has_returned": has_returned,
            "is_measured": start / NS_PER_S >= trace_index.started.warm_up_s,
        }
        for client in trace_index.clients.values()
        for start, end, has_returned in interruptions_of(client, trace_index.ended_at)
    ]
    times = dict.fromkeys(("start_s", "end_s", "duration_s"), "float64")
    return framed(rows, {"client": "str", **times, "has_returned": "bool", "is_measured": "bool"})


def faults(trace_index: TraceIndex) -> pd.DataFrame:
    """Every fault that happened, also what a path did by itself. clients: how many it affected."""
    rows = [
        {
            "kind": trouble.kind,
            "start_s": trouble.start / NS_PER_S,
            "end_s": trouble.end / NS_PER_S,
            "clients": len(trouble.clients) or len(trace_index.clients),
        }
        for trouble in trace_index.troubles
    ]
    return framed(rows, {"kind": "str", "start_s": "float64", "end_s": "float64", "clients": "int64"})


def samples(trace_index: TraceIndex) -> pd.DataFrame:
    """Every sample of a queue whose length had changed. place: a client, or server."""
    rows = [
        {
            "time_s": sample.at / NS_PER_S,
            "place": sample.place,
            "queue": sample.queue,
            "length": sample.length,
            "limit": sample.limit,
        }
        for sample in trace_index.samples
    ]
    return framed(rows, {"time_s": "float64", "place": "str", "queue": "str", "length": "int64", "limit": "int64"})


def queues(trace_index: TraceIndex) -> pd.DataFrame:
    """The maximum of each queue over the whole run (not only at samples), and its limit. Empty for traces of real processes,
    which record samples only."""
    rows = [
        {"place": peak.place, "queue": peak.queue, "length_max": peak.length, "limit": peak.limit} for peak in trace_index.peaks
    ]
    return framed(rows, {"place": "str", "queue": "str", "length_max": "int64", "limit": "int64"})


def work(trace_index: TraceIndex) -> pd.DataFrame:
    """The work of the server's machine between samples, if it has a capacity: `WorkSampled`. waited_mean_s: of the started jobs,
    NaN if there were none."""
    rows = [
        {
            "time_s": sample.at / NS_PER_S,
            "jobs": sample.jobs,
            "busy_s": sample.busy_s,
            "waited_mean_s": sample.waited_s / sample.jobs if sample.jobs else None,
            "waited_max_s": sample.waited_max_s,
            "shed": sample.shed,
            "syns_dropped": sample.syns_dropped,
            "backlog_most": sample.backlog_most,
        }
        for sample in trace_index.work
    ]
    times = dict.fromkeys(("time_s", "busy_s", "waited_mean_s", "waited_max_s"), "float64")
    return framed(rows, times | dict.fromkeys(("jobs", "shed", "syns_dropped", "backlog_most"), "int64"))


def round_trips(trace_index: TraceIndex) -> pd.DataFrame:
    """Every answered ping. time_s: when its report reached the server, with the next ping. is_measured: after the warm-up."""
    rows = [
        {
            "time_s": report.at / NS_PER_S,
            "client_id": trace_index.session_owners.get(report.session_id),
            "round_trip_s": report.round_trip_ms * NS_PER_MS / NS_PER_S,
            "is_measured": report.at / NS_PER_S >= trace_index.started.warm_up_s,
        }
        for report in trace_index.round_trips
    ]
    return framed(rows, {"time_s": "float64", "client_id": "str", "round_trip_s": "float64", "is_measured": "bool"})


def transport_of(state: ClientState, *, is_carried: bool) -> str | None:
    """The transport that carries a client in this state; None if none does."""
    if state.has_websocket:
        return "websocket"
    return "polling" if is_carried else None


def _ending_of(client: ClientIndex) -> dict[int, ConnectionLeft | ConnectionLost]:
    ends: dict[int, ConnectionLeft | ConnectionLost] = {}
    for record in client.records:
        if isinstance(record, ConnectionLeft) or (isinstance(record, ConnectionLost) and record.request is None):
            ends.setdefault(record.connection_id, record)
    return ends


def _welcomes(client: ClientIndex) -> dict[int, int]:
    """When each connection was welcomed, in ns."""
    welcomes: dict[int, int] = {}
    tried: int | None = None
    for record in client.records:
        if isinstance(record, AttemptMade):
            if record.transport is Transport.POLLING:
                welcomes[record.connection_id] = record.at
            else:
                tried = record.connection_id
        elif isinstance(record, StateTurned) and tried is not None and record.state.has_websocket:
            welcomes.setdefault(tried, record.at)
    return welcomes
