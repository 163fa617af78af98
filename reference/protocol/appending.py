"""When what is sequenced goes to the store: one batch at a time, and larger ones when the run is busy.

What is published while a batch is with the store becomes the next one, so a busy run is stored, encoded and pushed in larger
pieces, without a setting for it. And a fan-out that took a while is followed by as long a time for everything else, in which more
is published: a batch of fifty events costs a thousand readers hardly more than a batch of one. A quiet run never waits.
"""

from reference.protocol.records import Append
from reference.protocol.run_desk import THE_RUN, RunDesk, RunTimer
from reference.protocol.sequencer import Sequencer
from reference.protocol.timers import ns


class Appending:
    """Owns the batch that is with the store."""

    __slots__ = ("_desk", "_gathers", "_sequencer", "_under_way")

    def __init__(self, desk: RunDesk, sequencer: Sequencer) -> None:
        self._desk = desk
        self._sequencer = sequencer
        self._under_way: Append | None = None
        self._gathers = True

    @property
    def events_under_way(self) -> int:
        """Of the batch that is with the store."""
        return 0 if self._under_way is None else len(self._under_way.entries)

    def take(self) -> Append | None:
        """The next batch, if there is one and it may go."""
        if self._under_way is None and self._sequencer.has_append and (RunTimer.GATHER, THE_RUN) not in self._desk.timers:
            self._under_way = self._sequencer.take_append()
            return self._under_way
        return None

    def landed(self, append: Append) -> None:
        """The batch is durable."""
        assert append is self._under_way, "the store answers for the batch that it was given, once"
        self._under_way = None
        self._sequencer.appended(append.entries[-1].sequence_number)

    def hurry(self) -> None:
        """The server stops: what has a number goes to the store without gathering more."""
        self._gathers = False
        self._desk.timers.cancel((RunTimer.GATHER, THE_RUN))

    def fanned_out(self, took: int, now: int) -> None:
        """A batch has been pushed to the readers, which took so many ns."""
        took = min(took, ns(self._desk.config.gather_max_s))
        if took > 0 and self._gathers:
            self._desk.timers.set((RunTimer.GATHER, THE_RUN), now + took)
