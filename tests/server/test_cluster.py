"""Processes that share a database: a lease is checked before each answer, owners are cached until a process refuses,
waiting polls block nothing else, and a process that left stays away.
"""

import errno
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference.protocol.config import ServerConfig
from reference.server.cluster import request_relay, upgrade_relay
from reference.store.base import ProcessAddress
from reference.store.ownership import SEEN_INTERVAL_S, Ownership

from .processes import serving
from .running_server import OTHER_RUN, RUN, UPGRADE_HEADERS, RunningServer, request_bytes
from .test_http import POLL, PUBLISH, chat
from .two_servers import on_database, running_server_on, two_servers
from .wire.helpers import client_frame, read_answer, read_frame, read_until, text

CONNECTIONS = 10


@pytest.mark.slow
@pytest.mark.parametrize("how", ["its connection was ended", "it was silent for too long"])
async def test_an_owner_that_stood_still_does_not_answer_from_its_old_picture(postgres_url: str, how: str) -> None:
    """No client gets `reset`, which would mean that history was lost."""
    with serving("--store", postgres_url) as one, serving("--store", postgres_url) as two, trio.fail_after(60):
        headers = {"Authorization": "Bearer dev:ann"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client, AsyncExitStack() as opened:
            await client.put(f"{one.url}/api/runs/{RUN}")

            async def publish(url: str, numbers: range) -> dict[str, Any]:
                messages = [chat(number) for number in numbers]
                answer = await client.post(f"{url}{PUBLISH}", json={"clientId": "c1", "messages": messages})
                answered: dict[str, Any] = answer.json()
                return answered

            epoch = (await publish(one.url, range(1, 6)))["epoch"]
            port = int(one.url.rpartition(":")[2])
            streams = [
                await opened.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port)) for _ in range(CONNECTIONS)
            ]
            for stream in streams:  # else each would be closed after DoorLimits.head_timeout_s, which passes meanwhile
                assert (await asked(stream, f"{POLL}?epoch={epoch}&afterSequence=4"))["head"] == 5
            os.kill(one.process.pid, signal.SIGSTOP)
            try:
                if how == "its connection was ended":
                    owner = "SELECT pid FROM pg_locks l JOIN collaboration_owners o ON l.objid = o.process_id"
                    owner += " WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    ended = await on_database(postgres_url, f"SELECT pg_terminate_backend(pid) FROM ({owner}) owners")
                    assert ended == [(True,)]
                else:
                    await trio.sleep(15.5)  # nothing but time makes a process silent
                while "results" not in (answer := await publish(two.url, range(6, 11))):
                    await trio.lowlevel.checkpoint()
                assert [result["sequenceNumber"] for result in answer["results"]] == [6, 7, 8, 9, 10]
                for stream in streams:  # clients that know event 10, and are sent to the first process
                    await stream.send_all(request_bytes("GET", f"{POLL}?epoch={epoch}&afterSequence=10", token="dev:ann"))
            finally:
                os.kill(one.process.pid, signal.SIGCONT)
            for stream in streams:
                answer = json.loads((await read_answer(stream)).body)
                assert answer.get("outcome") in (None, "resumed"), answer
                assert answer.get("head", 10) == 10


async def asked(stream: trio.SocketStream, target: str) -> dict[str, Any]:
    await stream.send_all(request_bytes("GET", target, token="dev:ann"))
    answer: dict[str, Any] = json.loads((await read_answer(stream)).body)
    return answer


async def test_the_place_of_a_run_is_asked_once_and_remembered_until_a_process_refuses(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[str] = []
    claim = Ownership.claim

    async def counted(self: Ownership, run_id: str) -> ProcessAddress | None:
        claims.append(run_id)
        return await claim(self, run_id)

    monkeypatch.setattr(Ownership, "claim", counted)
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), running_server_on(postgres_url) as three:
            async with one.join("ada") as ada:
                await ada.publish(1)
                for _ in range(10):
                    assert (await two.poll("afterSequence=0"))["head"] == 1
                async with two.join("bob"):
                    pass
                assert claims == [RUN] * 2  # the owner, and the other one once
                await ada.send("bye")
            # the run moves to the third process, and the first still listens
            await on_database(postgres_url, "DELETE FROM collaboration_owners")
            async with three.join("cem") as cem:
                assert (await cem.publish(1))["sequenceNumber"] == 2
                one.server._parts.runs.runs[0].end()
                await until_gone(one)
                assert (await two.poll("afterSequence=0"))["head"] == 2
                async with two.join("dan") as dan:
                    assert (await dan.publish(1))["sequenceNumber"] == 3
                    assert await cem.events(3)


