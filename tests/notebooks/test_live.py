"""A recording of shipped client and server, in virtual time, and the same again in SimPy."""

import uuid
from collections.abc import Awaitable, Callable

import pandas as pd
import pytest
import trio
from trio.testing import MockClock

from reference.client import connect
from reference.protocol.config import ClientConfig
from reference.protocol.errors import ConfigError, LocalError
from reference.protocol.states import ClientState
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import memory_pair
from reference.store import MemoryStore
from simulation.checks.checkers import check
from simulation.emulator import EmulatorError, open_emulator
from simulation.random import RandomStreams
from simulation.replay.live import LiveRecording, replay
from simulation.results.frames import Frames
from simulation.results.notebooks.worlds import REAL, SIMULATED, latencies, one_clients_cut, side_by_side
from simulation.scenario.faults import Outage, Path, Pause, Suspend
from simulation.scenario.scenario import ClientPart, Group, Scenario, ServerPart
from simulation.trace.index import index_of
from simulation.trace.publishes import publish_data
from simulation.trace.trace import FaultHappened, FaultOver, Trace

SCENARIO = Scenario(
    name="two",
    groups=tuple(Group(name=name, path=Path(latency_s=0.05), arrive_within_s=0) for name in ("ada", "ben")),
    client=ClientPart(config=ClientConfig(ping_interval_s=1.0, ping_timeout_s=1.0)),
    server=ServerPart(commit_time_s=0),  # as the memory store's
)
ADA, BEN = SCENARIO.client_names


def in_virtual_time(main: Callable[[], Awaitable[Trace]]) -> Trace:
    return trio.run(main, clock=MockClock(autojump_threshold=0))


async def a_cut_link() -> Trace:
    """Two clients publish every 0.1 s for 8 s; after 2 s one link goes down for 3 s."""
    run_id, store = str(uuid.UUID(int=1)), MemoryStore()
    recording = LiveRecording(SCENARIO, run_id)
    settings = ServerSettings(protocol=SCENARIO.server.config)
    async with trio.open_nursery() as nursery:
        opened = open_server(settings, store=store, observe=recording.observe, listening=False, origin_ns=10**18)
        async with opened as server, open_emulator("memory", 1, seed=1, connect=to_server(lambda: server.connect())) as emulator:
            await server.create_run(run_id)
            clients = []
            for group in SCENARIO.groups:
                name = group.client_names[0]
                link = await emulator.add_link(name, group.path)

                async def open_stream(*_: object, link=link) -> trio.abc.Stream:
                    ours, theirs = memory_pair()
                    nursery.start_soon(link.serve, theirs)
                    return ours

                options = {
                    "config": SCENARIO.client.config,
                    "open_stream": open_stream,
                    "random_source": RandomStreams(SCENARIO.seed).of(name),
                }
                clients.append(
                    connect("http://memory", run_id, token=f"dev:{name}", client_id=name, tap=recording.tap_of(name), **options)
                )
            async with clients[0] as ada, clients[1] as ben:
                nursery.start_soon(drain, ada)
                nursery.start_soon(drain, ben)
                await ada.wait_until(ClientState.LIVE)
                await ben.wait_until(ClientState.LIVE)
                await trio.sleep(0.03)  # so that no publish falls on the instant of a fault or a timer
                for number in range(80):
                    if number == 20:
                        nursery.start_soon(recording.apply, emulator, Outage(at_s=99, duration_s=3.0, clients=(ADA,)))
                    for name, client in ((ADA, ada), (BEN, ben)):
                        client.publish_soon("CHAT", publish_data(f"{name}:{number}"))
                    await trio.sleep(0.1)
                for client in (ada, ben):
                    await client.wait_until(lambda client: client.position[1] == 160 and not client.queued_messages)
                stored = await store.load_run(run_id)
                assert stored is not None
                recording.end(stored)
        nursery.cancel_scope.cancel()
    return recording.trace


