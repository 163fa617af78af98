"""The load generator of the server benchmark: one process, one selector, many WebSockets; one JSON line of results.

    python -m tests.benchmarks.load fan_out --speaks steadywire --port 8765 --room ROOM --readers 100 --seconds 3 --window 64

It speaks three protocols: ours, the bare JSON of the peers that have none (`json`), and Socket.IO. Every delivery of every reader
is counted and checked: the numbers must come in order, none missing and none twice. What a delivery is, is the same for all: one
event with its number, at one reader, however many of them share a message or a packet.

    fan_out   readers, publishers; flat out with a window of events under way, or at a fixed rate with latencies
    resume    readers get 3 events, are cut off, miss some, and all come back at once
    idle      connections that do nothing: time to accept, memory of each
"""

import argparse
import base64
import contextlib
import json
import os
import re
import selectors
import socket
import statistics
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference.protocol.config import ClientConfig

_NUMBER = re.compile(rb'"n":([0-9]+),"at":([0-9]+),')
_SEQUENCE = re.compile(rb'"(?:sequenceNumber|seq)":([0-9]+)')
_EPOCH = re.compile(rb'"epoch":"([^"]+)"')
ACK_EVENTS, ACK_INTERVAL_S = ClientConfig().ack_events, ClientConfig().ack_interval_s
"""As a client of ours acknowledges: after so many events, or so long after the first of them."""
PADDING = "x" * 60
CONNECT_S_MAX = 60.0
SETTLE_S_MAX = 60.0
"""Until everything that was published has come everywhere."""
LOST_EVENTS_BEFORE = 3


def frame(payload: bytes) -> bytes:
    """A text message of a client, masked with zeros."""
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + b"\0\0\0\0" + payload


class Steadywire:
    """Our protocol."""

    path = "/ws/runs/{room}/collaboration"
    headers = "Sec-WebSocket-Protocol: collab.v1.json\r\nAuthorization: Bearer dev:load\r\n"
    greeting = b""
    ready = b'"type":"welcome"'
    acknowledges = True

    def hello(self, reader: "Reader", room: str) -> list[bytes]:
        hello: dict[str, Any] = {"type": "hello", "protocol": 1, "clientId": reader.name, "generation": reader.generation}
        position = {"start": "head"} if reader.sequence is None else {"epoch": reader.epoch, "afterSequence": reader.sequence}
        return [json.dumps(hello | position).encode()]

    def join(self, reader: "Reader", room: str) -> list[bytes]:
        return []

    def publish(self, reader: "Reader", room: str, data: str) -> bytes:
        return b'{"type":"publish","clientSequence":%d,"eventType":"CHAT","data":%s}' % (reader.published, data.encode())

    def acknowledge(self, sequence: int) -> bytes:
        return b'{"type":"ack","sequenceNumber":%d}' % sequence


class Json:
    """`websockets` and ws have no protocol; this is the least that the work needs."""

    path = "/"
    headers = ""
    greeting = b""
    ready = b'"joined"'
    acknowledges = False

    def hello(self, reader: "Reader", room: str) -> list[bytes]:
        return [json.dumps({"t": "join", "room": room, "since": reader.sequence}).encode()]

    def join(self, reader: "Reader", room: str) -> list[bytes]:
        """What follows the server's greeting."""
        return []

    def publish(self, reader: "Reader", room: str, data: str) -> bytes:
        return f'{{"t":"pub","room":"{room}","d":{data}}}'.encode()

    def acknowledge(self, sequence: int) -> bytes:
        raise AssertionError("nobody acknowledges")


class SocketIo(Json):
    """Socket.IO, protocol 5 over WebSocket."""

    path = "/socket.io/?EIO=4&transport=websocket"
    greeting = b'40{"sid"'

    def hello(self, reader: "Reader", room: str) -> list[bytes]:
        return [b"40"]

    def join(self, reader: "Reader", room: str) -> list[bytes]:
        return [f"42{json.dumps(['join', room, reader.sequence])}".encode()]

    def publish(self, reader: "Reader", room: str, data: str) -> bytes:
        return f'42["pub","{room}",{data}]'.encode()


PROTOCOLS = {"steadywire": Steadywire(), "json": Json(), "socketio": SocketIo()}