async def until_gone(running: Any) -> None:
    while running.server.statistics().runs_loaded:
        await trio.lowlevel.checkpoint()


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that the database is asked for, in order."""
    asked_for: list[str] = []

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        async def count(ownership: Ownership, run_id: str) -> Any:
            asked_for.append(run_id)
            return await method(ownership, run_id)

        return count

    monkeypatch.setattr(Ownership, "claim", counted(Ownership.claim))
    monkeypatch.setattr(Ownership, "find", counted(Ownership.find))
    return asked_for


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"kind": "ping", "nonce": 1},
        {"kind": "hello", "protocol": 1, "clientId": "x"},
        {"kind": "hello", "protocol": 1, "clientId": "x", "token": "guessed"},
    ],
    ids=str,
)
async def test_an_upgrade_without_a_good_token_asks_nothing_of_the_database(
    postgres_url: str, lookups: list[str], said: dict[str, Any] | None
) -> None:
    """It was claimed, loaded and relayed before anybody was asked who he is; another run had to leave for it."""
    config = ServerConfig(hello_timeout_s=0.3)
    with trio.fail_after(60):
        async with two_servers(postgres_url, protocol=config) as (one, two), one.join("ada"):
            lookups.clear()
            received = []
            for run_id in (RUN, OTHER_RUN):
                async with two.connect(run_id) as frame_client:
                    if said is not None:
                        await frame_client.send(**said)
                    received.append((await frame_client.closed(), frame_client.received))
            assert received[0] == received[1]
            assert received[0][0][0] in (4003, 4400, 4401)
            assert lookups == []
            assert two.server.statistics().runs_loaded == 0


@pytest.mark.parametrize("how", ["poll", "token in the upgrade", "token in hello"])
async def test_a_user_who_asks_too_often_does_not_reach_the_database(postgres_url: str, lookups: list[str], how: str) -> None:
    """A run that does not exist is known to nobody, so each request for it asked the database, whatever the user's rate."""

    async def ask(running: RunningServer) -> int:
        if how == "poll":
            return (await running.ask("GET", POLL.replace(RUN, OTHER_RUN))).status
        if how == "token in the upgrade":
            path = f"/ws/runs/{OTHER_RUN}/collaboration"
            stream = running.server.connect()
            await stream.send_all(request_bytes("GET", path, token="dev:alice", headers=UPGRADE_HEADERS))
            status = int((await read_until(stream, b"\r\n\r\n")).split()[1])
            if status == 101:
                await read_frame(stream)  # the run has been looked up
            await stream.aclose()
            return status
        async with running.connect(OTHER_RUN) as client:
            await client.send("hello", protocol=1, clientId="alice", token="dev:alice")
            return (await client.closed())[0] or 0

    with trio.fail_after(60):
        async with running_server_on(postgres_url, requests_per_user_per_s_max=1, upgrades_per_user_per_s_max=1) as running:
            answers = [await ask(running) for _ in range(8)]
            admitted = sum(answer in (404, 101, 4404) for answer in answers)
            assert set(answers) - {404, 101, 4404} in ({429}, {4029}), answers
            assert len(lookups) == 2 * admitted, "once for its owner, once to load it"
            assert await ask(running) in (429, 4029)


async def test_without_the_role_the_admin_api_asks_nothing_of_the_database(postgres_url: str, lookups: list[str]) -> None:
    with trio.fail_after(60):
        async with running_server_on(postgres_url) as running:
            for method, path in (("GET", f"connections/{OTHER_RUN}"), ("DELETE", f"runs/{OTHER_RUN}")):
                assert (await running.ask(method, f"/api/admin/websocket/{path}")).status == 403
            assert lookups == []


