"""`steadywire tune`: finds the best settings for a study, and writes a report and settings files."""

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

from reference.cli.files import writing
from reference.cli.output import Output
from simulation.cli.sweep import progress_shown
from simulation.results.html import shown
from simulation.studies.study import load_study
from simulation.studies.tuning import report as tuning_report
from simulation.studies.tuning.search import BASELINE, Tuned, tune
from simulation.studies.tuning.sensitivity import sensitivity as analyse

FOUND, NOTHING_FOUND = 0, 1
ROWS_SHOWN = 30


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
    _print(tuned, console)
    if influence is not None:
        console.print(_table("what matters", influence.columns, influence.itertuples(index=False)))
    for line in tuning_report.conclusions(tuned):
        console.print(line, highlight=False)
    console.print(f"report: {paths[0]}; settings: {', '.join(str(path) for path in paths[1:]) or 'none'}", highlight=False)
    return NOTHING_FOUND if tuned.selection is None else FOUND


def _print(tuned: Tuned, console: Console) -> None:
    if tuned.selection is None:
        return
    frame = tuned.table()
    best = tuned.selection.best
    frame["setting"] = [f"tuned ({name})" if name == best and name != BASELINE else name for name in frame["setting"]]
    console.print(_table("on fresh seeds, best first", frame.columns, frame.head(ROWS_SHOWN).itertuples(index=False)))


def _table(title: str, columns: "object", rows: "object") -> Table:
    headers = [Column(str(name), overflow="fold") for name in columns]  # type: ignore[attr-defined]  # a frame's columns
    table = Table(*headers, title=title, title_justify="left")
    for row in rows:  # type: ignore[attr-defined]  # and its rows
        table.add_row(*map(shown, row))
    return table
