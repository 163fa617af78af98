"""The server's cost compared with its peers: fan-out, publishing, reconnecting after an outage, idle connections.

    .venv/bin/steadywire bench --server [--quick]
    .venv/bin/steadywire bench --server --markdown docs/performance.md
    .venv/bin/python -m tests.benchmarks.server [--rounds 5] [--out DIR] [--only WORD] [--markdown PAGE] [--postgresql URL]
    .venv/bin/python -m tests.benchmarks.server --only WORD --profile

The peers are the same room on `websockets`, python-socketio and, where Node is there with the packages `socket.io` and `ws`, on
these. They have no numbers to resume from but the least that the work needs, and no guarantees. Ours has all of its own on:
durable before visible, dedupe, presence, heartbeats, authentication, limits, metrics; and its readers acknowledge as our client
does. All take turns in one run, each time with a fresh server, in the opposite order every second round. The load generator
(`load`) is a process of its own that checks every delivery. Only ratios within one run mean anything, on a quiet machine.

With --profile our server alone does each work once, and where its processor time went is printed (`profiled`).

The figures are written as Markdown and CSV, with a drawing of the ratios. Exit code 1 if a delivery was missing, doubled or out
of order; a ratio that misses its goal is shown as such and is not an error.
"""

import argparse
import csv
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"
"""What stands between them in a page is written anew."""
START_S_MAX = 20.0
LOAD_S_MAX = 180.0
LIMITS = """
connections_per_user_max = 20000
requests_per_user_per_s_max = 1000000
upgrades_per_user_per_s_max = 1000000
runs_per_user_per_minute_max = 1000000
[protocol]
publishes_per_s = 1000000
publish_burst = 1000000
publish_bytes_per_s = 1000000000
publish_bytes_burst = 1000000000
frames_per_s = 10000000
frame_burst = 10000000
clients_per_user_max = 20000
clients_per_run_max = 20000
[door]
connections_max = 20000
[listening]
backlog_connections = 4096
"""
"""What one load generator for all clients would trip over."""


@dataclass(frozen=True)
class Peer:
    """A server to be measured. `command` may contain {port} and {folder}."""

    name: str
    command: tuple[str, ...]
    speaks: str
    is_ours: bool = False


@dataclass(frozen=True)
class Work:
    """What is done to a server. `measure` is judged against `base`: at least `goal` times it, or at most; where `also` is named,
    against that as well; a goal with a unit is one of `subject` alone."""

    name: str
    arguments: tuple[str, ...]
    measure: str
    peers: tuple[str, ...]
    subject: str = "steadywire, memory"
    base: str = "websockets"
    also: str = ""
    goal: str = ""


def _ours(name: str, store: str) -> Peer:
    command = (sys.executable, "-m", "simulation.cli", "serve", "--config", "{folder}/limits.toml", "--port", "{port}")
    return Peer(name, (*command, "--store", store), "steadywire", is_ours=True)


MEMORY, SQLITE, POSTGRESQL = "steadywire, memory", "steadywire, SQLite", "steadywire, PostgreSQL"
WEBSOCKETS, WEBSOCKETS_SQLITE = "websockets", "websockets, SQLite"
PYTHON_SOCKETIO, SOCKETIO, WS = "python-socketio", "Socket.IO", "ws"
ALL = (MEMORY, WEBSOCKETS, PYTHON_SOCKETIO, SOCKETIO, WS)
_FLAT, _RATE, _AT_ONCE = "deliveries_per_s", "cpu_s_per_s", "cpu_s"
UNITS = {
    _FLAT: "deliveries/s",
    _RATE: "processor s per s",
    _AT_ONCE: "processor s",
    "seconds": "s",
    "kib_per_connection": "KiB",
    "p99_ms": "ms",
}
"""Of each measure."""
WORKS = (
    Work("fan-out, 1000 readers, flat out", ("fan_out", "--readers", "1000"), _FLAT, ALL, also=SOCKETIO, goal=">= 20"),
    Work("fan-out, 100 readers, flat out", ("fan_out", "--readers", "100"), _FLAT, ALL, also=SOCKETIO, goal=">= 6"),
    Work(
        "one event under way, 100 readers",
        ("fan_out", "--readers", "100", "--window", "1"),
        _FLAT,
        ALL,
        also=SOCKETIO,
        goal=">= 0.95",
    ),
    Work(
        "one event under way, 100 readers, stored",
        ("fan_out", "--readers", "100", "--window", "1"),
        _FLAT,
        (SQLITE, WEBSOCKETS_SQLITE, WEBSOCKETS),
        subject=SQLITE,
        base=WEBSOCKETS_SQLITE,
        goal=">= 1",
    ),
    Work("publishing, 1 publisher", ("fan_out", "--readers", "1"), _FLAT, ALL, goal=">= 1"),
    Work(
        "publishing, 1 publisher, stored",
        ("fan_out", "--readers", "1"),
        _FLAT,
        (SQLITE, POSTGRESQL, MEMORY),
        subject=SQLITE,
        base=MEMORY,
        goal=">= 0.7",
    ),
    Work(
        "publishing, 50 publishers",
        ("fan_out", "--readers", "1", "--publishers", "50", "--window", "100"),
        _FLAT,
        ALL,
        goal=">= 1",
    ),
    Work("500 clients back after 200 events, s", ("resume", "--readers", "500"), "seconds", ALL, also=SOCKETIO, goal="<= 0.2"),
    Work("2000 connections, processor s", ("idle", "--readers", "2000"), _AT_ONCE, ALL, goal="<= 1"),
    Work("2000 connections, KiB each", ("idle", "--readers", "2000"), "kib_per_connection", ALL, goal="<= 12 KiB"),
    Work("100 readers, 50 events/s, processor", ("fan_out", "--readers", "100", "--rate", "50"), _RATE, ALL, goal="<= 1"),
    Work("100 readers, 50 events/s, p99", ("fan_out", "--readers", "100", "--rate", "50"), "p99_ms", ALL, goal="<= 1.1"),
    Work("1000 readers, 5 events/s, processor", ("fan_out", "--readers", "1000", "--rate", "5"), _RATE, ALL, goal="<= 1"),
    Work("1000 readers, 5 events/s, p99", ("fan_out", "--readers", "1000", "--rate", "5"), "p99_ms", ALL, goal="<= 1.1"),
)
"""Those with the same arguments are measured once."""


