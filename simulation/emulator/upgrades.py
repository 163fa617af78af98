"""The middlebox that blocks WebSocket upgrades, or strips their headers.

It follows one connection's requests and finds the upgrades.

h11 parses the bytes. We act as the server for it: every request gets a pretended refusal as its answer, so that h11 goes on to
the next request of the same connection; these answers are not sent. So an upgrade is found anywhere among keep-alive requests,
after bodies with a length or in chunks, and however its bytes are split.

Bytes pass unchanged, except while upgrades are forbidden: then the beginning of a request head waits until the head is complete,
because only then it is known whether it may pass.

Everything that is not HTTP/1.1 passes: other protocols, frames after an upgrade, requests that h11 finds faulty (the server will
answer them), heads above HEAD_BYTES_MAX, data after `Connection: close`. The 403 for a refused upgrade belongs to HTTP, not to
the collaboration protocol, like that of a company's or a hotel's proxy.
"""

import h11

HEAD_BYTES_MAX = 64 * 1024

_FORBIDDEN_TEXT = b"This network does not permit WebSocket connections.\n"
FORBIDDEN_ANSWER = (
    b"HTTP/1.1 403 Forbidden\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n"
    b"\r\n%b" % (len(_FORBIDDEN_TEXT), _FORBIDDEN_TEXT)
)

_HOP_BY_HOP = (b"upgrade:", b"connection:")  # the headers that a proxy without WebSocket support removes
# Every method of HTTP begins with a capital, and no frame of a WebSocket does. Empty: it has not come yet.
_FIRST_OF_A_METHOD = frozenset(bytes([letter]) for letter in b"ABCDEFGHIJKLMNOPQRSTUVWXYZ") | {b""}


class UpgradeWatch:
    """Follows the bytes from one client to the server. Pure: no I/O, no clock."""

    def __init__(self) -> None:
        self._http: h11.Connection | None = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._held = bytearray()
        self._is_upgraded = False

    @property
    def is_upgraded(self) -> bool:
        """Whether the last request asked for a WebSocket: then this connection is taken for one."""
        return self._is_upgraded

    def feed(self, data: bytes, *, is_blocking: bool) -> tuple[bytes, bool]:
        """Take bytes from the client; return those that may pass, and whether a forbidden upgrade follows them.

        After a forbidden upgrade the connection must be ended; the watch is of no further use.
        """
        self._held += data
        if self._http is not None and data:  # to h11 no bytes would be the end
            self._http.receive_data(data)
        waiting_bytes = 0
        while self._http is not None:
            head = _begun_head(self._http)
            waiting_bytes = len(head)
            if head.lstrip(b"\r\n")[:1] not in _FIRST_OF_A_METHOD:
                self._ignore_the_rest()
                break
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError:
                self._ignore_the_rest()
                break
            if isinstance(event, h11.Request):
                self._is_upgraded = _asks_for_websocket(event)
                if self._is_upgraded and is_blocking:
                    return self._take(self._before(waiting_bytes)), True
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                self._go_on_to_next_request(self._http)
            elif event is h11.NEED_DATA:
                break
        if self._http is None or not is_blocking:
            waiting_bytes = 0
        return self._take(self._before(waiting_bytes)), False

    def strip(self) -> bytes:
        """The head of the found upgrade with its upgrade headers removed, and all bytes after it, which pass without
        inspection."""
        self._ignore_the_rest()
        head, end, rest = self._take(len(self._held)).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(_HOP_BY_HOP)]
        return b"\r\n".join(lines) + end + rest

    def flush(self) -> bytes:
        """Bytes that still wait for the rest of their head; there will be no rest, so they pass."""
        return self._take(len(self._held))

    def _go_on_to_next_request(self, http: h11.Connection) -> None:
        if http.our_state is h11.SEND_RESPONSE:
            http.send(h11.Response(status_code=400, headers=[("Content-Length", "0")]))
            http.send(h11.EndOfMessage())
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        else:
            self._ignore_the_rest()

    def _ignore_the_rest(self) -> None:
        self._http = None

    def _before(self, waiting_bytes: int) -> int:
        # A head that began before the block has partly passed already, so more of it can be unread than is held.
        return max(0, len(self._held) - waiting_bytes)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken


def _begun_head(http: h11.Connection) -> bytes:
    """The bytes at the place of a request head that h11 has not read yet; none within a body."""
    return http.trailing_data[0] if http.their_state is h11.IDLE else b""


def _asks_for_websocket(request: h11.Request) -> bool:
    values = (value for name, value in request.headers if name == b"upgrade")
    return any(option.strip().lower() == b"websocket" for value in values for option in value.split(b","))
