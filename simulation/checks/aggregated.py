"""The guarantees as far as a trace shows them that kept no messages: what was judged while it ran, and what stands in its sums.

What is recorded of connections is judged as ever. Of the rest: order, gaps and silence were judged when each event came, by the
same rules as in `log_checks`; recovery is judged from each client's sums; nothing else is, and the verdict says so.
"""

from collections.abc import Callable

from simulation.checks.connections import due_at
from simulation.checks.verdicts import Findings, seconds
from simulation.trace.index import Facts
from simulation.trace.measured import ClientMeasured

_NOT_KEPT = "the messages, which were not kept (record = histograms)"


def in_place_of(guarantee: str, checker: Callable[[Facts], Findings]) -> tuple[Callable[[Facts], Findings], str]:
    """The checker for such a trace, and what it leaves out."""
    match guarantee:
        case "G1":
            return order, ""
        case "G2":
            return no_silence, "snapshots and resets, which were not kept (record = histograms)"
        case "G4":
            return told_once, "the server's answers, which were not kept (record = histograms)"
        case "G6":
            return recovery, ""
        case "G7" | "G9" | "G10":
            return checker, "polls and publish requests, which were not kept (record = histograms)" if guarantee == "G10" else ""
        case _:
            return nothing, _NOT_KEPT


def nothing(facts: Facts) -> Findings:
    """There is nothing to look at."""
    yield from ()


def order(facts: Facts) -> Findings:
    assert facts.measured is not None, "only for such a trace"
    wrong = facts.measured.out_of_order + facts.measured.gaps + facts.measured.silent_epochs
    yield from (None for _ in range(facts.measured.order_checked - wrong))
    yield from ("an event was given again, too late, or after a gap" for _ in range(wrong))


def no_silence(facts: Facts) -> Findings:
    assert facts.measured is not None, "only for such a trace"
    silent = facts.measured.gaps + facts.measured.silent_epochs
    yield from (None for _ in range(facts.measured.order_checked - silent))
    yield from ("events were skipped, or a history changed, without a word" for _ in range(silent))


def told_once(facts: Facts) -> Findings:
    assert facts.measured is not None, "only for such a trace"
    yield from (None for client in facts.measured.clients.values() for _ in range(client.accepted + client.failed))
    yield from ("an application was told twice what became of a publish" for _ in range(facts.measured.answered_twice))


def recovery(facts: Facts) -> Findings:
    """As in `client_checks`, but the head that was to be reached is that of the last beginning or end of a fault."""
    assert facts.measured is not None, "only for such a trace"
    if facts.log is None or not facts.troubles:
        return
    since, log = facts.troubles_end, facts.log
    for client in facts.clients.values():
        if client.is_over:
            continue
        due = due_at(facts, client)
        connected_at: int | None = None
        for turn in client.turns():
            if not turn.state.is_connected:
                connected_at = None
            elif connected_at is None:
                connected_at = turn.at
        reached_at = facts.measured.clients.get(client.name, ClientMeasured()).reached_at
        back_at = None if connected_at is None or reached_at is None else max(connected_at, reached_at, since)
        if back_at is not None and back_at <= due:
            yield None
        elif facts.ended_at >= due:
            late = "is not back" if back_at is None else f"was back only at {seconds(back_at)}"
            yield f"{client.name} {late}; it was due at {seconds(due)}"
        if facts.ended_at >= due and (client.epoch, client.position) != (log.epoch, log.head):
            yield f"{client.name} is at {client.position} at the end, in state {client.state.value}; the head is {log.head}"
