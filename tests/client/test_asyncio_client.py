"""The client under asyncio: publishing, receiving, cancelling, and how it ends. Over real sockets, in real time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from reference.client import AsyncioClient, ConfigError, Event, FileOutboxStore, InvalidEvent, connect_asyncio, create_run_asyncio
from reference.client.without_trio.portal import TrioPortal
from reference.protocol.saved_session import SavedSession
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


def test_of_several_tasks_that_iterate_each_outcome_goes_to_one(server: TestServer) -> None:
    """All that waited got the same one, and one that arrived meanwhile was lost."""

    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        received, is_complete = list[int](), asyncio.Event()
        async with connect_asyncio(server.url, run_id, token="dev:ada") as client:

            async def read() -> None:
                async for event in client.events():
                    number = event.sequence_number
                    if number is not None:
                        received.append(number)
                        is_complete.set() if len(received) == 20 else None

            await client.publish("CHAT", {"number": -1})
            async for event in client.events():  # what comes first has no number
                if event.sequence_number == 1:
                    break
            readers = [asyncio.create_task(read()) for _ in range(3)]
            for number in range(20):
                await client.publish("CHAT", {"number": number})
            await is_complete.wait()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        assert sorted(received) == list(range(2, 22))

    run(program)


def test_a_connect_that_is_cancelled_leaves_no_client_behind(server: TestServer, tmp_path: Path) -> None:
    """In a portal that goes on."""
    path, is_loading, may_load = tmp_path / "outbox", threading.Event(), threading.Event()

    class Slow(FileOutboxStore):
        def load(self, run_id: str, client_id: str) -> SavedSession:
            is_loading.set()
            may_load.wait(PATIENCE_S)
            return super().load(run_id, client_id)

    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")

        async def enter(portal: TrioPortal) -> None:
            async with connect_asyncio(server.url, run_id, token="dev:ada", portal=portal, outbox_store=Slow(path)):
                pass

        with TrioPortal() as portal:
            connecting = asyncio.create_task(enter(portal))
            await asyncio.to_thread(is_loading.wait, PATIENCE_S)
            connecting.cancel()
            await asyncio.sleep(0)
            may_load.set()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            await asyncio.sleep(0.2)
            store = FileOutboxStore(path)
            store.load(run_id, "another")  # no client uses it
            store.close()

    run(program)


@pytest.mark.parametrize("reads_on", [True, False])
def test_what_was_not_handled_comes_again_after_a_restart(server: TestServer, tmp_path: Path, reads_on: bool) -> None:
    """A block that fails has not handled the last event; and what came after a wait was cancelled has never been delivered."""
    path = tmp_path / "outbox"

    async def program() -> None:
        run_id = await create_run_asyncio(server.url, token="dev:ada")
        if reads_on:
            with pytest.raises(KeyError, match="while it handles event 2"):
                await read_until(run_id, 2)
        else:
            await read_until(run_id, 1)
        async with connect_asyncio(server.url, run_id, token="dev:ada", outbox_store=FileOutboxStore(path)) as client:
            assert (await next_event(client)).sequence_number == 2

    async def read_until(run_id: str, last: int) -> None:
        async with connect_asyncio(server.url, run_id, token="dev:ada", outbox_store=FileOutboxStore(path)) as client:
            await client.publish("CHAT", {})
            assert (await next_event(client)).sequence_number == 1
            if last == 1:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await next_event(client)
            await client.publish("CHAT", {})
            if last == 1:
                await asyncio.sleep(0.2)
                return
            await next_event(client)
            raise KeyError("while it handles event 2")

    async def next_event(client: AsyncioClient) -> Event:
        async for event in client.events():
            if event.sequence_number is not None:
                return event
        raise AssertionError("the session has ended")

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
