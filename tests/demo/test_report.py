"""Figures and verdicts of traces written by hand."""

from reference.protocol.records import RunState
from reference.protocol.states import ClientState
from reference.protocol.timers import NS_PER_S
from simulation.processes.demo.report import DemoReport, report_on
from simulation.processes.demo.schedule import plan_demo
from simulation.processes.real_run import Played
from simulation.results.counts import Counts
from simulation.results.recovery import recoveries as recoveries_in
from simulation.trace.index import index_of
from simulation.trace.trace import (
    FORMAT_VERSION,
    ClientStarted,
    Delivered,
    LogStored,
    Record,
    ServerStarted,
    StateTurned,
    Trace,
    TraceStarted,
)

EPOCH = "e"
STARTED = TraceStarted(
    at=0,
    format_version=FORMAT_VERSION,
    world="real",
    seed=1,
    run_id="r",
    recovery_bound_s=10,
    tail_bound_s=5,
    notice_bound_s=5,
)


def at(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def begins(client: str) -> Record:
    return ClientStarted(at=0, client=client, client_id=client, user_id=client)


def turns(client: str, seconds: float, state: ClientState) -> Record:
    return StateTurned(at=at(seconds), client=client, state=state, is_carried=state.has_websocket or state.is_polling)


def is_given(client: str, seconds: float, number: int) -> Record:
    return Delivered(
        at=at(seconds), client=client, epoch=EPOCH, sequence_number=number, event_type="FLAG", user_id="ada", data={}
    )


def is_stored(head: int) -> Record:
    state = RunState()
    return LogStored(at=at(60), epoch=EPOCH, oldest=1, head=head, snapshot_number=0, snapshot_state=state, is_whole=True)


def recoveries(*records: Record) -> list[float]:
    return [took_s for _, took_s in recoveries_in(index_of(Trace([STARTED, *records])))]


def test_a_recovery_lasts_until_everything_that_was_seen_meanwhile_has_come() -> None:
    assert recoveries(
        begins("ada"),
        begins("bela"),
        turns("ada", 0, ClientState.LIVE),
        is_given("bela", 1, 1),
        is_given("ada", 1, 1),
        turns("ada", 2, ClientState.WAITING),
        is_given("bela", 3, 2),
        is_given("bela", 3, 3),
        turns("ada", 4, ClientState.PROVING),
        is_given("bela", 4.1, 4),  # too late to count
        is_given("ada", 4.5, 2),
        is_given("ada", 5, 3),
        is_given("ada", 6, 4),
        is_stored(4),
    ) == [3.0]


def test_a_recovery_without_anything_to_catch_up_ends_with_the_connection() -> None:
    assert recoveries(
        begins("ada"),
        turns("ada", 0, ClientState.LIVE),
        turns("ada", 2, ClientState.WAITING),
        turns("ada", 3, ClientState.CONNECTING),
        turns("ada", 4, ClientState.POLLING),
        is_stored(0),
    ) == [2.0]


def test_a_second_loss_before_the_first_is_healed_prolongs_it() -> None:
    assert recoveries(
        begins("ada"),
        begins("bela"),
        turns("ada", 0, ClientState.LIVE),
        turns("ada", 1, ClientState.WAITING),
        is_given("bela", 1, 1),
        turns("ada", 2, ClientState.PROVING),
        turns("ada", 3, ClientState.WAITING),
        turns("ada", 4, ClientState.PROVING),
        is_given("ada", 5, 1),
        is_stored(1),
    ) == [4.0]


def test_joining_and_changing_the_transport_are_no_recoveries() -> None:
    assert (
        recoveries(
            begins("ada"),
            turns("ada", 1, ClientState.CONNECTING),
            turns("ada", 2, ClientState.POLLING),
            turns("ada", 3, ClientState.PROBE_PROVING),
            turns("ada", 4, ClientState.LIVE),
            is_stored(0),
        )
        == []
    )


def test_a_report_has_every_count() -> None:
    assert set(Counts.__struct_fields__) <= set(DemoReport.__struct_fields__)


def report_on_nothing(*, faults: bool = False, settled_s: float | None = 0.0) -> DemoReport:
    """The report on a run in which nothing happened."""
    plan = plan_demo(clients=2, seconds=5, seed=1, faults=faults)
    trace = Trace([STARTED, ServerStarted(at=0, epoch=EPOCH, head=0), is_stored(0)])
    return report_on(Played(plan, trace, (), (), settled_s, () if settled_s is not None else ("ada is waiting",)))


def test_what_was_not_exercised_is_no_success() -> None:
    report = report_on_nothing(faults=True)
    assert not report.passed
    assert report.guarantees["G1"] is None
    assert any(shortcoming.startswith("G1 was not exercised, and should have been") for shortcoming in report.shortcomings)
    assert "no client fell back to HTTP polling, so this run has not shown it" in report.shortcomings
    assert "the server was started again 0 times, not 1 times as planned" in report.shortcomings


def test_without_faults_only_what_needs_them_may_be_left_out() -> None:
    report = report_on_nothing()
    named = {shortcoming.split()[0] for shortcoming in report.shortcomings}
    assert "G1" in named
    assert named.isdisjoint({"G6", "G11", "no", "the"})


def test_a_client_that_does_not_settle_is_named() -> None:
    report = report_on_nothing(settled_s=None)
    assert any(
        shortcoming.startswith("not all clients had settled") and "ada is waiting" in shortcoming
        for shortcoming in report.shortcomings
    )


def test_figures_without_samples_are_null() -> None:
    report = report_on_nothing()
    assert report.round_trip_ms.p99 is None
    assert report.recovery_s.p50 is None
    assert report.delivery_rate is None
