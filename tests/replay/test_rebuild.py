"""What a scenario takes over from a trace, and what a live recording is judged by."""

from pathlib import Path

import msgspec

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.fallback import AfterSeconds, Fallback
from reference.protocol.policies.keepalive import Heartbeat, MissesInARow
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.session_trace import encode_record, trace_started
from simulation.processes.recorder import Recorder
from simulation.processes.run_plan import Parameters
from simulation.replay.live import LiveRecording
from simulation.replay.rebuild import scenario_of
from simulation.trace.trace import ClientStarted, Trace, TraceStarted
from tests.simulation.worlds import calm


def recorded(fallback: Fallback | None, heartbeat: Heartbeat | None = None) -> Trace:
    trace = Trace(
        [
            trace_started(
                world="real",
                seed=1,
                run_id="r",
                client=ClientConfig(fallback_after_failures=3),
                server=ServerConfig(),
                wait_max_s=30.0,
                round_trip_max_s=1.0,
                fallback=fallback,
                heartbeat=heartbeat,
            )
        ]
    )
    trace.add(ClientStarted(at=0, client="ada", client_id="ada", user_id="ada"))
    return trace


def test_a_fallback_policy_is_played_too() -> None:
    assert scenario_of(recorded(AfterSeconds(7.0))).client.fallback == AfterSeconds(7.0)


def test_the_configs_own_fallback_can_be_varied() -> None:
    client = scenario_of(recorded(None)).replace({"client.config.fallback_after_failures": 2}).client
    assert client.fallback is None
    assert client.config.fallback_after_failures == 2


def test_a_heartbeat_policy_is_played_too() -> None:
    heartbeat = MissesInARow(15.0, 3, 15.0)
    assert scenario_of(recorded(None, heartbeat)).client.heartbeat == heartbeat


def test_the_configs_own_heartbeat_can_be_varied() -> None:
    client = scenario_of(recorded(None)).replace({"client.config.ping_interval_s": 5.0}).client
    assert client.heartbeat is None
    assert client.config.ping_interval_s == 5.0


def test_a_recording_from_before_the_heartbeat_was_recorded_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    records = list(recorded(AfterSeconds(7.0), MissesInARow(15.0, 3, 15.0)))
    first = msgspec.json.decode(encode_record(records[0]))
    del first["heartbeat"]
    path.write_bytes(msgspec.json.encode(first) + b"\n" + b"".join(map(encode_record, records[1:])))
    client = scenario_of(Trace.read(path)).client
    assert (client.fallback, client.heartbeat) == (AfterSeconds(7.0), None)


def test_a_live_recording_is_judged_by_its_clients_heartbeat() -> None:
    started = next(iter(LiveRecording(calm(1).replace({"client.heartbeat": MissesInARow(15.0, 3, 15.0)}), "r").trace))
    assert isinstance(started, TraceStarted)
    assert started.notice_bound_s > 60.0


async def test_a_real_run_records_its_fallback_policy() -> None:
    parameters = Parameters(
        client=ClientConfig(),
        server=ServerConfig(),
        policy=FullJitter(),
        wait_max_s=30.0,
        round_trip_max_s=1.0,
        fallback=AfterSeconds(7.0),
    )
    started = next(iter(Recorder(1, "r", parameters).trace))
    assert isinstance(started, TraceStarted)
    assert started.fallback == AfterSeconds(7.0)
