"""Shared by the brief's recommended tests: the real server and real clients, in virtual time, with a network between them."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio

from reference.client import Client, connect
from reference.protocol.client.outcomes import SnapshotReceived
from reference.protocol.config import ClientConfig
from reference.protocol.events import Event
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from reference.server.wire.memory_stream import MemoryPushStream
from reference.store import EventStore, MemoryStore
from tests.passing_stream import PassingStream
from tests.server.running_server import request_bytes
from tests.server.wire.helpers import Answer, read_answer

RUN = "01234567-89ab-cdef-0123-456789abcdef"


class Line:
    """One client's network: up or down, and perhaps with a proxy that does not let WebSockets through."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._streams: list[MemoryPushStream] = []
        self.is_up = True
        self.passes_websockets = True
        self.upgrades_tried = 0

    async def open_stream(self, host: str, port: int, tls: bool) -> "Stream":
        await trio.lowlevel.checkpoint()
        if not self.is_up:
            raise ConnectionRefusedError("the network is down")
        stream = self._server.connect()
        self._streams.append(stream)
        return Stream(stream, self)

    def cut(self) -> None:
        """The network goes down, and with it every connection."""
        self.is_up = False
        for stream in self._streams:
            stream.abort()
        self._streams.clear()


class Stream(PassingStream):
    """A connection over a line."""

    def __init__(self, stream: MemoryPushStream, line: Line) -> None:
        super().__init__(stream)
        self._abort = stream.abort
        self._line = line

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if b"upgrade: websocket" in bytes(data).lower():
            self._line.upgrades_tried += 1
            if not self._line.passes_websockets:
                self._abort()
        await super().send_all(data)


class Room:
    """A server, and the way to it."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def line(self) -> Line:
        return Line(self.server)

    def client(self, user: str, line: Line | None = None, **settings: Any) -> AbstractAsyncContextManager[Client]:
        """A client of that user; its waits repeat."""
        line = line or self.line()
        config = ClientConfig(**settings)
        return connect("http://server", RUN, token=f"dev:{user}", config=config, seed=1, open_stream=line.open_stream)

    async def ask(self, method: str, path: str, *, token: str | None = "dev-admin:root") -> Answer:
        stream = self.server.connect()
        await stream.send_all(request_bytes(method, path, token=token))
        answer = await read_answer(stream)
        await stream.aclose()
        return answer

    async def json(self, method: str, path: str) -> Any:
        answer = await self.ask(method, path)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    async def metric(self, name: str, **labels: str) -> float:
        """A value from the Prometheus endpoint, as Prometheus would read it."""
        text = (await self.ask("GET", "/metrics", token=None)).body.decode()
        inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        wanted = f"{name}{{{inner}}} " if inner else f"{name} "
        values = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(wanted)]
        assert len(values) == 1, f"{len(values)} series {wanted!r}"
        return float(values[0])


@asynccontextmanager
async def open_room(store: EventStore | None = None, **settings: Any) -> AsyncIterator[Room]:
    async with open_server(ServerSettings(**settings), store=store or MemoryStore(), origin_ns=10**18, listening=False) as server:
        await server.create_run(RUN)
        yield Room(server)


async def events(client: Client, count: int) -> list[Event]:
    """The next events that have numbers."""
    seen: list[Event] = []
    async for event in client.events():
        if event.sequence_number is not None:
            seen.append(event)
        if len(seen) == count:
            break
    return seen


async def numbers(client: Client, count: int) -> list[int | None]:
    """Their numbers."""
    return [event.sequence_number for event in await events(client, count)]


async def snapshot(client: Client) -> SnapshotReceived:
    """The next snapshot; presence that comes before it is passed over."""
    while True:
        delivery = await anext(client)
        if isinstance(delivery, SnapshotReceived):
            return delivery
