"""Virtual time: SimPy's event queue, and the order of events at the same instant.

A `Call` is the smallest event that SimPy can hold: one function, called once. Nothing here is a SimPy process, because a process
per message would cost ten times as much as the message.

Time is a whole number of ns from 0, so sums are exact. At one instant bytes arrive first, then faults begin and end, then alarms
go off: a frame that arrives at the moment of a timeout is in time, as in the real programs, and a fault does not stop a frame
that has already arrived.
"""

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import Any, Protocol

import simpy
from simpy.events import EventPriority

from reference.protocol.policies.reconnect import RandomSource
from reference.protocol.timers import ns

ARRIVAL, FAULT, ALARM = EventPriority(1), EventPriority(2), EventPriority(3)
"""The order of events at one instant."""

SPAN = 2**26
"""How much of the future is kept in the heap at a time: 67 ms."""

Entry = tuple[int, EventPriority, int, Any]
"""An entry of SimPy's queue: time, order, number, event."""


class Clock(simpy.Environment):
    """The time of one simulated world, in ns. `now` is an int, because all delays are ints, and a slot in place of SimPy's
    property, because it is read several times for each message."""

    __slots__ = ("now",)

    now: int

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.now = 0
        self.newest: Call | None = None
        """The call that was scheduled last."""
        self.entries: list[Entry] = self._queue  # type: ignore[assignment] # ints and Calls
        self.numbers: Iterator[int] = self._eid
        """SimPy's heap of (time, order, number, event), and the counter that numbers its entries, for `Call`."""
        self.later: dict[int, list[Entry]] = {}
        self.soon_until = SPAN
        """Later events, by their span of time and unordered until their span comes. A hundred thousand clients wait mostly for
        distant times, and a heap of all of them would be slow."""

    def run(self, until: Any = None) -> None:
        """Process all events before `until`, in ns, or until none is left. Like SimPy's own, for Calls, which cannot fail: one
        loop, without two more Python calls for each."""
        if until is not None and until <= self.now:
            raise ValueError(f"until = {until}: must be after now, which is {self.now}")
        entries, end = self.entries, math.inf if until is None else until
        while self._is_soon(end):
            ends = min(end, self.soon_until)
            while entries and entries[0][0] < ends:
                now, _, _, event = heappop(entries)
                self.now = self._now = now
                callbacks, event.callbacks = event.callbacks, None
                for callback in callbacks:
                    callback(event)
        if until is not None:
            self.now = self._now = until

    def _is_soon(self, end: float) -> bool:
        """Whether there is an event before `end`; if so, the whole span of the next event is in the heap."""
        entries = self.entries
        if not (entries and entries[0][0] < self.soon_until) and (entries or self.later):
            spans = [*self.later, entries[0][0] // SPAN] if entries else self.later  # SimPy's own events are not in spans
            first = min(spans)
            entries.extend(self.later.pop(first, ()))
            heapify(entries)
            self.soon_until = (first + 1) * SPAN
        return bool(entries) and entries[0][0] < end

    def wake(self, at: int, function: "Callable[[Call], None]") -> None:
        """An ARRIVAL Call without an argument. If the previous call was for the same moment, both share one event of SimPy, so a
        fan-out over a thousand equal paths is one event. They are neighbours in the queue, so the order does not change."""
        newest = self.newest
        if newest is not None and newest.shared_at == at and newest.callbacks is not None:
            newest.callbacks.append(function)
        else:
            Call(self, at, ARRIVAL, function).shared_at = at


@contextmanager
def few_collections() -> Iterator[None]:
    """Run Python's garbage collector less often during a run. Objects of a run are kept, or freed by reference counting; the few
    cycles (a connection and its pipes) can wait. This saves a tenth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class Call:
    """`function(call)` is called once, at its time.

    It has only what SimPy's queue needs of an event: it is no subclass of simpy.Event, whose instances have a dictionary each,
    because there are as many as there are items on their way.
    """

    __slots__ = ("argument", "callbacks", "shared_at")

    _ok = True  # SimPy raises the errors of failed events; a call does not fail

    def __init__(
        self, clock: Clock, at: int, order: EventPriority, function: Callable[["Call"], None], argument: Any = None
    ) -> None:
        self.callbacks: list[Callable[[Call], None]] | None = [function]  # SimPy sets it to None when it happens
        self.argument = argument
        self.shared_at = -1
        clock.newest = self
        # Like Environment.schedule, but with a time in place of a delay, because it runs for every event.
        entry = (at, order, next(clock.numbers), self)
        if at < clock.soon_until:
            heappush(clock.entries, entry)
        else:
            clock.later.setdefault(at // SPAN, []).append(entry)


class Ringing(Protocol):
    """An owner of an alarm."""

    def next_deadline(self) -> int | None:
        """When its alarm is due, in ns of the clock; None: no alarm."""

    def ring(self) -> None: ...


class TimerLateness:
    """How late the timers of a system go off: at the next tick, one each `granularity` ns, and up to `slack` ns after that,
    uniformly. Each system's ticks have a random phase. `throttle`: their least distance, in ns (a tab in the background)."""

    __slots__ = ("_drawn", "_granularity", "_random_source", "_slack", "throttle")

    def __init__(self, granularity: int, slack: int, random_source: RandomSource) -> None:
        self.throttle = 0
        self._granularity = granularity
        self._slack = slack
        self._random_source = random_source
        self._drawn = 0

    def of(self, at: int) -> int:
        """When a timer for `at` goes off."""
        every, purpose = (self.throttle, "throttle") if self.throttle > self._granularity else (self._granularity, "ticks")
        if every:
            phase = int(every * self._random_source.uniform(purpose, 0))
            at = -(-(at - phase) // every) * every + phase
        if self._slack:
            at += int(self._slack * self._random_source.uniform("timer", self._drawn))
            self._drawn += 1
        return at


def lateness_of(granularity_s: float, slack_s: float, random_source: RandomSource) -> TimerLateness | None:
    """Of a system's timers; None: they are exact."""
    if not granularity_s and not slack_s:
        return None
    return TimerLateness(ns(granularity_s), ns(slack_s), random_source)


class Alarm:
    """The alarm of one host. SimPy cannot remove an event, so an alarm that goes off too early is ignored or set again."""

    __slots__ = ("_clock", "_lateness", "_owner", "_set_to", "set_for")

    def __init__(self, clock: Clock, owner: Ringing, lateness: TimerLateness | None = None) -> None:
        """`lateness`: of the timers of the host's system; None: they are exact."""
        self._lateness = lateness
        self.set_for: int | None = None
        """The deadline for which it was set. To `arm` it for a later one changes nothing, so it may be read to save that call."""
        self._clock = clock
        self._owner = owner
        self._set_to: int | None = None

    def arm(self, deadline: int | None) -> None:
        """Set the alarm to the owner's next deadline; when it goes off, the owner's deadline of that time counts."""
        set_for = self.set_for
        if deadline is None or (set_for is not None and set_for <= deadline):
            return
        now = self._clock.now
        self.set_for = deadline
        at = deadline if deadline > now else now
        if self._lateness is not None and deadline > now:
            at = self._lateness.of(at)
        if self._set_to == at:
            return
        self._set_to = at
        Call(self._clock, at, ALARM, _go_off, self)

    def set_lateness(self, lateness: TimerLateness | None) -> None:
        """Timers are late by this from now on, including those already set."""
        self._lateness = lateness
        self._set_to = self.set_for = None
        self.arm(self._owner.next_deadline())

    def go_off(self) -> None:
        """The clock has reached a time that it was set to."""
        if self._set_to != self._clock.now:
            return  # a later alarm was set to an earlier time, and has gone off
        self._set_to = self.set_for = None
        deadline = self._owner.next_deadline()
        if deadline is not None and deadline <= self._clock.now:
            self._owner.ring()
            deadline = self._owner.next_deadline()
        self.arm(deadline)


def _go_off(call: Call) -> None:
    call.argument.go_off()  # with a bound method each pending call would take 64 bytes more
