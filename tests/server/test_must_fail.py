"""Attempts that must fail: each over WebSocket and over HTTP where both exist, and other clients in the room are not
affected."""

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec
from trio.testing import MockClock

from reference.protocol import metrics
from reference.protocol.config import ServerConfig
from reference.server.wire.limits import DoorLimits

from .visitors import ORIGIN_NS, OTHER_RUN, RUN, House, Message, Visitor, open_house, request_bytes
from .wire.helpers import read_answer

SECRET = b"0123456789abcdef0123456789abcdef"
NOW_S = ORIGIN_NS // 10**9
POLL = f"/api/runs/{RUN}/collaboration/poll"
ADMIN = "/api/admin/websocket"


def token(sub: str = "mallory", secret: Any = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": sub, "exp": NOW_S + 600} | claims, secret, algorithm=algorithm)


@asynccontextmanager
async def a_guarded_house(**settings: Any) -> AsyncIterator[tuple[House, Visitor]]:
    """A server that wants signed tokens, and bob, who must not notice anything."""
    async with open_house(secret=SECRET, **settings) as house, house.visit() as bob:
        await bob.hello("bob", token=token("bob"))
        yield house, bob
        await bob.publish(1, "still here")
        assert [event["userId"] for event in await bob.events(1)] == ["bob"], "nobody else has said anything"


async def all_ways(house: House, text: str | None, *, run_id: str = RUN) -> set[tuple[str, int]]:
    """What a token gets to hear at the upgrade, in hello, and on each HTTP call: close codes, and statuses with codes."""
    heard: set[tuple[str, int]] = set()
    hello: Message = {"protocol": 1, "clientId": "mallory"} | ({} if text is None else {"token": text})
    async with house.visit(run_id) as visitor:
        await visitor.say("hello", **hello)
        heard.add(("close", (await visitor.closed())[0] or 0))
    if text is not None and text.isascii() and text:
        async with house.visit(run_id, headers=[("Authorization", f"Bearer {text}")]) as visitor:
            heard.add(("close", (await visitor.closed())[0] or 0))
    base = f"/api/runs/{run_id}/collaboration"
    publish = json.dumps({"clientId": "m", "messages": [{"clientSequence": 1, "eventType": "CHAT", "data": {}}]}).encode()
    for method, path, body in (
        ("GET", f"{base}/poll", b""),
        ("POST", f"{base}/publish", publish),
        ("GET", f"{base}/replay", b""),
        ("GET", f"{base}/events", b""),
        ("PUT", f"/api/runs/{run_id}", b""),
    ):
        answer = await house.ask(method, path, body, token=text or None)
        heard.add((str(answer.status), answer.problem["code"]))
    return heard


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
    async with a_guarded_house() as (house, _):
        assert await all_ways(house, text) == {("close", 4401), ("401", 4401)}
        for path in ("/connections", "/metrics", "/health"):
            assert (await house.ask("GET", ADMIN + path, token=text)).status == 401


async def test_a_token_for_another_run_opens_no_door(autojump_clock: MockClock) -> None:
    async with a_guarded_house(runs=(RUN, OTHER_RUN)) as (house, _):
        assert await all_ways(house, token(runs=[OTHER_RUN])) == {("close", 4403), ("403", 4403)}
        assert await all_ways(house, token(runs=[])) == {("close", 4403), ("403", 4403)}
        unknown = "99999999-9999-9999-9999-999999999999"
        assert await all_ways(house, token(runs=[RUN]), run_id=unknown) == {("close", 4403), ("403", 4403)}, (
            "nor does it tell whether a run exists"
        )


async def test_only_the_exact_role_counts(autojump_clock: MockClock) -> None:
    async with a_guarded_house() as (house, _):
        for role in ("member", None):
            claims = {} if role is None else {"role": role}
            for method, path in (("GET", "/connections"), ("GET", "/metrics"), ("GET", "/health"), ("POST", "/cleanup-stale")):
                assert (await house.ask(method, ADMIN + path, token=token(**claims))).status == 403
        for role in ("root", "Admin", ["admin"], {"admin": True}, True):
            assert (await house.ask("GET", f"{ADMIN}/health", token=token(role=role))).status == 403
            assert await all_ways(house, token(role=role)) == {("close", 4403), ("403", 4403)}


async def test_pages_of_other_origins_may_not_ask(autojump_clock: MockClock) -> None:
    async with a_guarded_house(allowed_origins=("https://app.example",)) as (house, _):
        good = token("alice")
        for origin in ("https://evil.example", "null", "https://app.example.evil.example", "http://app.example"):
            answer = await house.ask("GET", POLL, token=good, headers=f"Origin: {origin}\r\n")
            assert (answer.status, answer.problem["code"]) == (403, 4403)
            assert "access-control-allow-origin" not in answer.headers
            upgrade = (
                f"Origin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: collab.v1.json\r\n"
            )
            assert (await house.ask("GET", f"/ws/runs/{RUN}/collaboration", token=good, headers=upgrade)).status == 403
        assert (await house.ask("GET", POLL, token=good, headers="Origin: https://app.example\r\n")).status == 200


async def test_another_users_session_id_gives_nothing(autojump_clock: MockClock) -> None:
    async with a_guarded_house() as (house, bob):
        session_id = bob.heard[0]["sessionId"]
        async with house.visit() as mallory:
            welcome = await mallory.hello("m", token=token(), sessionId=session_id, generation=99)
            assert welcome["lastClientSequence"] == 0
            await mallory.say("bye")
            await mallory.closed()
        polled = await house.poll(f"clientId=m2&sessionId={session_id}&generation=99&afterSequence=0", token=token())
        assert polled["events"] == []
        record = house.server.monitor.sessions.find(RUN, "bob")
        assert record is not None
        assert (record.is_carried, record.user_id, record.session_id) == (True, "bob", session_id)


async def test_someone_elses_client_id_cannot_be_resumed(autojump_clock: MockClock) -> None:
    async with a_guarded_house() as (house, bob):
        position = {"epoch": bob.heard[0]["epoch"], "afterSequence": 0, "sessionId": bob.heard[0]["sessionId"]}
        async with house.visit() as mallory:
            await mallory.say("hello", protocol=1, clientId="bob", token=token(), generation=99, **position)
            assert (await mallory.closed())[0] == 4403
        answer = await house.ask("GET", f"{POLL}?clientId=bob&generation=99", token=token())
        assert (answer.status, answer.problem["code"]) == (403, 4403)
        body = b'{"clientId":"bob","generation":99,"messages":[{"clientSequence":1,"eventType":"CHAT","data":{}}]}'
        answer = await house.ask("POST", f"/api/runs/{RUN}/collaboration/publish", body, token=token())
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
    async with a_guarded_house(runs=(RUN, OTHER_RUN)) as (house, _):
        answer = await house.ask("GET", path, token=token(runs=[RUN]))
        assert answer.status in (400, 403, 404), answer
        assert answer.problem["code"] in (4400, 4403, 4404)


@pytest.mark.parametrize("path", [f"/ws/runs/{RUN}/../{OTHER_RUN}/collaboration", f"/ws/runs/{OTHER_RUN}%2f{RUN}/collaboration"])
async def test_nor_does_the_path_of_an_upgrade(path: str, autojump_clock: MockClock) -> None:
    async with a_guarded_house() as (house, _):
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: collab.v1.json\r\n"
        )
        assert (await house.ask("GET", path, token=token(), headers=upgrade)).status == 404


