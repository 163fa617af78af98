"""Streams of a connection's ends: an abortive close and small buffers, in addition to trio's HalfCloseableStream.

The peer must be able to distinguish a cut from a close, so on a socket it is a real RST: SO_LINGER with a time of zero, then
close. Other streams may offer `abort()`; those without it are closed.

The kernel may buffer megabytes on a loopback socket. A server would then not notice that its client does not read, so the
emulator's sockets have small, fixed buffers: most data on their way are then in the pipes.
"""

import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

import trio
from trio.abc import HalfCloseableStream

SOCKET_BUFFER_BYTES = 64 * 1024
_LINGER_ON_FOR_ZERO_SECONDS = struct.pack("ii", 1, 0)

Connect = Callable[[], Awaitable[HalfCloseableStream]]
"""Opens a connection to the server; raises OSError if that fails."""


@runtime_checkable
class Abortable(Protocol):
    """A stream that can be cut without waiting, so that its peer's next call raises BrokenResourceError."""

    def abort(self) -> None: ...


def abort(stream: HalfCloseableStream) -> None:
    """Cut `stream` now: the peer gets a reset, data on their way are lost, our own calls on it end."""
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):  # closed already: there is nothing left to cut
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ON_FOR_ZERO_SECONDS)
        stream.socket.close()
    elif isinstance(stream, Abortable):
        stream.abort()


def keep_buffers_small(stream: HalfCloseableStream) -> None:
    """Fix a socket's buffers at SOCKET_BUFFER_BYTES each way (Linux doubles it for its own use)."""
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):  # the peer may have cut it already; the next read will notice
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)


def tcp_connector(host: str, port: int) -> Connect:
    """A Connect to a real server."""

    async def connect() -> HalfCloseableStream:
        stream = await trio.open_tcp_stream(host, port)
        keep_buffers_small(stream)
        return stream

    return connect
