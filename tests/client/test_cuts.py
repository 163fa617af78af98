"""A connection that is cut at any byte, in either direction: nothing is lost, nothing is delivered twice."""

from functools import partial

import pytest
import trio

from reference.client import Client
from reference.client.transport import CLOSING_S_MAX
from reference.protocol.client.health import Status
from reference.protocol.config import ClientConfig
from reference.protocol.events import Event
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import Server, Wire, numbers_until

PUBLISHES = 5


async def talk(join: Connect, server: Server) -> list[int]:
    """A little session: publish, and read until everything published has come back. Returns the numbers received."""
    numbers: list[int] = []
    async with join() as client:
        tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(PUBLISHES)]
        await server.publish(PUBLISHES)
        while len(numbers) < 2 * PUBLISHES:
            outcome = await anext(client)
            if isinstance(outcome, Event) and outcome.sequence_number is not None:
                numbers.append(outcome.sequence_number)
        accepted = [await ticket.accepted() for ticket in tickets]
        assert sorted(set(accepted)) == accepted, "in the order in which they were made"
    return numbers


@pytest.mark.parametrize("stride", [31, pytest.param(5, marks=[pytest.mark.slow, pytest.mark.parallel])])
async def test_the_first_connection_is_cut_anywhere(join: Connect, server: Server, nursery: trio.Nursery, stride: int) -> None:
    await talk(join, server)
    assert len(server.wires) == 1
    lengths = {"cut_after_in": server.wires[0].bytes_in, "cut_after_out": server.wires[0].bytes_out}
    assert all(length > 400 for length in lengths.values())
    for direction, length in lengths.items():
        for place in range(0, length, stride):
            broken = Server(nursery)

            async def cut(wire: Wire, direction: str = direction, place: int = place) -> None:
                if wire.number == 1:
                    setattr(wire, direction, place)

            broken.on_connect = cut
            numbers = await talk(rejoin(join, broken), broken)
            assert numbers == list(range(1, 2 * PUBLISHES + 1)), f"{direction} {place}"
            assert broken.run.head == 2 * PUBLISHES, "nothing is in the log twice"
            assert len(broken.wires) >= 2 or place > length - 150, "the end of a session may be cut without notice"


def rejoin(join: Connect, server: Server) -> Connect:
    return partial(join, open_stream=server.open_stream)


@pytest.mark.parametrize("step", [ClientState.GREETING, ClientState.PROVING, ClientState.LIVE])
async def test_cut_in_each_state(join: Connect, server: Server, step: ClientState) -> None:
    async with join() as client:
        await client.wait_until(lambda client: client.state in (step, ClientState.LIVE))
        server.wires[-1].cut()
        await client.wait_until(ClientState.WAITING)
        assert client.health.status is Status.DISCONNECTED
        await client.wait_until(ClientState.LIVE)
        assert await client.publish("CHAT", {}) == 1


@pytest.mark.parametrize("knows", [False, True])
async def test_a_client_that_knows_that_its_network_is_back_does_not_wait(join: Connect, server: Server, knows: bool) -> None:
    server.is_down = True
    async with join(config=ClientConfig(fallback_after_failures=None)) as client:
        await client.wait_until(lambda client: (client.next_attempt_s or 0) > 5)
        server.is_down = False
        back_s = trio.current_time()
        if knows:
            client.network_returned()
        await client.wait_until(ClientState.LIVE)
        assert (trio.current_time() - back_s < 2) == knows


async def test_a_server_that_cannot_be_reached_for_a_while(join: Connect, server: Server) -> None:
    server.is_down = True
    async with join() as client:
        ticket = client.publish_soon("CHAT", {})
        await client.wait_until(ClientState.WAITING)
        await trio.sleep(3)
        server.is_down = False
        assert await ticket.accepted() == 1
        assert client.health.reconnections == 0, "the first connection is no reconnection"


async def test_a_connection_attempt_that_hangs_is_given_up(join: Connect, server: Server) -> None:
    async def hang(wire: Wire) -> None:
        if wire.number == 1:
            await trio.sleep_forever()

    server.on_connect = hang
    async with join() as client:
        await client.wait_until(ClientState.WAITING)
        assert trio.current_time() == pytest.approx(10), "connect_timeout_s"
        assert await client.publish("CHAT", {}) == 1


async def test_a_half_open_connection_is_left(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        await client.publish("CHAT", {})
        server.wires[-1].silence()
        ticket = client.publish_soon("CHAT", {})
        assert await ticket.accepted() == 2
        assert trio.current_time() < 25, "a ping interval, its timeout, and the first wait"
        await trio.sleep(CLOSING_S_MAX)
        assert server.wires[0].is_closed
        assert client.health.reconnections == 1


async def test_a_server_that_asks_all_clients_to_leave(join: Connect, server: Server) -> None:
    async with join() as client:
        await client.wait_until(ClientState.LIVE)
        left_at = trio.current_time()
        server.driver.go_away(retry_after_ms=5000, spread_ms=1000)
        await client.wait_until(ClientState.WAITING)
        await client.wait_until(ClientState.LIVE)
        assert 5 <= trio.current_time() - left_at <= 6.1


async def test_many_clients_through_many_cuts(join: Connect, server: Server) -> None:
    """Five clients publish while every connection is cut once a second."""
    done = 0
    received: dict[str, list[int]] = {}

    async def one(name: str) -> None:
        nonlocal done
        async with join(client_id=name, seed=len(name)) as client, trio.open_nursery() as nursery:
            nursery.start_soon(read, client, name)
            tickets = []
            for n in range(40):
                tickets.append(client.publish_soon("CHAT", {"n": n}))
                await trio.sleep(0.1)
            for ticket in tickets:
                await ticket.accepted()
            done += 1

    async def read(client: Client, name: str) -> None:
        received[name] = await numbers_until(client, 200)

    async with trio.open_nursery() as clients:
        for name in ("a", "bb", "ccc", "dddd", "eeeee"):
            clients.start_soon(one, name)
        for _ in range(8):
            await trio.sleep(1)
            for wire in list(server.wires):
                wire.cut()
    assert done == 5
    assert server.run.head == 200
    for numbers in received.values():
        assert numbers == sorted(set(numbers)), "in order, none twice"
        assert numbers[-10:] == list(range(191, 201))
