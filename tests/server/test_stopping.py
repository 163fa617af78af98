"""A server that stops: no new clients, all clients notified, everything accepted stored, and an end within the time limit."""

import os
import signal
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from reference.server.app import open_server, serve
from reference.server.settings import ServerSettings
from reference.store import open_store

from .running_server import RUN, Message, RunningServer, frame_client_on, request_bytes, running_server
from .test_store_failures import MoodyStore
from .wire.helpers import read_answer


async def test_all_clients_are_asked_to_come_back_later_and_not_all_at_once(autojump_clock: MockClock) -> None:
    async with running_server(go_away_retry_after_s=2, go_away_spread_s=8) as running, running.join("alice") as alice:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server.stop)
            code, _ = await alice.closed()
        goaway = next(frame for frame in alice.received if frame["type"] == "goaway")
        assert (code, goaway) == (4001, {"type": "goaway", "code": 4001, "retryAfterMs": 2000, "spreadMs": 8000})


async def test_a_waiting_poll_gets_the_time_to_come_back(autojump_clock: MockClock) -> None:
    async with running_server(go_away_retry_after_s=2) as running:
        stream = running.server.connect()
        await stream.send_all(
            request_bytes("GET", f"/api/runs/{RUN}/collaboration/poll?afterSequence=0&waitMs=25000", token="dev:alice")
        )
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server.stop)
            answer = await read_answer(stream)
            await stream.aclose()
        assert (answer.status, answer.problem["code"], answer.problem["retryAfterMs"]) == (503, 4001, 2000)
        assert answer.headers["retry-after"] == "2"


async def test_no_new_client_is_admitted(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        waiting = running.server.connect()
        async with running.join("alice"), trio.open_nursery() as nursery:
            nursery.start_soon(running.server.stop)
            await trio.sleep(0.1)
            await waiting.send_all(request_bytes("GET", f"/api/runs/{RUN}/collaboration/poll", token="dev:alice"))
            answer = await read_answer(waiting)
            assert (answer.status, answer.problem["code"]) == (503, 4001)
            await waiting.send_all(request_bytes("GET", "/readyz"))
            assert (await read_answer(waiting)).status == 503
            await waiting.aclose()


async def test_what_is_sequenced_is_stored_before_the_end(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running, running.join("alice") as alice:
        store.may_append = trio.Event()
        for number in range(1, 11):
            await alice.send("publish", clientSequence=number, eventType="CHAT", data={})
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server.stop)
            await trio.sleep(1)
            store.may_append.set()
    stored = await store.load_run(RUN)
    assert stored is not None
    assert stored.head == 10


async def test_a_client_that_does_not_go_is_cut_in_time(autojump_clock: MockClock) -> None:
    async with running_server(stop_timeout_s=4) as running, running.join("alice"):
        started = trio.current_time()
        await running.server.stop()
        assert trio.current_time() - started <= 4.01


async def test_an_error_in_the_block_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with running_server():
            raise ZeroDivisionError


async def test_cancelling_ends_a_server_at_once(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with running_server() as running, running.join("alice"):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() < 5.1


async def test_a_server_that_is_cut_sends_no_notification(autojump_clock: MockClock) -> None:
    received: list[Message] = []
    async with trio.open_nursery() as nursery:

        async def be_server(task_status: "trio.TaskStatus[RunningServer]") -> None:
            async with running_server() as running:
                task_status.started(running)
                await trio.sleep_forever()

        running = await nursery.start(be_server)
        async with running.join("alice") as alice:
            running.server.cut()
            await alice.closed()
            received = alice.received
    assert trio.current_time() < 1
    assert "goaway" not in [frame["type"] for frame in received]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_a_server_that_keeps_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "events.sqlite3"
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, ServerSettings(port=0, store=str(path)))
        await server.create_run(RUN)
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with frame_client_on(stream) as alice:
            await alice.hello("alice")
            await alice.publish(1)
            os.kill(os.getpid(), number)
            assert (await alice.closed())[0] == 4001
    async with open_store(str(path)) as store:
        stored = await store.load_run(RUN)
        assert stored is not None
        assert stored.head == 1


async def test_an_idle_connection_does_not_hold_up_the_end(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        stream = running.server.connect()
        await stream.send_all(request_bytes("GET", "/healthz"))
        await read_answer(stream)
        started = trio.current_time()
        await running.server.stop()
        assert trio.current_time() == started


async def test_the_port_is_free_again(tmp_path: Path) -> None:
    async with open_server(ServerSettings(port=0, store="memory:")) as server:
        port = server.port
    async with open_server(ServerSettings(port=port, store="memory:")) as server:
        assert server.port == port
