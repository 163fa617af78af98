"""The brief, testing recommendation 5, Metrics: "Check Prometheus endpoint for metric updates"."""

import trio
from trio.testing import MockClock

from reference.protocol.client.health import Status
from reference.protocol.states import ClientState

from .room import numbers, open_room

WS = "orchestrator_websocket_"


async def test_metrics(autojump_clock: MockClock) -> None:
    async with open_room() as room:
        assert await room.metric(WS + "connections_total") == 0
        line = room.line()
        async with room.client("ada", line) as ada, room.client("bob") as bob:
            await ada.wait_until(ClientState.LIVE)
            await bob.wait_until(ClientState.LIVE)
            assert await room.metric(WS + "connections_total") == 2
            assert await room.metric(WS + "connections_active") == 2
            for _ in range(10):
                await ada.publish("CHAT", {})
            await numbers(bob, 10)
            assert await room.metric(WS + "publishes_accepted_total") == 10
            assert await room.metric(WS + "delivery_rate_ratio") == 1
            assert await room.metric(WS + "messages_in_total") >= 14  # hellos, pings and publishes
            assert await room.metric(WS + "messages_out_total") >= 30  # welcomes, answers, and each event for both
            await trio.sleep(25)  # pings report the round trips of the pings before
            latencies = await room.metric(WS + "message_latency_seconds_count")
            assert latencies >= 4
            assert await room.metric(WS + "message_latency_seconds_bucket", le="0.005") == latencies, "in memory it takes no time"

            line.cut()
            await trio.sleep(5)
            assert await room.metric(WS + "disconnections_total", code="none", by="client") == 1
            assert await room.metric(WS + "connections_active") == 1
            line.is_up = True
            await ada.wait_until(ClientState.LIVE)
            await trio.sleep(15)
            assert await room.metric(WS + "reconnections_total") == 1
            assert await room.metric(WS + "resumes_total", outcome="resumed") == 1
            assert await room.metric(WS + "recovery_seconds_count") == 1
            assert 5 <= await room.metric(WS + "recovery_seconds_sum") < 60

            line.cut()
            line.is_up, line.passes_websockets = True, False
            await ada.wait_until(lambda client: client.health.status is Status.HTTP_POLLING)
            assert await room.metric(WS + "fallback_http_total", reason="not_opened") == 1
            assert await room.metric(WS + "sessions", transport="polling") == 1
            assert await room.metric(WS + "message_failures_total", reason="rejected") == 0
