"""Data frames and figures: tidy, with missing values for what did not arrive, and byte-equal for equal runs."""

from pathlib import Path as FilePath

import pandas as pd
import pytest

from reference.protocol.config import ServerConfig
from simulation.results.frames import NAMES, Frames
from simulation.results.plots import latency_and_delivery, save
from simulation.scenario.faults import Outage
from simulation.scenario.scenario import Group, Scenario, ServerPart
from simulation.world import run
from tests.simulation.worlds import QUIET, calm, everything, everything_result


def frames_of(scenario: Scenario) -> Frames:
    return Frames(run(scenario).trace_index)


def test_every_publish_has_a_row_for_every_client() -> None:
    counts, frames = everything_result().counts, Frames(everything_result().trace_index)
    messages = frames["messages"]
    assert len(messages) == counts.published * len(everything_result().trace_index.clients)
    assert not messages.duplicated(["publish_id", "reader"]).any()
    assert messages["is_delivered"].sum() == counts.delivered
    assert (messages["latency_s"].dropna() > 0).all()
    own = messages[messages["sender"] == messages["reader"]]
    assert (own["latency_s"].dropna() > 0.04).all()  # there and back, on 20 ms


def test_what_did_not_arrive_is_counted_and_not_timed() -> None:
    # The run ends while one client's line is still down.
    frames = frames_of(calm(3, faults=(Outage(at_s=5, duration_s=5, clients=("c-0",)),), settle_s=0.001, horizon_s=8.0))
    messages, row = frames["messages"], frames["summary"].iloc[0]
    missing = messages[~messages["is_delivered"] & ~messages["is_covered"]]
    assert len(missing) == row["undelivered"] > 0
    assert missing["latency_s"].isna().all()
    assert row["delivered_share"] == pytest.approx(1 - row["undelivered"] / row["messages"])
    assert row["unsettled"] > 0


def test_a_late_joiner_is_covered_by_a_snapshot() -> None:
    group = Group(name="c", clients=4, arrive_within_s=40.0)
    server = ServerPart(config=ServerConfig(snapshot_interval_events=5))
    frames = frames_of(calm(horizon_s=60.0, groups=(group,), server=server))
    messages, row = frames["messages"], frames["summary"].iloc[0]
    assert messages["is_covered"].any()
    assert not (messages["is_covered"] & messages["is_delivered"]).any()
    assert row["undelivered"] == 0


def test_states_cover_the_whole_run_without_overlap() -> None:
    frames = Frames(everything_result().trace_index)
    for _, rows in frames["states"].groupby("client"):
        assert (rows["end_s"].iloc[:-1].to_numpy() == rows["start_s"].iloc[1:].to_numpy()).all()
        assert rows["end_s"].iloc[-1] == everything_result().trace_index.ended_at / 1e9


def test_interruptions_are_what_states_say() -> None:
    counts, frames = everything_result().counts, Frames(everything_result().trace_index)
    returned = frames["interruptions"][frames["interruptions"]["has_returned"]]
    assert len(returned) == counts.reconnections
    assert (returned["duration_s"] > 0).all()


def test_faults_and_round_trips_are_there() -> None:
    frames = Frames(everything_result().trace_index)
    assert list(frames["faults"]["kind"]) == ["outage", "reset", "server_restart", "half_open", "block_upgrade"]
    assert list(frames["faults"]["clients"]) == [2, 1, 6, 1, 1]
    assert frames["round_trips"]["round_trip_s"].min() >= 0.04
    assert frames["round_trips"]["client_id"].notna().all()


def test_parquet_is_byte_equal_and_reads_back(tmp_path: FilePath) -> None:
    for name, result in (("one", everything_result()), ("two", run(everything()))):
        (tmp_path / name).mkdir()
        Frames(result.trace_index).write(tmp_path / name)
    for name in NAMES:
        one, two = (tmp_path / run_name / f"{name}.parquet" for run_name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        assert len(pd.read_parquet(one)) == len(Frames(everything_result().trace_index)[name])


def test_a_run_in_which_nothing_is_said_has_frames_and_a_figure(tmp_path: FilePath) -> None:
    frames = frames_of(calm(1, workload=QUIET))
    for name in NAMES:
        assert isinstance(frames[name], pd.DataFrame)
    frames.write(tmp_path)
    save(latency_and_delivery(frames, "nothing"), tmp_path / "figure.png")


@pytest.mark.slow
@pytest.mark.parallel
def test_the_figure_is_labelled_and_byte_equal(tmp_path: FilePath) -> None:
    figure = latency_and_delivery(Frames(everything_result().trace_index), "everything, seed 1")
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["faults", "latency from publish\nto delivery (log scale)", "messages\nper second", "clients by transport"]
    assert figure.axes[-1].get_xlabel() == "time since the run began (s)"
    save(figure, tmp_path / "one.png")
    save(latency_and_delivery(Frames(everything_result().trace_index), "everything, seed 1"), tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