@dataclass(eq=False)
class Reader:
    """One WebSocket: a reader of the room, which may publish too."""

    name: str
    generation: int = 1
    sequence: int | None = None
    epoch: str | None = None
    link: socket.socket | None = None
    is_upgraded: bool = False
    is_greeted: bool = False
    is_ready: bool = False
    published: int = 0
    delivered: int = 0
    next_numbers: dict[int, int] = field(default_factory=dict)
    """By publisher: its events come in order; between those of two there is none."""
    faults: int = 0
    tail: bytes = b""
    unsent: bytearray = field(default_factory=bytearray)
    acknowledged: int = 0
    acknowledged_at: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """Events in the bytes of one read. tail: what an event that continues in the next read begins with."""

    numbers: list[int]
    sent_at: list[int]
    sequence: int | None
    is_gapless: bool
    tail: bytes

    @classmethod
    def of(cls, data: bytes) -> "Found":
        found = _NUMBER.findall(data)
        numbers = [int(number) for number, _ in found]
        sequences = _SEQUENCE.findall(data)
        last = data.rfind(b'"n":')
        return cls(
            numbers,
            [int(at) for _, at in found],
            int(sequences[-1]) if sequences else None,
            not numbers or numbers == list(range(numbers[0], numbers[0] + len(numbers))),
            data[last:] if last >= 0 and _NUMBER.match(data, last) is None else data[-8:],
        )


