"""One direction of one connection between real sockets: the simulator's pipe (`simulation.network.pipe`) on trio's clock.

A segment is the result of one read, or a mark: the handshake's packet, the end of the stream, a reset. Marks have no bytes and
are transported in order like everything else. The simulator's code decides when each arrives, and the effects of outages and
stalls. Times are whole ns since `origin` (on trio's clock). A segment whose arrival time has come has arrived, so a fault at the
same instant does not stop it, in whatever order the scheduler runs the tasks.

The bytes in a pipe, from the read until the far socket has taken them, are at most `buffer_bytes_max`; the reader waits for room.
Like a TCP window this also bounds the throughput, at buffer_bytes_max per latency. With a congestion window it bounds what is in
flight, as a send buffer does, and as much may wait, so that each flight is complete when its acknowledgement opens the window.

With a bandwidth limit one read is at most what the bottleneck carries in a millisecond, or one Ethernet segment if that is more:
so a slow link delivers a steady stream of small parts, and a fast one needs no more reads than necessary. With a congestion
window one read is at most the first flight, so that a short message in front of a long one arrives with it and not after the last
of its flights.
"""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from reference.protocol.timers import NS_PER_S, ns
from simulation.network.delay import BandwidthQueue, PathDirection
from simulation.network.pipe import Pipe
from simulation.random import EntityRandom

READ_BYTES_MAX = 64 * 1024
ETHERNET_SEGMENT_BYTES = 1460


class Mark(enum.Enum):
    """The content of a segment."""

    OPENED = "a packet of the handshake"
    BYTES = "bytes"
    END = "the end of the stream"
    RESET = "a reset"


@dataclass(slots=True)
class Segment:
    """A segment that has arrived."""

    mark: Mark
    data: bytes


class EmulatedPipe:
    """One direction of one connection. `push` is the near end, `next` the far end."""

    def __init__(
        self,
        direction: PathDirection,
        random_source: EntityRandom,
        *,
        buffer_bytes_max: int,
        origin: float = 0.0,
        bottleneck: BandwidthQueue | None = None,
        reset_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`reset_lost`: called when a reset that was pushed does not arrive, and is not sent again."""
        self._half: Pipe[tuple[Mark, bytes]] = Pipe(direction, random_source, bottleneck, send_buffer_bytes=buffer_bytes_max)
        self._bytes_max = 2 * buffer_bytes_max if direction.has_window else buffer_bytes_max
        self._origin = origin
        self._reset_lost = reset_lost
        self._read_bytes_max = _read_bytes_max(direction)
        self._bytes_handed_over = 0
        self._changed = trio.Event()
        self._has_room = trio.Event()
        self._half.pushed_at = self._now()

    @property
    def pushed_at(self) -> int:
        """When something was last sent, in ns since the origin."""
        return self._half.pushed_at

    @property
    def bytes_held(self) -> int:
        """Bytes read at the near end and not taken, or acknowledged, by the far end yet."""
        return self._half.bytes_held + self._bytes_handed_over

    def push(self, mark: Mark, data: bytes = b"") -> None:
        """Send a segment now. It always fits: the reader keeps the limits (see `room`)."""
        now = self._now_resumed()
        if mark is not Mark.RESET:
            self._half.push(now, (mark, data), len(data))
        elif not self._half.push_reset(now, (mark, data)):
            self._reset_lost()
        self._wake()

    def dial(self) -> None:
        """Send the packet that opens a connection, the first on its pipe; it has its own schedule."""
        self._half.dial(self._now(), (Mark.OPENED, b""))
        self._wake()

    def dial_again(self) -> None:
        """The packet that opens the connection was not answered: it is sent again by its schedule."""
        self._half.dial_again(self._now_resumed(), (Mark.OPENED, b""))
        self._wake()

    def has_dialled(self) -> bool:
        """Whether a packet that opens the connection was sent and not lost."""
        return self._half.has_dialled(self._now_resumed())

    @property
    def is_down(self) -> bool:
        """Whether data sent now are lost."""
        return self._half.is_down

    async def room(self) -> int:
        """How many bytes to read next, at least 1; waits while the pipe is full."""
        while self.bytes_held >= self._bytes_max:
            self._has_room = trio.Event()
            await self._has_room.wait()
        return min(self._read_bytes_max, self._bytes_max - self.bytes_held)

    async def next(self) -> Segment:
        """Wait for the next segment to arrive. The call frees the room of the one before."""
        self._bytes_handed_over = 0
        self._has_room.set()
        while (thing := self._half.pop(now := self._now_resumed())) is None:
            wake_at, resumes_at = self._half.wake_at(now), self._half.resumes_at
            changed = self._changed
            with trio.move_on_at(min(self._on_trio_s_clock(wake_at), self._on_trio_s_clock(resumes_at))):
                await changed.wait()
        mark, data = thing[3]
        self._bytes_handed_over = len(data)
        return Segment(mark, data)

    def join_arrived(self, segment: Segment) -> None:
        """Append to `segment`, the last one, later bytes that have arrived too: a kernel returns them in one read."""
        now = self._now_resumed()
        while segment.mark is Mark.BYTES and len(segment.data) < READ_BYTES_MAX:
            following = self._half.next_arrived(now)
            if following is None or following[0] is not Mark.BYTES:
                return
            self._half.pop(now)
            segment.data += following[1]
            self._bytes_handed_over += len(following[1])

    def hold(self) -> None:
        """The access link goes down in this direction."""
        if self._half.hold(self._now_resumed()):
            self._reset_lost()

    def release(self) -> None:
        """Undo one `hold`."""
        self._half.release(self._now())
        self._wake()

    def open(self) -> None:
        """Undo the `hold` of a connection that was not established before; nothing has been lost."""
        self._half.open(self._now())
        self._wake()

    def change_path(self, direction: PathDirection, bottleneck: BandwidthQueue | None) -> None:
        """Use another path from now on (`simulation.network.pipe`)."""
        self._read_bytes_max = _read_bytes_max(direction)
        self._half.change_path(self._now_resumed(), direction, bottleneck)
        self._wake()

    def hold_acks(self) -> None:
        """The access link goes down in the other direction."""
        self._half.hold_acks()

    def release_acks(self) -> None:
        """Undo one `hold_acks`."""
        if self._half.release_acks():
            self._has_room.set()

    def stall(self) -> None:
        """Deliver nothing that has not arrived by now, until `unstall`."""
        self._half.stall(self._now())

    def unstall(self) -> None:
        """Undo one `stall`; after the last one everything that has arrived meanwhile is delivered at once."""
        self._half.unstall()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _now_resumed(self) -> int:
        """The present time, after handling everything due by then."""
        now = self._now()
        self._half.resume_if_due(now)
        return now

    def _now(self) -> int:
        return ns(trio.current_time() - self._origin)

    def _on_trio_s_clock(self, at: int | None) -> float:
        return math.inf if at is None else self._origin + at / NS_PER_S


def _read_bytes_max(direction: PathDirection) -> int:
    if direction.deliveries is not None:
        return ETHERNET_SEGMENT_BYTES
    tcp = direction.tcp
    bytes_max = min(READ_BYTES_MAX, tcp.initial_window_packets * tcp.mss_bytes) if direction.has_window else READ_BYTES_MAX
    if not direction.ns_per_byte:
        return bytes_max
    bytes_per_millisecond = int(min(NS_PER_S / direction.ns_per_byte / 1000, READ_BYTES_MAX))
    return min(bytes_max, max(ETHERNET_SEGMENT_BYTES, bytes_per_millisecond))
