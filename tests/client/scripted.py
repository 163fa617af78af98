"""Servers that send what our server never sends: one handler for each connection, over memory streams."""

from collections.abc import Awaitable, Callable

import trio
import trio.testing
import trio_websocket

from reference.protocol import frames

Handler = Callable[[trio.abc.Stream], Awaitable[None]]
Talk = Callable[[trio_websocket.WebSocketConnection], Awaitable[None]]


class Scripted:
    """`handlers` serve the connections in their order, the last of them all that follow."""

    def __init__(self, nursery: trio.Nursery, *handlers: Handler) -> None:
        self._nursery = nursery
        self._handlers = handlers
        self.connections = 0

    async def open_stream(self, host: str, port: int, tls: bool) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        near, far = trio.testing.memory_stream_pair()
        handler = self._handlers[min(self.connections, len(self._handlers) - 1)]
        self.connections += 1
        self._nursery.start_soon(self._serve, handler, far)
        return near

    async def _serve(self, handler: Handler, stream: trio.abc.Stream) -> None:
        try:
            await handler(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio_websocket.ConnectionClosed):
            pass
        finally:
            await trio.aclose_forcefully(stream)


def answers(data: bytes, *, then_hangs: bool = False) -> Handler:
    """Reads a request's head, answers with these bytes, and closes."""

    async def handler(stream: trio.abc.Stream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        await stream.send_all(data)
        if then_hangs:
            await trio.sleep_forever()

    return handler


def websocket(talk: Talk, subprotocol: str | None = frames.SUBPROTOCOL) -> Handler:
    """Accepts the upgrade and talks."""

    async def handler(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)  # type: ignore[arg-type]
            await talk(await request.accept(subprotocol=subprotocol))
            nursery.cancel_scope.cancel()

    return handler


def welcome(head: int = 0, after: int = 0) -> str:
    """A welcome as text; the session begins fresh, with a snapshot."""
    frame = frames.Welcome(
        session_id="s" * 32,
        epoch="e" * 32,
        outcome="fresh",
        oldest=1,
        head=head,
        after_sequence=after,
        last_client_sequence=0,
        heartbeat_ms=15_000,
        limits=frames.Limits(64 * 1024, 64, 200.0),
        retry=frames.Retry(1000),
        active_users=("ada",),
        cursor_positions={},
        server_time=0,
    )
    return frames.encode(frame).decode()
