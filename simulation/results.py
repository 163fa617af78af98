"""Results as tidy pandas frames: one row per thing, one column per property, SI units in the column names.

    messages       one row per publish and client: when it was published, and when that client was given it
    publishes      one row per publish: what became of it for its sender
    states         one row per stretch of time that a client spent in one state
    interruptions  one row per stretch in which nothing carried a client that had been connected
    connections    one row per attempt to connect: how it ended
    faults         one row per fault: from when until when
    samples        one row per look at the length of a queue that had changed
    round_trips    one row per answered ping
    summary        one row: counts, and every latency beside the share of messages that have one

A message that was never delivered has no latency; it has its row all the same, and stands in every count. Whoever looks only at
what arrived sees the survivors, which are fast.
"""

from collections.abc import Callable, Iterable
from pathlib import Path as FilePath
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from reference.protocol.timers import NS_PER_MS, NS_PER_S
from simulation.counts import count
from simulation.facts import ClientFacts, Facts
from simulation.histories import interruptions as interruptions_of
from simulation.trace import AttemptMade, ConnectionLeft, ConnectionLost, Delivered, ResetTaken, SnapshotTaken

QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
_Columns = dict[str, list[Any]]


class Frames:
    """The frames of one trace, each built when it is first asked for: `frames["messages"]`."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._built: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A frame by its name; raises KeyError."""
        if name not in self._built:
            self._built[name] = BUILDERS[name](self._facts)
        return self._built[name]

    def write(self, directory: FilePath) -> list[FilePath]:
        """Write each frame to `directory`/<name>.parquet; equal runs give equal bytes. Raises OSError."""
        paths = [directory / f"{name}.parquet" for name in BUILDERS]
        for name, path in zip(BUILDERS, paths, strict=True):
            write_parquet(self[name], path)
        return paths


def write_parquet(frame: pd.DataFrame, path: FilePath) -> None:
    """Write a frame to one file; equal frames give equal bytes. Raises OSError."""
    pyarrow.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, compression="zstd")


def messages(facts: Facts) -> pd.DataFrame:
    """Every publish that was queued, for every client, its sender included.

    latency_s: from the publish to its delivery, the time in the sender's outbox included; NaN if it was not delivered.
    is_covered: not delivered, but contained in a snapshot that this client was given.
    """
    columns: _Columns = {name: [] for name in ("publish_id", "sender", "reader", "event_type", "published_s", "delivered_s")}
    covered_column: list[bool] = []
    publishes = [
        (publish.publish_id, client.name, publish.event_type, publish.at / NS_PER_S)
        for client in facts.clients.values()
        for publish in client.published.values()
    ]
    numbers = _numbers(facts)
    for reader in facts.clients.values():
        given = {record.publish_id: record.at / NS_PER_S for record in reader.records if isinstance(record, Delivered)}
        covers = _covered(reader)
        for publish_id, sender, event_type, published_s in publishes:
            delivered_s = given.get(publish_id)
            number = numbers.get(publish_id)
            columns["publish_id"].append(publish_id)
            columns["sender"].append(sender)
            columns["reader"].append(reader.name)
            columns["event_type"].append(event_type)
            columns["published_s"].append(published_s)
            columns["delivered_s"].append(delivered_s)
            covered_column.append(delivered_s is None and number is not None and number[1] <= covers.get(number[0], 0))
    frame = pd.DataFrame(columns).astype({"published_s": "float64", "delivered_s": "float64"})
    frame["latency_s"] = frame["delivered_s"] - frame["published_s"]
    frame["is_delivered"] = frame["delivered_s"].notna()
    frame["is_covered"] = pd.Series(covered_column, dtype="bool")
    return frame


