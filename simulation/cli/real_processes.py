"""Commands that run real processes or measure this machine."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from reference.cli.runner import FINITE, FLAG, MANY, WHOLE, Seed


def demo(
    *,
    clients: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=2, lte=200))] = 20,
    seconds: Annotated[float | None, FINITE, Parameter(validator=validators.Number(gte=5, lte=3600))] = None,
    seed: Seed = 1,
    report: Path | None = None,
    trace: Path | None = None,
    no_faults: Annotated[bool, FLAG] = False,
    web: Annotated[bool, FLAG] = False,
    no_open: Annotated[bool, FLAG] = False,
) -> int:
    """Run a real server and real clients, break their network in several ways, and check that nothing is lost.

    Parameters
    ----------
    clients
        Number of clients, 2 to 200.
    seconds
        How long the clients work, in seconds, 5 to 3600 (default: 20; with --web 60). Some seconds to settle come on top.
    seed
        Seed of the plan: paths, workload and faults.
    report
        Write the figures to this JSON file.
    trace
        Write every record of the run to this file, as JSON lines; `steadywire what-if` can simulate it again.
    no_faults
        Do not break the network or kill the server.
    web
        Open the server's admin view in the browser and print its address: connections, health and reconnections, live.
    no_open
        With --web: only print the address, for machines without a browser.
    """
    from simulation.cli.demo import demo_command

    return demo_command(
        clients=clients,
        seconds=seconds,
        seed=seed,
        report=report,
        trace=trace,
        faults=not no_faults,
        web=web,
        opens_browser=not no_open,
    )


def proxy(
    *,
    to: str,
    listen: str = "127.0.0.1:9000",
    control: str | None = None,
    scenario: str | None = None,
    group: str | None = None,
    changes: Annotated[tuple[str, ...], Parameter(name="--set"), MANY] = (),
    seed: Seed = 1,
) -> int:
    """Give any TCP client and server a bad network: a proxy between them, until SIGINT or SIGTERM.

    Parameters
    ----------
    to
        HOST:PORT of the server that the proxy connects to.
    listen
        HOST:PORT to listen on for clients (port 0 picks a free one).
    control
        HOST:PORT for an HTTP API that reads and changes the path and injects faults, such as 127.0.0.1:9001 (default: no API). It
        has no authentication.
    scenario
        Use the path, the faults and the availability of a scenario: a file, or a name that `steadywire scenarios` lists.
    group
        With --scenario: the group of the scenario whose client is imitated (default: the first).
    changes
        Set a field of the path, such as --set latency_s=0.2 or --set loss=0.01. Repeatable.
    seed
        Seed of jitter and loss.
    """
    from simulation.cli.changes import change_of
    from simulation.processes.proxy import proxy_command

    return proxy_command(
        to=to, listen_at=listen, control=control, scenario=scenario, group=group, changes=dict(map(change_of, changes)), seed=seed
    )


def fidelity(
    *scenarios: str,
    seed: Seed | None = None,
    costs: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
    keep: Path | None = None,
    repeat: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=1, lte=100))] = 1,
    busy_too: Annotated[bool, FLAG] = False,
) -> int:
    """Run scenarios in the simulator and with real processes, and compare the distributions; exit code 1 if one differs.

    All provided scenarios take about nine minutes, on a quiet machine.

    Parameters
    ----------
    scenarios
        Provided scenarios (steady, outages, server_restart, fallback, killed_in_outage, snapshot) or TOML files (default: all
        provided ones).
    seed
        Seed of all randomness (default: each scenario's own).
    costs
        File written by `steadywire calibrate` (default: this machine is calibrated first).
    json
        Write all figures to this file.
    markdown
        Write the table to this file.
    keep
        Folder for the two traces, the scenario and a figure of both distributions of each run; created if missing.
    repeat
        How many times each scenario is run.
    busy_too
        Run also if the machine is busy. Differences of such a run are printed, and do not count.
    """
    from simulation.cli.fidelity import fidelity_command

    return fidelity_command(
        scenarios, seed=seed, costs=costs, json=json, markdown=markdown, keep=keep, repeat=repeat, busy_too=busy_too
    )


def calibrate(*, seed: Seed = 1, out: Path = Path("costs.toml")) -> int:
    """Measure the cost of a frame, a delivery, a connection and a commit on this machine. Takes about two minutes.

    Parameters
    ----------
    seed
        Seed of the measured runs.
    out
        File to write; `steadywire fidelity --costs` reads it.
    """
    from simulation.cli.fidelity import calibrate_command

    return calibrate_command(seed=seed, out=out)


def bench(
    *,
    simulation: Annotated[bool, FLAG] = False,
    server: Annotated[bool, FLAG] = False,
    quick: Annotated[bool, FLAG] = False,
    seed: Seed = 1,
    markdown: Path | None = None,
    postgresql: str | None = None,
) -> int:
    """Measure the speed on this machine, as ratios; exit code 1 if a target is missed. Needs a source checkout.

    Parameters
    ----------
    simulation
        Measure the simulator: messages against SimPy's bare events, a storm of 100,000 reconnects, memory of an idle client.
    server
        Measure the server beside `websockets`, python-socketio and, with Node, Socket.IO and ws; takes about an hour.
    quick
        Smaller runs. With --simulation under a minute: a storm of 5,000 clients, whose targets are not judged. With --server one
        short round.
    seed
        With --simulation: seed of the simulated worlds.
    markdown
        With --server: also write the table into this page, between the marks that docs/performance.md has.
    postgresql
        With --server: URL of the database for the rows that store in PostgreSQL (default: no such rows).
    """
    from simulation.cli.bench import bench_command

    return bench_command(simulation=simulation, server=server, quick=quick, seed=seed, markdown=markdown, postgresql=postgresql)
