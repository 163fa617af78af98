"""Commands that play with real processes, and measure this machine."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators


def demo(
    *,
    clients: Annotated[int, Parameter(validator=validators.Number(gte=2, lte=200))] = 20,
    seconds: Annotated[float | None, Parameter(validator=validators.Number(gte=5, lte=3600))] = None,
    seed: int = 1,
    report: Path | None = None,
    trace: Path | None = None,
    faults: Annotated[bool, Parameter(negative="--no-faults")] = True,
    web: Annotated[bool, Parameter(negative="")] = False,
    open_browser: Annotated[bool, Parameter(name="--open", negative="--no-open")] = True,
) -> int:
    """Run a real server and real clients, break their network in several ways, and check that nothing was lost.

    Parameters
    ----------
    clients
        How many clients take part.
    seconds
        How long they work, before all is given time to settle (default: 20, with --web 60).
    seed
        The same seed gives the same fault schedule.
    report
        Write the figures to this JSON file.
    trace
        Write everything that happened to this file, as JSON lines; `steadywire what-if` plays it again.
    faults
        Break the network and kill the server; without, everything just works.
    web
        Open the server's admin view in the browser, and print its address: connections, health and reconnections, live.
    open_browser
        With --web, open the browser; --no-open only prints the address, for machines without one.
    """
    from simulation.cli.demo import demo_command

    return demo_command(
        clients=clients,
        seconds=seconds,
        seed=seed,
        report=report,
        trace=trace,
        faults=faults,
        web=web,
        opens_browser=open_browser,
    )


def fidelity(
    *scenarios: str,
    seed: int | None = None,
    costs: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
) -> int:
    """Simulate scenarios, play the same with real processes, and compare the two as distributions. Takes real minutes.

    Parameters
    ----------
    scenarios
        Names of provided scenarios (steady, outages, server_restart, fallback) or TOML files; all provided ones without any.
    seed
        Instead of the scenarios' own seeds.
    costs
        What `steadywire calibrate` wrote; without it this machine is calibrated first.
    json
        Write all figures to this file.
    markdown
        Write the table to this file.
    """
    from simulation.cli.fidelity import fidelity_command

    return fidelity_command(scenarios, seed=seed, costs=costs, json=json, markdown=markdown)


def calibrate(*, seed: int = 1, out: Path = Path("costs.toml")) -> int:
    """Fit what a frame, a delivery, a connection and a commit cost on this machine, from half a minute of real processes.

    Parameters
    ----------
    seed
        Of the two runs that are played.
    out
        The file to write; `steadywire fidelity --costs` reads it.
    """
    from simulation.cli.fidelity import calibrate_command

    return calibrate_command(seed=seed, out=out)


def bench(
    *,
    simulation: Annotated[bool, Parameter(negative="")] = False,
    server: Annotated[bool, Parameter(negative="")] = False,
    quick: Annotated[bool, Parameter(negative="")] = False,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 1,
) -> int:
    """Measure how fast this is on this machine, as ratios; exit 1 if a target is missed. Needs a checkout of the source.

    Parameters
    ----------
    simulation
        The simulator: messages against SimPy's bare events, a reconnect storm of 100,000 clients, the memory of an idle one.
    server
        The server: deliveries to 1000 readers against the bare push of the same bytes.
    quick
        Smaller, in under a minute; the storm has 5,000 clients, and its targets are not claimed.
    seed
        Of the simulated worlds.
    """
    from simulation.cli.bench import bench_command

    return bench_command(simulation=simulation, server=server, quick=quick, seed=seed)