def publishes(facts: Facts) -> pd.DataFrame:
    """outcome: accepted, failed or unsettled (when the trace ended). answered_s: when its sender was told."""
    rows = []
    for client in facts.clients.values():
        for ticket, publish in client.published.items():
            accepted, failed = client.accepted.get(ticket), client.failed.get(ticket)
            answer = accepted[0] if accepted else failed[0] if failed else None
            rows.append(
                {
                    "publish_id": publish.publish_id,
                    "sender": client.name,
                    "event_type": publish.event_type,
                    "published_s": publish.at / NS_PER_S,
                    "answered_s": answer.at / NS_PER_S if answer else None,
                    "outcome": "accepted" if accepted else "failed" if failed else "unsettled",
                    "code": failed[0].code if failed and not accepted else None,
                    "sequence_number": accepted[0].sequence_number if accepted else None,
                }
            )
    types = {
        "publish_id": "str",
        "sender": "str",
        "event_type": "str",
        "published_s": "float64",
        "answered_s": "float64",
        "outcome": "str",
        "code": "str",
        "sequence_number": "Int64",
    }
    return _frame(rows, types)


def states(facts: Facts) -> pd.DataFrame:
    """is_connected: something carried the session. transport: what."""
    rows = []
    for client in facts.clients.values():
        turns = list(client.turns())
        ends = [*(turn.at for turn in turns[1:]), facts.ended_at]
        for turn, end in zip(turns, ends, strict=True):
            state = turn.state
            transport = "websocket" if state.has_websocket else "polling" if state.is_polling else None
            rows.append(
                {
                    "client": client.name,
                    "state": state.value,
                    "start_s": turn.at / NS_PER_S,
                    "end_s": end / NS_PER_S,
                    "is_connected": state.is_connected,
                    "transport": transport,
                }
            )
    types = {
        "client": "str",
        "state": "str",
        "start_s": "float64",
        "end_s": "float64",
        "is_connected": "bool",
        "transport": "str",
    }
    return _frame(rows, types)


def interruptions(facts: Facts) -> pd.DataFrame:
    """has_returned: the stretch ended with a connection, not with the trace."""
    rows = [
        {
            "client": client.name,
            "start_s": start / NS_PER_S,
            "end_s": end / NS_PER_S,
            "duration_s": (end - start) / NS_PER_S,
            "has_returned": has_returned,
        }
        for client in facts.clients.values()
        for start, end, has_returned in interruptions_of(client, facts.ended_at)
    ]
    types = {"client": "str", "start_s": "float64", "end_s": "float64", "duration_s": "float64", "has_returned": "bool"}
    return _frame(rows, types)


