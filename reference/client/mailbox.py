"""What an application holds of its client: outcomes that wait to be read, and tickets of its publishes.

In the mailbox sequenced events and snapshots wait in order. The session limits their number: it delivers no more than the
application has room for (`reference.protocol.client.delivery`). Presence and cursors are latest values: for each user at
most one leave, one join and one cursor wait, so a busy run costs an idle reader no more than its number of users. A cursor takes
the place of the one before. A leave removes what waits of that user, and stays when the user returns: the application may know a
cursor that ended with it. Of the reasons why the session is not connected only the newest waits. The end of the session is the
last outcome.

A ticket is the handle of one publish that is not settled yet.
"""

from collections import OrderedDict
from collections.abc import Sequence

import trio

from reference.protocol.client.outcomes import (
    NotConnected,
    PublishAccepted,
    PublishFailed,
    ResetReceived,
    SessionEnded,
    SnapshotReceived,
)
from reference.protocol.errors import SteadywireError
from reference.protocol.events import CURSOR_MOVE, USER_JOIN, USER_LEAVE, Event

Delivery = Event | SnapshotReceived | ResetReceived | NotConnected | SessionEnded
"""What an application reads from a client."""

_Key = int | tuple[str, str]


class Mailbox:
    """Bounded by what the session delivers, and by the users of the run."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[_Key, Delivery] = OrderedDict()
        self._next_key = 0
        self._is_finished = False
        self._filled = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, delivery: Delivery) -> None:
        """Add an outcome."""
        if isinstance(delivery, Event) and delivery.sequence_number is None:
            if delivery.event_type == USER_LEAVE:
                for event_type in (USER_LEAVE, USER_JOIN, CURSOR_MOVE):
                    self._waiting.pop((event_type, delivery.user_id), None)
            self._waiting[delivery.event_type, delivery.user_id] = delivery
        elif isinstance(delivery, NotConnected):
            self._waiting["not connected", ""] = delivery
        else:
            self._waiting[self._next_key] = delivery
            self._next_key += 1
        self._is_finished = self._is_finished or isinstance(delivery, SessionEnded)
        self._filled.unpark_all()

    async def take(self) -> Delivery | None:
        """The oldest outcome, or the next to arrive; None when the session has ended and all outcomes are read. Always a
        checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._is_finished:
                return None
            await self._filled.park()
        _, delivery = self._waiting.popitem(last=False)
        return delivery


class PublishFailedError(SteadywireError):
    """A publish failed for good.

    `code`: a RejectCode if the server refused it, a FailureCode if this client gave it up. `may_have_arrived`: a copy was sent
    and never answered, so the event may be in the log.
    """

    def __init__(self, code: str, message: str, *, may_have_arrived: bool) -> None:
        doubt = "; it may have arrived" if may_have_arrived else ""
        super().__init__(f"{message} [{code}]{doubt}")
        self.code = code
        self.message = message
        self.may_have_arrived = may_have_arrived


class UndeliveredError(SteadywireError):
    """The block of `connect` has ended, and some of its publishes were not accepted and their results not awaited.

    `failures`: their outcomes, in the order of their publishes.
    """

    def __init__(self, failures: Sequence[PublishFailed], waited_s: float) -> None:
        first = failures[0]
        doubt = ", some of which may have arrived" if any(failure.may_have_arrived for failure in failures) else ""
        super().__init__(
            f"{len(failures)} publishes were not accepted within the {waited_s:g} s of drain_s{doubt}; the first: "
            f"{first.message} [{first.code}]. Wait for `publish` or `Ticket.accepted`, raise drain_s, or pass an outbox_store"
        )
        self.failures = tuple(failures)


class Ticket:
    """One published event, identified by its number in this client."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._settled = trio.Event()
        self._is_watched = False
        self._result: PublishAccepted | PublishFailed | None = None

    @property
    def result(self) -> PublishAccepted | PublishFailed | None:
        """The result; None while there is none."""
        self._is_watched = self._is_watched or self._result is not None
        return self._result

    @property
    def is_lost_unseen(self) -> bool:
        """Whether it has failed and no task has waited for it or read its result."""
        return isinstance(self._result, PublishFailed) and not self._is_watched

    @property
    def failure(self) -> PublishFailed:
        """The failure; only for a failed one."""
        assert isinstance(self._result, PublishFailed), "asked of one that has failed"
        return self._result

    async def accepted(self) -> int:
        """Wait until the event is durable and return its sequence number; raises PublishFailedError.

        May be called by any number of tasks, at any time, also after the block. Cancelling it does not withdraw the event.
        """
        self._is_watched = True
        await self._settled.wait()
        result = self._result
        if isinstance(result, PublishAccepted):
            return result.sequence_number
        assert result is not None, "the event is set together with the result"
        raise PublishFailedError(result.code, result.message, may_have_arrived=result.may_have_arrived)

    def settle(self, result: PublishAccepted | PublishFailed) -> None:
        """Called by the client once, when the publish is accepted or has failed."""
        assert self._result is None, "a ticket is settled once"
        self._result = result
        self._settled.set()

    def __repr__(self) -> str:
        return f"Ticket({self.number}, {'waiting' if self._result is None else self._result})"


class Tickets:
    """The unsettled tickets of one client. Bounded by the outbox: a publish that is not in it is settled."""

    def __init__(self) -> None:
        self._unsettled: dict[int, Ticket] = {}

    def issue(self, number: int) -> Ticket:
        """The ticket of a publish that is in the outbox under this number."""
        ticket = self._unsettled[number] = Ticket(number)
        return ticket

    def settle(self, result: PublishAccepted | PublishFailed) -> Ticket | None:
        """Give the ticket its result, and return it; None if it was not issued here."""
        ticket = self._unsettled.pop(result.ticket, None)
        if ticket is not None:
            ticket.settle(result)
        return ticket
