"""High-water marks in small worlds whose queues are counted by hand; nothing in them is sampled."""

import json
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow.parquet
import pytest

from reference.protocol.config import ClientConfig
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.timers import ns
from simulation import Capacity, ClientPart, Constant, Frames, Middlebox, Reset, Result, Scenario, World, load_scenario, run
from simulation import Path as NetworkPath
from simulation.clock import ARRIVAL, Call
from simulation.results.frames import CSV_HEAD_LINES
from simulation.scenario.still_world import AT_ONCE, PATIENT_CLIENT, still_world
from tests.simulation.worlds import calm

BLOCKED = NetworkPath(latency_s=0.0, middlebox=Middlebox(upgrades="block"))


def longest(result: Result) -> dict[tuple[str, str], tuple[int, int]]:
    rows = Frames(result.trace_index)["queues"].to_dict("records")
    return {(row["place"], row["queue"]): (row["length_max"], row["limit"]) for row in rows}


def summary(result: Result) -> dict[str, float]:
    return {str(name): value for name, value in Frames(result.trace_index)["summary"].iloc[0].items()}


def with_publishes(scenario: Scenario, times_s: dict[str, list[float]]) -> Result:
    world = World(scenario)
    for client, times in times_s.items():
        for at_s in times:
            Call(world.clock, ns(at_s), ARRIVAL, lambda call: world.clients[call.argument].publish("CHAT", {"text": "x"}), client)
    return world.run()


def test_an_outbox_that_cannot_be_sent() -> None:
    """Seven are queued behind a blocked path, of which the outbox takes five; the other client publishes nothing."""
    config = msgspec.structs.replace(PATIENT_CLIENT, outbox_messages_max=5, unanswered_max=5)
    scenario = still_world("outbox", 2, BLOCKED, horizon_s=20.0).replace(client=ClientPart(config=config))
    result = with_publishes(scenario, {"c-0": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]})
    assert longest(result)["c-0", "outbox"] == (5, 5)
    assert longest(result)["c-1", "outbox"] == (0, 5)
    assert (summary(result)["outbox_max"], summary(result)["refused"]) == (5, 2)


def test_a_moment_between_two_samples_is_seen() -> None:
    """Three at one instant are answered a second later, long before anything would be looked at."""
    scenario = still_world("moment", 1, AT_ONCE, horizon_s=20.0).replace({"server.commit_time_s": 0.5})
    result = with_publishes(scenario, {"c-0": [5.0, 5.0, 5.0]})
    assert result.trace_index.samples == []
    assert longest(result)["c-0", "outbox"] == (3, 1000)


def test_events_that_wait_for_a_store() -> None:
    """Four clients publish at one instant. The first event is committed alone; the other three wait for it and go together."""
    scenario = still_world("store", 4, AT_ONCE, horizon_s=20.0).replace({"server.commit_time_s": 1.0})
    result = with_publishes(scenario, {f"c-{n}": [5.0] for n in range(4)})
    found = summary(result)
    assert (found["not_durable_max"], found["commit_events_max"], found["accepted"]) == (4, 3, 4)


def test_connections_that_wait_to_be_accepted() -> None:
    """Ten SYNs come at time 0 to a server that takes two a second: the first is taken at once, nine wait."""
    scenario = still_world("accepts", 10, AT_ONCE, horizon_s=20.0)
    part = msgspec.structs.replace(scenario.server, capacity=Capacity(accepts_per_s=2.0))
    result = run(scenario.replace(server=part))
    assert longest(result)["server", "accept backlog"] == (9, 4096)
    assert summary(result)["accept_queue_max"] == 9


def test_handshakes_that_wait_for_a_processor() -> None:
    """Six handshakes of a second each come at once: one is done, five wait. Frames that come meanwhile find fewer."""
    scenario = still_world("work", 6, AT_ONCE, horizon_s=30.0)
    part = msgspec.structs.replace(scenario.server, capacity=Capacity(handshake_cost=Constant(value=1.0)))
    assert summary(run(scenario.replace(server=part)))["work_queue_max"] == 5


def test_polls_that_the_server_holds() -> None:
    """Three clients whose WebSockets are blocked poll, and the server holds each poll for five seconds."""
    config = ClientConfig(fallback_after_failures=1, poll_wait_s=5.0, poll_interval_s=1.0)
    scenario = still_world("polls", 3, BLOCKED, horizon_s=30.0).replace(client=ClientPart(config=config))
    assert summary(run(scenario))["open_requests_max"] == 3


