"""Full sockets: control frames and events do not block each other, and a slow network is not taken for a dead one."""

import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig
from reference.protocol.server.observations import Joined, Left, Observation
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.store import MemoryStore
from tests.passing_stream import PassingStream

from .running_server import ORIGIN_NS, RUN, RunningServer, frame_client_on, running_server


async def test_answers_do_not_keep_events_waiting(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob, running.connect(capacity_bytes=300) as slow:
        await slow.hello("slow")
        async with trio.open_nursery() as nursery:

            async def ping_for_ever() -> None:
                for nonce in range(10_000):
                    await slow.send("ping", nonce=nonce)
                    await trio.sleep(0.01)

            nursery.start_soon(ping_for_ever)
            for number in range(1, 21):
                await bob.publish(number)
            while len(slow.events_received()) < 20:
                await slow.next()
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert slow.numbers_received() == list(range(1, 21))
        pongs = [frame for frame in slow.received if frame["type"] == "pong"]
        assert pongs


async def test_a_large_snapshot_on_a_slow_network_arrives(autojump_clock: MockClock) -> None:
    config = ServerConfig(slow_reader_timeout_s=5, silence_max_s=3600, snapshot_interval_events=10, events_kept_max=1000)
    async with running_server(protocol=config) as running, running.join("alice") as alice:
        for number in range(1, 31):
            await alice.publish(number, eventType="GRAFT", data={"position": f"p{number}", "x": "x" * 20_000})
        stream = running.server.connect(capacity_bytes=4096)
        slow_network = _Slow(stream)
        async with frame_client_on(slow_network) as slow:
            await slow.hello("slow")
            snapshot = await slow.receive("snapshot")
            assert len(snapshot["state"]["grafts"]) == 30
            assert trio.current_time() > 60


class _Slow(PassingStream):
    """A network on which 4096 bytes take half a second."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await trio.sleep(0.5)
        return await super().receive_some(max_bytes)


async def test_an_observer_may_be_given_when_a_server_is_opened(autojump_clock: MockClock) -> None:
    seen: list[Observation] = []
    async with open_server(
        ServerSettings(), store=MemoryStore(), origin_ns=ORIGIN_NS, observe=seen.append, listening=False
    ) as server:
        await server.create_run(RUN)
        async with RunningServer(server).join("alice"):
            pass
        await trio.sleep(1)
    assert [type(observation) for observation in seen] == [Joined, Left]
