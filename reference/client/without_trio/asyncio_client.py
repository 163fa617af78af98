"""The client for asyncio programs: the same session, run by trio in a background thread, with calls for asyncio to await.

    async with connect_asyncio("http://127.0.0.1:8765", run_id, token=token) as client:
        await client.publish("CHAT", {"text": "hello"})
        async for delivery in client:
            ...

The session runs in a `TrioPortal`, so a busy event loop delays no ping and loses no connection. Several clients can share one
portal, and so one thread. Received outcomes wait in the session until they are read; a reader that is too slow makes the session
slow the server down, as under trio.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Self, TypeVar, TypeVarTuple

from reference.client.client import Client
from reference.client.connecting import DRAIN_S, connect, create_run
from reference.client.mailbox import Delivery
from reference.client.without_trio.portal import Running, TrioPortal
from reference.protocol.client.health import Health
from reference.protocol.events import Data, Event
from reference.protocol.states import ClientState

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


@contextlib.asynccontextmanager
async def connect_asyncio(
    url: str, run_id: str, *, portal: TrioPortal | None = None, **options: Any
) -> "AsyncIterator[AsyncioClient]":
    """A client in the run `run_id` of the server at `url`, until the block ends. Under asyncio.

    `portal`: runs the client (default: a new one). `options`: those of `connect`. The block begins at once, whether the
    server can be reached or not; its end waits for unsettled publishes, as `connect` does. Raises what `connect` raises.
    """
    home = await asyncio.to_thread(TrioPortal) if portal is None else portal
    try:
        client = await _enter(home, connect(url, run_id, **options), options.get("drain_s", DRAIN_S))
        wrapped = AsyncioClient(client, home)
        has_failed = True
        try:
            yield wrapped
            has_failed = False
        finally:
            if await wrapped.stop_reading() or has_failed:
                await wrapped.call(client.forget_taken)
            await asyncio.to_thread(home.leave, client)
    finally:
        if portal is None:
            await asyncio.to_thread(home.close)


async def _enter(portal: TrioPortal, connecting: AbstractAsyncContextManager[Client], closing_s: float) -> Client:
    """The client, when its context is open. A thread cannot be cancelled, so a cancelled caller waits and then leaves."""
    entering = asyncio.ensure_future(asyncio.to_thread(portal.enter, connecting, closing_s=closing_s))
    try:
        return await asyncio.shield(entering)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):  # what fails to open need not be left
            await asyncio.to_thread(portal.leave, await entering)
        raise


async def create_run_asyncio(url: str, run_id: str | None = None, token: str | None = None) -> str:
    """`create_run` under asyncio: creates a run and returns its id. Raises CreateRunFailed and ConfigError."""
    portal = await asyncio.to_thread(TrioPortal)
    try:
        return await result_of(portal.start(create_run, url, run_id, token))
    finally:
        await asyncio.to_thread(portal.close)


class AsyncioClient:
    """A `Client` for asyncio, created by `connect_asyncio`. Iterating yields every outcome once, in order. Several tasks may
    iterate: each outcome goes to one of them.

    trio_client: the client itself, for `call`; it belongs to the portal's thread.
    """

    def __init__(self, client: Client, portal: TrioPortal) -> None:
        self.trio_client = self._client = client
        self._portal = portal
        self._next: Running[Delivery | None] | None = None
        self._reading = asyncio.Lock()

    async def publish(self, event_type: str, data: Data) -> int:
        """Publish one event and wait until it is durable; returns its sequence number. Cancelling the wait does not withdraw the
        event. Raises PublishFailedError, OutboxFull, InvalidEvent, SessionClosed."""
        return await self.call(self._client.publish, event_type, data)

    async def move_cursor(self, data: Data) -> None:
        """Move this user's cursor; only the latest counts."""
        await self.call(self._client.move_cursor, data)

    async def health(self) -> Health:
        """The health at this moment, as a frozen value."""
        return await self.call(lambda: self._client.health)

    async def state(self) -> ClientState:
        return await self.call(lambda: self._client.state)

    async def call(self, function: Callable[[*Arguments], Awaitable[T]] | Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call a function in the client's thread, such as a method of the trio `Client`, and await its result."""
        return await result_of(self._portal.start(function, *arguments))

    @property
    def client_id(self) -> str:
        return self._client.client_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """If it is cancelled, nothing is lost: the next call returns what has arrived meanwhile."""
        async with self._reading:
            if self._next is None:
                self._next = self._portal.start(self._take)
            delivery = await result_of(self._next, cancels=False)
            self._next = None
        if delivery is None:
            raise StopAsyncIteration
        return delivery

    async def events(self) -> AsyncIterator[Event]:
        """Events only; snapshots and resets are left out."""
        async for delivery in self:
            if isinstance(delivery, Event):
                yield delivery

    async def stop_reading(self) -> bool:
        """At the end of the block: returns whether an outcome is lost that was taken for a wait which had been cancelled."""
        unread, self._next = self._next, None
        if unread is None:
            return False
        unread.cancel()
        try:
            await result_of(unread, cancels=False)
        except Exception:  # it was cancelled before it took one
            return False
        return True

    async def _take(self) -> Delivery | None:
        async for delivery in self._client:
            return delivery
        return None


async def result_of(running: Running[T], *, cancels: bool = True) -> T:
    """Await under asyncio what runs in a portal. Raises what it raises. `cancels`: cancelling the wait cancels it too."""
    loop = asyncio.get_running_loop()
    is_done = asyncio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits
            loop.call_soon_threadsafe(is_done.set)

    running.future.add_done_callback(wake)
    try:
        await is_done.wait()
    except asyncio.CancelledError:
        if cancels:
            running.cancel()
        raise
    return running.future.result()
