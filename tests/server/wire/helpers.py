"""Shared by the tests of the byte level: peers that send raw bytes, and a front door with a small application behind it."""

import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from reference.protocol.errors import RemoteError
from reference.protocol.limits import Limit
from reference.server.wire.front_door import FrontDoor, Problem
from reference.server.wire.limits import DoorLimits, WebSocketLimits
from reference.server.wire.listener import connect_in_memory
from reference.server.wire.memory_stream import MemoryPushStream
from reference.server.wire.push_stream import SocketPushStream
from reference.server.wire.request_head import RequestHead
from reference.server.wire.websocket import Accept, Handler, ServerWebSocket

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


def socket_pair(*, buffer_bytes: int | None = None) -> tuple[SocketPushStream, socket.socket]:
    """Our end of a real TCP connection on 127.0.0.1, and the other end as a plain non-blocking socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        listener.listen(1)
        theirs = socket.socket()
        if buffer_bytes is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
    theirs.setblocking(False)
    return SocketPushStream(ours), theirs


async def read_to_end(stream: trio.abc.ReceiveStream) -> bytes:
    """Everything until the peer closes its half."""
    data = b""
    async for piece in stream:
        data += piece
    return data


async def read_until(stream: trio.abc.ReceiveStream, end: bytes) -> bytes:
    """Everything up to and including `end`, read byte by byte so that nothing after it is taken."""
    data = b""
    while not data.endswith(end):
        piece = await stream.receive_some(1)
        assert piece, f"ended after {data!r}"
        data += piece
    return data


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        problem = json.loads(self.body)
        assert isinstance(problem, dict)
        return problem


async def read_answer(stream: trio.abc.ReceiveStream, *, has_body: bool = True) -> Answer:
    """One HTTP answer, with a length or chunked."""
    head = (await read_until(stream, b"\r\n\r\n")).decode()
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = b""
    if has_body and "content-length" in headers:
        while len(body) < int(headers["content-length"]):
            piece = await stream.receive_some(int(headers["content-length"]) - len(body))
            assert piece
            body += piece
    elif has_body and headers.get("transfer-encoding") == "chunked":
        while size := int(await read_until(stream, b"\r\n"), 16):
            body += (await read_until(stream, b"\r\n"))[:-2] if size else b""
        await read_until(stream, b"\r\n")
    return Answer(int(first.split()[1]), headers, body)


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, declared: int | None = None) -> bytes:
    """A masked frame, with a mask of zeros; `declared` lies about the length."""
    length = len(payload) if declared is None else declared
    first = (0x80 if fin else 0) | opcode
    if length <= 125:
        header = struct.pack("!BB", first, 0x80 | length)
    elif length < 2**16:
        header = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        header = struct.pack("!BBQ", first, 0x80 | 127, length)
    return header + b"\0\0\0\0" + payload


def text(message: str) -> bytes:
    return client_frame(0x1, message.encode())


def close_frame(code: int = 1000) -> bytes:
    return client_frame(0x8, struct.pack("!H", code))


async def read_frame(stream: trio.abc.ReceiveStream) -> tuple[int, bytes]:
    """Opcode and payload of one unmasked frame."""

    async def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = await stream.receive_some(count - len(data))
            assert piece, "ended in the middle of a frame"
            data += piece
        return data

    first, length = await exactly(2)
    if length == 126:
        length = int.from_bytes(await exactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await exactly(8), "big")
    return first & 0x0F, await exactly(length)


async def read_close(stream: trio.abc.ReceiveStream) -> tuple[int, str]:
    """Skip to the close frame; its code and reason."""
    while True:
        opcode, payload = await read_frame(stream)
        if opcode == 0x8:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()


async def echo(websocket: ServerWebSocket) -> None:
    """A handler that sends back what it receives."""
    from reference.server.wire.websocket import frame_text

    while True:
        for message in (await websocket.receive()).messages:
            if isinstance(message, RemoteError):
                websocket.close(message.code, message.message)
                return
            while not websocket.push_text(frame_text(message.encode())):
                await websocket.flush()


async def read_body(receive: Callable[[], Any]) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RuntimeError("the client went away in the middle of its body")
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def respond(send: Callable[[Any], Any], body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Behaves, or misbehaves, as its path says."""
    match scope["path"]:
        case "/echo":
            await respond(send, await read_body(receive))
        case "/chunks":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for piece in (b"one", b"two"):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        case "/raises":
            raise RuntimeError("secret")
        case "/raises-after-start":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise RuntimeError("secret")
        case "/raises-in-body":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise RuntimeError("secret")
        case "/raises-after-answer":
            await respond(send, b"done")
            raise RuntimeError("secret")
        case "/silent":
            return
        case "/hangs":
            await trio.sleep_forever()
        case "/bad-header":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nb")]})
        case "/no-content":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b"ignored"})
        case _:
            await respond(send, f"{scope['method']} {scope['path']}?{scope['query_string'].decode()}".encode())


@dataclass
class RunningFrontDoor:
    """A front door in memory, what it reported, and ways to connect to it."""

    door: FrontDoor
    nursery: trio.Nursery
    problems: list[Problem] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    """That were reached."""

    def connect(self, capacity_bytes: int | None = None) -> MemoryPushStream:
        return connect_in_memory(self.nursery, self.door.serve, capacity_bytes=capacity_bytes)

    async def connect_websocket(self, capacity_bytes: int | None = None) -> MemoryPushStream:
        """A raw client after the handshake."""
        client = self.connect(capacity_bytes)
        await client.send_all(UPGRADE)
        assert (await read_until(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        return client

    async def wait_until_empty(self) -> None:
        """Wait, in virtual time, until every connection has ended."""
        await wait_all_tasks_blocked()  # those that were made just now must have begun
        # The door has no event for this, and in virtual time looking again costs nothing.
        while self.door.statistics().connections:  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def ask(self, request: bytes) -> Answer:
        """Send raw bytes on a connection of their own and read one answer."""
        client = self.connect()
        await client.send_all(request)
        answer = await read_answer(client)
        await client.aclose()
        return answer


def accept_all(handler: Handler, subprotocol: str = "collab.v1.json") -> Callable[[RequestHead], Accept]:
    return lambda head: Accept(handler, head.choose_subprotocol((subprotocol,)))


@asynccontextmanager
async def running_front_door(
    application: Any = app,
    handler: Handler = echo,
    limits: DoorLimits | None = None,
    websocket_limits: WebSocketLimits | None = None,
    on_refusal: Callable[[str, int], None] = lambda path, status: None,
) -> AsyncIterator[RunningFrontDoor]:
    """A door in memory; what it serves is cancelled at the end."""
    problems: list[Problem] = []
    reached: list[Limit] = []
    async with trio.open_nursery() as nursery:
        door = FrontDoor(
            application,
            accept_all(handler),
            limits=limits,
            websocket_limits=websocket_limits,
            on_problem=problems.append,
            on_limit=reached.append,
            on_refusal=on_refusal,
        )
        yield RunningFrontDoor(door, nursery, problems, reached)
        nursery.cancel_scope.cancel()
    assert door.statistics().connections == 0
