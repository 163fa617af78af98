"""Checks of clients and their connections: G6, G7, G9, G10 and G13.

One function for each guarantee; its docstring says what a trace cannot show.
"""

from reference.protocol.errors import CloseCode, Reaction, reaction_to
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.checks.verdicts import Findings, seconds, when
from simulation.trace.index import ClientIndex, TraceIndex, quiet_stretches, recovered_at
from simulation.trace.trace import (
    AttemptMade,
    ConnectionLost,
    LogStored,
    QueuePeaked,
    QueueSampled,
    RequestMade,
    ServerKilled,
    SessionJoined,
    SessionLeft,
    WaitAsked,
)


def recovery(trace_index: TraceIndex) -> Findings:
    """After the last fault, every client recovered within the bound: a transport carried it, at least at the position that the
    head had then; and at the end of the trace every client is at the head. If the trace ends before the bound has passed, only
    clients that had recovered are checked. For a client that started later, or was asked to wait, the bound begins later
    (`due_at`)."""
    if trace_index.log is None or not trace_index.troubles:
        return
    since, log = trace_index.faults_end, trace_index.log
    head = max(
        (number for (epoch, number), at in trace_index.visible_at.items() if epoch == log.epoch and at <= since), default=0
    )
    for client in trace_index.clients.values():
        if not client.is_over:
            yield from judge_recovery(trace_index, log, client, recovered_at(client, since, log.epoch, head))


def judge_recovery(trace_index: TraceIndex, log: LogStored, client: ClientIndex, back_at: int | None) -> Findings:
    """Whether a client recovered in time, and is at the head of the log at the end. `back_at`: since when, in ns, it has been
    carried at the position that it had to reach; None: it is not."""
    since, due = trace_index.faults_end, due_at(trace_index, client)
    if back_at is not None and back_at <= due:
        yield None
    elif trace_index.ended_at >= due:
        late = "is not back" if back_at is None else f"was back only after {(back_at - since) / NS_PER_S:.3f} s"
        bound = f"the bound is {trace_index.started.recovery_bound_s:g} s"
        yield f"{client.name} {late}; the faults ended at {seconds(since)}, {bound}"
    was_given_nothing = client.epoch is None and (log.head == 0 or trace_index.started.world == "real")
    if trace_index.ended_at >= due and not was_given_nothing and (client.epoch, client.position) != (log.epoch, log.head):
        yield f"{client.name} is at {client.position} at the end, in state {client.state.value}; the head is {log.head}"


def due_at(trace_index: TraceIndex, client: ClientIndex) -> int:
    """When a client must have recovered, in ns: the bound after the last fault, or after the client began if that was later, or
    after the last time until which the server asked it to stay away, if it asked within the bound."""
    bound = ns(trace_index.started.recovery_bound_s)
    due = max(trace_index.faults_end, client.started_at) + bound
    for record in client.records:
        if isinstance(record, WaitAsked) and record.at <= due:
            due = max(due, record.at + (record.retry_after_ms + (record.spread_ms or 0)) * NS_PER_MS + bound)
    return due


def bounds(trace_index: TraceIndex) -> Findings:
    """Every queue, log and table against its limit: each sample, and the maximum, if the world recorded it where the queue grows.
    Otherwise values between two samples are not seen."""
    lengths: list[QueueSampled | QueuePeaked] = [*trace_index.samples, *trace_index.peaks]
    for each in lengths:
        if each.length <= each.limit:
            yield None
        else:
            held = "has held" if isinstance(each, QueuePeaked) else "holds"
            yield f"{when(each.at)} {each.queue} of {each.place} {held} {each.length}; its limit is {each.limit}"


def takeover(trace_index: TraceIndex) -> Findings:
    """At the server, when a session joined on a new connection, it left the old one. Data that the old one still transported
    after that would show as a violation of order or of once."""
    owner: dict[str, int] = {}  # session -> its connection
    to_leave: dict[int, SessionJoined] = {}  # connection -> who took its session over
    for record in trace_index.served:
        if isinstance(record, ServerKilled):
            owner.clear()
            to_leave.clear()
        elif isinstance(record, SessionJoined):
            old = owner.get(record.session_id)
            owner[record.session_id] = record.connection_id
            if old is None:
                yield None
            else:
                to_leave[old] = record
        elif isinstance(record, SessionLeft):
            heir = to_leave.pop(record.connection_id, None)
            if heir is not None:
                yield None if heir.at == record.at else _not_left(heir, record.connection_id)
            if owner.get(record.session_id) == record.connection_id:
                del owner[record.session_id]
    for connection_id, heir in to_leave.items():
        yield _not_left(heir, connection_id)


def manners(trace_index: TraceIndex) -> Findings:
    """No attempt or request before the time that the server had asked for, and none after a terminal code."""
    for client in trace_index.clients.values():
        not_before, final_code = 0, None
        for record in client.records:
            match record:
                case WaitAsked(at=at, retry_after_ms=wait_ms):
                    not_before = max(not_before, at + wait_ms * NS_PER_MS)
                case ConnectionLost(code=code) if _is_final(record):
                    final_code = code
                case AttemptMade(at=at, transport=transport) if transport is Transport.WEBSOCKET:
                    yield _judge_attempt(client.name, "tried to connect", at, not_before, final_code)
                case RequestMade(at=at, request=request):
                    yield _judge_attempt(client.name, f"sent a {request} request", at, not_before, final_code)
                case _:
                    pass


def tail(trace_index: TraceIndex) -> Findings:
    """No client stays LIVE, behind, and without anything arriving, for longer than a heartbeat and the tail timeout. Intervals
    with a fault are left out: a dead connection may look alive until the ping detects it, which G6 checks."""
    bound, notice = ns(trace_index.started.tail_bound_s), ns(trace_index.started.notice_bound_s)
    for client in trace_index.clients.values():
        for start, end, epoch, position in quiet_stretches(client, trace_index.ended_at):
            seen_at = trace_index.visible_at.get((epoch, position + 1))
            if seen_at is None or seen_at >= end:
                continue
            behind_since = max(start, seen_at)
            if end - behind_since <= bound:
                yield None
            elif not any(trouble.touches(client.name, behind_since - notice, end) for trouble in trace_index.troubles):
                lasted = (end - behind_since) / NS_PER_S
                yield f"{when(behind_since)} {client.name} stayed at {position} for {lasted:.3f} s with more to come"


def _is_final(loss: ConnectionLost) -> bool:
    """Whether this client may never reconnect. A superseded request may have been superseded by the client's own newer
    connection, which a trace does not distinguish."""
    if loss.code is None or (loss.request is not None and loss.code == CloseCode.SUPERSEDED):
        return False
    return reaction_to(loss.code) is Reaction.STOP


def _judge_attempt(client: str, what: str, at: int, not_before: int, final_code: int | None) -> str | None:
    if final_code is not None:
        return f"{when(at)} {client} {what} after the server had closed with {final_code}, which is for good"
    if at < not_before:
        return f"{when(at)} {client} {what}; the server had asked it to wait until {seconds(not_before)}"
    return None


def _not_left(heir: SessionJoined, old: int) -> str:
    return f"{when(heir.at)} {heir.client_id} joined on connection {heir.connection_id} and was still on {old}"
