"""The middlebox: upgrades are found at any place and in any pieces, and everything else passes unchanged."""

import itertools

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from simulation.emulator.connection import LINGER_S
from simulation.emulator.upgrades import FORBIDDEN_ANSWER, HEAD_BYTES_MAX, UpgradeWatch
from simulation.scenario.faults import Path
from tests.emulator.bench import open_bench, receive_exactly, receive_to_end

UPGRADE = (
    b"GET /ws/runs/1/collaboration HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WEBSOCKET = UPGRADE % b"websocket"
GET = b"GET /api HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\nUpgrade: websocket\r\n\r\nGET / HTTP"
CHUNKED = b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n14\r\nUpgrade: websocket\r\n\r\n0\r\n\r\n"
FRAME = bytes.fromhex("818500000000") + b"hello"
EXACT = 1e-9

requests = st.lists(st.sampled_from([GET, POST, CHUNKED, UPGRADE % b"h2c"]), max_size=4).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at `places` (taken modulo its length)."""
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)] if data else [0, 0]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


places = st.lists(st.integers(0, 10_000), max_size=30)


@given(before=requests, upgrade=st.sampled_from([b"websocket", b"WebSocket", b"h2c, websocket"]), places=places)
def test_an_upgrade_is_found_behind_any_requests_and_in_any_pieces(before: bytes, upgrade: bytes, places: list[int]) -> None:
    watch = UpgradeWatch()
    passed = bytearray()
    for piece in cut(before + UPGRADE % upgrade + FRAME, places):
        data, is_forbidden = watch.feed(piece, is_blocking=True)
        passed += data
        if is_forbidden:
            break
    assert is_forbidden
    assert bytes(passed) == before, "not a byte of the upgrade passes"


@given(before=requests, places=places)
def test_an_upgrade_passes_while_nothing_is_blocked_and_is_known_afterwards(before: bytes, places: list[int]) -> None:
    watch = UpgradeWatch()
    for piece in cut(before + WEBSOCKET + FRAME, places):
        assert watch.feed(piece, is_blocking=False) == (piece, False), "bytes pass as they come"
    assert watch.is_upgraded


@given(
    data=requests | st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: GET + tail),
    places=places,
    blocked=st.lists(st.booleans(), min_size=1),
)
def test_everything_else_passes_byte_for_byte(data: bytes, places: list[int], blocked: list[bool]) -> None:
    watch = UpgradeWatch()
    passed = bytearray()
    for number, piece in enumerate(cut(data, places)):
        released, is_forbidden = watch.feed(piece, is_blocking=blocked[number % len(blocked)])
        assert not is_forbidden
        passed += released
    passed += watch.flush()
    assert bytes(passed) == data
    assert not watch.is_upgraded


def test_complete_requests_do_not_wait() -> None:
    watch = UpgradeWatch()
    for request in (GET, POST, CHUNKED, GET):
        assert watch.feed(request, is_blocking=True) == (request, False)


def test_what_cannot_be_a_head_does_not_wait() -> None:
    assert UpgradeWatch().feed(FRAME, is_blocking=True) == (FRAME, False)


def test_a_body_does_not_wait_but_a_head_does() -> None:
    watch = UpgradeWatch()
    assert watch.feed(POST[:70], is_blocking=True) == (POST[:70], False)
    assert watch.feed(POST[70:] + GET[:10], is_blocking=True) == (POST[70:], False)
    assert watch.feed(b"", is_blocking=False) == (GET[:10], False), "when the block is over nothing waits"


def test_a_block_that_begins_within_a_head_still_finds_it() -> None:
    watch = UpgradeWatch()
    assert watch.feed(WEBSOCKET[:50], is_blocking=False) == (WEBSOCKET[:50], False)
    assert watch.feed(WEBSOCKET[50:], is_blocking=True) == (b"", True)


def test_an_upgrade_that_the_server_refused_is_http_again() -> None:
    watch = UpgradeWatch()
    watch.feed(WEBSOCKET, is_blocking=False)
    watch.feed(GET, is_blocking=False)
    assert not watch.is_upgraded
    assert watch.feed(WEBSOCKET, is_blocking=True) == (b"", True)


def test_a_head_above_its_limit_passes_and_ends_the_watch() -> None:
    watch = UpgradeWatch()
    endless = b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX
    assert watch.feed(endless, is_blocking=True) == (endless, False)
    assert watch.feed(b"anything", is_blocking=True) == (b"anything", False)


# The fault, over a whole link.

PATH = Path(latency_s=0.25)


async def test_a_blocked_upgrade_gets_a_403_after_a_round_trip_and_the_server_never_sees_it(
    autojump_clock: MockClock,
) -> None:
    async with open_bench(PATH) as bench:
        bench.nursery.start_soon(bench.link.block_upgrade, 100)
        client = bench.dial()
        server = await bench.server.accept()
        await client.send_all(GET)
        assert await receive_exactly(server, len(GET)) == GET
        await server.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        await receive_exactly(client, 27)
        asked_at = trio.current_time()
        await client.send_all(WEBSOCKET)
        assert await receive_to_end(client) == FORBIDDEN_ANSWER
        assert trio.current_time() - asked_at == pytest.approx(0.5, abs=EXACT)
        assert await receive_to_end(server) == b""
        assert trio.current_time() - asked_at == pytest.approx(0.5, abs=EXACT), "the proxy has hung up long ago"
        await client.aclose()
        await trio.sleep(1)
        statistics = bench.link.statistics()
        assert (statistics.upgrades_refused, statistics.connections_open) == (1, 0)


async def test_a_client_that_does_not_close_after_a_403_is_closed(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        bench.nursery.start_soon(bench.link.block_upgrade, 100)
        client = bench.dial()
        await client.send_all(WEBSOCKET)
        assert await receive_to_end(client) == FORBIDDEN_ANSWER
        await client.send_all(b"and what if I insist")
        await trio.sleep(LINGER_S - 0.1)
        assert bench.link.statistics().connections_open == 1
        await trio.sleep(0.2)
        assert bench.link.statistics().connections_open == 0


async def test_standing_websockets_are_cut_and_other_http_is_not(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        websocket = bench.dial()
        await websocket.send_all(WEBSOCKET + FRAME)
        await bench.server.accept()
        http = bench.dial()
        await http.send_all(GET)
        http_at_server = await bench.server.accept()
        await trio.sleep(1)
        bench.nursery.start_soon(bench.link.block_upgrade, 100)
        with pytest.raises(trio.BrokenResourceError):
            await websocket.receive_some()
        await wait_all_tasks_blocked()
        assert bench.link.statistics().connections_cut == 1
        await http.send_all(POST)
        assert await receive_exactly(http_at_server, len(GET + POST)) == GET + POST


async def test_when_the_block_is_over_upgrades_pass(autojump_clock: MockClock) -> None:
    async with open_bench(PATH) as bench:
        await bench.link.block_upgrade(10)
        client = bench.dial()
        await client.send_all(WEBSOCKET)
        server = await bench.server.accept()
        assert await receive_exactly(server, len(WEBSOCKET)) == WEBSOCKET
