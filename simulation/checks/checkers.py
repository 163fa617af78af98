"""The guarantees, checked on a trace alone.

    verdicts = check(trace)          # {"G1": Verdict, ...}
    verdicts["G3"].status            # "held", "violated", "not exercised" or "not checked"

A checker is one small function over `TraceIndex`. It counts the items that it has checked (`checked`): without any, the guarantee
has not held but was not exercised, and a report must show the difference. Violations are sentences with times and names. A trace
without messages (`record = "histograms"`) is checked by `aggregated`, which reports what it cannot see as not checked.
"""

from collections.abc import Callable
from itertools import chain

from simulation.checks import aggregated, connections, delivery, presence, rest, timing, watched
from simulation.checks.verdicts import Findings, Status, Verdict, judge
from simulation.trace.index import TraceIndex, index_of
from simulation.trace.trace import Trace

__all__ = ["CHECKERS", "Status", "Verdict", "check", "check_index"]


def check(trace: Trace) -> dict[str, Verdict]:
    """Check all guarantees on a trace. Raises ConfigError if it is not a trace of a run."""
    return check_index(index_of(trace))


def check_index(trace_index: TraceIndex) -> dict[str, Verdict]:
    verdicts = {}
    for guarantee, (sentence, *checkers) in CHECKERS.items():
        unchecked = ""
        if trace_index.measured is not None:
            checkers[0], unchecked = aggregated.in_place_of(guarantee, checkers[0])
        findings = chain.from_iterable(checker(trace_index) for checker in checkers)
        verdicts[guarantee] = judge(guarantee, sentence, findings, unchecked)
    return verdicts


Checker = Callable[[TraceIndex], Findings]

CHECKERS: dict[str, tuple[str, *tuple[Checker, ...]]] = {
    "G1": (
        "sequence numbers delivered to an application strictly increase, without a gap",
        delivery.order,
        delivery.as_stored,
        watched.stream_order,
    ),
    "G2": (
        "a sequenced event is skipped only together with an explicit snapshot or reset outcome",
        delivery.no_silence,
        watched.positions,
    ),
    "G3": (
        "an accepted publish is in its epoch's log exactly once, however often it was sent",
        delivery.once,
        watched.answered_for_another,
        watched.one_number,
    ),
    "G4": ("a repeated publish gets the first answer again", delivery.same_answer, watched.forgotten, rest.outcomes),
    "G5": ("snapshot(S) then events S+1..n equals the fold of 1..n", delivery.fold),
    "G6": (
        "when faults stop, every client is live and at the head within a stated bound",
        connections.recovery,
        watched.honest_endpoints,
        watched.fallback,
        rest.everyone_is_back,
        timing.polling_goes_on,
        timing.probes_go_on,
        timing.attempts_go_on,
    ),
    "G7": (
        "memory of every queue, log, table stays within its limit for any input",
        connections.bounds,
        watched.patience_with_readers,
        watched.one_transport,
        timing.expiries,
        timing.tokens,
        timing.rates,
    ),
    "G8": ("one client's publishes are sequenced in the order it made them", delivery.sender_fifo, delivery.in_order_in_the_end),
    "G9": (
        "after a session moved to a new connection the old one neither delivers nor publishes",
        connections.takeover,
        watched.ownership,
        watched.trespasses,
    ),
    "G10": (
        "no retry before the time the server asked for, and none at all after a terminal code",
        connections.manners,
        timing.policy_waits,
        timing.failed_polls,
        timing.rejections,
        timing.polls_and_probes,
        watched.repeats,
    ),
    "G11": (
        "an accepted publish survives a crash of the server at any point",
        delivery.durability,
        delivery.still_there,
        watched.durable_first,
        watched.same_event,
    ),
    "G12": (
        "presence and cursors never delay, drop or renumber a sequenced event",
        delivery.latest_values,
        rest.rosters,
        presence.rosters_given,
        presence.rosters_reported,
        timing.grace_periods,
    ),
    "G13": ("a lost last event is noticed within one heartbeat (heartbeats carry the head)", connections.tail, timing.heartbeats),
}
"""Each guarantee: its statement, and its checkers. The first is replaced for a trace without messages (`aggregated`); the others
use records that only some worlds write."""
