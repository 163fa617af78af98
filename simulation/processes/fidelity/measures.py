"""The compared measures, computed from a trace: samples in clusters.

    delivery latency   from a publish to its delivery, for every reader, in seconds
    round trip         of a ping, as the client reports it, in seconds
    recovery           from losing the transport to having one again and being at the head, in seconds
    reconnections      of each client, a count

Samples of one cluster (the deliveries of one publish, the pings or recoveries of one client) have common causes; a bootstrap
samples whole clusters, otherwise its intervals would be far too narrow.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulation.results.counts import moves_of
from simulation.results.frames import Frames
from simulation.results.recovery import recoveries
from simulation.trace.index import TraceIndex, index_of, interruptions
from simulation.trace.trace import Trace

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ComparedMeasure:
    """clusters: one array of samples for each. expected: how many samples were possible; with fewer some are missing."""

    name: str
    unit: str
    clusters: tuple[Floats, ...]
    expected: int

    @property
    def samples(self) -> Floats:
        return np.concatenate(self.clusters) if self.clusters else np.empty(0)

    @property
    def share(self) -> float:
        """The share of possible samples that exist."""
        return len(self.samples) / self.expected if self.expected else 1.0


def measure(trace: Trace, *, from_s: float = 0.0) -> dict[str, ComparedMeasure]:
    """All measures of a trace. `from_s`: the warm-up, whose publishes and pings are left out."""
    trace_index = index_of(trace)
    frames = Frames(trace_index)
    made = (_latency(frames, from_s), _round_trip(frames, from_s), _recovery(trace_index), _reconnections(trace_index))
    return {each.name: each for each in made}


def _latency(frames: Frames, from_s: float) -> ComparedMeasure:
    messages = frames["messages"]
    messages = messages[messages["published_s"] >= from_s]
    delivered = messages[messages["is_delivered"]]
    clusters = _clusters(zip(delivered["publish_id"], delivered["latency_s"], strict=True))
    return ComparedMeasure("delivery latency", "s", clusters, len(messages))


def _round_trip(frames: Frames, from_s: float) -> ComparedMeasure:
    pings = frames["round_trips"]
    pings = pings[pings["time_s"] >= from_s]
    return ComparedMeasure("round trip", "s", _clusters(zip(pings["client_id"], pings["round_trip_s"], strict=True)), len(pings))


def _recovery(trace_index: TraceIndex) -> ComparedMeasure:
    began = sum(1 for client in trace_index.clients.values() for _ in interruptions(client, trace_index.ended_at))
    found = list(recoveries(trace_index))
    return ComparedMeasure("recovery", "s", _clusters(found), max(began, len(found)))


def _reconnections(trace_index: TraceIndex) -> ComparedMeasure:
    counts = [(client.name, float(moves_of(client)["reconnections"])) for client in trace_index.clients.values()]
    return ComparedMeasure("reconnections", "", _clusters(counts), len(counts))


def _clusters(samples: Iterable[tuple[str | None, float]]) -> tuple[Floats, ...]:
    grouped: dict[str | None, list[float]] = {}
    for cluster, value in samples:
        grouped.setdefault(cluster, []).append(value)
    return tuple(np.array(values) for values in grouped.values())
