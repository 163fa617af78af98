"""Runs are loaded into memory and unloaded."""

import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.protocol.records import StoredRun
from reference.server.app import open_server
from reference.server.cluster.membership import Membership
from reference.server.settings import ServerSettings
from reference.store import MemoryStore, parse_url
from reference.store.ownership import Ownership

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


class _SlowStore(MemoryStore):
    """It has read a run, or deletes it, when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.may_load, self.may_delete = trio.Event(), trio.Event()
        self.may_load.set()

    async def load_run(self, run_id: str) -> StoredRun | None:
        stored = await super().load_run(run_id)
        await self.may_load.wait()
        return stored

    async def delete_run(self, run_id: str) -> bool:
        await self.may_delete.wait()
        return await super().delete_run(run_id)


async def test_a_run_that_is_read_while_it_is_deleted_is_gone_too(autojump_clock: MockClock) -> None:
    """Its clients stayed in a run that nothing could be stored in."""
    store = _SlowStore()
    async with running_server(store=store) as running, running.join("alice") as alice, running.connect() as bob:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server._parts.runs.delete, RUN)
            assert (await alice.closed())[0] == 4404
            await trio.sleep(1)
            store.may_load = trio.Event()
            await bob.send("hello", protocol=1, clientId="bob", token="dev:bob")
            await trio.sleep(1)
            store.may_delete.set()
            await trio.sleep(1)
            store.may_load.set()
        with trio.fail_after(5):
            assert (await bob.closed())[0] == 4404


class _SlowOwnership(Ownership):
    is_released = False

    async def release(self, run_id: str) -> None:
        await trio.sleep(15)
        self.is_released = True


async def test_a_release_that_takes_long_is_waited_for(autojump_clock: MockClock) -> None:
    """It was left to itself after 10 s, and took the run away when this process served it again."""
    url = parse_url("postgresql://ada@db/x")
    assert url is not None
    ownership = _SlowOwnership(url)
    await Membership(ownership, lambda what, error: None).release(RUN)
    assert ownership.is_released
