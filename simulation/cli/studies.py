"""The commands of a study. `steadywire sweep` runs it, and writes its runs and their intervals:

runs.parquet, points.parquet, metadata.json     the outcome (`simulation.studies.Outcome`)
rows-*.parquet                                  finished runs; a sweep that was interrupted goes on from them

`steadywire tune` finds its best settings, and writes a report and settings files.
"""

import dataclasses
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from reference.cli.files import writing
from reference.cli.output import Output
from simulation.results.html import shown
from simulation.studies.execution import Progress as Done
from simulation.studies.execution import Report, Rows, duration
from simulation.studies.experiment import Outcome
from simulation.studies.study import load_study
from simulation.studies.tuning import report as tuning_report
from simulation.studies.tuning.search import BASELINE, Tuned, tune
from simulation.studies.tuning.sensitivity import sensitivity as analyse

POINTS_SHOWN = 40
SETTINGS_SHOWN = 30
FINISHED, FAILED = 0, 1
FOUND, NOTHING_FOUND = 0, 1


def sweep_command(study: Path, *, workers: int, dask: str | None, out: Path | None, replications: int | None) -> int:
    """Run a study; returns 0, or 1 if runs failed. Raises ConfigError."""
    question = load_study(study)
    experiment = question.experiment(study.parent)
    if replications is not None:
        experiment = dataclasses.replace(experiment, design=experiment.points, replications=replications)
    folder = out or Path(f"{question.name}.sweep")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    console = Output()
    size = f"{len(experiment.points)} points x {experiment.replications} replications"
    console.print(f"{question.name}: {size}, results in {folder}", highlight=False)
    rows = Rows(folder)
    if rows.note:
        console.print(rows.note, highlight=False)
    if dask is None and not rows.by_digest:
        console.print(f"estimated: {duration(experiment.estimate_s(workers=workers))}", highlight=False)
    with progress_shown(console) as report:
        outcome = experiment.run(workers=workers, dask=dask, folder=rows, report=report)
    outcome.write(folder)
    print_outcome(outcome, console)
    console.print(f"results: {folder}", highlight=False)
    return FAILED if len(outcome.failures) else FINISHED


@contextmanager
def progress_shown(console: Console, *, lines: bool = True) -> Iterator[Report]:
    """Shows the progress of experiments: a bar on a terminal; elsewhere, with `lines`, a line now and then."""
    if not console.is_terminal:
        yield _lines() if lines else (lambda _: None)
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, left="")

        def report(done: Done) -> None:
            left = "" if done.remaining_s is None else f"{duration(done.remaining_s)} left"
            left += f", {done.failed} failed" if done.failed else ""
            bar.update(task, completed=done.done, total=done.total, left=left)

        yield report


def tune_command(study: Path, *, workers: int, dask: str | None, out: Path | None, trials: int | None, sensitivity: bool) -> int:
    """Answer a study; returns 0, or 1 if no setting keeps the constraints. Raises ConfigError."""
    question = load_study(study)
    if trials is not None:
        question = msgspec.structs.replace(question, tune=msgspec.structs.replace(question.tuning, trials=trials))
    folder = out or Path(f"{question.name}.tune")
    console = Output()
    console.print(f"{question.name}: {question.tuning.trials} trials, results in {folder}", highlight=False)

    def say(line: str) -> None:
        console.print(line, highlight=False)

    where = {"workers": workers, "dask": dask, "folder": folder / "runs", "say": say}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with progress_shown(console, lines=False) as report:
        tuned = tune(question, study.parent, report=report, **where)  # type: ignore[arg-type]  # the same words for both
        influence = analyse(question, study.parent, report=report, **where) if sensitivity else None  # type: ignore[arg-type]
    paths = tuning_report.write(tuned, folder, sensitivity=influence)
    _print_settings(tuned, console)
    if influence is not None:
        console.print(_table("what matters", influence.columns, influence.itertuples(index=False)))
    for line in tuning_report.conclusions(tuned):
        console.print(line, highlight=False)
    console.print(f"report: {paths[0]}; settings: {', '.join(str(path) for path in paths[1:]) or 'none'}", highlight=False)
    return NOTHING_FOUND if tuned.selection is None else FOUND


def _print_settings(tuned: Tuned, console: Console) -> None:
    if tuned.selection is None:
        return
    frame = tuned.table()
    best = tuned.selection.best
    frame["setting"] = [f"tuned ({name})" if name == best and name != BASELINE else name for name in frame["setting"]]
    console.print(_table("on fresh seeds, best first", frame.columns, frame.head(SETTINGS_SHOWN).itertuples(index=False)))


def _table(title: str, columns: "object", rows: "object") -> Table:
    headers = [Column(str(name), overflow="fold") for name in columns]  # type: ignore[attr-defined]  # a frame's columns
    table = Table(*headers, title=title, title_justify="left")
    for row in rows:  # type: ignore[attr-defined]  # and its rows
        table.add_row(*map(shown, row))
    return table


def print_outcome(outcome: Outcome, console: Console) -> None:
    """One row per point: its values and the mean of each figure with its interval; then the failures."""
    shown = list(outcome.experiment.figures) or ["interruption_p99_s", "latency_p95_s", "delivery_rate"]
    figures = [name for name in outcome.figures if name in shown] or outcome.figures[:4]
    paths = list(outcome.experiment.paths)
    title = f"mean and {100 * outcome.experiment.asked_confidence:.4g} % interval"
    table = Table(*paths, *figures, title=title, title_justify="left")
    by_point = outcome.points.groupby("point", sort=False)
    for place, (_, rows) in enumerate(by_point):
        if place == POINTS_SHOWN:
            break
        first = rows.iloc[0]
        cells = [f"{first[path]:.4g}" if isinstance(first[path], float) else str(first[path]) for path in paths]
        cells += [_shown(rows[rows["figure"] == figure].iloc[0]) for figure in figures]
        table.add_row(*cells)
    if figures:
        console.print(table)
    if len(by_point) > POINTS_SHOWN:
        console.print(f"... and {len(by_point) - POINTS_SHOWN} more points in points.parquet", highlight=False)
    failures = outcome.failures
    for error, count in failures["error"].value_counts().head(5).items():
        print(f"steadywire sweep: {count} runs failed: {error}", file=sys.stderr)


def _shown(row: "pd.Series[Any]") -> str:
    """A mean with its interval, where there is one."""
    mean, low, high = (float(row[column]) for column in ("mean", "low", "high"))
    if math.isnan(mean):
        return "-"
    return f"{mean:.4g}" if math.isnan(low) else f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def _lines() -> Report:
    """Reports a tenth at a time."""
    said = [-1]

    def report(done: Done) -> None:
        tenth = 10 * done.done // max(done.total, 1)
        if tenth > said[0]:
            said[0] = tenth
            resumed = f" ({done.resumed} from an earlier run)" if done.resumed else ""
            left = "" if done.remaining_s is None or done.done == done.total else f", {duration(done.remaining_s)} left"
            print(f"{done.done} of {done.total} runs{resumed}{left}", flush=True)

    return report
