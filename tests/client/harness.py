"""A small server for the client's tests: the real run machine, behind trio-websocket and a minimal HTTP/1.1, over memory streams.

`Server.open_stream` is what the client under test is given. It hands out one end of a pair of memory streams and serves the
other. A `Wire` is the client's end: it counts bytes both ways, and can be cut, silenced or refused at any of them.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec
import trio
import trio.testing
import trio_websocket

from reference.client import Client
from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, HttpProblem, RemoteError
from reference.protocol.records import Append, RunState, Snapshot, StoredRun
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from tests.passing_stream import PassingStream

RUN_ID = "6b1f7f3e-5f3e-4c0e-9d0c-0d7c5a8f1a11"
URL = "http://server:8000"
UNANSWERED_MAX = 64
HANGS_AFTER_S = 7200
QUEUE_FRAMES_MAX = 4  # per connection, beyond which the reader lags
_EPOCH_NS = 1_700_000_000 * 10**9

Refuse = Callable[[str], tuple[int, dict[str, str], bytes] | None]


class Wire(PassingStream):
    """The client's end of one connection."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        super().__init__(stream)
        self.number = number
        self.bytes_in = self.bytes_out = 0
        self.cut_after_in: int | None = None
        self.cut_after_out: int | None = None
        self.is_cut = False
        self.is_closed = False
        self._cut_scope = trio.CancelScope()
        self._silent = False

    def cut(self) -> None:
        """Reset: both ends notice at once."""
        self.is_cut = True
        self._cut_scope.cancel()

    def silence(self) -> None:
        """Half-open: no data pass any more, and neither end is notified."""
        self._silent = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        if self._silent:
            await trio.lowlevel.checkpoint()
            return
        data = bytes(data)
        if self.cut_after_out is not None and self.bytes_out + len(data) > self.cut_after_out:
            data = data[: self.cut_after_out - self.bytes_out]
            self.cut()
        self.bytes_out += len(data)
        with trio.CancelScope(shield=self.is_cut):
            try:
                await self._stream.send_all(data)
            finally:
                if self.is_cut:
                    await trio.aclose_forcefully(self._stream)
        self._check()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        room = None if self.cut_after_in is None else self.cut_after_in - self.bytes_in
        if room is not None and room <= 0:
            self.cut()
            await trio.aclose_forcefully(self._stream)
        self._check()
        with trio.CancelScope() as self._cut_scope:
            data = await self._stream.receive_some(max_bytes if room is None else min(room, max_bytes or room))
            while self._silent:
                await trio.sleep_forever()
        if self.is_cut:
            await trio.aclose_forcefully(self._stream)
        self._check()
        self.bytes_in += len(data)
        return data

    async def aclose(self) -> None:
        self.is_closed = True
        self._cut_scope.cancel()
        await self._stream.aclose()

    def _check(self) -> None:
        if self.is_closed:
            raise trio.ClosedResourceError
        if self.is_cut:
            raise trio.BrokenResourceError("cut by the test")


class _Peer:
    """One connection to the run: its queue of frames. A `Socket` that holds QUEUE_FRAMES_MAX frames."""

    def __init__(self) -> None:
        self.wake = trio.Event()
        self.frames: deque[bytes] = deque()
        self.closing: Close | None = None

    @property
    def is_blocked(self) -> bool:
        return len(self.frames) >= QUEUE_FRAMES_MAX

    def push(self, item: bytes) -> bool:
        self.frames.append(item)
        self.wake.set()
        return self.is_blocked

    def close(self, waiting: Sequence[bytes], close: Close) -> None:
        self.frames.extend(waiting)
        self.closing = close
        self.wake.set()


