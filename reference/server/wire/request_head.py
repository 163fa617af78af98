"""RequestHead: the head of a request, the same value for an ASGI call and for a WebSocket upgrade."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import h11
import msgspec

from reference.protocol.errors import CloseCode, HttpProblem, SteadywireError
from reference.protocol.limits import Limit
from reference.server.wire.push_stream import Address

Headers = tuple[tuple[bytes, bytes], ...]

WEBSOCKET_VERSION = b"13"

UPGRADE_LOST = 1002
"""Code in HTTP answers to a broken upgrade: a proxy has removed the headers that make it an upgrade. The protocol has no code for
that; one of 44xx would mean that the client is at fault, and it would never reconnect."""
INTERNAL_ERROR = 1011
"""Code of a fault of this server: a close code, and in HTTP answers with status 500."""


class HttpRefusal(SteadywireError):
    """A request that the front door itself answers with an error; the text is for the client."""

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        retry_after_ms: int | None = None,
        headers: Headers = (),
        limit: Limit | None = None,
    ) -> None:
        super().__init__(f"{status} {message}")
        self.limit = limit
        """The limit that was reached, if that is why."""
        self.status = status
        self.code = code
        """The close code that goes into the body (`errors.HttpProblem`)."""
        self.message = message
        self.retry_after_ms = retry_after_ms
        """Milliseconds to wait before the next try."""
        self.headers = headers

    def answer(self) -> tuple[Headers, bytes]:
        """Headers and body of the answer.

        Any web page may read it: it has no data of a user, and else a page would see neither its status nor the time to wait.
        """
        problem = HttpProblem(code=self.code, message=self.message, retry_after_ms=self.retry_after_ms)
        body = msgspec.json.encode(problem)
        headers: Headers = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", b"retry-after"),
            *self.headers,
        )
        if self.retry_after_ms is None:
            return headers, body
        return (*headers, (b"retry-after", retry_after(self.retry_after_ms).encode())), body


def retry_after(wait_ms: int) -> str:
    """The value of the header Retry-After: whole seconds, rounded up, because a retry must not come too early."""
    return str(-(-wait_ms // 1000))


@dataclass(frozen=True)
class RequestHead:
    """Method, target and headers of one request, and its sender. Header names are lower case, values unchanged."""

    method: str
    target: bytes
    """As it came: path and query, still percent-encoded."""
    http_version: str
    headers: Headers
    client: Address | None = None
    server: Address | None = None

    @property
    def raw_path(self) -> bytes:
        return self._path_and_query[0]

    @cached_property
    def path(self) -> str:
        """The path, percent-decoded; bytes that are not UTF-8 become U+FFFD."""
        return unquote_to_bytes(self.raw_path).decode(errors="replace")

    @property
    def query(self) -> bytes:
        return self._path_and_query[1]

    def header(self, name: bytes) -> bytes | None:
        """The value of the header `name` (lower case), several joined by commas as in HTTP; None without one."""
        return self._values.get(name)

    def tokens(self, name: bytes) -> list[str]:
        """The comma-separated items of the header `name`; items that are not ASCII are left out, because no token has such
        characters."""
        items = (self.header(name) or b"").split(b",")
        return [item.strip().decode() for item in items if item.strip() and item.isascii()]

    # ---- WebSocket ----

    @property
    def wants_websocket(self) -> bool:
        return self.method == "GET" and "websocket" in (item.lower() for item in self.tokens(b"upgrade"))

    def choose_subprotocol(self, ours: Sequence[str]) -> str | None:
        """The first of `ours` that the client offers too."""
        offered = self.tokens(b"sec-websocket-protocol")
        return next((name for name in ours if name in offered), None)

    def websocket_key(self) -> bytes:
        """The client's key, after checking everything else that RFC 6455, section 4.2.1, asks of the head.

        Raises HttpRefusal with 400; or with 426 if only the WebSocket version is wrong, or if a proxy has removed hop-by-hop
        headers or uses HTTP/1.0.
        """
        if self.http_version != "1.1" or "upgrade" not in (item.lower() for item in self.tokens(b"connection")):
            why = "a WebSocket needs HTTP/1.1 and the header Connection: Upgrade; does a proxy pass them on?"
            raise HttpRefusal(426, UPGRADE_LOST, why, headers=((b"upgrade", b"websocket"),))
        if self.header(b"sec-websocket-version") != WEBSOCKET_VERSION:
            headers = ((b"sec-websocket-version", WEBSOCKET_VERSION), (b"upgrade", b"websocket"))
            raise HttpRefusal(426, CloseCode.VERSION, "this server supports only version 13 of WebSocket", headers=headers)
        key = self.header(b"sec-websocket-key") or b""
        try:
            is_key = len(base64.b64decode(key, validate=True)) == 16
        except (binascii.Error, ValueError):
            is_key = False
        if not is_key:
            raise _bad_upgrade("Sec-WebSocket-Key must be 16 bytes in base64")
        if self.header(b"transfer-encoding") is not None or (self.header(b"content-length") or b"0") != b"0":
            raise _bad_upgrade("an upgrade to WebSocket has no body")
        return key

    # ---- ASGI ----

    def asgi_scope(self) -> dict[str, Any]:
        """The scope of an ASGI call (asgi.readthedocs.io, HTTP connection scope)."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.http_version,
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.raw_path,
            "query_string": self.query,
            "root_path": "",
            "headers": list(self.headers),
            "client": self.client,
            "server": self.server,
            "state": {},
            "extensions": {},
        }

    # ---- internal ----

    @cached_property
    def _values(self) -> dict[bytes, bytes]:
        """By name: asked for about ten times for each request."""
        values: dict[bytes, bytes] = {}
        for name, value in self.headers:
            values[name] = values[name] + b", " + value if name in values else value
        return values

    @cached_property
    def _path_and_query(self) -> tuple[bytes, bytes]:
        target = self.target
        if not target.startswith((b"/", b"*")):
            # Absolute form, as sent to proxies; a server must accept it too (RFC 9112, section 3.2.2).
            try:
                parts = urlsplit(target)
            except ValueError:
                return b"/", b""
            return parts.path or b"/", parts.query
        path, _, query = target.partition(b"?")
        return path, query


def read_head(request: h11.Request, client: Address | None, server: Address | None) -> RequestHead:
    """The head as h11 has read it, after checks that h11 does not make. Raises HttpRefusal."""
    head = RequestHead(
        method=request.method.decode(),
        target=request.target,
        http_version=request.http_version.decode(),
        headers=tuple((name, value) for name, value in request.headers),
        client=client,
        server=server,
    )
    if not head.http_version.startswith("1."):
        raise HttpRefusal(505, CloseCode.VERSION, "this server supports only HTTP/1.0 and HTTP/1.1")
    if head.header(b"transfer-encoding") is not None and head.header(b"content-length") is not None:
        # Two conflicting lengths are used to smuggle requests past a proxy (RFC 9112, section 6.3).
        raise HttpRefusal(400, CloseCode.BAD_FRAME, "Transfer-Encoding and Content-Length exclude each other")
    if head.method == "CONNECT":
        raise HttpRefusal(501, CloseCode.BAD_FRAME, "this server is not a proxy")
    return head


def _bad_upgrade(message: str) -> HttpRefusal:
    return HttpRefusal(400, CloseCode.BAD_FRAME, message)
