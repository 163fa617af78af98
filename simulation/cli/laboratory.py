"""Commands of the laboratory: everything in virtual time."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter, validators

from reference.cli.runner import FINITE, FLAG, MANY, WHOLE, Seed

Changes = Annotated[tuple[str, ...], Parameter(name="--set"), MANY]
Seconds = Annotated[float, FINITE, Parameter(validator=validators.Number(gte=0))]


def simulate(
    scenario: str,
    /,
    *,
    seed: Seed | None = None,
    changes: Changes = (),
    out: Path = Path("simulated"),
    tables: Literal["parquet", "csv", "json"] = "parquet",
) -> int:
    """Run a scenario in virtual time; print a summary and write the trace, tables, figures and a report.

    Parameters
    ----------
    scenario
        A TOML or JSON file, or the name of a library scenario (`steadywire scenarios` lists them).
    seed
        Seed of all randomness (default: the scenario's own).
    changes
        Override a parameter by its path, such as --set client.policy.cap_s=10. Repeatable.
    out
        Folder to write to; created if missing.
    tables
        Format of the tables. Each file also has the scenario, the seed, the version and the units.
    """
    from simulation.cli.simulate import simulate as simulate_scenario

    return simulate_scenario(scenario, seed, out, changes, tables)


def scenarios(name: str | None = None, /) -> int:
    """List the library's scenarios, each with what to look for; with a name, print that scenario's file.

    Parameters
    ----------
    name
        Name of a library scenario.
    """
    from simulation.cli.simulate import scenarios as list_scenarios

    return list_scenarios(name)


def scenario_schema() -> int:
    """Print the JSON Schema of scenario files, for editors and `taplo check`."""
    import json

    from simulation.scenario.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def diagram(
    trace: Path,
    /,
    *,
    from_s: Annotated[Seconds, Parameter(name="--from")] = 0.0,
    to_s: Annotated[Seconds | None, Parameter(name="--to")] = None,
    client: Annotated[tuple[str, ...], MANY] = (),
    png: Path | None = None,
    everything: Annotated[bool, FLAG] = False,
) -> int:
    """Print the messages in an interval of a trace as a sequence diagram. Needs a trace with frames (--set record_frames=true).

    Parameters
    ----------
    trace
        Trace file, such as trace.jsonl of `steadywire simulate`.
    from_s
        Start of the interval, in seconds since the start of the run.
    to_s
        End of the interval, in seconds since the start of the run (default: end of the trace).
    client
        Show only this client's messages. Repeatable.
    png
        Also draw the diagram to this PNG file.
    everything
        Include pings, pongs and heartbeats.
    """
    from simulation.cli.diagram import diagram_command

    return diagram_command(trace, from_s, to_s, client, png, everything)


def replay(file: Path, /, *, notebook: Path | None = None, everything: Annotated[bool, FLAG] = False) -> int:
    """Replay a saved case or a scenario and print every message; exit code 1 if a guarantee is violated.

    Parameters
    ----------
    file
        A TOML file: a case (tests/properties/cases) or a scenario.
    notebook
        Also write a notebook that replays the file and draws the sequence diagram.
    everything
        Include pings, pongs and heartbeats.
    """
    from simulation.replay.cases import replay as replay_file

    return replay_file(file, notebook, everything=everything)


def what_if(recording: Path, /, *, changes: Changes = (), save: Path | None = None) -> int:
    """Simulate a recorded real run again, as it was and with other parameters.

    Parameters
    ----------
    recording
        File written by `client.record(path)` or by `steadywire demo --trace`.
    changes
        Override a parameter by its path, such as --set client.policy.cap_s=10. Repeatable.
    save
        Write the scenario reconstructed from the recording to this file.
    """
    from simulation.cli.what_if import what_if_command

    return what_if_command(recording, changes, save=save)


def verify(
    *,
    family: Annotated[tuple[str, ...], MANY] = (),
    quick: Annotated[bool, FLAG] = False,
    jobs: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=1, lte=1024))] | None = None,
    seed: Seed = 1,
    markdown: Path | None = None,
    json: Path | None = None,
) -> int:
    """Compare the simulator with closed forms from theory; exit code 1 if a number differs.

    Parameters
    ----------
    family
        Run only this family of experiments (default: all). Repeatable.
    quick
        Fewer replications and lower precision; about two minutes on two processors.
    jobs
        Number of worker processes (default: one per processor). The results do not depend on it.
    seed
        Seed of all randomness. What differs is measured again, with four times as many replications, before it is flagged.
    markdown
        Write the tables to this file.
    json
        Write every number to this file.
    """
    from simulation.cli.verify import verify_command

    return verify_command(families=family, is_quick=quick, jobs=jobs, seed=seed, markdown=markdown, json=json)


def lab(
    *,
    folder: Path = Path("steadywire-notebooks"),
    port: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=1, lte=65535))] | None = None,
    no_browser: Annotated[bool, FLAG] = False,
) -> int:
    """Open JupyterLab on a copy of the notebooks. Notebooks that you have changed are never overwritten.

    Parameters
    ----------
    folder
        Folder of the copy; created if missing.
    port
        Port to listen on (default: JupyterLab's own choice, from 8888 on).
    no_browser
        Only print the address.
    """
    from simulation.cli.notebook_server import lab_command

    return lab_command(folder=folder, port=port, browser=not no_browser)


def sweep(
    study: Path,
    /,
    *,
    workers: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=-1, lte=1024))] = -1,
    dask: str | None = None,
    out: Path | None = None,
    replications: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=1))] | None = None,
) -> int:
    """Run a scenario at many parameter values, on all cores; exit code 1 if runs failed. The same command resumes a sweep.

    Parameters
    ----------
    study
        A study file (docs/studies.md).
    workers
        Number of worker processes (-1: one per core). The results do not depend on it.
    dask
        Run on a Dask cluster: the scheduler's address, or local for worker processes on this machine.
    out
        Folder for the results (default: the study's name with .sweep). Finished runs in it are not repeated.
    replications
        Number of replications of each point (default: the study's).
    """
    from simulation.cli.studies import sweep_command

    return sweep_command(study, workers=workers, dask=dask, out=out, replications=replications)


def tune(
    study: Path,
    /,
    *,
    workers: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=-1, lte=1024))] = -1,
    dask: str | None = None,
    out: Path | None = None,
    trials: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=2))] | None = None,
    sensitivity: Annotated[bool, FLAG] = False,
) -> int:
    """Find the best parameters for a study, with confidence intervals; exit code 1 if none keeps its constraints.

    Parameters
    ----------
    study
        A study file with a [tune] table (docs/studies.md).
    workers
        Number of worker processes (-1: one per core). The answer does not depend on it.
    dask
        Run on a Dask cluster: the scheduler's address, or local for worker processes on this machine.
    out
        Folder for report.html and the settings files (default: the study's name with .tune). Finished runs are not repeated.
    trials
        Number of settings to try (default: the study's).
    sensitivity
        Also measure which parameters matter (Morris, then Sobol).
    """
    from simulation.cli.studies import tune_command

    return tune_command(study, workers=workers, dask=dask, out=out, trials=trials, sensitivity=sensitivity)


def fluid(
    scenario: str,
    /,
    *,
    changes: Changes = (),
    clients: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=1, lte=1_000_000))] | None = None,
    compare: Annotated[tuple[int, ...], Parameter(validator=validators.Number(gte=1)), MANY] = (),
    replications: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=2))] = 3,
    workers: Annotated[int, WHOLE, Parameter(validator=validators.Number(gte=-1, lte=1024))] = -1,
) -> int:
    """Follow a reconnect storm as a fluid: up to a million clients in seconds, with the shipped policies.

    Parameters
    ----------
    scenario
        A scenario with one group and one fault that cuts everyone off, such as load_balancer_cut.
    changes
        Override a parameter by its path, such as --set client.policy.cap_s=10. Repeatable.
    clients
        Number of clients, up to 1,000,000 (default: the scenario's). The server's capacity grows or shrinks with them.
    compare
        Also simulate the state machines with this many clients, and the server's capacity scaled with them, and print how far the
        fluid is off. Repeatable.
    replications
        Number of replications of each comparison.
    workers
        Number of worker processes for the comparisons (-1: one per core).
    """
    from simulation.cli.fluid import fluid_command

    return fluid_command(scenario, changes, clients=clients, compare=compare, replications=replications, workers=workers)
