"""The byte level: HTTP requests and WebSocket messages over any trio stream, for both ends.

h11 reads and writes HTTP, wsproto frames WebSocket messages. The handshake is written here, so that a case can leave out a
header, ask with HTTP/1.0, or send a message that no ordinary library would send. Nothing here knows the protocol of steadywire.

    RawHttp            a client's HTTP connection: one request after another
    open_websocket     a client's handshake; UpgradeRefused if the answer is not 101
    WebSocket          one end of an open WebSocket: send, receive, close, cut
    ServedConnection   a server's end of a stream: reads requests, answers them, or becomes a WebSocket
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

import h11
import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import generate_accept_token, generate_nonce

SUBPROTOCOL: Final = "collab.v1.json"
MESSAGE_BYTES_MAX: Final = 8 * 1024 * 1024
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
_READ_BYTES: Final = 64 * 1024
CLOSING_S_MAX: Final = 2.0

Headers = list[tuple[str, str]]
Dial = Callable[[], Awaitable[trio.abc.Stream]]
"""Opens a stream to the peer. Raises OSError."""


class BadUrl(ValueError):
    """The URL cannot name a server; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is. `base_path` is empty, or begins with a slash and does not end with one."""

    host: str
    port: int
    tls: bool
    base_path: str = ""

    @classmethod
    def parse(cls, url: str) -> "Target":
        """Raises BadUrl."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"URL {url!r}: {error}") from None
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise BadUrl(f"URL {url!r}: write http://, https://, ws:// or wss:// and a host, as in http://127.0.0.1:8765")
        if parts.query or parts.fragment or parts.username is not None:
            raise BadUrl(f"URL {url!r}: give scheme, host, port and path only; pass a token with --token")
        tls = parts.scheme in ("https", "wss")
        return cls(parts.hostname, port or (443 if tls else 80), tls, quote(parts.path.rstrip("/"), safe="/%"))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    async def dial(self) -> trio.abc.Stream:
        """A stream to this server. Raises OSError."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        if not self.tls:
            return stream
        secured = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=self.host, https_compatible=True)
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise OSError(f"TLS handshake failed: {error.__cause__ or error}") from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secured


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer with its whole body; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RawRequest:
    """An HTTP request as a server reads it; header names are in lower case, `http_version` is "1.1" or "1.0"."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    http_version: str = "1.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def is_upgrade(self) -> bool:
        """Whether this asks for a WebSocket."""
        connection = {word.strip().lower() for word in self.headers.get("connection", "").split(",")}
        return self.headers.get("upgrade", "").lower() == "websocket" and "upgrade" in connection

    @property
    def subprotocols(self) -> list[str]:
        return [word.strip() for word in self.headers.get("sec-websocket-protocol", "").split(",") if word.strip()]


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text message."""

    text: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A whole binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of the connection; `code` is None when it was cut without a close frame, or closed without a code."""

    code: int | None
    reason: str = ""


class Lost(Exception):
    """The stream ended, or broke, in the middle of an HTTP exchange."""


class UpgradeRefused(Exception):
    """The upgrade was answered with something else than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"upgrade refused with HTTP status {response.status}")
        self.response = response


class RawHttp:
    """A client's HTTP connection. One request at a time."""

    def __init__(self, stream: trio.abc.Stream, authority: str) -> None:
        self._stream = stream
        self._authority = authority
        self._h11 = h11.Connection(h11.CLIENT)

    async def request(self, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> Response:
        """Raises Lost."""
        if self._h11.our_state is not h11.IDLE:
            self._h11.start_next_cycle()
        lines = [("Host", self._authority), *headers]
        if body or method in ("POST", "PUT"):
            lines.append(("Content-Length", str(len(body))))
        await self.send(h11.Request(method=method, target=target, headers=lines))
        if body:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())
        return await self.response()

    async def send(self, event: h11.Event) -> None:
        data = self._h11.send(event)
        if data:
            # The answer may be there all the same: a server may refuse a body before it has read it.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(data)

    def expect_answer_to(self, request: h11.Request) -> None:
        """The request went out by another way."""
        self._h11.send(request)
        self._h11.send(h11.EndOfMessage())

    async def response(self) -> Response:
        """The answer to the request. Raises Lost."""
        head, body = await _read_message(self._stream, self._h11)
        assert isinstance(head, h11.Response | h11.InformationalResponse)
        return Response(head.status_code, _lower(head.headers), body)

    @property
    def trailing_data(self) -> bytes:
        return self._h11.trailing_data[0]

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


