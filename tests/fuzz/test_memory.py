"""A whole server's memory in a flood: in each known way four mebibytes are sent; the server holds only a fraction of
that at any time, and serves the bystander throughout."""

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat

import pytest
import trio

from tests.server.running_server import RUN, UPGRADE_HEADERS, RunningServer, request_bytes
from tests.server.wire.helpers import client_frame

from .guarded_server import against_a_server

OFFERED_BYTES = 4 * 2**20
HELD_BYTES_MAX = 3 * 2**19
"""A body of one mebibyte is the most that one request may make it keep; frames and buffers are far below."""

UPGRADE = request_bytes("GET", f"/ws/runs/{RUN}/collaboration", token="dev:mallory", headers=UPGRADE_HEADERS)
POST = f"POST /api/runs/{RUN}/collaboration/publish HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer dev:mallory\r\n".encode()
CONTINUATION, TEXT, PING = 0, 1, 9
HELLO = client_frame(TEXT, b'{"type":"hello","protocol":1,"clientId":"mallory"}')
CURSOR = client_frame(TEXT, b'{"type":"cursor","data":{"x":"' + b"y" * 500 + b'"}}')
PUBLISH = b'{"type":"publish","clientSequence":%d,"eventType":"CHAT","data":{"text":"' + b"y" * 500 + b'"}}'
KIB = b"a" * 1024

FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a head that never ends": lambda: chain((b"GET / HTTP/1.1\r\n",), repeat(b"X-Filler: " + KIB + b"\r\n")),
    "a line that never ends": lambda: chain((b"GET /",), repeat(KIB)),
    "a body longer than allowed": lambda: chain((POST + b"Content-Length: 1000000000000\r\n\r\n",), repeat(KIB)),
    "chunks that never end": lambda: chain((POST + b"Transfer-Encoding: chunked\r\n\r\n",), repeat(b"400\r\n" + KIB + b"\r\n")),
    "a frame longer than allowed": lambda: chain((UPGRADE, b"\x81\xff" + (2**40).to_bytes(8, "big") + bytes(4)), repeat(KIB)),
    "a message that never ends": lambda: chain(
        (UPGRADE, client_frame(TEXT, KIB, fin=False)), repeat(client_frame(CONTINUATION, KIB, fin=False))
    ),
    "empty fragments": lambda: chain(
        (UPGRADE, client_frame(TEXT, b"", fin=False)), repeat(client_frame(CONTINUATION, b"", fin=False) * 200)
    ),
    "pings without end": lambda: chain((UPGRADE, HELLO), repeat(client_frame(PING, b"p" * 125) * 8)),
    "cursors without end": lambda: chain((UPGRADE, HELLO), repeat(CURSOR)),
    "publishes without end": lambda: chain((UPGRADE, HELLO), (client_frame(TEXT, PUBLISH % n) for n in range(1, 10**9))),
    "requests without end": lambda: repeat(request_bytes("GET", f"/api/runs/{RUN}/collaboration/replay", token="dev:mallory")),
}


async def flood(running: RunningServer, pieces: Iterator[bytes]) -> None:
    """Offer it all on one connection and read nothing; until everything is taken, or nothing more is."""
    stream = running.server.connect(capacity_bytes=20_000)
    offered = 0
    with trio.move_on_after(60):
        try:
            while offered < OFFERED_BYTES:
                piece = b"".join(islice(pieces, 8))
                await stream.send_all(piece)
                offered += len(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    stream.abort()


async def held_most(work: Callable[[], object]) -> int:
    """How much more than at the start is held at any time while it works, in bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = work()
        if hasattr(result, "__await__"):
            await result
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=pytest.mark.slow) if how == "empty fragments" else how for how in FLOODS]
)
def test_g7_bounds_of_what_a_flood_makes_the_server_hold(how: str) -> None:
    held: list[int] = []

    async def intrude(running: RunningServer) -> None:
        held.append(await held_most(lambda: flood(running, FLOODS[how]())))

    against_a_server(intrude)
    assert held[0] < HELD_BYTES_MAX


async def test_the_measure_sees_what_is_held() -> None:
    assert await held_most(lambda: bytes(OFFERED_BYTES)) >= OFFERED_BYTES
