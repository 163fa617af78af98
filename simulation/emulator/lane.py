"""One direction of one connection: a queue of segments, first in, first out, each with its time of arrival.

A segment is what one read gave, or a mark: the handshake's packet, the end of the stream, a reset. Marks have
no bytes and travel like everything else, in order. For a segment of n bytes that is sent at time t:

    leaves the bottleneck   b = max(t, b of the one before) + n / bandwidth
    arrives                 a = max(b + latency + jitter draw, a of the one before)

so a path that has jitter never reorders, as TCP does not. Jitter is drawn by the segment's index, never by
call order.

Two things can stop a lane, and they differ in what happens to segments on the way:

    hold    the line is down. What has not arrived is lost on the way and will be sent again: when the last
            hold is released, it all leaves again, in order, at that moment, and needs its full time.
    stall   the far end of the line is blocked. Segments travel up to the blockage and are all delivered when
            the last stall is undone.

Ties: a segment whose arrival time has come has arrived, so a hold or a stall at that very instant does not
stop it, in whatever order the scheduler runs the tasks.

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

from simulation.draws import EntityDraws
from simulation.faults import Path

READ_BYTES_MAX = 64 * 1024
ETHERNET_SEGMENT_BYTES = 1460
_NEVER = math.inf


class Mark(enum.Enum):
    """What a segment carries."""

    OPENED = "a packet of the handshake"
    BYTES = "bytes"
    END = "the end of the stream"
    RESET = "a reset"


@dataclass(slots=True)
class Segment:
    """Something on the way. `arrives_at` is on trio's clock, in seconds; infinite while the line is down."""

    mark: Mark
    data: bytes
    index: int
    arrives_at: float


class Lane:
    """One direction of one connection. `push` is the near end, `next` the far end."""

    def __init__(self, path: Path, draws: EntityDraws, *, bytes_max: int) -> None:
        self._path = path
        self._draws = draws
        self._bytes_max = bytes_max
        self._read_bytes_max = _read_bytes_max(path)
        self._segments: deque[Segment] = deque()
        self._pushed_count = 0
        self._bytes_held = 0
        self._bytes_handed_over = 0
        self._bottleneck_free_at = -_NEVER
        self._last_arrives_at = -_NEVER
        self._holds = 0
        self._stalls = 0
        self._stalled_since = _NEVER
        self._changed = trio.Event()
        self._has_room = trio.Event()

    @property
    def bytes_held(self) -> int:
        """Bytes that were read at the near end and that the far end has not taken yet."""
        return self._bytes_held

    def push(self, mark: Mark, data: bytes = b"") -> None:
        """Send a segment now. It always fits: limits are the business of the reader (see `room`)."""
        segment = Segment(mark, data, self._pushed_count, _NEVER)
        self._pushed_count += 1
        self._bytes_held += len(data)
        if not self._holds:
            self._send(segment, trio.current_time())
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
        self._bytes_held -= self._bytes_handed_over
        self._bytes_handed_over = 0
        self._has_room.set()
        while not self._has_arrived():
            changed = self._changed
            with trio.move_on_at(self._wake_at()):
                await changed.wait()
        segment = self._segments.popleft()
        self._bytes_handed_over = len(segment.data)
        return segment

    def hold(self) -> None:
        """The line goes down; what has not arrived by now is lost on the way and waits to be sent again."""
        self._holds += 1
        now = trio.current_time()
        for segment in self._segments:
            if segment.arrives_at > now:
                segment.arrives_at = _NEVER

    def release(self) -> None:
        """Undo one `hold`; after the last one everything that waits is sent again, now."""
        self._holds -= 1
        if self._holds:
            return
        now = trio.current_time()
        self._bottleneck_free_at = now
        self._last_arrives_at = now
        for segment in self._segments:
            if segment.arrives_at == _NEVER:
                self._send(segment, now)
        self._wake()

    def stall(self) -> None:
        """Nothing is delivered that has not arrived by now, until `unstall`."""
        if not self._stalls:
            self._stalled_since = trio.current_time()
        self._stalls += 1

    def unstall(self) -> None:
        """Undo one `stall`; after the last one everything that has arrived meanwhile is delivered at once."""
        self._stalls -= 1
        if not self._stalls:
            self._stalled_since = _NEVER
            self._wake()

    def _send(self, segment: Segment, now: float) -> None:
        leaves_at = max(now, self._bottleneck_free_at)
        if self._path.bandwidth_bytes_per_s is not None:
            leaves_at += len(segment.data) / self._path.bandwidth_bytes_per_s
        self._bottleneck_free_at = leaves_at
        arrives_at = leaves_at + self._path.latency_s
        if self._path.jitter_s:
            arrives_at += self._path.jitter_s * self._draws.uniform("jitter", segment.index)
        segment.arrives_at = self._last_arrives_at = max(arrives_at, self._last_arrives_at)

    def _wake_at(self) -> float:
        """When to look again if nothing changes until then."""
        if not self._segments or self._segments[0].arrives_at > self._stalled_since:
            return _NEVER
        return self._segments[0].arrives_at

    def _has_arrived(self) -> bool:
        return self._wake_at() <= trio.current_time()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _read_bytes_max(path: Path) -> int:
    if path.bandwidth_bytes_per_s is None:
        return READ_BYTES_MAX
    bytes_per_millisecond = min(path.bandwidth_bytes_per_s / 1000, READ_BYTES_MAX)
    return max(ETHERNET_SEGMENT_BYTES, int(bytes_per_millisecond))