async def test_what_is_too_big_is_not_read(autojump_clock: MockClock) -> None:
    limits = DoorLimits(body_bytes_max=10_000, head_bytes_max=4_000)
    async with a_guarded_house(protocol=ServerConfig(frame_bytes_max=4096), door=limits) as (house, _):
        async with house.visit() as mallory:
            await mallory.hello("m", token=token())
            await mallory.say("publish", clientSequence=1, eventType="CHAT", data={"text": "x" * 5000})
            assert (await mallory.closed())[0] == 4413
        answer = await house.ask("POST", f"/api/runs/{RUN}/collaboration/publish", b"x" * 10_001, token=token())
        assert (answer.status, answer.problem["code"]) == (413, 4413)
        answer = await house.ask("GET", POLL, token=token(), headers=f"X: {'x' * 5000}\r\n")
        assert (answer.status, answer.problem["code"]) == (431, 4413)


async def test_a_flood_is_put_off_and_then_ends(autojump_clock: MockClock) -> None:
    config = ServerConfig(publishes_per_s=5, publish_burst=10, frames_per_s=20, frame_burst=40)
    async with a_guarded_house(protocol=config) as (house, _):
        async with house.visit() as mallory:
            await mallory.hello("m", token=token())
            for number in range(1, 51):
                await mallory.say("publish", clientSequence=number, eventType="NO_SUCH", data={})
            assert (await mallory.closed())[0] == 4029
            codes = {frame["code"] for frame in mallory.heard if frame["type"] == "rejected"}
            assert codes == {"unknown_event_type", "rate", "out_of_order"}
        assert house.server.monitor.metrics.value(metrics.LIMITS, limit="frame_rate") == 1


async def test_a_socket_that_never_reads_is_left(autojump_clock: MockClock) -> None:
    config = ServerConfig(slow_reader_timeout_s=5, silence_max_s=3600)
    async with open_house(secret=SECRET, protocol=config) as house, house.visit() as bob:
        await bob.hello("bob", token=token("bob"))
        async with house.visit(capacity_bytes=4096) as mallory:
            await mallory.say("hello", protocol=1, clientId="m", token=token())
            await trio.sleep(0.1)
            for number in range(1, 30):
                await bob.publish(number, "x" * 1000)
            assert house.server.monitor.metrics.value(metrics.LAGGING) == 1
            await trio.sleep(20)
            assert house.server.statistics().websockets == 1
            assert house.server.monitor.metrics.value(metrics.LIMITS, limit="slow_reader") == 1
        await bob.events(29)
        assert bob.numbers_heard() == list(range(1, 30))


async def drip(stream: trio.abc.SendStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        for number in range(1000):
            await stream.send_all(f"X-{number}: y\r\n".encode())
            await trio.sleep(0.5)


async def test_a_head_that_never_ends_is_cut_off(autojump_clock: MockClock) -> None:
    async with a_guarded_house(door=DoorLimits(head_timeout_s=5)) as (house, _):
        stream = house.server.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, stream)
            assert (await read_answer(stream)).status == 408
            nursery.cancel_scope.cancel()
        assert trio.current_time() < 6
        assert house.server.monitor.metrics.value(metrics.LIMITS, limit="head_time") == 1


async def test_the_user_is_the_tokens_whatever_else_is_said(autojump_clock: MockClock) -> None:
    async with (
        open_house(secret=SECRET) as house,
        house.visit(headers=[("X-User-Id", "root"), ("X-Forwarded-User", "root")]) as mallory,
    ):
        await mallory.hello("m", token=token(), userId="root", user="root")
        await mallory.say("publish", clientSequence=1, eventType="CHAT", data={"userId": "root"}, userId="root")
        (event,) = await mallory.events(1)
        assert event["userId"] == "mallory"
        stream = house.server.connect()
        await stream.send_all(request_bytes("GET", f"{POLL}?token={token('root')}", headers="Cookie: token=x\r\n"))
        assert (await read_answer(stream)).status == 401, "a token in an address is none"
        await stream.aclose()
