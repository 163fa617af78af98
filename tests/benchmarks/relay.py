"""The cost of relaying: a client connected to a process that does not serve its run, compared with one connected to the owner.

    .venv/bin/python -m tests.benchmarks.relay [--readers 200] [--seconds 4]

Two server processes share a PostgreSQL database (see tests/postgres_server.py for which). Once all clients come to
the run's owner, once to the other process: how long a publish takes until its answer, one at a time, and how many
deliveries a second reach all readers while one publisher keeps as many unanswered as it may.
"""

import argparse
import json
import multiprocessing
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import trio

from reference.protocol.config import ServerConfig
from simulation.processes.ports import free_ports
from simulation.processes.server_process import ServerPlace, open_server_process
from tests.server.running_server import RUN, UPGRADE_HEADERS, request_bytes
from tests.server.wire.helpers import text

sys.path.insert(0, str(Path(__file__).parent.parent))
from postgres_server import new_database

UNANSWERED = 64
WARM_UP_S = 1.0
ROUND_TRIPS = 300
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


def frame(**fields: Any) -> bytes:
    return text(json.dumps(fields))


def hello(name: str) -> bytes:
    upgrade = request_bytes("GET", f"/ws/runs/{RUN}/collaboration", headers=UPGRADE_HEADERS)
    return upgrade + frame(type="hello", protocol=1, clientId=name, token=f"dev:{name}", start="head", sessionId="s" * 40)


def read_for_nothing(port: int, readers: int, pipe: Connection) -> None:
    """The readers' process: connect, then read until the other side has closed."""
    sockets = selectors.DefaultSelector()
    for number in range(readers):
        sock = socket.create_connection(("127.0.0.1", port))
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


def publish_for_ever(port: int, readers: int, pipe: Connection) -> None:
    """The publisher's process: tells how many of its publishes were accepted, whenever it is asked."""
    sock = greeted(port, "publisher")
    sock.settimeout(None)
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


async def ask(pipe: Connection) -> int:
    pipe.send(None)
    answer: int = await trio.to_thread.run_sync(pipe.recv)
    return answer


@contextmanager
def process(target: Any, port: int, readers: int = 1) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    running = context.Process(target=target, args=(port, readers, theirs), daemon=True)
    running.start()
    try:
        yield ours
    finally:
        running.kill()
        running.join()


def greeted(port: int, name: str) -> socket.socket:
    """A client that has been welcomed."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.settimeout(10)
    sock.sendall(hello(name))
    until(sock, b'"type":"welcome"')
    return sock


def until(sock: socket.socket, mark: bytes) -> None:
    data = b""
    while mark not in data:
        piece = sock.recv(65536)
        assert piece, "the server has closed"
        data = data[-len(mark) :] + piece


def round_trips(port: int) -> float:
    """The median time from a publish to its answer, in ms."""
    sock = greeted(port, f"asker-{port}")
    times = []
    for number in range(1, ROUND_TRIPS + 1):
        started = time.perf_counter()
        sock.sendall(frame(type="publish", clientSequence=number, eventType="CHAT", data={"text": "x" * 64}))
        until(sock, b'"type":"accepted"')
        times.append((time.perf_counter() - started) * 1000)
    sock.close()
    return statistics.median(times)


async def deliveries(port: int, readers: int, seconds: float) -> float:
    """Deliveries a second to so many readers, who like the publisher came to `port`."""
    with process(read_for_nothing, port, readers):
        await trio.sleep(WARM_UP_S + readers / 100)
        with process(publish_for_ever, port) as publisher:
            await trio.sleep(WARM_UP_S)
            started, accepted = time.perf_counter(), await ask(publisher)
            await trio.sleep(seconds)
            accepted = await ask(publisher) - accepted
            return accepted * readers / (time.perf_counter() - started)


async def measure(readers: int, seconds: float, *, is_relayed: bool) -> tuple[float, float]:
    with new_database() as url, tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            ports = free_ports(2)
            for port in ports:
                place = ServerPlace(port, url, RUN, Path(directory) / "log", CONFIG)
                server = await stack.enter_async_context(open_server_process(place, on_record=lambda record: None))
                await server.start()
            owner, other = ports
            stays = await trio.to_thread.run_sync(greeted, owner, "first")  # and so the run is the owner's
            port = other if is_relayed else owner
            found = await trio.to_thread.run_sync(round_trips, port), await deliveries(port, readers, seconds)
            stays.close()
            return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    found = {}
    for name, is_relayed in (("direct", False), ("relayed", True)):
        try:
            found[name] = trio.run(lambda relayed=is_relayed: measure(arguments.readers, arguments.seconds, is_relayed=relayed))
        except pytest.skip.Exception as reason:
            sys.exit(str(reason))
        trip, rate = found[name]
        print(
            f"{name:8} {trip:8.2f} ms from publish to answer {rate:12,.0f} deliveries/s to {arguments.readers} readers",
            flush=True,
        )
    trips, rates = zip(found["relayed"], found["direct"], strict=True)
    print(f"ratio    {trips[0] / trips[1]:8.2f}                            {rates[0] / rates[1]:12.2f}")


if __name__ == "__main__":
    main()
