"""A server under churn for half an hour: its memory must not grow, and a flood must not slow the other clients down.

    .venv/bin/python -m tests.benchmarks.soak --minutes 30                           one process on SQLite
    .venv/bin/python -m tests.benchmarks.soak --minutes 30 --store postgresql://...  two processes, a database with autovacuum

Clients come, publish, and go: half of them say goodbye, the other half vanish, and new ones with new client ids take their
place. Every second minute an intruder floods the server in one of the ways of `tests.fuzz.test_memory` and this module. Two
steady clients publish all the time and measure how long an acceptance takes; the p99 of a minute with a flood may be 10 % above
that of the quiet minutes before and after it, or 20 ms if that is more.

Memory, descriptors, tasks, and everything else that `Server.held` counts, are sampled every 5 s. Level means: in the last third
of the time the median is at most 10 % above that of the second third (for memory), or at most 10 above it (for counts). Exit
code 0: all that held; 1: something grew, or somebody was slowed down; 2: it could not be run.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

import trio

from reference.cli.serve_command import SWITCH_INTERVAL_S
from reference.client import Client, connect
from reference.protocol.errors import SteadywireError
from reference.server.app import Server, open_server
from reference.server.settings import ServerSettings
from simulation.processes.ports import free_ports
from tests.fuzz.test_memory import FLOODS, HELLO, POST, RUN, TEXT, UPGRADE
from tests.server.wire.helpers import client_frame

CLIENTS = 20
LIFE_S = 2.0, 20.0
PUBLISH_INTERVAL_S = 1.0
WITNESS_INTERVAL_S = 0.1
SAMPLE_INTERVAL_S = 5.0
FLOOD_CONNECTIONS = 4
P99_FACTOR_MAX, P99_MS_MAX = 1.1, 20.0
GROWTH_FACTOR_MAX, GROWTH_COUNT_MAX = 1.1, 10
NESTED = b'{"type":"publish","clientSequence":%d,"eventType":"CHAT","data":{"text":' + b"[" * 28 + b"1" + b"]" * 28 + b"}}"

KINDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "pings": FLOODS["pings without end"],
    "pongs": lambda: chain((UPGRADE, HELLO), repeat(client_frame(10, b"p" * 125) * 8)),
    "fragments": FLOODS["empty fragments"],
    "tiny frames": lambda: chain((UPGRADE, HELLO), repeat(client_frame(TEXT, b"{}") * 50)),
    "nested JSON": lambda: chain((UPGRADE, HELLO), (client_frame(TEXT, NESTED % number) for number in range(1, 10**9))),
    "publishes": FLOODS["publishes without end"],
    "slow bodies": lambda: chain((POST + b"Content-Length: 60000\r\n\r\n",), repeat(b"a")),
    "refused upgrades": lambda: repeat(UPGRADE.replace(b"dev:mallory", b"nobody")),
}
KEPT_TO_A_LIMIT = ("events in memory", "clients that published")
"""They grow to a limit of their own, which a short soak does not reach."""
ONE_REQUEST_EACH = ("refused upgrades",)
SLOWLY = ("slow bodies",)


# ---- the server's process ----


async def serve(port: int, store: str) -> None:
    """Serve, and write a sample to standard output now and then, until standard input ends."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as `steadywire serve` does
    settings = ServerSettings(port=port, store=store)
    async with open_server(settings) as server, trio.open_nursery() as nursery:
        nursery.start_soon(_sample, server)
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as parent:
            while await parent.receive_some():
                pass
        nursery.cancel_scope.cancel()


