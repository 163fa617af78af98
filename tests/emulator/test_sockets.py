"""The emulator between real sockets: ports, resets, refusals and a real WebSocket. Waits on events, never on sleeps."""

import contextlib
import errno
import functools
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import trio
import trio.testing
import trio_websocket

from simulation.emulator import EmulatorError, open_emulator
from simulation.scenario.faults import Path
from tests.emulator.bench import receive_exactly, receive_to_end

NEAR = Path(latency_s=0.001)
PATIENCE_S = 20  # for a whole test; only a failure ever waits that long


@contextlib.asynccontextmanager
async def open_server(handler: Callable[[trio.SocketStream], Awaitable[object]]) -> AsyncIterator[int]:
    """A TCP server on any free port."""
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(functools.partial(trio.serve_listeners, handler, listeners))
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()
        for listener in listeners:
            await listener.aclose()


async def echo(stream: trio.SocketStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)
        await stream.send_eof()
    await stream.aclose()


_dialled: list[trio.SocketStream] = []


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """After the test and its trio run; an async fixture that no test asks for by name would not run at all."""
    yield
    while _dialled:
        descriptor = _dialled.pop().socket.detach()
        if descriptor >= 0:
            os.close(descriptor)


async def dial(port: int) -> trio.SocketStream:
    """A client's connection, closed after the test at the latest."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    _dialled.append(stream)
    return stream


async def connected(port: int) -> trio.SocketStream:
    stream = await dial(port)
    await stream.send_all(b"hello")
    assert await receive_exactly(stream, 5) == b"hello"
    return stream


async def assert_reset(stream: trio.SocketStream) -> None:
    """The peer sent an RST, and not only the end of the stream."""
    with pytest.raises(trio.BrokenResourceError) as caught:
        await receive_to_end(stream)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNRESET


async def test_bytes_and_ends_cross_in_both_directions() -> None:
    megabyte = bytes(range(256)) * 4096
    async with open_server(echo) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        stream = await dial(link.port)

        async def send() -> None:
            await stream.send_all(megabyte)
            await stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await receive_to_end(stream) == megabyte
        statistics = link.statistics()
        assert statistics.bytes_to_server == statistics.bytes_to_client == len(megabyte)


async def test_each_client_has_a_line_and_a_port_of_its_own() -> None:
    async with open_server(echo) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        ada = await emulator.add_link("ada", NEAR)
        bob = await emulator.add_link("bob", NEAR)
        of_ada, of_bob = await connected(ada.port), await connected(bob.port)
        await ada.reset()
        await assert_reset(of_ada)
        await of_bob.send_all(b"still here")
        assert await receive_exactly(of_bob, 10) == b"still here"


async def test_a_reset_is_a_real_reset_at_both_ends() -> None:
    reset_at_server = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some())
        await assert_reset(stream)
        reset_at_server.set()

    async with open_server(serve) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        stream = await connected(link.port)
        await emulator.reset()
        await assert_reset(stream)
        await reset_at_server.wait()


async def test_a_reset_by_the_server_resets_the_client() -> None:
    async def reset(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async with open_server(reset) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        stream = await dial(link.port)
        await stream.send_all(b"hello")
        await assert_reset(stream)
        assert link.statistics().connections_reset == 1


async def test_a_server_that_is_down_resets_the_client() -> None:
    async with open_server(echo) as port:
        pass
    async with open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        with trio.fail_after(PATIENCE_S):
            await assert_reset(await dial(link.port))
        assert link.statistics().connections_refused == 1


async def test_refuse_is_econnrefused_and_the_port_comes_back() -> None:
    async with open_server(echo) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        standing = await connected(link.port)
        for _ in range(2):  # the second time with connections of its past around
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.refuse, 1000)
                nursery.start_soon(link.refuse, 1000)
                await trio.testing.wait_all_tasks_blocked()
                with trio.socket.socket() as knocking, pytest.raises(ConnectionRefusedError):
                    await knocking.connect(("127.0.0.1", link.port))
                await standing.send_all(b"left alone")
                assert await receive_exactly(standing, 10) == b"left alone"
                nursery.cancel_scope.cancel()
            await connected(link.port)


async def test_no_program_can_take_a_port_that_refuses() -> None:
    async with open_emulator("127.0.0.1", 1, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.refuse, 1000)
            await trio.testing.wait_all_tasks_blocked()
            for reuse in (0, 1):
                with socket.socket() as thief:
                    thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
                    with pytest.raises(OSError, match="Address already in use"):
                        thief.bind(("127.0.0.1", link.port))
            with pytest.raises(EmulatorError, match="cannot have port"):
                await emulator.add_link("bob", NEAR, port=link.port)
            nursery.cancel_scope.cancel()


async def test_a_client_that_knocks_in_the_moment_of_shutting_does_no_harm() -> None:
    async with open_server(echo) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        left, right = socket.socketpair()
        with left, right:
            for _ in range(20):  # this task and the accepting one wake in one instant, in either order
                await trio.testing.wait_all_tasks_blocked()
                with socket.create_connection(("127.0.0.1", link.port)):
                    right.send(b"x")
                    await trio.lowlevel.wait_readable(left)
                    left.recv(1)
                    with trio.move_on_after(0):
                        await link.refuse(1000)
        await connected(link.port)


async def test_the_port_is_free_after_the_emulator_is_left() -> None:
    for _ in range(2):
        async with open_emulator("127.0.0.1", 1, seed=1) as emulator:
            link = await emulator.add_link("ada", NEAR)
            port = link.port
        async with open_emulator("127.0.0.1", 1, seed=1) as emulator:
            assert (await emulator.add_link("ada", NEAR, port=port)).port == port


async def test_a_server_notices_early_that_its_client_does_not_read() -> None:
    sent_bytes = 0

    async def flood(stream: trio.SocketStream) -> None:
        nonlocal sent_bytes
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)  # its own is a server's business
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(4096))
                sent_bytes += 4096

    async with open_server(flood) as port, open_emulator("127.0.0.1", port, seed=1, buffer_bytes_max=65_536) as emulator:
        link = await emulator.add_link("ada", NEAR)
        await dial(link.port)
        while sent_bytes == 0:
            await trio.testing.wait_all_tasks_blocked(cushion=0.05)
        statistics = link.statistics()
        assert statistics.bytes_held == 65_536
        assert sent_bytes < 1 << 20


async def websocket_echo(stream: trio.SocketStream) -> None:
    async with trio.open_nursery() as nursery:
        with contextlib.suppress(trio_websocket.HandshakeError, trio_websocket.ConnectionClosed):
            websocket = await (await trio_websocket.wrap_server_stream(nursery, stream)).accept()
            while True:
                await websocket.send_message(await websocket.get_message())


@contextlib.asynccontextmanager
async def open_websocket(port: int) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    # Not trio_websocket.open_websocket, which leaves its socket open when the connection is reset or refused.
    stream = await dial(port)
    async with trio.open_nursery() as nursery:
        yield await trio_websocket.wrap_client_stream(nursery, stream, "localhost", "/")
        nursery.cancel_scope.cancel()


async def test_a_websocket_lives_through_an_outage() -> None:
    async with open_server(websocket_echo) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        async with open_websocket(link.port) as websocket, trio.open_nursery() as faults:
            faults.start_soon(emulator.outage, 0.05)
            await websocket.send_message("through")
            assert await websocket.get_message() == "through"


async def test_a_block_cuts_websockets_and_keeps_them_out_until_it_is_over() -> None:
    async with open_server(websocket_echo) as port, open_emulator("127.0.0.1", port, seed=1) as emulator:
        link = await emulator.add_link("ada", NEAR)
        async with trio.open_nursery() as faults:
            async with open_websocket(link.port) as websocket:
                faults.start_soon(emulator.block_upgrade, 1000)
                with pytest.raises(trio_websocket.ConnectionClosed):
                    await websocket.get_message()
            stream = await dial(link.port)
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            assert (await receive_to_end(stream)).startswith(b"HTTP/1.1 403 Forbidden\r\n")
            faults.cancel_scope.cancel()
        assert link.statistics().connections_cut == link.statistics().upgrades_refused == 1
        async with open_websocket(link.port) as websocket:
            await websocket.send_message("again")
            assert await websocket.get_message() == "again"
