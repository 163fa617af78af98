"""The I/O of a client session on trio: transports in tasks, alarm, mailbox, log, and time in whole nanoseconds.

The loop itself is `reference.protocol.client.driver`. Everything that happens (a call of the application, a frame, the alarm) is
one input, and the task that brings it runs the loop, which never waits. The session makes all decisions, including when a slow
application pauses a connection (`reference.protocol.client.delivery`).
"""

import logging
import math
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import trio

from reference.client.mailbox import Delivery, Mailbox, Ticket, Tickets
from reference.client.outbox_store import OutboxStore, OutboxStoreFailed
from reference.client.transport import ClientTransport, LostConnection, QueuedPublish, ReceivedFrame, Tap, Tapped
from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.delivery import is_sequenced
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import (
    FailureCode,
    NotConnected,
    Outcome,
    PublishAccepted,
    PublishFailed,
    ResetReceived,
    SessionEnded,
    SnapshotReceived,
    StateChanged,
)
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import RemoteError
from reference.protocol.events import Data, Event
from reference.protocol.saved_session import Change, PositionSaved
from reference.protocol.timers import NS_PER_S

log = logging.getLogger("steadywire.client")
_BYTES_FED_EVERY_NS = NS_PER_S // 10  # the session's limits are seconds; a fast connection need not report every piece

P = ParamSpec("P")
T = TypeVar("T")


