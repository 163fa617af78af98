"""Recoveries: how long a client was cut off each time, read from a trace.

A recovery is the time from the moment at which a client loses its transport until it has one again and has received everything
that any client had received when it began.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from reference.protocol.timers import NS_PER_S
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import Delivered, ResetTaken, SnapshotTaken, StateTurned


def recoveries(trace_index: TraceIndex) -> Iterator[tuple[str, float]]:
    """Every time that a client was cut off and recovered: its name, and the duration in seconds."""
    epoch = None if trace_index.log is None else trace_index.log.epoch
    seen = sorted((at, number) for (seen_epoch, number), at in trace_index.visible_at.items() if seen_epoch == epoch)
    times, heads, head = [at for at, _ in seen], [], 0
    for _, number in seen:
        head = max(head, number)
        heads.append(head)
    for client in trace_index.clients.values():
        for took_s in _recoveries_of(client, times, heads):
            yield client.name, took_s


def _recoveries_of(client: ClientIndex, times: Sequence[int], heads: Sequence[int]) -> Iterator[float]:
    lost_at: int | None = None
    was_carried, position, wanted = False, 0, 0
    for record in client.records:
        match record:
            case StateTurned(at=at, is_carried=is_carried):
                if was_carried and not is_carried and lost_at is None:
                    lost_at = at
                if not was_carried and is_carried:
                    known = bisect_right(times, at)
                    wanted = heads[known - 1] if known else 0
                was_carried = is_carried
            case Delivered(sequence_number=number) | SnapshotTaken(sequence_number=number) | ResetTaken(sequence_number=number):
                position = number
            case _:
                continue
        if lost_at is not None and was_carried and position >= wanted:
            yield (record.at - lost_at) / NS_PER_S
            lost_at = None
