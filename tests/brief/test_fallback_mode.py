"""The brief, testing recommendation 2, Fallback Mode: "Force 5+ reconnection failures to test HTTP polling"."""

import trio
from trio.testing import MockClock

from reference.protocol.client.health import Status
from reference.protocol.states import ClientState

from .room import numbers, open_room


async def test_fallback_mode(autojump_clock: MockClock) -> None:
    async with open_room() as room:
        line = room.line()
        line.passes_websockets = False
        async with room.client("ada", line) as ada, room.client("bob") as bob:
            await ada.wait_until(lambda client: client.health.status is Status.HTTP_POLLING)
            assert line.upgrades_tried == 5
            # Both ways, with the same events in the same form.
            assert await ada.publish("CHAT", {"text": "over HTTP"}) == 1
            await bob.publish("CHAT", {"text": "over WebSocket"})
            started = trio.current_time()
            assert await numbers(ada, 2) == await numbers(bob, 2) == [1, 2]
            assert trio.current_time() - started <= 2.1, "it polls every 2 s"
            assert ada.active_users == bob.active_users == ("ada", "bob")
            assert await room.metric("orchestrator_websocket_fallback_http_total", reason="not_opened") == 1
            # And back, with no gap and no duplicate.
            line.passes_websockets = True
            await ada.wait_until(ClientState.LIVE)
            await bob.publish("CHAT", {"text": "after"})
            await ada.publish("CHAT", {"text": "after"})
            assert await numbers(ada, 2) == [3, 4]
            assert ada.health.status is not Status.HTTP_POLLING
            before = await room.metric("orchestrator_http_requests_total", operation=POLL, status="200")
            await trio.sleep(60)
            after = await room.metric("orchestrator_http_requests_total", operation=POLL, status="200")
            assert after == before, "polling has ended"


POLL = "/api/runs/{runId}/collaboration/poll"