async def _sample(server: Server) -> None:
    while True:
        sample = {
            "memory, MiB": _memory_mib(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            **{held.what: held.length for held in server.held(RUN)},
        }
        print(json.dumps(sample), flush=True)
        await trio.sleep(SAMPLE_INTERVAL_S)


def _memory_mib() -> float:
    """Of this process, resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


# ---- clients, witnesses, intruders ----


@dataclass
class Soak:
    ports: list[int]
    flood: str = ""
    """The kind that is under way; empty in a quiet minute."""
    lives: int = 0
    accepted: int = 0
    waits_ms: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Of the witnesses, by minute."""
    minute: int = 0

    def url(self) -> str:
        return f"http://127.0.0.1:{random.choice(self.ports)}"

    async def live(self, number: int) -> None:
        """Come, publish, and go, again and again."""
        while True:
            self.lives += 1
            with suppress(SteadywireError), trio.move_on_after(random.uniform(*LIFE_S)) as life:
                url = self.url()
                async with (
                    connect(url, RUN, token=f"dev:guest-{number}", drain_s=1.0) as client,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(_take_all, client)
                    goodbye_at = trio.current_time() + (random.uniform(*LIFE_S) if number % 2 else 3600.0)
                    while trio.current_time() < goodbye_at:
                        await trio.sleep(random.expovariate(1 / PUBLISH_INTERVAL_S))
                        with suppress(SteadywireError):
                            await client.publish("CHAT", {"text": "x" * random.randrange(200)})
                            self.accepted += 1
                    nursery.cancel_scope.cancel()
            del life

    async def witness(self, number: int) -> None:
        url = self.url()
        async with connect(url, RUN, token=f"dev:witness-{number}") as client, trio.open_nursery() as nursery:
            nursery.start_soon(_take_all, client)
            sequence = 0
            while True:
                minute, since = self.minute, time.perf_counter()
                await client.publish("CHAT", {"text": f"{number}: {sequence}"})
                self.waits_ms[minute].append((time.perf_counter() - since) * 1000)
                sequence += 1
                await trio.sleep(WITNESS_INTERVAL_S)


async def _take_all(client: Client) -> None:
    async for _outcome in client:
        pass


async def live(ports: list[int]) -> None:
    """The clients that come and go, until standard input ends; then write their counts. In a process of its own, or decoding
    what a flood makes them receive would delay the witnesses."""
    soak = Soak(ports)
    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            nursery.start_soon(soak.live, number)
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as parent:
            while await parent.receive_some():
                pass
        nursery.cancel_scope.cancel()
    print(json.dumps([soak.lives, soak.accepted]))


async def intrude(kind: str, ports: list[int]) -> None:
    """Flood on a few connections, each opened anew when the server has closed it. In a process of its own."""
    async with trio.open_nursery() as nursery:
        for number in range(FLOOD_CONNECTIONS):
            nursery.start_soon(_flood, kind, ports[number % len(ports)])


async def _flood(kind: str, port: int) -> None:
    while True:
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
                nursery.start_soon(_read_all, stream, nursery.cancel_scope)
                for piece in KINDS[kind]():
                    await stream.send_all(piece)
                    await trio.sleep(0.5 if kind in SLOWLY else 0)
                    if kind in ONE_REQUEST_EACH:
                        break
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.sleep(0.01)


async def _read_all(stream: trio.SocketStream, until: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while await stream.receive_some():
            pass
    until.cancel()


async def _play(soak: Soak, minutes: int) -> list[str]:
    """What happens; returns the kind of flood of each minute."""
    kinds: list[str] = []
    async with trio.open_nursery() as nursery:
        for number in range(2):
            nursery.start_soon(soak.witness, number)
        await trio.sleep(5)
        for minute in range(minutes):
            soak.minute = minute + 1
            kind = list(KINDS)[(minute // 2) % len(KINDS)] if minute % 2 else ""
            kinds.append(kind)
            with ExitStack() as intruder:
                if kind:
                    _start_intruder(kind, soak.ports, intruder)
                await trio.sleep(60)
            print(f"minute {minute + 1:2}: {kind or 'quiet':16} p99 {_p99(soak.waits_ms[minute + 1]):6.1f} ms", flush=True)
        nursery.cancel_scope.cancel()
    return kinds


def _yield_processors() -> None:
    """The intruder stands for another machine: it must not take the processors from the clients that are measured."""
    if hasattr(os, "SCHED_IDLE"):  # Linux: whoever wakes up runs at once; with `nice` he waits for the end of its time slice
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(15)


def _start_intruder(kind: str, ports: list[int], until: ExitStack) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.soak", "--intrude", kind, *map(str, ports)]
    until.callback(until.enter_context(subprocess.Popen(command)).kill)


# ---- the verdict ----


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else float("nan")


def slowed(kinds: list[str], waits_ms: dict[int, list[float]]) -> list[str]:
    """Floods that the witnesses noticed; minutes count from 1."""
    found = []
    for minute, kind in enumerate(kinds, 1):
        quiet = [value for near in (minute - 1, minute + 1) for value in waits_ms.get(near, ())]
        allowed = max(_p99(quiet) * P99_FACTOR_MAX, _p99(quiet) + P99_MS_MAX)
        if kind and not _p99(waits_ms.get(minute, [])) <= allowed:
            found.append(
                f"{kind}: p99 {_p99(waits_ms.get(minute, [])):.1f} ms, {_p99(quiet):.1f} ms in the quiet minutes beside it"
            )
    return found


def grown(samples: list[dict[str, float]]) -> tuple[list[str], list[str]]:
    """A row for each thing that was held, and those that grew."""
    rows, found = [], []
    third = len(samples) // 3
    for name in samples[-1]:
        middle, last = (
            statistics.median(sample.get(name, 0.0) for sample in part)
            for part in (samples[third : 2 * third], samples[2 * third :])
        )
        rows.append(f"| {name} | {middle:.0f} | {last:.0f} | {max(sample.get(name, 0.0) for sample in samples):.0f} |")
        allowed = middle * GROWTH_FACTOR_MAX if name.startswith("memory") else middle * GROWTH_FACTOR_MAX + GROWTH_COUNT_MAX
        if last > allowed and name not in KEPT_TO_A_LIMIT:
            found.append(f"{name}: {middle:.0f}, then {last:.0f}")
    return rows, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=30, help="at least 6")
    parser.add_argument("--store", help="a PostgreSQL database, for two processes (default: a SQLite file, for one)")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--live", nargs="+", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--intrude", nargs="+", metavar=("KIND", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        trio.run(serve, options.serve, options.store)
        return 0
    if options.live is not None:
        trio.run(live, options.live)
        return 0
    if options.intrude is not None:
        _yield_processors()
        trio.run(intrude, options.intrude[0], [int(port) for port in options.intrude[1:]])
    if options.minutes < 6:
        parser.error(f"--minutes {options.minutes}: must be at least 6, or there is nothing to compare")
    with tempfile.TemporaryDirectory(prefix="steadywire-soak-") as folder, ExitStack() as processes:
        store = options.store or f"sqlite:///{folder}/soak.sqlite3"
        ports = free_ports(2 if options.store else 1)
        outputs = [Path(folder) / f"{port}.jsonl" for port in ports]
        servers = [_start(port, store, output, processes) for port, output in zip(ports, outputs, strict=True)]
        _wait_for(ports, servers)
        command = [sys.executable, "-m", "tests.benchmarks.soak", "--live", *map(str, ports)]
        clients = processes.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        processes.callback(clients.terminate)
        soak = Soak(ports)
        kinds = trio.run(_play, soak, options.minutes)
        lives, accepted = json.loads(clients.communicate()[0])
        if any(server.poll() is not None for server in servers):
            print("a server has ended", file=sys.stderr)
            return 1
        found = slowed(kinds, soak.waits_ms)
        print(f"\n{lives} lives of clients, {accepted} of their publishes accepted, {os.getloadavg()[2]:.1f} load\n")
        for output in outputs:
            rows, more = grown([json.loads(line) for line in output.read_text().splitlines()])
            print("| held by a process | second third | last third | most |\n|---|---|---|---|\n" + "\n".join(rows) + "\n")
            found += more
    for line in found:
        print(f"NOT LEVEL {line}")
    return 1 if found else 0


def _start(port: int, store: str, output: Path, processes: ExitStack) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.benchmarks.soak", "--serve", str(port), "--store", store]
    written = processes.enter_context(output.open("wb"))
    log = processes.enter_context(output.with_suffix(".log").open("wb"))
    server = processes.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=written, stderr=log))
    processes.callback(server.terminate)
    return server


def _wait_for(ports: list[int], servers: "list[subprocess.Popen[bytes]]") -> None:
    """Until all of them answer, and the run is made. Raises SystemExit."""
    import urllib.request

    ends = time.monotonic() + 30
    for port in ports:
        while True:
            try:
                asked = urllib.request.Request(
                    f"http://127.0.0.1:{port}/api/runs/{RUN}", method="PUT", headers={"Authorization": "Bearer dev:witness-0"}
                )
                urllib.request.urlopen(asked, timeout=5).close()
                break
            except OSError:
                if time.monotonic() > ends or any(server.poll() is not None for server in servers):
                    raise SystemExit(2) from None
                time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