class Server:
    """One run, with a store that takes `append_s` for each batch."""

    def __init__(
        self,
        nursery: trio.Nursery,
        config: ServerConfig | None = None,
        *,
        append_s: float = 0.0,
        capacity: bool = False,
        epoch: str = "e" * 32,
    ) -> None:
        self._nursery = nursery
        self._append_s = append_s
        self._has_capacity = capacity
        stored = StoredRun(RUN_ID, epoch, 0, Snapshot(0, RunState()), (), ())
        self.config = config or ServerConfig(
            publishes_per_s=1e6, publish_burst=1_000_000, frames_per_s=1e7, frame_burst=10_000_000
        )
        self.run = Run(stored, config=self.config, now=self.now())
        self.driver: RunDriver[bytes] = RunDriver(self.run, self)
        self._alarm = trio.CancelScope()
        self._requests: dict[int, _Peer] = {}
        self._next_id = 1
        self._published = 0
        self._stored = trio.lowlevel.ParkingLot()
        self._to_append, self._appending = trio.open_memory_channel[Any](1024)
        self.tokens: dict[str | None, Identity | RemoteError] = {None: Identity("ada"), "t1": Identity("ada")}
        self.wires: list[Wire] = []
        self.requests: list[tuple[str, str]] = []  # (method, target) as they came
        self.on_connect: Callable[[Wire], Awaitable[None]] | None = None
        self.refuse: Refuse = lambda target: None
        self.is_down = False
        nursery.start_soon(_watch_for_hanging)
        nursery.start_soon(self._run_alarm)
        nursery.start_soon(self._run_store)

    def now(self) -> int:
        return _EPOCH_NS + round(trio.current_time() * 10**9)

    async def open_stream(self, host: str, port: int, tls: bool) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise ConnectionRefusedError("refused by the test")
        near, far = trio.testing.lockstep_stream_pair() if self._has_capacity else trio.testing.memory_stream_pair()
        wire = Wire(near, len(self.wires) + 1)
        self.wires.append(wire)
        if self.on_connect is not None:
            await self.on_connect(wire)
        self._nursery.start_soon(self._serve, far)
        return wire

    async def publish(self, count: int = 1, *, user: str = "bob") -> None:
        """Somebody else publishes; returns when all of it is durable."""
        head = self.run.head
        for published in range(0, count, UNANSWERED_MAX):
            batch = min(UNANSWERED_MAX, count - published)
            numbers = range(self._published + 1, self._published + batch + 1)
            self._published += batch
            messages = tuple(frames.Message(client_sequence=n, event_type="CHAT", data={"n": n}) for n in numbers)
            connection_id = self._new_id()
            self.driver.request(connection_id, frames.PublishRequest(client_id=user, messages=messages), Identity(user), "s" * 32)
            while self.run.head < head + published + batch:
                await self._stored.park()

    # ---- as RunIO ----

    def encode(self, frame: frames.Frame) -> bytes:
        return frames.encode(frame)

    def may_store(self) -> bool:
        return True

    def store(self, append: Append) -> bool:
        self._to_append.send_nowait(append)
        return False

    def identify(self, connection_id: int, token: str | None) -> Identity | RemoteError:
        return self.tokens.get(token, RemoteError(CloseCode.TOKEN, "no such token"))

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        if connection_id in self._requests:
            self._requests[connection_id].push(frames.encode(frame))

    def refuse(self, connection_id: int, close: Close) -> None:
        if connection_id in self._requests:
            self._requests[connection_id].close((), close)

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        pass

    def retire(self) -> None:
        pass

    def turn_over(self) -> None:
        deadline = self.run.next_deadline()
        self._alarm.deadline = float("inf") if deadline is None else (deadline - _EPOCH_NS) / 10**9

    # ---- inside ----

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    async def _run_alarm(self) -> None:
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self.driver.ring()

    async def _run_store(self) -> None:
        async for append in self._appending:
            await trio.sleep(self._append_s)
            self.driver.stored(append)
            self._stored.unpark_all()

    async def _serve(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while (request := await _next_request(connection, stream)) is not None:
                target = request.target.decode()
                self.requests.append((request.method.decode(), target))
                headers = {name.decode(): value for name, value in request.headers}
                refusal = self.refuse(target)
                if refusal is not None:
                    await _answer(connection, stream, *refusal)
                elif target.startswith("/ws/"):
                    await self._serve_websocket(stream, request, headers)
                    return
                else:
                    body = await _body(connection, stream)
                    await _answer(connection, stream, *await self._call(request.method, target, headers, body))
                if connection.our_state is not h11.DONE:
                    break
                connection.start_next_cycle()
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    def _identify(self, headers: dict[str, bytes]) -> Identity | None:
        header = headers.get("authorization")
        token = None if header is None else header.decode().removeprefix("Bearer ")
        identity = self.tokens.get(token)
        return identity if isinstance(identity, Identity) else None

    async def _call(
        self, method: bytes, target: str, headers: dict[str, bytes], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        identity = self._identify(headers)
        if identity is None:
            return problem(401, CloseCode.TOKEN, "no such token")
        parts = urlsplit(target)
        if method == b"PUT":
            return 201, {}, msgspec.json.encode({"runId": parts.path.rpartition("/")[2]})
        query = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        if parts.path.endswith("/poll"):
            report = {"report": msgspec.json.decode(query["report"])} if "report" in query else {}
            request: frames.Frame = msgspec.convert(query | report, frames.PollRequest, strict=False)
        else:
            request = frames.decode_publish_request(body, 2**20)
        connection_id = self._new_id()
        peer = self._requests[connection_id] = _Peer()
        try:
            self.driver.request(connection_id, request, identity, f"{connection_id:032}")
            await peer.wake.wait()
        finally:
            del self._requests[connection_id]
            self.driver.lost(connection_id)
        if peer.closing is not None:
            assert peer.closing.code is not None
            return problem(409, peer.closing.code, peer.closing.message)
        return 200, {}, peer.frames[0]

    async def _serve_websocket(self, stream: trio.abc.Stream, head: h11.Request, headers: dict[str, bytes]) -> None:
        identity = self._identify(headers)
        try:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, _Again(stream, head))
                if identity is None and "authorization" in headers:
                    status, extra, body = problem(401, CloseCode.TOKEN, "no such token")
                    await request.reject(status, extra_headers=_encoded(extra), body=body)
                    return
                websocket = await request.accept(subprotocol=frames.SUBPROTOCOL)
                await self._converse(nursery, websocket, identity)
                nursery.cancel_scope.cancel()
        except* (trio_websocket.ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _converse(
        self, nursery: trio.Nursery, websocket: trio_websocket.WebSocketConnection, identity: Identity | None
    ) -> None:
        connection_id, peer = self._new_id(), _Peer()
        self.driver.connect(connection_id, peer, identity, f"{connection_id:032}")
        nursery.start_soon(self._read, websocket, connection_id)
        try:
            while True:
                if peer.frames:
                    await websocket.send_message(peer.frames.popleft().decode())
                    self.driver.writable(connection_id)
                elif peer.closing is not None:
                    code = peer.closing.code or 1006
                    await websocket.aclose(code, peer.closing.message.encode()[:120].decode(errors="ignore"))
                    return
                else:
                    peer.wake = trio.Event()
                    await peer.wake.wait()
        finally:
            self.driver.lost(connection_id)

    async def _read(self, websocket: trio_websocket.WebSocketConnection, connection_id: int) -> None:
        while True:
            message = await websocket.get_message()
            try:
                frame: frames.Frame | RemoteError = frames.decode_client_frame(message, self.config.frame_bytes_max)
            except RemoteError as error:
                frame = error
            self.driver.receive(connection_id, (frame,))


class _Again(PassingStream):
    """The stream of an upgrade, from its request on: the head is there to be read a second time."""

    def __init__(self, stream: trio.abc.Stream, head: h11.Request) -> None:
        super().__init__(stream)
        lines = [b"GET " + head.target + b" HTTP/1.1", *(name + b": " + value for name, value in head.headers.raw_items())]
        self._head = b"\r\n".join(lines) + b"\r\n\r\n"

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._head:
            await trio.lowlevel.checkpoint()
            head, self._head = self._head, b""
            return head
        return await super().receive_some(max_bytes)


def problem(status: int, code: int, message: str, retry_after_s: int | None = None) -> tuple[int, dict[str, str], bytes]:
    """An answer as our server gives it when it refuses."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return status, headers, frames.encode(HttpProblem(code, message))


async def _watch_for_hanging() -> None:
    await trio.sleep(HANGS_AFTER_S)
    raise AssertionError(f"the test has not ended after {HANGS_AFTER_S} s of virtual time")


async def _next_request(connection: h11.Connection, stream: trio.abc.Stream) -> h11.Request | None:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(64 * 1024)))
        elif isinstance(event, h11.Request):
            return event
        else:
            return None


async def _body(connection: h11.Connection, stream: trio.abc.Stream) -> bytes:
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(64 * 1024)))
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            return body


async def _answer(connection: h11.Connection, stream: trio.abc.Stream, status: int, headers: dict[str, str], body: bytes) -> None:
    if connection.their_state is h11.SEND_BODY:
        await _body(connection, stream)
    head = h11.Response(status_code=status, headers=[*_encoded(headers), (b"Content-Length", str(len(body)).encode())])
    data = connection.send(head) or b""
    data += connection.send(h11.Data(data=body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before the n-th step of any task."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self.steps_left = steps

    def before_task_step(self, task: object) -> None:
        self.steps_left -= 1
        if self.steps_left == 0:
            self._scope.cancel()


async def numbers_until(client: Client, last: int, *, pause_s: float = 0.0) -> list[int]:
    """The numbers of the events up to `last`, read with a pause after each."""
    numbers = []
    events = client.events()
    while not numbers or numbers[-1] < last:
        number = (await anext(events)).sequence_number
        if number is not None:
            numbers.append(number)
            await trio.sleep(pause_s)
    return numbers
