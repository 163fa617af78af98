"""Arbitrary bytes at the front door: every connection ends, nothing is reported as our bug, nothing leaks.

Everything runs in memory and virtual time, so that "ends" can mean: within all the time limits together.
"""

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from reference.server.wire.limits import DoorLimits, WebSocketLimits
from reference.server.wire.websocket import ServerWebSocket

from .helpers import UPGRADE, client_frame, close_frame, echo, running_front_door, text

LIMITS = DoorLimits(head_bytes_max=500, body_bytes_max=1000, head_timeout_s=10, keep_alive_timeout_s=10)
WEBSOCKET_LIMITS = WebSocketLimits(message_bytes_max=300, message_fragments_max=4)
END_S = 300.0

FRAGMENTS = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"HEAD /chunks HTTP/1.0\r\n\r\n",
        b"Host: x\r\n",
        b"\r\n\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        UPGRADE,
        text("hello"),
        text("x" * 301),
        client_frame(0x2, b"binary"),
        client_frame(0x9, b"ping"),
        client_frame(0xA),
        client_frame(0x1, b"a", fin=False),
        client_frame(0x0, b"b"),
        close_frame(),
        close_frame(1005),
        client_frame(0x1, declared=2**40),
    ]
)
PIECES = st.lists(st.one_of(FRAGMENTS, st.binary(max_size=40)), max_size=8)
ENDS = st.sampled_from(["eof", "close", "abort", "nothing"])


async def impatient_echo(websocket: ServerWebSocket) -> None:
    """Echoes for a minute: whether a silent peer still lives is a question for the session, not for the wire."""
    with trio.move_on_after(60):
        await echo(websocket)


async def throw(pieces: list[bytes], end: str, *, reads: bool) -> None:
    async with running_front_door(handler=impatient_echo, limits=LIMITS, websocket_limits=WEBSOCKET_LIMITS) as running:
        client = running.connect(capacity_bytes=200)
        with trio.fail_after(END_S):
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def send() -> None:
                    try:
                        for piece in pieces:
                            await client.send_all(piece)
                        if end == "eof":
                            await client.send_eof()
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass
                    if end in ("close", "abort"):
                        getattr(client, end)()

                @nursery.start_soon
                async def read() -> None:
                    try:
                        while reads and await client.receive_some():
                            pass
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass

                await running.wait_until_empty()
                client.close()
        # The applications here fail on their own only when a client goes in the middle of a body.
        assert {str(problem.error) for problem in running.problems} <= {
            "the client went away in the middle of its body",
            "the application returned without a complete answer",
            f"not done within {LIMITS.request_timeout_s} s",
        }


@settings(max_examples=150, deadline=None)
@given(PIECES, ENDS, st.booleans())
def test_no_bytes_crash_or_hang_the_door(pieces: list[bytes], end: str, reads: bool) -> None:
    trio.run(lambda: throw(pieces, end, reads=reads), clock=MockClock(autojump_threshold=0))


@settings(max_examples=100, deadline=None)
@given(PIECES, ENDS, st.booleans())
def test_no_bytes_crash_or_hang_a_websocket(pieces: list[bytes], end: str, reads: bool) -> None:
    trio.run(lambda: throw([UPGRADE, *pieces], end, reads=reads), clock=MockClock(autojump_threshold=0))
