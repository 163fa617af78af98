"""Frames of messages: one row for each publish and reader, and one for each publish."""

from typing import Any

import numpy as np
import pandas as pd

from reference.protocol.errors import ConfigError
from reference.protocol.timers import NS_PER_S
from simulation.results.columns import framed
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import Delivered, ResetTaken, SnapshotTaken

MESSAGES_MAX = 20_000_000
"""Maximum number of rows; for a larger run, use histograms."""


def messages(trace_index: TraceIndex) -> pd.DataFrame:
    """Every queued publish, for every client, including its sender.

    latency_s: from the publish to its delivery, including the time in the sender's outbox; NaN if it was not delivered.
    is_covered: not delivered, but contained in a snapshot that this client got, or before the position where it chose to begin.
    has_left: neither, and its reader had left deliberately. is_measured: published after the warm-up.
    """
    sent = [
        (publish.publish_id, client.name, publish)
        for client in trace_index.clients.values()
        for publish in client.published.values()
    ]
    if len(sent) * len(trace_index.clients) > MESSAGES_MAX:
        raise ConfigError(
            f"{len(sent)} publishes to {len(trace_index.clients)} clients are more than {MESSAGES_MAX} rows; "
            'run the scenario with record = "histograms"'
        )
    readers = list(trace_index.clients.values())
    ids = [publish_id for publish_id, _, _ in sent]
    published_s = np.array([publish.at / NS_PER_S for _, _, publish in sent], dtype=float)
    numbered = _numbers(trace_index)
    epochs = [numbered.get(publish_id, (None, 0))[0] for publish_id in ids]
    numbers = np.array([numbered.get(publish_id, (None, 0))[1] for publish_id in ids], dtype=np.int64)
    delivered, covered, left = [np.empty(0)], [np.empty(0, dtype=bool)], [np.empty(0, dtype=bool)]
    for reader in readers:
        given = {record.publish_id: record.at / NS_PER_S for record in reader.records if isinstance(record, Delivered)}
        delivered_s = np.array([given.get(publish_id, np.nan) for publish_id in ids], dtype=float)
        covers = _covered(reader)
        up_to = np.array([covers.get(epoch, 0) for epoch in epochs], dtype=np.int64)
        is_missing = np.isnan(delivered_s)
        is_covered = is_missing & (numbers > 0) & (numbers <= up_to)
        delivered.append(delivered_s)
        covered.append(is_covered)
        left.append(is_missing & ~is_covered & (reader.left_at is not None))
    times = len(readers)
    frame = pd.DataFrame(
        {
            "publish_id": _tiled(ids, times),
            "sender": _tiled([sender for _, sender, _ in sent], times),
            "reader": np.repeat(np.array([reader.name for reader in readers], dtype=object), len(sent)),
            "event_type": _tiled([publish.event_type for _, _, publish in sent], times),
            "published_s": np.tile(published_s, times),
            "delivered_s": np.concatenate(delivered),
        }
    )
    frame["latency_s"] = frame["delivered_s"] - frame["published_s"]
    frame["is_delivered"] = frame["delivered_s"].notna()
    frame["is_covered"] = np.concatenate(covered)
    frame["has_left"] = np.concatenate(left)
    frame["is_measured"] = frame["published_s"] >= trace_index.started.warm_up_s
    return frame


def publishes(trace_index: TraceIndex) -> pd.DataFrame:
    """outcome: accepted, failed or unsettled (when the trace ended). answered_s: when its sender got the answer. is_measured:
    made after the warm-up."""
    rows = []
    for client in trace_index.clients.values():
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
                    "is_measured": publish.at / NS_PER_S >= trace_index.started.warm_up_s,
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
        "is_measured": "bool",
    }
    return framed(rows, types)


def _numbers(trace_index: TraceIndex) -> dict[str | None, tuple[str | None, int]]:
    """Epoch and sequence number of every publish for which they are known."""
    numbers: dict[str | None, tuple[str | None, int]] = {}
    for client in trace_index.clients.values():
        for ticket, answers in client.accepted.items():
            publish = client.published.get(ticket)
            if publish is not None:
                numbers[publish.publish_id] = (answers[0].epoch, answers[0].sequence_number)
    for (epoch, number), found in trace_index.entries.items():
        numbers.setdefault(found[0].publish_id, (epoch, number))
    return numbers


def _covered(reader: ClientIndex) -> dict[str | None, int]:
    """By epoch: the number up to which this client got a snapshot, or before which it began."""
    covered: dict[str | None, int] = {}
    has_begun = False
    for record in reader.progress():
        if isinstance(record, SnapshotTaken | ResetTaken):
            covered[record.epoch] = max(covered.get(record.epoch, 0), record.sequence_number)
        elif not has_begun:
            covered[record.epoch] = record.sequence_number - 1
        has_begun = True
    return covered


def _tiled(values: list[Any], times: int) -> np.ndarray:
    return np.tile(np.array(values, dtype=object), times)
