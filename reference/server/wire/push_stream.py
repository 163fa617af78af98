"""PushStream: a trio stream that can also be written to without waiting.

A run with a thousand readers must not need a thousand task switches for each event. So the server encodes a batch once
and calls `push` on every reader's stream: an ordinary function that gives the bytes to the socket and returns. The
rules for bytes that the socket does not take:

    push      if nothing is waiting, write now; what the socket did not take becomes the tail (at most one
              message, and a view of the shared bytes, not a copy). Refused, with nothing written, while an
              older tail or a send_all is still there.
    flush     wait until the tail is out.
    send_all  flush, then write. It has its turn before any later push, so whole messages never interleave.

So a message is either not begun or owned by the stream. That holds under cancellation too: a `send_all` or `flush` that
is cancelled leaves the unsent part as the tail, so the bytes sent never end in the middle of a frame. A `send_all` that
is cancelled before its turn has written nothing.

`push` never raises: a dead stream refuses like a full one, and `flush` raises the reason. The price is that only the
task that reads from a connection or flushes it learns that it is dead, not the loop that pushes to everybody.

An implementation provides four small functions that never block and two that wait: `SocketPushStream`
over the operating system, `memory_stream` for virtual time. Both pass trio's own conformance suite.
"""

import abc
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import trio

RECEIVE_BYTES_MAX = 64 * 1024
"""The most that one `receive_some` returns, whatever the caller asks for, in bytes."""

Address = tuple[str, int]
"""Host and port."""

Buffer = bytes | bytearray | memoryview

_NOT_SENT_LOW_WATER_BYTES = 16 * 1024
"""A flush wakes up only when less than this is left unsent in the kernel (TCP_NOTSENT_LOWAT), so a slow reader is served in
larger pieces. The value of trio's own socket streams."""

_NOTHING = memoryview(b"")
"""The tail of every stream of which nothing waits: an empty view of what was sent would keep all of it in memory."""


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """Bytes that one stream has sent so far; `tail_bytes` is what waits to be sent."""

    bytes_out: int
    tail_bytes: int


