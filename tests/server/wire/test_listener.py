"""The listener and the whole byte level over real sockets on 127.0.0.1."""

import errno
import os
import resource
import socket
from typing import Any

import httpx
import pytest
import trio
import trio_websocket

from reference.server.wire.exchange import Receive, Send
from reference.server.wire.front_door import FrontDoor, Problem
from reference.server.wire.limits import DoorLimits, ListenLimits
from reference.server.wire.listener import ListenError, Listening, Serve, listen, open_sockets
from reference.server.wire.push_stream import PushStream
from reference.server.wire.websocket import ServerWebSocket, WebSocketClosed, frame_text

from .helpers import UPGRADE, accept_all, app, echo, read_close, read_frame, read_to_end, read_until, socket_pair, text


async def listen_with(nursery: trio.Nursery, door: FrontDoor) -> Listening:
    listening = await nursery.start(listen, "127.0.0.1", 0, door.serve)
    assert isinstance(listening, Listening)
    return listening


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_http_and_websocket_on_one_port_with_real_clients() -> None:
    problems: list[Problem] = []
    door = FrontDoor(app, accept_all(echo), on_problem=problems.append)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = (await listen_with(nursery, door)).port
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                assert (await http.get("/x?y=1")).text == "GET /x?y=1"
                assert (await http.post("/echo", content=b"z" * 100_000)).content == b"z" * 100_000
                assert (await http.get("/chunks")).text == "onetwo"
                assert (await http.get("/raises")).json() == {"code": 1011, "message": "internal error"}
                async with trio_websocket.open_websocket("127.0.0.1", port, "/ws", use_ssl=False) as client:
                    for message in ("hello", "é" * 20_000):
                        await client.send_message(message)
                        assert await client.get_message() == message
                    assert door.statistics().websockets == 1
            nursery.cancel_scope.cancel()
    assert len(problems) == 1


async def test_a_long_poll_over_a_socket_hears_the_disconnect() -> None:
    gone = trio.Event()

    async def poll(scope: Any, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    door = FrontDoor(poll, accept_all(echo))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = (await listen_with(nursery, door)).port
            raw = await trio.open_tcp_stream("127.0.0.1", port)
            await raw.send_all(b"GET /poll HTTP/1.1\r\nHost: x\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked(0.05)
            await raw.aclose()
            await gone.wait()
            nursery.cancel_scope.cancel()


async def test_one_address_may_have_a_limited_number_of_connections() -> None:
    door = FrontDoor(app, accept_all(echo), limits=DoorLimits(connections_per_address_max=2))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = (await listen_with(nursery, door)).port
            first, second, third = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
            assert (await read_until(third, b"\r\n")).startswith(b"HTTP/1.1 503 ")
            await third.aclose()
            await second.aclose()
            await trio.testing.wait_all_tasks_blocked(0.05)
            fourth = await trio.open_tcp_stream("127.0.0.1", port)
            for stream in (first, fourth):
                await stream.send_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await read_until(stream, b"\r\n")).startswith(b"HTTP/1.1 200 ")
            for stream in (first, fourth):
                await stream.aclose()
            nursery.cancel_scope.cancel()


async def test_a_socket_client_sees_the_close_code_when_the_server_stops() -> None:
    is_here = trio.Event()

    async def handler(websocket: ServerWebSocket) -> None:
        is_here.set()
        await websocket.receive()

    door = FrontDoor(app, accept_all(handler))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = (await listen_with(nursery, door)).port
            raw = await trio.open_tcp_stream("127.0.0.1", port)
            await raw.send_all(UPGRADE)
            await is_here.wait()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await read_until(raw, b"\r\n\r\n")
                assert await read_close(raw) == (1001, "")
                await raw.aclose()


async def test_a_reader_that_never_reads_delays_no_other_reader() -> None:
    """Memory stays bounded and the others get everything."""
    guests: list[ServerWebSocket] = []

    async def handler(websocket: ServerWebSocket) -> None:
        guests.append(websocket)
        await websocket.receive()

    door = FrontDoor(app, accept_all(handler))
    frame = frame_text(b"x" * 50_000)
    rounds = 200
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = (await listen_with(nursery, door)).port
            clients = []
            for count in (1, 2):
                client = await trio.open_tcp_stream("127.0.0.1", port)
                await client.send_all(UPGRADE)
                await read_until(client, b"\r\n\r\n")
                clients.append(client)
                while len(guests) < count:
                    await trio.lowlevel.checkpoint()
            deaf, quick = guests

            async def read() -> None:
                for _ in range(rounds):
                    assert (await read_frame(clients[1]))[1] == b"x" * 50_000

            refused = 0
            async with trio.open_nursery() as readers:
                readers.start_soon(read)
                for _ in range(rounds):
                    refused += not deaf.push_text(frame)
                    while not quick.push_text(frame):
                        await quick.flush()
                await quick.flush()
            assert refused > rounds / 2
            assert deaf.blocked
            assert deaf.statistics().tail_bytes <= len(frame)
            deaf.abort()
            with pytest.raises(trio.BrokenResourceError):
                await read_to_end(clients[0])
            for client in clients:
                await client.aclose()
            nursery.cancel_scope.cancel()


async def test_port_0_gives_the_same_port_on_every_address() -> None:
    async def nobody(stream: PushStream) -> None:
        stream.abort()

    async with trio.open_nursery() as nursery:
        listening = await nursery.start(listen, None, 0, nobody)
        assert {port for _, port in listening.addresses} == {listening.port}
        assert len(listening.addresses) == (2 if has_ipv6() else 1)
        nursery.cancel_scope.cancel()


async def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: another program listens there"):
            await open_sockets("127.0.0.1", port, ListenLimits())


@pytest.mark.parametrize(
    ("host", "port", "advice"),
    [
        ("192.0.2.1", 0, "no such address"),
        ("host.invalid.", 0, "host name or an address"),
        ("127.0.0.1", 70_000, "a port from 0 to 65535"),
        ("x" * 70, 0, "host name or an address"),
    ],
)
async def test_an_address_that_cannot_be_is_one_clear_error(host: str, port: int, advice: str) -> None:
    with pytest.raises(ListenError, match=advice):
        await open_sockets(host, port, ListenLimits())


async def test_a_privileged_port_is_one_clear_error() -> None:
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)  # nobody: root may listen anywhere
    try:
        with pytest.raises(ListenError, match="not permitted"):
            await open_sockets("127.0.0.1", 1, ListenLimits())
    finally:
        if was_root:
            os.seteuid(0)


