"""The IO of a client session on trio: transports in tasks, the alarm, the mailbox, and time as trio's clock in whole nanoseconds.

The loop itself is `reference.protocol.client.driver`. Whatever happens (a call of the application, a frame, the alarm) is one
input, and whichever task brings it runs the loop; nothing in that waits. All decisions are the session's, also that a slow
application pauses a connection (`reference.protocol.client.flow_control`).
"""

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import trio

from reference.client.mailbox import Delivery, Mailbox
from reference.client.tap import LostConnection, QueuedPublish, ReceivedFrame, Tap, Tapped
from reference.client.tickets import Ticket, Tickets
from reference.client.transport import ClientTransport
from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.flow_control import is_sequenced
from reference.protocol.client.outcomes import Outcome, PublishAccepted, PublishFailed, SessionEnded, StateChanged
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import RemoteError
from reference.protocol.events import Data
from reference.protocol.timers import NS_PER_S

_BYTES_FED_EVERY_NS = NS_PER_S // 10  # the session's limits are seconds; a fast line need not report every piece

P = ParamSpec("P")
T = TypeVar("T")


class TrioIO:
    """Serves one session from `start` to its end: its `ClientIO`, and the `Reports` of its transports."""

    def __init__(
        self,
        session: ClientSession,
        mailbox: Mailbox,
        *,
        nursery: trio.Nursery,
        make_transport: Callable[[Open, "TrioIO"], ClientTransport],
        get_token: Callable[[], None],
        tap: Tap | None,
    ) -> None:
        self.session = session
        self.tickets = Tickets({})
        self._driver = ClientDriver(session, self)
        self._mailbox = mailbox
        self._nursery = nursery
        self._make_transport = make_transport
        self._get_token = get_token
        self._taps: list[Tap] = [] if tap is None else [tap]
        self._transports: dict[int, ClientTransport] = {}
        self._alarm = trio.CancelScope()
        self._turned = trio.lowlevel.ParkingLot()
        self._transport_ended = trio.lowlevel.ParkingLot()
        self._bytes_fed_at: dict[frames.RequestKind | None, int] = {}

    def now(self) -> int:
        return round(trio.current_time() * NS_PER_S)

    # ---- inputs of the application ----

    def feed(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One input: `verb` is a method of the session, its arguments include the time. Raises what it raises."""
        return self._driver.feed(verb, *args, **kwargs)

    def publish(self, event_type: str, data: Data) -> Ticket:
        """The one input whose outcome may come with it: the ticket is there before outcomes are delivered."""
        now = self.now()
        ticket = self.tickets.issue(self.session.publish(event_type, data, now))
        self._notify_taps(now, QueuedPublish(ticket.number, event_type, data))
        self._driver.drain()
        return ticket

    def taken(self, delivery: Delivery) -> None:
        """The application has taken this out of the mailbox."""
        if not isinstance(delivery, SessionEnded) and is_sequenced(delivery):
            self.feed(self.session.application_took, 1, self.now())

    async def run_alarm(self) -> None:
        """A task for the length of the session: feeds the passing of time."""
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self._driver.ring(self.now())

    def add_tap(self, tap: Tap) -> None:
        """Notify one more, from now on."""
        self._taps.append(tap)

    # ---- what transports report ----

    def opened(self, connection_id: int) -> None:
        self.feed(self.session.connection_opened, connection_id, self.now())

    def lost(self, connection_id: int, code: int | None, message: str, retry_after_ms: int | None) -> None:
        now = self.now()
        self._notify_taps(now, LostConnection(connection_id, code, message, retry_after_ms))
        self.feed(self.session.connection_lost, connection_id, code, now, message=message, retry_after_ms=retry_after_ms)

    def bytes_came(self, connection_id: int, request: frames.RequestKind | None = None) -> None:
        now = self.now()
        if now - self._bytes_fed_at.get(request, -NS_PER_S) >= _BYTES_FED_EVERY_NS:
            self._bytes_fed_at[request] = now
            self.feed(self.session.bytes_received, connection_id, now, request=request)

    def arrived(self, connection_id: int, frame: frames.Frame) -> None:
        now = self.now()
        self._notify_taps(now, ReceivedFrame(connection_id, frame))
        self._driver.receive(connection_id, (frame,), now)

    def malformed(self, connection_id: int, error: RemoteError) -> None:
        self.feed(self.session.receive_malformed, connection_id, error, self.now())

    # ---- waiting for what the loop has done ----

    async def wait_for_turn(self) -> None:
        """Until the next input has been dealt with."""
        await self._turned.park()

    async def wait_for_transports(self) -> None:
        """Until no connection is left, in any state of closing."""
        while self._transports:
            await self._transport_ended.park()

    # ---- ClientIO ----

    def observe(self, actions: list[ClientAction]) -> None:
        if self._taps:
            now = self.now()
            for action in actions:
                self._notify_taps(now, action)

    def open(self, action: Open) -> None:
        transport = self._transports[action.connection_id] = self._make_transport(action, self)
        self._nursery.start_soon(self._run_transport, action.connection_id, transport)

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        if connection_id in self._transports:
            self._transports[connection_id].send(frame)

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        if connection_id in self._transports:
            self._transports[connection_id].close(code, message)

    def pause(self, connection_id: int) -> None:
        if connection_id in self._transports:
            self._transports[connection_id].pause()

    def resume(self, connection_id: int) -> None:
        if connection_id in self._transports:
            self._transports[connection_id].resume()

    def refresh_token(self) -> None:
        self._get_token()

    def deliver(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._notify_taps(self.now(), outcome)
            match outcome:
                case PublishAccepted() | PublishFailed():
                    self.tickets.settle(outcome)
                case StateChanged():
                    pass  # whoever waits for a state looks after each turn
                case _:
                    self._mailbox.put(outcome)

    def set_alarm(self, deadline: int | None) -> None:
        self._alarm.deadline = math.inf if deadline is None else deadline / NS_PER_S
        self._turned.unpark_all()

    # ---- inside ----

    def _notify_taps(self, now: int, what: Tapped) -> None:
        for tap in self._taps:
            tap(now, what)

    async def _run_transport(self, connection_id: int, transport: ClientTransport) -> None:
        try:
            await transport.run()
        finally:
            del self._transports[connection_id]
            self._transport_ended.unpark_all()
