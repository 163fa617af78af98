"""Addresses: the URL of a server, and opening a stream to it.

One URL covers all requests to a server: http and ws mean the same, https and wss mean TLS. A path in it is kept in front of the
protocol's own paths, for servers behind a reverse proxy.

Both transports open their streams with one function, which an application may replace: with memory streams in tests, with another
certificate store, or with a proxy connection.
"""

import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import trio

from reference.protocol.errors import ConfigError

OpenStream = Callable[[str, int, bool], Awaitable[trio.abc.Stream]]
"""(host, port, tls) -> a connected stream, after the TLS handshake if `tls`. Raises OSError or trio.BrokenResourceError if there
is none. It has no time limit of its own: the session cancels it."""

_PORTS = {"http": (80, False), "ws": (80, False), "https": (443, True), "wss": (443, True)}


@dataclass(frozen=True, slots=True)
class Address:
    """A server, as given by its URL. `base_path` is empty or begins with a slash and does not end with one."""

    host: str
    port: int
    tls: bool
    base_path: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises ConfigError, which says what to write."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")
        except ValueError as error:  # includes UnicodeError
            raise ConfigError(f"url {url!r}: {error}") from None
        if parts.scheme not in _PORTS or not host:
            raise ConfigError(f"url {url!r}: write http://, https://, ws:// or wss:// and a host, as in http://127.0.0.1:8000")
        if parts.query or parts.fragment or parts.username is not None:
            raise ConfigError(f"url {url!r}: only scheme, host, port and path belong here; a token is passed as token=...")
        default_port, tls = _PORTS[parts.scheme]
        return cls(host, default_port if port is None else port, tls, quote(parts.path.rstrip("/"), safe="/%"))

    @property
    def host_header(self) -> str:
        """The server's Host header: the port is left out if it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host.encode("idna").decode("ascii")
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    def run_path(self, run_id: str, *, websocket: bool = False) -> str:
        """The path of a run, under which its operations are."""
        return f"{self.base_path}/{'ws' if websocket else 'api'}/runs/{quote(run_id, safe='')}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host_header}{self.base_path}"


async def open_tcp_stream(
    host: str, port: int, tls: bool, *, tls_context: ssl.SSLContext | None = None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """A TCP connection, with TLS if `tls`; `tls_context` replaces the system's certificates.

    Raises OSError or trio.BrokenResourceError.
    """
    stream = await trio.open_tcp_stream(host, port)
    if not tls:
        return stream
    try:
        context = tls_context or ssl.create_default_context()
        secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def reason_of(error: BaseException) -> str:
    """Why no stream could be opened, as text: refused, unknown host, certificate, timeout. For several addresses, each reason
    once."""
    leaves: list[BaseException] = []
    _collect(error, leaves)
    return "; ".join(dict.fromkeys(map(_in_words, leaves)))


def _collect(error: BaseException, into: list[BaseException]) -> None:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            _collect(each, into)
    elif error.__cause__ is not None:  # trio wraps the errors of all addresses, and the error of a handshake
        _collect(error.__cause__, into)
    else:
        into.append(error)


def _in_words(error: BaseException) -> str:
    match error:
        case ssl.SSLCertVerificationError(verify_message=message):
            return f"the server's certificate is not valid: {message}"
        case socket.gaierror():
            return f"the host name is not known ({error.strerror})"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case _:
            return str(error) or type(error).__name__


def bearer(token: str | None) -> list[tuple[bytes, bytes]]:
    """The header that carries a token; it is never in a URL (5.3, 10.1). `check_token` has checked that it is ASCII."""
    return [] if token is None else [(b"Authorization", b"Bearer " + token.encode("ascii"))]


TOKEN_CHARACTERS_MAX = 8192  # 4.1


def check_run_id(run_id: str) -> str:
    """The run's id in the form in which a server names it (1.1). Raises ConfigError if it is empty; whether there is such a run
    is for the server to say."""
    if not run_id:
        raise ConfigError("run_id is empty; a run's id is a UUID")
    return run_id.lower()


def check_token(token: str | None) -> None:
    """Raise ConfigError unless the token can be sent in a header, and a server takes one of its length."""
    if token is not None and len(token) > TOKEN_CHARACTERS_MAX:
        raise ConfigError(f"a token of {len(token)} characters; the limit is {TOKEN_CHARACTERS_MAX}")
    if token is not None and (not token or not all("!" <= character <= "~" for character in token)):
        raise ConfigError("invalid token: use one or more visible ASCII characters and no spaces")