class WebSocket:
    """One end of an open WebSocket. `receive` is for one task, sending for any.

    `is_deaf`: answers of the WebSocket layer (to its pings) are left out, as a dead peer would.
    """

    def __init__(self, stream: trio.abc.Stream, *, is_client: bool, subprotocol: str | None, trailing: bytes = b"") -> None:
        self.subprotocol = subprotocol
        self.ended: Closed | None = None
        self.is_deaf = False
        self._stream = stream
        self._connection = Connection(ConnectionType.CLIENT if is_client else ConnectionType.SERVER, trailing_data=trailing)
        self._parts: list[str | bytes] = []
        self._bytes = 0
        self._events = self._connection.events()
        self._sending = trio.Lock()

    async def send_text(self, text: str) -> bool:
        """False if the connection has ended."""
        return await self._send(self._frame(TextMessage(data=text)))

    async def send_binary(self, data: bytes) -> bool:
        return await self._send(self._frame(BytesMessage(data=data)))

    async def send_all(self, texts: Sequence[str]) -> bool:
        """Several messages in one piece."""
        return await self._send(b"".join(self._frame(TextMessage(data=text)) for text in texts))

    async def send_ping(self, count: int = 1) -> bool:
        """Pings of the WebSocket layer, in one piece."""
        return await self._send(b"".join(self._frame(Ping(payload=b"kit")) for _ in range(count)))

    async def send_pong(self) -> bool:
        """A pong of the WebSocket layer that nobody asked for."""
        return await self._send(self._frame(Pong(payload=b"kit")))

    async def receive(self) -> Text | Binary | Closed:
        """The next whole message, or the end, which is repeated. May be cancelled; nothing is lost."""
        while self.ended is None:
            event = next(self._events, None)
            if event is None:
                await self._read()
            elif isinstance(event, Ping):
                if not self.is_deaf:
                    await self._send(self._frame(event.response()))
            elif isinstance(event, CloseConnection):
                if self._connection.state is ConnectionState.OPEN:  # wsproto's own verdict on what it could not parse
                    self.ended = Closed(None, f"not WebSocket: {event.reason}")
                else:
                    self.ended = Closed(None if event.code in (1005, 1006) else int(event.code), event.reason or "")
                    await self._send(self._frame(event.response()))
            elif isinstance(event, TextMessage | BytesMessage):
                whole = self._whole(event)
                if whole is not None:
                    return whole
        return self.ended

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and wait shortly for the peer to end the connection. For the task that receives."""
        await self.send_close(code, reason)
        with trio.move_on_after(CLOSING_S_MAX):
            while self.ended is None:
                await self.receive()
        await self.cut()

    async def send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame; `receive` goes on until the peer has answered it."""
        await self._send(self._frame(CloseConnection(code=code, reason=reason)))

    async def cut(self) -> None:
        """End the connection without a close frame."""
        if self.ended is None:
            self.ended = Closed(None)
        await trio.aclose_forcefully(self._stream)

    def _frame(self, event: Event) -> bytes:
        """Nothing once our close frame is out."""
        is_open = self._connection.state is ConnectionState.OPEN
        is_answer = self._connection.state is ConnectionState.REMOTE_CLOSING and isinstance(event, CloseConnection)
        return self._connection.send(event) if is_open or is_answer else b""

    async def _send(self, data: bytes) -> bool:
        if not data:
            return False
        try:
            async with self._sending:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False  # `receive` learns why
        return True

    def _whole(self, event: TextMessage | BytesMessage) -> Text | Binary | None:
        part: str | bytes = event.data if isinstance(event.data, str) else bytes(event.data)
        self._parts.append(part)
        self._bytes += len(part)
        if self._bytes > MESSAGE_BYTES_MAX:
            self.ended = Closed(None, f"a message of more than {MESSAGE_BYTES_MAX} bytes")
            return None
        if not event.message_finished:
            return None
        parts, self._parts, self._bytes = self._parts, [], 0
        if isinstance(part, str):
            return Text("".join(each for each in parts if isinstance(each, str)))
        return Binary(b"".join(each for each in parts if isinstance(each, bytes)))

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self.ended = self.ended or Closed(None)
            return
        self._connection.receive_data(bytes(data))
        self._events = self._connection.events()


