"""Each checker can fail: each guarantee is broken on purpose in a correct trace, and its checker reports it."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import pytest

from reference.protocol.errors import ConfigError
from reference.protocol.session_trace import trace_started
from reference.protocol.states import ClientState
from simulation.checks.checkers import CHECKERS, check
from simulation.checks.delivery import same_answer
from simulation.results.counts import count
from simulation.trace.index import index_of
from simulation.trace.trace import (
    AcceptedRecord,
    AnswerGiven,
    AttemptMade,
    ConnectionLost,
    CursorSeen,
    Delivered,
    EntryStored,
    LogStored,
    Published,
    QueuePeaked,
    QueueSampled,
    Record,
    ServerKilled,
    ServerStarted,
    SessionLeft,
    SnapshotTaken,
    StateTurned,
    Trace,
    TraceStarted,
    WaitAsked,
)
from simulation.world import run
from tests.simulation.worlds import calm, everything_result

Records = list[Record]
R = TypeVar("R")


def changed(record: R, **fields: Any) -> R:
    return msgspec.structs.replace(record, **fields)


def all_of(records: Iterable[Record], kind: type[R]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


def delivered_to(records: Records, client: str) -> list[Delivered]:
    return [record for record in all_of(records, Delivered) if record.client == client]


def insert_before(records: Records, place: Record, new: Record) -> Records:
    index = next(number for number, record in enumerate(records) if record is place)
    return [*records[:index], new, *records[index:]]


def exchange(records: Records, old: Record, new: Record) -> Records:
    return [new if record is old else record for record in records]


def without(records: Records, *gone: Record) -> Records:
    return [record for record in records if not any(record is one for one in gone)]


def deliver_twice(records: Records) -> Records:
    again = delivered_to(records, "a-2")[5]
    return insert_before(records, delivered_to(records, "a-2")[8], again)


def deliver_in_another_order(records: Records) -> Records:
    first, second = delivered_to(records, "a-2")[5:7]
    swapped = exchange(records, first, changed(second, at=first.at))
    return exchange(swapped, second, changed(first, at=second.at))


def skip_a_delivery(records: Records) -> Records:
    return without(records, delivered_to(records, "a-2")[5])


def store_twice(records: Records) -> Records:
    log = all_of(records, LogStored)[0]
    copy = changed(all_of(records, EntryStored)[3], sequence_number=log.head + 1)
    return exchange(insert_before(records, log, copy), log, changed(log, head=log.head + 1))


def forget_an_entry(records: Records) -> Records:
    return without(records, all_of(records, EntryStored)[3])


def store_something_else(records: Records) -> Records:
    entry = all_of(records, EntryStored)[3]
    return exchange(records, entry, changed(entry, data={**entry.data, "note": "another"}))


def answer_otherwise(records: Records) -> Records:
    answer = next(one for one in all_of(records, AnswerGiven) if one.sequence_number is not None)
    return insert_before(records, all_of(records, LogStored)[0], changed(answer, sequence_number=10_000, duplicate=True))


def tell_twice(records: Records) -> Records:
    accepted = all_of(records, AcceptedRecord)[4]
    return insert_before(records, all_of(records, LogStored)[0], accepted)


def spoil_a_snapshot(records: Records) -> Records:
    log = all_of(records, LogStored)[0]
    snapshot = changed(all_of(records, SnapshotTaken)[0], client="a-3", at=log.at, sequence_number=log.head)
    return insert_before(records, log, snapshot)


def spoil_a_delivery(records: Records) -> Records:
    graft = next(record for record in delivered_to(records, "b-1") if record.event_type == "GRAFT")
    return exchange(records, graft, changed(graft, data={**graft.data, "position": "elsewhere"}))


def stay_away(records: Records) -> Records:
    log = all_of(records, LogStored)[0]
    return insert_before(records, log, StateTurned(at=log.at, client="a-0", state=ClientState.WAITING, is_carried=False))


def return_late(records: Records) -> Records:
    started = all_of(records, TraceStarted)[0]
    return exchange(records, started, changed(started, recovery_bound_s=0.001))


def overfill(records: Records) -> Records:
    sample = all_of(records, QueueSampled)[0]
    return exchange(records, sample, changed(sample, length=sample.limit + 1))


def overfill_between_samples(records: Records) -> Records:
    peak = all_of(records, QueuePeaked)[0]
    return exchange(records, peak, changed(peak, length=peak.limit + 1))


def sequence_out_of_order(records: Records) -> Records:
    first, second = [entry for entry in all_of(records, EntryStored) if entry.client_id == "a-3"][2:4]
    swapped = exchange(records, first, changed(first, sequence_number=second.sequence_number))
    return exchange(swapped, second, changed(second, sequence_number=first.sequence_number))


def keep_the_old_connection(records: Records) -> Records:
    return [record for record in records if not isinstance(record, SessionLeft)]


def come_too_soon(records: Records) -> Records:
    attempt = all_of(records, AttemptMade)[-1]
    return insert_before(records, attempt, WaitAsked(at=attempt.at - 1, client=attempt.client, retry_after_ms=5000))


def come_after_the_end(records: Records) -> Records:
    attempt = all_of(records, AttemptMade)[-1]
    lost = ConnectionLost(at=attempt.at - 1, client=attempt.client, connection_id=1, code=4403, message="forbidden")
    return insert_before(records, attempt, lost)


def lose_in_the_crash(records: Records) -> Records:
    killed = all_of(records, ServerKilled)[0]
    accepted = [one for one in all_of(records, AcceptedRecord) if one.at < killed.at][-1]
    return without(records, *(one for one in all_of(records, EntryStored) if one.sequence_number == accepted.sequence_number))


def number_a_cursor(records: Records) -> Records:
    seen = all_of(records, CursorSeen)[5]
    numbered = Delivered(
        at=seen.at, client=seen.client, epoch="e", sequence_number=7, event_type="CURSOR_MOVE", user_id="a-0", data=seen.data
    )
    return insert_before(records, seen, numbered)


def never_notice_the_last(records: Records) -> Records:
    return without(records, delivered_to(records, "a-2")[-1])


BROKEN: list[tuple[str, Callable[[Records], Records]]] = [
    ("G1", deliver_twice),
    ("G1", deliver_in_another_order),
    ("G1", skip_a_delivery),
    ("G2", skip_a_delivery),
    ("G3", store_twice),
    ("G3", forget_an_entry),
    ("G3", store_something_else),
    ("G4", answer_otherwise),
    ("G4", tell_twice),
    ("G5", spoil_a_snapshot),
    ("G5", spoil_a_delivery),
    ("G6", stay_away),
    ("G6", return_late),
    ("G7", overfill),
    ("G7", overfill_between_samples),
    ("G8", sequence_out_of_order),
    ("G9", keep_the_old_connection),
    ("G10", come_too_soon),
    ("G10", come_after_the_end),
    ("G11", lose_in_the_crash),
    ("G12", number_a_cursor),
    ("G13", never_notice_the_last),
]


def test_a_whole_run_exercises_and_holds_every_guarantee() -> None:
    verdicts = everything_result().verdicts
    assert {name: verdict.status for name, verdict in verdicts.items()} == dict.fromkeys(CHECKERS, "held")
    assert all(verdict.ok and verdict.checked for verdict in verdicts.values())


@pytest.mark.parametrize(("guarantee", "break_it"), BROKEN, ids=[f"{name}-{how.__name__}" for name, how in BROKEN])
def test_a_broken_guarantee_is_named(guarantee: str, break_it: Callable[[Records], Records]) -> None:
    verdict = check(Trace(break_it(list(everything_result().trace))))[guarantee]
    assert verdict.status == "violated"
    assert not verdict.ok
    assert verdict.violations
    assert guarantee in str(verdict)


def test_every_guarantee_is_broken_by_some_test() -> None:
    assert {guarantee for guarantee, _ in BROKEN} == set(CHECKERS)


def test_what_was_not_exercised_is_not_called_held() -> None:
    verdicts = run(calm()).verdicts
    for guarantee in ("G6", "G11"):  # no fault, no kill
        assert verdicts[guarantee].status == "not exercised"
        assert not verdicts[guarantee].ok
    assert run(calm()).is_ok


def test_an_empty_trace_exercises_nothing() -> None:
    result = everything_result().scenario
    trace = Trace(
        [
            trace_started(
                world="real",
                seed=1,
                run_id="r",
                client=result.client.config,
                server=result.server.config,
                wait_max_s=30,
                round_trip_max_s=1,
            )
        ]
    )
    assert {verdict.status for verdict in check(trace).values()} == {"not exercised"}


def test_a_trace_without_its_first_record_is_refused() -> None:
    with pytest.raises(ConfigError, match="begins with trace_started"):
        check(Trace())


def test_a_trace_of_an_unknown_client_is_refused() -> None:
    first = next(iter(everything_result().trace))
    with pytest.raises(ConfigError, match="never started"):
        check(Trace([first, StateTurned(at=1, client="nobody", state=ClientState.LIVE, is_carried=True)]))


def test_a_final_rejection_may_be_forgotten_by_a_restart_only() -> None:
    records = list(everything_result().trace)
    started = all_of(records, ServerStarted)[-1]
    answer = next(one for one in all_of(records, AnswerGiven) if one.at > started.at and one.sequence_number is not None)
    rejected = changed(answer, sequence_number=None, code="bad_event")

    def answered_otherwise(place: Record) -> bool:
        earlier = insert_before(records, place, changed(rejected, at=place.at))
        return any(finding is not None for finding in same_answer(index_of(Trace(earlier))))

    assert not answered_otherwise(all_of(records, ServerKilled)[0])
    assert answered_otherwise(answer)


def test_counts_see_what_is_wrong() -> None:
    records = list(everything_result().trace)
    good = count(index_of(Trace(records)))
    assert (good.duplicates, good.gaps, good.out_of_order, good.lost) == (0, 0, 0, 0)
    assert good.fallbacks >= 1
    assert good.returns_to_websocket >= 1
    assert good.server_restarts == 1
    assert good.published == good.accepted == len(all_of(records, Published))
    assert good.delivered == len(all_of(records, Delivered))

    def of(break_it: Callable[[Records], Records]) -> tuple[int, int, int, int]:
        counts = count(index_of(Trace(break_it(records))))
        return counts.duplicates, counts.gaps, counts.out_of_order, counts.lost

    assert of(deliver_twice)[0] == 1
    assert of(skip_a_delivery) == (0, 1, 0, 1)
    assert of(deliver_in_another_order)[2] == 1
    assert of(forget_an_entry)[3] == 1
