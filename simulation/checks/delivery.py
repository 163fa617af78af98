"""Checks of the log and of deliveries to clients: G1 to G5, G8, G11 and G12.

One function for each guarantee; its docstring says what a trace cannot show.
"""

from reference.protocol.events import CURSOR_MOVE, USER_JOIN, USER_LEAVE
from simulation.checks.verdicts import Findings, seconds, when
from simulation.trace.index import TraceIndex, states_claimed, states_stored, steps
from simulation.trace.trace import AcceptedRecord, AnswerGiven, CursorSeen, Delivered, PresenceSeen, ResetTaken, SnapshotTaken

NOT_SETTLED = ("answer_expired", "too_many_clients")
"""Rejections that do not decide a publish."""


def order(trace_index: TraceIndex) -> Findings:
    """Every delivery against the position before it. A session that begins without a snapshot may begin anywhere."""
    for client in trace_index.clients.values():
        for record, epoch, position in steps(client):
            if not isinstance(record, Delivered):
                continue
            if epoch is None or (record.epoch == epoch and record.sequence_number == position + 1):
                yield None
            else:
                yield f"{when(record.at)} {client.name} was given event {record.sequence_number} after {position}"


def no_silence(trace_index: TraceIndex) -> Findings:
    """Every event between the first and the last position of a client was delivered, or covered by an outcome that says so.

    Snapshots must move forward and resets must enter another history or correct a position that was ahead; a change of epoch
    without a reset is silence too. A session that asked for a snapshot begins with one.
    """
    config = trace_index.started.client
    begins_with_snapshot = config is not None and config.start == "snapshot"
    for client in trace_index.clients.values():
        for record, epoch, position in steps(client):
            number = record.sequence_number
            if isinstance(record, Delivered):
                if epoch is None and begins_with_snapshot:
                    yield f"{when(record.at)} {client.name} was given event {number} without a beginning"
                elif epoch is not None and record.epoch != epoch:
                    yield f"{when(record.at)} {client.name} was given event {number} of another epoch without a reset"
                elif epoch is not None and number > position + 1:
                    yield f"{when(record.at)} {client.name} was never given events {position + 1} to {number - 1}"
                else:
                    yield None
            elif isinstance(record, SnapshotTaken) and epoch is not None and (record.epoch != epoch or number <= position):
                yield f"{when(record.at)} {client.name} was given a snapshot at {number} while at {position}: that is a reset"
            elif isinstance(record, ResetTaken) and record.reason is None:
                yield f"{when(record.at)} {client.name} was reset without a reason"
            elif record.epoch == epoch and number < position and _was_known(trace_index, record.epoch, position):
                yield f"{when(record.at)} {client.name} was moved back from {position} to {number} of the same history"
            else:
                yield None


def _was_known(trace_index: TraceIndex, epoch: str | None, number: int) -> bool:
    """Whether the log of this epoch has this many events: then a client that had them was not ahead of it."""
    log = trace_index.logs.get(epoch or "")
    return log is not None and log.head >= number


def once(trace_index: TraceIndex) -> Findings:
    """Every accepted publish is in the stored log once, at the number of its acceptance; no publish is there twice.

    If the beginning of a log is not in the trace, only the recorded part is checked; earlier numbers are not. Losses by a crash
    are checked by `durability`.
    """
    if trace_index.log is None:
        return
    copies = trace_index.copies()
    for (_, publish_id), count in copies.items():
        yield None if count == 1 else f"publish {publish_id} stands {count} times in the log"
    for (_, number), found in trace_index.entries.items():
        if len(found) > 1:
            yield f"number {number} stands {len(found)} times in the log"
    for client in trace_index.clients.values():
        for ticket, answers in client.accepted.items():
            publish = client.published.get(ticket)
            for answer in answers:
                if publish is None:
                    yield f"{when(answer.at)} {client.name} got an outcome for publish {ticket}, which it never made"
                elif trace_index.is_retained(answer.epoch, answer.sequence_number) and not _is_lost(trace_index, answer):
                    entry = trace_index.entry(answer.epoch, answer.sequence_number)
                    place = f"{client.name}'s publish {ticket}, accepted at {seconds(answer.at)} as {answer.sequence_number},"
                    if entry is None:
                        yield f"{place} is not in the log"
                    elif (entry.event_type, entry.data) != (publish.event_type, publish.data):
                        yield f"{place} is {entry.event_type} {entry.data} in the log"
                    else:
                        yield None


