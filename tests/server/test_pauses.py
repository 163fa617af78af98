"""A process that was paused (SIGSTOP, collection, machine suspended) reads what has arrived before it closes a client."""

import trio
from trio.testing import MockClock

from reference.protocol.config import ServerConfig

from .visitors import open_house


async def test_a_pause_beyond_the_silence_limit_closes_no_active_client(autojump_clock: MockClock) -> None:
    async with (
        open_house(protocol=ServerConfig(silence_max_s=20)) as house,
        house.guest("alice") as alice,
        house.guest("bob") as bob,
        house.guest("carol") as carol,
    ):
        await trio.sleep(5)
        autojump_clock.jump(60)  # no task runs meanwhile
        await alice.say("ping", nonce=1)
        await bob.say("ping", nonce=2)
        assert (await alice.hear("pong"))["nonce"] == 1
        assert (await bob.hear("pong"))["nonce"] == 2
        assert (await carol.closed())[0] == 4003, "she has said nothing"
        await trio.sleep(10)
        assert house.server.statistics().websockets == 2
        await alice.publish(1, "still here")
        await bob.events(1)
