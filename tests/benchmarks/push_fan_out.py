"""How fast one frame reaches many readers: `push` to every stream, compared with one `send_all` per connection, in the same run.

    .venv/bin/python tests/benchmarks/push_fan_out.py [--readers 1000] [--events 64] [--event-bytes 200] [--seconds 3]

Real TCP connections on this machine. A second process reads them all with epoll and throws the bytes away, as clients elsewhere
would; this process, the server, does nothing but send. A delivery is one event that one reader has been sent; `--events` of them
make one frame, which is how the server batches. The clock stops when the other process has read the last byte.
"""

import argparse
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import trio

from reference.server.wire.push_stream import SocketPushStream
from reference.server.wire.websocket import frame_text

Round = Callable[[list[SocketPushStream], bytes], Awaitable[None]]


async def by_push(streams: list[SocketPushStream], frame: bytes) -> None:
    """The server's way: no task and no wait per reader, except for those that are behind."""
    for stream in [stream for stream in streams if not stream.push(frame)]:
        await stream.flush()
        assert stream.push(frame)
    await trio.lowlevel.checkpoint()


async def by_send_all(streams: list[SocketPushStream], frame: bytes) -> None:
    """The usual way: one send_all per connection, one after the other."""
    for stream in streams:
        await stream.send_all(frame)


async def by_send_all_in_tasks(streams: list[SocketPushStream], frame: bytes) -> None:
    """The same with a task for each connection, so that a slow one does not hold up the others."""
    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(stream.send_all, frame)


def connect(readers: int) -> tuple[subprocess.Popen[bytes], list[SocketPushStream]]:
    """Start the other process and accept its connections."""
    with socket.create_server(("127.0.0.1", 0), backlog=readers) as listener:
        port = str(listener.getsockname()[1])
        reader = subprocess.Popen([sys.executable, __file__, "--drain", port, "--readers", str(readers)], stdout=subprocess.PIPE)
        return reader, [SocketPushStream(listener.accept()[0]) for _ in range(readers)]


async def measure(
    one_round: Round, reader: subprocess.Popen[bytes], streams: list[SocketPushStream], args: argparse.Namespace
) -> float:
    """Deliveries per second."""
    frame = frame_text(b"x" * (args.events * args.event_bytes))
    start = time.perf_counter()
    rounds = 0
    while time.perf_counter() - start < args.seconds:
        await one_round(streams, frame)
        rounds += 1
    for stream in streams:
        await stream.flush()
        await stream.send_eof()
    assert reader.stdout is not None
    read_bytes = int(reader.stdout.readline())
    elapsed_s = time.perf_counter() - start
    assert read_bytes == rounds * len(streams) * len(frame), "every byte arrives"
    for stream in streams:
        stream.close()
    return float(rounds * len(streams) * args.events / elapsed_s)


def drain(port: int, readers: int) -> None:
    """The other process: connect, read everything, say how many bytes that were."""
    epoll = select.epoll()
    by_number = {}
    for _ in range(readers):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        by_number[sock.fileno()] = sock
        epoll.register(sock.fileno(), select.EPOLLIN)
    buffer = bytearray(1024 * 1024)
    total_bytes = 0
    while by_number:
        for number, _ in epoll.poll():
            count = by_number[number].recv_into(buffer)
            total_bytes += count
            if count == 0:
                epoll.unregister(number)
                by_number.pop(number).close()
    print(total_bytes, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--events", type=int, default=64, help="events in one frame")
    parser.add_argument("--event-bytes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--drain", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.drain:
        drain(args.drain, args.readers)
        return
    print(f"{args.readers} readers, {args.events} events of {args.event_bytes} bytes in a frame")
    rates = {}
    ways = {"send_all in turn": by_send_all, "send_all in tasks": by_send_all_in_tasks, "push": by_push}
    for name, one_round in ways.items():
        reader, streams = connect(args.readers)
        with reader:
            rates[name] = trio.run(measure, one_round, reader, streams, args)
        print(f"  {name:18}{rates[name]:12,.0f} deliveries/s")
    for name in ("send_all in turn", "send_all in tasks"):
        print(f"  push is {rates['push'] / rates[name]:.1f} times as fast as {name}")


if __name__ == "__main__":
    main()
