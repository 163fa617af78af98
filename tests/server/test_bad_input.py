"""A client's mistakes over WebSocket: it gets the protocol's code, and other clients in the room are not affected."""

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.metrics import PROBLEMS

from .running_server import OTHER_RUN, RUN, UPGRADE_HEADERS, FrameClient, request_bytes, running_server
from .wire.helpers import client_frame, read_answer, read_close, read_until

HELLO: dict[str, Any] = {"type": "hello", "protocol": 1, "clientId": "mallory", "token": "dev:mallory"}

BEFORE_WELCOME = [
    ("not JSON", "garbage", 4400),
    ("no object", "[]", 4400),
    ("no type", "{}", 4400),
    ("an unknown type", '{"type":"hallo"}', 4400),
    ("a server's frame", '{"type":"heartbeat","head":1}', 4400),
    ("publish before hello", '{"type":"publish","clientSequence":1,"eventType":"CHAT","data":{}}', 4400),
    ("nested too deeply", '{"type":"cursor","data":' + '{"a":' * 5000 + "1" + "}" * 5001, 4400),
    ("another version", json.dumps(HELLO | {"protocol": 2}), 4406),
    ("a client id with a blank", json.dumps(HELLO | {"clientId": "a b"}), 4400),
    ("half a position", json.dumps(HELLO | {"afterSequence": 3}), 4400),
    ("no token", json.dumps({key: value for key, value in HELLO.items() if key != "token"}), 4401),
    ("a wrong token", json.dumps(HELLO | {"token": "x"}), 4401),
    ("too big", json.dumps(HELLO | {"token": "x" * 70_000}), 4413),
]
AFTER_WELCOME = [
    ("hello again", json.dumps(HELLO), 4400),
    ("an ack of what does not exist", '{"type":"ack","sequenceNumber":9}', 4400),
    ("a publish without a number", '{"type":"publish","eventType":"CHAT","data":{}}', 4400),
    ("data that is no object", '{"type":"publish","clientSequence":1,"eventType":"CHAT","data":[]}', 4400),
    ("another user's token", '{"type":"auth","token":"dev:bob"}', 4403),
    ("a cursor with a NUL", '{"type":"cursor","data":{"a":"\\u0000"}}', 4400),
]
REJECTED = [
    ("an unknown type", {"eventType": "GARBAGE"}, "unknown_event_type", False),
    ("a graft without a position", {"eventType": "GRAFT", "data": {}}, "invalid_event", False),
    ("presence", {"eventType": "USER_JOIN"}, "invalid_event", False),
    ("a number after a hole", {"clientSequence": 5}, "out_of_order", True),
]


async def close_of(client: FrameClient) -> tuple[int | None, int | None]:
    """The code in the error frame, and in the close."""
    code, _ = await client.closed()
    errors = [frame["code"] for frame in client.received if frame["type"] == "error"]
    return (errors[0] if errors else None), code


@pytest.mark.parametrize(("what", "message", "code"), BEFORE_WELCOME)
async def test_a_bad_beginning_ends_that_connection_only(what: str, message: str, code: int, autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        async with running.connect() as client:
            await client.socket.send_message(message)
            assert await close_of(client) == (code, code)
        assert (await bob.publish(1))["type"] == "accepted"


@pytest.mark.parametrize(("what", "message", "code"), AFTER_WELCOME)
async def test_a_bad_frame_later_ends_that_connection_only(what: str, message: str, code: int, autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        async with running.join("mallory") as client:
            await client.socket.send_message(message)
            assert await close_of(client) == (code, code)
        assert (await bob.publish(1))["type"] == "accepted"


@pytest.mark.parametrize(("what", "fields", "code", "retryable"), REJECTED)
async def test_a_bad_event_is_rejected_and_the_connection_stays(
    what: str, fields: dict[str, Any], code: str, retryable: bool, autojump_clock: MockClock
) -> None:
    async with running_server() as running, running.join("mallory") as client:
        number = fields.get("clientSequence", 1)
        answer = await client.publish(number, **fields)
        assert (answer["type"], answer["code"], answer.get("retryable", False)) == ("rejected", code, retryable)
        following = 1 if retryable else 2
        assert (await client.publish(following))["type"] == "accepted"


async def test_an_unknown_run_is_reported_with_a_reason_and_closed(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        async with running.connect(OTHER_RUN) as client:
            await client.socket.send_message(json.dumps(HELLO))
            assert await close_of(client) == (4404, 4404)
        for run_id in ("garbage", RUN + "0"):
            async with running.connect(run_id) as client:
                assert await close_of(client) == (4404, 4404)
        assert (await bob.publish(1))["type"] == "accepted"


async def test_without_the_subprotocol_the_version_is_wrong(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for subprotocols in ((), ("collab.v2.json",)):
            async with running.connect(subprotocols=subprotocols) as client:
                assert await close_of(client) == (4406, 4406)


async def test_a_bad_authorization_header_is_reported_at_once(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for value in ("Basic YTpi", "Bearer", "Bearer garbage"):
            async with running.connect(headers=[("Authorization", value)]) as client:
                assert await close_of(client) == (4401, 4401)


async def test_a_token_in_the_upgrade_needs_none_in_hello(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.connect(headers=[("Authorization", "Bearer dev:alice")]) as client:
        await client.send("hello", protocol=1, clientId="c")
        assert (await client.receive("welcome"))["activeUsers"] == ["alice"]


async def test_binary_messages_and_a_broken_frame_end_one_connection(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("bob") as bob:
        async with running.connect() as client:
            await client.socket.send_message(b"{}")
            assert (await client.closed())[0] == 4400
        stream = running.server.connect()
        await stream.send_all(request_bytes("GET", f"/ws/runs/{RUN}/collaboration", headers=UPGRADE_HEADERS))
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(client_frame(0x1, b"\xff\xfe"))
        assert (await read_close(stream))[0] == 4400
        assert (await bob.publish(1))["type"] == "accepted"


async def test_an_upgrade_at_another_address_is_refused_in_http(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        answer = await running.ask("GET", "/ws/elsewhere", token=None, headers=UPGRADE_HEADERS)
        assert (answer.status, answer.problem["code"]) == (404, 4404)


async def test_a_development_server_does_not_answer_to_a_name_of_the_internet(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        stream = running.server.connect()
        request = request_bytes("GET", f"/api/runs/{RUN}/collaboration/poll", token="dev:alice")
        await stream.send_all(request.replace(b"Host: 127.0.0.1", b"Host: evil.example:8765"))
        answer = await read_answer(stream)
        assert (answer.status, answer.problem["code"]) == (403, 4403)


async def test_an_upload_that_is_broken_off_is_the_clients(autojump_clock: MockClock) -> None:
    """It was logged with a traceback and counted as a fault of the server, which an alert is for."""
    async with running_server() as running:
        for body in (b"", b'{"clientId":'):
            stream = running.server.connect()
            head = f"POST /api/runs/{RUN}/collaboration/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
            await stream.send_all(f"{head}Authorization: Bearer dev:alice\r\n\r\n".encode() + body)
            await trio.testing.wait_all_tasks_blocked()
            stream.abort()
            await trio.testing.wait_all_tasks_blocked()
        await running.ask("POST", f"/api/runs/{RUN}/collaboration/publish", b"garbage")
        assert running.server.monitor.metrics.value(PROBLEMS) == 0
