"""The pump: it owns the session machine, and is all that ever touches it.

Whatever happens - a call of the application's, a frame, the alarm - is one input. For each, without a pause in between: feed
it, carry out the actions, hand over the outcomes, arm the alarm for the next deadline. Nothing in that waits, so whichever task
brings an input turns the pump itself; there is no queue in front of the machine. SimPy turns the same machine in the same way.

Time is trio's clock, as whole nanoseconds.

**When the application does not read.** What it has not read waits in the mailbox, which is bounded. While that is full the pump
leaves frames with events where they are: it hands over as many events as there is room for, the link that brought them reads no
further, TCP fills up, and the server sees a reader that lags. An application that takes at least one event per second is served
like this for as long as it likes, at its own pace.

That cannot be the whole answer, because on the same stream of bytes pongs and answers stand behind the events. If nothing were
read, the connection would count as half-open and be left, the next one would fare no better; and an application that waits for
its own publish inside of its reading loop would wait for an answer that stands behind events that only it can take. So the pump
is patient for a second (`ClientSession.patience_s`) in which nothing is taken, and then lets the session
*hold*: it reads on, answers pings, takes answers and presence, and leaves the events to the server, its position unmoved. When
half of the mailbox has been read, the session takes up again from its position, exactly as after a lost connection. Nothing is
dropped; a reader whom the run has left too far behind gets a snapshot in place of what it missed, as always.
"""

import math
from collections.abc import Callable
from typing import ParamSpec, TypeVar, assert_never

import trio

from reference.client.mailbox import Mailbox
from reference.client.tap import LostConnection, QueuedPublish, ReceivedFrame, Tap, Tapped
from reference.client.tickets import Ticket, Tickets
from reference.client.transport import ClientTransport
from reference.protocol import frames
from reference.protocol.actions import ClientAction, Close, Open, RefreshToken, Send
from reference.protocol.client.outcomes import Outcome, PublishAccepted, PublishFailed, StateChanged
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import RemoteError
from reference.protocol.events import Data
from reference.protocol.timers import NS_PER_S

_BYTES_FED_EVERY_NS = NS_PER_S // 10  # the session's limits are seconds; a fast line need not tell it of every piece

P = ParamSpec("P")
T = TypeVar("T")


