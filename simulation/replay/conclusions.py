"""One client's own recording as the trace of a run, with the faults of the network inferred from what the client observed.

    observation                                             inferred fault
    lost, and the next attempt works                        a reset
    gone silent, and the next attempt works                 a half-open connection, since its last sign of life
    lost, and attempts are refused before one works         a reset, and refusals until the network came back
    gone silent, or attempts hang before one works          an outage, since the last sign of life
    attempts fail, and HTTP carries the session meanwhile   WebSocket was blocked

The recording does not show when the network came back: not before the end of the last failed attempt ("earliest"), and not after
the beginning of the successful one ("latest"). Publishes of others are seen only when they arrive: during a disconnection their
events are assumed to be evenly spread.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_S
from simulation.scenario.faults import BlockUpgrade, Fault, HalfOpen, Outage, Refuse, Reset
from simulation.trace.publishes import publish_data
from simulation.trace.trace import (
    AcceptedRecord,
    AttemptMade,
    ClientStarted,
    ConnectionLeft,
    ConnectionLost,
    Delivered,
    FaultHappened,
    FaultOver,
    Published,
    Record,
    RoundTripTaken,
    StateTurned,
    Trace,
    TraceStarted,
)

Assumption = Literal["earliest", "latest"]
"""When the network is assumed to have come back."""
UNSEEN = -1
"""A connection that was opened before the recording began."""
FIRST_OWN_CODE = 4000
"""Close codes below are WebSocket's own: 1000 is an ordinary end."""
REFUSED_S_MAX = 1.0
"""A failed attempt that ended within this time was refused; a longer one hung."""
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


@dataclass(slots=True)
class _Trouble:
    """The state since a connection that carried the session was lost."""

    since: int
    was_silent: bool
    last_failed_at: int | None = None
    hung: bool = False
    polled: bool = False


@dataclass(slots=True)
class _Reader:
    assumption: Assumption
    faults: list[Fault] = field(default_factory=list)
    sign_at: int = 0
    carrier: int | None = None  # the WebSocket that carries the session, or is being proven
    tried: dict[int, int] = field(default_factory=dict)
    trouble: _Trouble | None = None

    def read(self, record: Record) -> None:
        match record:
            case RoundTripTaken(at=at) | Delivered(at=at) | AcceptedRecord(at=at):
                self.sign_at = at
            case AttemptMade(at=at, connection_id=connection_id, transport=Transport.WEBSOCKET):
                self.tried[connection_id] = at
            case ConnectionLeft(code=code) if code is not None and code < FIRST_OWN_CODE:
                self.carrier = None  # it was not needed any more, or the application has left
            case ConnectionLeft(at=at, connection_id=connection_id) | ConnectionLost(at=at, connection_id=connection_id):
                if connection_id in self.tried or self.carrier == UNSEEN:
                    self._ended(record, self.tried.pop(connection_id, at))
            case StateTurned(at=at, state=state, is_carried=is_carried):
                if state.is_polling and is_carried and self.trouble is not None:
                    self.trouble.polled = True
                if state.has_websocket and self.carrier is None:
                    self.carrier = max(self.tried, default=UNSEEN)
                    self._over(self.tried.get(self.carrier, at))
                    self.sign_at = at
            case _:
                pass

    def end(self, at: int) -> None:
        """The recording ends; active faults last until then."""
        self._over(at)

    def _ended(self, ended: ConnectionLeft | ConnectionLost, tried_at: int) -> None:
        if self.carrier in (ended.connection_id, UNSEEN):
            self.carrier = None
            self.trouble = _Trouble(
                self.sign_at if isinstance(ended, ConnectionLeft) else ended.at, isinstance(ended, ConnectionLeft)
            )
            return
        if self.trouble is None:
            self.trouble = _Trouble(tried_at, was_silent=False)
        self.trouble.last_failed_at = ended.at
        self.trouble.hung |= ended.at - tried_at > REFUSED_S_MAX * NS_PER_S

    def _over(self, worked_at: int) -> None:
        trouble, self.trouble = self.trouble, None
        if trouble is None:
            return
        at_s = trouble.since / NS_PER_S
        if trouble.last_failed_at is None:
            self.faults.append(HalfOpen(at_s=at_s) if trouble.was_silent else Reset(at_s=at_s))
            return
        back_at = trouble.last_failed_at if self.assumption == "earliest" else max(worked_at, trouble.last_failed_at)
        duration_s = max(0.0, (back_at - trouble.since) / NS_PER_S)
        if trouble.polled:
            self.faults.append(BlockUpgrade(at_s=at_s, duration_s=duration_s))
        elif trouble.was_silent or trouble.hung:
            self.faults.append(Outage(at_s=at_s, duration_s=duration_s))
        else:
            self.faults += [Reset(at_s=at_s), Refuse(at_s=at_s, duration_s=duration_s)]


def concluded_faults(records: Sequence[Record], assumption: Assumption) -> Iterator[Fault]:
    """The faults that explain a recording, in the order in which they began."""
    reader = _Reader(assumption)
    first = next((record for record in records if isinstance(record, StateTurned)), None)
    if first is not None and first.state.has_websocket:
        reader.carrier = UNSEEN
    for record in records:
        reader.read(record)
    reader.end(records[-1].at)
    yield from reader.faults
