"""SocketPushStream: a PushStream over a connected, non-blocking stream socket; trio is used only to wait.

TCP_NODELAY is set, because a message must not wait for the acknowledgement of the one before. A flush wakes up only when
little is left unsent in the kernel (TCP_NOTSENT_LOWAT), so a slow reader is served in larger pieces.
"""

import contextlib
import errno
import socket
import struct
from collections.abc import Callable

import trio

from reference.server.wire.push_stream import Address, Buffer, PushStream

_NOT_SENT_LOW_WATER_BYTES = 16 * 1024  # trio's own value for its socket streams


class SocketPushStream(PushStream):
    """A PushStream over a connected TCP socket (or any other stream socket), which it takes over."""

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
