"""The server with a slow disk: the parity of kills and commits depends on this."""

import trio
from trio.testing import MockClock

from simulation.random import RandomStreams
from tests.server.running_server import RUN, running_server

from .disk import Disk

CHECKPOINTS = 300


def disk(*, commit_time_s: float = 5.0) -> Disk:
    return Disk(commit_time_s, RandomStreams(3).of("store"))


async def test_a_server_sleeps_while_its_disk_commits(autojump_clock: MockClock) -> None:
    """Its alarm once stayed in the past during every commit that followed a fan-out, and virtual time stood still for ever."""
    async with running_server(store=disk()) as running, running.join("alice") as alice:
        for number in (1, 2):
            await alice.send("publish", clientSequence=number, eventType="CHAT", data={})
        await alice.events(1)
        assert trio.current_time() == 5.0
        for _ in range(CHECKPOINTS):  # the second is with the disk now, the first has just been fanned out
            await trio.lowlevel.checkpoint()
        runnable = trio.lowlevel.current_statistics().tasks_runnable
        autojump_clock.jump(10.0)  # where somebody spins, nothing else ends it
        assert runnable == 0
        await alice.events(2)


async def test_a_crash_settles_the_commit_under_way(autojump_clock: MockClock) -> None:
    """By the draws of the simulated store: the first commit of seed 3 is kept, the second is not."""
    store = disk()
    async with running_server(store=store) as running, running.join("alice") as alice:
        await alice.send("publish", clientSequence=1, eventType="CHAT", data={})
        await trio.sleep(1.0)
        store.crash()
        await alice.events(1)
        assert trio.current_time() == 1.0
        await alice.send("publish", clientSequence=2, eventType="CHAT", data={})
        await trio.sleep(1.0)
        store.crash()
        await alice.closed()
        assert trio.current_time() == 2.0
    stored = await store.load_run(RUN)
    assert stored is not None
    assert stored.head == len(store.entries) == 1
