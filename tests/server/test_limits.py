"""At each limit: the protocol's code, Retry-After over HTTP, a count, and no effect on other clients.

The limits in a welcome are tested in `test_reported_limits`, one by one; a flood in `test_must_fail`.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from reference.protocol import metrics
from reference.protocol.config import ServerConfig
from reference.protocol.limits import Limit
from reference.server.settings import ServerSettings
from reference.server.wire.limits import DoorLimits

from .running_server import OTHER_RUN, RUN, UPGRADE_HEADERS, FrameClient, Message, RunningServer, running_server
from .test_store_failures import MoodyStore

POLL = f"/api/runs/{RUN}/collaboration/poll"
PUBLISH = f"/api/runs/{RUN}/collaboration/publish"


@asynccontextmanager
async def a_server(**settings: Any) -> AsyncIterator[tuple[RunningServer, FrameClient]]:
    """A server, and bob, who must not notice anything."""
    async with running_server(**settings) as running, running.join("bob") as bob:
        yield running, bob
        await bob.send("ping", nonce=99)
        assert (await bob.receive("pong"))["nonce"] == 99
        assert (await bob.publish(1))["type"] == "accepted"


def reached(running: RunningServer, limit: Limit) -> float:
    return running.server.monitor.metrics.value(metrics.LIMITS, limit=limit.value)


async def refused(
    running: RunningServer, method: str, path: str, body: bytes = b"", *, token: str = "dev:alice"
) -> tuple[int, int, int]:
    """Status, code, and the seconds of Retry-After."""
    answer = await running.ask(method, path, body, token=token)
    return answer.status, answer.problem["code"], int(answer.headers["retry-after"])


async def test_connections_of_one_user(autojump_clock: MockClock) -> None:
    async with a_server(connections_per_user_max=2, runs=(RUN, OTHER_RUN)) as (running, _):
        async with AsyncExitStack() as stack:
            for index, run_id in enumerate((RUN, OTHER_RUN)):
                alice = await stack.enter_async_context(running.connect(run_id))
                await alice.hello(f"a{index}", token="dev:alice")
            for headers in ([], [("Authorization", "Bearer dev:alice")]):
                third = await stack.enter_async_context(running.connect(headers=headers))
                with contextlib.suppress(trio_websocket.ConnectionClosed):  # with a token in the upgrade hello is not waited for
                    await third.send("hello", protocol=1, clientId="a3", token="dev:alice")
                assert (await third.closed())[0] == 4030
            assert reached(running, Limit.USER_CONNECTIONS) == 2
        async with running.connect() as again:
            await again.hello("a1", token="dev:alice", generation=9)


async def test_a_refreshed_token_is_no_second_connection(autojump_clock: MockClock) -> None:
    async with a_server(connections_per_user_max=1) as (running, _), running.join("alice") as alice:
        for _ in range(3):
            await alice.send("auth", token="dev:alice")
        await alice.send("ping", nonce=1)
        await alice.receive("pong")


async def test_connections_and_sessions_of_a_run(autojump_clock: MockClock) -> None:
    for setting, limit in (("connections_per_run_max", Limit.RUN_CONNECTIONS), ("sessions_per_run_max", Limit.RUN_SESSIONS)):
        async with a_server(protocol=ServerConfig(**{setting: 1})) as (running, _):
            async with running.connect() as alice:
                with contextlib.suppress(trio_websocket.ConnectionClosed):  # a full run does not wait for hello
                    await alice.send("hello", protocol=1, clientId="a", token="dev:alice")
                assert (await alice.closed())[0] == 4030
            assert (await refused(running, "GET", f"{POLL}?clientId=a"))[:2] == (503, 4030)
            assert reached(running, limit) == 2


async def test_runs_that_one_user_makes(autojump_clock: MockClock) -> None:
    async with a_server(runs_per_user_per_minute_max=3) as (running, _):
        statuses = [(await running.ask("PUT", f"/api/runs/{n:08}-0000-0000-0000-000000000000")).status for n in range(3)]
        assert statuses == [201, 201, 201]
        again = "/api/runs/00000009-0000-0000-0000-000000000000"
        status, code, wait_s = await refused(running, "PUT", again)
        assert (status, code) == (429, 4029)
        assert (await running.ask("PUT", again, token="dev:carol")).status == 201, "another user has a rate of their own"
        assert reached(running, Limit.RUN_CREATIONS) == 1
        await trio.sleep(wait_s)
        assert (await running.ask("PUT", again)).status == 200


async def test_requests_of_one_user(autojump_clock: MockClock) -> None:
    async with a_server(requests_per_user_per_s_max=5) as (running, _):
        statuses = [(await running.ask("GET", POLL)).status for _ in range(10)]
        assert statuses == [200] * 10
        assert await refused(running, "GET", POLL) == (429, 4029, 1)
        assert (await running.ask("GET", POLL, token="dev:carol")).status == 200
        assert reached(running, Limit.REQUEST_RATE) == 1
        await trio.sleep(1)
        assert (await running.ask("GET", POLL)).status == 200


async def test_websockets_that_one_user_opens(autojump_clock: MockClock) -> None:
    """Whether the token comes with the upgrade or in hello, as from a browser, which is not shown the answer to an upgrade."""
    token = [("Authorization", "Bearer dev:alice")]
    hello = {"protocol": 1, "token": "dev:alice"}
    async with a_server(upgrades_per_user_per_s_max=2) as (running, _):
        for number in range(4):
            async with running.connect(headers=token if number % 2 else []) as client:
                await client.hello("alice", generation=number + 1)
        answer = await running.ask("GET", f"/ws/runs/{RUN}/collaboration", headers=UPGRADE_HEADERS)
        assert (answer.status, answer.problem["code"], answer.headers["retry-after"]) == (429, 4029, "1")
        async with running.connect() as page:
            await page.send("hello", clientId="alice", generation=9, **hello)
            goaway = await page.receive("goaway")
            assert (goaway["code"], goaway["retryAfterMs"], goaway["spreadMs"]) == (4029, 1000, 5000)
            assert (await page.closed())[0] == 4029
        assert reached(running, Limit.UPGRADE_RATE) == 2
        async with running.join("carol"):
            pass
        await trio.sleep(1)
        async with running.connect(headers=token) as client:
            await client.hello("alice", generation=10)


async def test_publishes_per_second(autojump_clock: MockClock) -> None:
    async with (
        a_server(protocol=ServerConfig(publishes_per_s=2, publish_burst=4)) as (running, _),
        running.join("alice") as alice,
    ):
        answers = [await alice.publish(number) for number in range(1, 7)]
        assert [answer["type"] for answer in answers] == ["accepted"] * 4 + ["rejected"] * 2
        assert (answers[4]["code"], answers[4]["retryAfterMs"]) == ("rate", 500)
        await trio.sleep(0.5)
        assert (await alice.publish(5))["type"] == "accepted"
        assert reached(running, Limit.PUBLISH_RATE) == 1


async def test_unanswered_publishes_and_events_that_wait_for_the_store(autojump_clock: MockClock) -> None:
    config = ServerConfig(unanswered_max=4, appends_pending_max=6)
    store = MoodyStore()
    async with a_server(protocol=config, store=store) as (running, _):
        store.may_append = trio.Event()
        async with running.join("alice") as alice, running.join("carol") as carol:
            for number in range(1, 6):
                await alice.send("publish", clientSequence=number, eventType="CHAT", data={})
            assert (await alice.receive("rejected"))["code"] == "too_many_unanswered"
            for number in range(1, 4):
                await carol.send("publish", clientSequence=number, eventType="CHAT", data={})
            rejected = await carol.receive("rejected")
            assert (rejected["code"], rejected["clientSequence"], rejected["retryAfterMs"]) == ("overloaded", 3, 1000)
            store.may_append.set()
            await carol.events(6)
        assert (reached(running, Limit.UNANSWERED), reached(running, Limit.APPENDS_PENDING)) == (1, 1)


async def test_clients_and_state_of_a_run(autojump_clock: MockClock) -> None:
    config = ServerConfig(clients_per_user_max=1, state_entries_max=2)
    async with a_server(protocol=config) as (running, _), running.join("alice") as alice:
        for number, step in enumerate("ab", 1):
            assert (await alice.publish(number, eventType="PRUNE", data={"step": step}))["type"] == "accepted"
        full = await alice.publish(3, eventType="PRUNE", data={"step": "c"})
        assert (full["code"], full.get("retryable", False)) == ("state_full", False)
        answer = await running.post([{"clientSequence": 1, "eventType": "CHAT", "data": {}}], client_id="alice-2")
        assert answer["results"][0]["code"] == "too_many_clients"
        assert (reached(running, Limit.STATE), reached(running, Limit.CLIENTS)) == (1, 1)


async def test_heads(autojump_clock: MockClock) -> None:
    async with a_server(door=DoorLimits(head_bytes_max=2000)) as (running, _):
        answer = await running.ask("GET", POLL, headers=f"X: {'x' * 3000}\r\n")
        assert (answer.status, answer.problem["code"]) == (431, 4413)
        assert reached(running, Limit.HEAD_BYTES) == 1


async def test_an_answer_that_takes_too_long(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with a_server(store=store, door=DoorLimits(request_timeout_s=3)) as (running, _):
        store.may_append = trio.Event()
        message: Message = {"clientSequence": 1, "eventType": "CHAT", "data": {}}
        body = json.dumps({"clientId": "a", "messages": [message]}).encode()
        assert await refused(running, "POST", PUBLISH, body) == (503, 4030, 5)
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert reached(running, Limit.REQUEST_TIME) == 1
        store.may_append.set()


def test_a_server_that_stops_spreads_its_clients_by_the_rate_at_which_they_can_be_taken() -> None:
    settings = ServerSettings(go_away_spread_s=5, accepts_per_s=100)
    assert [settings.go_away_spread_for(clients) for clients in (0, 1, 500, 2000, 10**9)] == [5, 5, 5, 20, 86_400]