def test_an_application_that_takes_its_time() -> None:
    """Four events come at one instant to applications that take one in ten seconds; the sender's own count too."""
    scenario = still_world("slow", 2, AT_ONCE, horizon_s=20.0)
    result = with_publishes(
        scenario.replace(client=msgspec.structs.replace(scenario.client, takes_per_s=0.1)), {"c-0": [15.0, 15.0, 15.0, 15.0]}
    )
    places = longest(result)
    assert places["c-1", "application"][0] >= 4
    assert summary(result)["application_queue_max"] == max(places[name, "application"][0] for name in ("c-0", "c-1"))


@pytest.mark.parametrize("name", ["elevator"])
@pytest.mark.slow
@pytest.mark.parallel
def test_no_sample_is_above_a_mark_and_no_mark_above_its_limit(name: str) -> None:
    result = run(load_scenario(name).replace(sample_interval_s=0.2))
    marks = longest(result)
    judged = 0
    for sample in result.trace_index.samples:
        if (sample.place, sample.queue) in marks:
            judged += 1
            assert sample.length <= marks[sample.place, sample.queue][0] <= marks[sample.place, sample.queue][1], sample
    assert judged > 50


def test_marks_come_back_from_a_file_and_stand_in_a_large_run(tmp_path: Path) -> None:
    result = run(calm(horizon_s=3.0, settle_s=3.0))
    result.trace.write(tmp_path / "trace.jsonl")
    again = type(result.trace).read(tmp_path / "trace.jsonl")
    assert [record for record in again if type(record).__name__ == "QueuePeaked"]
    assert summary(run(calm(horizon_s=3.0, settle_s=3.0, record="histograms")))["outbox_max"] == summary(result)["outbox_max"]


def test_the_warm_up_is_left_out_of_the_busiest_second() -> None:
    """Eight come at once in the warm-up; after it one connection is reset, and comes back alone."""
    scenario = still_world("warm", 8, AT_ONCE, horizon_s=30.0, warm_up_s=10.0, faults=(Reset(at_s=20.0, clients=("c-3",)),))
    result = run(scenario)
    assert summary(result)["attempts_per_s_max"] == 1
    assert summary(run(scenario.replace(warm_up_s=0.0)))["attempts_per_s_max"] == 8
    frames = Frames(result.trace_index)
    assert (len(frames["attempts"]), len(frames.measured("attempts"))) == (9, 1)
    assert len(frames.measured("interruptions")) == 1


def test_fallback_is_a_share_of_the_time_after_the_warm_up() -> None:
    """A client polls from 10 s on, after its second attempt, to the end at 40 s: all of the time that counts after 20 s."""
    config = ClientConfig(fallback_after_failures=2, poll_interval_s=1.0, probe_interval_s=300.0)
    part = ClientPart(config=config, policy=Fixed(seconds=10.0))
    scenario = still_world("share", 1, BLOCKED, horizon_s=40.0, warm_up_s=20.0).replace(client=part)
    assert summary(run(scenario))["fallback_share"] == pytest.approx(1.0)
    assert summary(run(scenario.replace(warm_up_s=0.0)))["fallback_share"] == pytest.approx(0.75)


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_every_file_says_where_it_comes_from(kind: str, tmp_path: Path) -> None:
    scenario = calm(horizon_s=3.0, settle_s=3.0, seed=17)
    frames = Frames(run(scenario).trace_index)
    paths = frames.write(tmp_path, scenario=scenario.to_toml(), kind=kind)  # type: ignore[arg-type]
    path = next(path for path in paths if path.stem == "interruptions")
    if kind == "parquet":
        about = {key.decode(): text.decode() for key, text in pyarrow.parquet.read_schema(path).metadata.items()}
        table = pd.read_parquet(path)
    elif kind == "csv":
        head = path.read_text("utf-8").splitlines()[:CSV_HEAD_LINES]
        about = {line.split(": ")[0].removeprefix("# "): json.loads(line.split(": ", 1)[1]) for line in head}
        table = pd.read_csv(path, skiprows=CSV_HEAD_LINES)
    else:
        document = json.loads(path.read_text("utf-8"))
        about, table = document["metadata"], pd.DataFrame(document["rows"])
    assert about["steadywire.seed"] == "17"
    assert about["steadywire.scenario"] == scenario.to_toml()
    assert about["steadywire.version"]
    assert about["steadywire.trace_format"] == "2"
    assert "seconds" in about["steadywire.units"]
    assert len(table) == len(frames["interruptions"])
    assert not len(table) or list(table.columns) == list(frames["interruptions"].columns)
