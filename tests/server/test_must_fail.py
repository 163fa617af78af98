"""Attempts that must fail: each over WebSocket and over HTTP where both exist, and other clients in the room are not
affected."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from trio.testing import MockClock

from reference.protocol import metrics
from reference.protocol.config import ServerConfig

from .running_server import (
    ORIGIN_NS,
    OTHER_RUN,
    RUN,
    UPGRADE_HEADERS,
    FrameClient,
    Message,
    RunningServer,
    request_bytes,
    running_server,
)
from .wire.helpers import read_answer

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = ORIGIN_NS // 10**9
POLL = f"/api/runs/{RUN}/collaboration/poll"
ADMIN = "/api/admin/websocket"


def token(sub: str = "mallory", secret: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": sub, "exp": NOW_S + 600} | claims, secret, algorithm=algorithm)


@asynccontextmanager
async def a_guarded_server(**settings: Any) -> AsyncIterator[tuple[RunningServer, FrameClient]]:
    """A server that wants signed tokens, and bob, who must not notice anything."""
    async with running_server(secret=SECRET, **settings) as running, running.connect() as bob:
        await bob.hello("bob", token=token("bob"))
        yield running, bob
        await bob.publish(1, "still here")
        assert [event["userId"] for event in await bob.events(1)] == ["bob"], "nobody else has said anything"


async def all_ways(running: RunningServer, text: str | None, *, run_id: str = RUN) -> set[tuple[str, int]]:
    """What a token gets to hear at the upgrade, in hello, and on each HTTP call: close codes, and statuses with codes."""
    received: set[tuple[str, int]] = set()
    hello: Message = {"protocol": 1, "clientId": "mallory"} | ({} if text is None else {"token": text})
    async with running.connect(run_id) as client:
        await client.send("hello", **hello)
        received.add(("close", (await client.closed())[0] or 0))
    if text is not None and text.isascii() and text:
        async with running.connect(run_id, headers=[("Authorization", f"Bearer {text}")]) as client:
            received.add(("close", (await client.closed())[0] or 0))
    base = f"/api/runs/{run_id}/collaboration"
    publish = json.dumps({"clientId": "m", "messages": [{"clientSequence": 1, "eventType": "CHAT", "data": {}}]}).encode()
    for method, path, body in (
        ("GET", f"{base}/poll", b""),
        ("POST", f"{base}/publish", publish),
        ("GET", f"{base}/replay", b""),
        ("GET", f"{base}/events", b""),
        ("PUT", f"/api/runs/{run_id}", b""),
    ):
        answer = await running.ask(method, path, body, token=text or None)
        received.add((str(answer.status), answer.problem["code"]))
    return received


UNSIGNED = jwt.encode({"sub": "mallory", "exp": NOW_S + 600}, key="", algorithm="none")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="no token"),
        pytest.param("garbage", id="garbage"),
        pytest.param("dev:mallory", id="a development token"),
        pytest.param(token(secret=b"another secret, just as long as it"), id="forged with another secret"),
        pytest.param(UNSIGNED, id="unsigned"),
        pytest.param(token(secret=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"), id="another algorithm"),
        pytest.param(token()[:-4] + "AAAA", id="a signature that was changed"),
        pytest.param(token(exp=NOW_S - 1), id="expired"),
        pytest.param(token(nbf=NOW_S + 60), id="not valid yet"),
    ],
)
async def test_without_a_good_token_there_is_no_way_in(text: str | None, autojump_clock: MockClock) -> None:
    async with a_guarded_server() as (running, _):
        assert await all_ways(running, text) == {("close", 4401), ("401", 4401)}
        for path in ("/connections", "/metrics", "/health"):
            assert (await running.ask("GET", ADMIN + path, token=text)).status == 401


async def test_a_token_for_another_run_opens_no_door(autojump_clock: MockClock) -> None:
    async with a_guarded_server(runs=(RUN, OTHER_RUN)) as (running, _):
        assert await all_ways(running, token(runs=[OTHER_RUN])) == {("close", 4403), ("403", 4403)}
        assert await all_ways(running, token(runs=[])) == {("close", 4403), ("403", 4403)}
        unknown = "99999999-9999-9999-9999-999999999999"
        assert await all_ways(running, token(runs=[RUN]), run_id=unknown) == {("close", 4403), ("403", 4403)}, (
            "nor does it tell whether a run exists"
        )


async def test_only_the_exact_role_counts(autojump_clock: MockClock) -> None:
    async with a_guarded_server() as (running, _):
        for role in ("member", None):
            claims = {} if role is None else {"role": role}
            for method, path in (("GET", "/connections"), ("GET", "/metrics"), ("GET", "/health"), ("POST", "/cleanup-stale")):
                assert (await running.ask(method, ADMIN + path, token=token(**claims))).status == 403
        for role in ("root", "Admin", ["admin"], {"admin": True}, True):
            assert (await running.ask("GET", f"{ADMIN}/health", token=token(role=role))).status == 403
            assert await all_ways(running, token(role=role)) == {("close", 4403), ("403", 4403)}


async def test_pages_of_other_origins_may_not_ask(autojump_clock: MockClock) -> None:
    async with a_guarded_server(allowed_origins=("https://app.example",)) as (running, _):
        good = token("alice")
        for origin in ("https://evil.example", "null", "https://app.example.evil.example", "http://app.example"):
            answer = await running.ask("GET", POLL, token=good, headers=f"Origin: {origin}\r\n")
            assert (answer.status, answer.problem["code"]) == (403, 4403)
            assert "access-control-allow-origin" not in answer.headers
            upgrade = f"Origin: {origin}\r\n{UPGRADE_HEADERS}"
            answer = await running.ask("GET", f"/ws/runs/{RUN}/collaboration", token=good, headers=upgrade)
            assert (answer.status, answer.problem["code"]) == (403, 4403)
        assert (await running.ask("GET", POLL, token=good, headers="Origin: https://app.example\r\n")).status == 200


async def test_another_users_session_id_gives_nothing(autojump_clock: MockClock) -> None:
    async with a_guarded_server() as (running, bob):
        session_id = bob.received[0]["sessionId"]
        async with running.connect() as mallory:
            welcome = await mallory.hello("m", token=token(), sessionId=session_id, generation=99)
            assert welcome["lastClientSequence"] == 0
            await mallory.send("bye")
            await mallory.closed()
        polled = await running.poll(f"clientId=m2&sessionId={session_id}&generation=99&afterSequence=0", token=token())
        assert polled["events"] == []
        record = running.server.monitor.sessions.find(RUN, "bob")
        assert record is not None
        assert (record.is_carried, record.user_id, record.session_id) == (True, "bob", session_id)


async def test_someone_elses_client_id_cannot_be_resumed(autojump_clock: MockClock) -> None:
    async with a_guarded_server() as (running, bob):
        position = {"epoch": bob.received[0]["epoch"], "afterSequence": 0, "sessionId": bob.received[0]["sessionId"]}
        async with running.connect() as mallory:
            await mallory.send("hello", protocol=1, clientId="bob", token=token(), generation=99, **position)
            assert (await mallory.closed())[0] == 4403
        answer = await running.ask("GET", f"{POLL}?clientId=bob&generation=99", token=token())
        assert (answer.status, answer.problem["code"]) == (403, 4403)
        body = b'{"clientId":"bob","generation":99,"messages":[{"clientSequence":1,"eventType":"CHAT","data":{}}]}'
        answer = await running.ask("POST", f"/api/runs/{RUN}/collaboration/publish", body, token=token())
        assert (answer.status, answer.problem["code"]) == (403, 4403)


@pytest.mark.parametrize(
    "path",
    [
        f"/api/runs/../admin/websocket/health?{RUN}",
        "/api/admin/websocket/../websocket/health",
        "/api/admin/websocket/%2e%2e/websocket/health",
        "/api//admin/websocket/health",
        "//api/admin/websocket/health",
        "/API/ADMIN/WEBSOCKET/HEALTH",
        "/api/admin/websocket/health/",
        "/api/admin%2fwebsocket/health",
        "/api/runs/%00/collaboration/poll",
        f"/api/runs/{RUN}%2f..%2f{OTHER_RUN}/collaboration/poll",
        f"/api/runs/{RUN}/../{OTHER_RUN}/collaboration/poll",
        f"/api/runs/{OTHER_RUN}#{RUN}/collaboration/poll",
        "/api/runs/*/collaboration/poll",
        "/api/runs/' OR 1=1 --/collaboration/poll".replace(" ", "%20"),
        "/../../etc/passwd",
        "/docs/../../etc/passwd",
    ],
)
async def test_a_path_leads_where_it_says_or_nowhere(path: str, autojump_clock: MockClock) -> None:
    async with a_guarded_server(runs=(RUN, OTHER_RUN)) as (running, _):
        answer = await running.ask("GET", path, token=token(runs=[RUN]))
        assert answer.status in (400, 403, 404), answer
        assert answer.problem["code"] in (4400, 4403, 4404)


@pytest.mark.parametrize("path", [f"/ws/runs/{RUN}/../{OTHER_RUN}/collaboration", f"/ws/runs/{OTHER_RUN}%2f{RUN}/collaboration"])
async def test_nor_does_the_path_of_an_upgrade(path: str, autojump_clock: MockClock) -> None:
    async with a_guarded_server() as (running, _):
        assert (await running.ask("GET", path, token=token(), headers=UPGRADE_HEADERS)).status == 404


async def test_a_flood_is_put_off_and_then_ends(autojump_clock: MockClock) -> None:
    config = ServerConfig(publishes_per_s=5, publish_burst=10, frames_per_s=20, frame_burst=40)
    async with a_guarded_server(protocol=config) as (running, _):
        async with running.connect() as mallory:
            await mallory.hello("m", token=token())
            for number in range(1, 51):
                await mallory.send("publish", clientSequence=number, eventType="NO_SUCH", data={})
            assert (await mallory.closed())[0] == 4029
            codes = {frame["code"] for frame in mallory.received if frame["type"] == "rejected"}
            assert codes == {"unknown_event_type", "rate", "out_of_order"}
        assert running.server.monitor.metrics.value(metrics.LIMITS, limit="frame_rate") == 1


async def test_the_user_is_the_tokens_whatever_else_is_said(autojump_clock: MockClock) -> None:
    async with (
        running_server(secret=SECRET) as running,
        running.connect(headers=[("X-User-Id", "root"), ("X-Forwarded-User", "root")]) as mallory,
    ):
        await mallory.hello("m", token=token(), userId="root", user="root")
        await mallory.send("publish", clientSequence=1, eventType="CHAT", data={"userId": "root"}, userId="root")
        (event,) = await mallory.events(1)
        assert event["userId"] == "mallory"
        stream = running.server.connect()
        await stream.send_all(request_bytes("GET", f"{POLL}?token={token('root')}", headers="Cookie: token=x\r\n"))
        assert (await read_answer(stream)).status == 401, "a token in an address is none"
        await stream.aclose()
