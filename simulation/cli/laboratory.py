"""Commands of the laboratory: everything in virtual time."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


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
    from simulation.cli.simulate import simulate as simulate_scenario

    return simulate_scenario(scenario, seed, out, changes)


def scenarios(name: str | None = None) -> int:
    """List the ready scenarios, each with two sentences on what to look for; with a name, print that one's file.

    Parameters
    ----------
    name
        One of them.
    """
    from simulation.cli.simulate import scenarios as list_scenarios

    return list_scenarios(name)


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
    from simulation.results.diagrams import diagram_command

    return diagram_command(trace, from_s, to_s, client, png, everything)


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
    from simulation.replay.cases import replay as replay_file

    return replay_file(file, notebook, everything=everything)


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
    from simulation.cli.what_if import what_if_command

    return what_if_command(recording, changes, save=save)


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
    from simulation.cli.verify import verify_command

    return verify_command(families=family, is_quick=quick, jobs=jobs, seed=seed, markdown=markdown, json=json)
