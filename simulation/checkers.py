"""The guarantees, judged from a trace and from nothing else.

    verdicts = check(trace)          # {"G1": Verdict, ...}
    verdicts["G3"].status            # "held", "violated" or "not exercised"

A checker is one small function over `Facts`. It says what it looked at (`checked`): one that found nothing to look at has not
held, it was not exercised, and a report must not sell the one as the other. Violations are sentences with times and names, the
first `VIOLATIONS_KEPT` of them.

What a trace cannot show stands in each checker's docstring.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from reference.protocol.errors import CloseCode, Reaction, reaction_to
from reference.protocol.events import CURSOR_MOVE, USER_JOIN, USER_LEAVE
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS, NS_PER_S, ns
from simulation.facts import Facts, facts_of
from simulation.histories import quiet_stretches, recovered_at, states_claimed, states_stored, steps
from simulation.trace import (
    AnswerGiven,
    AttemptMade,
    ConnectionLost,
    CursorSeen,
    Delivered,
    PresenceSeen,
    RequestMade,
    ResetTaken,
    SessionJoined,
    SnapshotTaken,
    Trace,
    WaitAsked,
)

VIOLATIONS_KEPT = 20
Status = Literal["held", "violated", "not exercised"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guarantee over one trace. `checked`: how many things were looked at; `violated`: how many of them broke it."""

    guarantee: str
    sentence: str
    checked: int
    violated: int
    violations: tuple[str, ...]

    @property
    def status(self) -> Status:
        if self.violated:
            return "violated"
        return "held" if self.checked else "not exercised"

    @property
    def ok(self) -> bool:
        """It was looked at, and held."""
        return self.status == "held"

    def __str__(self) -> str:
        return f"{self.guarantee} {self.status} ({self.checked} checked): {self.sentence}"


Findings = Iterator[str | None]
"""One item for each thing looked at: None if it was as it should be, else what was wrong."""


def check(trace: Trace) -> dict[str, Verdict]:
    """Judge a trace by every guarantee. Raises ConfigError if it is no trace of a run."""
    return check_facts(facts_of(trace))


def check_facts(facts: Facts) -> dict[str, Verdict]:
    verdicts = {}
    for guarantee, (sentence, checker) in CHECKERS.items():
        checked = violated = 0
        kept: list[str] = []
        for finding in checker(facts):
            checked += 1
            if finding is not None:
                violated += 1
                if len(kept) < VIOLATIONS_KEPT:
                    kept.append(finding)
        verdicts[guarantee] = Verdict(guarantee, sentence, checked, violated, tuple(kept))
    return verdicts


def _order(facts: Facts) -> Findings:
    """Every delivery against the position before it. A session that begins without a snapshot begins where it likes."""
    for client in facts.clients.values():
        for record, epoch, position in steps(client):
            if not isinstance(record, Delivered):
                continue
            if epoch is None or (record.epoch == epoch and record.sequence_number == position + 1):
                yield None
            else:
                yield f"{_when(record.at)} {client.name} was given event {record.sequence_number} after {position}"


def _no_silence(facts: Facts) -> Findings:
    """Every event between the first and the last position of a client was delivered, or covered by an outcome that said so.

    Snapshots must move forward and resets must enter another history or correct a position that was ahead; a change of epoch
    without a reset is silence too.
    """
    for client in facts.clients.values():
        for record, epoch, position in steps(client):
            number = record.sequence_number
            if isinstance(record, Delivered):
                if epoch is not None and record.epoch != epoch:
                    yield f"{_when(record.at)} {client.name} was given event {number} of another epoch without a reset"
                elif epoch is not None and number > position + 1:
                    yield f"{_when(record.at)} {client.name} was never given events {position + 1} to {number - 1}"
                else:
                    yield None
            elif isinstance(record, SnapshotTaken) and epoch is not None and (record.epoch != epoch or number <= position):
                yield f"{_when(record.at)} {client.name} was given a snapshot at {number} while at {position}: that is a reset"
            elif isinstance(record, ResetTaken) and record.reason is None:
                yield f"{_when(record.at)} {client.name} was reset without a reason"
            else:
                yield None


