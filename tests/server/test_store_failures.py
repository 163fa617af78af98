"""A store that fails during work: all clients are closed with 4030, and accepted events are there when they reconnect."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from reference.protocol.errors import RemoteError
from reference.protocol.metrics import FAILURES
from reference.protocol.records import Append, StoredRun
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.store import MemoryStore, StoreError, StoreUnavailable

from .running_server import OTHER_RUN, RUN, FrameClient, frame_client_on, running_server


class MoodyStore(MemoryStore):
    """A store whose disk can be full, or too slow to confirm what it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.stores_but_does_not_confirm = False
        self.loads = 0
        self.load_s = 0.0
        self.may_append = trio.Event()
        self.may_append.set()

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        await self.may_append.wait()
        if self.is_full:
            return [StoreUnavailable("the disk is full; make room") for _ in batches]
        outcomes = await super().append(batches)
        if self.stores_but_does_not_confirm:
            return [StoreUnavailable("no answer; it may be stored") for _ in batches]
        return outcomes

    async def check(self) -> None:
        if self.is_full:
            raise StoreUnavailable("the disk is full; make room")
        await super().check()

    async def load_run(self, run_id: str) -> StoredRun | None:
        self.loads += 1
        await trio.sleep(self.load_s)
        if self.is_full:
            raise StoreUnavailable("the disk is full; make room")
        return await super().load_run(run_id)


