"""A server or an intermediary that breaks the protocol: the client loses that connection and nothing else."""

import pytest
import trio
import trio_websocket

from reference.protocol.client.outcomes import SessionEnded, StateChanged
from reference.protocol.errors import CloseCode
from reference.protocol.frames import SERVER_FRAME_BYTES_MAX
from reference.protocol.states import ClientState
from tests.client.conftest import Connect
from tests.client.harness import Server
from tests.client.scripted import Handler, Scripted, answers, websocket, welcome


async def recovers_from(join: Connect, server: Server, nursery: trio.Nursery, bad: Handler) -> None:
    """The first connection goes to `bad`, the second to the real server; the client gets there and works."""
    scripted = Scripted(nursery, bad)

    async def open_stream(host: str, port: int, tls: bool) -> trio.abc.Stream:
        way = server if scripted.connections else scripted
        return await way.open_stream(host, port, tls)

    states: list[ClientState] = []

    def tap(now: int, what: object) -> None:
        if isinstance(what, StateChanged):
            states.append(what.state)

    async with join(open_stream=open_stream, tap=tap) as client:
        assert await client.publish("CHAT", {}) == 1
        await client.wait_until(lambda client: client.position[1] == 1)
        assert states.count(ClientState.WAITING) == 1
    assert trio.current_time() < 12


GARBAGE = {
    "not json": "hello",
    "no object": "[]",
    "unknown type": '{"type":"surprise"}',
    "a field missing": '{"type":"pong"}',
    "wrong type": '{"type":"heartbeat","head":"many"}',
    "too deep": '{"type":"heartbeat","head":' + "[" * 100_000 + "]" * 100_000 + "}",
    "before welcome": '{"type":"heartbeat","head":1}',
    "client's frame": '{"type":"bye"}',
    "binary": b'{"type":"heartbeat","head":1}',
    "surrogate": '{"type":"\\ud800"}',
}


@pytest.mark.parametrize("message", GARBAGE.values(), ids=GARBAGE.keys())
async def test_a_message_that_is_no_frame(join: Connect, server: Server, nursery: trio.Nursery, message: str | bytes) -> None:
    codes: list[int] = []

    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.get_message()
        await connection.send_message(message)
        with pytest.raises(trio_websocket.ConnectionClosed) as closed:
            await connection.get_message()
        codes.append(closed.value.reason.code if closed.value.reason else 0)

    await recovers_from(join, server, nursery, websocket(talk))
    assert codes == [CloseCode.BAD_FRAME]


async def test_malformed_frames_after_the_welcome(join: Connect, server: Server, nursery: trio.Nursery) -> None:
    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.get_message()
        await connection.send_message(welcome())
        await connection.send_message(welcome())
        await trio.sleep_forever()

    await recovers_from(join, server, nursery, websocket(talk))


@pytest.mark.parametrize("character", ["x", "é"], ids=["more characters", "more bytes"])
async def test_a_message_that_is_too_big(join: Connect, server: Server, nursery: trio.Nursery, character: str) -> None:
    size = SERVER_FRAME_BYTES_MAX + 1 if character == "x" else SERVER_FRAME_BYTES_MAX // 2 + 100

    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.get_message()
        await connection.send_message(character * size)
        await trio.sleep_forever()

    await recovers_from(join, server, nursery, websocket(talk))


UPGRADE_ANSWERS = {
    "nothing": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half a head": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso",
    "wrong accept": b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\nContent-Length: 0\r\n\r\n",
    "without length": b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno",
    "body cut": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno",
    "chunked": b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    "not ascii": "HTTP/1.1 403 Förbidden\r\nX-Ä: ü\r\nContent-Length: 0\r\n\r\n".encode(),
    "not utf-8": b"HTTP/1.1 403 No\r\nX-A: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "endless head": b"HTTP/1.1 403 No\r\n" + b"X-A: b\r\n" * 20_000,
    "endless body": b"HTTP/1.1 403 No\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 200_000,
}


@pytest.mark.parametrize("then_hangs", [False, True], ids=["then closes", "then hangs"])
@pytest.mark.parametrize("answer", UPGRADE_ANSWERS.values(), ids=UPGRADE_ANSWERS.keys())
async def test_a_strange_answer_to_the_upgrade(
    join: Connect, server: Server, nursery: trio.Nursery, answer: bytes, then_hangs: bool
) -> None:
    await recovers_from(join, server, nursery, answers(answer, then_hangs=then_hangs))


async def test_a_websocket_without_our_subprotocol(join: Connect, server: Server, nursery: trio.Nursery) -> None:
    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.get_message()

    await recovers_from(join, server, nursery, websocket(talk, subprotocol=None))


async def test_a_close_right_behind_the_upgrade(join: Connect, server: Server, nursery: trio.Nursery) -> None:
    """A server that is full accepts, says so and closes, all before hello."""

    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.send_message('{"type":"error","code":4403,"message":"not here"}')
        await connection.aclose(4403, "not here")

    async with join(open_stream=Scripted(nursery, websocket(talk)).open_stream) as client:
        assert [outcome async for outcome in client] == [SessionEnded(4403, "not here")]


@pytest.mark.parametrize("code", [1000, 1001, 1009, 1011, 3000, 4001, 4030, 4099])
async def test_a_close_that_means_come_back(join: Connect, server: Server, nursery: trio.Nursery, code: int) -> None:
    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.get_message()
        await connection.aclose(code, "come back")

    await recovers_from(join, server, nursery, websocket(talk))


@pytest.mark.parametrize("code", [4400, 4403, 4404, 4406, 4413, 4101, 4499])
async def test_a_close_that_is_final(join: Connect, nursery: trio.Nursery, code: int) -> None:
    async def talk(connection: trio_websocket.WebSocketConnection) -> None:
        await connection.get_message()
        await connection.aclose(code, "for good")

    scripted = Scripted(nursery, websocket(talk))
    async with join(open_stream=scripted.open_stream) as client:
        ticket = client.publish_soon("CHAT", {})
        assert [outcome async for outcome in client] == [SessionEnded(code, "for good")]
        await trio.sleep(100)
        assert scripted.connections == 1, "never again"
        assert ticket.result is not None


async def test_pings_of_the_servers_while_the_client_closes(join: Connect, nursery: trio.Nursery) -> None:
    """trio-websocket answers them with an exception in its own task."""
    crossed = 0

    async def handler(stream: trio.abc.Stream) -> None:
        async def talk(connection: trio_websocket.WebSocketConnection) -> None:
            nonlocal crossed
            await connection.get_message()
            await connection.send_message(welcome())
            await connection.get_message()
            while connection.closed is None:
                async with connection._stream_lock:
                    await stream.send_all(b"\x89\x01x")  # a ping, past the library
            crossed += 1

        await websocket(talk)(stream)

    scripted = Scripted(nursery, handler)
    made = 0
    while not crossed and made < 200:  # whether one crosses the close is for the order of trio's tasks to say
        made += 1
        async with join(open_stream=scripted.open_stream) as client:
            await client.wait_until(ClientState.PROVING)
    assert scripted.connections == made
    assert crossed > 0
