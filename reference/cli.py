"""The command line. Each command lives where its work is done; here they only get their names and options.

Exit codes: 0 all is well, 1 the work was done and a guarantee did not hold, 2 it could not be done as asked (one line says why).
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter, validators

app = App(
    name="steadywire",
    help="Real-time connections that survive bad networks, and a laboratory to study and tune them offline.",
    version=version("steadywire"),
)

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]


@app.command
def demo(
    *,
    clients: Annotated[int, Parameter(validator=validators.Number(gte=2, lte=200))] = 20,
    seconds: Annotated[float, Parameter(validator=validators.Number(gte=5, lte=3600))] = 20.0,
    seed: int = 1,
    report: Path | None = None,
    trace: Path | None = None,
    faults: Annotated[bool, Parameter(negative="--no-faults")] = True,
) -> int:
    """Run a real server and real clients, break their network in several ways, and check that nothing was lost.

    Parameters
    ----------
    clients
        How many clients take part.
    seconds
        How long they work, before all is given time to settle.
    seed
        The same seed gives the same fault schedule.
    report
        Write the figures to this JSON file.
    trace
        Write everything that happened to this file, as JSON lines; `steadywire what-if` plays it again.
    faults
        Break the network and kill the server; without, everything just works.
    """
    from reference.demo.command import demo_command

    return demo_command(clients=clients, seconds=seconds, seed=seed, report=report, trace=trace, faults=faults)


@app.command
def serve(
    *,
    config: Path | None = None,
    host: str | None = None,
    port: Port | None = None,
    store: str | None = None,
    advertise: str | None = None,
    secret_file: Path | None = None,
    public_key_file: tuple[Path, ...] | None = None,
    allowed_origin: tuple[str, ...] | None = None,
    log_json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serve WebSocket and HTTP on one port until SIGINT or SIGTERM.

    Parameters
    ----------
    config
        A TOML file with any of the settings of docs/operations.md; what is given here goes before it.
    host
        The address to listen on, 127.0.0.1 without. Without a secret only loopback is allowed.
    port
        The port, 8765 without; 0 takes a free one.
    store
        Where events are kept: sqlite:///FILE (sqlite:///steadywire.sqlite3 without), postgresql://USER@HOST/DATABASE, or memory:
        to lose them with the process. Several servers may share one PostgreSQL database.
    advertise
        HOST:PORT at which the other servers on the same database reach this one; without, the address it listens on.
    secret_file
        A file with the HS256 secret that signs the tokens. Without a secret or key, the token dev:NAME stands for the user NAME.
    public_key_file
        A file with a public key in PEM that verifies tokens, RS256 or ES256; its name without .pem is the key's name (kid).
        May be given several times.
    allowed_origin
        A web page's origin that may talk to this server, such as https://app.example.org. May be given several times.
    log_json
        Write the log as JSON, as it is written anyhow when it does not go to a terminal.
    """
    from reference.server.command import serve_command

    return serve_command(
        config=config,
        log_json=log_json,
        host=host,
        port=port,
        store=store,
        advertise=advertise,
        secret_file=secret_file,
        public_key_files=public_key_file,
        allowed_origins=allowed_origin,
    )


@app.command
def token(
    *,
    user: str,
    secret_file: Path,
    runs: tuple[str, ...] = (),
    role: Literal["member", "admin"] = "member",
    ttl: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=31_536_000))] = 3600,
) -> int:
    """Print a token for a user, for development; in production, whoever knows the users makes them.

    Parameters
    ----------
    user
        Whom the token names.
    secret_file
        The file with the secret that the server was given.
    runs
        The runs that its holder may enter; all, without.
    role
        An admin may enter every run, and use /api/admin.
    ttl
        How long it is good, in seconds.
    """
    from reference.server.command import token_command

    return token_command(user=user, secret_file=secret_file, runs=runs, role=role, ttl_s=ttl)


migrate = App(name="migrate", help="Make, remove or compare the tables of a store.")
app.command(migrate)

StoreUrl = Annotated[str, Parameter(help="sqlite:///FILE, or postgresql://USER@HOST/DATABASE.")]


@migrate.command
def up(*, store: StoreUrl) -> int:
    """Make the tables, or bring them up to date; `serve` does it by itself."""
    from reference.store.command import migrate_command

    return migrate_command("up", store)


