"""The client's inbox: sequenced events to the application in order, each once.

The position is the number of the last event handed over, in one epoch. The next number is delivered; anything at or below is a
copy and is dropped; anything above is held and means that something between is missing, which only a reconnect with the position
can bring. Two transports may feed one inbox at the same time, as they do while WebSocket is probed behind polling.
"""

from collections.abc import Iterable

import msgspec

from reference.protocol.events import Event


class Received(msgspec.Struct, frozen=True):
    """What became of a batch. `gap`: a number between the position and the batch is missing."""

    deliver: list[Event]
    duplicates: int
    gap: bool


class Inbox:
    """Order, duplicates and gaps of one client in one run."""

    __slots__ = (
        "_held",
        "_held_max",
        "epoch",
        "last",
    )

    def __init__(self, held_max: int) -> None:
        self._held_max = held_max
        self._held: dict[int, Event] | None = None  # made when the first is missing
        self.epoch: str | None = None
        self.last = 0

    @property
    def held(self) -> int:
        """How many events wait for one that is missing."""
        return len(self._held) if self._held else 0

    def start_at(self, epoch: str, sequence_number: int) -> None:
        """Take a new position: everything up to `sequence_number` in `epoch` is known by other means."""
        if epoch != self.epoch or sequence_number < self.last:
            self._held = None  # what is held belongs to a history that is gone
        self.epoch = epoch
        self.last = sequence_number
        if self._held:
            self._held = {number: event for number, event in self._held.items() if number > sequence_number}

    def receive(self, events: Iterable[Event]) -> Received:
        """Sort a batch: what to hand over now, what was known, and whether something is missing."""
        deliver: list[Event] = []
        duplicates = 0
        if self._held:
            self._release(self._held, deliver)
        for event in events:
            number = event.sequence_number
            assert number is not None, "only sequenced events come in an events frame"
            if number == self.last + 1:
                self.last = number
                deliver.append(event)
                if self._held:
                    self._release(self._held, deliver)
            elif number <= self.last or (self._held and number in self._held):
                duplicates += 1
            elif self.held < self._held_max:
                if self._held is None:
                    self._held = {}
                self._held[number] = event
        return Received(deliver, duplicates, bool(self._held))

    def _release(self, held: dict[int, Event], deliver: list[Event]) -> None:
        while (event := held.pop(self.last + 1, None)) is not None:
            self.last += 1
            deliver.append(event)
