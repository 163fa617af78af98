"""The simulator's cost: its messages compared with SimPy's bare events, a reconnect storm, the memory of an idle client.

    .venv/bin/steadywire bench --simulation [--quick] [--seed 1]        # or: .venv/bin/python -m tests.benchmarks.simulation

Each part runs in a process of its own, so that peak memory is that part's. Rates are per second of processor time. They are
compared with a bare SimPy loop that runs in turns with them in the same process: as many timeouts under way as the world has
clients, each with one callback that sets the next. The storm is judged in wall time, as a user waits for it.

A target that is missed makes the exit code 1. With --quick everything is smaller: the storm's targets are not claimed for
it then, since the cost of a client grows a little with their number; its figures are printed.
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import simpy

from reference.protocol.config import ServerConfig
from reference.protocol.states import ClientState
from reference.protocol.timers import ns
from simulation.clock import ALARM, Call
from simulation.scenario.faults import Reset
from simulation.scenario.scenario import Group, Scenario, ServerPart
from simulation.scenario.workload import RecordedTimes, Stream, Workload
from simulation.trace.trace import SessionJoined
from simulation.world import World

RATIO_MIN = 0.10
STORM_S_MAX, STORM_MIB_MAX = 120.0, 2048.0
IDLE_BYTES_MAX = 8192.0
LINEAR_WITHIN = 0.30
NOTHING = Workload(graft_per_s=0, prune_per_s=0, flag_per_s=0, chat_per_s=0, cursor_per_s=0)
ROUNDS = 3
JOINED_AFTER_S = 1.5
"""Everyone has arrived within a second, and has been welcomed half a second later."""


@dataclass(frozen=True)
class Size:
    """How large the parts are."""

    clients: int
    seconds: float
    storm: int
    idle: int
    bare_events: int


FULL = Size(clients=1000, seconds=10.0, storm=100_000, idle=10_000, bare_events=400_000)
QUICK = Size(clients=1000, seconds=3.0, storm=5_000, idle=2_000, bare_events=200_000)


@dataclass(frozen=True)
class Figure:
    """One line of the table. `ratio`: to the bare rate. `met`: None if no target is claimed."""

    name: str
    value: str
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


# The worlds.


def large(clients: int, **settings: float) -> ServerPart:
    """A server for so many in one run. Presence is off: to tell everyone of everyone costs the square of their number."""
    limits = {"connections_per_run_max": clients + 1, "sessions_per_run_max": clients + 1, "presence_users_max": 0}
    return ServerPart(config=ServerConfig(**(limits | settings)))  # type: ignore[arg-type] # numbers, as the fields want them


def steady(clients: int, seconds: float, seed: int) -> Scenario:
    """Everyone reads what some write: ten events a second, each to every client, with acknowledgements and pings."""
    return Scenario(
        name="steady",
        seed=seed,
        horizon_s=JOINED_AFTER_S + seconds,
        settle_s=0.0,
        groups=(Group(name="client", clients=clients),),
        workload=msgspec.structs.replace(NOTHING, graft_per_s=2 / clients, chat_per_s=8 / clients),
        server=large(clients),
    )


def storm(clients: int, seed: int) -> Scenario:
    """All but one join with a snapshot and ten events, are cut in one instant, back off over ten seconds, and are each replayed
    the ten events that the one who was not cut made in the first tenth of a second."""
    times_s = (*(0.5 + 0.01 * k for k in range(10)), *(20.001 + 0.01 * k for k in range(10)))
    author = msgspec.structs.replace(NOTHING, chat=Stream(timing=RecordedTimes(times_s=times_s)))
    return Scenario(
        name="storm",
        seed=seed,
        horizon_s=21.0,
        settle_s=14.0,
        record="histograms",
        sample_interval_s=5.0,
        groups=(
            Group(name="author", arrive_within_s=0.0, workload=author),
            Group(name="reader", clients=clients - 1, arrive_within_s=10.0),
        ),
        workload=NOTHING,
        faults=(Reset(at_s=20.0, clients=("reader",)),),
        server=large(clients, first_spread_s=10.0),
    )


def idle(clients: int, seed: int) -> Scenario:
    """Welcomed, live, and nothing going on."""
    return Scenario(
        name="idle",
        seed=seed,
        horizon_s=8.0,
        settle_s=0.0,
        record="histograms",
        groups=(Group(name="client", clients=clients),),
        workload=NOTHING,
        server=large(clients),
    )


# What is measured.


def bare_rate(under_way: int, events: int) -> float:
    """Timeouts with one callback that SimPy handles in a second of processor time, so many of them always under way."""
    environment = simpy.Environment()
    left = events

    def happen(_: simpy.Event) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            environment.timeout(1000).callbacks.append(happen)

    for delay in range(under_way):
        environment.timeout(delay).callbacks.append(happen)
    began = time.process_time()
    environment.run()
    return (events + under_way) / (time.process_time() - began)


def message_rate(scenario: Scenario) -> tuple[float, int]:
    """Frames that reach a protocol machine in a second of processor time, and how many there were, once everyone has joined."""
    world = World(scenario)
    joined: list[tuple[float, int]] = []
    Call(world.clock, ns(JOINED_AFTER_S), ALARM, lambda _: joined.append((time.process_time(), world.frames)))
    world.run()
    ((began, frames),) = joined
    messages = world.frames - frames
    return messages / (time.process_time() - began), messages


def measure_rates(size: Size, seed: int) -> dict[str, float]:
    bare, rates, rates_of_ten = [bare_rate(size.clients, size.bare_events)], [], []
    messages = messages_of_ten = 0
    for turn in range(ROUNDS):
        rate, messages = message_rate(steady(size.clients, size.seconds, seed))
        rates.append(rate)
        bare.append(bare_rate(size.clients, size.bare_events))
        if turn == 0 or size is FULL:
            rate, messages_of_ten = message_rate(steady(size.clients, 10 * size.seconds, seed))
            rates_of_ten.append(rate)
    return {
        "bare": statistics.median(bare),
        "rate": statistics.median(rates),
        "messages": messages,
        "rate_of_ten": statistics.median(rates_of_ten),
        "messages_of_ten": messages_of_ten,
    }


def measure_storm(size: Size, seed: int) -> dict[str, float]:
    began, began_cpu = time.perf_counter(), time.process_time()
    world = World(storm(size.storm, seed))
    result = world.run()
    took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    returns = [record for record in result.trace if isinstance(record, SessionJoined) and record.is_return]
    head = len(world.store.entries)
    whole = sum(
        client.session.state is ClientState.LIVE and client.session.position[1] == head for client in world.clients.values()
    )
    return {
        "seconds": took,
        "cpu": took_cpu,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "messages": world.frames,
        "bare": bare_rate(size.clients, size.bare_events),
        "returned": len(returns),
        "replayed": sum(record.replayed for record in returns),
        "whole": whole,
    }


def measure_idle(size: Size, seed: int) -> dict[str, float]:
    """The difference between a world with all clients and one with a hundred, when everyone is live; one of few has run before,
    for what is made once."""
    World(idle(10, seed)).run()
    held = {}
    for clients in (100, size.idle):
        gc.collect()
        tracemalloc.start()
        world = World(idle(clients, seed))
        world.run()
        gc.collect()
        held[clients] = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        live = sum(client.session.state is ClientState.LIVE for client in world.clients.values())
        assert live == clients, f"{live} of {clients} are live"
        del world
    return {"bytes": (held[size.idle] - held[100]) / (size.idle - 100)}


PARTS: dict[str, Callable[[Size, int], dict[str, float]]] = {
    "rates": measure_rates,
    "storm": measure_storm,
    "idle": measure_idle,
}


# What is made of it.


def figures_of(rates: dict[str, float], storm: dict[str, float], idle: dict[str, float], size: Size) -> list[Figure]:
    """The lines of the table."""
    bare = rates["bare"]
    ratio = rates["rate"] / bare
    cost = rates["rate"] / rates["rate_of_ten"]
    more = rates["messages_of_ten"] / rates["messages"]
    is_whole = storm["whole"] == size.storm and storm["returned"] == size.storm - 1 and storm["replayed"] >= size.storm
    claims = size is FULL
    return [
        Figure("bare SimPy: timeouts with a callback", f"{bare:,.0f} /s", 1.0),
        Figure(
            f"protocol messages, {size.clients:,} clients",
            f"{rates['rate']:,.0f} /s",
            ratio,
            f"ratio >= {RATIO_MIN:g}",
            ratio >= RATIO_MIN,
        ),
        Figure(
            f"cost of a message when there are {more:.1f} times as many",
            f"{cost:.2f} times",
            None,
            f"{1 - LINEAR_WITHIN:g} to {1 + LINEAR_WITHIN:g}",
            abs(cost - 1) <= LINEAR_WITHIN,
        ),
        Figure(
            f"storm of {size.storm:,} clients: cut, backoff, hello, welcome, replay",
            f"{storm['seconds']:.1f} s ({storm['messages']:,.0f} messages, {storm['cpu']:.1f} s of processor)",
            storm["messages"] / storm["cpu"] / storm["bare"],
            f"<= {STORM_S_MAX:g} s" if claims else "",
            storm["seconds"] <= STORM_S_MAX if claims else None,
        ),
        Figure(
            "  peak memory of its process",
            f"{storm['mib']:,.0f} MiB",
            None,
            f"<= {STORM_MIB_MAX:,.0f} MiB" if claims else "",
            storm["mib"] <= STORM_MIB_MAX if claims else None,
        ),
        Figure("  everyone is back, live, at the head, by a resume", "yes" if is_whole else "no", None, "yes", is_whole),
        Figure(
            f"memory of an idle client, of {size.idle:,}",
            f"{idle['bytes']:,.0f} bytes",
            None,
            f"< {IDLE_BYTES_MAX:,.0f}",
            idle["bytes"] < IDLE_BYTES_MAX,
        ),
    ]


def table(figures: list[Figure]) -> str:
    rows = [("figure", "measured", "to bare", "target", "met")]
    for each in figures:
        met = "" if each.met is None else "yes" if each.met else "NO"
        rows.append((each.name, each.value, "" if each.ratio is None else f"{each.ratio:.3f}", each.target, met))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def in_a_process(part: str, quick: bool, seed: int) -> dict[str, float]:
    """Run one part by itself. Raises CalledProcessError."""
    command = [sys.executable, "-m", "tests.benchmarks.simulation", "--part", part, "--seed", str(seed)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command + ["--quick"] * quick, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller, in under a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", choices=list(PARTS), help="run one part here, and print what it measured as JSON")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](size, arguments.seed)))
        return 0
    print(f"seed {arguments.seed}, Python {sys.version.split()[0]}, SimPy {simpy.__version__}", flush=True)
    measured = {part: in_a_process(part, arguments.quick, arguments.seed) for part in PARTS}
    figures = figures_of(measured["rates"], measured["storm"], measured["idle"], size)
    print(table(figures))
    return 1 if any(each.met is False for each in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