def to_server(dial: Callable[[], trio.abc.HalfCloseableStream]) -> Callable[[], Awaitable[trio.abc.HalfCloseableStream]]:
    async def connected() -> trio.abc.HalfCloseableStream:
        await trio.lowlevel.checkpoint()
        return dial()

    return connected


async def drain(client: object) -> None:
    async for _ in client:
        pass


@pytest.fixture(scope="module")
def trace() -> Trace:
    return in_virtual_time(a_cut_link)


def test_everything_is_recorded(trace: Trace) -> None:
    kinds = {type(record).__name__ for record in trace}
    assert kinds >= {"Published", "AcceptedRecord", "Delivered", "SnapshotTaken", "StateTurned", "AttemptMade", "ConnectionLeft"}
    assert kinds >= {
        "FaultHappened",
        "FaultOver",
        "SessionJoined",
        "RoundTripReported",
        "AnswerGiven",
        "EntryStored",
        "LogStored",
    }
    trace_index = index_of(trace)
    assert [len(client.published) for client in trace_index.clients.values()] == [80, 80]
    assert [len(client.accepted) for client in trace_index.clients.values()] == [80, 80]
    assert min(client.started_at for client in trace_index.clients.values()) == 0
    verdicts = check(trace)
    assert not [str(verdict) for verdict in verdicts.values() if verdict.violated]
    assert all(verdicts[name].ok for name in ("G1", "G2", "G3", "G4", "G6", "G8", "G9"))


def test_the_simulator_does_the_same(trace: Trace) -> None:
    """The shells' own code costs no virtual time, so nothing is left that could differ."""
    result = replay(trace, SCENARIO)
    assert result.is_ok
    worlds = {REAL: Frames(index_of(trace)), SIMULATED: Frames(result.trace_index)}
    both = latencies(worlds)
    assert len(both) == 160
    assert both[REAL].max() > 3
    assert (both[REAL] - both[SIMULATED]).abs().max() < 1e-6
    turns = {world: frames["states"][["client", "state", "start_s"]].round(6) for world, frames in worlds.items()}
    pd.testing.assert_frame_equal(turns[REAL], turns[SIMULATED])
    table = side_by_side(worlds, ("published", "accepted", "delivered", "reconnections", "lost"))
    assert (table[REAL] == table[SIMULATED]).all()
    assert len(one_clients_cut(worlds, ADA).axes) == 4


def test_a_fault_that_was_ended_early_is_replayed_so(trace: Trace) -> None:
    shorter = Trace(
        type(record)(at=record.at - 10**9, fault=record.fault) if isinstance(record, FaultOver) else record for record in trace
    )
    (fault,) = replay(shorter, SCENARIO).scenario.faults
    assert isinstance(fault, Outage)
    assert fault.duration_s == pytest.approx(2.0)


def test_what_cannot_be_recorded_or_replayed(trace: Trace) -> None:
    async def main() -> None:
        recording = LiveRecording(SCENARIO, "run")
        with pytest.raises(ConfigError, match="carl"):
            recording.tap_of("carl")
        async with open_emulator("memory", 1, seed=1) as emulator:
            with pytest.raises(LocalError, match="first client"):
                await recording.apply(emulator, Outage(at_s=0, duration_s=1.0))
        recording.tap_of(ADA)
        with pytest.raises(ConfigError, match="no longer"):
            recording.tap_of(ADA)
        async with open_emulator("memory", 1, seed=1) as emulator:
            for fault, error in (
                (Outage(at_s=0, duration_s=1.0, clients=(BEN,)), EmulatorError),
                (Suspend(at_s=0, duration_s=1.0, clients=(ADA,)), ConfigError),
                (Pause(at_s=0, duration_s=1.0), ConfigError),
            ):
                with pytest.raises(error):
                    await recording.apply(emulator, fault)
        assert not [record for record in recording.trace if isinstance(record, FaultHappened | FaultOver)]

    trio.run(main, clock=MockClock(autojump_threshold=0))
    with pytest.raises(ConfigError, match="has ben-0"):
        replay(trace, SCENARIO.replace(groups=SCENARIO.groups[:1]))
