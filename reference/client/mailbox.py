"""The mailbox: outcomes received and not yet read by the application.

Sequenced events and snapshots wait in order. The session limits their number: it delivers no more than the application has room
for (`reference.protocol.client.flow_control`). Presence and cursors are latest values: for each user only the newest join or
leave and the newest cursor wait, in the place of the one before, so a busy run costs an idle reader no more than its number of
users. Of the reasons why the session is not connected only the newest waits.

The end of the session is the last outcome.
"""

from collections import OrderedDict

import trio

from reference.protocol.client.outcomes import NotConnected, ResetReceived, SessionEnded, SnapshotReceived
from reference.protocol.events import CURSOR_MOVE, Event

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
            kind = "cursor" if delivery.event_type == CURSOR_MOVE else "presence"
            self._waiting[kind, delivery.user_id] = delivery
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
