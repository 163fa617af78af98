"""`steadywire fidelity` and `steadywire calibrate`: play scenarios twice, print the comparison, and judge it.

0    every figure agrees
1    one does not
2    it could not be done as asked: one line says why
130  Ctrl-C: everything was ended, nothing is left behind
"""

import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import trio
from rich.console import Console

from reference.cli.files import check_writable, writing
from reference.cli.output import Output
from reference.protocol.errors import ConfigError, SteadywireError
from simulation.processes.fidelity.calibration import REPETITIONS, calibrate
from simulation.processes.fidelity.comparison import compare
from simulation.processes.fidelity.costs import load_costs
from simulation.processes.fidelity.drawing import draw_distributions
from simulation.processes.fidelity.machine import BUSY_SHARE_MAX, busy_share, require_quiet, wait_until_quiet
from simulation.processes.fidelity.measures import ComparedMeasure, measure
from simulation.processes.fidelity.report import Compared, FidelityReport, print_report
from simulation.processes.fidelity.twin import Twins, play_both
from simulation.scenario.scenario import Scenario, load_scenario, parse_scenario

T = TypeVar("T")

REPEAT_MAX = 100
AGREES, DIFFERS, CANNOT, INTERRUPTED = 0, 1, 2, 130
PROVIDED = ("steady", "outages", "server_restart", "fallback", "killed_in_outage", "snapshot")
"""The scenarios that come with the package."""


def fidelity_command(
    scenarios: Sequence[str],
    *,
    seed: int | None = None,
    costs: Path | None = None,
    json: Path | None = None,
    markdown: Path | None = None,
    keep: Path | None = None,
    repeat: int = 1,
    busy_too: bool = False,
    console: Console | None = None,
) -> int:
    """Compare scenarios (names of the provided ones, or files; none: all provided); returns the exit code. `keep`: a directory
    for both traces and a drawing of both distributions; `repeat`: how often each scenario is played; `busy_too`: play on a
    machine that has something else to do as well, where nothing is judged."""
    console = console or Output()
    with _errors("fidelity") as failed:
        if not 1 <= repeat <= REPEAT_MAX:
            raise ConfigError(f"--repeat {repeat}: must be 1 to {REPEAT_MAX}")
        given = tuple(scenarios) or PROVIDED
        chosen = [_scenario(name, seed) for name in given]
        _check_names(given, chosen)
        check_writable(json, markdown)
        if keep is not None:
            with writing(keep):
                keep.mkdir(parents=True, exist_ok=True)
        if not busy_too:
            require_quiet(busy_share())
        if costs is None:
            console.print(f"calibrating: {2 * REPETITIONS} short runs of real processes")
            fitted = _in_directory(lambda directory: calibrate(directory, seed=1 if seed is None else seed))
        else:
            fitted = load_costs(costs)
        compared = []
        played = [(scenario, repetition) for scenario in chosen for repetition in range(1, repeat + 1)]
        for number, (scenario, repetition) in enumerate(played, start=1):
            lasts = f"{scenario.end_s:.0f} s of real time"
            clients = f"{len(scenario.client_names)} clients"
            console.print(f"{number} of {len(played)}, {scenario.name}: {clients}, {lasts}")
            busy = busy_share() if busy_too else wait_until_quiet(waiting=console.print)
            if busy > BUSY_SHARE_MAX and not busy_too:
                break
            compared.append(_compare(fitted.applied_to(scenario), repetition, busy, keep))
        report = FidelityReport(costs=fitted, scenarios=tuple(compared))
        print_report(report, console)
        if json is not None:
            with writing(json):
                report.write(json)
        if markdown is not None:
            with writing(markdown):
                report.write_markdown(markdown)
        if len(compared) < len(played):
            raise ConfigError(f"the machine stayed busy; {len(played) - len(compared)} of {len(played)} runs are left out above")
        return AGREES if report.agrees else DIFFERS
    return failed[0]


