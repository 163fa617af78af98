"""FrameBoundaries: finds where frames end in one direction of a WebSocket.

A relay does not interpret what it carries. But when it has to stop, it sends a last message in frames of its own, which may only
be placed between two frames; and it has to know when the client has closed too. So it follows the headers; it holds at most one
header.
"""

_MASKED = 0x80
_CLOSE = 0x8


class FrameBoundaries:
    """Follows the frames of one direction; with `has_head`, the answer to an upgrade comes before them."""

    def __init__(self, *, has_head: bool) -> None:
        self._head = b""
        self._is_head_over = not has_head
        self._header = bytearray()
        self._payload_left = 0
        self.is_close_seen = False
        """Whether the header of a close frame has arrived: everything after it is ignored."""

    @property
    def is_between(self) -> bool:
        """Whether the bytes so far end with a complete frame, or with the head."""
        return self._is_head_over and not self._header and not self._payload_left

    def feed(self, data: bytes) -> None:
        position = 0 if self._is_head_over else self._skip_head(data)
        while position < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - position)
                self._payload_left -= step
                position += step
                continue
            missing = _header_bytes(self._header) - len(self._header)
            piece = data[position : position + missing]
            self._header += piece
            position += len(piece)
            if len(self._header) == _header_bytes(self._header):
                self._payload_left = _payload_bytes(self._header)
                self.is_close_seen = self.is_close_seen or self._header[0] & 0x0F == _CLOSE
                self._header.clear()

    def _skip_head(self, data: bytes) -> int:
        """Look for the empty line that ends the head; returns how many of these bytes belong to it."""
        seen = self._head + data
        end = seen.find(b"\r\n\r\n")
        if end < 0:
            self._head = seen[-3:]
            return len(data)
        self._is_head_over = True
        return end + 4 - len(self._head)


def _header_bytes(header: bytearray) -> int:
    """The length of a header that begins like this, as far as known; at least two bytes."""
    if len(header) < 2:
        return 2
    return 2 + {126: 2, 127: 8}.get(header[1] & 0x7F, 0) + (4 if header[1] & _MASKED else 0)


def _payload_bytes(header: bytearray) -> int:
    short = header[1] & 0x7F
    extended = {126: 2, 127: 8}.get(short)
    return short if extended is None else int.from_bytes(header[2 : 2 + extended], "big")