def _is_lost(trace_index: TraceIndex, answer: AcceptedRecord) -> bool:
    """Whether the log ends before this number, and a server process has ended since it was given."""
    log = trace_index.logs.get(answer.epoch or "")
    ends = [*trace_index.kills, *trace_index.stops]
    return log is not None and answer.sequence_number > log.head and any(answer.at <= end for end in ends)


def same_answer(trace_index: TraceIndex) -> Findings:
    """The server's repeated answers to a publish are equal, those after a final rejection within one life of the server; and
    every application got exactly one outcome.

    Answers that were not sent, or were lost, are in the trace only if the server's driver recorded them.
    """
    first: dict[tuple[str | None, str, int], AnswerGiven] = {}
    for answer in trace_index.answers:
        if answer is None:
            first.clear()
            continue
        if answer.code in NOT_SETTLED:
            continue
        key = (answer.epoch, answer.client_id, answer.client_sequence)
        before = first.get(key)
        if before is None or _is_forgotten(trace_index, before, answer):
            first[key] = answer
        elif (before.sequence_number, before.code) == (answer.sequence_number, answer.code):
            yield None
        else:
            was, now = before.sequence_number or before.code, answer.sequence_number or answer.code
            yield f"{when(answer.at)} {answer.client_id}'s publish {answer.client_sequence} was answered {now}, first {was}"
    for client in trace_index.clients.values():
        for ticket in client.published:
            outcomes = len(client.accepted.get(ticket, ())) + len(client.failed.get(ticket, ()))
            if outcomes > 1:
                yield f"{client.name} got {outcomes} outcomes for publish {ticket}"
            elif outcomes:
                yield None


def _is_forgotten(trace_index: TraceIndex, rejected: AnswerGiven, again: AnswerGiven) -> bool:
    """Whether the first of these is a final rejection, which is not stored, and a server was started between them."""
    return rejected.code is not None and any(rejected.at <= start.at <= again.at for start in trace_index.starts)


def fold(trace_index: TraceIndex) -> Findings:
    """The state that each client has folded for itself, at every snapshot that it got and at its end, and every snapshot sent,
    against the fold of the stored log at that number. If the log's beginning is not in the trace, the clients are compared with
    each other and with the stored snapshot instead."""
    for log in trace_index.logs.values():
        claimed = states_claimed(trace_index, log.epoch)
        claimed.setdefault(log.snapshot_number, []).insert(0, ("the stored snapshot", log.snapshot_state))
        truth = states_stored(trace_index, log.epoch, log.head, claimed) if log.is_whole else {}
        for number in sorted(claimed):
            for who, state in claimed[number]:
                if state == truth.setdefault(number, state):
                    yield None
                else:
                    yield f"{who} has another state at {number} than {'the log' if log.is_whole else 'others'}"


def sender_fifo(trace_index: TraceIndex) -> Findings:
    """The stored publishes of each client, in each epoch, in the order in which it made them."""
    places: dict[str, dict[str | None, int]] = {}
    for (epoch, number), found in sorted(trace_index.entries.items()):
        places.setdefault(epoch, {}).update((entry.publish_id, number) for entry in found)
    for numbers in places.values():
        for client in trace_index.clients.values():
            last = 0
            for ticket in sorted(client.published):
                publish = client.published[ticket]
                place = None if publish.publish_id is None else numbers.get(publish.publish_id)
                if place is None:
                    continue
                yield None if place > last else f"{client.name}'s publish {ticket} has number {place}, an earlier one has {last}"
                last = max(last, place)


def in_order_in_the_end(trace_index: TraceIndex) -> Findings:
    """No publish fails because the run waits for an earlier one. A run that lost its history must learn where a client's numbers
    continue, which may cost one publish its tries."""
    if len(trace_index.logs) != 1 or trace_index.losses:
        return
    for client in trace_index.clients.values():
        for failures in client.failed.values():
            for failed in failures:
                what = f"{client.name} could not make the run take publish {failed.ticket}: {failed.message}"
                yield f"{when(failed.at)} {what}" if failed.code == "out_of_order" else None


