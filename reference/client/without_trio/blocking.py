"""The client without `async`: the same session in a background thread, with blocking calls.

    with connect_blocking("http://127.0.0.1:8765", run_id, token=token) as client:
        client.publish("CHAT", {"text": "hello"})
        client.health, client.received()

For notebooks, scripts and the interactive prompt. The session runs in a `TrioPortal`, so it goes on between the cells of a
notebook: it pings, reconnects, receives. The newest `received_max` outcomes are kept and can be read at any time. Several
clients, and servers, can share one portal.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Self, TypeVar

import trio

from reference.client.client import Client
from reference.client.connecting import DRAIN_S, connect
from reference.client.mailbox import Delivery, Ticket
from reference.client.without_trio.portal import CALL_S_MAX, PortalTimeout, Running, TrioPortal
from reference.protocol.client.delivery import is_sequenced
from reference.protocol.client.health import Health
from reference.protocol.errors import ConfigError, LocalError
from reference.protocol.events import Data, Event
from reference.protocol.states import ClientState

__all__ = ["BlockingClient", "PortalTimeout", "Running", "TrioPortal", "connect_blocking"]

RECEIVED_MAX = 10_000

T = TypeVar("T")


def connect_blocking(
    url: str, run_id: str, *, portal: TrioPortal | None = None, received_max: int = RECEIVED_MAX, **options: Any
) -> "BlockingClient":
    """A client in the run `run_id` of the server at `url`, until it is closed.

    `portal`: runs the client (default: a new one). `received_max`: how many of the newest outcomes are kept. `options`:
    those of `connect`; with an `outbox_store`, an event counts as handled when it has arrived. Returns at once, whether the
    server can be reached or not; raises ConfigError.
    """
    if received_max < 1:
        raise ConfigError(f"received_max = {received_max}: must be >= 1")
    received: deque[Delivery] = deque(maxlen=received_max)
    home = TrioPortal() if portal is None else portal
    try:
        saves = options.get("outbox_store") is not None
        reading = _reading(connect(url, run_id, **options), received, saves=saves)
        client = home.enter(reading, closing_s=options.get("drain_s", DRAIN_S))
    except BaseException:
        if portal is None:
            home.close()
        raise
    return BlockingClient(client, home, received, owns_portal=portal is None)


class BlockingClient:
    """A `Client` whose methods block. Created by `connect_blocking`; usable from any thread but the portal's own.

    Every wait has a limit, `timeout_s`, and raises PortalTimeout when it has passed. Everything else raises what `Client` does.
    """

    def __init__(self, client: Client, portal: TrioPortal, received: "deque[Delivery]", *, owns_portal: bool) -> None:
        self._client = client
        self._portal = portal
        self._received = received
        self._owns_portal = owns_portal
        self._is_closed = False

    # ---- sending ----

    def publish(self, event_type: str, data: Data, *, timeout_s: float = CALL_S_MAX) -> int:
        """Publish one event and wait until it is durable; returns its sequence number.

        Raises PortalTimeout after `timeout_s`: the event is still queued then, and will be sent.
        """
        return self._portal.call(self._client.publish, event_type, data, timeout_s=timeout_s)

    def publish_soon(self, event_type: str, data: Data) -> Ticket:
        """Queue one event. The ticket's `result` is its outcome; `accepted` waits for that."""
        return self._portal.call(self._client.publish_soon, event_type, data)

    def accepted(self, ticket: Ticket, *, timeout_s: float = CALL_S_MAX) -> int:
        """Wait until a queued event is durable; returns its sequence number, raises PublishFailedError."""
        return self._portal.call(ticket.accepted, timeout_s=timeout_s)

    def move_cursor(self, data: Data) -> None:
        self._portal.call(self._client.move_cursor, data)

    def set_token(self, token: str) -> None:
        """Use a new token from now on. Raises ConfigError for one that no header can carry."""
        self._portal.call(self._client.set_token, token)

    def network_returned(self) -> None:
        """The network of this machine is back: end the wait for the next attempt."""
        self._portal.call(self._client.network_returned)

    # ---- receiving ----

    def received(self) -> tuple[Delivery, ...]:
        """All outcomes received so far, in order: events and the reports between them. In a long session, the newest ones."""
        return self._look(lambda: tuple(self._received))

    def events(self) -> tuple[Event, ...]:
        """The sequenced events among them."""
        return tuple(item for item in self.received() if isinstance(item, Event) and item.sequence_number is not None)

    # ---- state ----

    @property
    def client_id(self) -> str:
        return self._client.client_id

    @property
    def state(self) -> ClientState:
        return self._look(lambda: self._client.state)

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and number of the last event received."""
        return self._look(lambda: self._client.position)

    @property
    def active_users(self) -> tuple[str, ...]:
        return self._look(lambda: self._client.active_users)

    @property
    def queued_messages(self) -> int:
        return self._look(lambda: self._client.queued_messages)

    @property
    def health(self) -> Health:
        """The health at this moment, as a frozen value."""
        return self._look(lambda: self._client.health)

    def wait_until(self, condition: ClientState | Callable[[Client], bool], *, timeout_s: float = CALL_S_MAX) -> None:
        """Wait for a state, or until `condition(client)` is true; it is called in the portal's thread, and must be fast."""
        self._portal.call(self._client.wait_until, condition, timeout_s=timeout_s)

    def watch(self, function: Callable[[Client], Awaitable[T]]) -> Running[T]:
        """Start a task with the trio `Client`, in the portal's thread, where nothing may block; it ends with the portal.

        Raises LocalError if the portal is closed.
        """
        return self._portal.start(function, self._client)

    # ---- closing ----

    def close(self) -> None:
        """Leave the run. Received outcomes can still be read. Calling it again does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if not self._portal.is_closed:
                self._portal.leave(self._client)
        finally:
            if self._owns_portal:
                self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Blocking{self._look(lambda: repr(self._client))[1:]}"

    def _look(self, at: Callable[[], T]) -> T:
        if not self._portal.is_closed:
            with suppress(LocalError):  # the portal was closed at this moment
                return self._portal.call(at)
        return at()  # nothing runs any more, so it is safe in this thread


@asynccontextmanager
async def _reading(
    connecting: AbstractAsyncContextManager[Client], received: "deque[Delivery]", *, saves: bool
) -> AsyncIterator[Client]:
    """The client, with a task that reads all outcomes. `saves`: it has an outbox store."""

    async def read(client: Client) -> None:
        async for delivery in client:
            received.append(delivery)

    client: Client | None = None
    try:
        async with connecting as client, trio.open_nursery() as nursery:
            nursery.start_soon(read, client)
            yield client
            nursery.cancel_scope.cancel()
    finally:
        if client is not None:
            async for delivery in client:  # what arrived during closing
                client.forget_taken()  # the store is closed
                if not (saves and is_sequenced(delivery)):  # these come again after a restart
                    received.append(delivery)
