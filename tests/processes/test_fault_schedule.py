"""The faults of the server, done to a real process."""

import re
from pathlib import Path
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from reference.client import connect
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import ConfigError
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.timers import NS_PER_S
from simulation.emulator import open_emulator
from simulation.processes.fault_schedule import FaultPlayer, check_playable
from simulation.processes.fidelity.twin import Silent
from simulation.processes.ports import free_ports
from simulation.processes.recorder import Recorder
from simulation.processes.run_plan import Parameters
from simulation.processes.server_process import ServerPlace, ServerProcess, open_server_process
from simulation.scenario.faults import ClockStep, Fault, LoadBalancerCut, Pause, Reset, RollingDeploy, ServerRestart, SlowStore
from simulation.trace.index import index_of
from tests.emulator.bench import MemoryServer

RUN_ID = "01234567-89ab-cdef-0123-456789abcdef"
PATIENCE_S = 30.0


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (SlowStore(at_s=1, duration_s=1, factor=2), "slow_store"),
        (ClockStep(at_s=1, step_s=1), "clock_step"),
        (RollingDeploy(at_s=1, duration_s=1), "rolling_deploy"),
        (ServerRestart(at_s=1, duration_s=1, loses_state=True), "server_restart that loses_state"),
    ],
)
def test_what_only_the_simulator_has_is_refused(fault: Fault, kind: str) -> None:
    with pytest.raises(ConfigError, match=f"^a {re.escape(kind)} happens in the simulator only; simulate it, or remove"):
        check_playable([Reset(at_s=1), fault])


def test_what_can_be_done_to_a_process_is_not() -> None:
    check_playable([Reset(at_s=1), ServerRestart(at_s=1, duration_s=1, is_graceful=True), Pause(at_s=1, duration_s=1)])


async def test_a_fault_that_lasts_no_time_is_over_at_once(autojump_clock: MockClock) -> None:
    config = ClientConfig()
    parameters = Parameters(client=config, server=ServerConfig(), policy=FullJitter(), wait_max_s=30.0, round_trip_max_s=1.0)
    recorder = Recorder(1, RUN_ID, parameters)
    async with open_emulator("127.0.0.1", 1, seed=1, connect=MemoryServer().connect) as emulator:
        player = FaultPlayer(cast("ServerProcess", None), emulator, recorder, Silent())
        await player.happen([LoadBalancerCut(at_s=1), Reset(at_s=2)])
    ends = [round(trouble.end / NS_PER_S, 3) for trouble in index_of(recorder.trace).troubles]
    assert ends == [1.0, 2.0]


@pytest.mark.slow
async def test_a_process_stands_still_and_stops(tmp_path: Path) -> None:
    place = ServerPlace(free_ports(1)[0], f"sqlite:///{tmp_path / 'log.sqlite3'}", RUN_ID, tmp_path / "server.log")
    with trio.fail_after(PATIENCE_S):
        async with open_server_process(place, on_record=lambda _: None) as server, trio.open_nursery() as nursery:
            await server.start()
            async with connect(f"http://127.0.0.1:{place.port}", RUN_ID, token="dev:ada", client_id="ada") as client:
                assert await client.publish("FLAG", {"why": "before"}) == 1
                nursery.start_soon(server.pause, 0.5)
                nursery.start_soon(server.pause, 1.0)
                await trio.sleep(0.1)
                begun = trio.current_time()
                assert await client.publish("FLAG", {"why": "meanwhile"}) == 2
                assert 0.7 < trio.current_time() - begun < 10.0  # until the longer of both was over
                assert await server.stop()
                assert server.pid is None
                listening = await server.start()
                assert listening.head == 2
                assert await client.publish("FLAG", {"why": "after"}) == 3
