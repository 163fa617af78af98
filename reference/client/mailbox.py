"""The mailbox: what has been received and not yet read by the application.

Sequenced events and snapshots wait in order, and each of them counts; when `outcomes_max` of them wait, the mailbox is full and
the pump takes no more (see `pump`). Presence and cursors are latest values: of each user only the newest join or leave and the
newest cursor wait, in the place of the one before, so a busy room costs an idle reader no more than its number of users. They
do not count, and no number of them delays an event.

The end of the session is the last thing in it.
"""

from collections import OrderedDict

import trio

from reference.protocol.client.outcomes import ResetReceived, SessionEnded, SnapshotReceived
from reference.protocol.events import CURSOR_MOVE, Event

Delivery = Event | SnapshotReceived | ResetReceived | SessionEnded
"""What an application reads from a client."""

_Key = int | tuple[str, str]


class Mailbox:
    """Bounded by `outcomes_max` sequenced outcomes, and by the users of the run."""

    def __init__(self, outcomes_max: int) -> None:
        self.outcomes_max = outcomes_max
        self._waiting: OrderedDict[_Key, Delivery] = OrderedDict()
        self._counted = 0
        self._next_key = 0
        self._is_finished = False
        self._filled = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many more sequenced outcomes may come."""
        return max(0, self.outcomes_max - self._counted)

    @property
    def is_half_empty(self) -> bool:
        return self._counted <= self.outcomes_max // 2

    def put(self, delivery: Delivery) -> None:
        """Let one wait to be read. Never refused: whoever fills the mailbox asks for `room` before."""
        if isinstance(delivery, Event) and delivery.sequence_number is None:
            kind = "cursor" if delivery.event_type == CURSOR_MOVE else "presence"
            self._waiting[kind, delivery.user_id] = delivery
        else:
            self._waiting[self._next_key] = delivery
            self._next_key += 1
            self._counted += 1
        self._is_finished = self._is_finished or isinstance(delivery, SessionEnded)
        self._filled.unpark_all()

    async def take(self) -> Delivery | None:
        """The oldest that waits, or the next to come; None when the session has ended and all is read. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._is_finished:
                return None
            await self._filled.park()
        key, delivery = self._waiting.popitem(last=False)
        if isinstance(key, int):
            self._counted -= 1
            self._emptied.unpark_all()
        return delivery

    async def wait_for_room(self, least: int) -> None:
        """Until there is room for `least` more; at most `outcomes_max` can be asked for."""
        while self.room < least:
            await self._emptied.park()