def _once(facts: Facts) -> Findings:
    """Every accepted publish stands in the stored log once, at the number it was given; no publish stands there twice.

    Of a log whose beginning is not in the trace, only what is there can be judged; numbers before it are taken on trust.
    """
    if facts.log is None:
        return
    copies = facts.copies()
    for publish_id, count in copies.items():
        yield None if count == 1 else f"publish {publish_id} stands {count} times in the log"
    for (_, number), found in facts.entries.items():
        if len(found) > 1:
            yield f"number {number} stands {len(found)} times in the log"
    for client in facts.clients.values():
        for ticket, answers in client.accepted.items():
            publish = client.published.get(ticket)
            for answer in answers:
                if publish is None:
                    yield f"{_when(answer.at)} {client.name} was told of publish {ticket}, which it never made"
                elif facts.is_retained(answer.epoch, answer.sequence_number):
                    entry = facts.entry(answer.epoch, answer.sequence_number)
                    place = f"{client.name}'s publish {ticket}, accepted at {_s(answer.at)} as {answer.sequence_number},"
                    if entry is None:
                        yield f"{place} is not in the log"
                    elif (entry.event_type, entry.data) != (publish.event_type, publish.data):
                        yield f"{place} is {entry.event_type} {entry.data} in the log"
                    else:
                        yield None


def _same_answer(facts: Facts) -> Findings:
    """Every answer of the server to a publish that it had answered before; and every application was told one thing once.

    Answers that never left the server, or were lost on the way, are in the trace only where the server's driver recorded them.
    """
    first: dict[tuple[str, int], AnswerGiven] = {}
    for answer in facts.answers:
        key = (answer.client_id, answer.client_sequence)
        before = first.setdefault(key, answer)
        if before is answer:
            continue
        if (before.sequence_number, before.code) == (answer.sequence_number, answer.code):
            yield None
        else:
            was, now = before.sequence_number or before.code, answer.sequence_number or answer.code
            yield f"{_when(answer.at)} {answer.client_id}'s publish {answer.client_sequence} was answered {now}, first {was}"
    for client in facts.clients.values():
        for ticket in client.published:
            told = len(client.accepted.get(ticket, ())) + len(client.failed.get(ticket, ()))
            if told > 1:
                yield f"{client.name} was told {told} times what became of publish {ticket}"
            elif told:
                yield None


def _fold(facts: Facts) -> Findings:
    """The state that each client has folded for itself, at every snapshot that it took and at its end, and every snapshot that
    was handed out, against the fold of the stored log at that number. If the log's beginning is not in the trace, the clients
    are compared with each other and with the stored snapshot instead.
    """
    log = facts.log
    if log is None:
        return
    claimed = states_claimed(facts, log.epoch)
    claimed.setdefault(log.snapshot_number, []).insert(0, ("the stored snapshot", log.snapshot_state))
    truth = states_stored(facts, log.epoch, log.head, claimed) if log.is_whole else {}
    for number in sorted(claimed):
        for who, state in claimed[number]:
            if state == truth.setdefault(number, state):
                yield None
            else:
                yield f"{who} has another state at {number} than {'the log' if log.is_whole else 'others'}"


def _recovery(facts: Facts) -> Findings:
    """When the last fault was over, everyone came back within the bound: carried by something, and at least where the head was
    then; and at the end of the trace everyone is at the head. A trace that ends before the bound has passed judges only those
    who were back before.
    """
    if facts.log is None or not facts.troubles:
        return
    since, log = facts.troubles_end, facts.log
    due = since + ns(facts.started.recovery_bound_s)
    head = max((number for (epoch, number), at in facts.visible_at.items() if epoch == log.epoch and at <= since), default=0)
    for client in facts.clients.values():
        if client.is_over:
            continue
        back_at = recovered_at(client, since, log.epoch, head)
        if back_at is not None and back_at <= due:
            yield None
        elif facts.ended_at >= due:
            late = "is not back" if back_at is None else f"was back only after {(back_at - since) / NS_PER_S:.3f} s"
            yield f"{client.name} {late}; the faults ended at {_s(since)}, the bound is {facts.started.recovery_bound_s:g} s"
        if facts.ended_at >= due and (client.epoch, client.position) != (log.epoch, log.head):
            yield f"{client.name} is at {client.position} at the end, in state {client.state.value}; the head is {log.head}"


