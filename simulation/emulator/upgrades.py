"""The middlebox that forbids WebSockets, or takes from a request what makes it one.

It follows one connection's requests and finds the upgrades.

h11 does the reading. For it we play the server: every request gets a pretended refusal as its answer, which
is what makes h11 go on to the next request on the same connection; nobody sees those answers. So an upgrade
is found wherever it stands among keep-alive requests, behind bodies with a length or in chunks, and however
its bytes are cut.

Bytes pass as they come, except while upgrades are forbidden: then the beginning of a request head waits until
the head is complete, because only then it is known whether it may pass at all.

What is not HTTP/1.1 is none of our business and passes: other protocols, frames after an upgrade, requests
that h11 finds faulty (the server will say so itself), heads above HEAD_BYTES_MAX, what follows after
`Connection: close`. A refused upgrade's 403 is in nobody's protocol but HTTP's, as a proxy of a company or a
hotel would write it.
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

_HOP_BY_HOP = (b"upgrade:", b"connection:")  # what a proxy takes off that does not know WebSockets
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
        """Whether the last request asked for a WebSocket: then this is one, for all that we can see."""
        return self._is_upgraded

    def feed(self, data: bytes, *, is_blocking: bool) -> tuple[bytes, bool]:
        """Take bytes from the client; return what may pass, and whether a forbidden upgrade follows it.

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
        """The head of the upgrade that was found, without what makes it one, and all behind it, which may pass unseen."""
        self._ignore_the_rest()
        head, end, rest = self._take(len(self._held)).partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(_HOP_BY_HOP)]
        return b"\r\n".join(lines) + end + rest

    def flush(self) -> bytes:
        """What still waits for the rest of its head; there will be no rest, so it passes."""
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
        # A head that began before the block has partly passed already, so that more of it can be unread than
        # is held.
        return max(0, len(self._held) - waiting_bytes)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken


def _begun_head(http: h11.Connection) -> bytes:
    """The bytes that stand where a request head must, and that h11 has not read yet; none within a body."""
    return http.trailing_data[0] if http.their_state is h11.IDLE else b""


def _asks_for_websocket(request: h11.Request) -> bool:
    values = (value for name, value in request.headers if name == b"upgrade")
    return any(option.strip().lower() == b"websocket" for value in values for option in value.split(b","))
