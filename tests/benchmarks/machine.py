"""What the server's machine costs for each publish: its driver and its run, without sockets, codec, framing and store.

    .venv/bin/python -m tests.benchmarks.machine [--publishes 10000] [--rounds 9]

One client publishes into a run and reads it. Its publishes come as the codec hands them out, one or many with each read; the
store answers at once, and sockets take everything. Each row is the least processor time of several rounds, in us per publish: on
a machine that does other things too, only the least of many says what the code costs. Compare two versions in turns.
"""

import argparse
import time
from collections.abc import Sequence

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import RemoteError
from reference.protocol.frames import decode_received
from reference.protocol.records import Append, RunState, Snapshot, StoredRun
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from reference.server.monitoring.metrics import tune_collector

READS = (1, 10, 50)
"""Publishes that come with one read."""
ONE_MS = 1_000_000
"""Between two reads, in ns."""
CONFIG = ServerConfig(
    publishes_per_s=1e6,
    publish_burst=1_000_000,
    publish_bytes_per_s=1_000_000_000,
    publish_bytes_burst=1_000_000_000,
    frames_per_s=1e7,
    frame_burst=10_000_000,
)


class Socket:
    """Takes everything, and counts it."""

    is_blocked = False

    def __init__(self) -> None:
        self.taken = 0

    def push(self, item: frames.Frame) -> bool:
        self.taken += 1
        return False

    def close(self, waiting: Sequence[frames.Frame], close: Close) -> None:
        raise AssertionError(f"closed: {close.message}")


class World:
    """A `RunIO` that does nothing itself. `time`: in ns."""

    def __init__(self) -> None:
        self.time = 0

    def now(self) -> int:
        return self.time

    def encode(self, frame: frames.Frame) -> frames.Frame:
        return frame

    def may_store(self) -> bool:
        return True

    def store(self, append: Append) -> bool:
        return True

    def identify(self, connection_id: int, token: str | None) -> None:
        raise AssertionError("everybody comes with an identity")

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        raise AssertionError("nobody asks over HTTP")

    def refuse(self, connection_id: int, close: Close) -> None:
        raise AssertionError("nobody asks over HTTP")

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        pass

    def retire(self) -> None:
        raise AssertionError("somebody is here")

    def turn_over(self) -> None:
        pass


def publishes(count: int) -> list[frames.Frame | RemoteError]:
    """As they come from the codec; of the size that the benchmark of the server sends."""
    text = "x" * 60
    data = f'{{"n":1000,"at":123456789012345,"user":"user-17","kind":"edit","text":"{text}"}}'
    return [
        decode_received(f'{{"type":"publish","clientSequence":{number},"eventType":"CHAT","data":{data}}}')
        for number in range(1, count + 1)
    ]


def seconds_of(messages: Sequence[frames.Frame | RemoteError], per_read: int) -> float:
    """Processor time for all of them."""
    world, socket = World(), Socket()
    stored = StoredRun("run", "epoch", 0, Snapshot(0, RunState()), (), ())
    driver: RunDriver[frames.Frame] = RunDriver(Run(stored, config=CONFIG, now=0), world)
    driver.connect(1, socket, Identity("ada"), "session")
    driver.receive(1, [frames.Hello(protocol=1, client_id="client", start="head")])
    reads = [messages[first : first + per_read] for first in range(0, len(messages), per_read)]
    welcomed = socket.taken
    began = time.process_time()
    for read in reads:
        world.time += ONE_MS
        driver.receive(1, read)
    took_s = time.process_time() - began
    assert socket.taken - welcomed == len(messages) + len(reads), "an answer for each publish, a batch for each read"
    return took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--publishes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    messages = publishes(options.publishes)
    tune_collector()  # as a server does
    least_s = {per_read: min(seconds_of(messages, per_read) for _ in range(options.rounds)) for per_read in READS}
    for per_read, took_s in least_s.items():
        print(f"{per_read:3} publishes with each read: {took_s / len(messages) * 1e6:6.2f} us per publish")


if __name__ == "__main__":
    main()
