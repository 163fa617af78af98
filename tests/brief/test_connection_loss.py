"""The brief, testing recommendation 1, Connection Loss: "Disconnect network to verify message queuing and reconnection"."""

import trio
from trio.testing import MockClock

from reference.protocol.client.health import Status
from reference.protocol.states import ClientState

from .room import numbers, open_room


async def test_connection_loss(autojump_clock: MockClock) -> None:
    async with open_room() as room:
        line = room.line()
        async with room.client("ada", line, fallback_after_failures=None) as ada, room.client("bob") as bob:
            await ada.publish("CHAT", {"text": "before"})
            assert await numbers(bob, 1) == [1]
            line.cut()
            await ada.wait_until(lambda client: not client.is_carried)
            tickets = [ada.publish_soon("CHAT", {"text": f"offline {index}"}) for index in range(20)]
            await bob.publish("CHAT", {"text": "meanwhile"})
            await trio.sleep(60)
            assert (ada.queued_messages, ada.health.status) == (20, Status.DISCONNECTED)
            line.is_up = True
            await ada.wait_until(ClientState.LIVE)
            assert [await ticket.accepted() for ticket in tickets] == list(range(3, 23)), "in the order in which they were made"
            assert (ada.queued_messages, ada.health.status, ada.health.reconnections) == (0, Status.RECONNECTED, 1)
            assert await numbers(ada, 22) == list(range(1, 23)), "and nothing was missed, or came twice"
            assert await numbers(bob, 21) == list(range(2, 23))
