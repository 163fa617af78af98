"""A whole server in memory and virtual time, with a bystander, a client that no intruder may affect."""

from collections.abc import Awaitable, Callable

import structlog.testing
import trio
import trio.testing

from reference.protocol.config import ServerConfig
from tests.server.running_server import FrameClient, RunningServer, running_server

LIMITS_S = 120.0
"""All time limits of the server together are shorter: a connection that is still open after this hangs."""
SMALL = ServerConfig(frame_bytes_max=4096, hello_timeout_s=5.0, silence_max_s=20.0)


async def keep_alive(client: FrameClient) -> None:
    """Keeps the connection of the bystander open."""
    while True:
        await trio.sleep(5.0)
        await client.send("ping", nonce=1)


async def pongs(client: FrameClient, nonce: int) -> None:
    """Until the pong with that nonce has come."""
    while (await client.receive("pong"))["nonce"] != nonce:
        pass


def against_a_server(intrude: Callable[[RunningServer], Awaitable[None]]) -> None:
    """Let somebody intrude: the bystander publishes before and after and hears both, and no fault of ours is reported."""

    async def play() -> None:
        async with running_server(protocol=SMALL) as running, running.join("alice") as alice:
            assert (await alice.publish(1, "before"))["type"] == "accepted"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_alive, alice)
                with trio.fail_after(LIMITS_S):
                    await intrude(running)
                nursery.cancel_scope.cancel()
            await alice.send("ping", nonce=7)
            await pongs(alice, 7)
            answer = await alice.publish(2, "after")
            assert answer["type"] == "accepted", answer
            events = await alice.events(2)
            own = [event["data"]["text"] for event in events if event["userId"] == "alice"]
            while own[-1:] != ["after"]:
                await alice.next()
                own = [event["data"]["text"] for event in alice.events_received() if event["userId"] == "alice"]
            assert own == ["before", "after"]
            numbers = alice.numbers_received()
            assert numbers == list(range(1, len(numbers) + 1))

    with structlog.testing.capture_logs() as logs:
        trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    faults = [entry for entry in logs if entry.get("log_level") in ("error", "critical") or entry.get("exc_info")]
    assert not faults, faults[:2]