class Load:
    """All connections of one run of the generator."""

    def __init__(self, speaks: str, port: int, room: str, *, measures_latency: bool = False) -> None:
        self.protocol = PROTOCOLS[speaks]
        self.room = room
        self._port = port
        self._is_socketio = speaks == "socketio"
        self._measures_latency = measures_latency
        self._selector = selectors.DefaultSelector()
        self._recent: deque[tuple[bytes, Found]] = deque(maxlen=16)
        self.ready = 0
        self.publishers = 1
        """Number n comes from publisher n modulo this."""

    # Connections.

    def open(self, reader: Reader) -> None:
        reader.link = sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self._port))
        reader.is_upgraded = reader.is_greeted = reader.is_ready = False
        reader.tail = b""
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {self.protocol.path.format(room=self.room)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{self.protocol.headers}\r\n"
        )
        reader.unsent = bytearray(head.encode())
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, reader)

    def open_all(self, readers: list[Reader], at_once: int) -> float:
        """Open and join, so many at a time. Returns the seconds that it took."""
        began, waiting, self.ready = time.monotonic(), iter(readers), 0
        opened = 0
        while self.ready < len(readers):
            while opened - self.ready < at_once and (reader := next(waiting, None)) is not None:
                self.open(reader)
                opened += 1
            self.turn(0.1)
            if time.monotonic() - began > CONNECT_S_MAX:
                raise SystemExit(f"{self.ready} of {len(readers)} connections joined in {CONNECT_S_MAX:g} s")
        return time.monotonic() - began

    def close(self, reader: Reader) -> None:
        assert reader.link is not None
        self._selector.unregister(reader.link)
        reader.link.close()

    # Input and output.

    def turn(self, timeout_s: float) -> None:
        """Do what can be done now, or wait for the first thing."""
        for key, events in self._selector.select(timeout_s):
            reader: Reader = key.data
            if events & selectors.EVENT_WRITE:
                self._flush(reader)
            if events & selectors.EVENT_READ:
                self._read(reader)

    def send(self, reader: Reader, payload: bytes) -> None:
        reader.unsent += frame(payload)
        self._flush(reader)

    def publish(self, reader: Reader, number: int) -> None:
        reader.published += 1
        data = f'{{"n":{number},"at":{time.monotonic_ns()},"user":"user-17","kind":"edit","text":"{PADDING}"}}'
        self.send(reader, self.protocol.publish(reader, self.room, data))

    def _flush(self, reader: Reader) -> None:
        assert reader.link is not None
        if reader.unsent:
            with contextlib.suppress(BlockingIOError):
                del reader.unsent[: reader.link.send(reader.unsent)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if reader.unsent else 0)
        self._selector.modify(reader.link, wanted, reader)

    def _read(self, reader: Reader) -> None:
        assert reader.link is not None
        try:
            data = reader.link.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit(f"{reader.name} was cut off: {reader.tail[-200:]!r}")
        data = reader.tail + data
        if not reader.is_ready:
            self._join(reader, data)
            return
        self._count(reader, data)

    def _join(self, reader: Reader, data: bytes) -> None:
        if not reader.is_upgraded:
            if b"\r\n\r\n" not in data:
                reader.tail = data
                return
            head, _, data = data.partition(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise SystemExit(f"not upgraded: {head!r}")
            reader.is_upgraded = True
            for message in self.protocol.hello(reader, self.room):
                self.send(reader, message)
        if not reader.is_greeted and self.protocol.greeting in data:
            reader.is_greeted = True
            for message in self.protocol.join(reader, self.room):
                self.send(reader, message)
        place = data.find(self.protocol.ready)
        if place < 0:
            reader.tail = data
            return
        reader.is_ready = True
        self.ready += 1
        epoch = _EPOCH.search(data, place)
        if epoch is not None:
            reader.epoch = epoch[1].decode()
        self._count(reader, data[place + len(self.protocol.ready) :])

    def _count(self, reader: Reader, data: bytes) -> None:
        found = self._found(data)
        if found.numbers:
            self._check_order(reader, found)
            reader.delivered += len(found.numbers)
            if self._measures_latency:
                now = time.monotonic_ns()
                reader.latencies_ms += [(now - at) / 1e6 for at in found.sent_at]
            if found.sequence is not None:
                reader.sequence = max(reader.sequence or 0, found.sequence)
            if self.protocol.acknowledges and reader.sequence and self._is_ack_due(reader):
                reader.acknowledged, reader.acknowledged_at = reader.delivered, time.monotonic()
                self.send(reader, self.protocol.acknowledge(reader.sequence))
        if self._is_socketio and data[-1:] == b"2" and data[-3:-1] == b"\x81\x01":
            self.send(reader, b"3")
        reader.tail = found.tail

    def _found(self, data: bytes) -> "Found":
        """What is in these bytes. Readers of one room are sent the same ones, which are read once."""
        for known, found in self._recent:
            if known == data:
                return found
        found = Found.of(data)
        self._recent.append((data, found))
        return found

    @staticmethod
    def _is_ack_due(reader: Reader) -> bool:
        return reader.delivered - reader.acknowledged >= ACK_EVENTS or time.monotonic() - reader.acknowledged_at >= ACK_INTERVAL_S

    def _check_order(self, reader: Reader, found: "Found") -> None:
        step, next_numbers, numbers = self.publishers, reader.next_numbers, found.numbers
        if step == 1:
            reader.faults += not found.is_gapless or numbers[0] != next_numbers.get(0, numbers[0])
            next_numbers[0] = numbers[-1] + 1
            return
        for number in numbers:
            reader.faults += number != next_numbers.get(number % step, number)
            next_numbers[number % step] = number + step


# What the server's process uses.


@dataclass(frozen=True)
class Usage:
    """Of a process and its children: processor time in s, resident memory in KiB."""

    cpu_s: float
    rss_kib: int


def usage(pid: int) -> Usage:
    ticks = rss = 0
    for each in _tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            rss += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), rss)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


# The works.


def fan_out(load: Load, options: argparse.Namespace) -> dict[str, float]:
    """Flat out with a window, or at a fixed rate."""
    readers = [Reader(f"r{index}") for index in range(options.readers)]
    publishers = [Reader(f"p{index}") for index in range(options.publishers)]
    load.publishers = len(publishers)
    load.open_all([*readers, *publishers], at_once=64)
    published, window = 0, options.window
    began, warm = time.monotonic(), None
    ends = began + options.warm_s + options.seconds
    at_warm: tuple[int, Usage] = (0, usage(options.pid))
    while (now := time.monotonic()) < ends:
        if warm is None and now - began >= options.warm_s:
            warm, at_warm = now, (sum(reader.delivered for reader in readers), usage(options.pid))
            for reader in readers:
                reader.latencies_ms.clear()
        if options.rate:
            due = int((now - began) * options.rate)
            while published < due:
                load.publish(publishers[published % len(publishers)], published)
                published += 1
            load.turn(max(0.0, (published + 1) / options.rate - (time.monotonic() - began)))
        else:
            delivered = sum(reader.delivered for reader in readers) // len(readers)
            while published < delivered + window:
                load.publish(publishers[published % len(publishers)], published)
                published += 1
            load.turn(0.05)
    elapsed, after = time.monotonic() - (warm or began), usage(options.pid)
    deliveries = sum(reader.delivered for reader in readers) - at_warm[0]
    settle = time.monotonic() + SETTLE_S_MAX
    while any(reader.delivered < published for reader in readers) and time.monotonic() < settle:
        load.turn(0.05)
    result = {
        "deliveries_per_s": deliveries / elapsed,
        "cpu_us_per_delivery": (after.cpu_s - at_warm[1].cpu_s) / max(1, deliveries) * 1e6,
        "missing": float(sum(published - reader.delivered for reader in readers)),
        "faults": float(sum(reader.faults for reader in readers)),
    }
    latencies = [latency for reader in readers for latency in reader.latencies_ms]
    if options.rate and latencies:
        cuts = statistics.quantiles(latencies, n=100)
        result |= {"p50_ms": cuts[49], "p99_ms": cuts[98], "cpu_s_per_s": (after.cpu_s - at_warm[1].cpu_s) / elapsed}
    return result


