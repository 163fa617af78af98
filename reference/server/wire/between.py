"""Between: what trio-websocket takes for the connection.

It stands between trio-websocket and our PushStream, and it is where most guards against trio-websocket's
faults are (the list is in `websocket`). Inwards: first a request head that we wrote ourselves, nothing more
until the handshake is done, then the peer's bytes as far as the MessageMeter allows. Outwards: everything
until a close frame, ours or trio-websocket's echo of the peer's; after it nothing. Closing it closes nothing,
since the connection is `ServerWebSocket`'s.
"""

from collections.abc import Callable

import trio

from reference.server.wire.framing import CLOSE_FRAME_FIRST_BYTE, MessageMeter
from reference.server.wire.push_stream import Buffer, PushStream


class Between(trio.abc.Stream):
    """What trio-websocket takes for the connection: a head of ours, then the peer's bytes as far as they are
    allowed.
    """

    def __init__(self, stream: PushStream, meter: MessageMeter, head: bytes, close: Callable[[int, str], None]) -> None:
        self._stream = stream
        self._meter = meter
        self._head = head
        self._close = close
        self._is_closed = False
        self.is_open = trio.Event()
        """Set when the handshake is done: only then may bytes that follow the head be handed on (fault 6)."""
        self.is_sealed = False
        """Whether a close frame, ours or trio-websocket's echo, has been handed to the stream: nothing may
        follow it.
        """
        self.is_cut = False
        """Whether the peer's bytes have ended, or failed, without a close frame."""

    async def send_all(self, data: Buffer) -> None:
        if self.is_sealed:
            await trio.lowlevel.checkpoint()
            return
        if data and data[0] == CLOSE_FRAME_FIRST_BYTE:
            self.is_sealed = True
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self.is_cut = True
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._is_closed:
            raise trio.ClosedResourceError("trio-websocket has closed this stream")
        if self._head:
            await trio.lowlevel.checkpoint()
            head, self._head = self._head, b""
            return head
        await self.is_open.wait()
        if self._meter.violation is None:
            try:
                data = await self._stream.receive_some(max_bytes)
            except trio.BrokenResourceError:
                self.is_cut = True
                raise
            self.is_cut = not data
            good_bytes = self._meter.feed(data)
            if good_bytes or not data:
                return data[:good_bytes]
        # What came before the violation has been handed on; now close, and stay until `run` ends this reader.
        assert self._meter.violation is not None
        self._close(self._meter.violation.code, self._meter.violation.reason)
        await trio.sleep_forever()
        raise AssertionError("sleep_forever returned")

    async def aclose(self) -> None:
        """Ends it for trio-websocket; the connection itself is closed by `ServerWebSocket._finish`."""
        self._is_closed = True
        await trio.lowlevel.checkpoint()


def handshake_head(key: bytes, subprotocol: str | None) -> bytes:
    """The head for trio-websocket: only what it needs, and nothing that the client wrote except the checked
    key (fault 7).
    """
    offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol is not None else ""
    return (
        "GET / HTTP/1.1\r\nHost: steadywire\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n{offer}\r\n"
    ).encode()
