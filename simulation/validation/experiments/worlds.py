"""Absences of clients in the traces of still worlds (`simulation.scenario.still_world`)."""

from collections.abc import Iterator
from dataclasses import dataclass

from reference.protocol.timers import NS_PER_S
from simulation.trace.index import ClientIndex, TraceIndex
from simulation.trace.trace import AttemptMade, ConnectionLeft, ConnectionLost, StateTurned


@dataclass(frozen=True, slots=True)
class Absence:
    """An interval in which a client had no transport. has_returned: it ended with a connection. Times in seconds."""

    start_s: float
    end_s: float
    attempts: int
    has_returned: bool

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def absences(client: ClientIndex, ended_at: int) -> Iterator[Absence]:
    """Every absence of a client after it was connected for the first time."""
    since: int | None = None
    was_connected, attempts = False, 0
    for record in client.records:
        if isinstance(record, AttemptMade):
            attempts += 1
        elif isinstance(record, ConnectionLost | ConnectionLeft) and was_connected:
            attempts = 0  # the next attempt may be made in this instant, before the state is reported
        elif isinstance(record, StateTurned):
            is_connected = record.is_carried
            if was_connected and not is_connected:
                since = record.at
            elif is_connected and not was_connected and since is not None:
                yield Absence(since / NS_PER_S, record.at / NS_PER_S, attempts, True)
                since = None
            was_connected = is_connected
    if since is not None:
        yield Absence(since / NS_PER_S, ended_at / NS_PER_S, attempts, False)


def all_absences(trace_index: TraceIndex) -> list[Absence]:
    """Those of every client, client by client."""
    return [absence for client in trace_index.clients.values() for absence in absences(client, trace_index.ended_at)]