async def test_what_was_sent_with_hello_reaches_the_owner_too(postgres_url: str) -> None:
    """The first process reads hello for its token; the owner is given every byte."""
    hello = json.dumps({"type": "hello", "protocol": 1, "clientId": "bob", "token": "dev:bob"})
    publish = text(json.dumps({"type": "publish", "clientSequence": 1, "eventType": "CHAT", "data": {"text": "x" * 60_000}}))
    kinds: list[str | int] = []
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            stream = two.server.connect()

            async def receive(kind: str) -> None:
                while not kinds or kinds[-1] != kind:
                    opcode, payload = await read_frame(stream)
                    kinds.append(json.loads(payload)["type"] if opcode == 0x1 else opcode)

            head = request_bytes("GET", f"/ws/runs/{RUN}/collaboration", headers=UPGRADE_HEADERS)
            await stream.send_all(head + client_frame(0x9, b"early") + text(hello) + publish[:30_000])
            assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            await receive("welcome")
            assert kinds == [0xA, 0xA, "welcome"]  # both have answered the early ping
            await stream.send_all(publish[30_000:])
            await receive("accepted")
            assert [event["data"]["text"] for event in await ada.events(1)] == ["x" * 60_000]
            await stream.aclose()


async def test_a_client_whose_owner_is_reached_during_a_stop_is_sent_away(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, is_reached, is_stopping = upgrade_relay._ask, trio.Event(), trio.Event()

    async def ask_slowly(*asked: Any) -> bytes:
        answer = await ask(*asked)
        is_reached.set()
        await is_stopping.wait()
        return answer

    monkeypatch.setattr(upgrade_relay, "_ask", ask_slowly)
    with trio.fail_after(60):
        async with (
            two_servers(postgres_url) as (one, two),
            one.join("ada"),
            trio.open_nursery() as nursery,
            two.server.connect() as stream,
        ):
            head = request_bytes("GET", f"/ws/runs/{RUN}/collaboration", headers=UPGRADE_HEADERS, token="dev:bob")
            await stream.send_all(head)
            await is_reached.wait()
            nursery.start_soon(two.server.stop)
            await wait_all_tasks_blocked()
            is_stopping.set()
            assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            _, goaway = await read_frame(stream)
            assert json.loads(goaway)["code"] == 4001
            assert await read_frame(stream) == (0x8, struct.pack("!H", 4001) + b"the server is going away")


async def test_an_owner_that_cuts_the_connection_before_it_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS then refuses to set an option."""
    refused: list[socket.socket] = []

    def refuse(own: socket.socket, *_option: Any) -> None:
        refused.append(own)
        raise OSError(errno.EINVAL, "Invalid argument")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        monkeypatch.setattr(socket.socket, "setsockopt", refuse)
        assert await upgrade_relay.connect(ProcessAddress(1, *listener.socket.getsockname(), "secret")) is None
        assert refused[-1].fileno() == -1, "it is closed"


async def test_polls_that_wait_keep_no_publish_from_its_way(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_relay, "WAITING_MAX", 8)
    monkeypatch.setattr(request_relay.connection_pool, "__defaults__", (2,))
    monkeypatch.setattr(request_relay, "POOL_S_MAX", 2.0)
    with trio.fail_after(60):
        async with two_servers(postgres_url) as (one, two), one.join("ada") as ada:
            await ada.publish(1)
            answers: list[dict[str, Any]] = []

            async def poll(number: int) -> None:
                answers.append(await two.poll("afterSequence=1&waitMs=20000", token=f"dev:p{number}"))

            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(poll, number)
                while len(answers) < 4:  # those beyond the limit do not wait
                    await trio.lowlevel.checkpoint()
                assert [answer["events"] for answer in answers] == [[]] * 4
                body = json.dumps({"clientId": "carol", "messages": [chat(1)]}).encode()
                published = await two.ask("POST", PUBLISH, body, token="dev:carol")
                assert published.status == 200
            assert [len(answer["events"]) for answer in answers[4:]] == [1] * 8


@pytest.mark.slow
@pytest.mark.parallel
async def test_a_process_that_stops_stays_away(postgres_url: str) -> None:
    async with running_server_on(postgres_url, stop_timeout_s=SEEN_INTERVAL_S + 1.5) as running:
        await running.server.create_run(RUN)
        # a WebSocket whose peer is gone without a word keeps the server until its time is over
        async with running.connect():
            joined: list[int] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.server.stop)
                with trio.move_on_after(SEEN_INTERVAL_S + 1):
                    while True:
                        joined.append(len(await on_database(postgres_url, "SELECT * FROM collaboration_processes")))
                        await trio.sleep(0.1)
            assert joined[0] <= 1
            assert joined[-1] == 0
            assert sorted(joined, reverse=True) == joined
