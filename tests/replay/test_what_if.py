"""A real session, recorded in virtual time on a line with known faults, and replayed in the simulator."""

from functools import partial
from pathlib import Path as FilePath

import msgspec
import pytest
import trio
import trio.testing
from rich.console import Console

from reference.client import Client, connect
from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.timers import NS_PER_S
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import MemoryPushStream, memory_pair
from simulation.cli.what_if import PLAYED, what_if_command
from simulation.emulator import EmulatedAccessLink
from simulation.random import RandomStreams
from simulation.replay.rebuild import scenario_of
from simulation.replay.what_if import figures_of, read_recording, what_if
from simulation.scenario.faults import HalfOpen, Outage, Reset
from simulation.scenario.paths import Path
from simulation.scenario.scenario import ClientPart, Group, Scenario
from simulation.trace.index import index_of
from simulation.trace.trace import Trace
from simulation.world import run
from tests.simulation.worlds import calm

pytestmark = pytest.mark.slow

RUN_ID = "01234567-89ab-cdef-0123-456789abcdef"
CONFIG = ClientConfig(connect_timeout_s=3, ping_interval_s=4, ping_timeout_s=2)
FAULTS = (Reset(at_s=20), HalfOpen(at_s=60), Outage(at_s=100, duration_s=25))
HORIZON_S = 160.0


async def recorded_session(path: FilePath) -> None:
    """One client publishes once a second for 160 s, and somebody else once in two; its line has the faults."""
    async with trio.open_nursery() as nursery, open_server(ServerSettings(store="memory:"), listening=False) as server:

        async def dial() -> MemoryPushStream:
            return server.connect()

        lines = {name: EmulatedAccessLink(name, Path(latency_s=0.03), dial, RandomStreams(1)) for name in ("ada", "bela")}

        async def open_stream(name: str, *_: object) -> MemoryPushStream:
            near, far = memory_pair()
            nursery.start_soon(lines[name].serve, far)
            return near

        async def work(client: Client, every_s: float) -> None:
            for number in range(int(HORIZON_S / every_s)):
                await trio.sleep_until(number * every_s)
                client.publish_soon("CHAT", {"secret": number})

        async def read(client: Client) -> None:
            async for _ in client:
                pass

        async def disturb() -> None:
            for fault in FAULTS:
                await trio.sleep_until(fault.at_s)
                nursery.start_soon(lines["ada"].apply, fault)

        await server.create_run(RUN_ID)
        joined = partial(connect, "http://server", RUN_ID, config=CONFIG)
        async with (
            joined(token="dev:ada", open_stream=partial(open_stream, "ada"), seed=1) as ada,
            joined(token="dev:bela", open_stream=partial(open_stream, "bela"), seed=2) as bela,
        ):
            ada.record(path)
            for client, every_s in ((ada, 1.0), (bela, 2.0)):
                nursery.start_soon(read, client)
                nursery.start_soon(work, client, every_s)
            nursery.start_soon(disturb)
            await trio.sleep_until(HORIZON_S + 20)
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> FilePath:
    path: FilePath = tmp_path_factory.mktemp("recording") / "ada.jsonl"
    trio.run(recorded_session, path, clock=trio.testing.MockClock(autojump_threshold=0))
    return path


def test_the_faults_are_concluded(recording: FilePath) -> None:
    for trace in read_recording(recording).traces:
        reset, half_open, outage = scenario_of(trace).faults
        assert isinstance(reset, Reset)
        assert reset.at_s == pytest.approx(20, abs=0.1)
        assert isinstance(half_open, HalfOpen)
        assert 55 <= half_open.at_s <= 60.1
        assert isinstance(outage, Outage)
        assert 95 <= outage.at_s <= 100.1
    earliest, latest = (scenario_of(trace).faults[2].end_s for trace in read_recording(recording).traces)
    assert earliest <= 125 <= latest


def test_what_others_published_is_spread_over_the_outage(recording: FilePath) -> None:
    trace_index = index_of(read_recording(recording).traces[0])
    times = [publish.at / NS_PER_S for publish in trace_index.clients["others"].published.values()]
    assert len(times) == HORIZON_S / 2
    assert sum(105 <= at <= 125 for at in times) == pytest.approx(10, abs=2)


