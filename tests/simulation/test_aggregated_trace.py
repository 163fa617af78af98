"""A run that keeps no messages gives the same figures as a run that keeps all, where it gives any."""

from functools import cache

import msgspec
import pytest

from reference.protocol.config import ClientConfig
from simulation.checks.checkers import CHECKERS, check_index
from simulation.results.frames import Frames
from simulation.scenario.faults import Reset
from simulation.scenario.paths import Middlebox, Path
from simulation.scenario.scenario import ClientPart, Scenario, ServerPart
from simulation.trace.index import index_of
from simulation.trace.measured import MessagesMeasured
from simulation.trace.trace import Delivered, Published, Record, Trace
from simulation.world import Result, run
from tests.simulation.worlds import calm, everything, everything_result

UNJUDGED = ("G3", "G5", "G8", "G11", "G12", "G13")


@cache
def lean() -> Result:
    return run(everything(record="histograms"))


def test_no_message_is_kept_and_one_record_stands_for_them() -> None:
    kinds = [type(record) for record in lean().trace]
    assert Published not in kinds
    assert Delivered not in kinds
    assert kinds.count(MessagesMeasured) == 1
    assert len(lean().trace) < len(everything_result().trace) / 5


def test_its_counts_are_those_of_the_whole_trace() -> None:
    assert lean().counts == everything_result().counts


def test_its_quantiles_are_within_the_stated_error() -> None:
    measured = lean().trace_index.measured
    assert measured is not None
    messages = Frames(everything_result().trace_index)["messages"]
    histogram = measured.latency.histogram()
    assert histogram.count == len(messages)
    for fraction in (0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 1.0):
        exact = messages["latency_s"].quantile(fraction)
        assert histogram.quantile(fraction) == pytest.approx(exact, rel=0.0100001)


def test_what_it_cannot_judge_it_says() -> None:
    assert {name: verdict.status for name, verdict in lean().verdicts.items()} == {
        name: "not checked" if name in UNJUDGED else "held" for name in CHECKERS
    }
    assert all("not kept" in lean().verdicts[name].unchecked for name in UNJUDGED)
    assert "not judged: the messages" in str(lean().verdicts["G3"])
    assert lean().is_ok


@pytest.mark.parametrize(
    ("guarantee", "changes"),
    [
        ("G1", {"out_of_order": 1}),
        ("G1", {"gaps": 1}),
        ("G2", {"gaps": 2}),
        ("G2", {"silent_epochs": 1}),
        ("G4", {"answered_twice": 1}),
        ("G6", {"clients": {}}),
    ],
)
def test_a_broken_guarantee_is_found_in_the_sums(guarantee: str, changes: dict[str, object]) -> None:
    def broken(record: Record) -> Record:
        return msgspec.structs.replace(record, **changes) if isinstance(record, MessagesMeasured) else record

    verdict = check_index(index_of(Trace(broken(record) for record in lean().trace)))[guarantee]
    assert verdict.status == "violated"


def test_a_warm_up_is_left_out_of_the_figures() -> None:
    scenario: Scenario = everything(record="histograms", warm_up_s=30.0)
    measured = run(scenario).trace_index.measured
    messages = Frames(everything_result().trace_index)["messages"]
    assert measured is not None
    assert measured.latency.histogram().count == (messages["published_s"] >= 30.0).sum()


def test_it_is_written_and_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lean") / "trace.jsonl"
    lean().trace.write(path)
    assert index_of(Trace.read(path)).measured == lean().trace_index.measured


@pytest.mark.parametrize("record", ["full", "histograms"])
def test_a_client_that_polls_has_recovered_although_its_token_is_refreshed_again_and_again(record: str) -> None:
    config = ClientConfig(refreshes_token=True, fallback_after_failures=1)
    scenario = calm(
        1,
        Path(middlebox=Middlebox(upgrades="block")),
        faults=(Reset(at_s=3.0),),
        horizon_s=600.0,
        server=ServerPart(token_lifetime_s=20.0),
        client=ClientPart(config=config),
        record=record,
    )
    assert scenario.recovery_bound_s < 500.0
    verdict = run(scenario).verdicts["G6"]
    assert (verdict.status, verdict.violations) == ("held", ())
