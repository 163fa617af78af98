"""Deliveries per second of one server process with all features on, compared with its push alone.

    .venv/bin/python -m tests.benchmarks.fan_out [--readers 1000] [--seconds 5] [--store memory:]

A server listens on 127.0.0.1. Its readers are bare sockets in a process of their own, which say hello and then only count bytes;
one publisher, in another, keeps as many publishes unanswered as it may. Every event reaches every reader, so deliveries are
events x readers. Then the same bytes, in pieces of the same size, are pushed to as many sockets by the wire layer alone: the
difference is the price of reading, sequencing, storing, encoding and bookkeeping.
"""

import argparse
import json
import multiprocessing
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import trio

from reference.protocol import metrics
from reference.protocol.config import ServerConfig
from reference.protocol.frames import SUBPROTOCOL
from reference.server.app import open_server
from reference.server.settings import ServerSettings
from reference.server.wire.listener import listen
from reference.server.wire.push_stream import PushStream
from reference.server.wire.websocket import frame_text

RUN = "01234567-89ab-cdef-0123-456789abcdef"
UNANSWERED = 64
WARM_UP_S = 1.0
CONFIG = ServerConfig(
    publishes_per_s=1e6,
    publish_burst=1_000_000,
    publish_bytes_per_s=1_000_000_000,
    publish_bytes_burst=1_000_000_000,
    frames_per_s=1e7,
    frame_burst=10_000_000,
    silence_max_s=3600,
    heartbeat_interval_s=3600,
)
_HEAD = (
    f"GET /ws/runs/{RUN}/collaboration HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()


def frame(**fields: Any) -> bytes:
    """A client's frame, masked with zeros."""
    payload = json.dumps(fields).encode()
    assert 126 <= len(payload) < 2**16, "long enough for the two-byte length"
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + b"\0\0\0\0" + payload


def hello(name: str) -> bytes:
    return _HEAD + frame(type="hello", protocol=1, clientId=name, token=f"dev:{name}", start="head", sessionId="s" * 40)


def read_for_nothing(port: int, readers: int, greet: bool, pipe: Connection) -> None:
    """The readers' process: connect, then read until the other side has closed."""
    sockets = selectors.DefaultSelector()
    for number in range(readers):
        sock = socket.create_connection(("127.0.0.1", port))
        if greet:
            sock.sendall(hello(f"reader-{number}"))
        sock.setblocking(False)
        sockets.register(sock, selectors.EVENT_READ)
    buffer = bytearray(256 * 1024)
    while sockets.get_map():
        for key, _ in sockets.select():
            reader = key.fileobj
            assert isinstance(reader, socket.socket)
            if not reader.recv_into(buffer):
                sockets.unregister(reader)
                reader.close()


def publish_for_ever(port: int, readers: int, greet: bool, pipe: Connection) -> None:
    """The publisher's process: tells how many of its publishes were accepted, whenever it is asked."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(hello("publisher"))
    accepted = 0

    def tell() -> None:
        while True:
            pipe.recv()
            pipe.send(accepted)

    threading.Thread(target=tell, daemon=True).start()
    sent, tail, mark = 0, b"", b'"type":"accepted"'
    while True:
        while sent < accepted + UNANSWERED:
            sent += 1
            sock.sendall(frame(type="publish", clientSequence=sent, eventType="CHAT", data={"text": "x" * 64}))
        data = tail + sock.recv(1024 * 1024)
        accepted += data.count(mark)
        tail = data[-(len(mark) - 1) :]


async def server_rate(readers: int, seconds: float, store: str) -> tuple[float, float, int]:
    """Deliveries a second of the whole server, events in a batch, and bytes of one event as delivered."""
    settings = ServerSettings(port=0, store=store, protocol=CONFIG, stop_timeout_s=0.1)
    async with open_server(settings) as server:
        await server.create_run(RUN)
        with process(read_for_nothing, server.port, readers):
            while server.statistics().websockets < readers:  # noqa: ASYNC110 - a benchmark may look again and again
                await trio.sleep(0.05)
            with process(publish_for_ever, server.port) as publisher:
                await trio.sleep(WARM_UP_S)
                counted = server.monitor.metrics.value
                batches, stored = counted(COMMITS), counted(metrics.EVENTS_STORED)
                started, accepted = time.perf_counter(), await ask(publisher)
                await trio.sleep(seconds)
                accepted = await ask(publisher) - accepted
                elapsed = time.perf_counter() - started
                batches, stored = counted(COMMITS) - batches, counted(metrics.EVENTS_STORED) - stored
                print(f"whole server: {accepted / elapsed:,.0f} publishes accepted a second, {store}", flush=True)
                print(f"  readers that lag: {counted(metrics.LAGGING):.0f} of {readers}")
    return accepted * readers / elapsed, stored / batches, 200


COMMITS = metrics.Metric("counter", metrics.COMMIT.name + "_count", "commits", "")


async def push_rate(readers: int, seconds: float, batch_events: float, event_bytes: int) -> float:
    """Deliveries a second of the wire layer alone, in batches of that size."""
    streams: list[PushStream] = []
    everyone = trio.Event()

    async def serve(stream: PushStream) -> None:
        streams.append(stream)
        if len(streams) == readers:
            everyone.set()
        await trio.sleep_forever()

    data = frame_text(b"x" * round(batch_events * event_bytes))
    taken = 0
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(listen, "127.0.0.1", 0, serve)
        with process(read_for_nothing, listening.port, readers, greet=False):
            await everyone.wait()
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                for stream in streams:
                    taken += stream.push(data)
                for stream in streams:
                    if stream.blocked:
                        await stream.flush()
            elapsed = time.perf_counter() - started
        nursery.cancel_scope.cancel()
    return taken * batch_events / elapsed


async def ask(pipe: Connection) -> int:
    pipe.send(None)
    answer: int = await trio.to_thread.run_sync(pipe.recv)
    return answer


@contextmanager
def process(target: Any, port: int, readers: int = 1, *, greet: bool = True) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    running = context.Process(target=target, args=(port, readers, greet, theirs), daemon=True)
    running.start()
    try:
        yield ours
    finally:
        running.kill()
        running.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--store", default="memory:")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, arguments.readers * 2 + 200)), hard))
    rate, batch, size = trio.run(server_rate, arguments.readers, arguments.seconds, arguments.store)
    print(f"whole server  {rate:12,.0f} deliveries/s to {arguments.readers} readers, {batch:.1f} events a batch")
    bare = trio.run(push_rate, arguments.readers, arguments.seconds, batch, size)
    print(f"bare push     {bare:12,.0f} deliveries/s in batches of that size")
    print(f"ratio         {rate / bare:12.2f}")


if __name__ == "__main__":
    main()