def calibrate_command(*, seed: int, out: Path, console: Console | None = None) -> int:
    """Fit this machine's costs and write them; returns the exit code."""
    console = console or Output()
    with _errors("calibrate") as failed:
        check_writable(out)
        require_quiet(busy_share())
        fitted = _in_directory(lambda directory: calibrate(directory, seed=seed))
        fitted = msgspec.structs.replace(
            fitted, about=f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
        )
        with writing(out):
            out.write_text(fitted.to_toml(), encoding="utf-8")
        console.print(
            f"hop {_ms(fitted.hop.at(0.5))}, commit {_ms(fitted.commit_time.at(0.5))} (medians); costs in processor time:"
        )
        console.print(f"frame {_ms(fitted.frame_cost_s)}, delivery {_ms(fitted.delivery_cost_s)}, ", end="")
        console.print(f"handshake {_ms(fitted.handshake_cost_s)}")
        console.print(f"written to {out}")
        return AGREES
    return failed[0]


def _compare(scenario: Scenario, repetition: int, busy: float, keep: Path | None) -> Compared:
    twins: Twins = _in_directory(lambda directory: play_both(scenario, directory))
    simulated, real = (measure(trace, from_s=scenario.warm_up_s) for trace in (twins.simulated, twins.real))
    differences = [each for name in real for each in compare(simulated[name], real[name], seed=scenario.seed)]
    late_ms = float(np.quantile(twins.late_ms, 0.95)) if twins.late_ms else 0.0
    if keep is not None:
        _keep(keep / f"{scenario.name}-{repetition}", twins, simulated, real)
    return Compared(
        scenario=scenario.name,
        seed=scenario.seed,
        clients=len(scenario.client_names),
        late_p95_ms=late_ms,
        busy_before=busy,
        repetition=repetition,
        differences=tuple(differences),
    )


def _keep(directory: Path, twins: Twins, simulated: Mapping[str, ComparedMeasure], real: Mapping[str, ComparedMeasure]) -> None:
    """Write both traces, the scenario and the drawing. Raises ConfigError."""
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        twins.simulated.write(directory / "simulated.jsonl")
        twins.real.write(directory / "real.jsonl")
        (directory / "scenario.toml").write_text(twins.scenario.to_toml(), encoding="utf-8")
        draw_distributions(simulated, real, title=twins.scenario.name).savefig(directory / "distributions.png")


def _scenario(name: str, seed: int | None) -> Scenario:
    if name in PROVIDED:
        text = files("simulation.processes.fidelity").joinpath("scenarios", f"{name}.toml").read_text(encoding="utf-8")
        scenario = parse_scenario(text)
    elif Path(name).suffix in (".toml", ".json"):
        scenario = load_scenario(Path(name))
    else:
        raise ConfigError(f"there is no scenario {name!r}; there are {', '.join(PROVIDED)}, or name a file")
    return scenario if seed is None else scenario.replace(seed=seed)


def _check_names(given: Sequence[str], scenarios: Sequence[Scenario]) -> None:
    """Raise ConfigError if two scenarios have the same name, by which the report and the folders of kept traces identify them."""
    arguments: dict[str, str] = {}
    for argument, scenario in zip(given, scenarios, strict=True):
        if scenario.name not in arguments:
            arguments[scenario.name] = argument
        elif arguments[scenario.name] == argument:
            raise ConfigError(f"{argument} is given twice; --repeat runs it more than once")
        else:
            raise ConfigError(
                f"{arguments[scenario.name]} and {argument} have the same name, {scenario.name!r}, which identifies a scenario "
                "in the report and in --keep; change `name` in one of them"
            )


def _in_directory(work: Callable[[Path], Awaitable[T]]) -> T:
    with tempfile.TemporaryDirectory(prefix="steadywire-fidelity-") as directory:
        return trio.run(work, Path(directory), restrict_keyboard_interrupt_to_checkpoints=True)


@contextmanager
def _errors(command: str) -> Iterator[list[int]]:
    """Print an error of the block as one line, and append its exit code to the list."""
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
