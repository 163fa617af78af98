"""A pipe in virtual time: waits in SimPy's queue for the times of the pure `Pipe`, and makes the calls that arrive.

An item is a call to be made at the far end: a function, its argument, and the size in bytes (of a frame, a packet of the
handshake, the end of the stream). A pipe has one event in the queue: its first arrival.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from simulation.clock import ALARM, ARRIVAL, FAULT, Call, Clock
from simulation.network.cell import Departed
from simulation.network.delay import BandwidthQueue, PathDirection
from simulation.network.pipe import CellToken, Pipe
from simulation.random import EntityRandom

Arrival = tuple[Callable[[Any], None], Any]
"""The function to call at the far end, and its argument."""


class PipeOwner(Protocol):
    """Notifications about a pipe, other than arrivals."""

    def part_arrived(self, pipe: "SimulatedPipe") -> None:
        """Another second's worth of a large frame has arrived."""

    def room_made(self, pipe: "SimulatedPipe") -> None:
        """Data that had arrived before are acknowledged now."""

    def gave_up(self, pipe: "SimulatedPipe") -> None:
        """The sender's kernel has given the connection up."""

    def reset_lost(self, pipe: "SimulatedPipe") -> None:
        """A reset sent on it does not arrive, and is not sent again."""

    def is_late(self, until: int) -> None:
        """An item takes longer than the path's declared bound, and arrives at `until`."""


class SimulatedPipe:
    """`push` is called at the near end; the pushed call is made at the far end."""

    __slots__ = ("_alarm_at", "_clock", "_owner", "_waking_at", "half")

    def __init__(
        self,
        clock: Clock,
        direction: PathDirection,
        random_source: EntityRandom,
        owner: PipeOwner | None = None,
        bottleneck: BandwidthQueue | None = None,
        enter_cell: Callable[[int, Departed], None] | None = None,
        send_buffer_bytes: int | None = None,
    ) -> None:
        """`bottleneck`: shared by the connections of a client. `enter_cell`: shared by its group, if at all. `send_buffer_bytes`:
        of the sender (`Pipe`)."""
        self._clock = clock
        self._owner = owner
        self.half: Pipe[Arrival] = Pipe(
            direction,
            random_source,
            bottleneck,
            enter_cell=None if enter_cell is None else partial(self._enter, enter_cell),
            notices_parts=owner is not None and not direction.is_up,
            send_buffer_bytes=send_buffer_bytes,
        )
        self._waking_at: int | None = None
        self._alarm_at: int | None = None

    def __len__(self) -> int:
        return len(self.half)

    @property
    def is_down(self) -> bool:
        """Whether data sent now are lost."""
        return self.half.is_down

    def push(self, function: Callable[[Any], None], argument: Any = None, size_bytes: int = 0, after: int = 0) -> None:
        """Send now; `function(argument)` is called when it arrives. `after`: as in Pipe.push."""
        half, clock = self.half, self._clock
        at = half.push(clock.now, (function, argument), size_bytes, after)
        if half.late_until or half.silent_since is not None or half.hopeless_at is not None:
            self._wait()
        elif at is not None and (self._waking_at is None or at < self._waking_at):  # as `_wait`
            self._waking_at = at
            clock.wake(at, self._wake)

    def push_reset(self, function: Callable[[Any], None], argument: Any = None) -> None:
        """As Pipe.push_reset."""
        if self.half.push_reset(self._clock.now, (function, argument)):
            self._wait()
        elif self._owner is not None:
            self._owner.reset_lost(self)

    def dial(self, function: Callable[[Any], None]) -> None:
        """As Pipe.dial."""
        self.half.dial(self._clock.now, (function, None))
        self._wait()

    def dial_again(self, function: Callable[[Any], None]) -> None:
        """As Pipe.dial_again."""
        self.half.dial_again(self._clock.now, (function, None))
        self._resume_or_wait()

    def has_dialled(self) -> bool:
        """As Pipe.has_dialled."""
        return self.half.has_dialled(self._clock.now)

    def hold(self) -> None:
        is_reset_lost = self.half.hold(self._clock.now)
        self._wait()
        if is_reset_lost and self._owner is not None:
            self._owner.reset_lost(self)

    def release(self) -> None:
        self.half.release(self._clock.now)
        self._resume_or_wait()

    def hold_acks(self) -> None:
        self.half.hold_acks()

    def release_acks(self) -> None:
        if self.half.release_acks() and self._owner is not None:
            self._owner.room_made(self)

    def stall(self) -> None:
        self.half.stall(self._clock.now)

    def unstall(self) -> None:
        self.half.unstall()
        self._wait()

    def close(self) -> None:
        """Nothing arrives any more."""
        self.half.close()

    def _resume_or_wait(self) -> None:
        half = self.half
        if half.resumes_at is None:
            self._wait()
            return
        if half.late_until:
            self._pass_on_lateness()
        Call(self._clock, half.resumes_at, FAULT, self._resume)

    def _wait(self) -> None:
        """Something has changed: wait for the next event."""
        half, clock = self.half, self._clock
        now = clock.now
        if half.late_until:
            self._pass_on_lateness()
        at = half.wake_at(now)
        if at is not None and (self._waking_at is None or at < self._waking_at):
            self._waking_at = at
            clock.wake(at, self._wake)
        if half.silent_since is None and half.hopeless_at is None:
            return  # usually the sender's kernel is not about to give up
        gives_up_at = half.gives_up_at
        if gives_up_at is not None and gives_up_at != self._alarm_at:
            self._alarm_at = gives_up_at
            Call(clock, max(gives_up_at, now), ALARM, self._give_up_if_due, gives_up_at)

    def _pass_on_lateness(self) -> None:
        until, self.half.late_until = self.half.late_until, 0
        if self._owner is not None:
            self._owner.is_late(until)

    def _wake(self, _: Call) -> None:
        half, now = self.half, self._clock.now
        if self._waking_at != now:
            return  # the pipe has been woken earlier since, or held
        self._waking_at = None
        held = half.bytes_held
        while (thing := half.pop(now)) is not None:
            function, argument = thing[3]
            function(argument)
            if half.is_at_rest():  # as most pipes are after each arrival
                return
            held = half.bytes_held
        if half.bytes_held < held and self._owner is not None:  # packets of a larger item have arrived
            self._owner.room_made(self)
        if half.has_part(now) and self._owner is not None:
            self._owner.part_arrived(self)
        self._wait()

    def _enter(self, enter_cell: Callable[[int, Departed], None], size_bytes: int, token: CellToken, at: int) -> None:
        """A piece enters the shared bottleneck at `at`: now, or when a busy sender has sent it."""
        departed = partial(self._left_cell, token)
        if at > self._clock.now:
            Call(self._clock, at, ARRIVAL, lambda _: enter_cell(size_bytes, departed))
        else:
            enter_cell(size_bytes, departed)

    def _left_cell(self, token: CellToken) -> None:
        self.half.left_cell(self._clock.now, token)
        self._wait()

    def _resume(self, _: Call) -> None:
        if self.half.resumes_at == self._clock.now:
            self.half.resume_if_due(self._clock.now)
            self._wait()

    def _give_up_if_due(self, call: Call) -> None:
        if self.half.gives_up_at == call.argument:
            self._alarm_at = None
            self.half.abandon()
            if self._owner is not None:
                self._owner.gave_up(self)
