"""Shared by the server's tests: clients that send protocol frames one by one, and a running server for them in virtual time."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import trio_websocket

from reference.protocol.frames import SUBPROTOCOL
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import MemoryPushStream
from reference.store import EventStore, MemoryStore

from .wire.helpers import Answer, read_answer

RUN = "01234567-89ab-cdef-0123-456789abcdef"
OTHER_RUN = "11111111-2222-3333-4444-555555555555"
ORIGIN_NS = 1_700_000_000_000_000_000
"""The time at which virtual servers start, in ns."""

UPGRADE_HEADERS = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"
)

Message = dict[str, Any]


@dataclass
class FrameClient:
    """A client that does only what a test asks. All frames that it has received are in `received`."""

    socket: trio_websocket.WebSocketConnection
    received: list[Message] = field(default_factory=list)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_message(json.dumps({"type": kind, **fields}))

    async def receive(self, kind: str) -> Message:
        """The next frame of that kind; frames of other kinds are passed over."""
        while True:
            frame = await self.next()
            if frame["type"] == kind:
                return frame

    async def next(self) -> Message:
        frame = json.loads(await self.socket.get_message())
        assert isinstance(frame, dict)
        self.received.append(frame)
        return frame

    async def hello(self, name: str, **fields: Any) -> Message:
        """Send hello as that client of the user of the same name; returns the welcome."""
        await self.send("hello", **{"protocol": 1, "clientId": name, "token": f"dev:{name}"} | fields)
        return await self.receive("welcome")

    async def publish(self, number: int, text: str = "", **fields: Any) -> Message:
        """Publish a CHAT; the answer."""
        await self.send("publish", **{"clientSequence": number, "eventType": "CHAT", "data": {"text": text}} | fields)
        while True:
            frame = await self.next()
            if frame["type"] in ("accepted", "rejected") and frame["clientSequence"] == number:
                return frame

    async def events(self, count: int) -> list[Message]:
        """The next events, at least that many; those that came while something else was awaited are first."""
        events = self.events_received()
        while len(events) < count:
            await self.next()
            events = self.events_received()
        return events

    def events_received(self) -> list[Message]:
        return [event for frame in self.received if frame["type"] == "events" for event in frame["events"]]

    def numbers_received(self) -> list[int]:
        return [event["sequenceNumber"] for event in self.events_received()]

    async def until_present(self, *users: str) -> None:
        """Wait until this client sees exactly these users."""
        while self.present() != sorted(users):
            await self.next()

    def present(self) -> list[str]:
        users: set[str] = set()
        for frame in self.received:
            if frame["type"] == "welcome":
                users = set(frame["activeUsers"])
            elif frame["type"] == "presence":
                users = set(frame["full"]) if "full" in frame else users
                users |= set(frame.get("joined", ()))
                users -= set(frame.get("left", ()))
        return sorted(users)

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason, once the server has closed."""
        try:
            while True:
                await self.next()
        except trio_websocket.ConnectionClosed as closed:
            return (None, None) if closed.reason is None else (closed.reason.code, closed.reason.reason)


@dataclass
class RunningServer:
    """A server in memory, and ways to connect to it."""

    server: Server

    @asynccontextmanager
    async def connect(
        self,
        run_id: str = RUN,
        *,
        capacity_bytes: int | None = None,
        subprotocols: tuple[str, ...] = (SUBPROTOCOL,),
        headers: list[tuple[str, str]] | None = None,
    ) -> AsyncIterator[FrameClient]:
        """A client whose WebSocket is open; it is cut at the end, without a close frame."""
        stream = self.server.connect(capacity_bytes=capacity_bytes)
        async with frame_client_on(stream, run_id, subprotocols=subprotocols, headers=headers) as client:
            yield client

    @asynccontextmanager
    async def join(self, name: str, run_id: str = RUN, **fields: Any) -> AsyncIterator[FrameClient]:
        """A client who has been welcomed."""
        async with self.connect(run_id) as client:
            await client.hello(name, **fields)
            yield client

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, token: str | None = "dev:alice", headers: str = ""
    ) -> Answer:
        """One HTTP request on a connection of its own; `headers` are whole lines."""
        stream = self.server.connect()
        await stream.send_all(request_bytes(method, path, body, token=token, headers=headers))
        answer = await read_answer(stream)
        await stream.aclose()
        return answer

    async def poll(self, query: str = "", *, run_id: str = RUN, token: str | None = "dev:alice") -> Message:
        """The body of a successful poll."""
        answer = await self.ask("GET", f"/api/runs/{run_id}/collaboration/poll?{query}", token=token)
        assert answer.status == 200, answer
        return answer.problem

    async def post(
        self, messages: list[Message], *, client_id: str = "alice", token: str = "dev:alice", **fields: Any
    ) -> Message:
        """The body of a successful publish over HTTP."""
        body = json.dumps({"clientId": client_id, "messages": messages, **fields}).encode()
        answer = await self.ask("POST", f"/api/runs/{RUN}/collaboration/publish", body, token=token)
        assert answer.status == 200, answer
        return answer.problem


def request_bytes(method: str, path: str, body: bytes = b"", *, token: str | None = None, headers: str = "") -> bytes:
    lines = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{headers}"
    if token is not None:
        lines += f"Authorization: Bearer {token}\r\n"
    return (lines + "\r\n").encode() + body


@asynccontextmanager
async def frame_client_on(
    stream: trio.abc.Stream,
    run_id: str = RUN,
    *,
    subprotocols: tuple[str, ...] = (SUBPROTOCOL,),
    headers: list[tuple[str, str]] | None = None,
) -> AsyncIterator[FrameClient]:
    """A client over any stream."""
    async with trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]
            "127.0.0.1",
            f"/ws/runs/{run_id}/collaboration",
            subprotocols=list(subprotocols),
            extra_headers=[(name.encode(), value.encode()) for name, value in headers or []],
        )
        try:
            yield FrameClient(socket)
        finally:
            if isinstance(stream, MemoryPushStream):
                stream.abort()
            else:
                await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_server(
    *, store: EventStore | None = None, runs: tuple[str, ...] = (RUN,), **settings: Any
) -> AsyncIterator[RunningServer]:
    """A server without a socket, with its runs made."""
    store = store or MemoryStore()
    options = ServerSettings(**settings)
    async with open_server(options, store=store, origin_ns=ORIGIN_NS, listening=False) as server:
        for run_id in runs:
            await server.create_run(run_id)
        yield RunningServer(server)