class TrioIO:
    """Serves one session from `start` to its end: it is its `ClientIO`, and the `Reports` of its transports."""

    def __init__(
        self,
        session: ClientSession,
        mailbox: Mailbox,
        *,
        nursery: trio.Nursery,
        make_transport: Callable[[Open, "TrioIO"], ClientTransport],
        get_token: Callable[[], None],
        tap: Tap | None,
        run_id: str,
        store: OutboxStore | None = None,
    ) -> None:
        self.session = session
        self._store = store
        self._taken = _Taken()
        self.failure: Exception | None = None
        """The error that ended the session and cancelled the nursery."""
        self._run_id = run_id
        self._clock = SessionClock()
        self._now = self._clock.now()
        self._has_reported = False  # whether the log has a line that the session is not connected
        self.tickets = Tickets()
        self.unseen: list[Ticket] = []
        """Publishes that failed at the end of the session without being awaited; bounded by the outbox."""
        self._logged_failures: dict[str, None] = {}
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
        """The session's time, in ns. Read once for each input: all results of an input have its time, also for the taps."""
        self._now = self._clock.now()
        return self._now

    # ---- inputs from the application ----

    def feed(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Feed one input: `verb` is a method of the session, its arguments include the time. Raises what `verb` raises."""
        return self._driver.feed(verb, *args, **kwargs)

    def publish(self, event_type: str, data: Data) -> Ticket:
        """Publish; the ticket exists before the outcomes of this input are delivered."""
        now = self.now()
        ticket = self.tickets.issue(self.session.publish(event_type, data, now))
        if self._taps:
            self._notify_taps(now, QueuedPublish(ticket.number, event_type, data))
        self._driver.drain()
        return ticket

    def handled(self) -> None:
        """The application asks for the next outcome, or its block has ended without an error: it has handled everything that it
        has taken."""
        if self._store is not None and (position := self._taken.unsaved()) is not None:
            self.save(position)

    def forget_taken(self) -> None:
        """The application has not handled what it has taken last."""
        self._taken.unsaved()

    def taken(self, delivery: Delivery) -> None:
        """The application has taken this from the mailbox."""
        if not isinstance(delivery, SessionEnded) and is_sequenced(delivery):
            self.feed(self.session.application_took, 1, self.now())
            if self._store is not None:
                self._taken.took(delivery)

    async def run_alarm(self) -> None:
        """A task for the whole session: feeds the passing of time."""
        while True:
            with self._alarm:
                await trio.sleep_forever()
            self._alarm = trio.CancelScope()
            self._driver.ring(self.now())

    @property
    def ended(self) -> SessionEnded:
        """How the session ended; call only after that."""
        ended = self.session.ended
        assert ended is not None, "asked for after the end"
        return ended

    def add_tap(self, tap: Tap) -> None:
        """Add a tap, which is notified from now on."""
        self._taps.append(tap)

    # ---- reports of transports ----

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
        if self._taps:  # for most sessions nobody watches
            self._notify_taps(now, ReceivedFrame(connection_id, frame))
        self._driver.receive(connection_id, (frame,), now)

    def malformed(self, connection_id: int, error: RemoteError) -> None:
        self.feed(self.session.receive_malformed, connection_id, error, self.now())

    # ---- waiting for the loop ----

    async def wait_for_turn(self) -> None:
        """Wait until the next input has been processed."""
        await self._turned.park()

    async def wait_for_transports(self) -> None:
        """Wait until no connection is left, including closing ones."""
        while self._transports:
            await self._transport_ended.park()

    # ---- ClientIO ----

    def observe(self, actions: list[ClientAction]) -> None:
        for action in actions:
            self._notify_taps(self._now, action)

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

    def save(self, change: Change) -> None:
        assert self._store is not None, "only a session with a store saves"
        if self.failure is None:
            try:
                self._store.save(change)
            except OSError as error:
                self.failure = OutboxStoreFailed(f"the outbox store failed: {error.strerror or error}")
                self._nursery.cancel_scope.cancel()

    def refresh_token(self) -> None:
        self._get_token()

    def deliver(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._notify_taps(self._now, outcome)
            match outcome:
                case PublishAccepted():
                    self.tickets.settle(outcome)
                case PublishFailed():
                    self._publish_failed(outcome)
                case StateChanged(is_carried=is_carried):
                    if is_carried and self._has_reported:
                        self._has_reported = False
                        log.info("run %s: connected by %s", self._run_id, self.session.transport)
                case _:
                    self._log(outcome)
                    if self._store is not None:
                        self._taken.waits(outcome, self.session.position[0])
                    self._mailbox.put(outcome)

    def set_alarm(self, deadline: int | None) -> None:
        self._alarm.deadline = math.inf if deadline is None else self._clock.in_trios_time(deadline)
        self._turned.unpark_all()

    # ---- internal ----

    def _publish_failed(self, failed: PublishFailed) -> None:
        """The ticket gets the failure. A failure at the end of the session that is not awaited is also raised at the end of the
        block; of failures for other reasons the first is logged."""
        ticket = self.tickets.settle(failed)
        if ticket is None or not ticket.is_lost_unseen:
            return
        if failed.code == FailureCode.CLOSED:
            self.unseen.append(ticket)
        elif failed.code not in self._logged_failures:
            self._logged_failures[failed.code] = None
            log.warning("run %s: publish %d failed: %s [%s]", self._run_id, failed.ticket, failed.message, failed.code)

    def _log(self, outcome: Outcome) -> None:
        match outcome:
            case NotConnected(code=code, reason=reason):
                self._has_reported = True
                log.warning("run %s: not connected, trying again: %s%s", self._run_id, reason, _in_brackets(code))
            case SessionEnded(code=int(code), message=message):
                log.error("run %s: session ended for good: %s%s", self._run_id, message, _in_brackets(code))
            case _:
                pass

    def _notify_taps(self, now: int, what: Tapped) -> None:
        for tap in self._taps:
            tap(now, what)

    async def _run_transport(self, connection_id: int, transport: ClientTransport) -> None:
        try:
            await transport.run()
        finally:
            del self._transports[connection_id]
            self._transport_ended.unpark_all()


_NOTICED_NS = NS_PER_S // 2
"""A smaller difference is the time between the two readings, on a busy machine."""


def suspended_ns() -> int:
    """How long this machine has been suspended since it was booted, in ns; 0 if the system does not know."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return 0 if boot_time is None else time.clock_gettime_ns(boot_time) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class SessionClock:
    """The clock of a session: trio's, plus the time for which the machine was suspended. Never goes backwards.

    trio's clock stops while a laptop sleeps or a virtual machine is paused. For the session that time has passed: publishes grow
    old, and a connection is probably dead. If the system reports it (Linux: CLOCK_BOOTTIME), it is added at the next reading
    after the suspend. `suspended`: reads the suspended time, in ns.
    """

    def __init__(self, suspended: Callable[[], int] = suspended_ns) -> None:
        self._suspended = suspended
        self._began = suspended()
        self._added = 0

    def now(self) -> int:
        """In ns."""
        added = self._suspended() - self._began
        if added - self._added > _NOTICED_NS:
            self._added = added
        return round(trio.current_time() * NS_PER_S) + self._added

    def in_trios_time(self, at: int) -> float:
        """A time of this clock in seconds of trio's clock, unless the machine is suspended before."""
        return (at - self._added) / NS_PER_S


class _Taken:
    """The position of an application: of the last outcome that it has taken.

    An event does not name its history, and the session may have moved on to another one while the event waited.
    """

    def __init__(self) -> None:
        self._epoch: str | None = None
        self._unsaved: PositionSaved | None = None

    def waits(self, outcome: Outcome, epoch: str | None) -> None:
        """An outcome of the session, which is in the history `epoch` now, waits to be taken."""
        if self._epoch is None and isinstance(outcome, Event) and outcome.sequence_number is not None:
            self._epoch = epoch  # the first event without a snapshot before it

    def took(self, delivery: Delivery) -> None:
        """The application has taken this."""
        match delivery:
            case SnapshotReceived(epoch=epoch, snapshot=snapshot) | ResetReceived(epoch=epoch, snapshot=snapshot):
                self._epoch = epoch
                self._unsaved = PositionSaved(epoch, snapshot.sequence_number)
            case Event(sequence_number=int(number)):
                assert self._epoch is not None, "an event has come, so there is a history"
                self._unsaved = PositionSaved(self._epoch, number)
            case _:
                pass

    def unsaved(self) -> PositionSaved | None:
        """The position, once after each change."""
        position, self._unsaved = self._unsaved, None
        return position


def _in_brackets(code: int | None) -> str:
    return "" if code is None else f" [{code}]"