async def test_a_full_disk_closes_all_clients_and_recovery_is_automatic(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running:
        async with running.join("alice") as alice, running.join("bob") as bob:
            await alice.publish(1, "before")
            store.is_full = True
            await alice.send("publish", clientSequence=2, eventType="CHAT", data={"text": "lost?"})
            for client in (alice, bob):
                assert (await client.closed())[0] == 4030
                assert client.numbers_received() == [1]
        assert running.server.monitor.metrics.value(FAILURES, reason="store") == 1
        async with running.connect() as client:
            await client.send("hello", protocol=1, clientId="alice", token="dev:alice")
            assert (await client.closed())[0] == 4030
        answer = await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll")
        assert (answer.status, answer.problem["code"]) == (503, 4030)
        assert "the disk is full" not in answer.problem["message"]  # that is for the log
        store.is_full = False
        async with running.join("alice", generation=3) as alice:
            assert await alice.publish(2) == {"type": "accepted", "clientSequence": 2, "sequenceNumber": 2}


async def test_what_was_stored_without_an_answer_is_not_stored_twice(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running:
        async with running.join("alice") as alice:
            store.stores_but_does_not_confirm = True
            await alice.send("publish", clientSequence=1, eventType="CHAT", data={})
            assert (await alice.closed())[0] == 4030
            store.stores_but_does_not_confirm = False
        async with running.join("alice", generation=2) as alice:
            assert alice.received[0]["lastClientSequence"] == 1
            answer = await alice.publish(1)
            assert answer == {"type": "accepted", "clientSequence": 1, "sequenceNumber": 1, "duplicate": True}


async def test_a_publish_over_http_whose_commit_fails_is_answered(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running:
        await running.poll()
        store.is_full = True
        body = b'{"clientId":"c","messages":[{"clientSequence":1,"eventType":"CHAT","data":{}}]}'
        answer = await running.ask("POST", f"/api/runs/{RUN}/collaboration/publish", body)
        assert (answer.status, answer.problem["code"]) == (503, 4030)


async def test_many_who_come_at_once_wait_for_one_load(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    store.load_s = 1.0
    async with running_server(store=store) as running:

        async def come(name: str) -> None:
            async with running.join(name) as client:
                assert client.received

        async with trio.open_nursery() as nursery:
            for index in range(50):
                nursery.start_soon(come, f"guest-{index}")
        assert store.loads == 1


async def test_a_client_that_leaves_during_a_load_takes_nothing_from_the_others(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    store.load_s = 1.0
    async with running_server(store=store) as running, trio.open_nursery() as nursery:

        async def come(name: str) -> None:
            async with running.join(name):
                pass

        with trio.move_on_after(0.5):
            async with trio.open_nursery() as impatient:
                impatient.start_soon(come, "impatient")
                await trio.sleep(0.1)
                nursery.start_soon(come, "patient")
                await trio.sleep_forever()
        assert store.loads == 1


async def test_nothing_is_shown_before_it_is_durable(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running, running.join("alice") as alice, running.join("bob") as bob:
        store.may_append = trio.Event()
        await alice.send("publish", clientSequence=1, eventType="CHAT", data={})
        await trio.sleep(5)
        with trio.move_on_after(5):
            await bob.receive("events")
        assert not alice.events_received()
        assert not bob.events_received()
        assert (await running.poll("afterSequence=0"))["head"] == 0
        store.may_append.set()
        assert (await alice.receive("accepted"))["sequenceNumber"] == 1
        assert await bob.events(1)


async def test_what_is_published_during_a_commit_is_stored_and_sent_as_one_batch(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running, running.join("alice") as alice, running.join("bob") as bob:
        store.may_append = trio.Event()
        for number in range(1, 51):
            await alice.send("publish", clientSequence=number, eventType="CHAT", data={})
            await trio.sleep(0.01)  # the first is with the store before the second comes
        store.may_append.set()
        await bob.events(50)
        batches = [len(frame["events"]) for frame in bob.received if frame["type"] == "events"]
        assert batches == [1, 49]


async def test_a_database_that_refuses_to_write_and_then_writes_again(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite3"

    def execute(statement: str) -> None:
        with closing(sqlite3.connect(path)) as other, other:
            other.execute(statement)

    async with open_server(ServerSettings(port=0, store=str(path))) as server:
        await server.create_run(RUN)
        async with client_on_socket(server, "alice") as alice:
            assert (await alice.publish(1))["type"] == "accepted"
            refuse = "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
            execute(f"CREATE TRIGGER refuse BEFORE INSERT ON persisted_collaboration_messages {refuse}")
            await alice.send("publish", clientSequence=2, eventType="CHAT", data={})
            code, reason = await alice.closed()
            assert code == 4030
            assert str(path) not in str(reason)
        execute("DROP TRIGGER refuse")
        async with client_on_socket(server, "alice", generation=2) as alice:
            assert (await alice.publish(2))["sequenceNumber"] == 2


@pytest.mark.slow
@pytest.mark.parallel
async def test_a_file_that_is_removed_under_the_server_ends_its_runs_and_its_readiness(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite3"
    async with open_server(ServerSettings(port=0, store=str(path))) as server:
        await server.create_run(RUN)
        async with client_on_socket(server, "alice") as alice:
            assert (await alice.publish(1))["type"] == "accepted"
            assert await ready(server) == 200
            for name in (path, Path(f"{path}-wal")):
                name.unlink()
            assert (await alice.closed())[0] == 4030  # though nobody publishes
        assert await ready(server) == 503
        with pytest.raises(RemoteError):
            await server.create_run(OTHER_RUN)


async def test_a_store_that_raises_costs_that_commit_and_not_the_server(autojump_clock: MockClock) -> None:
    store = RaisingStore()
    async with running_server(store=store) as running:
        async with running.join("alice") as alice:
            store.raises = True
            await alice.send("publish", clientSequence=1, eventType="CHAT", data={})
            assert (await alice.closed())[0] == 4030
        store.raises = False
        async with running.join("alice", generation=2) as alice:
            assert (await alice.publish(1))["sequenceNumber"] == 1


class RaisingStore(MemoryStore):
    """A store to which the system gives no thread."""

    raises = False

    async def append(self, batches: Sequence[Append]) -> list[StoreError | None]:
        if self.raises:
            raise RuntimeError("can't start new thread")
        return await super().append(batches)


async def ready(server: Server) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{server.url}/readyz")).status_code


@asynccontextmanager
async def client_on_socket(server: Server, name: str, **fields: Any) -> AsyncIterator[FrameClient]:
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with frame_client_on(stream) as client:
        await client.hello(name, **fields)
        yield client