class ClientDriver:
    """Drives one session from `start` to its end."""

    def __init__(
        self,
        session: ClientSession,
        mailbox: Mailbox,
        *,
        nursery: trio.Nursery,
        make_link: Callable[[Open, "ClientDriver"], ClientTransport],
        refresh_token: Callable[[], None],
        tap: Tap | None,
    ) -> None:
        self.session = session
        self.tickets = Tickets({})
        self._mailbox = mailbox
        self._nursery = nursery
        self._make_link = make_link
        self._refresh_token = refresh_token
        self._taps: list[Tap] = [] if tap is None else [tap]
        self._links: dict[int, ClientTransport] = {}
        self._alarm = trio.CancelScope()
        self._turned = trio.lowlevel.ParkingLot()
        self._link_ended = trio.lowlevel.ParkingLot()
        self._holds = False
        self._bytes_fed_at: dict[frames.RequestKind | None, int] = {}
        self._worth_waiting_for = max(1, mailbox.outcomes_max // 4)
        self._patience_s = session.patience_s

    def now(self) -> int:
        return round(trio.current_time() * NS_PER_S)

    # ---- inputs ----

    def feed(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One input: `verb` is a method of the session, its arguments include the time. Raises what it raises."""
        result = verb(*args, **kwargs)
        self._turn()
        return result

    def publish(self, event_type: str, data: Data) -> Ticket:
        """The one input whose answer may come with it: the ticket is there before the outcomes are handed over."""
        now = self.now()
        ticket = self.tickets.issue(self.session.publish(event_type, data, now))
        self._tell(now, QueuedPublish(ticket.number, event_type, data))
        self._turn()
        return ticket

    async def run_alarm(self) -> None:
        """A task for the length of the session: feeds the passing of time."""
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self.feed(self.session.handle_timeout, self.now())

    def read_by_application(self) -> None:
        """Something was taken out of the mailbox."""
        if self._holds and self._mailbox.is_half_empty:
            self._holds = False
            self.feed(self.session.release_events, self.now())

    def add_tap(self, tap: Tap) -> None:
        """Tell one more, from now on."""
        self._taps.append(tap)

    # ---- what links report ----

    def opened(self, connection_id: int) -> None:
        self.feed(self.session.connection_opened, connection_id, self.now())

    def lost(self, connection_id: int, code: int | None, message: str, retry_after_ms: int | None) -> None:
        now = self.now()
        self._tell(now, LostConnection(connection_id, code, message, retry_after_ms))
        self.feed(self.session.connection_lost, connection_id, code, now, message=message, retry_after_ms=retry_after_ms)

    def bytes_came(self, connection_id: int, request: frames.RequestKind | None = None) -> None:
        now = self.now()
        if now - self._bytes_fed_at.get(request, -NS_PER_S) >= _BYTES_FED_EVERY_NS:
            self._bytes_fed_at[request] = now
            self.feed(self.session.bytes_received, connection_id, now, request=request)

    async def arrived(self, connection_id: int, frame: frames.Frame) -> None:
        match frame:
            case frames.Events(events=events):
                while (room := await self._room(len(events))) is not None and room < len(events):
                    self._receive(connection_id, frames.Events(events[:room]))
                    events = events[room:]
                self._receive(connection_id, frames.Events(events))
            case frames.SnapshotFrame() | frames.PollAnswer():
                await self._room()
                self._receive(connection_id, frame)
            case _:
                self._receive(connection_id, frame)

    def malformed(self, connection_id: int, error: RemoteError) -> None:
        self.feed(self.session.receive_malformed, connection_id, error, self.now())

    # ---- waiting for what the pump has done ----

    async def wait_for_turn(self) -> None:
        """Until the next input has been dealt with."""
        await self._turned.park()

    async def wait_for_links(self) -> None:
        """Until no connection is left, in any state of closing."""
        while self._links:
            await self._link_ended.park()

    # ---- inside ----

    def _tell(self, now: int, what: Tapped) -> None:
        for tap in self._taps:
            tap(now, what)

    def _turn(self) -> None:
        for action in self.session.take_actions():
            self._do(action)
        for outcome in self.session.take_outcomes():
            self._hand_over(outcome)
        deadline = self.session.next_deadline()
        self._alarm.deadline = math.inf if deadline is None else deadline / NS_PER_S
        self._turned.unpark_all()

    def _receive(self, connection_id: int, frame: frames.Frame) -> None:
        now = self.now()
        self._tell(now, ReceivedFrame(connection_id, frame))
        self.feed(self.session.receive_frame, connection_id, frame, now)

    async def _room(self, wanted: int = 1) -> int | None:
        """How many events there is room for, at least one; None: any number, for the session holds.

        It is worth some patience to get room for all that is wanted, or a good part of the mailbox: a reader that is a little too
        slow would otherwise be served event by event.
        """
        least = min(wanted, self._worth_waiting_for)
        if not self._holds and self._mailbox.room < least:
            with trio.move_on_after(self._patience_s):
                await self._mailbox.wait_for_room(least)
            if not self._holds and not self._mailbox.room:
                self._holds = True
                self.feed(self.session.hold_events, self.now())
        return None if self._holds else self._mailbox.room

    def _do(self, action: ClientAction) -> None:
        self._tell(self.now(), action)
        match action:
            case Open(connection_id=connection_id):
                link = self._links[connection_id] = self._make_link(action, self)
                self._nursery.start_soon(self._run_link, connection_id, link)
            case Send(connection_ids=connection_ids, frame=frame):
                for connection_id in connection_ids:
                    if connection_id in self._links:
                        self._links[connection_id].send(frame)
            case Close(connection_ids=connection_ids, code=code, message=message):
                for connection_id in connection_ids:
                    if connection_id in self._links:
                        self._links[connection_id].close(code, message)
            case RefreshToken():
                self._refresh_token()
            case _:
                assert_never(action)

    async def _run_link(self, connection_id: int, link: ClientTransport) -> None:
        try:
            await link.run()
        finally:
            del self._links[connection_id]
            self._link_ended.unpark_all()

    def _hand_over(self, outcome: Outcome) -> None:
        self._tell(self.now(), outcome)
        match outcome:
            case PublishAccepted() | PublishFailed():
                self.tickets.settle(outcome)
            case StateChanged():
                pass  # whoever waits for a state looks after each turn
            case _:
                self._mailbox.put(outcome)