def connections(facts: Facts) -> pd.DataFrame:
    """ended_by: client, or network (the server included); None while it lasts."""
    rows = []
    for client in facts.clients.values():
        ended: dict[int, ConnectionLeft | ConnectionLost] = {}
        for record in client.records:
            if isinstance(record, ConnectionLeft) or (isinstance(record, ConnectionLost) and record.request is None):
                ended.setdefault(record.connection_id, record)
        for record in client.records:
            if not isinstance(record, AttemptMade):
                continue
            end = ended.get(record.connection_id)
            rows.append(
                {
                    "client": client.name,
                    "connection_id": record.connection_id,
                    "transport": record.transport.value,
                    "attempted_s": record.at / NS_PER_S,
                    "ended_s": end.at / NS_PER_S if end else None,
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
        "ended_s": "float64",
        "ended_by": "str",
        "code": "Int64",
        "message": "str",
    }
    return _frame(rows, types)


def faults(facts: Facts) -> pd.DataFrame:
    """clients: how many it hit."""
    rows = [
        {
            "kind": trouble.kind,
            "start_s": trouble.start / NS_PER_S,
            "end_s": trouble.end / NS_PER_S,
            "clients": len(trouble.clients) or len(facts.clients),
        }
        for trouble in facts.troubles
    ]
    return _frame(rows, {"kind": "str", "start_s": "float64", "end_s": "float64", "clients": "int64"})


def samples(facts: Facts) -> pd.DataFrame:
    """place: a client, or server. Between two rows of one queue its length was the same at every look."""
    rows = [
        {
            "time_s": sample.at / NS_PER_S,
            "place": sample.place,
            "queue": sample.queue,
            "length": sample.length,
            "limit": sample.limit,
        }
        for sample in facts.samples
    ]
    return _frame(rows, {"time_s": "float64", "place": "str", "queue": "str", "length": "int64", "limit": "int64"})


def round_trips(facts: Facts) -> pd.DataFrame:
    """time_s: when the server heard of it, which is with the next ping."""
    rows = [
        {
            "time_s": report.at / NS_PER_S,
            "client_id": facts.session_owners.get(report.session_id),
            "round_trip_s": report.round_trip_ms * NS_PER_MS / NS_PER_S,
        }
        for report in facts.round_trips
    ]
    return _frame(rows, {"time_s": "float64", "client_id": "str", "round_trip_s": "float64"})


def summary(facts: Facts) -> pd.DataFrame:
    """One row.

    delivery_rate: accepted / (accepted + failed for good). delivered_share: of all messages, those that were delivered, or
    covered by a snapshot; undelivered: how many were neither. Quantiles are of what was delivered: read them beside that share.
    """
    counts = count(facts)
    all_messages = messages(facts)
    undelivered = int((~(all_messages["is_delivered"] | all_messages["is_covered"])).sum())
    settled = counts.accepted + counts.failed
    row: dict[str, Any] = {
        "clients": len(facts.clients),
        "duration_s": facts.ended_at / NS_PER_S,
        **msgspec.structs.asdict(counts),
        "delivery_rate": counts.accepted / settled if settled else None,
        "messages": len(all_messages),
        "undelivered": undelivered,
        "delivered_share": 1 - undelivered / len(all_messages) if len(all_messages) else None,
    }
    gone = interruptions(facts)
    measured = {
        "latency": all_messages["latency_s"],
        "interruption": gone["duration_s"][gone["has_returned"]],
        "round_trip": round_trips(facts)["round_trip_s"],
    }
    for name, values in measured.items():
        for fraction, label in QUANTILES:
            row[f"{name}_{label}_s"] = values.quantile(fraction) if values.notna().any() else None
    return pd.DataFrame([row]).astype({name: "float64" for name in row if name.endswith(("_s", "_rate", "_share"))})


BUILDERS: dict[str, Callable[[Facts], pd.DataFrame]] = {
    "messages": messages,
    "publishes": publishes,
    "states": states,
    "interruptions": interruptions,
    "connections": connections,
    "faults": faults,
    "samples": samples,
    "round_trips": round_trips,
    "summary": summary,
}


def _frame(rows: Iterable[dict[str, Any]], types: dict[str, str]) -> pd.DataFrame:
    """A frame with these columns and types, whether it has rows or not."""
    texts = {"str": "object"}
    frame = pd.DataFrame(list(rows), columns=list(types))
    return frame.astype({name: texts.get(kind, kind) for name, kind in types.items()})


def _numbers(facts: Facts) -> dict[str | None, tuple[str | None, int]]:
    """Epoch and sequence number of every publish of which one is known."""
    numbers: dict[str | None, tuple[str | None, int]] = {}
    for client in facts.clients.values():
        for ticket, answers in client.accepted.items():
            publish = client.published.get(ticket)
            if publish is not None:
                numbers[publish.publish_id] = (answers[0].epoch, answers[0].sequence_number)
    for (epoch, number), found in facts.entries.items():
        numbers.setdefault(found[0].publish_id, (epoch, number))
    return numbers


def _covered(reader: ClientFacts) -> dict[str | None, int]:
    """By epoch: the number up to which this client was given a snapshot."""
    covered: dict[str | None, int] = {}
    for record in reader.records:
        if isinstance(record, SnapshotTaken | ResetTaken):
            covered[record.epoch] = max(covered.get(record.epoch, 0), record.sequence_number)
    return covered
