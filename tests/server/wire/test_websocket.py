"""ServerWebSocket: what a client sees, for each kind of message and each way to end."""

import struct
from dataclasses import replace
from typing import Any, cast

import pytest
import trio
import trio_websocket
from trio.testing import MockClock, wait_all_tasks_blocked

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.wire.limits import WebSocketLimits
from reference.server.wire.websocket import (
    CLOSING_FRAMES_MAX,
    FRAMES_PER_TURN_MAX,
    PAUSE_S,
    ServerWebSocket,
    WebSocketClosed,
    frame_text,
)

from .helpers import (
    UPGRADE,
    client_frame,
    close_frame,
    read_close,
    read_frame,
    read_to_end,
    read_until,
    running_front_door,
    text,
)

LIMITS = WebSocketLimits(message_bytes_max=1000, message_fragments_max=8, close_timeout_s=5)


class RecordingHandler:
    """A handler that keeps its ServerWebSocket for the test and writes down how it ended."""

    def __init__(self) -> None:
        self.websocket: ServerWebSocket | None = None
        self.messages: list[str] = []
        self.is_here = trio.Event()
        self.has_ended = trio.Event()

    async def __call__(self, websocket: ServerWebSocket) -> None:
        self.websocket = websocket
        self.is_here.set()
        try:
            while True:
                for message in (await websocket.receive()).messages:
                    if isinstance(message, RemoteError):
                        websocket.close(message.code, message.message)
                        return
                    self.messages.append(message)
        finally:
            self.has_ended.set()

    @property
    def end(self) -> WebSocketClosed | None:
        return None if self.websocket is None else self.websocket.ended

    async def arrived(self) -> ServerWebSocket:
        await self.is_here.wait()
        assert self.websocket is not None
        return self.websocket


async def test_messages_go_both_ways_with_trio_websocket_as_the_client(autojump_clock: MockClock) -> None:
    async with running_front_door() as running, trio.open_nursery() as nursery:
        client = await trio_websocket.wrap_client_stream(
            nursery, cast("Any", running.connect()), "host", "/ws", subprotocols=["other", "collab.v1.json"]
        )
        assert client.subprotocol == "collab.v1.json"
        for message in ("one", "é" * 499, ""):
            await client.send_message(message)
            assert await client.get_message() == message
        with trio.fail_after(5):
            await client.ping(b"are you there")
            await client.aclose(4000, "done")
        nursery.cancel_scope.cancel()
    assert running.problems == []