def durability(trace_index: TraceIndex) -> Findings:
    """Every publish that was accepted before a server process ended is still in its epoch's log, under its number. Without such
    an end nothing is checked. A publish whose acceptance never reached its client is not in the trace. Publishes accepted before
    the store itself was lost (a restart that `loses_state`) are lost with it: that is not a crash, and the clients get a reset.
    They are checked against the store's contents at that time, if the trace has them."""
    if trace_index.log is None or not (trace_index.kills or trace_index.stops):
        return
    last_end = max([*trace_index.kills, *trace_index.stops])
    for client in trace_index.clients.values():
        for ticket, answers in client.accepted.items():
            answer = answers[0]
            if answer.at > last_end:
                continue
            what = f"{client.name}'s publish {ticket}, accepted at {seconds(answer.at)} as {answer.sequence_number},"
            log = trace_index.logs.get(answer.epoch or "")
            if log is None and any(answer.at <= lost_at for lost_at in trace_index.losses):
                continue
            if log is None:
                yield f"{what} was in an epoch that is gone"
            elif answer.sequence_number > log.head:
                yield f"{what} is gone: the log ends at {log.head}"
            elif trace_index.is_retained(answer.epoch, answer.sequence_number):
                entry = trace_index.entry(answer.epoch, answer.sequence_number)
                publish = client.published.get(ticket)
                survives = entry is not None and publish is not None and entry.publish_id == publish.publish_id
                yield None if survives else f"{what} is gone from the log"
            else:
                yield None


def as_stored(trace_index: TraceIndex) -> Findings:
    """Every delivered event is the one that the log has under its number. Losses by a crash are left to `still_there`."""
    ends = [*trace_index.kills, *trace_index.stops]
    for client in trace_index.clients.values():
        for record in client.records:
            if not isinstance(record, Delivered) or record.epoch not in trace_index.logs:
                continue
            entry = trace_index.entry(record.epoch, record.sequence_number)
            if entry is not None:
                is_it = (entry.event_type, entry.user_id, entry.data) == (record.event_type, record.user_id, record.data)
                what = f"{client.name} was given another event {record.sequence_number} than {record.epoch} has"
                yield None if is_it else f"{when(record.at)} {what}"
            elif record.sequence_number > trace_index.logs[record.epoch].head and not any(record.at <= end for end in ends):
                yield f"{when(record.at)} {_beyond(trace_index, record)}"


def still_there(trace_index: TraceIndex) -> Findings:
    """Every event that was delivered before a server process ended is not beyond the end of its log."""
    ends = [*trace_index.kills, *trace_index.stops]
    for client in trace_index.clients.values() if ends else ():
        for record in client.records:
            if isinstance(record, Delivered) and record.epoch in trace_index.logs and record.at <= max(ends):
                is_lost = record.sequence_number > trace_index.logs[record.epoch].head
                yield f"{when(record.at)} {_beyond(trace_index, record)}" if is_lost else None


def _beyond(trace_index: TraceIndex, record: Delivered) -> str:
    head = trace_index.logs[record.epoch or ""].head
    return f"{record.client} was given event {record.sequence_number}; {record.epoch} ends at {head}"


def latest_values(trace_index: TraceIndex) -> Findings:
    """Presence and cursors have no number and are not stored, and the log's numbers have no hole where one could have been.

    Whether they delay events cannot be seen in one trace: compare two runs, one without them (tests/simulation does).
    """
    records = [record for client in trace_index.clients.values() for record in client.records]
    if trace_index.log is None or not any(isinstance(record, PresenceSeen | CursorSeen) for record in records):
        return
    unnumbered = (CURSOR_MOVE, USER_JOIN, USER_LEAVE)
    for record in records:
        if isinstance(record, Delivered):
            is_wrong = record.event_type in unnumbered
            what = f"{record.client} was given a {record.event_type} with number {record.sequence_number}"
            yield f"{when(record.at)} {what}" if is_wrong else None
    for log in trace_index.logs.values():
        for number in range(log.oldest, log.head + 1):
            entry = trace_index.entry(log.epoch, number)
            if entry is None:
                yield f"number {number} is missing from the stored log"
            else:
                yield f"a {entry.event_type} is stored as {number}" if entry.event_type in unnumbered else None
