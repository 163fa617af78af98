"""`steadywire simulate` runs a scenario and writes a folder of results; `steadywire scenarios` lists the library.

    scenario.toml               the scenario as it was run, every default written out, the seed too
    trace.jsonl                 every record of the run
    messages.parquet, ...       the frames of `results`
    report.html                 the report: guarantees, figures, faults, tables, the worst client; one file, complete in itself
    storm.png, ...              the figures that have something to show (`results.scenario_figures`)

Equal scenarios and seeds give byte-equal files.
"""

import sys
import textwrap
import threading
from pathlib import Path as FilePath

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from reference.cli.files import check_writable, writing
from reference.cli.output import Output
from reference.protocol.timers import NS_PER_S
from simulation.checks.checkers import Verdict
from simulation.cli.changes import changed_scenario
from simulation.results.frames import FileKind, Frames
from simulation.results.plots import save
from simulation.results.report import report_of
from simulation.results.scenario_figures import figures_of
from simulation.scenario import library
from simulation.scenario.scenario import Scenario
from simulation.world import Result, World

HELD, VIOLATED = 0, 1
"""Exit codes: no guarantee was violated; one was."""
LOOK_INTERVAL_S = 0.2
"""How often the bar looks at the simulated clock, in real seconds."""


def simulate(
    named: str | FilePath, seed: int | None, out_dir: FilePath, changes: tuple[str, ...] = (), tables: FileKind = "parquet"
) -> int:
    """Run a scenario, print a summary, write the results; returns the exit code. Raises ConfigError.

    `named`: a file, or a scenario of the library. `seed` None: the scenario's own. `changes`: "path=value", the value as in TOML.
    """
    scenario = changed_scenario(named, changes)
    scenario = scenario if seed is None else scenario.replace(seed=seed)
    with writing(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
    check_writable(out_dir / "trace.jsonl")
    result = _run(scenario)
    frames = Frames(result.trace_index)
    with writing(out_dir):
        _write(result, frames, out_dir, tables)
    _print(result, frames, out_dir)
    return HELD if result.is_ok else VIOLATED


def scenarios(name: str | None) -> int:
    """List the library, or print one file of it; returns the exit code. Raises ConfigError."""
    if name is not None:
        print(library.text_of(name), end="")
        return HELD
    for each in library.names():
        about = " ".join(library.load(each).about.split())
        print(f"{each}\n{textwrap.indent(textwrap.fill(about, 100), '    ')}\n")
    return HELD


def _run(scenario: Scenario) -> Result:
    """The run, with a bar of the simulated time on a terminal. The bar only reads the clock, in a separate thread."""
    if not sys.stderr.isatty():
        return World(scenario.replace()).run()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"simulating {scenario.name}", total=scenario.end_s)
        world, is_over = World(scenario.replace()), threading.Event()

        def follow() -> None:
            while not is_over.wait(LOOK_INTERVAL_S):
                progress.update(bar, completed=min(world.clock.now / NS_PER_S, scenario.end_s))

        watcher = threading.Thread(target=follow, daemon=True)
        watcher.start()
        try:
            return world.run()
        finally:
            is_over.set()
            watcher.join()


def _write(result: Result, frames: Frames, out_dir: FilePath, tables: FileKind) -> None:
    scenario = result.scenario
    (out_dir / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
    result.trace.write(out_dir / "trace.jsonl")
    frames.write(out_dir, scenario=scenario.to_toml(), kind=tables)
    title = f"{scenario.name}, seed {scenario.seed}"
    drawn = []
    for figure in figures_of(frames, title, tuple(group.name for group in scenario.groups)):
        path = out_dir / f"{figure.name}.png"
        save(figure.figure, path)
        drawn.append((figure, path.read_bytes()))
    report = report_of(scenario, result.verdicts, frames, drawn, scenario.seed)
    (out_dir / "report.html").write_text(report, encoding="utf-8")


def _print(result: Result, frames: Frames, out_dir: FilePath) -> None:
    lines = _summary(result.scenario, frames)
    if not sys.stdout.isatty():
        for name, value in lines:
            print(f"{name}: {value}")
        for verdict in result.verdicts.values():
            print(verdict)
            for violation in verdict.violations:
                print(f"  {violation}")
        print(f"results: {out_dir}, begin with {out_dir / 'report.html'}")
        return
    console = Output()
    console.print(_table("run", lines))
    guarantees = Table("", "guarantee", "checked", "", title="guarantees", title_justify="left")
    for verdict in result.verdicts.values():
        guarantees.add_row(verdict.guarantee, verdict.sentence, f"{verdict.checked:,}", _coloured(verdict))
    console.print(guarantees)
    for verdict in result.verdicts.values():
        for violation in verdict.violations:
            console.print(f"[red]{verdict.guarantee}[/red] {violation}", highlight=False)
    console.print(f"results: {out_dir}, begin with {out_dir / 'report.html'}", highlight=False)


def _summary(scenario: Scenario, frames: Frames) -> list[tuple[str, str]]:
    row = frames["summary"].iloc[0].to_dict()

    def seconds(name: str) -> str:
        values = [row[f"{name}_{label}_s"] for label in ("p50", "p95", "p99")]
        if any(value != value for value in values):  # NaN: nothing was measured
            return "nothing measured"
        return "p50 {:.3f} s, p95 {:.3f} s, p99 {:.3f} s".format(*values)

    def whole(*names: str) -> str:
        return ", ".join(f"{row[name]:.0f} {name.replace('_', ' ')}" for name in names)

    undelivered = "unknown" if row["undelivered"] != row["undelivered"] else f"{row['undelivered']:.0f}"
    share = "unknown" if undelivered == "unknown" else "none, because there was nothing to deliver"
    if row["delivered_share"] == row["delivered_share"]:
        share = f"{100 * row['delivered_share']:.3f} %"
    return [
        ("scenario", f"{scenario.name} (seed {scenario.seed}, {row['clients']:.0f} clients, {row['duration_s']:.1f} s)"),
        ("publishes", whole("published", "accepted", "failed", "refused", "unsettled")),
        ("messages", f"{row['messages']:.0f}, of which delivered {share}, undelivered {undelivered}"),
        ("broken", whole("duplicates", "gaps", "out_of_order", "lost")),
        ("connections", whole("reconnections", "fallbacks", "returns_to_websocket", "server_restarts")),
        ("delivery latency", seconds("latency")),
        ("interruptions", seconds("interruption")),
        ("round trip", seconds("round_trip")),
    ]


def _table(title: str, lines: list[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    for line in lines:
        table.add_row(*line)
    return table


def _coloured(verdict: Verdict) -> str:
    colour = {"held": "green", "violated": "bold red", "not exercised": "yellow", "not checked": "yellow"}[verdict.status]
    return f"[{colour}]{verdict.status}[/{colour}]"