def test_played_as_it_was_it_is_what_was_recorded(recording: FilePath) -> None:
    answer = what_if(read_recording(recording), {})
    for measure, tolerance in (("interruptions", 0), ("published", 0), ("accepted", 0), ("cut off in all, s", 12)):
        recorded, _ = answer.range_of("recorded", measure) or (None, None)
        low, high = answer.range_of("as it was", measure) or (None, None)
        assert recorded is not None
        assert low is not None
        assert high is not None
        assert low - tolerance <= recorded <= high + tolerance, measure
    (low, high), (recorded, _) = answer.range_of("as it was", "answer p50, s"), answer.range_of("recorded", "answer p50, s")  # type: ignore[misc]  # there are answers
    assert low == pytest.approx(recorded, rel=0.1)
    assert high == pytest.approx(recorded, rel=0.1)
    assert answer.range_of("changed", "interruptions") == answer.range_of("as it was", "interruptions")


def test_a_slower_policy_is_cut_off_for_longer(recording: FilePath) -> None:
    answer = what_if(read_recording(recording), {"client.policy.base_s": 30.0, "client.policy.cap_s": 60.0})
    slow, was = answer.range_of("changed", "cut off in all, s"), answer.range_of("as it was", "cut off in all, s")
    assert slow is not None
    assert was is not None
    assert slow[0] > was[0]


def test_the_command_prints_and_saves(recording: FilePath, tmp_path: FilePath) -> None:
    console = Console(record=True, width=120)
    save = tmp_path / "scenario.toml"
    assert what_if_command(recording, ["client.config.ping_interval_s=2"], save=save, console=console) == PLAYED
    text = console.export_text()
    assert "client.config.ping_interval_s = 2" in text
    assert "cut off in all, s" in text
    assert "secret" not in save.read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["cap"], "is no change"),
        (["client.policy.capp_s=1"], "capp_s"),
        (["client.config.ping_interval_s=-1"], "ping_interval_s"),
    ],
)
def test_a_change_that_makes_no_sense_is_named(recording: FilePath, changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        what_if_command(recording, changes)


def test_what_is_no_recording_is_refused(tmp_path: FilePath) -> None:
    path = tmp_path / "x"
    path.write_text("{}\n")
    with pytest.raises(ConfigError, match="is no trace"):
        read_recording(path)
    path.write_text('{"record":"record_started","at":0,"formatVersion":2,"runId":"r"}\n')
    with pytest.raises(ConfigError, match=r"of a session in an old format; .* reads format version 2: record it again"):
        read_recording(path)
    path.write_text('{"record":"trace_started","at":0,"world":"real","seed":1}\n')
    with pytest.raises(ConfigError, match=r"in format version 1; this version reads format version 2"):
        read_recording(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_recording(tmp_path / "none")
    simulated = run(Scenario(name="s", horizon_s=2, settle_s=1, groups=(Group(name="g"),))).trace
    simulated.write(path)
    with pytest.raises(ConfigError, match=r"scenario\.toml"):
        scenario_of(Trace.read(path))


def test_a_trace_survives_the_way_through_its_file(recording: FilePath, tmp_path: FilePath) -> None:
    trace = read_recording(recording).traces[0]
    trace.write(tmp_path / "trace.jsonl")
    assert msgspec.to_builtins(scenario_of(Trace.read(tmp_path / "trace.jsonl"))) == msgspec.to_builtins(scenario_of(trace))


def test_an_interruption_that_is_not_over_at_the_end_counts_too() -> None:
    part = ClientPart(config=ClientConfig(fallback_after_failures=None), policy=Fixed(seconds=1000.0))
    gone = run(calm(1, client=part, faults=(Reset(at_s=5),), horizon_s=20.0, settle_s=10.0))
    figures = figures_of(gone.trace_index, ("c-0",))
    assert (figures["interruptions"], figures["recovery p50, s"]) == (1.0, None)
    assert figures["cut off in all, s"] == pytest.approx(25.0)
