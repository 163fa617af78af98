"""One direction of one connection: a queue of things on the way, first in, first out, each with its time of arrival.

What is on the way is a call to be made at the far end: a function, its argument, and the size in bytes of what it stands for (a
frame, a packet of the handshake, the end of the stream). When each arrives by itself is `transit`'s to say; it is handed over
when it and all before it have arrived, so nothing reorders, as with TCP.

Three things can stop a lane, and they differ in what happens to what is on the way:

    hold       the line is down in this direction. What has not arrived is lost and will be sent again: when the last hold is
               released it all leaves again, in order, and needs its full time. With `resumes = "rto"` not at that moment, but at
               the next retransmission, whose timeout has been doubling since the silence began.
    hold_acks  the line is down in the other direction only. What arrives is handed over, but the sender does not hear of it: it
               stays in the send buffer.
    stall      the far end is blocked. Everything travels up to the blockage and arrives at once when the last stall is undone.

What has been unacknowledged for too long (`tcp.gives_up_after`; a SYN: its schedule) makes the sender's kernel give up, which its
owner is told. What has arrived at an instant is not stopped by a hold or stall at that same instant. Of a frame that takes
longer than a second to come in, the far end notices once per second that it is coming.
"""

from collections.abc import Callable
from typing import Any, Protocol

from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ALARM, FAULT, Call, Clock
from simulation.network.delay import NEVER, DelayModel, PathDirection
from simulation.network.tcp import gives_up_after, next_retransmission, next_syn, syn_schedule
from simulation.random import EntityRandom

PROGRESS = NS_PER_S
_LOST = -1  # on the way when the line went down; arrives when it has been sent again


Thing = tuple[int, int, int, Callable[[Any], None], Any]
"""When it arrives by itself, its size in bytes, its index, and the call to make."""


class PipeOwner(Protocol):
    """Who is told what a lane does beside carrying things."""

    def part_arrived(self, lane: "Pipe") -> None:
        """Another second's worth of one large frame has come in."""

    def room_made(self, lane: "Pipe") -> None:
        """What had arrived before has been acknowledged at last."""

    def gave_up(self, lane: "Pipe") -> None:
        """The sender's kernel has given the connection up."""

    def is_late(self, until: int) -> None:
        """Something takes longer than the path's stated bound says, and arrives at `until` only."""


