"""The brief, testing recommendation 6, Admin API: "Test all admin endpoints with multiple concurrent connections"."""

from contextlib import AsyncExitStack

import trio
from trio.testing import MockClock

from reference.protocol.states import ClientState

from .room import RUN, open_room

CLIENTS = 40
BASE = "/api/admin/websocket"


async def test_admin_api(autojump_clock: MockClock) -> None:
    async with open_room() as room, AsyncExitStack() as stack:
        lines = [room.line() for _ in range(CLIENTS)]
        clients = [await stack.enter_async_context(room.client(f"user-{n}", line)) for n, line in enumerate(lines)]
        for client in clients:
            await client.wait_until(ClientState.LIVE)
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.publish, "CHAT", {})
        await trio.sleep(25)

        connections = await room.json("GET", f"{BASE}/connections?limit=1000")
        assert connections["totalConnections"] == len(connections["connections"]) == CLIENTS
        assert connections["connectionsPerRun"] == {RUN: CLIENTS}
        assert len({one["sessionId"] for one in connections["connections"]}) == CLIENTS
        of_run = await room.json("GET", f"{BASE}/connections/{RUN}?limit=10")
        assert (of_run["totalConnections"], len(of_run["connections"]), of_run["hasMore"]) == (CLIENTS, 10, True)
        assert len(of_run["activeUsers"]) == CLIENTS

        metrics = await room.json("GET", f"{BASE}/metrics?limit=1000")
        assert metrics["totalSessions"] == CLIENTS
        for one in metrics["sessions"]:
            assert (one["publishesAccepted"], one["deliveryRate"], one["status"]) == (1, 1, "Connected")
            assert one["messagesSent"] >= CLIENTS
            assert one["roundTrip"]["samples"] >= 2
            assert await room.json("GET", f"{BASE}/metrics/{one['sessionId']}") == one

        health = await room.json("GET", f"{BASE}/health")
        assert (health["status"], health["totalConnections"]) == ("HEALTHY", CLIENTS)
        assert health["sessionsByQuality"]["HEALTHY"] == CLIENTS

        # A third of them are dropped: no connections any more, but still listed, until they are cleaned up.
        for line in lines[::3]:
            line.cut()
        gone = len(lines[::3])
        await trio.sleep(5)
        assert (await room.json("GET", f"{BASE}/connections"))["totalConnections"] == CLIENTS - gone
        assert (await room.json("GET", f"{BASE}/metrics"))["totalSessions"] == CLIENTS
        assert (await room.json("GET", f"{BASE}/metrics?connectedOnly=true"))["totalSessions"] == CLIENTS - gone
        cleaned = await room.json("POST", f"{BASE}/cleanup-stale?maxAgeMs=4000")
        assert cleaned == {"removed": gone, "remaining": CLIENTS - gone}
        for line in lines:
            line.is_up = True
        for client in clients:
            await client.wait_until(ClientState.LIVE)
        assert (await room.json("GET", f"{BASE}/connections"))["totalConnections"] == CLIENTS
