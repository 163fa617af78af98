"""Virtual time: SimPy's event queue, and what happens first when several things happen at once.

A `Call` is the smallest event that SimPy can hold: one function, called once. Nothing here is a SimPy process, because a
process per message costs ten times as much as the message.

Time is a whole number of ns from 0, so sums are exact and ties are ties. At one instant bytes arrive first, then the faults of
that instant happen, then alarms go off: a frame that arrives at the very moment of a timeout has arrived, as in the shells, and a
fault cannot stop what is already there.
"""

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import Any, Protocol

import simpy
from simpy.events import EventPriority

from reference.protocol.timers import ns

ARRIVAL, FAULT, ALARM = EventPriority(1), EventPriority(2), EventPriority(3)
"""The order of things at one instant."""

SPAN = 2**26
"""Of what happens later, this much comes near at once: 67 ms."""

Entry = tuple[int, EventPriority, int, Any]
"""Of SimPy's queue: time, order, number, event."""


class Clock(simpy.Environment):
    """The time of one simulated world, in ns."""

    now: int = property(attrgetter("_now"))  # type: ignore[assignment] # SimPy's own property, without a call in Python
    """Ints go in, so ints come out."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.newest: Call | None = None
        """The call that was scheduled last."""
        self.entries: list[Entry] = self._queue  # type: ignore[assignment] # ints and Calls
        self.numbers: Iterator[int] = self._eid
        """SimPy's heap of (time, order, number, event), and what numbers its entries, for `Call`."""
        self.later: dict[int, list[Entry]] = {}
        self.soon_until = SPAN
        """What happens from then on waits in `later`, by its span of time and in no order, until its span has come: most of what
        a hundred thousand clients wait for is far off, and a heap that holds it all is slow to take from."""

    def run(self, until: Any = None) -> None:
        """Let everything happen before `until`, in ns, or until nothing is left. As SimPy's own, for Calls, which do not fail and
        do not stop it: one loop, without two more calls in Python for each of them."""
        if until is not None and until <= self._now:
            raise ValueError(f"until = {until}: must be after now, which is {self._now}")
        entries, end = self.entries, math.inf if until is None else until
        while self._is_soon(end):
            ends = min(end, self.soon_until)
            while entries and entries[0][0] < ends:
                self._now, _, _, event = heappop(entries)
                callbacks, event.callbacks = event.callbacks, None
                for callback in callbacks:
                    callback(event)
        if until is not None:
            self._now = until

    def _is_soon(self, end: float) -> bool:
        """Whether something happens before `end`; if so, what happens next is in the heap, with all of its span."""
        entries = self.entries
        if not (entries and entries[0][0] < self.soon_until) and (entries or self.later):
            spans = [*self.later, entries[0][0] // SPAN] if entries else self.later  # SimPy's own do not know of spans
            first = min(spans)
            entries.extend(self.later.pop(first, ()))
            heapify(entries)
            self.soon_until = (first + 1) * SPAN
        return bool(entries) and entries[0][0] < end

    def wake(self, at: int, function: "Callable[[Call], None]") -> None:
        """A Call at an ARRIVAL, without an argument. If the call before was for the same moment, both share one event of SimPy's:
        a fan-out to a thousand equal lines is one. They are neighbours in the queue, so the order of things stays what it was."""
        newest = self.newest
        if newest is not None and newest.shared_at == at and newest.callbacks is not None:
            newest.callbacks.append(function)
        else:
            Call(self, at, ARRIVAL, function).shared_at = at


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python's collector look for cycles more rarely while a world runs. What a run makes is kept, or freed by its count of
    references; the few cycles (a connection and its lanes) can wait. A tenth of the time goes, and nothing else changes."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Call:
    """`function(call)` is called once, at its time.

    What SimPy's queue asks of an event, and no more: not a subclass of simpy.Event, whose instances have a dictionary each. Of
    these there are as many as there are things on their way.
    """

    __slots__ = ("argument", "callbacks", "shared_at")

    _ok = True  # SimPy raises what failed; a call does not fail

    def __init__(
        self, clock: Clock, at: int, order: EventPriority, function: Callable[["Call"], None], argument: Any = None
    ) -> None:
        self.callbacks: list[Callable[[Call], None]] | None = [function]  # SimPy puts None there when it happens
        self.argument = argument
        self.shared_at = -1
        clock.newest = self
        # What Environment.schedule does, from a time and not from a delay: there is one of these for all that happens.
        entry = (at, order, next(clock.numbers), self)
        if at < clock.soon_until:
            heappush(clock.entries, entry)
        else:
            clock.later.setdefault(at // SPAN, []).append(entry)


class Ringing(Protocol):
    """Whoever has an alarm."""

    def next_deadline(self) -> int | None:
        """When it is to ring, in ns of the clock; None: not at all."""

    def ring(self) -> None: ...


class RandomNumbers(Protocol):
    def uniform(self, purpose: str, index: int) -> float: ...


class TimerLateness:
    """How much later than asked the timers of a system go off: at the next tick of `granularity` ns, and up to `slack` ns after
    that, uniformly. `throttle`: the ticks are at least so far apart, in ns, at a phase of their own (a tab in the background)."""

    __slots__ = ("_drawn", "_granularity", "_random_source", "_slack", "throttle")

    def __init__(self, granularity: int, slack: int, random_source: RandomNumbers) -> None:
        self.throttle = 0
        self._granularity = granularity
        self._slack = slack
        self._random_source = random_source
        self._drawn = 0

    def of(self, at: int) -> int:
        """When a timer for `at` goes off."""
        if self.throttle > self._granularity:
            phase = int(self.throttle * self._random_source.uniform("throttle", 0))
            at = -(-(at - phase) // self.throttle) * self.throttle + phase
        elif self._granularity:
            at = -(-at // self._granularity) * self._granularity
        if self._slack:
            at += int(self._slack * self._random_source.uniform("timer", self._drawn))
            self._drawn += 1
        return at


def lateness_of(granularity_s: float, slack_s: float, random_source: RandomNumbers) -> TimerLateness | None:
    """Of a system's timers; None: they are exact."""
    if not granularity_s and not slack_s:
        return None
    return TimerLateness(ns(granularity_s), ns(slack_s), random_source)


class Alarm:
    """One host's one alarm. SimPy cannot take an event back, so an alarm that goes off too early is ignored or set again."""

    __slots__ = ("_clock", "_for", "_lateness", "_owner", "_set_to")

    def __init__(self, clock: Clock, owner: Ringing, lateness: "TimerLateness | None" = None) -> None:
        """`lateness`: of the timers of the system it runs on; None: they are exact."""
        self._lateness = lateness
        self._for: int | None = None  # the deadline that it was set for
        self._clock = clock
        self._owner = owner
        self._set_to: int | None = None

    def arm(self, deadline: int | None) -> None:
        """See to it that the owner rings at its next deadline, which is `deadline` now, whatever it is by then."""
        set_for = self._for
        if deadline is None or (set_for is not None and set_for <= deadline):
            return
        now = self._clock.now
        self._for = deadline
        at = deadline if deadline > now else now
        if self._lateness is not None and deadline > now:
            at = self._lateness.of(at)
        if self._set_to == at:
            return
        self._set_to = at
        Call(self._clock, at, ALARM, self._went_off)

    def set_lateness(self, lateness: TimerLateness | None) -> None:
        """From now on timers are late by this, those that are set included."""
        self._lateness = lateness
        self._set_to = self._for = None
        self.arm(self._owner.next_deadline())

    def _went_off(self, call: Call) -> None:
        if self._set_to != self._clock.now:
            return  # it was set to an earlier time after this one, and has rung
        self._set_to = self._for = None
        deadline = self._owner.next_deadline()
        if deadline is not None and deadline <= self._clock.now:
            self._owner.ring()
            deadline = self._owner.next_deadline()
        self.arm(deadline)
