"""Figures of an outage, with traces whose figures are obvious, and their use in files and notebooks."""

import pandas as pd
import pytest

from reference.protocol.records import RunState
from reference.protocol.session_trace import trace_started
from reference.protocol.states import ClientState
from reference.protocol.timers import NS_PER_S
from simulation.results.frames import Frames
from simulation.results.outage_figures import busiest_second, fallback_share, group_of, of_interruptions, until_back
from simulation.scenario.faults import Outage
from simulation.trace.index import index_of
from simulation.trace.trace import ClientStarted, FaultHappened, FaultOver, LogStored, Record, StateTurned, Trace
from tests.simulation.worlds import everything_result

LIVE, WAITING, POLLING = ClientState.LIVE, ClientState.WAITING, ClientState.POLLING


def turned(client: str, at_s: float, state: ClientState) -> StateTurned:
    return StateTurned(at=round(at_s * NS_PER_S), client=client, state=state, is_carried=state is not WAITING)


def outage(back_at_s: list[float | None]) -> Trace:
    """An outage from 10 s to 20 s; each client is carried from 1 s on, cut at 10 s, and back at its time."""
    result = everything_result()
    trace = Trace(
        [
            trace_started(
                world="real",
                seed=1,
                run_id="r",
                client=result.scenario.client.config,
                server=result.scenario.server.config,
                wait_max_s=30,
                round_trip_max_s=1,
            )
        ]
    )
    fault = Outage(at_s=10, duration_s=10)
    records: list[Record] = [FaultHappened(at=10 * NS_PER_S, fault=fault), FaultOver(at=20 * NS_PER_S, fault=fault)]
    for number, back_s in enumerate(back_at_s):
        name = f"c-{number}"
        records += [turned(name, 1, LIVE), turned(name, 10, WAITING)]
        records += [turned(name, back_s, LIVE)] if back_s is not None else []
        trace.add(ClientStarted(at=0, client=name, client_id=name, user_id=name))
    for record in sorted(records, key=lambda record: record.at):
        trace.add(record)
    trace.add(
        LogStored(at=60 * NS_PER_S, epoch="E", oldest=1, head=0, snapshot_number=0, snapshot_state=RunState(), is_whole=True)
    )
    return trace


def test_when_all_clients_were_connected_again() -> None:
    figures = until_back(index_of(outage([21.0 + number for number in range(10)])))
    assert figures == {"back_50_s": 5.0, "back_90_s": 9.0, "back_99_s": 10.0, "back_100_s": 10.0}


def test_who_never_comes_back_leaves_the_last_shares_open() -> None:
    figures = until_back(index_of(outage([21.0] * 9 + [None])))
    assert figures == {"back_50_s": 1.0, "back_90_s": 1.0, "back_99_s": None, "back_100_s": None}


def test_interruptions_that_have_not_ended_count_as_far_as_they_went() -> None:
    gone = Frames(index_of(outage([22.0, None])))["interruptions"]
    assert of_interruptions(gone) == {"interruption_mean_s": (12 + 50) / 2, "interruption_max_s": 50.0}


def test_the_busiest_second() -> None:
    assert busiest_second([]) == 0
    assert busiest_second([5.0, 1.0, 1.5, 1.999, 2.0, 2.4]) == 4
    assert busiest_second([1.0, 2.0, 3.0]) == 1


def test_the_share_of_fallback() -> None:
    states = pd.DataFrame(
        {"start_s": [0.0, 2.0, 0.0], "end_s": [2.0, 10.0, 10.0], "transport": ["websocket", "polling", "websocket"]}
    )
    assert fallback_share(states) == 0.4
    assert fallback_share(states.iloc[:0]) is None


def test_the_groups_of_a_scenario_stand_apart() -> None:
    result = everything_result()
    groups = Frames(result.trace_index)["groups"].set_index("group")
    assert list(groups.index) == [group.name for group in result.scenario.groups]
    assert groups["published"].sum() == result.counts.published
    assert groups.loc["b", "latency_p50_s"] > groups.loc["a", "latency_p50_s"]
    assert (group_of("far-away-3"), group_of("me")) == ("far-away", "me")


def test_the_summary_has_the_figures() -> None:
    row = Frames(everything_result().trace_index)["summary"].iloc[0]
    assert row["interruption_max_s"] >= row["interruption_mean_s"] > 0
    assert row["attempts_per_s_max"] >= row["accepts_per_s_max"] >= 1
    assert row["back_100_s"] >= row["back_50_s"] >= 0
    assert 0 < row["fallback_share"] < 1


@pytest.mark.parametrize("what", ["result", "frames", "verdict"])
def test_a_notebook_is_shown_something(what: str) -> None:
    result = everything_result()
    shown = {"result": result, "frames": Frames(result.trace_index), "verdict": result.verdicts["G1"]}[what]._repr_html_()
    assert "<p>" in shown
    assert ("strictly increase" in shown) == (what != "frames")
