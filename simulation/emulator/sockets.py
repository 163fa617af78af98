"""The emulator's sockets: ports that can refuse connections, an abortive close, and small buffers.

Only the kernel can answer a connect with ECONNREFUSED, and it does so when nothing listens. Resetting each connection after
accepting it would look different: the connect would succeed, and a client would count a connection that it never had. So a `Door`
is shut by closing the listening socket. No other program may get its number meanwhile: a second socket is bound to it at once and
does not listen. For the kernel the port is in use but refuses connections, and to open the door again that socket listens.
Connections in the backlog that were not accepted yet are reset; existing connections are other sockets and are not affected.

The peer must be able to distinguish a cut from a close, so on a socket `abort` is a real RST: SO_LINGER with a time of zero, then
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

from simulation.emulator.errors import EmulatorError

LOOPBACK = "127.0.0.1"
SOCKET_BUFFER_BYTES = 64 * 1024
_BACKLOG_CONNECTIONS = 1024
_LINGER_ON_FOR_ZERO_SECONDS = struct.pack("ii", 1, 0)

Serve = Callable[[trio.SocketStream], Awaitable[object]]
Connect = Callable[[], Awaitable[HalfCloseableStream]]
"""Opens a connection to the server; raises OSError if that fails."""


class Door:
    """Accepts connections while it is open, and runs `serve` for each in `nursery`."""

    def __init__(self, nursery: trio.Nursery, serve: Serve, port: int = 0, *, host: str = LOOPBACK) -> None:
        """Open at `port` of `host`; 0 lets the system choose. EmulatorError if the port is in use or the host is not this
        machine."""
        self.host = host
        self._nursery = nursery
        self._serve = serve
        self._accepting = trio.CancelScope()
        self._is_closed = False
        self.is_open = False
        self._socket = _bound_socket(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.open()

    def open(self) -> None:
        """Accept connections. Call it on a shut door."""
        if self._is_closed:
            return
        try:
            # Accepted sockets inherit it; without it the number could not be bound again while they exist.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.listen(_BACKLOG_CONNECTIONS)
        except OSError as error:
            raise EmulatorError(f"cannot listen at port {self.port} on {self.host}: {error}") from error
        self.is_open = True
        self._accepting = trio.CancelScope()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))
        self._nursery.start_soon(self._accept, listener, self._accepting)

    def shut(self) -> None:
        """Refuse connections from now on. Call it on an open door."""
        if self._is_closed:
            return
        self.is_open = False
        self._accepting.cancel()
        self._socket.close()
        self._socket = _bound_socket(self.host, self.port)

    def close(self) -> None:
        """Release the port for good."""
        self._is_closed = True
        self._accepting.cancel()
        self._socket.close()

    async def _accept(self, listener: trio.SocketListener, accepting: trio.CancelScope) -> None:
        with accepting:
            await trio.serve_listeners(self._serve, [listener], handler_nursery=self._nursery)


def _bound_socket(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Earlier connections still have this number; a new socket may only have it too with this option.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit these.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        bound.setblocking(False)
        bound.bind((host, port))
        # While the door is shut nothing else may bind the number, not even with SO_REUSEADDR, which servers use.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except (OSError, OverflowError) as error:
        bound.close()
        raise EmulatorError(f"cannot have port {port} on {host}: {error}") from error
    return bound


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
