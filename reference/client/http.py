"""HTTP requests over streams of the application's choice, with httpcore doing the talking.

httpcore asks a network backend for connections; ours opens them like the WebSocket transport does, TLS included, so httpcore
itself is only ever asked for plain HTTP. Time limits are not httpcore's business but its caller's, who cancels: every way of
closing a stream here is by force and cannot wait for a peer that is gone.

An answer is bounded where its bytes come in: after a request was written, a stream yields at most ANSWER_BYTES_MAX.
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import httpcore
import trio

from reference.client.addresses import Address, OpenStream, bearer
from reference.protocol.codec import SERVER_FRAME_BYTES_MAX
from reference.protocol.errors import CloseCode, RemoteError

ANSWER_BYTES_MAX = SERVER_FRAME_BYTES_MAX + 64 * 1024
"""The largest answer with its head, in bytes."""
_CONNECTIONS_MAX = 2  # one poll and one publish may be under way at the same time


_bytes_came: ContextVar[Callable[[], None]] = ContextVar("bytes_came")
"""Of the request that this task is making; httpcore reads for it in the same task."""


class RequestLost(Exception):
    """There was no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class HttpClient:
    """Requests to one server, on at most two connections that are kept for the next. An async context manager."""

    def __init__(self, address: Address, token: str | None, open_stream: OpenStream) -> None:
        self._address = address
        self._headers = [(b"Host", address.host_header.encode("ascii")), (b"Accept", b"application/json"), *bearer(token)]
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_CONNECTIONS_MAX, network_backend=_Backend(address, open_stream)
        )

    async def __aenter__(self) -> "HttpClient":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.aclose()

    async def request(
        self, method: str, target: str, body: bytes | None = None, *, bytes_came: Callable[[], None] = lambda: None
    ) -> Answer:
        """One request and its answer, whatever its status. Raises RequestLost, and RemoteError TOO_BIG.

        `bytes_came` is told of every piece of the answer. To be awaited in a task of its own.
        """
        _bytes_came.set(bytes_came)
        url = httpcore.URL(scheme=b"http", host=b"server", port=80, target=target.encode("ascii"))
        headers, content = self._headers, None
        if body is not None:
            headers = [*headers, (b"Content-Type", b"application/json"), (b"Content-Length", str(len(body)).encode("ascii"))]
            content = _Body(body)
        try:
            response = await self._pool.request(method, url, headers=headers, content=content)
        except _TooBig:
            raise RemoteError(CloseCode.TOO_BIG, f"an answer larger than {ANSWER_BYTES_MAX} bytes") from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise RequestLost(f"{method} to {self._address} was not answered: {error or type(error).__name__}") from None
        return Answer(response.status, tuple(response.headers), response.content)


class _Body:
    """A body in one piece. httpcore would make it a generator, which a cancelled request leaves behind unfinished."""

    def __init__(self, body: bytes) -> None:
        self._pieces = iter((body,))

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class _TooBig(httpcore.ReadError):
    pass


class _Backend(httpcore.AsyncNetworkBackend):
    """Connections to one server, whatever httpcore believes its name to be."""

    def __init__(self, address: Address, open_stream: OpenStream) -> None:
        self._address = address
        self._open_stream = open_stream

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            stream = await self._open_stream(self._address.host, self._address.port, self._address.tls)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ConnectError(str(error.__cause__ or error)) from error
        return _Stream(stream)


@runtime_checkable
class _Readable(Protocol):
    """A stream of the application's own that can tell whether `receive_some` would return at once."""

    def is_readable(self) -> bool: ...


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._answer_bytes = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error
        if data:
            _bytes_came.get()()
        self._answer_bytes += len(data)
        if self._answer_bytes > ANSWER_BYTES_MAX:
            raise _TooBig
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._answer_bytes = 0
        if not buffer:
            return
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> Any:
        # httpcore asks an idle connection whether there is something to read: that can only be its end.
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if info != "is_readable":
            return None
        if isinstance(stream, trio.SocketStream):
            return stream.socket.is_readable()
        return stream.is_readable() if isinstance(stream, _Readable) else None