class Pipe:
    """`push` is the near end. `bytes_held`: sent and not acknowledged, in bytes. `pushed_at`: when something was last sent."""

    __slots__ = (
        "_ack_holds",
        "_clock",
        "_dialled_at",
        "_dials_at",
        "_holds",
        "_is_closed",
        "_owner",
        "_pushed",
        "_reached_at",
        "_resumes_at",
        "_silent_since",
        "_stalled_since",
        "_stalls",
        "_syns",
        "_things",
        "_transit",
        "_unacknowledged_bytes",
        "_waking_at",
        "bytes_held",
        "pushed_at",
    )

    def __init__(self, clock: Clock, way: PathDirection, random_source: EntityRandom, owner: PipeOwner | None = None) -> None:
        self._clock = clock
        self._owner = owner
        self._transit = DelayModel(way, random_source)
        self._things: list[Thing] = []  # not a deque, which takes 0.7 KiB when it is empty, as most lanes are most of the time
        self._pushed = 0
        self._dialled_at = 0
        self._dials_at = NEVER  # when the SYN that gets through leaves
        self._syns = 0
        self._reached_at = 0
        self._holds = 0
        self._ack_holds = 0
        self._resumes_at: int | None = None
        self._silent_since: int | None = None
        self._unacknowledged_bytes = 0
        self._stalls = 0
        self._stalled_since = 0
        self._waking_at: int | None = None
        self._is_closed = False
        self.bytes_held = 0
        self.pushed_at = 0

    def __len__(self) -> int:
        return len(self._things)

    def push(self, function: Callable[[Any], None], argument: Any = None, size_bytes: int = 0, after: int = 0) -> None:
        """Send something now; `function(argument)` is called when it arrives. `after`: the sender is busy with it for so long, in
        ns, before it leaves; in order, whatever is said."""
        if self._is_closed:
            return
        index = self._pushed
        self._pushed = index + 1
        self.bytes_held += size_bytes
        clock = self._clock
        self.pushed_at = now = clock.now
        if self._holds or self._resumes_at is not None:
            arrives_at = _LOST
            self._fall_silent(now)
        elif (transit := self._transit).way.is_plain:  # as Transit.send, without asking for what most paths do not have
            left_at = now + after
            if left_at < transit.left_at:
                left_at = transit.left_at
            transit.left_at = left_at
            arrives_at = left_at + transit.way.latency
            if not self._things and not self._stalls and self._waking_at is None:  # as _wake_at_first, in the same way
                self._things.append((arrives_at, size_bytes, index, function, argument))
                self._waking_at = arrives_at
                clock.wake(arrives_at, self._wake)
                return
        else:
            arrives_at = self._send(size_bytes, index, now + after)
        things = self._things
        things.append((arrives_at, size_bytes, index, function, argument))
        if len(things) == 1:
            self._wake_at_first()

    def dial(self, function: Callable[[Any], None]) -> None:
        """Send the SYN, the first thing on this lane; it is sent again by a schedule of its own."""
        self.pushed_at = self._dialled_at = now = self._clock.now
        self._pushed = self._syns = 1
        things = self._things = [(_LOST, 0, 0, function, None)]
        if self._holds:
            self._fall_silent(now)
            return
        arrives_at, self._dials_at = self._transit.dial(now)
        things[0] = (arrives_at, 0, 0, function, None)
        self._heed_repair(arrives_at)
        limit = self._transit.way.limit
        if limit is not None and arrives_at - now > limit:
            self._report_late(arrives_at)
        self._wake_at_first()

    def dial_again(self, function: Callable[[Any], None]) -> None:
        """The far end has dropped the SYN; it is sent again when its time comes, or the kernel gives up when that has passed."""
        now, tcp = self._clock.now, self._transit.way.tcp
        at = next_syn(tcp, self._dialled_at, now)
        if at is None:
            Call(self._clock, max(now, self._dialled_at + syn_schedule(tcp)[1]), ALARM, self._give_up)
            return
        self._syns = self._pushed + 1
        self._dials_at = at
        self.push(function, None, 0, at - now)

    def has_dialled(self) -> bool:
        """Whether a SYN that gets through, unless the line goes down, has left."""
        return not self._holds and self._resumes_at is None and self._dials_at <= self._clock.now

    def hold(self) -> None:
        """The line goes down."""
        self._holds += 1
        self._resumes_at = None
        if self._things:
            now, reached, things = self._clock.now, self._reached_at, self._things
            for place, thing in enumerate(things):
                reached = NEVER if thing[0] == _LOST else max(reached, thing[0])
                if reached > now and thing[0] != _LOST:
                    things[place] = (_LOST, *thing[1:])
            if things[-1][0] == _LOST:
                self._fall_silent(now)

    def release(self) -> None:
        """Undo one `hold`."""
        self._holds -= 1
        if self._holds:
            return
        now, since = self._clock.now, self._silent_since
        if since is None or self._transit.way.tcp.resumes == "at_once":
            self._resume()
            return
        tcp = self._transit.way.tcp
        if self._is_dialling():
            at = next_syn(tcp, self._dialled_at, now - 1)
        else:
            at = next_retransmission(since, self._transit.rto, ns(tcp.rto_max_s), now)
        if at is not None:  # else the SYN's time is over, and its kernel will say so
            self._resumes_at = at
            self._report_late(at + self._transit.way.one_way_max)
            Call(self._clock, at, FAULT, self._resume_if_due)

    def hold_acks(self) -> None:
        """The line goes down in the other direction."""
        self._ack_holds += 1

    def release_acks(self) -> None:
        """Undo one `hold_acks`."""
        self._ack_holds -= 1
        if self._ack_holds:
            return
        if not self._holds and self._resumes_at is None:
            self._silent_since = None
        if self._unacknowledged_bytes:
            self.bytes_held -= self._unacknowledged_bytes
            self._unacknowledged_bytes = 0
            if self._owner is not None:
                self._owner.room_made(self)

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

    def abandon(self) -> None:
        """What is on the way never arrives; what is sent from now on may."""
        self._things.clear()
        self._silent_since = None
        self.bytes_held = self._unacknowledged_bytes = 0

    def close(self) -> None:
        """Nothing arrives any more."""
        self._is_closed = True
        self.abandon()

    def _is_dialling(self) -> bool:
        return len(self._things) > 0 and self._things[0][2] < self._syns

    def _resume_if_due(self, call: Call) -> None:
        if self._resumes_at == self._clock.now and not self._holds:
            self._resume()

    def _resume(self) -> None:
        now = self._clock.now
        self._resumes_at = self._silent_since = None
        self._transit.restart(now)
        if self._ack_holds and self._unacknowledged_bytes:
            self._fall_silent(now)
        things = self._things
        if not things:
            return
        for place, thing in enumerate(things):
            if thing[0] == _LOST:
                things[place] = (self._send(thing[1], thing[2], now), *thing[1:])
        if self._is_dialling():
            self._dials_at = now
        self._wake_at_first()

    def _send(self, size_bytes: int, index: int, sent_at: int) -> int:
        transit = self._transit
        arrives_at = transit.send(size_bytes, index, sent_at)
        limit = transit.way.limit
        if limit is not None:
            if transit.repair is not None:
                self._heed_repair(arrives_at)
            if arrives_at - transit.left_at > limit:
                self._report_late(arrives_at)
        return arrives_at

    def _heed_repair(self, arrives_at: int) -> None:
        """What was sent now may have told the sender of an earlier loss; or TCP has tried for too long."""
        repair = self._transit.repair
        if repair is None:
            return
        if repair.corrections:
            things = self._things
            for index, at in repair.corrections:
                place = index - things[0][2] if things else -1
                if things and 0 <= place < len(things) and things[place][0] != _LOST:
                    things[place] = (at, *things[place][1:])
                    if place == 0:
                        self._wake_at_first()
            repair.corrections.clear()
        if arrives_at == NEVER and repair.gives_up_at is not None:
            Call(self._clock, max(repair.gives_up_at, self._clock.now), ALARM, self._give_up)

    def _fall_silent(self, now: int) -> None:
        """Something is unacknowledged from now on; if it stays so, the kernel has had enough some time."""
        if self._silent_since is not None:
            return
        self._silent_since = now
        tcp = self._transit.way.tcp
        at = self._dialled_at + syn_schedule(tcp)[1] if self._is_dialling() else now + gives_up_after(tcp)
        Call(self._clock, max(at, now), ALARM, self._give_up_if_silent, now)

    def _give_up_if_silent(self, call: Call) -> None:
        if self._silent_since == call.argument:
            self._give_up(call)

    def _give_up(self, _: Call) -> None:
        if not self._is_closed:
            self.abandon()
            if self._owner is not None:
                self._owner.gave_up(self)

    def _report_late(self, until: int) -> None:
        repair = self._transit.repair
        if until == NEVER and repair is not None and repair.gives_up_at is not None:
            until = repair.gives_up_at
        if self._owner is not None:
            self._owner.is_late(until)

    def _wake_at_first(self) -> None:
        """One event in the world's queue for the whole lane: the first arrival."""
        if not self._things:
            return
        at = self._things[0][0]
        if at == _LOST or (self._stalls and at > self._stalled_since):
            return
        now = self._clock.now
        if at < now:
            at = now
        way = self._transit.way
        if way.ns_per_byte and not way.is_up and self._owner is not None:
            begins_at = at - round(self._things[0][1] * way.ns_per_byte)
            if at - max(begins_at, now) > PROGRESS:
                at = max(begins_at, now) + PROGRESS
        if self._waking_at is None or at < self._waking_at:
            self._waking_at = at
            self._clock.wake(at, self._wake)

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
                self._note_progress(at - round(size * self._transit.way.ns_per_byte), now)
                break
            if at > self._reached_at:
                self._reached_at = at
            del self._things[0]
            if self._ack_holds and not self._holds:
                self._unacknowledged_bytes += size
                self._fall_silent(now)
            else:
                self.bytes_held -= size
            function(argument)
        if self._things:
            self._wake_at_first()

    def _note_progress(self, begins_at: int, now: int) -> None:
        if self._owner is not None and not self._transit.way.is_up and now - begins_at >= PROGRESS:
            self._owner.part_arrived(self)