async def open_websocket(
    stream: trio.abc.Stream,
    target: str,
    authority: str,
    *,
    subprotocols: Sequence[str] = (SUBPROTOCOL,),
    headers: Sequence[tuple[str, str]] = (),
) -> WebSocket:
    """A client's handshake on a stream. Raises UpgradeRefused or Lost."""
    key = generate_nonce()
    lines = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key.decode()),
        ("Sec-WebSocket-Version", "13"),
        *([("Sec-WebSocket-Protocol", ", ".join(subprotocols))] if subprotocols else []),
        *headers,
    ]
    connection = RawHttp(stream, authority)
    response = await connection.request("GET", target, headers=lines)
    if response.status != 101 or response.headers.get("sec-websocket-accept") != generate_accept_token(key).decode():
        raise UpgradeRefused(response)
    chosen = response.headers.get("sec-websocket-protocol")
    return WebSocket(stream, is_client=True, subprotocol=chosen, trailing=connection.trailing_data)


class ServedConnection:
    """A server's end of one accepted stream: reads requests, answers them, or turns into a WebSocket."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.SERVER)

    async def read_request(self) -> RawRequest | None:
        """None when the peer has gone."""
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        elif self._h11.our_state is not h11.IDLE:
            return None
        try:
            head, body = await _read_message(self.stream, self._h11)
        except Lost:
            return None
        assert isinstance(head, h11.Request)
        return RawRequest(head.method.decode(), head.target.decode(), _lower(head.headers), body, head.http_version.decode())

    async def answer(self, status: int, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer the request that was read last."""
        lines = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers]
        try:
            await self.stream.send_all(self._h11.send(h11.Response(status_code=status, headers=lines)))
            await self.stream.send_all(self._h11.send(h11.Data(data=body)) + self._h11.send(h11.EndOfMessage()))
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.LocalProtocolError):
            return

    async def accept(self, request: RawRequest, subprotocol: str | None) -> WebSocket:
        """Answer an upgrade with 101."""
        lines = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", generate_accept_token(request.headers.get("sec-websocket-key", "").encode()).decode()),
        ]
        if subprotocol is not None:
            lines.append(("Sec-WebSocket-Protocol", subprotocol))
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # the WebSocket's first `receive` says so
            await self.stream.send_all(self._h11.send(h11.InformationalResponse(status_code=101, headers=lines)))
        return WebSocket(self.stream, is_client=False, subprotocol=subprotocol, trailing=self._h11.trailing_data[0])

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self.stream)


async def _read_message(
    stream: trio.abc.Stream, connection: h11.Connection
) -> tuple[h11.Request | h11.Response | h11.InformationalResponse, bytes]:
    head: h11.Request | h11.Response | h11.InformationalResponse | None = None
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Lost(f"not HTTP: {error}") from None
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(bytes(await stream.receive_some(_READ_BYTES)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise Lost("the connection was cut") from None
            except h11.RemoteProtocolError as error:
                raise Lost(f"not HTTP: {error}") from None
        elif isinstance(event, h11.Request | h11.Response):
            head = event
            if isinstance(event, h11.Request) and "upgrade" in _lower(event.headers):
                # The body of an upgrade is empty; h11 pauses behind it.
                continue
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return event, b""
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_BYTES_MAX:
                raise Lost(f"a body of more than {BODY_BYTES_MAX} bytes")
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return head, bytes(body)
        else:
            raise Lost("the connection ended before the message did")


def _lower(headers: object) -> dict[str, str]:
    return {name.decode().lower(): value.decode("latin-1") for name, value in headers}  # type: ignore[attr-defined]
