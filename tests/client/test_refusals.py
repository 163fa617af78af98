"""Refused upgrades: by our server, with its problem document, or by an intermediary."""

import pytest
import trio

from reference.client.http import RETRY_AFTER_MS_MAX, HttpRefused, read_refusal
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.errors import CloseCode
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import Server, problem


@pytest.mark.parametrize(
    ("status", "code"), [(404, CloseCode.NO_SUCH_RUN), (403, CloseCode.FORBIDDEN), (400, CloseCode.VERSION), (413, 4413)]
)
async def test_a_final_refusal_of_our_server(join: Connect, server: Server, status: int, code: int) -> None:
    server.refuse = lambda target: problem(status, code, "there is no such run")
    async with join() as client:
        assert [outcome async for outcome in client] == [SessionEnded(code, "there is no such run")]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        problem(503, CloseCode.OVERLOADED, "later", retry_after_s=40),
        problem(429, CloseCode.RATE, "this user opens WebSockets too often", retry_after_s=40),
        (503, {"Retry-After": "40"}, b"<html>"),
    ],
    ids=["ours", "our 429", "a proxy's"],
)
async def test_a_wait_is_obeyed(join: Connect, server: Server, answer: tuple[int, dict[str, str], bytes]) -> None:
    server.refuse = lambda target: answer
    async with join() as client:
        await client.wait_until(ClientState.WAITING)
        server.refuse = lambda target: None
        await client.publish("CHAT", {})
        assert 40 <= trio.current_time() < 42


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 407, 426, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code":403,"message":"no"}', b'{"code":"4403","message":"no"}', b"\xff"])
async def test_a_proxys_refusal_leads_to_polling_not_to_an_end(join: Connect, server: Server, status: int, body: bytes) -> None:
    server.refuse = lambda target: (status, {}, body) if target.startswith("/ws/") else None
    async with join() as client:
        assert await client.publish("CHAT", {}) == 1
        assert client.state is ClientState.POLLING


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ([(b"retry-after", b"5")], b"", 5000),
        ([(b"Retry-After", b" 0 ")], b"", 0),
        ([(b"Retry-After", b"999999999")], b"", RETRY_AFTER_MS_MAX),
        ([(b"Retry-After", b"9" * 1000)], b"", None),
        ([(b"Retry-After", b"-5")], b"", None),
        ([(b"Retry-After", b"Wed, 21 Oct 2026 07:28:00 GMT")], b"", None),
        ([], b'{"code":4030,"message":"m","retryAfterMs":1500}', 1500),
        ([(b"Retry-After", b"2")], b'{"code":4030,"message":"m","retryAfterMs":1500}', 1500),
        ([], b'{"code":4030,"message":"m","retryAfterMs":-1500}', 0),
        ([], b"", None),
    ],
)
def test_how_long_to_wait(headers: list[tuple[bytes, bytes]], body: bytes, expected: int | None) -> None:
    assert read_refusal(503, headers, body).retry_after_ms == expected


def test_a_problem_with_a_code_that_is_not_ours() -> None:
    assert read_refusal(403, [], b'{"code":1008,"message":"m"}').code is None
    assert read_refusal(403, [], b"[" * 100_000).code is None
    assert read_refusal(404, [], b'{"code":4404,"message":"no such run"}') == HttpRefused(4404, "no such run", None)
