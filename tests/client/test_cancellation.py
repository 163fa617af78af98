"""The client's whole block, cancelled at every checkpoint."""

from functools import partial

import pytest
import trio
import trio.testing

from reference.client import PublishFailedError, Ticket
from reference.protocol.config import ClientConfig
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import CancelAt, Server


async def live(join: Connect, server: Server, polling: bool, tickets: list[Ticket]) -> None:
    config = ClientConfig(fallback_after_failures=1) if polling else ClientConfig()
    async with join(config=config) as client:
        tickets.append(client.publish_soon("CHAT", {}))
        await client.wait_until(ClientState.POLLING if polling else ClientState.LIVE)
        tickets.append(client.publish_soon("CHAT", {}))
        if not polling:
            server.wires[-1].cut()
        for ticket in tickets:
            await ticket.accepted()


@pytest.mark.parametrize("polling", [False, True], ids=["websocket", "polling"])
async def test_cancelled_at_every_step(join: Connect, nursery: trio.Nursery, polling: bool) -> None:
    step, has_ended = 0, False
    while not has_ended:
        step += 5
        async with trio.open_nursery() as servers:
            server = Server(servers)
            if polling:
                server.refuse = lambda target: (403, {}, b"") if target.startswith("/ws/") else None
            tickets: list[Ticket] = []
            with trio.CancelScope() as scope:
                instrument = CancelAt(scope, step)
                trio.lowlevel.add_instrument(instrument)
                try:
                    here = trio.current_time()
                    with trio.fail_after(100):
                        await live(partial(join, open_stream=server.open_stream), server, polling, tickets)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            has_ended = instrument.steps_left > 0
            if not has_ended:
                assert trio.current_time() - here < 20, "being cancelled takes no time"
            assert all(wire.is_closed or wire.is_cut for wire in server.wires), step
            for ticket in tickets:
                assert ticket.result is not None, "nobody waits for ever"
            servers.cancel_scope.cancel()
    assert step >= 100


async def test_cancelling_is_prompt_even_when_the_peer_is_silent(join: Connect, server: Server) -> None:
    with trio.move_on_after(50) as scope:
        async with join() as client:
            await client.wait_until(ClientState.LIVE)
            server.wires[-1].silence()
            ticket = client.publish_soon("CHAT", {})
            scope.cancel()
            before = trio.current_time()
            await trio.sleep_forever()
    assert trio.current_time() == before
    with pytest.raises(PublishFailedError, match="may have arrived"):
        await ticket.accepted()


async def test_leaving_a_silent_peer_takes_a_bounded_time(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        server.wires[-1].silence()
        before = trio.current_time()
    assert trio.current_time() - before == pytest.approx(2.0)
    assert server.wires[-1].is_closed


async def test_a_timeout_around_a_leave_that_takes_its_time(join: Connect, server: Server) -> None:
    server.is_down = True
    with trio.move_on_after(1) as scope:
        async with join(drain_s=60) as client:
            ticket = client.publish_soon("CHAT", {})
    assert scope.cancelled_caught
    assert ticket.result is not None
    assert trio.current_time() == pytest.approx(1)
