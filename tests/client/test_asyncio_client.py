"""The client under asyncio: publishing, receiving, cancelling, and how it ends. Over real sockets, in real time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

from reference.client import ConfigError, Event, InvalidEvent, connect_asyncio, create_run_asyncio
from reference.client.without_trio.portal import TrioPortal
from simulation.processes.fixtures import TestServer, open_test_server

PATIENCE_S = 30


@pytest.fixture(scope="module")
def server() -> Iterator[TestServer]:
    with open_test_server() as opened:
        yield opened


def run(program: Callable[[], Awaitable[None]]) -> None:
    """Plain tests, for pytest-trio takes async ones for its own."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await program()

    asyncio.run(bounded())


def test_what_one_publishes_another_receives_in_order(server: TestServer) -> None:
    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        with TrioPortal() as portal:
            async with (
                connect_asyncio(server.url, run_id, token="dev:ada", portal=portal) as ada,
                connect_asyncio(server.url, run_id, token="dev:grace", portal=portal) as grace,
            ):
                numbers = [await ada.publish("CHAT", {"text": str(number)}) for number in range(5)]
                assert numbers == [1, 2, 3, 4, 5]
                received = []
                async for event in grace.events():
                    if event.event_type == "CHAT":
                        received.append(event.data["text"])
                    if len(received) == 5:
                        break
                assert received == ["0", "1", "2", "3", "4"]
                assert (await ada.health()).queued_messages == 0
            assert not portal.is_closed

    run(program)


def test_a_cancelled_wait_loses_nothing(server: TestServer) -> None:
    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        async with connect_asyncio(server.url, run_id, token="dev:ada") as client:
            received: list[str] = []
            publishing = asyncio.create_task(publish_all(client.publish))
            while len(received) < 20:
                try:
                    async with asyncio.timeout(0.002):
                        delivery = await anext(client)
                except TimeoutError:
                    continue
                if isinstance(delivery, Event) and delivery.event_type == "CHAT":
                    received.append(delivery.data["text"])
            await publishing
            assert received == [str(number) for number in range(20)]

    async def publish_all(publish: Callable[[str, dict[str, str]], Awaitable[int]]) -> None:
        for number in range(20):
            await publish("CHAT", {"text": str(number)})
            await asyncio.sleep(0.003)

    run(program)


def test_errors_are_raised_where_the_call_stands(server: TestServer) -> None:
    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        async with connect_asyncio(server.url, run_id, token="dev:ada") as client:
            with pytest.raises(InvalidEvent):
                await client.publish("NO_SUCH_TYPE", {})
            assert await client.publish("CHAT", {"text": "still here"}) == 1
        with pytest.raises(ConfigError):
            async with connect_asyncio("no url", run_id):
                pass

    run(program)


def test_a_cancelled_publish_withdraws_nothing_and_the_portal_goes_on(server: TestServer) -> None:
    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        async with connect_asyncio(server.url, run_id, token="dev:ada") as client:
            task = asyncio.create_task(client.publish("CHAT", {"text": "one"}))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await client.publish("CHAT", {"text": "two"}) in (1, 2)

    run(program)


def test_the_thread_ends_with_the_block(server: TestServer) -> None:
    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        before = threads()
        with pytest.raises(KeyError, match="of the body"):
            await fail_inside(run_id, before)
        assert threads() == before

    async def fail_inside(run_id: str, before: int) -> None:
        async with connect_asyncio(server.url, run_id, token="dev:ada"):
            assert threads() == before + 1
            raise KeyError("of the body")

    def threads() -> int:
        return sum(thread.name == "trio portal" for thread in threading.enumerate())

    run(program)
