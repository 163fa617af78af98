"""The client against the server that users run: over sockets in real time, and over bounded memory streams in virtual time."""

import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from reference.client import CreateRunFailed, connect, create_run, open_tcp_stream
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import CloseCode
from reference.protocol.policies.keepalive import EveryInterval, HeartbeatPolicy, NoPings
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.states import ClientState, Transport
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from tests.client.harness import numbers_until

QUICK = ClientConfig(first_spread_s=0.0, fallback_after_failures=2, poll_interval_s=0.05, probe_interval_s=0.2)
QUICK_POLICY = FullJitter(base_s=0.05, cap_s=0.1, floor_s=0.01)
in_real_time = pytest.mark.trio(run=trio.run)
quickly = partial(connect, config=QUICK, policy=QUICK_POLICY, token="dev:ada")


@in_real_time
async def test_two_clients_over_sockets() -> None:
    settings = ServerSettings(port=0, store="memory:")
    with trio.fail_after(30):
        async with open_server(settings) as server:
            run_id = await create_run(server.url, token="dev:ada")
            async with quickly(server.url, run_id) as ada, connect(server.url, run_id, token="dev:bob") as bob:
                await bob.wait_until(ClientState.LIVE)
                assert bob.limits == settings.limits
                tickets = [ada.publish_soon("CHAT", {"n": n}) for n in range(150)]
                assert [await ticket.accepted() for ticket in tickets] == list(range(1, 151))
                assert await numbers_until(bob, 150) == list(range(1, 151))
                assert set(bob.active_users) <= {"ada", "bob"}
                assert ada.health.round_trip.samples == 1


@in_real_time
async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    settings = ServerSettings(port=0, store=str(tmp_path / "log.sqlite3"))
    run_id = str(uuid.uuid4())
    with trio.fail_after(30):
        async with open_server(settings) as server:
            url, port = server.url, server.port
            await create_run(url, run_id, "dev:ada")
            await server.stop()
        async with quickly(url, run_id, drain_s=10) as client, trio.open_nursery() as nursery:
            for life in range(3):
                server = await nursery.start(one_life, ServerSettings(port=port, store=settings.store))
                tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(50 * life, 50 * life + 50)]
                assert await tickets[24].accepted() == 50 * life + 25
                server.kill.set()
                await server.is_over.wait()
            await nursery.start(one_life, ServerSettings(port=port, store=settings.store))
            assert await numbers_until(client, 150) == list(range(1, 151))
            await client.wait_until(lambda client: client.queued_messages == 0)
            assert client.health.delivery_rate == 1.0
            nursery.cancel_scope.cancel()


@dataclass
class Life:
    kill: trio.Event
    is_over: trio.Event


async def one_life(settings: ServerSettings, task_status: trio.TaskStatus[Life]) -> None:
    """A server until it is killed: every connection is cut first, and its store is let go of after that."""
    life = Life(trio.Event(), trio.Event())
    async with open_server(settings) as server:
        task_status.started(life)
        await life.kill.wait()
        server.cut()
    life.is_over.set()


@in_real_time
async def test_fallback_and_return_over_sockets() -> None:
    attempts = 0

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            raise OSError("blocked by the test")
        return await open_tcp_stream(host, port, tls)

    with trio.fail_after(30):
        async with open_server(ServerSettings(port=0, store="memory:")) as server:
            run_id = await create_run(server.url, token="dev:ada")
            async with quickly(server.url, run_id, open_stream=open_stream) as client:
                assert await client.publish("GRAFT", {"position": "p"}) == 1
                assert client.health.transport == Transport.POLLING
                await client.wait_until(ClientState.LIVE)
                assert await client.publish("CHAT", {}) == 2
                assert await numbers_until(client, 2) == [1, 2]


@in_real_time
async def test_what_the_real_server_refuses() -> None:
    with trio.fail_after(30):
        async with open_server(ServerSettings(port=0, store="memory:")) as server:
            async with quickly(server.url, str(uuid.uuid4())) as client:
                ended = [outcome async for outcome in client][-1]
                assert isinstance(ended, SessionEnded)
                assert ended.code == CloseCode.NO_SUCH_RUN
            async with quickly(server.url, "no-uuid") as client:
                ended = [outcome async for outcome in client][-1]
                assert isinstance(ended, SessionEnded)
                assert ended.code == CloseCode.NO_SUCH_RUN
            async with quickly(server.url, str(uuid.uuid4()), token="garbage") as client:
                ended = [outcome async for outcome in client][-1]
                assert isinstance(ended, SessionEnded)
                assert ended.code == CloseCode.TOKEN
            with pytest.raises(CreateRunFailed) as caught:
                await create_run(server.url, "no-uuid", "dev:ada")
            assert caught.value.code is not None


@in_real_time
async def test_nobody_listens() -> None:
    with trio.fail_after(30):
        async with open_server(ServerSettings(port=0, store="memory:")) as server:
            url = server.url
        with pytest.raises(CreateRunFailed, match="not answered"):
            await create_run(url)


async def test_a_slow_reader_over_bounded_streams() -> None:
    """Both sides are real, TCP is 8 KiB each way: the reader's pace reaches the server, and nothing is lost over it."""
    async with open_server(ServerSettings(store="memory:"), listening=False, origin_ns=10**18) as server:

        async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
            return server.connect(capacity_bytes=8192)

        run_id = await create_run("http://memory", token="dev:ada", open_stream=open_stream)
        join = partial(connect, "http://memory", run_id, open_stream=open_stream, seed=1)
        async with join(token="dev:ada") as ada, join(token="dev:bob", outcomes_waiting_max=10) as bob:
            await bob.wait_until(ClientState.LIVE)
            for n in range(600):
                ada.publish_soon("CHAT", {"n": n, "text": "x" * 200})
                await trio.sleep(0.01)
            numbers = []
            events = bob.events()
            while 600 not in numbers[-1:]:
                number = (await anext(events)).sequence_number
                if number is not None:
                    numbers.append(number)
                    await trio.sleep(0.05)
            assert numbers == list(range(1, 601))
            assert ada.health.reconnections == 0


@pytest.mark.parametrize("heartbeat", [EveryInterval(60.0, 10.0), NoPings(60.0)])
async def test_a_client_that_would_be_silent_for_too_long_is_not_cut(heartbeat: HeartbeatPolicy) -> None:
    """The server tells how long it waits, and the client pings within it, whatever its policy is."""
    settings = ServerSettings(store="memory:", protocol=ServerConfig(silence_max_s=20.0))
    async with open_server(settings, listening=False, origin_ns=10**18) as server:

        async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
            return server.connect()

        run_id = await create_run("http://memory", token="dev:ada", open_stream=open_stream)
        async with connect("http://memory", run_id, open_stream=open_stream, token="dev:ada", heartbeat=heartbeat) as client:
            await client.wait_until(ClientState.LIVE)
            await trio.sleep(300)
            assert client.state is ClientState.LIVE
            assert client.health.reconnections == 0