def peers(postgresql: str | None) -> dict[str, Peer]:
    """Those that can run here."""
    found = [_ours(MEMORY, "memory:"), _ours(SQLITE, "sqlite:///{folder}/ours.sqlite3")]
    if postgresql is not None:
        found.append(_ours(POSTGRESQL, postgresql))
    python = (sys.executable, "-m")
    if find_spec("websockets") is not None:
        module = "tests.benchmarks.peers.websockets_server"
        found.append(Peer(WEBSOCKETS, (*python, module, "{port}"), "json"))
        found.append(Peer(WEBSOCKETS_SQLITE, (*python, module, "{port}", "sqlite", "{folder}/theirs.sqlite3"), "json"))
    if find_spec("socketio") is not None and find_spec("aiohttp") is not None:
        found.append(Peer(PYTHON_SOCKETIO, (*python, "tests.benchmarks.peers.socketio_server", "{port}"), "socketio"))
    for name, package, speaks in ((SOCKETIO, "socket.io", "socketio"), (WS, "ws", "json")):
        script = str(HERE / "peers" / f"{speaks if name == SOCKETIO else 'ws'}_server.js")
        if shutil.which("node") and subprocess.run(["node", "-e", f"require('{package}')"], capture_output=True).returncode == 0:
            found.append(Peer(name, ("node", script, "{port}"), speaks))
    return {peer.name: peer for peer in found}


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[tuple[int, int]]:
    """A fresh server; its port and process id."""
    for file in folder.glob("*.sqlite3*"):
        file.unlink()
    (folder / "limits.toml").write_text(LIMITS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.format(port=port, folder=folder) for part in peer.command]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=HERE.parents[1])
    try:
        ends = time.monotonic() + START_S_MAX
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > ends:
                    raise SystemExit(f"{peer.name} did not start: see {folder / 'server.log'}") from None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(
    peer: Peer, arguments: tuple[str, ...], folder: Path, seconds: float, *, is_profiled: bool = False
) -> dict[str, float]:
    """One run of one work against a fresh server. `is_profiled`: it is started by `profiled`."""
    room = str(uuid.uuid4())
    with running(peer, folder) as (port, pid):
        if peer.is_ours:
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            link.request("PUT", f"/api/runs/{room}", headers={"Authorization": "Bearer dev:load"})
            assert link.getresponse().status == 201, "the run is made"
            link.close()
        if is_profiled:
            os.kill(pid, signal.SIGUSR1)
        command = [sys.executable, "-m", "tests.benchmarks.load", *arguments, "--speaks", peer.speaks, "--port", str(port)]
        command += ["--pid", str(pid), "--room", room, *(["--seconds", str(seconds)] if arguments[0] == "fan_out" else [])]
        done = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=LOAD_S_MAX, check=False)
    if done.returncode:
        print(f"  {peer.name}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return {"faults": 1.0}
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def profile(works: list[Work], here: dict[str, Peer], seconds: float) -> None:
    """Print for each work where the processor time of its subject goes, from the beginning of the load on."""
    with tempfile.TemporaryDirectory() as folder:
        for arguments, name in dict.fromkeys((work.arguments, work.subject) for work in works if work.subject in here):
            python, option, _, *rest = here[name].command
            profiled = (python, option, "tests.benchmarks.profiled", "{folder}/profile", *rest)
            found = measure(replace(here[name], command=profiled), arguments, Path(folder), seconds, is_profiled=True)
            print(f"{' '.join(arguments)}: {name}: {found}")
            print((Path(folder) / "profile").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Row:
    """One work: the median of each peer, and the ratios of ours to its bases, round by round."""

    work: Work
    medians: dict[str, float]
    ratios: tuple[float, ...]
    also: tuple[float, ...] = ()

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None if it cannot be said."""
        if self.ratio is None or not self.work.goal:
            return None
        sign, goal, *unit = self.work.goal.split()
        judged = [self.medians[self.work.subject]] if unit else [self.ratio]
        if self.also and not unit:
            judged.append(statistics.median(self.also))
        return all(value >= float(goal) if sign == ">=" else value <= float(goal) for value in judged)


Results = dict[tuple[tuple[str, ...], str], list[dict[str, float]]]


def rows_of(results: Results) -> list[Row]:
    """What the results say, work by work."""
    rows = []
    for work in WORKS:
        values = {
            name: [each[work.measure] for each in results[work.arguments, name] if work.measure in each] for name in work.peers
        }
        medians = {name: statistics.median(those) for name, those in values.items() if those}
        ratios, also = (_ratios(values.get(work.subject, []), values.get(base, [])) for base in (work.base, work.also))
        rows.append(Row(work, medians, ratios, also))
    return rows


def markdown(rows: list[Row], rounds: int) -> str:
    """The table, with what was measured and where."""
    lines = [
        f"Medians of {rounds} rounds, {time.strftime('%Y-%m-%d')}: {os.cpu_count()} processors, Python {sys.version.split()[0]}.",
        "The ratio is ours to its base, with its range over the rounds; to Socket.IO as well, where the goal is for both.",
        "",
        "| work | ratio | to Socket.IO | goal | met | medians |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        work = row.work
        medians = f"{UNITS[work.measure]}: " + "; ".join(f"{name} {_shown(value)}" for name, value in row.medians.items())
        met = {True: "yes", False: "no", None: "-"}[row.is_met]
        lines.append(f"| {work.name} | {_spread(row.ratios)} | {_spread(row.also)} | {work.goal} | {met} | {medians} |")
    return "\n".join(lines) + "\n"


def _shown(value: float) -> str:
    """Four digits: 1,793,000 and 0.2351."""
    return f"{float(f'{value:.4g}'):,.0f}" if value >= 1000 else f"{value:.4g}"


def _ratios(ours: list[float], theirs: list[float]) -> tuple[float, ...]:
    return tuple(our / their for our, their in zip(ours, theirs, strict=False) if their)


def _spread(ratios: tuple[float, ...]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if ratios else "-"


def write_into(page: Path, table: str) -> None:
    """Put the table between the marks of the page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} needs the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{table}\n{END}{after}", encoding="utf-8")


def write(rows: list[Row], results: Results, rounds: int, out: Path) -> None:
    """Everything, to files."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "server.md").write_text(markdown(rows, rounds), encoding="utf-8")
    with (out / "server.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["work", "peer", "round", "measure", "value"])
        for (arguments, name), runs in results.items():
            for number, run in enumerate(runs):
                table.writerows([" ".join(arguments), name, number, measured, value] for measured, value in run.items())
    shown = [row for row in rows if row.ratio is not None]
    figure = Figure(figsize=(8, 0.4 * len(shown) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh([row.work.name for row in shown], [row.ratio or 0.0 for row in shown])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("ours, as a multiple of its base")
    axes.invert_yaxis()
    figure.savefig(out / "server.svg")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the server beside its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each fan-out")
    parser.add_argument("--quick", action="store_true", help="one round of one second: to see that it runs")
    parser.add_argument("--postgresql", help="URL of a database for the rows that store; left out without")
    parser.add_argument("--only", help="works whose name contains this")
    parser.add_argument("--profile", action="store_true", help="of our server alone: where its processor time goes, and no table")
    parser.add_argument("--markdown", type=Path, help="a page into which the table is written, between its marks")
    parser.add_argument("--out", type=Path, default=Path("bench-server"))
    options = parser.parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    here = peers(options.postgresql)
    works = [work for work in WORKS if options.only is None or options.only in work.name]
    if options.profile:
        profile(works, here, seconds)
        return 0
    missing = sorted({name for work in works for name in work.peers} - set(here))
    print(f"not here: {', '.join(missing) or 'nothing'}", file=sys.stderr)
    asked = dict.fromkeys((work.arguments, name) for work in works for name in work.peers if name in here)
    results: Results = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for arguments, name in list(asked) if number % 2 == 0 else reversed(list(asked)):
                print(f"round {number + 1}: {' '.join(arguments)}: {name}", file=sys.stderr)
                results[arguments, name].append(measure(here[name], arguments, Path(folder), seconds))
    rows = [row for row in rows_of(results) if row.work in works]
    write(rows, results, rounds, options.out)
    print(markdown(rows, rounds))
    if options.markdown is not None:
        write_into(options.markdown, markdown(rows, rounds))
    print(f"written to {options.out}", file=sys.stderr)
    wrong = [key for key, runs in results.items() if any(run.get("faults") or run.get("missing") for run in runs)]
    for arguments, name in wrong:
        print(f"DELIVERIES WRONG: {' '.join(arguments)}: {name}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
