"""The guarantees, judged from a trace and from nothing else.

    verdicts = check(trace)          # {"G1": Verdict, ...}
    verdicts["G3"].status            # "held", "violated", "not exercised" or "not checked"

A checker is one small function over `TraceIndex` (`log_checks`, `client_checks`). It says what it looked at (`checked`): one that
found nothing to look at has not held, it was not exercised, and a report must not sell the one as the other. Violations are
sentences with times and names. A trace that kept no messages (`record = "histograms"`) is judged by `lean_checks`, which say of
what they cannot see that it was not checked.
"""

from collections.abc import Callable

from simulation.checks import aggregated as lean_checks
from simulation.checks import connections as client_checks
from simulation.checks import delivery as log_checks
from simulation.checks.verdicts import Findings, Status, Verdict, judge
from simulation.trace.index import TraceIndex, index_of
from simulation.trace.trace import Trace

__all__ = ["CHECKERS", "Status", "Verdict", "check", "check_index"]


def check(trace: Trace) -> dict[str, Verdict]:
    """Judge a trace by every guarantee. Raises ConfigError if it is no trace of a run."""
    return check_index(index_of(trace))


def check_index(trace_index: TraceIndex) -> dict[str, Verdict]:
    verdicts = {}
    for guarantee, (sentence, checker) in CHECKERS.items():
        unchecked = ""
        if trace_index.measured is not None:
            checker, unchecked = lean_checks.in_place_of(guarantee, checker)
        verdicts[guarantee] = judge(guarantee, sentence, checker(trace_index), unchecked)
    return verdicts


CHECKERS: dict[str, tuple[str, Callable[[TraceIndex], Findings]]] = {
    "G1": ("sequence numbers delivered to an application strictly increase, without a gap", log_checks.order),
    "G2": ("a sequenced event is skipped only together with an explicit snapshot or reset outcome", log_checks.no_silence),
    "G3": ("an accepted publish is in its epoch's log exactly once, however often it was sent", log_checks.once),
    "G4": ("a repeated publish gets the first answer again", log_checks.same_answer),
    "G5": ("snapshot(S) then events S+1..n equals the fold of 1..n", log_checks.fold),
    "G6": ("when faults stop, every client is live and at the head within a stated bound", client_checks.recovery),
    "G7": ("memory of every queue, log, table stays within its limit for any input", client_checks.bounds),
    "G8": ("one client's publishes are sequenced in the order it made them", log_checks.sender_fifo),
    "G9": ("after a session moved to a new connection the old one neither delivers nor publishes", client_checks.takeover),
    "G10": ("no retry before the time the server asked for, and none at all after a terminal code", client_checks.manners),
    "G11": ("an accepted publish survives a crash of the server at any point", log_checks.durability),
    "G12": ("presence and cursors never delay, drop or renumber a sequenced event", log_checks.lanes),
    "G13": ("a lost last event is noticed within one heartbeat (heartbeats carry the head)", client_checks.tail),
}
