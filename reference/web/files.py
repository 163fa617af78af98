"""The files of the browser side, as a server delivers them: only files of this package, with a strict security policy.

    /                    the run's page
    /admin               the admin view
    /web/...             their modules, styles and pictures, and the browser client for other pages
    /web/settings.json   the settings of the server for its pages

Nothing else of the package can be requested: a name is looked up in a table made once from the existing files, so path traversal
is impossible. A browser caches a file but revalidates it each time with its ETag, so a page and its modules always have the same
version. The Content-Security-Policy allows scripts and styles from files of this server only, none inline, and connections to
this server only.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

import msgspec

FOLDERS = ("admin", "client", "component", "machine", "page")
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""File types that pages may load; Python modules and documents in the same folders are not for browsers."""
PAGES = {"/": "page/index.html", "/admin": "admin/index.html"}
SETTINGS_PATH = "/web/settings.json"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file: its bytes, and its headers."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def etag(self) -> str:
        return self.headers["etag"]

    def is_known_to(self, if_none_match: str | None) -> bool:
        """Whether a browser that sends this header has the current file (RFC 9110, 13.1.2)."""
        if if_none_match is None:
            return False
        return if_none_match.strip() == "*" or self.etag in (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))


class WebSettings(msgspec.Struct, frozen=True, rename="camel"):
    """The settings of the server for its pages."""

    is_development: bool
    """Whether the server takes development tokens: then a page asks for a name, else for a token."""


@cache
def web_files() -> Mapping[str, WebFile]:
    """Every file by its path on the server."""
    root = files("reference.web")
    found = {f"/web/{name}": _web_file(name, entry) for name, entry in _walk(root) if not name.endswith(".html")}
    found |= {path: _web_file(name, root / name) for path, name in PAGES.items()}
    return MappingProxyType(found)


def settings_file(settings: WebSettings) -> WebFile:
    """The answer to SETTINGS_PATH."""
    return _made(msgspec.json.encode(settings), "application/json")


def _walk(root: Traversable) -> Iterator[tuple[str, Traversable]]:
    """The files that browsers may load, each with its path below `root`."""
    yield from _those_of(root, "")
    folders = [(name, root / name) for name in FOLDERS if (root / name).is_dir()]
    while folders:
        path, folder = folders.pop()
        yield from _those_of(folder, f"{path}/")
        folders += [(f"{path}/{entry.name}", entry) for entry in folder.iterdir() if entry.is_dir()]


def _those_of(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_file() and _ending(entry.name) in CONTENT_TYPES:
            yield prefix + entry.name, entry


def _web_file(name: str, entry: Traversable) -> WebFile:
    return _made(entry.read_bytes(), CONTENT_TYPES[_ending(name)])


def _made(body: bytes, content_type: str) -> WebFile:
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return WebFile(body, MappingProxyType({**_HEADERS, "content-type": content_type, "etag": etag}))


def _ending(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
