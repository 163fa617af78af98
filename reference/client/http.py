"""HTTP requests over streams that the application may choose, with httpcore as the HTTP library.

httpcore asks a network backend for connections. Ours opens them as the WebSocket transport does, including TLS, so httpcore only
sees plain HTTP. Callers limit the time by cancelling: every stream is closed by force and never waits for a dead peer. The size
of a response is limited where its bytes arrive: after each request a stream returns at most ANSWER_BYTES_MAX.

Error responses (5.7): a close code of the protocol is accepted only from a body in the protocol's own form
(`HttpProblem` with a four-digit code that begins with 4). Proxies between client and server send errors of their own: a proxy's
403 for an upgrade means that WebSockets are blocked, not that this user is forbidden, and leads to the next attempt or to
polling.
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import httpcore
import msgspec
import trio

from reference.client.addresses import Address, OpenStream, bearer, reason_of
from reference.protocol.errors import CloseCode, HttpProblem, RemoteError
from reference.protocol.frames import SERVER_FRAME_BYTES_MAX

RETRY_AFTER_MS_MAX = 86_400_000
"""A longer wait than a day is taken for an error; the same limit as for goaway."""


@dataclass(frozen=True, slots=True)
class HttpRefused:
    """`code` is the protocol's, or None; `retry_after_ms` is None unless the answer asked for a wait."""

    code: int | None
    message: str
    retry_after_ms: int | None


def read_refusal(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> HttpRefused:
    """Classify an answer by its status, headers and body (or the beginning of it)."""
    waits = [value for name, value in headers if name.lower() == b"retry-after"]
    retry_after_ms = _seconds_as_ms(waits[0]) if waits else None
    try:
        problem = msgspec.json.decode(body, type=HttpProblem)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        problem = None
    if problem is None or not 4000 <= problem.code <= 4999:
        return HttpRefused(None, f"HTTP status {status}, from something other than a server of this protocol", retry_after_ms)
    if problem.retry_after_ms is not None:
        retry_after_ms = max(0, min(problem.retry_after_ms, RETRY_AFTER_MS_MAX))
    return HttpRefused(problem.code, problem.message, retry_after_ms)


def _seconds_as_ms(value: bytes) -> int | None:
    """Retry-After in seconds. The other form, a date, depends on two clocks that may disagree, and is ignored."""
    text = value.strip()
    if not text.isdigit() or len(text) > 9:
        return None
    return min(int(text) * 1000, RETRY_AFTER_MS_MAX)


ANSWER_BYTES_MAX = SERVER_FRAME_BYTES_MAX + 64 * 1024
"""The largest answer including its head, in bytes."""
_CONNECTIONS_MAX = 2  # one poll and one publish may be under way at the same time


_bytes_came: ContextVar[Callable[[], None]] = ContextVar("bytes_came")
"""Callback of the request that this task is making; httpcore reads for it in the same task."""


class RequestLost(Exception):
    """There was no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class HttpClient:
    """Requests to one server, on at most two connections that are reused. An async context manager."""

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
    ) -> HttpResponse:
        """One request and its answer, whatever the status. Raises RequestLost, and RemoteError TOO_BIG.

        `bytes_came` is called for every piece of the answer. Call this in a separate task.
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
            raise RequestLost(f"{method} to {self._address} was not answered: {str(error) or type(error).__name__}") from None
        return HttpResponse(response.status, tuple(response.headers), response.content)


class _Body:
    """A body in one piece. httpcore would use a generator, which a cancelled request would leave unfinished."""

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
    """Connections to one server, whatever name httpcore uses."""

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
            raise httpcore.ConnectError(reason_of(error)) from error
        return _Stream(stream)


@runtime_checkable
class _Readable(Protocol):
    """An application's own stream that can report whether `receive_some` would return at once."""

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
        # httpcore asks whether an idle connection is readable: that can only be its end.
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if info != "is_readable":
            return None
        if isinstance(stream, trio.SocketStream):
            return stream.socket.is_readable()
        return stream.is_readable() if isinstance(stream, _Readable) else None
