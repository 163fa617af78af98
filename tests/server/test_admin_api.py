"""The admin API: the connected clients, the health of each session and of the server; and who may read it."""

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig

from .running_server import OTHER_RUN, RUN, RunningServer, running_server
from .test_store_failures import MoodyStore

BASE = "/api/admin/websocket"
ADMIN = "dev-admin:root"


async def look(running: RunningServer, path: str, status: int = 200, *, method: str = "GET") -> Any:
    answer = await running.ask(method, BASE + path, token=ADMIN)
    assert answer.status == status, answer
    return json.loads(answer.body)


async def test_only_admins_may_look(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for method, path in (
            ("GET", "/connections"),
            ("GET", f"/connections/{RUN}"),
            ("GET", "/metrics"),
            ("GET", "/metrics/some-session"),
            ("GET", "/health"),
            ("POST", "/cleanup-stale"),
        ):
            assert (await running.ask(method, BASE + path, token="dev:alice")).status == 403
            assert (await running.ask(method, BASE + path, token=None)).status == 401
            foreign = await running.ask(method, BASE + path, token=ADMIN, headers="Origin: https://evil.example\r\n")
            assert foreign.status == 403


async def test_connections_are_those_that_stand(autojump_clock: MockClock) -> None:
    async with running_server(runs=(RUN, OTHER_RUN)) as running:
        async with running.join("alice"), running.join("bob"), running.join("carol", OTHER_RUN):
            await running.poll("clientId=dave&afterSequence=0", token="dev:dave")
            seen = await look(running, "/connections")
            assert (seen["totalConnections"], seen["totalPolling"], seen["hasMore"]) == (3, 1, False)
            assert seen["connectionsPerRun"] == {RUN: 2, OTHER_RUN: 1}
            assert {(one["userId"], one["transport"], one["status"]) for one in seen["connections"]} == {
                ("alice", "websocket", "Connected"),
                ("bob", "websocket", "Connected"),
                ("carol", "websocket", "Connected"),
                ("dave", "polling", "HTTP Polling"),
            }
            of_run = await look(running, f"/connections/{RUN.upper()}")
            assert (of_run["runId"], of_run["totalConnections"], of_run["totalPolling"]) == (RUN, 2, 1)
            assert of_run["activeUsers"] == ["alice", "bob", "dave"]
            assert [one["lagEvents"] for one in of_run["connections"]] == [0, 0, None]
        await trio.sleep(0.1)
        seen = await look(running, "/connections")
        assert (seen["totalConnections"], seen["connectionsPerRun"]) == (0, {}), "a dropped session is no connection"
        await trio.sleep(60)
        assert (await look(running, "/connections"))["totalPolling"] == 0, "nor is one that stopped polling"


async def test_a_run_without_clients(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        seen = await look(running, f"/connections/{OTHER_RUN}")
        assert (seen["totalConnections"], seen["connections"], seen["head"]) == (0, [], None)
        await look(running, "/connections/not-a-run", 404)


async def test_pages(autojump_clock: MockClock) -> None:
    async with running_server() as running, trio.open_nursery() as nursery:
        for index in range(7):
            nursery.start_soon(_stay, running, f"user-{index}")
        await trio.sleep(1)
        users = []
        for offset in range(0, 9, 3):
            page = await look(running, f"/connections?limit=3&offset={offset}")
            assert page["totalConnections"] == 7
            assert page["hasMore"] is (offset < 6)
            users += [one["userId"] for one in page["connections"]]
        assert sorted(users) == [f"user-{index}" for index in range(7)]
        for query in ("limit=0", "limit=1001", "offset=-1", "limit=x", "limit=1&limit=2"):
            assert "parameter" in (await look(running, f"/connections?{query}", 400))["message"]
        nursery.cancel_scope.cancel()


async def _stay(running: RunningServer, name: str) -> None:
    async with running.join(name) as guest:
        await guest.closed()


async def test_the_figures_of_one_session(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice") as alice:
        session_id = alice.received[0]["sessionId"]
        for number in range(1, 4):
            await alice.publish(number)
        await alice.publish(4, eventType="NO_SUCH")
        for nonce, trip in enumerate((10, 20, 30, 40)):
            await trio.sleep(1)
            await alice.send("ping", nonce=nonce, roundTripMs=trip)
            await alice.receive("pong")
        seen = await look(running, f"/metrics/{session_id}")
        assert (seen["publishesAccepted"], seen["messageFailures"], seen["deliveryRate"]) == (3, 1, 0.75)
        assert seen["roundTrip"] == {"samples": 4, "meanMs": 25, "p50Ms": 25, "p95Ms": 38.5, "p99Ms": pytest.approx(39.7)}
        assert (seen["roundTripMaxMs"], seen["quality"], seen["qualityScore"]) == (40, "HEALTHY", 92.5)
        assert seen["messagesReceived"] == 9  # hello, 4 publishes, 4 pings
        assert seen["messagesSent"] == len(alice.received)
        assert seen["lastActivityAt"] - seen["joinedAt"] == 4000
        assert (seen["isConnected"], seen["closeCode"], seen["disconnectedAt"]) == (True, None, None)
        assert (await look(running, "/metrics/unknown", 404))["code"] == 4404


async def test_who_is_gone_is_shown_until_it_expires(autojump_clock: MockClock) -> None:
    async with running_server(session_age_max_s=600) as running, running.join("bob"):
        async with running.join("alice") as alice:
            await alice.send("bye")
            await alice.closed()
        seen = await look(running, "/metrics?userId=alice")
        assert seen["totalSessions"] == 1
        gone = seen["sessions"][0]
        assert (gone["isConnected"], gone["status"], gone["closeCode"]) == (False, "Disconnected", 1000)
        assert (await look(running, "/metrics?connectedOnly=true"))["totalSessions"] == 1
        assert (await look(running, f"/metrics?runId={OTHER_RUN}"))["totalSessions"] == 0
        assert (await look(running, f"/metrics?runId={RUN}"))["totalSessions"] == 2
        await trio.sleep(599)
        assert (await look(running, "/metrics?userId=alice"))["totalSessions"] == 1
        await trio.sleep(2)
        assert (await look(running, "/metrics?userId=alice"))["totalSessions"] == 0
        assert (await look(running, "/health"))["sessionsRemembered"] == 1, "bob was silent and is gone, but not for long"


async def test_cleaning_up_forgets_disconnected_clients_and_no_others(autojump_clock: MockClock) -> None:
    config = ServerConfig(silence_max_s=86_400)
    async with running_server(protocol=config) as running, running.join("bob"):
        async with running.join("alice") as alice:
            await alice.send("bye")
            await alice.closed()
        await trio.sleep(100)
        assert await look(running, "/cleanup-stale?maxAgeMs=100001", method="POST") == {"removed": 0, "remaining": 2}
        assert await look(running, "/cleanup-stale?maxAgeMs=99000", method="POST") == {"removed": 1, "remaining": 1}
        assert await look(running, "/cleanup-stale?maxAgeMs=0", method="POST") == {"removed": 0, "remaining": 1}
        await look(running, "/cleanup-stale?maxAgeMs=-1", 400, method="POST")


async def test_a_session_id_used_by_two_clients_is_distinguished(autojump_clock: MockClock) -> None:
    async with running_server() as running, running.join("alice", sessionId="s-1"), running.join("mallory", sessionId="s-1"):
        assert "2 sessions" in (await look(running, "/metrics/s-1", 409))["message"]
        assert (await look(running, f"/metrics/s-1?runId={RUN}&clientId=alice"))["userId"] == "alice"


async def test_health(autojump_clock: MockClock) -> None:
    store = MoodyStore()
    async with running_server(store=store) as running:
        assert (await look(running, "/health"))["status"] == "UNKNOWN"
        async with running.join("alice") as alice, running.join("bob") as bob:
            await alice.publish(1)
            await alice.send("ping", nonce=1, roundTripMs=10)
            await bob.send("ping", nonce=1, roundTripMs=2000)
            await alice.receive("pong")
            await bob.receive("pong")
            seen = await look(running, "/health")
            assert (seen["status"], seen["qualityScore"]) == ("HEALTHY", 82)  # 100 and 64
            assert seen["sessionsByQuality"] == {"HEALTHY": 1, "DEGRADED": 1, "UNHEALTHY": 0, "UNKNOWN": 0}
            assert (seen["totalConnections"], seen["runsLoaded"], seen["deliveryRate"]) == (2, 1, 1)
            assert seen["roundTrip"]["meanMs"] == 1005
            store.is_full = True
            seen = await look(running, "/health")
            assert (seen["status"], seen["isStoreWritable"]) == ("UNHEALTHY", False)
