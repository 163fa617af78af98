"""Origins: which web pages may use this server (10.5).

A browser lets any page open a WebSocket to any server, and names the page in the Origin header. Programs send no Origin; for them
only the token counts. Allowed are pages of this server itself, pages of the same machine, and those on the list.

A server without a secret accepts every token, so it must not take a foreign page for its own: a page whose own host name resolves
to 127.0.0.1 would look like a page of this server. Such a server therefore accepts only loopback host names, and names without a
dot, which no page on the internet has.
"""

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from reference.protocol.errors import CloseCode, ConfigError
from reference.server.wire.request_head import HttpRefusal

_ORIGIN = re.compile(r"https?://[^/?#@\s]+")
_PORTS = {"http": 80, "https": 443}


class OriginPolicy:
    """`allowed` are origins: scheme, host, and port unless it is the scheme's default."""

    def __init__(
        self, allowed: tuple[str, ...], *, is_development: bool, on_refused: Callable[[str], None] = lambda origin: None
    ) -> None:
        """`on_refused` is called with each origin that was refused. Raises ConfigError."""
        self._allowed = frozenset(map(normal_origin, allowed))
        self._is_development = is_development
        self._on_refused = on_refused

    def check(self, origin: bytes | None, host: bytes | None) -> None:
        """Raise HttpRefusal 403 unless this request is not from a page, or from a page whose origin may use `host`."""
        if self._is_development and not _is_own_name(_host_of(f"//{_text(host)}")):
            message = "this development server answers to the names of its own machine only, such as 127.0.0.1 and localhost"
            raise HttpRefusal(403, CloseCode.FORBIDDEN, message)
        if origin is not None and not self.allows(_text(origin), _text(host)):
            self._on_refused(_text(origin))
            raise HttpRefusal(403, CloseCode.FORBIDDEN, "pages of this origin may not talk to this server")

    def allows(self, origin: str, host: str) -> bool:
        """Whether a page of that origin may use this server, which it addressed as `host`."""
        origin = origin.lower()
        if origin in self._allowed:
            return True
        if _ORIGIN.fullmatch(origin) is None:
            return False  # "null", for instance: a page from a file or in a sandbox
        if not self._is_development and origin.partition("//")[2] == host.lower():
            return True
        return is_loopback(_host_of(origin))


def normal_origin(origin: str) -> str:
    """`origin` as browsers write it: lower case, no default port, names in ASCII. Raises ConfigError."""
    wrong = ConfigError(
        f"allowed origin {origin!r}: give scheme, host and port, like https://app.example.org or http://host:3000"
    )
    if "*" in origin:
        raise ConfigError(f"allowed origin {origin!r}: wildcards match nothing; name each origin")
    if _ORIGIN.fullmatch(origin.lower()) is None:
        raise wrong
    try:
        parts = urlsplit(origin.lower())
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:  # includes UnicodeError
        raise wrong from error
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port in (None, _PORTS[parts.scheme]) else f":{port}")


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine only."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_name(host: str) -> bool:
    return "." not in host.rstrip(".") or is_loopback(host)


def _host_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _text(header: bytes | None) -> str:
    return (header or b"").decode("latin-1")
