"""FrontDoor: one port for HTTP/1.1 and WebSocket.

Every connection begins as HTTP. The front door reads a request's head and decides: an upgrade to WebSocket is
offered to `on_upgrade`, which accepts it with a handler or raises HttpRefusal; everything else is a call of the ASGI
application. A connection may make any number of HTTP requests and then still upgrade; from then on it is a WebSocket until
it ends.

`serve` is the whole life of one connection, and isolates it from the others. Whatever a client sends and whatever the
application, the handler or a library raises, nothing but cancellation leaves `serve`: one connection's fault must never
reach the nursery of all the others. Faults of the server are reported to `on_problem` with all details; the client gets a
code and a sentence.

When the server is stopped, connections are cancelled: a client that waits for an answer gets 503 with a time to wait, a
WebSocket gets the close code 1001.
"""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.server.wire.exchange import AsgiApp, Exchange
from reference.server.wire.http_wire import HttpWire
from reference.server.wire.limits import DoorLimits, WebSocketLimits
from reference.server.wire.push_stream import Address, PushStream
from reference.server.wire.request_head import INTERNAL_ERROR, HttpRefusal, RequestHead
from reference.server.wire.websocket import Accept, ServerWebSocket


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of the server, for the log; never for a client."""

    what: str
    error: BaseException
    peer: Address | None = None
    request: str = ""
    """Method and path; empty outside a request. Never the query or the headers, which may hold secrets."""


@dataclass(frozen=True, slots=True)
class DoorStatistics:
    """How many connections the front door has now, of both kinds, and how many of them are WebSockets."""

    connections: int
    websockets: int


OnUpgrade = Callable[[RequestHead], Accept]
"""Decides about a WebSocket upgrade without waiting: returns Accept, or raises HttpRefusal."""
OnHead = Callable[[RequestHead], Awaitable[None]]
"""Called first with every head, of both kinds. Raises HttpRefusal."""
OnProblem = Callable[[Problem], None]


def ignore_problem(problem: Problem) -> None:
    """An `on_problem` that does nothing."""


class FrontDoor:
    """Serves connections: WebSocket through `on_upgrade`, HTTP through the ASGI application `app`."""

    def __init__(
        self,
        app: AsgiApp,
        on_upgrade: OnUpgrade,
        *,
        on_head: OnHead | None = None,
        limits: DoorLimits | None = None,
        websocket_limits: WebSocketLimits | None = None,
        on_problem: OnProblem = ignore_problem,
        on_limit: Callable[[Limit], None] = lambda limit: None,
        on_refusal: Callable[[str, int], None] = lambda path, status: None,
        is_for_operators: Callable[[RequestHead], bool] = lambda head: False,
    ) -> None:
        """`on_refusal`: called with the path (empty if it is not known) and the status of an answer that the application does not
        give. `is_for_operators`: requests that are answered even when there is no room for others, so that a full server does not
        look dead."""
        self._is_for_operators = is_for_operators
        self._by_address: Counter[str] = Counter()
        self._app = app
        self._on_upgrade = on_upgrade
        self._on_head = on_head
        self._limits = limits or DoorLimits()
        self._websocket_limits = websocket_limits or WebSocketLimits()
        self._on_problem = on_problem
        self._on_limit = on_limit
        self._on_refusal = on_refusal
        self._connections = 0
        self._websockets = 0
        self._websocket_ended = trio.lowlevel.ParkingLot()

    def statistics(self) -> DoorStatistics:
        return DoorStatistics(self._connections, self._websockets)

    async def no_websockets(self) -> None:
        """Wait until there is no WebSocket."""
        while self._websockets:
            await self._websocket_ended.park()

    async def serve(self, stream: PushStream) -> None:
        """Serve one connection to its end and close `stream`. Raises nothing but cancellation."""
        self._connections += 1
        address = "" if stream.peer is None else str(stream.peer[0])
        self._by_address[address] += 1
        per_address_max = self._limits.connections_per_address_max
        try:
            if self._connections > self._limits.connections_max + self._limits.refusals_max:
                self._on_limit(Limit.DOOR_CONNECTIONS)
                stream.abort()
            elif self._connections > self._limits.connections_max:
                await self._serve_operators(stream)
            elif per_address_max is not None and address and self._by_address[address] > per_address_max:
                self._on_limit(Limit.ADDRESS_CONNECTIONS)
                if self._by_address[address] > per_address_max + self._limits.refusals_max:
                    stream.abort()  # refusals take time, and their connections count for everybody
                else:
                    why = f"this address has {per_address_max} connections to this server, its limit"
                    await self._refuse(HttpWire(stream, self._limits), self._come_back(why))
            else:
                websocket = await self._converse(stream)
                if websocket is not None:
                    await self._serve_websocket(stream, websocket)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone, which may happen at any time
        except* Exception as group:
            self._report(Problem("a connection failed", group, stream.peer))
        finally:
            self._connections -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
            stream.close()

    async def _serve_operators(self, stream: PushStream) -> None:
        """When the server is full: answer one request if it is an operator's, and refuse any other."""
        wire = HttpWire(stream, self._limits)
        try:
            head: RequestHead | None = None
            with trio.move_on_after(self._limits.drain_timeout_s):
                head = await wire.read_head()
            if head is not None and not head.wants_websocket and self._is_for_operators(head):
                await Exchange(wire, head, self._limits).run(self._app, self._reporter("the application failed", stream, head))
                await wire.close()
                return
            raise self._come_back("too many connections", limit=Limit.DOOR_CONNECTIONS)
        except HttpRefusal as refusal:
            await self._refuse(wire, refusal)

    async def _converse(self, stream: PushStream) -> ServerWebSocket | None:
        """Answer requests. Returns the WebSocket to serve. The HTTP state is freed first, as it may stay for days."""
        wire = HttpWire(stream, self._limits)
        idle_s = self._limits.head_timeout_s
        try:
            while (head := await self._next_head(wire, idle_s)) is not None:
                if self._on_head is not None:
                    await self._on_head(head)
                if head.wants_websocket:
                    return self._upgrade(wire, head)
                report = self._reporter("the application failed", stream, head)
                if not await Exchange(wire, head, self._limits).run(self._app, report):
                    break
                if not await wire.next_cycle():
                    break
                idle_s = self._limits.keep_alive_timeout_s
            await wire.close()
        except HttpRefusal as refusal:
            await self._refuse(wire, refusal)
        except trio.Cancelled:
            wire.push_refusal(self._come_back("the server is going down", CloseCode.GOING_AWAY))
            raise
        return None

    async def _next_head(self, wire: HttpWire, idle_s: float) -> RequestHead | None:
        """The head of a request that begins within `idle_s`; None if none does, or the client has closed. Raises HttpRefusal."""
        has_begun = False
        with trio.move_on_after(idle_s) as limit:
            if not await wire.wait_for_request():
                return None
            has_begun = True
            limit.deadline = trio.current_time() + self._limits.head_timeout_s
            return await wire.read_head()
        if not has_begun:
            return None
        reason = f"no complete head within {self._limits.head_timeout_s} s"
        raise HttpRefusal(408, CloseCode.TOO_SLOW, reason, limit=Limit.HEAD_TIME)

    def _upgrade(self, wire: HttpWire, head: RequestHead) -> ServerWebSocket:
        key = head.websocket_key()
        try:
            accept = self._on_upgrade(head)
        except HttpRefusal:
            raise
        except Exception as error:
            self._reporter("the WebSocket handler failed", wire.stream, head)(error)
            raise HttpRefusal(500, INTERNAL_ERROR, "internal error") from None
        wire.stream.put_back(wire.unread)
        return ServerWebSocket(wire.stream, head, key, accept, self._websocket_limits)

    async def _serve_websocket(self, stream: PushStream, websocket: ServerWebSocket) -> None:
        self._websockets += 1
        try:
            await websocket.run()
        except Exception as error:
            self._report(Problem("the WebSocket handler failed", error, stream.peer, f"GET {websocket.path}"))
        finally:
            self._websockets -= 1
            self._websocket_ended.unpark_all()

    async def _refuse(self, wire: HttpWire, refusal: HttpRefusal) -> None:
        if refusal.limit is not None:
            self._on_limit(refusal.limit)
        if wire.may_answer:
            self._on_refusal("" if wire.head is None else wire.head.path, refusal.status)
        await wire.refuse(refusal)

    def _come_back(self, why: str, code: CloseCode = CloseCode.OVERLOADED, limit: Limit | None = None) -> HttpRefusal:
        return HttpRefusal(503, code, why, retry_after_ms=self._limits.retry_after_ms, limit=limit)

    def _reporter(self, what: str, stream: PushStream, head: RequestHead) -> Callable[[BaseException], None]:
        return lambda error: self._report(Problem(what, error, stream.peer, f"{head.method} {head.path}"))

    def _report(self, problem: Problem) -> None:
        # If the log fails, connections must not fail with it.
        with contextlib.suppress(Exception):
            self._on_problem(problem)
