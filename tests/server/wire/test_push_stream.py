"""PushStream: the same contract for the socket and for its in-memory version."""

import socket
import struct
import sys
from collections.abc import Callable

import pytest
import trio
from trio.testing import check_half_closeable_stream, wait_all_tasks_blocked

from reference.server.wire.memory_stream import memory_pair
from reference.server.wire.push_stream import RECEIVE_BYTES_MAX, PushStream, SocketPushStream

from .helpers import read_to_end, socket_pair

BUFFER_BYTES = 8 * 1024
LARGE = bytes(range(256)) * 8 * 1024  # 2 MiB: more than any of the buffers here


def socket_streams() -> tuple[PushStream, PushStream]:
    ours, theirs = socket_pair(buffer_bytes=BUFFER_BYTES)
    return ours, SocketPushStream(theirs)


def memory_streams() -> tuple[PushStream, PushStream]:
    return memory_pair(BUFFER_BYTES)


Make = Callable[[], tuple[PushStream, PushStream]]
both = pytest.mark.parametrize("make", [socket_streams, memory_streams])


@both
async def test_is_a_trio_stream(make: Make) -> None:
    async def plain() -> tuple[PushStream, PushStream]:
        return make()

    async def clogged() -> tuple[PushStream, PushStream]:
        ours, theirs = make()
        for stream in (ours, theirs):
            stream.push(LARGE)
        return ours, theirs

    await check_half_closeable_stream(plain, clogged)


@both
async def test_push_writes_at_once_and_without_a_checkpoint(make: Make) -> None:
    ours, theirs = make()
    with trio.testing.assert_no_checkpoints():
        assert ours.push(b"one")
        assert ours.push(b"two")
    assert not ours.blocked
    assert ours.statistics().bytes_out == 6
    ours.close()
    assert await read_to_end(theirs) == b"onetwo"
    theirs.close()


@both
async def test_a_full_stream_keeps_one_tail_and_refuses_the_next_message(make: Make) -> None:
    ours, theirs = make()
    async with ours, theirs:
        assert ours.push(LARGE)
        assert ours.blocked
        before = ours.statistics()
        assert not ours.push(b"next")
        assert ours.statistics() == before
        assert before.bytes_out + before.tail_bytes == len(LARGE)

        got = bytearray()

        async def read() -> None:
            while len(got) < len(LARGE) + 4:
                got.extend(await theirs.receive_some())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await ours.flush()
            assert not ours.blocked
            assert ours.push(b"next")
            await ours.flush()
        assert got == LARGE + b"next"


@both
async def test_what_has_been_sent_is_not_kept(make: Make) -> None:
    ours, theirs = make()
    async with ours, theirs:
        large = bytes(LARGE[:-1])
        references = sys.getrefcount(large)
        assert ours.push(large)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_to_end, theirs)
            await ours.flush()
            await ours.send_eof()
        assert sys.getrefcount(large) == references


@both
async def test_a_cancelled_send_leaves_its_rest_as_the_tail(make: Make) -> None:
    ours, theirs = make()
    async with ours, theirs:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, LARGE)
                await wait_all_tasks_blocked()
                assert not ours.push(b"in between"), "a send_all is under way"
                scope.cancel()
        assert ours.blocked
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.flush)
            nursery.start_soon(ours.flush)  # two tasks may wait for the same tail
            got = bytearray()
            while len(got) < len(LARGE):
                got.extend(await theirs.receive_some())
        assert got == LARGE


@both
async def test_send_all_waits_for_the_tail(make: Make) -> None:
    ours, theirs = make()
    assert ours.push(LARGE)

    async def send() -> None:
        await ours.send_all(b"pong")
        await ours.send_eof()

    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await read_to_end(theirs) == LARGE + b"pong"


@both
async def test_push_is_refused_as_soon_as_a_send_all_has_begun(make: Make) -> None:
    ours, theirs = make()
    times_seen = 0
    async with ours, theirs:
        while times_seen == 0:  # trio runs tasks in any order, so now and then it is over before we look
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, b"pong")
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                    if ours.blocked:
                        times_seen += 1
                        assert ours.statistics().tail_bytes == 0, "it waits for its turn"
                        assert not ours.push(b"x")
            assert await theirs.receive_some() == b"pong"


@both
async def test_a_send_cancelled_before_its_turn_writes_nothing(make: Make) -> None:
    ours, theirs = make()
    assert ours.push(LARGE)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.send_all, b"pong")
            await wait_all_tasks_blocked()
            scope.cancel()

    async def finish() -> None:
        await ours.flush()
        await ours.send_eof()

    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        assert await read_to_end(theirs) == LARGE


@both
async def test_a_dead_stream_refuses_and_flush_says_why(make: Make) -> None:
    ours, theirs = make()
    theirs.abort()
    with trio.fail_after(60):
        while ours.push(b"x"):
            await trio.lowlevel.checkpoint()  # the reset may take a moment to arrive
    assert ours.blocked
    with pytest.raises(trio.BrokenResourceError):
        await ours.flush()
    with pytest.raises(trio.BrokenResourceError):
        await ours.receive_some()
    ours.close()
    assert not ours.push(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await ours.flush()


@both
async def test_abort_resets_and_wakes_who_waits(make: Make) -> None:
    ours, theirs = make()
    ours.push(LARGE)

    async def expect_closed(wait: Callable[[], object]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await wait()  # type: ignore[misc]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, ours.flush)
        nursery.start_soon(expect_closed, ours.receive_some)
        await wait_all_tasks_blocked()
        ours.abort()
    with pytest.raises(trio.BrokenResourceError), trio.fail_after(60):
        await read_to_end(theirs)
    theirs.close()


@both
async def test_what_has_arrived_before_a_reset_can_still_be_read(make: Make) -> None:
    ours, theirs = make()
    ours.push(b"last words")
    ours.abort()
    assert await theirs.receive_some() == b"last words"
    with pytest.raises(trio.BrokenResourceError), trio.fail_after(60):
        await theirs.receive_some()
    theirs.close()


@both
async def test_put_back_comes_first_and_a_receive_is_bounded(make: Make) -> None:
    ours, theirs = make()
    async with ours, theirs:
        ours.put_back(b"x" * (RECEIVE_BYTES_MAX + 1))
        ours.put_back(b"first")
        theirs.push(b"last")
        assert len(await ours.receive_some(10 * RECEIVE_BYTES_MAX)) == RECEIVE_BYTES_MAX
        assert await ours.receive_some(6) == b"x" * 6
        assert await ours.receive_some() == b"last"


@both
async def test_push_after_our_half_is_closed_is_refused(make: Make) -> None:
    ours, theirs = make()
    async with ours, theirs:
        await ours.send_eof()
        assert not ours.push(b"x")
        theirs.push(b"still heard")
        assert await ours.receive_some() == b"still heard"


async def test_memory_counts_unread_bytes_exactly() -> None:
    ours, theirs = memory_pair(10)
    assert ours.push(b"123456")
    assert ours.push(b"7890ab")
    assert ours.statistics().tail_bytes == 2
    assert await theirs.receive_some(1) == b"1"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.flush)
        await wait_all_tasks_blocked()
        assert ours.statistics().tail_bytes == 1
        assert await theirs.receive_some() == b"234567890a"
    assert await theirs.receive_some() == b"b"


async def test_a_socket_that_is_already_reset_has_no_address() -> None:
    ours, theirs = socket_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    address = theirs.getsockname()
    assert ours.peer == address
    theirs.close()
    ours.close()
    left, right = socket.socketpair()
    with right:
        unix = SocketPushStream(left)
        assert unix.peer is None
        unix.close()
