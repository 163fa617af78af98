"""One client's own recording as the trace of a run, with the inferred faults of the network (`conclusions`).

Publishes of others are seen only when they arrive. During a disconnection their events are assumed to be evenly spread.
"""

import itertools
from collections.abc import Iterator, Sequence

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.timers import NS_PER_S
from simulation.replay.conclusions import Assumption, concluded_faults
from simulation.scenario.faults import Fault
from simulation.trace.publishes import publish_data
from simulation.trace.trace import (
    AcceptedRecord,
    ClientStarted,
    Delivered,
    FaultHappened,
    FaultOver,
    Published,
    Record,
    StateTurned,
    Trace,
    TraceStarted,
)

OTHERS = "others"
"""All clients except the one that recorded."""


def trace_of(recording: Trace, assumption: Assumption) -> Trace:
    """The recording of one client among others, with their publishes and the inferred faults."""
    first, *records = recording
    assert isinstance(first, TraceStarted), "a trace has been read"
    me = next(record.client for record in records if isinstance(record, ClientStarted))
    added: list[Record] = [ClientStarted(at=0, client=OTHERS, client_id=OTHERS, user_id=OTHERS)]
    for number, (at, event_type, size_bytes) in enumerate(_of_others(records)):
        data = publish_data(f"{OTHERS}:{number}")
        added.append(Published(at=at, client=OTHERS, ticket=number, event_type=event_type, data=data, size_bytes=size_bytes))
    for fault, is_over in _faults(records, assumption, me):
        added.append(FaultOver(at=round(fault.end_s * NS_PER_S), fault=fault) if is_over else _happened(fault))
    started = msgspec.structs.replace(first, keeps="full", server=_server_for(first.client or ClientConfig()))
    # Sorting is stable: what the client recorded comes first where times are equal.
    return Trace([started, *sorted([*records, *added], key=lambda record: record.at)])


def _server_for(client: ClientConfig) -> ServerConfig:
    """A recording does not have the server's settings; the server waits at least as long as this client may be silent."""
    usual = ServerConfig()
    return msgspec.structs.replace(usual, silence_max_s=max(usual.silence_max_s, min(2 * client.ping_interval_s, 86_400.0)))


def _happened(fault: Fault) -> FaultHappened:
    return FaultHappened(at=round(fault.at_s * NS_PER_S), fault=fault)


def _of_others(records: Sequence[Record]) -> Iterator[tuple[int, str, int]]:
    """When others published, as far as the recording shows it: time, type and size."""
    mine = {(record.epoch, record.sequence_number) for record in records if isinstance(record, AcceptedRecord)}
    cut_at: int | None = None
    for at, group in itertools.groupby(records, key=lambda record: record.at):
        moment = list(group)
        delivered = [record for record in moment if isinstance(record, Delivered)]
        came = [record for record in delivered if (record.epoch, record.sequence_number) not in mine]
        since = at if cut_at is None else cut_at
        for number, record in enumerate(came, start=1):
            yield since + (at - since) * number // len(came), record.event_type, record.size_bytes or 0
        cut_at = None if came else cut_at
        if any(isinstance(record, StateTurned) and not record.is_carried for record in moment) and cut_at is None:
            cut_at = at


def _faults(records: Sequence[Record], assumption: Assumption, client: str) -> Iterator[tuple[Fault, bool]]:
    for concluded in concluded_faults(records, assumption):
        fault = msgspec.structs.replace(concluded, clients=(client,))
        yield fault, False
        if hasattr(fault, "duration_s"):
            yield fault, True