def resume(load: Load, options: argparse.Namespace) -> dict[str, float]:
    """All readers are cut off, miss events, and come back at once."""
    readers, publisher = [Reader(f"r{index}") for index in range(options.readers)], Reader("p0")
    load.open_all([publisher], at_once=1)
    load.open_all(readers, at_once=64)
    for number in range(LOST_EVENTS_BEFORE):
        load.publish(publisher, number)
    _until(load, lambda: all(reader.delivered >= LOST_EVENTS_BEFORE for reader in [*readers, publisher]))
    for reader in readers:
        load.close(reader)
    for number in range(LOST_EVENTS_BEFORE, LOST_EVENTS_BEFORE + options.missed):
        load.publish(publisher, number)
        if number % 32 == 0:
            _until(load, lambda number=number: publisher.delivered >= number)  # type: ignore[misc] # mypy does not infer it
    total = LOST_EVENTS_BEFORE + options.missed
    _until(load, lambda: publisher.delivered >= total)
    before, began = usage(options.pid), time.monotonic()
    for reader in readers:
        reader.generation += 1
    load.open_all(readers, at_once=len(readers))
    _until(load, lambda: all(reader.delivered >= total for reader in readers))
    elapsed, after = time.monotonic() - began, usage(options.pid)
    return {
        "seconds": elapsed,
        "cpu_s": after.cpu_s - before.cpu_s,
        "missing": float(sum(total - reader.delivered for reader in readers)),
        "faults": float(sum(reader.faults for reader in readers)),
    }


def idle(load: Load, options: argparse.Namespace) -> dict[str, float]:
    """Connections that join and then do nothing."""
    warm_up = Reader("w0")
    load.open_all([warm_up], at_once=1)
    before = usage(options.pid)
    seconds = load.open_all([Reader(f"r{index}") for index in range(options.readers)], at_once=64)
    ends = time.monotonic() + 1.0
    while time.monotonic() < ends:
        load.turn(0.1)
    after = usage(options.pid)
    return {
        "seconds": seconds,
        "cpu_s": after.cpu_s - before.cpu_s,
        "kib_per_connection": (after.rss_kib - before.rss_kib) / options.readers,
        "missing": 0.0,
        "faults": 0.0,
    }


def _until(load: Load, is_reached: Any, seconds_max: float = 60.0) -> None:
    ends = time.monotonic() + seconds_max
    while not is_reached():
        load.turn(0.05)
        if time.monotonic() > ends:
            raise SystemExit(f"not everything came within {seconds_max:g} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["fan_out", "resume", "idle"])
    parser.add_argument("--speaks", choices=list(PROTOCOLS), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="of the server, whose processor time and memory are read")
    parser.add_argument("--room", required=True)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--publishers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warm-s", type=float, default=1.0)
    parser.add_argument("--window", type=int, default=64, help="events under way at most, flat out")
    parser.add_argument("--rate", type=float, default=0.0, help="events per second; 0 is flat out")
    parser.add_argument("--missed", type=int, default=200)
    options = parser.parse_args()
    load = Load(options.speaks, options.port, options.room, measures_latency=bool(options.rate))
    works = {"fan_out": fan_out, "resume": resume, "idle": idle}
    print(json.dumps(works[options.work](load, options)))


if __name__ == "__main__":
    main()