def _bounds(facts: Facts) -> Findings:
    """Every sampled queue, log and table against its limit. Between two samples nothing is seen."""
    for sample in facts.samples:
        if sample.length <= sample.limit:
            yield None
        else:
            yield f"{_when(sample.at)} {sample.queue} of {sample.place} holds {sample.length}; its limit is {sample.limit}"


def _sender_fifo(facts: Facts) -> Findings:
    """The stored publishes of each client, in the order in which it made them."""
    numbers = {entry.publish_id: number for (_, number), found in sorted(facts.entries.items()) for entry in found}
    for client in facts.clients.values():
        last = 0
        for ticket in sorted(client.published):
            publish = client.published[ticket]
            number = None if publish.publish_id is None else numbers.get(publish.publish_id)
            if number is None:
                continue
            yield None if number > last else f"{client.name}'s publish {ticket} has number {number}, an earlier one has {last}"
            last = max(last, number)


def _takeover(facts: Facts) -> Findings:
    """At the server, at the instant when a session joined on a new connection: it left the old one. What the old one still
    carried after that would show as a violation of order or once."""
    owner: dict[str, int] = {}  # session -> its connection
    to_leave: dict[int, SessionJoined] = {}  # connection -> who took its session over
    kills = iter([*facts.kills, None])
    next_kill = next(kills)
    for record in facts.sessions:
        while next_kill is not None and record.at >= next_kill:
            owner.clear()
            to_leave.clear()
            next_kill = next(kills)
        if isinstance(record, SessionJoined):
            old = owner.get(record.session_id)
            owner[record.session_id] = record.connection_id
            if old is None:
                yield None
            else:
                to_leave[old] = record
            continue
        heir = to_leave.pop(record.connection_id, None)
        if heir is not None:
            yield None if heir.at == record.at else _not_left(heir, record.connection_id)
        if owner.get(record.session_id) == record.connection_id:
            del owner[record.session_id]
    for connection_id, heir in to_leave.items():
        yield _not_left(heir, connection_id)


def _manners(facts: Facts) -> Findings:
    """Every attempt and request against the time that the server had asked for, if any, and a code that ends everything."""
    for client in facts.clients.values():
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


def _durability(facts: Facts) -> Findings:
    """Every publish that was accepted before a kill of the server is still in the log, under its number. Without a kill nothing
    is judged. A publish whose acceptance never reached its client is not in the trace."""
    if facts.log is None or not facts.kills:
        return
    last_kill = facts.kills[-1]
    for client in facts.clients.values():
        for ticket, answers in client.accepted.items():
            answer = answers[0]
            if answer.at > last_kill:
                continue
            what = f"{client.name}'s publish {ticket}, accepted at {_s(answer.at)} as {answer.sequence_number},"
            if answer.epoch != facts.log.epoch:
                yield f"{what} was in an epoch that is gone"
            elif answer.sequence_number > facts.log.head:
                yield f"{what} is gone: the log ends at {facts.log.head}"
            elif facts.is_retained(answer.epoch, answer.sequence_number):
                entry = facts.entry(answer.epoch, answer.sequence_number)
                publish = client.published.get(ticket)
                survives = entry is not None and publish is not None and entry.publish_id == publish.publish_id
                yield None if survives else f"{what} is gone from the log"
            else:
                yield None


