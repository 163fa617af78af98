"""What a connection needs of its ends beyond trio's HalfCloseableStream: to cut them, and small buffers.

A cut must be told apart from a close by whoever is cut, so on a socket it is a real RST: SO_LINGER with a
time of zero, then close. Other streams may offer `abort()`; those that do not are closed, which is as hard as
they can be hit.

The kernel buffers megabytes on a loopback socket if it is let. That would hide from a server that its client
does not read, so the sockets of the emulator have small, fixed buffers: what is on the way is then mostly
what the lanes hold.
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
"""Opens a connection to the server; raises OSError when there is none to be had."""


@runtime_checkable
class Abortable(Protocol):
    """A stream that can be cut without waiting, so that its peer's next call raises BrokenResourceError."""

    def abort(self) -> None: ...


def abort(stream: HalfCloseableStream) -> None:
    """Cut `stream` now: the peer gets a reset, what was on the way is lost, our own calls on it end."""
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):  # closed already: then there is nothing left to cut
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ON_FOR_ZERO_SECONDS)
        stream.socket.close()
    elif isinstance(stream, Abortable):
        stream.abort()


def keep_buffers_small(stream: HalfCloseableStream) -> None:
    """Fix a socket's buffers at SOCKET_BUFFER_BYTES each way (Linux doubles it for its own use)."""
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):  # the peer may have cut it already; whoever reads next will notice
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)


def tcp_connector(host: str, port: int) -> Connect:
    """A Connect to a real server."""

    async def connect() -> HalfCloseableStream:
        stream = await trio.open_tcp_stream(host, port)
        keep_buffers_small(stream)
        return stream

    return connect
