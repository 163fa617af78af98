"""When WebSocket is blocked: HTTP polling carries the same session, and probes find when WebSocket works again."""

import pytest
import trio

from reference.protocol.client.health import Status
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.states import ClientState, Transport
from tests.client.conftest import Connect
from tests.client.harness import Server, Wire, numbers_until, problem

BLOCKED = (403, {"Content-Type": "text/html"}, b"<html>no upgrades here</html>")


def block_upgrades(server: Server) -> None:
    server.refuse = lambda target: BLOCKED if target.startswith("/ws/") else None


async def test_fallback_and_return(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join() as client:
        tickets = [client.publish_soon("CHAT", {"n": n}) for n in range(70)]
        await client.wait_until(ClientState.POLLING)
        assert len([target for _, target in server.requests if target.startswith("/ws/")]) == 5
        assert [await ticket.accepted() for ticket in tickets] == list(range(1, 71))
        assert client.health.status is Status.HTTP_POLLING
        assert client.health.transport == Transport.POLLING
        await server.publish(10)
        await client.wait_until(lambda client: client.position[1] == 80)

        server.refuse = lambda target: None
        await client.wait_until(ClientState.LIVE)
        polls = len(server.requests)
        assert await client.publish("CHAT", {}) == 81
        await trio.sleep(60)
        assert len(server.requests) == polls, "once WebSocket is useful, polling stops"
        assert client.health.status is Status.CONNECTED
        assert server.run.active_users == ("ada",)
        assert await numbers_until(client, 81) == list(range(1, 82))


async def test_publish_and_poll_are_under_way_at_the_same_time(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join(config=ClientConfig(poll_wait_s=25.0)) as client:
        await client.wait_until(lambda client: client.health.status is Status.HTTP_POLLING)
        await trio.sleep(5)  # a long poll waits at the server
        before = trio.current_time()
        await client.publish("CHAT", {})
        assert trio.current_time() - before < 0.1
        await client.wait_until(lambda client: client.position[1] == 1)
        assert trio.current_time() - before < 0.1, "it is what the poll was waiting for"
        client.move_cursor({"x": 1})
        await trio.sleep(1)
        assert server.run.cursors == {"ada": {"x": 1}}


async def test_query_names_are_those_of_the_protocol(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join(client_id="me", config=ClientConfig(poll_wait_s=1.5, start="oldest")) as client:
        await client.publish("CHAT", {})
        await client.wait_until(lambda client: client.position[1] == 1)
        await trio.sleep(3)
        polls = [target.partition("?")[2] for method, target in server.requests if "/poll?" in target]
        names = {part.split("=")[0] for part in polls[-1].split("&")}
        assert names == {"afterSequence", "epoch", "waitMs", "clientId", "sessionId", "generation", "start", "fallback"}
        assert "afterSequence=1" in polls[-1]
        assert "waitMs=1500" in polls[-1]


async def test_polls_reuse_their_connection(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join() as client:
        await client.wait_until(ClientState.POLLING)
        await trio.sleep(10)
        assert len(server.wires) == 6, "five upgrades and one for HTTP"


async def test_a_lane_that_is_cut_goes_on(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join() as client:
        await client.wait_until(ClientState.POLLING)
        for n in range(1, 8):
            ticket = client.publish_soon("CHAT", {"n": n})
            await trio.sleep(0.1 * n)
            for wire in server.wires:
                wire.cut()
            assert await ticket.accepted() == n
    assert server.run.head == 7


@pytest.mark.parametrize("place", range(0, 900, 60))
async def test_a_lane_that_is_cut_in_the_middle_of_an_answer(join: Connect, server: Server, place: int) -> None:
    block_upgrades(server)

    async def cut(wire: Wire) -> None:
        if wire.number == 6:
            wire.cut_after_in = place

    server.on_connect = cut
    async with join() as client:
        assert await client.publish("CHAT", {}) == 1
        await client.wait_until(lambda client: client.position[1] == 1)
    assert server.run.head == 1


async def test_a_lane_on_which_nothing_comes_back_is_replaced(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join() as client:
        await client.publish("CHAT", {})
        server.wires[-1].silence()
        before = trio.current_time()
        assert await client.publish("CHAT", {}) == 2
        assert 10 <= trio.current_time() - before < 20, "request_timeout_s, and a wait"


async def test_a_server_that_is_down_for_all_clients(join: Connect, server: Server) -> None:
    server.is_down = True
    async with join() as client:
        ticket = client.publish_soon("CHAT", {})
        await client.wait_until(ClientState.POLLING)
        assert client.health.status is Status.DISCONNECTED, "nothing has been answered"
        await trio.sleep(30)
        server.is_down = False
        assert await ticket.accepted() == 1


async def test_the_servers_own_problem_document_over_http(join: Connect, server: Server) -> None:
    def forbid(target: str) -> tuple[int, dict[str, str], bytes]:
        return BLOCKED if target.startswith("/ws/") else problem(403, CloseCode.FORBIDDEN, "this run is not yours")

    server.refuse = forbid
    async with join() as client:
        ended = [outcome async for outcome in client][-1]
    assert ended == SessionEnded(CloseCode.FORBIDDEN, "this run is not yours")


async def test_an_answer_of_a_proxy_over_http_ends_nothing(join: Connect, server: Server) -> None:
    server.refuse = lambda target: BLOCKED
    async with join() as client:
        await client.wait_until(ClientState.POLLING)
        await trio.sleep(60)
        server.refuse = lambda target: None
        assert await client.publish("CHAT", {}) == 1


async def test_retry_after_over_http_is_kept(join: Connect, server: Server) -> None:
    block_upgrades(server)
    async with join() as client:
        await client.wait_until(ClientState.POLLING)
        await trio.sleep(1)

        def overloaded(target: str) -> tuple[int, dict[str, str], bytes] | None:
            return BLOCKED if target.startswith("/ws/") else problem(503, CloseCode.OVERLOADED, "later", retry_after_s=100)

        server.refuse = overloaded
        polls = len(polls_of(server))
        await client.wait_until(lambda client: len(polls_of(server)) > polls)
        asked_at = trio.current_time()
        block_upgrades(server)
        await client.wait_until(lambda client: len(polls_of(server)) > polls + 1)
        assert 100 <= trio.current_time() - asked_at < 110


@pytest.mark.parametrize(
    "body", [b"<html>log in first</html>", b"", b"{}", b"x" * (9 * 2**20)], ids=["html", "no", "json", "big"]
)
async def test_malformed_answers_over_http(join: Connect, server: Server, body: bytes) -> None:
    """A captive portal answers 200 to everything."""
    server.refuse = lambda target: BLOCKED if target.startswith("/ws/") else (200, {}, body)
    async with join() as client:
        await client.wait_until(ClientState.POLLING)
        await trio.sleep(20)
        assert client.health.status is Status.DISCONNECTED
        block_upgrades(server)
        assert await client.publish("CHAT", {}) == 1


async def test_what_waits_behind_polling_is_not_lost_on_the_way_back(join: Connect, server: Server) -> None:
    """Events and publishes go on all through fallback and return, with somebody else publishing too."""
    block_upgrades(server)
    config = ClientConfig(fallback_after_failures=1, probe_interval_s=5.0)
    numbers: list[int] = []
    async with join(config=config) as client, trio.open_nursery() as nursery:

        async def read() -> None:
            events = client.events()
            while 600 not in numbers[-1:]:
                number = (await anext(events)).sequence_number
                numbers.extend([] if number is None else [number])

        nursery.start_soon(read)
        await client.wait_until(lambda client: client.position[0] is not None)
        tickets = []
        for n in range(300):
            tickets.append(client.publish_soon("CHAT", {"n": n}))
            await server.publish(1)
            await trio.sleep(0.1)
            if n == 100:
                server.refuse = lambda target: None
            if n == 200:
                server.wires[-1].cut()
        for ticket in tickets:
            await ticket.accepted()
    assert numbers == list(range(1, 601))
    own = [event.data["n"] for event in server.run.read(0, 256) if event.user_id == "ada"]
    assert own == sorted(set(own))


async def test_a_token_that_ends_while_polling(join: Connect, server: Server) -> None:
    block_upgrades(server)
    server.tokens["t2"] = server.tokens["t1"]
    asked = 0

    async def refresh() -> str:
        nonlocal asked
        asked += 1
        return "t2"

    async with join(token="t1", refresh_token=refresh) as client:
        await client.wait_until(ClientState.POLLING)
        await client.publish("CHAT", {})
        server.tokens["t1"] = RemoteError(CloseCode.TOKEN, "over")
        assert await client.publish("CHAT", {}) == 2
        assert asked == 1


def polls_of(server: Server) -> list[str]:
    return [target for _, target in server.requests if "/poll" in target]
