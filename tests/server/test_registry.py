"""Runs are loaded into memory and unloaded."""

import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.store import MemoryStore

from .running_server import ORIGIN_NS, OTHER_RUN, RUN, RunningServer, running_server

NO_GRACE = ServerConfig(presence_grace_s=0)
IDLE_FOR_5_S = ServerConfig(run_idle_s=5)


async def test_a_run_without_anybody_leaves_memory_and_comes_back_whole(autojump_clock: MockClock) -> None:
    async with running_server(protocol=NO_GRACE) as running:
        async with running.join("alice") as alice:
            await alice.publish(1)
            epoch = alice.received[0]["epoch"]
        await trio.sleep(59)
        assert running.server.statistics().runs_loaded == 1
        await trio.sleep(2)
        assert running.server.statistics().runs_loaded == 0
        async with running.join("alice", generation=2, epoch=epoch, afterSequence=0) as alice:
            assert alice.received[0]["outcome"] == "resumed"
            assert alice.received[0]["epoch"] == epoch
            assert (await alice.publish(1))["duplicate"] is True
            await alice.events(1)


async def test_a_run_that_is_asked_stays(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for _ in range(5):
            await running.poll()
            await trio.sleep(50)
            assert running.server.statistics().runs_loaded == 1


async def test_a_run_with_a_client_stays(autojump_clock: MockClock) -> None:
    async with running_server(protocol=IDLE_FOR_5_S) as running, running.join("alice"):
        await trio.sleep(20)
        assert running.server.statistics().runs_loaded == 1


async def test_beyond_the_limit_the_idlest_run_makes_room(autojump_clock: MockClock) -> None:
    async with running_server(runs=(RUN, OTHER_RUN), loaded_runs_max=1, protocol=NO_GRACE) as running:
        await running.poll(run_id=RUN)
        await running.poll(run_id=OTHER_RUN)
        assert running.server.statistics().runs_loaded == 1


async def test_beyond_the_limit_runs_in_use_stay_and_the_new_one_is_put_off(autojump_clock: MockClock) -> None:
    async with running_server(runs=(RUN, OTHER_RUN), loaded_runs_max=1) as running, running.join("alice") as alice:
        answer = await running.ask("GET", f"/api/runs/{OTHER_RUN}/collaboration/poll")
        assert (answer.status, answer.problem["code"]) == (503, 4030)
        async with running.connect(OTHER_RUN) as client:
            await client.send("hello", protocol=1, clientId="bob", token="dev:bob")
            assert (await client.closed())[0] == 4030
            assert client.received[-1]["type"] == "goaway"
        assert (await alice.publish(1))["type"] == "accepted"


async def test_epochs_and_session_ids_are_drawn_from_what_is_given(autojump_clock: MockClock) -> None:
    names = iter(f"id-{number}" for number in range(100))
    settings = ServerSettings()
    async with open_server(
        settings, store=MemoryStore(), new_id=lambda: next(names), origin_ns=ORIGIN_NS, listening=False
    ) as server:
        await server.create_run(RUN)
        async with RunningServer(server).join("alice") as alice:
            welcome = alice.received[0]
            assert (welcome["epoch"], welcome["sessionId"]) == ("id-0", "id-1")


async def test_a_clean_restart_keeps_epoch_numbers_and_answers(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with running_server(store=store) as running, running.join("alice") as alice:
        await alice.publish(1)
        epoch = alice.received[0]["epoch"]
    async with running_server(store=store) as running, running.join("alice", epoch=epoch, afterSequence=1) as alice:
        assert alice.received[0]["outcome"] == "resumed"
        assert (await alice.publish(1))["duplicate"] is True
        assert (await alice.publish(2))["sequenceNumber"] == 2
