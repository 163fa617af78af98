"""One direction of one connection: a queue of segments, first in, first out, each with its time of arrival.

A segment is what one read gave, or a mark: the handshake's packet, the end of the stream, a reset. Marks have
no bytes and travel like everything else, in order. When each arrives by itself is for `simulation.network.delay` to
say, the very code that the simulator uses: propagation and jitter, bottleneck and queue, loss and TCP's
retransmissions. A segment is handed over when it and all before it have arrived, so nothing reorders, as with
TCP, and what is late holds up what follows. All that is chance is drawn by the segment's index, never by call
order.

Three things can stop a lane, and they differ in what happens to segments on the way:

    hold       the line is down in this direction. What has not arrived is lost on the way and will be sent
               again: when the last hold is released, it all leaves again, in order, and needs its full time;
               at that moment, or for a path that `resumes` by "rto" at its next retransmission.
    hold_acks  the line is down in the other direction only. What arrives is handed over, but its bytes keep
               their room, since the sender does not hear of it.
    stall      the far end of the line is blocked. Segments travel up to the blockage and are all delivered
               when the last stall is undone.

Ties: a segment whose arrival time has come has arrived, so a hold or a stall at that very instant does not
stop it, in whatever order the scheduler runs the tasks. Times are whole ns since `origin` (on trio's clock).

The bytes in a lane, from the read until the far socket has taken them, are at most `bytes_max`; the reader
waits for room. Like a TCP window this also bounds the throughput, at bytes_max per latency. With a bandwidth
limit one read is at most what the bottleneck carries in a millisecond, or one Ethernet segment if that is more:
a slow line delivers a steady trickle and not one lump a minute, and a fast one costs no more reads than it must.
"""

import enum
import math
from collections import deque
from dataclasses import dataclass

import trio

from reference.protocol.timers import NS_PER_S, ns
from simulation.network.delay import NEVER, DelayModel, PathDirection
from simulation.network.tcp import next_retransmission, next_syn
from simulation.random import EntityRandom

READ_BYTES_MAX = 64 * 1024
ETHERNET_SEGMENT_BYTES = 1460


class Mark(enum.Enum):
    """What a segment carries."""

    OPENED = "a packet of the handshake"
    BYTES = "bytes"
    END = "the end of the stream"
    RESET = "a reset"


@dataclass(slots=True)
class Segment:
    """Something on the way. `arrives_at`: by itself, in ns since the lane's origin; NEVER while the line is down."""

    mark: Mark
    data: bytes
    index: int
    arrives_at: int
    is_lost: bool = False


