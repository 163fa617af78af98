"""A wire in memory that can be cut: trio's memory streams, plus the reset that a socket has.

It stands in for a socket where tests run in virtual time, and is held to trio's own contract for
half-closeable streams in test_wires.py.
"""

import trio
from trio.abc import HalfCloseableStream
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_one_way_pair


class Wire(HalfCloseableStream):
    """One end of a wire; `abort` makes every later call of the other end raise BrokenResourceError."""

    def __init__(self, sender: MemorySendStream, receiver: MemoryReceiveStream) -> None:
        self._sender = sender
        self._receiver = receiver
        self._is_reset = False
        self.peer: Wire = self

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_reset:
            raise trio.BrokenResourceError("reset by the peer")
        await self._sender.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._sender.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._sender.aclose()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._is_reset:
            data = await self._receiver.receive_some(max_bytes)
            if data or not self._is_reset:
                return bytes(data)
        raise trio.BrokenResourceError("reset by the peer")

    async def aclose(self) -> None:
        self._sender.close()
        self._receiver.close()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        self.peer._is_reset = True
        self._sender.close()  # wakes a peer that waits for bytes
        self._receiver.close()


def wire_pair() -> tuple[Wire, Wire]:
    """Both ends of a new wire."""
    left_sender, right_receiver = memory_stream_one_way_pair()
    right_sender, left_receiver = memory_stream_one_way_pair()
    left, right = Wire(left_sender, left_receiver), Wire(right_sender, right_receiver)
    left.peer, right.peer = right, left
    return left, right