def _lanes(facts: Facts) -> Findings:
    """Presence and cursors have no number and are not stored, and the log's numbers have no hole where one could have been.

    That they delay nothing cannot be seen in one trace: compare two runs, one without them (tests/simulation does).
    """
    records = [record for client in facts.clients.values() for record in client.records]
    if facts.log is None or not any(isinstance(record, PresenceSeen | CursorSeen) for record in records):
        return
    unnumbered = (CURSOR_MOVE, USER_JOIN, USER_LEAVE)
    for record in records:
        if isinstance(record, Delivered):
            is_wrong = record.event_type in unnumbered
            what = f"{record.client} was given a {record.event_type} with number {record.sequence_number}"
            yield f"{_when(record.at)} {what}" if is_wrong else None
    for number in range(facts.log.oldest, facts.log.head + 1):
        entry = facts.entry(facts.log.epoch, number)
        if entry is None:
            yield f"number {number} is missing from the stored log"
        else:
            yield f"a {entry.event_type} is stored as {number}" if entry.event_type in unnumbered else None


def _tail(facts: Facts) -> Findings:
    """No client stays LIVE, behind, and without anything arriving, for longer than a heartbeat and the tail timeout. Stretches
    that a fault touches are left out: there a dead line may look alive until the ping finds out, which G6 judges."""
    bound, notice = ns(facts.started.tail_bound_s), ns(facts.started.notice_bound_s)
    for client in facts.clients.values():
        for start, end, epoch, position in quiet_stretches(client, facts.ended_at):
            seen_at = facts.visible_at.get((epoch, position + 1))
            if seen_at is None or seen_at >= end:
                continue
            behind_since = max(start, seen_at)
            if end - behind_since <= bound:
                yield None
            elif not any(trouble.touches(client.name, behind_since - notice, end) for trouble in facts.troubles):
                lasted = (end - behind_since) / NS_PER_S
                yield f"{_when(behind_since)} {client.name} stayed at {position} for {lasted:.3f} s with more to come"


CHECKERS: dict[str, tuple[str, Callable[[Facts], Findings]]] = {
    "G1": ("sequence numbers delivered to an application strictly increase, without a gap", _order),
    "G2": ("a sequenced event is skipped only together with an explicit snapshot or reset outcome", _no_silence),
    "G3": ("an accepted publish is in its epoch's log exactly once, however often it was sent", _once),
    "G4": ("a repeated publish gets the first answer again", _same_answer),
    "G5": ("snapshot(S) then events S+1..n equals the fold of 1..n", _fold),
    "G6": ("when faults stop, every client is live and at the head within a stated bound", _recovery),
    "G7": ("memory of every queue, log, table stays within its limit for any input", _bounds),
    "G8": ("one client's publishes are sequenced in the order it made them", _sender_fifo),
    "G9": ("after a session moved to a new connection the old one neither delivers nor publishes", _takeover),
    "G10": ("no retry before the time the server asked for, and none at all after a terminal code", _manners),
    "G11": ("an accepted publish survives a crash of the server at any point", _durability),
    "G12": ("presence and cursors never delay, drop or renumber a sequenced event", _lanes),
    "G13": ("a lost last event is noticed within one heartbeat (heartbeats carry the head)", _tail),
}


def _is_final(loss: ConnectionLost) -> bool:
    """Whether this client may never come back. A request that was superseded may have been so by the client's own newer
    connection, which a trace does not tell apart."""
    if loss.code is None or (loss.request is not None and loss.code == CloseCode.SUPERSEDED):
        return False
    return reaction_to(loss.code) is Reaction.STOP


def _judge_attempt(client: str, what: str, at: int, not_before: int, final_code: int | None) -> str | None:
    if final_code is not None:
        return f"{_when(at)} {client} {what} after the server had closed with {final_code}, which is for good"
    if at < not_before:
        return f"{_when(at)} {client} {what}; the server had asked it to wait until {_s(not_before)}"
    return None


def _not_left(heir: SessionJoined, old: int) -> str:
    return f"{_when(heir.at)} {heir.client_id} joined on connection {heir.connection_id} and was still on {old}"


def _s(at: int) -> str:
    return f"{at / NS_PER_S:.6f} s"


def _when(at: int) -> str:
    return f"{_s(at)}:"
