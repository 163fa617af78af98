"""Virtual time: SimPy's event queue, and what happens first when several things happen at once.

A `Call` is the smallest event that SimPy can hold: one function, called once. Nothing here is a SimPy process, because a
process per message costs ten times as much as the message.

Time is a whole number of ns from 0, so sums are exact and ties are ties. At one instant bytes arrive first, then the faults of
that instant happen, then alarms go off: a frame that arrives at the very moment of a timeout has arrived, as in the shells, and a
fault cannot stop what is already there.
"""

from collections.abc import Callable
from typing import Any

import simpy
from simpy.events import EventPriority

ARRIVAL, FAULT, ALARM = EventPriority(1), EventPriority(2), EventPriority(3)
"""The order of things at one instant."""


class Clock(simpy.Environment):
    """The time of one simulated world, in ns."""

    now: int  # ints go in, so ints come out

    def __init__(self) -> None:
        super().__init__(initial_time=0)


class Call(simpy.Event):
    """`function(call)` is called once, at its time."""

    def __init__(
        self, clock: Clock, at: int, order: EventPriority, function: Callable[["Call"], None], argument: Any = None
    ) -> None:
        # What simpy.Timeout does, with an order among equals.
        self.env = clock
        self.callbacks = [function]
        self.argument = argument
        self._value = None
        self._ok = True
        clock.schedule(self, order, at - clock.now)


class Alarm:
    """One host's one alarm. SimPy cannot take an event back, so an alarm that goes off too early is ignored or set again."""

    def __init__(self, clock: Clock, next_deadline: Callable[[], int | None], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._next_deadline = next_deadline
        self._ring = ring
        self._set_to: int | None = None

    def arm(self) -> None:
        """See to it that `ring` is called at the machine's next deadline, whatever that is by then."""
        deadline = self._next_deadline()
        if deadline is None or (self._set_to is not None and self._set_to <= deadline):
            return
        self._set_to = max(deadline, self._clock.now)
        Call(self._clock, self._set_to, ALARM, self._went_off)

    def _went_off(self, call: Call) -> None:
        if self._set_to != self._clock.now:
            return  # it was set to an earlier time after this one, and has rung
        self._set_to = None
        deadline = self._next_deadline()
        if deadline is not None and deadline <= self._clock.now:
            self._ring()
        self.arm()
