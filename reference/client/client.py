"""The client: what an application can do in a run, and what it receives.

`connect` creates a `Client`, which is valid until that block ends. Any number of tasks of the same trio run may use it.
Publishing works from the start, connected or not: events wait in the outbox and are sent, in order, when there is a connection.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from reference.client.addresses import check_token
from reference.client.mailbox import Delivery, Mailbox, Ticket
from reference.client.recorder import SessionRecording
from reference.client.trio_io import TrioIO
from reference.protocol.client.health import Health
from reference.protocol.client.outcomes import SessionEnded
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import SessionClosed
from reference.protocol.events import Data, Event
from reference.protocol.frames import Limits
from reference.protocol.policies.fallback import FallbackPolicy
from reference.protocol.policies.keepalive import HeartbeatPolicy
from reference.protocol.policies.reconnect import ReconnectPolicy
from reference.protocol.states import ClientState
from reference.protocol.statistics import Held
from reference.protocol.timers import NS_PER_S

LOOK_INTERVAL_S = 0.1


class Client:
    """One client in one run. As an async iterator it yields what is received: events in order, and between them the reports that
    an application must know of (`reference.protocol.client.outcomes`); the last one is SessionEnded.

    Several tasks may iterate: each outcome goes to one of them.
    """

    def __init__(
        self,
        run_id: str,
        session: ClientSession,
        io: TrioIO,
        mailbox: Mailbox,
        policy: ReconnectPolicy,
        fallback: FallbackPolicy | None,
        heartbeat: HeartbeatPolicy | None,
        restored: tuple[Ticket, ...] = (),
    ) -> None:
        """`policy`, `fallback` and `heartbeat` are those of the session, for its recordings."""
        self.run_id = run_id
        self.restored = restored
        """Publishes from before the program restarted that were not settled (`outbox_store`), in order."""
        self._session = session
        self._io = io
        self._mailbox = mailbox
        self._policy = policy
        self._fallback = fallback
        self._heartbeat = heartbeat

    # ---- sending ----

    async def publish(self, event_type: str, data: Data) -> int:
        """Publish one event; returns its sequence number once it is durable, however often the connection is lost on the way.

        Raises InvalidEvent, OutboxFull or SessionClosed if nothing was queued, PublishFailedError if a queued event was given up.
        Cancelling the wait does not withdraw the event.
        """
        return await self.publish_soon(event_type, data).accepted()

    def publish_soon(self, event_type: str, data: Data) -> Ticket:
        """Queue one event and return at once; `await ticket.accepted()` waits for the result.

        Raises InvalidEvent, OutboxFull or SessionClosed; then nothing was queued.
        """
        return self._io.publish(event_type, data)

    def move_cursor(self, data: Data) -> None:
        """Show this user's cursor to the others. Only the latest counts. Raises InvalidEvent or SessionClosed."""
        self._io.feed(self._session.move_cursor, data, self._io.now())

    def set_token(self, token: str) -> None:
        """Use a new token from now on, which the application has got without being asked (7.37). Raises ConfigError for one that
        no header can carry."""
        check_token(token)
        self._io.feed(self._session.handle_token, token, self._io.now())

    def network_returned(self) -> None:
        """The network of this machine is back: end the wait for the next attempt (7.44). Has no effect if there is no such
        wait."""
        self._io.feed(self._session.network_returned, self._io.now())

    # ---- receiving ----

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> Delivery:
        self._io.handled()
        delivery = await self._mailbox.take()
        if delivery is None:
            raise StopAsyncIteration
        self._io.taken(delivery)
        return delivery

    def forget_taken(self) -> None:
        """The outcome that was taken last was not handled: it comes again after a restart of the program (`outbox_store`)."""
        self._io.forget_taken()

    def events(self) -> "EventStream":
        """Events only. After a long absence numbers may be skipped without notice, because snapshots and resets are left out; an
        application that keeps a state of the run must iterate the client itself."""
        return EventStream(self)

    # ---- state ----

    @property
    def client_id(self) -> str:
        return self._session.client_id

    @property
    def state(self) -> ClientState:
        return self._session.state

    @property
    def is_carried(self) -> bool:
        """Whether a welcomed WebSocket or answered polls carry the session now."""
        return self._session.is_carried

    @property
    def position(self) -> tuple[str | None, int]:
        """Epoch and number of the last event received, including events that wait to be read."""
        return self._session.position

    @property
    def active_users(self) -> tuple[str, ...]:
        """Users present in the run, sorted."""
        return self._session.active_users

    @property
    def queued_messages(self) -> int:
        """Publishes that are not settled."""
        return self._session.queued_messages

    @property
    def held(self) -> tuple[Held, ...]:
        """The current size of everything that can grow in the session, each with its limit (G7)."""
        return self._session.statistics().held

    @property
    def limits(self) -> Limits | None:
        """The server's limits from its last welcome; None before the first."""
        return self._session.statistics().limits

    @property
    def health(self) -> Health:
        """The health at this moment, as a frozen value."""
        return self._session.health()

    @property
    def ended(self) -> SessionEnded | None:
        """How the session ended; None while it has not."""
        return self._session.ended

    @property
    def next_attempt_s(self) -> float | None:
        """Seconds until the next WebSocket is opened; None if one is open or none will be opened."""
        at = self._session.next_attempt_at
        return None if at is None else max(0.0, (at - self._io.now()) / NS_PER_S)

    @property
    def round_trips_ms(self) -> tuple[float, ...]:
        """The last round trips, in ms, oldest first."""
        return self._session.round_trips_ms

    @property
    def cursors(self) -> dict[str, Data]:
        """The users' cursors, this client's own among them: user to data."""
        return dict(self._session.cursors)

    def health_changes(self) -> "HealthChanges":
        """The health now, and then each change: only the latest, at most ten times a second."""
        return HealthChanges(self._session.health, self._io.wait_for_turn, lambda: self.state is ClientState.CLOSED)

    def record(self, path: Path | str) -> SessionRecording:
        """Record this session from now on, for `steadywire what-if`: times, numbers and sizes; no token, no message.

        It goes on until the session ends, or the recording is ended (a context manager). Raises ConfigError if the file
        exists or cannot be written.
        """
        recording = SessionRecording(
            Path(path),
            self.run_id,
            self._session,
            self._policy,
            self._io.now(),
            fallback=self._fallback,
            heartbeat=self._heartbeat,
        )
        self._io.add_tap(recording.tap)
        return recording

    async def wait_until(self, condition: "ClientState | Callable[[Client], bool]") -> None:
        """Wait for a state, or until `condition(client)` is true; it is called after each input, and must be fast.

        Raises SessionClosed if the session ends before that.
        """
        await trio.lowlevel.checkpoint()
        while not (self.state is condition if isinstance(condition, ClientState) else condition(self)):
            if self.state is ClientState.CLOSED:
                ended = self._io.ended
                raise SessionClosed(f"the session ended before the condition was met: {ended.message}", ended.code)
            await self._io.wait_for_turn()

    def __repr__(self) -> str:
        return f"<Client {self.client_id} of run {self.run_id}: {self.state.value}, position {self.position[1]}>"


class EventStream:
    """An async iterator over a client's events."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        async for delivery in self._client:
            if isinstance(delivery, Event):
                return delivery
        raise StopAsyncIteration


class HealthChanges:
    """A client's health, each time it has changed: an async iterator that ends after the health at the session's end.

    Nothing is queued: the health is read when the reader asks for it, at most every LOOK_INTERVAL_S, so a slow reader costs
    nothing and always gets the latest value.
    """

    def __init__(
        self, look: Callable[[], Health], wait_for_turn: Callable[[], Awaitable[None]], is_over: Callable[[], bool]
    ) -> None:
        self._look = look
        self._wait_for_turn = wait_for_turn
        self._is_over = is_over
        self._last: Health | None = None
        self._next_look_at = -float("inf")

    def __aiter__(self) -> "HealthChanges":
        return self

    async def __anext__(self) -> Health:
        while True:
            await trio.sleep_until(self._next_look_at)
            self._next_look_at = trio.current_time() + LOOK_INTERVAL_S
            health = self._look()
            if health != self._last:
                self._last = health
                return health
            if self._is_over():
                raise StopAsyncIteration
            await self._wait_for_turn()
