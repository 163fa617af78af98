"""One direction of one connection: a queue of things on the way, first in, first out, each with its time of arrival.

What is on the way is a call to be made at the far end: a function, its argument, and the size in bytes of what it stands for (a
frame, a packet of the handshake, the end of the stream). For n bytes that are sent at time t:

    leaves the bottleneck   b = max(t, b of the one before) + n / bandwidth
    arrives                 a = max(b + latency + jitter draw, a of the one before)

so jitter never reorders, as TCP does not. Jitter is drawn by index, never by call order.

Two things can stop a lane, and they differ in what happens to what is on the way:

    hold    the line is down. What has not arrived is lost and will be sent again: when the last hold is released it all leaves
            again, in order, at that moment, and needs its full time.
    stall   the far end is blocked. Everything travels up to the blockage and arrives at once when the last stall is
            undone.

What has arrived at an instant is not stopped by a hold or stall at that same instant. A lane is the emulator's lane in virtual
time, with whole frames in place of what one read gave. Of a frame that takes longer than a second to come in, the far end notices
once per second that it is coming.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.draws import EntityDraws
from simulation.faults import Path

PROGRESS = NS_PER_S
_LOST = -1  # on the way when the line went down; arrives when it has been sent again


Thing = tuple[int, int, int, Callable[[Any], None], Any]
"""When it arrives, its size in bytes, its index, and the call to make."""


class Lane:
    """`push` is the near end. `bytes_held`: on the way, in bytes."""

    __slots__ = (
        "_bottleneck_free_at",
        "_clock",
        "_draws",
        "_holds",
        "_is_closed",
        "_jitter",
        "_last_arrives_at",
        "_latency",
        "_ns_per_byte",
        "_progressed",
        "_pushed",
        "_stalled_since",
        "_stalls",
        "_things",
        "_waking_at",
        "bytes_held",
    )

    def __init__(self, clock: Clock, path: Path, draws: EntityDraws, progressed: Callable[[], None] | None = None) -> None:
        """`progressed` is called when another second's worth of one large frame has come in."""
        self._clock = clock
        self._progressed = progressed
        self._draws = draws
        self._latency = ns(path.latency_s)
        self._jitter = ns(path.jitter_s)
        self._ns_per_byte = NS_PER_S / path.bandwidth_bytes_per_s if path.bandwidth_bytes_per_s else 0.0
        self._things: deque[Thing] = deque()
        self._pushed = 0
        self._bottleneck_free_at = 0
        self._last_arrives_at = 0
        self._holds = 0
        self._stalls = 0
        self._stalled_since = 0
        self._waking_at: int | None = None
        self._is_closed = False
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._things)

    def push(self, function: Callable[[Any], None], argument: Any = None, size_bytes: int = 0, after: int = 0) -> None:
        """Send something now; `function(argument)` is called when it arrives. `after`: the sender is busy with it for so long, in
        ns, before it leaves; in order, whatever is said."""
        if self._is_closed:
            return
        index = self._pushed
        self._pushed += 1
        self.bytes_held += size_bytes
        arrives_at = _LOST if self._holds else self._send(size_bytes, index, after)
        self._things.append((arrives_at, size_bytes, index, function, argument))
        if len(self._things) == 1:
            self._wake_at_first()

    def hold(self) -> None:
        """The line goes down."""
        self._holds += 1
        now = self._clock.now
        self._things = deque(thing if thing[0] <= now else (_LOST, *thing[1:]) for thing in self._things)

    def release(self) -> None:
        """Undo one `hold`."""
        self._holds -= 1
        if self._holds:
            return
        self._bottleneck_free_at = self._last_arrives_at = self._clock.now
        self._things = deque(
            (self._send(thing[1], thing[2]), *thing[1:]) if thing[0] == _LOST else thing for thing in self._things
        )
        self._wake_at_first()

    def stall(self) -> None:
        """The far end is blocked."""
        if not self._stalls:
            self._stalled_since = self._clock.now
        self._stalls += 1

    def unstall(self) -> None:
        """Undo one `stall`."""
        self._stalls -= 1
        if not self._stalls:
            self._wake_at_first()

    def close(self) -> None:
        """Nothing arrives any more."""
        self._is_closed = True
        self._things.clear()
        self.bytes_held = 0

    def _send(self, size_bytes: int, index: int, after: int = 0) -> int:
        leaves_at = max(self._clock.now + after, self._bottleneck_free_at)
        if self._ns_per_byte:
            leaves_at += round(size_bytes * self._ns_per_byte)
        self._bottleneck_free_at = leaves_at
        arrives_at = leaves_at + self._latency
        if self._jitter:
            arrives_at += int(self._jitter * self._draws.uniform("jitter", index))
        self._last_arrives_at = max(arrives_at, self._last_arrives_at)
        return self._last_arrives_at

    def _wake_at_first(self) -> None:
        """One event in the world's queue for the whole lane: the first arrival."""
        if not self._things:
            return
        at = self._things[0][0]
        if at == _LOST or (self._stalls and at > self._stalled_since):
            return
        now = self._clock.now
        at = max(at, now)
        if self._progressed is not None and self._ns_per_byte:
            begins_at = at - round(self._things[0][1] * self._ns_per_byte)
            if at - max(begins_at, now) > PROGRESS:
                at = max(begins_at, now) + PROGRESS
        if self._waking_at is None or at < self._waking_at:
            self._waking_at = at
            Call(self._clock, at, ARRIVAL, self._wake)

    def _wake(self, call: Call) -> None:
        now = self._clock.now
        if self._waking_at != now:
            return  # of a lane that has been woken earlier since, or held
        self._waking_at = None
        while self._things:
            at, size, _, function, argument = self._things[0]
            if at == _LOST or (self._stalls and at > self._stalled_since):
                break
            if at > now:
                self._note_progress(at - round(size * self._ns_per_byte), now)
                break
            self._things.popleft()
            self.bytes_held -= size
            function(argument)
        self._wake_at_first()

    def _note_progress(self, begins_at: int, now: int) -> None:
        if self._progressed is not None and now - begins_at >= PROGRESS:
            self._progressed()