class EmulatedPipe:
    """One direction of one connection. `push` is the near end, `next` the far end."""

    def __init__(self, way: PathDirection, random_source: EntityRandom, *, bytes_max: int, origin: float = 0.0) -> None:
        self._transit = DelayModel(way, random_source)
        self._bytes_max = bytes_max
        self._origin = origin
        self._read_bytes_max = _read_bytes_max(way)
        self._segments: deque[Segment] = deque()
        self._pushed_count = 0
        self._bytes_held = 0
        self._bytes_handed_over = 0
        self._bytes_unacknowledged = 0
        self._reached_at = -1
        self._holds = 0
        self._ack_holds = 0
        self._silent_since: int | None = None
        self._dialled_at: int | None = None
        self._resumes_at = NEVER
        self._stalls = 0
        self._stalled_since = NEVER
        self._changed = trio.Event()
        self._has_room = trio.Event()
        self.pushed_at = self._now()
        """When something was last sent, in ns since the origin."""

    @property
    def bytes_held(self) -> int:
        """Bytes that were read at the near end and that the far end has not taken, or acknowledged, yet."""
        return self._bytes_held

    def push(self, mark: Mark, data: bytes = b"") -> None:
        """Send a segment now. It always fits: limits are the business of the reader (see `room`)."""
        self._resume_if_due()
        now = self.pushed_at = self._now()
        segment = Segment(mark, data, self._pushed_count, NEVER, is_lost=True)
        self._pushed_count += 1
        self._bytes_held += len(data)
        if self._is_down():
            self._silent_since = now if self._silent_since is None else self._silent_since
        else:
            self._send(segment, now)
        self._segments.append(segment)
        self._wake()

    def dial(self) -> None:
        """Send the packet that opens a connection, the only one on its lane; it has a schedule of its own."""
        self._dialled_at = self.pushed_at = now = self._now()
        segment = Segment(Mark.OPENED, b"", 0, NEVER, is_lost=True)
        self._pushed_count = 1
        if self._is_down():
            self._silent_since = now
        else:
            segment.arrives_at, _ = self._transit.dial(now)
            segment.is_lost = False
        self._segments.append(segment)
        self._wake()

    async def room(self) -> int:
        """How many bytes to read next, at least 1; waits while the lane is full."""
        while self._bytes_held >= self._bytes_max:
            self._has_room = trio.Event()
            await self._has_room.wait()
        return min(self._read_bytes_max, self._bytes_max - self._bytes_held)

    async def next(self) -> Segment:
        """Wait for the next segment to arrive. Asking frees the room of the one before."""
        if self._ack_holds and not self._holds:
            self._bytes_unacknowledged += self._bytes_handed_over
        else:
            self._bytes_held -= self._bytes_handed_over
        self._bytes_handed_over = 0
        self._has_room.set()
        while True:
            self._resume_if_due()
            wake_at = self._wake_at()
            if wake_at <= self._now():
                break
            changed = self._changed
            with trio.move_on_at(self._on_trio_s_clock(min(wake_at, self._resumes_at))):
                await changed.wait()
        segment = self._segments.popleft()
        self._reached_at = max(self._reached_at, segment.arrives_at)
        self._bytes_handed_over = len(segment.data)
        return segment

    def hold(self) -> None:
        """The line goes down; what has not arrived by now is lost on the way and waits to be sent again."""
        self._resume_if_due()
        self._holds += 1
        self._resumes_at = NEVER
        now, reached = self._now(), self._reached_at
        for segment in self._segments:
            reached = NEVER if segment.is_lost else max(reached, segment.arrives_at)
            if reached > now:
                segment.arrives_at, segment.is_lost = NEVER, True
                self._silent_since = now if self._silent_since is None else self._silent_since

    def release(self) -> None:
        """Undo one `hold`; after the last one everything that waits is sent again, now or when TCP tries again."""
        self._holds -= 1
        if self._holds:
            return
        now, since, tcp = self._now(), self._silent_since, self._transit.way.tcp
        if since is None or tcp.resumes == "at_once":
            self._resume(now)
        elif self._dialled_at is not None:
            again_at = next_syn(tcp, self._dialled_at, now - 1)
            self._resumes_at = NEVER if again_at is None else again_at
        else:
            self._resumes_at = next_retransmission(since, self._transit.rto, ns(tcp.rto_max_s), now)
        self._wake()

    def open(self) -> None:
        """Undo the `hold` of a connection that has not stood before; nothing has been lost."""
        self._holds -= 1
        if not self._holds:
            self._resume(self._now())
            self._wake()

    def hold_acks(self) -> None:
        """The line goes down in the other direction."""
        self._ack_holds += 1

    def release_acks(self) -> None:
        """Undo one `hold_acks`."""
        self._ack_holds -= 1
        if not self._ack_holds:
            self._bytes_held -= self._bytes_unacknowledged
            self._bytes_unacknowledged = 0
            self._has_room.set()

    def stall(self) -> None:
        """Nothing is delivered that has not arrived by now, until `unstall`."""
        if not self._stalls:
            self._stalled_since = self._now()
        self._stalls += 1

    def unstall(self) -> None:
        """Undo one `stall`; after the last one everything that has arrived meanwhile is delivered at once."""
        self._stalls -= 1
        if not self._stalls:
            self._stalled_since = NEVER
            self._wake()

    def _is_down(self) -> bool:
        return self._holds > 0 or self._silent_since is not None

    def _resume_if_due(self) -> None:
        if self._resumes_at <= self._now() and not self._holds:
            self._resume(self._resumes_at)

    def _resume(self, now: int) -> None:
        self._resumes_at, self._silent_since = NEVER, None
        self._transit.restart(now)
        for segment in self._segments:
            if segment.is_lost:
                self._send(segment, now)

    def _send(self, segment: Segment, now: int) -> None:
        segment.arrives_at = self._transit.send(len(segment.data), segment.index, now)
        segment.is_lost = False
        repair = self._transit.repair
        if repair is not None and repair.corrections:
            first = self._segments[0].index if self._segments else 0
            for index, arrives_at in repair.corrections:
                if 0 <= index - first < len(self._segments) and not self._segments[index - first].is_lost:
                    self._segments[index - first].arrives_at = arrives_at
            repair.corrections.clear()

    def _wake_at(self) -> int:
        """When to look again if nothing changes until then."""
        if not self._segments:
            return NEVER
        arrives_at = max(self._segments[0].arrives_at, self._reached_at)
        return NEVER if arrives_at > self._stalled_since else arrives_at

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _now(self) -> int:
        return ns(trio.current_time() - self._origin)

    def _on_trio_s_clock(self, at: int) -> float:
        return math.inf if at >= NEVER else self._origin + at / NS_PER_S


def _read_bytes_max(way: PathDirection) -> int:
    if way.deliveries is not None:
        return ETHERNET_SEGMENT_BYTES
    if not way.ns_per_byte:
        return READ_BYTES_MAX
    bytes_per_millisecond = min(NS_PER_S / way.ns_per_byte / 1000, READ_BYTES_MAX)
    return max(ETHERNET_SEGMENT_BYTES, int(bytes_per_millisecond))