class PushStream(trio.abc.HalfCloseableStream):
    """A two-way byte stream with a non-blocking `push` beside trio's own methods."""

    __slots__ = (
        "_bytes_out",
        "_is_broken",
        "_is_closed",
        "_is_eof_sent",
        "_is_sending",
        "_put_back",
        "_tail",
        "_turn",
        "peer",
    )

    def __init__(self, peer: Address | None = None) -> None:
        self.peer = peer
        """The other end's host and port; None where there is none, as in memory."""
        self._tail = _NOTHING
        self._put_back = b""
        self._turn: trio.StrictFIFOLock | None = None  # who waits to write; push never waits, so most streams need none
        self._is_sending = False
        self._is_broken = False
        self._is_closed = False
        self._is_eof_sent = False
        self._bytes_out = 0

    @property
    def local(self) -> Address | None:
        """This end's host and port; None where there is none. Not kept: only requests over HTTP ask for it."""
        return None

    # ---- provided by an implementation ----

    @abc.abstractmethod
    def _write_now(self, data: Buffer) -> int:
        """Write what fits and return how many bytes that were; raises trio.BrokenResourceError."""

    @abc.abstractmethod
    def _read_now(self, bytes_max: int) -> bytes | None:
        """Read what is there; None if nothing is, b"" at the end; raises trio.BrokenResourceError."""

    @abc.abstractmethod
    def _shut_down_writing(self) -> None:
        """Close our half: nothing more will be sent."""

    @abc.abstractmethod
    def _close_now(self, *, by_force: bool) -> None:
        """Close, and wake waiting tasks with trio.ClosedResourceError; by force means that the peer gets a reset."""

    @abc.abstractmethod
    async def _wait_writable(self) -> None:
        """Wait until `_write_now` may take something; a checkpoint."""

    @abc.abstractmethod
    async def _wait_readable(self) -> None:
        """Wait until `_read_now` may return something; a checkpoint."""

    # ---- writing without waiting ----

    def push(self, data: bytes) -> bool:
        """Hand one whole message over without waiting; never raises and never is a checkpoint.

        True: the stream owns the bytes, sent or kept as the tail. False: nothing was written, because an older tail or a
        `send_all` is in the way, or because the stream is dead (`flush` then raises).
        """
        if self._tail or self._is_sending or self._is_closed or self._is_broken or self._is_eof_sent:
            return False
        try:
            written = self._write_now(data)
        except trio.BrokenResourceError:
            self._is_broken = True
            return False
        self._bytes_out += written
        if written < len(data):
            self._tail = memoryview(data)[written:]
        return True

    @property
    def blocked(self) -> bool:
        """Whether `push` would refuse now."""
        return bool(self._tail) or self._is_sending or self._is_closed or self._is_broken or self._is_eof_sent

    async def flush(self) -> None:
        """Wait until the tail is out. Any task may call it, several at once too.

        Raises trio.BrokenResourceError when the peer is gone and trio.ClosedResourceError when this side
        closed the stream.
        """
        async with self._own_turn():
            await self._write_tail()

    # ---- trio's stream interface ----

    async def send_all(self, data: Buffer) -> None:
        """Send `data` after everything that waits; if cancelled after it has begun, the rest becomes the tail."""
        with self._only_sender():
            async with self._own_turn():
                await self._write_tail()
                # A copy, because after a cancellation the caller may reuse its buffer.
                self._tail = memoryview(bytes(data))
                await self._write_tail()

    async def wait_send_all_might_not_block(self) -> None:
        with self._only_sender():
            async with self._own_turn():
                await self._write_tail()
                await self._wait_writable()
                self._check_open()

    async def send_eof(self) -> None:
        """Send what is waiting, then close our half; the peer may go on sending. Calling it again does
        nothing.
        """
        with self._only_sender():
            async with self._own_turn():
                if self._is_eof_sent and not self._is_closed:
                    return
                await self._write_tail()
                self._is_eof_sent = True
                self._shut_down_writing()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """At most `max_bytes` and never more than RECEIVE_BYTES_MAX; b"" when the peer has closed its half."""
        bytes_max = RECEIVE_BYTES_MAX if max_bytes is None else max_bytes
        if not isinstance(bytes_max, int):
            raise TypeError("max_bytes must be an integer")
        if bytes_max < 1:
            raise ValueError("max_bytes must be at least 1")
        bytes_max = min(bytes_max, RECEIVE_BYTES_MAX)
        await trio.lowlevel.checkpoint_if_cancelled()
        has_waited = False
        while True:
            if self._is_closed:
                raise trio.ClosedResourceError("this stream was closed")
            data = self._read_again(bytes_max) if self._put_back else self._read_now(bytes_max)
            if data == b"" and self._is_broken:
                # The system reports a reset once; a push has received it, and now it looks like an end.
                raise trio.BrokenResourceError("the peer is gone")
            if data is not None:
                if not has_waited:
                    # Shielded: bytes that have left the socket must reach the caller, cancelled or not.
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            await self._wait_readable()
            has_waited = True

    def put_back(self, data: bytes) -> None:
        """Let the next `receive_some` return `data` first: bytes that were read but belong to the next
        protocol.
        """
        self._put_back = data + self._put_back

    def close(self) -> None:
        """Close at once; what the operating system already has is still delivered, a tail is dropped."""
        self._end(by_force=False)

    async def aclose(self) -> None:
        """`close` and a checkpoint; wait for `flush` first if the tail matters."""
        self.close()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        """Close by force: drop everything that is unsent, here and in the kernel; the peer sees a reset."""
        self._end(by_force=True)

    def statistics(self) -> StreamStatistics:
        return StreamStatistics(self._bytes_out, len(self._tail))

    # ---- internal ----

    def _own_turn(self) -> trio.StrictFIFOLock:
        if self._turn is None:
            self._turn = trio.StrictFIFOLock()
        return self._turn

    async def _write_tail(self) -> None:
        """The only loop that writes; between any two of its checkpoints the tail is exactly what is unsent."""
        self._check_open()
        while self._tail:
            try:
                written = self._write_now(self._tail)
            except trio.BrokenResourceError:
                self._is_broken = True
                raise
            self._bytes_out += written
            self._tail = self._tail[written:] or _NOTHING
            if self._tail:
                await self._wait_writable()
                self._check_open()

    def _read_again(self, bytes_max: int) -> bytes:
        data, self._put_back = self._put_back[:bytes_max], self._put_back[bytes_max:]
        return data

    def _check_open(self) -> None:
        if self._is_closed or self._is_eof_sent:
            raise trio.ClosedResourceError("this stream was closed for writing")
        if self._is_broken:
            raise trio.BrokenResourceError("the peer is gone")

    @contextlib.contextmanager
    def _only_sender(self) -> Iterator[None]:
        """Refuse a second send at the same time, as trio's interface asks, and hold `push` back meanwhile."""
        if self._is_sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._is_sending = True
        try:
            yield
        finally:
            self._is_sending = False

    def _end(self, *, by_force: bool) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._tail = _NOTHING
            self._put_back = b""
            self._close_now(by_force=by_force)


class SocketPushStream(PushStream):
    """A PushStream over a connected TCP socket (or any other stream socket), which it takes over; trio is used only to wait.

    TCP_NODELAY is set, because a message must not wait for the acknowledgement of the one before.
    """

    __slots__ = ("_socket",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(peer=_address(sock.getpeername))
        sock.setblocking(False)
        self._socket = sock
        for option, value in (("TCP_NODELAY", 1), ("TCP_NOTSENT_LOWAT", _NOT_SENT_LOW_WATER_BYTES)):
            if hasattr(socket, option):
                with contextlib.suppress(OSError):  # not TCP, or already reset, which the first read reports
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    @property
    def local(self) -> Address | None:
        return _address(self._socket.getsockname)

    def _write_now(self, data: Buffer) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(f"sending failed: {error}") from error

    def _read_now(self, bytes_max: int) -> bytes | None:
        try:
            return self._socket.recv(bytes_max)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise trio.BrokenResourceError(f"receiving failed: {error}") from error

    def _shut_down_writing(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise trio.BrokenResourceError(f"closing our half failed: {error}") from error

    def _close_now(self, *, by_force: bool) -> None:
        if by_force:
            with contextlib.suppress(OSError):  # already reset by the peer
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def _wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self._socket)

    async def _wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._socket)


def _address(ask: Callable[[], object]) -> Address | None:
    try:
        name = ask()
    except OSError:
        return None  # the peer is gone already
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
