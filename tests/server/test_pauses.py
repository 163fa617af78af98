"""A process that was paused (SIGSTOP, collection, machine suspended) reads what has arrived before it closes a client."""

import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig

from .running_server import running_server


async def test_a_pause_beyond_the_silence_limit_closes_no_active_client(autojump_clock: MockClock) -> None:
    async with (
        running_server(protocol=ServerConfig(silence_max_s=20)) as running,
        running.join("alice") as alice,
        running.join("bob") as bob,
        running.join("carol") as carol,
    ):
        await trio.sleep(5)
        autojump_clock.jump(60)  # no task runs meanwhile
        await alice.send("ping", nonce=1)
        await bob.send("ping", nonce=2)
        assert (await alice.receive("pong"))["nonce"] == 1
        assert (await bob.receive("pong"))["nonce"] == 2
        assert (await carol.closed())[0] == 4003, "she has said nothing"
        await trio.sleep(10)
        assert running.server.statistics().websockets == 2
        await alice.publish(1, "still here")
        await bob.events(1)
