"""Unauthenticated clients: they cause no work on a run, learn nothing about it, and cannot fill the server."""

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.records import StoredRun
from reference.server.wire.limits import DoorLimits
from reference.store import MemoryStore

from .running_server import OTHER_RUN, RUN, UPGRADE_HEADERS, Message, RunningServer, running_server
from .wire.helpers import read_answer

SECRET = b"k" * 40


class CountingStore(MemoryStore):
    loads = 0

    async def load_run(self, run_id: str) -> StoredRun | None:
        self.loads += 1
        return await super().load_run(run_id)


async def received_unauthenticated(running: RunningServer, run_id: str, said: dict[str, Any] | None) -> tuple[list[Message], Any]:
    async with running.connect(run_id) as client:
        if said is not None:
            await client.send(**said)
        closed = await client.closed()
        return client.received, closed


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"kind": "ping", "nonce": 1},
        {"kind": "hello", "protocol": 1, "clientId": "x"},
        {"kind": "hello", "protocol": 2, "clientId": "x"},
        {"kind": "hello", "protocol": 1, "clientId": "x", "token": "guessed"},
        {"kind": "hello", "protocol": 1},
        {"kind": "garbage"},
    ],
    ids=str,
)
async def test_an_unauthenticated_client_learns_nothing_of_a_run_and_loads_none(
    said: dict[str, Any] | None, autojump_clock: MockClock
) -> None:
    """The answer revealed whether a run exists, and each upgrade read the database."""
    store = CountingStore()
    async with running_server(store=store, secret=SECRET) as running:
        there = await received_unauthenticated(running, RUN, said)
        assert there == await received_unauthenticated(running, OTHER_RUN, said)
        assert there[1][0] in (4003, 4400, 4401, 4406)
        assert store.loads == 0
        assert running.server.statistics().runs_loaded == 0


@pytest.mark.parametrize("path", ["poll", "replay", "events"])
async def test_an_unauthenticated_request_learns_nothing_of_a_run(path: str, autojump_clock: MockClock) -> None:
    store = CountingStore()
    async with running_server(store=store, secret=SECRET) as running:
        answers = [
            await running.ask("GET", f"/api/runs/{run_id}/collaboration/{path}", token="guessed") for run_id in (RUN, OTHER_RUN)
        ]
        assert [answer.status for answer in answers] == [401, 401]
        assert answers[0].body == answers[1].body
        assert store.loads == 0


async def test_unauthenticated_clients_beyond_the_limit_are_asked_to_come_back(autojump_clock: MockClock) -> None:
    async with running_server(unauthenticated_max=2) as running, running.join("alice") as alice:
        async with running.connect(), running.connect():
            async with running.connect() as third:
                assert (await third.closed())[0] == 4030
            goaway = third.received[-1]
            assert (goaway["type"], goaway["code"]) == ("goaway", 4030)
            assert goaway["retryAfterMs"] > 0
            assert (await alice.publish(1))["sequenceNumber"] == 1
        async with running.join("bob"):
            pass


async def test_an_unauthenticated_client_is_sent_away_when_the_server_stops(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.connect() as waiting:
        await trio.testing.wait_all_tasks_blocked()
        began_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server.stop)
            assert (await waiting.closed())[0] == 4001
        assert waiting.received[-1]["type"] == "goaway"
        assert trio.current_time() - began_at < 1


async def test_health_is_answered_while_the_door_is_full(autojump_clock: MockClock) -> None:
    async with running_server(door=DoorLimits(connections_max=1)) as running, running.join("alice"):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await running.ask("GET", path, token=None)).status == 200
        refused = await running.ask("GET", f"/api/runs/{RUN}/collaboration/poll")
        assert (refused.status, refused.problem["code"]) == (503, 4030)
        upgrade = await running.ask("GET", "/healthz", token=None, headers=UPGRADE_HEADERS)
        assert upgrade.status == 503
        silent = running.server.connect()
        assert (await read_answer(silent)).status == 503


async def test_large_answers_count_as_several_requests(autojump_clock: MockClock) -> None:
    """500 replays of 4 MiB in a second were allowed: a user could keep several processors busy."""
    async with running_server(requests_per_user_per_s_max=50) as running, running.join("bob") as bob:
        for number in range(1, 61):
            await bob.publish(number, "x" * 60_000)
        path = f"/api/runs/{RUN}/collaboration/replay?fromSequence=1"
        statuses = [(await running.ask("GET", path)).status for _ in range(3)]
        assert statuses == [200, 429, 429]
        assert (await running.ask("GET", path, token="dev:carol")).status == 200
        await trio.sleep(10)
        assert (await running.ask("GET", path)).status == 200


@pytest.mark.parametrize(("path", "at_most"), [("replay?fromSequence=1", 1), ("poll?start=oldest", 4)])
async def test_large_answers_that_are_asked_for_at_once_count_too(path: str, at_most: int, autojump_clock: MockClock) -> None:
    """All of them had been admitted before the first was counted."""
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await running.ask("GET", f"/api/runs/{RUN}/collaboration/{path}")).status)

    async with running_server(requests_per_user_per_s_max=50) as running, running.join("bob") as bob:
        for number in range(1, 61):
            await bob.publish(number, "x" * 60_000)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert set(statuses) == {200, 429}
        assert statuses.count(200) <= at_most


async def test_large_publishes_count_as_several_requests(autojump_clock: MockClock) -> None:
    """To judge 1 MiB of events takes as long as fifteen large events over WebSocket; 500 in a second were allowed."""
    async with running_server(requests_per_user_per_s_max=50) as running:
        messages = [{"clientSequence": n, "eventType": "NO_SUCH", "data": {"text": "x" * 60_000}} for n in range(1, 16)]
        body = json.dumps({"clientId": "alice", "messages": messages}).encode()
        path = f"/api/runs/{RUN}/collaboration/publish"
        assert [(await running.ask("POST", path, body)).status for _ in range(3)] == [200, 429, 429]
        assert (await running.ask("POST", path, body, token="dev:bob")).status == 403
        await trio.sleep(10)
        assert (await running.ask("POST", path, body)).status == 200


async def test_a_large_body_that_is_refused_counts_as_several_requests_too(autojump_clock: MockClock) -> None:
    """It is decoded to its end before the mistake is found; 500 in a second were allowed."""
    async with running_server(requests_per_user_per_s_max=50) as running:
        messages = [{"clientSequence": n, "eventType": "CHAT", "data": {"text": "x" * 60_000}} for n in range(1, 16)]
        body = json.dumps({"messages": messages, "clientId": 7}).encode()
        path = f"/api/runs/{RUN}/collaboration/publish"
        assert [(await running.ask("POST", path, body)).status for _ in range(3)] == [400, 429, 429]