async def test_the_handler_learns_the_peers_code(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket()
        await client.send_all(text("hello") + client_frame(0x8, struct.pack("!H", 4321) + b"bye"))
        assert await read_close(client) == (4321, "bye")
        assert await read_to_end(client) == b""
        await recorder.has_ended.wait()
    assert recorder.messages == ["hello"]
    assert recorder.end is not None
    assert (recorder.end.code, recorder.end.reason, recorder.end.by_peer) == (4321, "bye", True)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_a_cut_is_an_end_without_a_code(how: str, autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket()
        await recorder.arrived()
        if how == "eof":
            await client.send_eof()
            assert await read_to_end(client) == b"", "who ends without a close frame gets none"
        else:
            client.abort()
        await recorder.has_ended.wait()
    assert recorder.end is not None
    assert recorder.end.code is None
    assert running.problems == []


async def test_close_from_another_task_does_not_wait_and_the_client_sees_the_code(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket()
        websocket = await recorder.arrived()
        with trio.testing.assert_no_checkpoints():
            websocket.close(CloseCode.SUPERSEDED, "a newer connection took over")
            websocket.close(CloseCode.RATE, "only the first counts")
            assert websocket.blocked
            assert not websocket.push_text(frame_text(b"too late"))
        assert await read_close(client) == (4101, "a newer connection took over")
        await recorder.has_ended.wait()
        await client.send_all(close_frame(4101))
        assert await read_to_end(client) == b""
    assert recorder.end is not None
    assert (recorder.end.code, recorder.end.by_peer) == (4101, False)
    assert running.problems == []


async def test_pings_while_we_close_are_harmless(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket()
        websocket = await recorder.arrived()
        websocket.close(CloseCode.GOING_AWAY)
        for _ in range(20):
            await client.send_all(client_frame(0x9, b"ping"))
        assert await read_close(client) == (4001, "")
        await client.send_all(client_frame(0x9, b"ping") + close_frame(4001))
        assert await read_to_end(client) == b"", "nothing follows a close frame, and no pong either"
    assert running.problems == []


async def test_nothing_follows_our_close_frame_while_the_handler_lingers(autojump_clock: MockClock) -> None:
    async def lingering(websocket: ServerWebSocket) -> None:
        websocket.close(CloseCode.GOING_AWAY)
        with trio.CancelScope(shield=True):
            await trio.sleep(1)

    async with running_front_door(handler=lingering) as running:
        client = await running.connect_websocket()
        assert await read_close(client) == (4001, "")
        await client.send_all(client_frame(0x9, b"ping") * 3 + close_frame(4001))
        assert await read_to_end(client) == b""
    assert running.problems == []


async def test_the_last_ping_of_a_read_is_answered(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = await running.connect_websocket()
        await client.send_all(client_frame(0x9, b"1") + text("between") + client_frame(0x9, b"2"))
        assert sorted([await read_frame(client) for _ in range(2)]) == [(0x1, b"between"), (0xA, b"2")]
        await client.send_all(client_frame(0x9, b"3"))
        assert await read_frame(client) == (0xA, b"3")


async def test_a_ping_that_found_the_socket_full_is_answered_when_it_has_room(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket(capacity_bytes=200)
        websocket = await recorder.arrived()
        assert websocket.push_text(frame_text(b"x" * 1000))
        await client.send_all(client_frame(0x9, b"first"))
        await client.send_all(client_frame(0x9, b"second"))
        await wait_all_tasks_blocked()
        running.nursery.start_soon(websocket.flush)
        assert await read_frame(client) == (0x1, b"x" * 1000)
        with trio.fail_after(1):
            assert await read_frame(client) == (0xA, b"second"), "one answer, to the last ping, is enough"


async def test_a_pong_that_is_cancelled_half_way_is_not_torn(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket(capacity_bytes=200)
        websocket = await recorder.arrived()
        await client.send_all(client_frame(0x9, b"a" * 100))
        await client.send_all(client_frame(0x9, b"b" * 100))
        await wait_all_tasks_blocked()
        assert websocket.statistics().tail_bytes > 0, "the second pong is half out"
        websocket.close(CloseCode.RATE)
        await wait_all_tasks_blocked()
        assert await read_frame(client) == (0xA, b"a" * 100)
        assert await read_frame(client) == (0xA, b"b" * 100)
        assert await read_close(client) == (4029, "")
        await client.send_all(close_frame())
        assert await read_to_end(client) == b""


async def test_a_peer_that_sends_for_ever_is_closed_although_nobody_receives(autojump_clock: MockClock) -> None:
    """With nobody in receive, nothing is read; closing does not need it."""
    returned = trio.Event()

    async def deaf(websocket: ServerWebSocket) -> None:
        await trio.sleep(1)
        websocket.close(CloseCode.TOO_SLOW)
        returned.set()

    async with running_front_door(handler=deaf, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket(capacity_bytes=1000)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send_a_lot() -> None:
                await client.send_all(text("x" * 900) * 1000 + close_frame())

            assert await read_close(client) == (4008, "")
            await returned.wait()
    assert running.problems == []


@pytest.mark.parametrize("message", [text("x" * 1001), text("é" * 501), client_frame(0x1, b"x" * 1001, declared=2**60)])
async def test_a_long_message_is_counted_in_bytes_and_closed_with_4413(message: bytes, autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket()
        await client.send_all(text("é" * 500) + message)
        assert await read_close(client) == (4413, "message longer than 1000 bytes")
        await recorder.has_ended.wait()
    assert recorder.messages == ["é" * 500], "what came before is still heard"


async def test_a_peer_that_continues_to_send_after_a_close_is_cut(autojump_clock: MockClock) -> None:
    """Time alone would not do: in five seconds a fast peer could send gigabytes."""
    limits = replace(LIMITS, drain_bytes_max=50_000)
    async with running_front_door(websocket_limits=limits) as running:
        client = await running.connect_websocket(capacity_bytes=1000)
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(text("x" * 1001) + text("x" * 900) * 1000)
        assert trio.current_time() < LIMITS.close_timeout_s


async def test_a_flood_of_tiny_frames_lets_other_tasks_run_in_between(autojump_clock: MockClock) -> None:
    frames: list[tuple[float, int]] = []

    async def count(websocket: ServerWebSocket) -> None:
        while True:
            read = await websocket.receive()
            frames.append((trio.current_time(), read.frames))

    async with running_front_door(handler=count, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket()
        started_s = trio.current_time()
        await client.send_all(client_frame(0x9) * (10 * FRAMES_PER_TURN_MAX) + close_frame())
        await read_to_end(client)
    assert sum(number for _, number in frames) == 10 * FRAMES_PER_TURN_MAX
    assert max(number for _, number in frames) == FRAMES_PER_TURN_MAX
    assert frames[-1][0] - started_s == pytest.approx(9 * PAUSE_S)


async def test_what_a_closing_connection_still_sends_is_read_and_not_parsed(autojump_clock: MockClock) -> None:
    async with running_front_door(websocket_limits=LIMITS) as running:
        client = await running.connect_websocket()
        await client.send_all(client_frame(0x2, b"binary") + client_frame(0x9) * (CLOSING_FRAMES_MAX + 1) + close_frame())
        assert (await read_close(client))[0] == 4400
        closed_s = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)
        assert trio.current_time() - closed_s == pytest.approx(LIMITS.close_timeout_s)


async def test_a_connection_that_is_handed_over_keeps_nothing_that_has_a_token(autojump_clock: MockClock) -> None:
    received: list[bytes] = []

    async def hand_over(websocket: ServerWebSocket) -> None:
        websocket.keep_bytes()
        await websocket.receive()
        received.append(await websocket.hand_over().receive_some())
        with pytest.raises(AssertionError, match="freed"):
            _ = websocket.head
        received.append(b"freed")

    async with running_front_door(handler=hand_over, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket()
        await client.send_all(text("hello"))
        with pytest.raises(trio.BrokenResourceError):  # who takes the stream has to close it
            await read_to_end(client)
    assert received == [text("hello"), b"freed"]


async def test_empty_fragments_are_counted_too(autojump_clock: MockClock) -> None:
    async with running_front_door(websocket_limits=LIMITS) as running:
        client = await running.connect_websocket()
        await client.send_all(client_frame(0x1, fin=False) + client_frame(0x0, fin=False) * 8)
        assert await read_close(client) == (4413, "message in more than 8 fragments")


async def test_a_binary_message_is_closed_with_4400(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = await running.connect_websocket()
        await client.send_all(client_frame(0x2, b"{}"))
        assert (await read_close(client))[0] == 4400
        await client.send_all(close_frame())
        assert await read_to_end(client) == b""


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        client_frame(0x3),
        client_frame(0x0),
        client_frame(0x1, b"\xff"),
        b"\x81\x01x",
    ],
)
async def test_what_is_not_websocket_is_closed_with_4400(rubbish: bytes, autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = await running.connect_websocket()
        await client.send_all(rubbish)
        code, reason = await read_close(client)
        assert code == 4400
        assert reason.startswith("not WebSocket")
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)  # no close frame from us, so after the timeout we are cut off
        assert running.problems == []


async def test_a_close_frame_that_is_not_one_is_answered_with_4400(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = await running.connect_websocket()
        await client.send_all(client_frame(0x8, b"1"))
        assert (await read_close(client))[0] == 4400
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)  # it was no close frame, so after the timeout we cut it off


async def test_bytes_right_behind_the_head_are_not_lost(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(UPGRADE + text("early") + client_frame(0x9, b"p"))
        await read_until(client, b"\r\n\r\n")
        assert sorted([await read_frame(client), await read_frame(client)]) == [(0x1, b"early"), (0xA, b"p")]


async def test_headers_that_are_not_ascii_are_harmless(autojump_clock: MockClock) -> None:
    head = UPGRADE.replace(b"Host: x", b"Host: \xff\xfe\r\nSec-WebSocket-Protocol: \xe9, collab.v1.json")
    head = head.replace(b"Connection: ", b"Sec-WebSocket-Extensions: \xfc\r\nConnection: ")
    async with running_front_door() as running:
        client = running.connect()
        await client.send_all(head)
        answer = await read_until(client, b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"collab.v1.json" in answer


async def test_on_cancellation_the_client_sees_1001(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket()
        await recorder.arrived()
        running.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):  # this test runs in that nursery too
            assert await read_close(client) == (1001, "")
            await client.send_all(close_frame(1001))
            assert await read_to_end(client) == b""


async def test_a_peer_that_never_reads_is_cut_off_in_bounded_time(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket(capacity_bytes=500)
        websocket = await recorder.arrived()
        pushed = [websocket.push_text(frame_text(b"x" * 400)) for _ in range(100)]
        assert pushed == [True, True] + [False] * 98
        assert websocket.blocked
        assert websocket.statistics().tail_bytes <= 404
        start = trio.current_time()
        websocket.close(CloseCode.TOO_SLOW)
        await running.wait_until_empty()
        assert trio.current_time() - start <= 2 * LIMITS.close_timeout_s
        with pytest.raises(trio.BrokenResourceError):
            await read_to_end(client)


async def test_a_blocked_reader_gets_the_rest_in_order(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket(capacity_bytes=500)
        websocket = await recorder.arrived()
        assert websocket.push_text(frame_text(b"a" * 400))
        assert websocket.push_text(frame_text(b"b" * 400))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def catch_up() -> None:
                await websocket.flush()
                assert websocket.push_text(frame_text(b"c" * 90))

            assert await read_frame(client) == (0x1, b"a" * 400)
            assert await read_frame(client) == (0x1, b"b" * 400)
            assert await read_frame(client) == (0x1, b"c" * 90)


async def test_flush_and_receive_after_the_end_say_how_it_ended(autojump_clock: MockClock) -> None:
    recorder = RecordingHandler()
    async with running_front_door(handler=recorder) as running:
        client = await running.connect_websocket()
        websocket = await recorder.arrived()
        client.abort()
        await recorder.has_ended.wait()
        for wait in (websocket.flush, websocket.receive):
            with pytest.raises(WebSocketClosed) as caught:
                await wait()
            assert caught.value.code is None
        websocket.close(4001)  # too late, and harmless


async def test_a_handler_that_returns_closes_with_1000_and_one_that_raises_with_1011(autojump_clock: MockClock) -> None:
    async def returns(websocket: ServerWebSocket) -> None:
        pass

    async def raises(websocket: ServerWebSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(websocket.receive)
            raise RuntimeError("secret")

    async with running_front_door(handler=returns) as running:
        assert await read_close(await running.connect_websocket()) == (1000, "")
    async with running_front_door(handler=raises) as running:
        client = await running.connect_websocket()
        assert await read_close(client) == (1011, "")
        await client.send_all(close_frame())
        await read_to_end(client)
        await running.wait_until_empty()
        (problem,) = running.problems
        assert problem.request == "GET /ws"
        assert isinstance(problem.error, ExceptionGroup)


async def test_a_handler_that_lets_the_end_through_in_a_group_has_not_failed(autojump_clock: MockClock) -> None:
    async def handler(websocket: ServerWebSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(websocket.receive)
            await trio.sleep_forever()

    async with running_front_door(handler=handler) as running:
        client = await running.connect_websocket()
        await client.send_all(close_frame())
        await read_to_end(client)
    assert running.problems == []


async def test_a_handler_that_does_not_return_is_cancelled_after_the_timeout(autojump_clock: MockClock) -> None:
    async def stubborn(websocket: ServerWebSocket) -> None:
        websocket.close(4001)
        await trio.sleep_forever()

    async with running_front_door(handler=stubborn, websocket_limits=LIMITS) as running:
        client = await running.connect_websocket()
        assert await read_close(client) == (4001, "")
        await client.send_all(close_frame())
        await read_to_end(client)
        assert trio.current_time() < 2 * LIMITS.close_timeout_s + 1


async def test_a_peer_that_does_not_take_our_101_is_cut_off(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = running.connect(capacity_bytes=10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, UPGRADE)
        await running.wait_until_empty()
        assert trio.current_time() < 20
        assert running.problems == []


async def test_a_peer_that_goes_during_the_handshake(autojump_clock: MockClock) -> None:
    async with running_front_door() as running:
        client = running.connect(capacity_bytes=10)
        with trio.move_on_after(0):
            await client.send_all(UPGRADE)
        while len(client._tail):
            await client.flush()
        await wait_all_tasks_blocked()
        client.abort()
        await wait_all_tasks_blocked()
        assert running.door.statistics().connections == 0
        assert running.problems == []