async def test_the_accept_loop_survives_running_out_of_file_descriptors() -> None:
    served = trio.Event()
    problems: list[Problem] = []
    limits = ListenLimits(accept_pause_s=0.001)

    async def serve(stream: PushStream) -> None:
        stream.close()
        served.set()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with trio.fail_after(60), socket.socket() as client:
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(start_listening, serve, limits, problems)
            client.setblocking(False)
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            try:
                assert client.connect_ex(("127.0.0.1", listening.port)) in (0, errno.EINPROGRESS)
                while not problems:
                    await trio.lowlevel.checkpoint()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await served.wait()
            nursery.cancel_scope.cancel()
    assert isinstance(problems[0].error, OSError)
    assert problems[0].error.errno == errno.EMFILE


async def start_listening(
    serve: Serve, limits: ListenLimits, problems: list[Problem], task_status: trio.TaskStatus[Listening]
) -> None:
    await listen("127.0.0.1", 0, serve, limits=limits, on_problem=problems.append, task_status=task_status)


async def test_a_connection_that_is_reset_before_it_is_accepted_does_no_harm() -> None:
    ours, theirs = socket_pair()
    door = FrontDoor(app, accept_all(echo))
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with trio.fail_after(60):
        await door.serve(ours)
    assert door.statistics().connections == 0


async def test_pipelined_bytes_of_an_upgrade_over_a_socket() -> None:
    door = FrontDoor(app, accept_all(echo))
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = (await listen_with(nursery, door)).port
            raw = await trio.open_tcp_stream("127.0.0.1", port)
            await raw.send_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" + UPGRADE + text("early"))
            await read_until(raw, b"GET /x?")
            await read_until(raw, b"\r\n\r\n")
            assert await read_frame(raw) == (0x1, b"early")
            await raw.aclose()
            nursery.cancel_scope.cancel()


def test_the_errors_are_ours() -> None:
    assert str(WebSocketClosed(4001, "bye", by_peer=False)) == "closed by us with 4001 bye"
