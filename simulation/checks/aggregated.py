"""The checks of a trace without messages: from violations counted during the run, and from its sums.

Records of connections are checked as usual. Of the rest, order, gaps and silence were checked when each event arrived, by the
same rules as in `delivery`; recovery is checked with each client's sums; nothing else is, and the verdict says so.
"""

from collections.abc import Callable

from simulation.checks.connections import judge_recovery
from simulation.checks.verdicts import Findings
from simulation.trace.index import TraceIndex, renewals
from simulation.trace.measured import ClientMeasured

_NOT_KEPT = "the messages, which were not kept (record = histograms)"


def in_place_of(guarantee: str, checker: Callable[[TraceIndex], Findings]) -> tuple[Callable[[TraceIndex], Findings], str]:
    """The checker for such a trace, and what it cannot check."""
    match guarantee:
        case "G1":
            return order, ""
        case "G2":
            return no_silence, "snapshots and resets, which were not kept (record = histograms)"
        case "G4":
            return delivered_once, "the server's answers, which were not kept (record = histograms)"
        case "G6":
            return recovery, ""
        case "G7" | "G9" | "G10":
            return checker, "polls and publish requests, which were not kept (record = histograms)" if guarantee == "G10" else ""
        case _:
            return nothing, _NOT_KEPT


def nothing(trace_index: TraceIndex) -> Findings:
    """Checks nothing."""
    yield from ()


def order(trace_index: TraceIndex) -> Findings:
    assert trace_index.measured is not None, "only for such a trace"
    wrong = trace_index.measured.out_of_order + trace_index.measured.gaps + trace_index.measured.silent_epochs
    yield from (None for _ in range(trace_index.measured.order_checked - wrong))
    yield from ("an event was given again, too late, or after a gap" for _ in range(wrong))


def no_silence(trace_index: TraceIndex) -> Findings:
    assert trace_index.measured is not None, "only for such a trace"
    silent = trace_index.measured.gaps + trace_index.measured.silent_epochs
    yield from (None for _ in range(trace_index.measured.order_checked - silent))
    yield from ("events were skipped, or a history changed, and no notice came" for _ in range(silent))


def delivered_once(trace_index: TraceIndex) -> Findings:
    assert trace_index.measured is not None, "only for such a trace"
    yield from (None for client in trace_index.measured.clients.values() for _ in range(client.accepted + client.failed))
    yield from ("an application got two outcomes for one publish" for _ in range(trace_index.measured.answered_twice))


def recovery(trace_index: TraceIndex) -> Findings:
    """As in `connections`, but the head to be reached is that of the last beginning or end of a fault."""
    assert trace_index.measured is not None, "only for such a trace"
    if trace_index.log is None or not trace_index.troubles:
        return
    since, log = trace_index.faults_end, trace_index.log
    for client in trace_index.clients.values():
        if client.is_over:
            continue
        connected_at: int | None = None
        ignored = renewals(client)
        for turn in client.turns():
            if id(turn) in ignored:
                continue
            if not turn.is_carried:
                connected_at = None
            elif connected_at is None:
                connected_at = turn.at
        reached_at = trace_index.measured.clients.get(client.name, ClientMeasured()).reached_at
        back_at = None if connected_at is None or reached_at is None else max(connected_at, reached_at, since)
        yield from judge_recovery(trace_index, log, client, back_at)
