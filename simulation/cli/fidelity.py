"""`steadywire fidelity` and `steadywire calibrate`: from the words of a command line to tables and exit codes.

0    every figure agrees
1    one does not
2    it could not be done as asked: one line says why
130  Ctrl-C: everything was ended, nothing is left behind
"""

import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import trio
from rich.console import Console

from reference.cli.output import Output
from reference.protocol.errors import ConfigError, SteadywireError
from simulation.processes.fidelity.calibration import calibrate
from simulation.processes.fidelity.comparison import compare
from simulation.processes.fidelity.costs import load_costs
from simulation.processes.fidelity.measures import measure
from simulation.processes.fidelity.report import Compared, FidelityReport, print_report
from simulation.processes.fidelity.twin import Twins, play_both
from simulation.scenario.scenario import Scenario, load_scenario, parse_scenario

T = TypeVar("T")

AGREES, DIFFERS, CANNOT, INTERRUPTED = 0, 1, 2, 130
PROVIDED = ("steady", "outages", "server_restart", "fallback")
"""The scenarios that come with the package."""


def fidelity_command(
    scenarios: Sequence[str],
    *,
    seed: int | None = None,
    costs: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
    console: Console | None = None,
) -> int:
    """Compare scenarios (names of the provided ones, or files; none: all provided); returns the exit code."""
    console = console or Output()
    with _errors("fidelity") as failed:
        chosen = [_scenario(name, seed) for name in scenarios or PROVIDED]
        if costs is None:
            console.print("calibrating: two short runs of real processes")
            fitted = _in_directory(lambda directory: calibrate(directory, seed=seed or 1))
        else:
            fitted = load_costs(costs)
        compared = []
        for scenario in chosen:
            lasts = f"{scenario.end_s:.0f} s of real time"
            console.print(f"{scenario.name}: {len(scenario.client_names)} clients, {lasts}")
            compared.append(_compare(fitted.applied_to(scenario)))
        report = FidelityReport(costs=fitted, scenarios=tuple(compared))
        print_report(report, console)
        if json is not None:
            report.write(json)
        if markdown is not None:
            report.write_markdown(markdown)
        return AGREES if report.agrees else DIFFERS
    return failed[0]


def calibrate_command(*, seed: int, out: Path, console: Console | None = None) -> int:
    """Fit this machine's costs and write them; returns the exit code."""
    console = console or Output()
    with _errors("calibrate") as failed:
        if out.parent != Path() and not out.parent.is_dir():
            raise ConfigError(f"there is no folder {out.parent}; name another file with --out")
        fitted = _in_directory(lambda directory: calibrate(directory, seed=seed))
        fitted = msgspec.structs.replace(
            fitted, about=f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
        )
        try:
            out.write_text(fitted.to_toml(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{out} cannot be written: {error.strerror or error}; name another file with --out") from None
        console.print(
            f"hop {_ms(fitted.hop.at(0.5))}, commit {_ms(fitted.commit_time.at(0.5))} (medians); costs in processor time:"
        )
        console.print(f"frame {_ms(fitted.frame_cost_s)}, delivery {_ms(fitted.delivery_cost_s)}, ", end="")
        console.print(f"handshake {_ms(fitted.handshake_cost_s)}")
        console.print(f"written to {out}")
        return AGREES
    return failed[0]


def _compare(scenario: Scenario) -> Compared:
    twins: Twins = _in_directory(lambda directory: play_both(scenario, directory))
    simulated, real = (measure(trace, from_s=scenario.warm_up_s) for trace in (twins.simulated, twins.real))
    differences = [each for name in real for each in compare(simulated[name], real[name], seed=scenario.seed)]
    late_ms = float(np.quantile(twins.late_ms, 0.95)) if twins.late_ms else 0.0
    return Compared(
        scenario=scenario.name,
        seed=scenario.seed,
        clients=len(scenario.client_names),
        late_p95_ms=late_ms,
        differences=tuple(differences),
    )


def _scenario(name: str, seed: int | None) -> Scenario:
    if name in PROVIDED:
        text = files("simulation.processes.fidelity").joinpath("scenarios", f"{name}.toml").read_text(encoding="utf-8")
        scenario = parse_scenario(text)
    elif Path(name).suffix in (".toml", ".json"):
        scenario = load_scenario(Path(name))
    else:
        raise ConfigError(f"there is no scenario {name!r}; there are {', '.join(PROVIDED)}, or name a file")
    return scenario if seed is None else scenario.replace(seed=seed)


def _in_directory(work: Callable[[Path], Awaitable[T]]) -> T:
    with tempfile.TemporaryDirectory(prefix="steadywire-fidelity-") as directory:
        return trio.run(work, Path(directory))


@contextmanager
def _errors(command: str) -> Iterator[list[int]]:
    """What goes wrong becomes one line, and an exit code in the list."""
    code: list[int] = []
    try:
        yield code
    except SteadywireError as error:
        print(f"steadywire {command}: {error}", file=sys.stderr)
        code.append(CANNOT)
    except KeyboardInterrupt:
        code.append(INTERRUPTED)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