@migrate.command
def down(*, store: StoreUrl, yes: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Remove the tables, and every run in them.

    Parameters
    ----------
    yes
        Needed, because the events are gone then.
    """
    from reference.store.command import migrate_command

    return migrate_command("down", store, is_sure=yes)


@migrate.command
def check(*, store: StoreUrl) -> int:
    """Say in what the tables differ from those of this program; exit code 1 if in anything."""
    from reference.store.command import migrate_command

    return migrate_command("check", store)


@app.command
def simulate(
    scenario: str,
    *,
    seed: int | None = None,
    changes: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    out: Path = Path("simulated"),
) -> int:
    """Run a scenario in virtual time; print a summary and write the trace, Parquet tables and a figure.

    Parameters
    ----------
    scenario
        A file in TOML or JSON, or the name of a scenario of the library; see `steadywire scenarios`.
    seed
        Instead of the scenario's own seed.
    changes
        Change something in it, by its path: --set client.policy.cap_s=10. May be given several times.
    out
        The folder to write to; made if it is missing.
    """
    from simulation.command import simulate as simulate_scenario

    return simulate_scenario(scenario, seed, out, changes)


@app.command
def scenarios(name: str | None = None) -> int:
    """List the ready scenarios, each with two sentences on what to look for; with a name, print that one's file.

    Parameters
    ----------
    name
        One of them.
    """
    from simulation.command import scenarios as list_scenarios

    return list_scenarios(name)


@app.command
def diagram(
    trace: Path,
    *,
    from_s: Annotated[float, Parameter(name="--from")] = 0.0,
    to_s: Annotated[float | None, Parameter(name="--to")] = None,
    client: tuple[str, ...] = (),
    png: Path | None = None,
    everything: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Print who said what to whom in a stretch of a trace that was recorded with frames (`--set record_frames=true`).

    Parameters
    ----------
    trace
        A file that `steadywire simulate` has written.
    from_s
        Where the stretch begins, in seconds since the run began.
    to_s
        Where it ends; without, at the end of the trace.
    client
        Only what this client says and hears. May be given several times.
    png
        Draw it as well, to this file.
    everything
        Pings, pongs and heartbeats, too.
    """
    from simulation.diagram import diagram_command

    return diagram_command(trace, from_s, to_s, client, png, everything)


@app.command
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
    from reference.fidelity.command import fidelity_command

    return fidelity_command(scenarios, seed=seed, costs=costs, json=json, markdown=markdown)


@app.command
def calibrate(*, seed: int = 1, out: Path = Path("costs.toml")) -> int:
    """Fit what a frame, a delivery, a connection and a commit cost on this machine, from half a minute of real processes.

    Parameters
    ----------
    seed
        Of the two runs that are played.
    out
        The file to write; `steadywire fidelity --costs` reads it.
    """
    from reference.fidelity.command import calibrate_command

    return calibrate_command(seed=seed, out=out)


@app.command
def replay(file: Path, *, notebook: Path | None = None, everything: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Play a kept case or a scenario once more and print who said what to whom; exit code 1 if a guarantee is broken.

    Parameters
    ----------
    file
        A case (tests/properties/cases) or a scenario, TOML.
    notebook
        Write a notebook that plays the same and draws the sequence diagram.
    everything
        Show pings, pongs and heartbeats too.
    """
    from simulation.replay import replay as replay_file

    return replay_file(file, notebook, everything=everything)


@app.command(name="what-if")
def what_if(
    recording: Path,
    *,
    changes: Annotated[tuple[str, ...], Parameter(name="--set", negative="")] = (),
    save: Path | None = None,
) -> int:
    """Play a recorded real run again in the simulator: as it was, and with other parameters.

    Parameters
    ----------
    recording
        What a client wrote with `client.record(path)`, or a trace of `steadywire demo --trace`.
    changes
        PATH=VALUE, such as client.policy.cap_s=10; may be given several times.
    save
        Write the recording's scenario to this file, to be varied by hand.
    """
    from simulation.counterfactual.command import what_if_command

    return what_if_command(recording, changes, save=save)


@app.command
def verify(
    *,
    family: tuple[str, ...] = (),
    quick: bool = False,
    jobs: int | None = None,
    seed: int = 1,
    markdown: Path | None = None,
    json: Path | None = None,
) -> int:
    """Compare the simulator with everything that is known in closed form; exit 1 if a number differs.

    Parameters
    ----------
    family
        Only this family of experiments; can be given several times.
    quick
        Fewer replications, so less precise: under a minute on two processors.
    jobs
        How many processes; one for each processor if it is not given. The numbers are the same.
    seed
        All chance follows from it. Of a thousand right numbers about one is off for a given seed.
    markdown
        Write the tables to this file.
    json
        Write every number to this file.
    """
    from simulation.verify.command import verify_command

    return verify_command(families=family, is_quick=quick, jobs=jobs, seed=seed, markdown=markdown, json=json)


@app.command
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
    from reference.benchmarks import bench_command

    return bench_command(simulation=simulation, server=server, quick=quick, seed=seed)


def run(arguments: list[str] | None = None) -> int:
    """Carry out a command line; returns the exit code."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        print(f"steadywire: {' '.join(str(error).split())} Try --help.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def main() -> None:
    """The console command `steadywire`."""
    sys.exit(run())
