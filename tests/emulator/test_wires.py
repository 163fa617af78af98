"""The wire of these tests keeps trio's contract for streams, and is cut as a socket is."""

import pytest
import trio
from trio.testing import check_half_closeable_stream

from tests.emulator.wires import Wire, wire_pair


async def test_a_wire_keeps_the_contract_of_half_closeable_streams() -> None:
    async def make() -> tuple[Wire, Wire]:
        return wire_pair()

    await check_half_closeable_stream(make, None)


async def test_an_aborted_wire_breaks_at_the_other_end_even_with_bytes_unread() -> None:
    left, right = wire_pair()
    await left.send_all(b"never read")
    left.abort()
    with pytest.raises(trio.BrokenResourceError):
        await right.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await right.send_all(b"x")
