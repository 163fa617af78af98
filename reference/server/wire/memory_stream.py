"""Two connected PushStreams without an operating system: for tests, and for servers in virtual time.

With trio's MockClock nothing may wait for a real socket, or the clock cannot jump. A pair of these behaves like a TCP
connection of known size: each direction holds at most `capacity_bytes` unread bytes, so a reader that is slow, or never
reads, blocks its writer at an exact byte. `abort` is a reset as in Linux: the other side may still read what has arrived,
then it gets the reset.
"""

import trio

from reference.server.wire.push_stream import Buffer, PushStream


def memory_pair(capacity_bytes: int | None = None) -> tuple["MemoryPushStream", "MemoryPushStream"]:
    """Two connected ends; each direction holds up to `capacity_bytes` unread bytes, or any number with None."""
    there, back = _Pipe(capacity_bytes), _Pipe(capacity_bytes)
    return MemoryPushStream(outgoing=there, incoming=back), MemoryPushStream(outgoing=back, incoming=there)


class _Pipe:
    """One direction: the bytes between a writer and a reader, and whether each has ended it."""

    def __init__(self, capacity_bytes: int | None) -> None:
        self.capacity_bytes = capacity_bytes
        self.unread = bytearray()
        self.is_finished = False  # the writer has ended it
        self.is_refused = False  # the reader has closed it
        self.is_reset = False  # either has aborted
        self.changed = trio.lowlevel.ParkingLot()

    @property
    def room_bytes(self) -> int | None:
        return None if self.capacity_bytes is None else max(0, self.capacity_bytes - len(self.unread))


class MemoryPushStream(PushStream):
    """One end of a `memory_pair`."""

    __slots__ = ("_incoming", "_outgoing", "_reading")

    def __init__(self, *, outgoing: _Pipe, incoming: _Pipe) -> None:
        super().__init__()
        self._outgoing = outgoing
        self._incoming = incoming
        self._reading = False

    def _write_now(self, data: Buffer) -> int:
        if self._outgoing.is_refused or self._outgoing.is_reset:
            raise trio.BrokenResourceError("the other end is closed")
        room = self._outgoing.room_bytes
        taken = data if room is None else data[:room]
        self._outgoing.unread += taken
        self._outgoing.changed.unpark_all()
        return len(taken)

    def _read_now(self, bytes_max: int) -> bytes | None:
        if not self._incoming.unread:
            if self._incoming.is_reset:
                raise trio.BrokenResourceError("the other end was aborted")
            return b"" if self._incoming.is_finished else None
        data = bytes(self._incoming.unread[:bytes_max])
        del self._incoming.unread[:bytes_max]
        self._incoming.changed.unpark_all()
        return data

    def is_readable(self) -> bool:
        """Whether `receive_some` would return or raise at once, like polling a socket."""
        incoming = self._incoming
        return bool(self._put_back or incoming.unread) or incoming.is_finished or incoming.is_reset or self._is_closed

    def _shut_down_writing(self) -> None:
        self._outgoing.is_finished = True
        self._outgoing.changed.unpark_all()

    def _close_now(self, *, by_force: bool) -> None:
        # Like TCP, closing with unread bytes resets the connection: the peer must learn that they were never read.
        if by_force or self._incoming.unread:
            self._outgoing.is_reset = self._incoming.is_reset = True
            self._incoming.unread.clear()
        self._outgoing.is_finished = True
        self._incoming.is_refused = True
        self._outgoing.changed.unpark_all()
        self._incoming.changed.unpark_all()

    async def _wait_writable(self) -> None:
        pipe = self._outgoing
        while pipe.room_bytes == 0 and not (self._is_closed or pipe.is_refused or pipe.is_reset):
            await pipe.changed.park()
        await trio.lowlevel.checkpoint()
        if self._is_closed:
            raise trio.ClosedResourceError("this stream was closed")

    async def _wait_readable(self) -> None:
        if self._reading:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._reading = True
        pipe = self._incoming
        try:
            while not (pipe.unread or pipe.is_finished or self._is_closed or pipe.is_reset):
                await pipe.changed.park()
        finally:
            self._reading = False
