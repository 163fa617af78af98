"""`steadywire what-if`: simulates a recorded run as it was and with changes, and prints both beside the recording."""

from collections.abc import Sequence
from pathlib import Path as FilePath

from rich.console import Console
from rich.table import Table

from reference.cli.files import writing
from reference.cli.output import Output
from simulation.cli.changes import change_of
from simulation.replay.what_if import MEASURES, Column, WhatIfResult, read_recording, what_if

PLAYED = 0
COLUMNS: tuple[Column, ...] = ("recorded", "as it was", "changed")


def what_if_command(
    recording: FilePath, changes: Sequence[str], *, save: FilePath | None = None, console: Console | None = None
) -> int:
    """Returns the exit code. `changes`: like `client.policy.cap_s=10`; `save`: where the recording's scenario goes.

    Raises ConfigError.
    """
    console = console or Output()
    recorded = read_recording(recording)
    if save is not None:
        with writing(save):
            save.write_text(recorded.scenarios()[-1].to_toml(), encoding="utf-8")
    answer = what_if(recorded, dict(map(change_of, changes)))
    console.print(_table(answer))
    if len(recorded.traces) > 1:
        console.print("Ranges: the network came back at the earliest, or at the latest, time that the record allows.")
    return PLAYED


def _table(answer: WhatIfResult) -> Table:
    changes = ", ".join(f"{path} = {value}" for path, value in answer.changes.items()) or "nothing"
    table = Table("", *COLUMNS, title=f"changed: {changes}", title_justify="left")
    for measure in MEASURES:
        table.add_row(measure, *(_shown(answer, column, measure) for column in COLUMNS))
    return table


def _shown(answer: WhatIfResult, column: Column, measure: str) -> str:
    found = answer.range_of(column, measure)
    if found is None:
        return "-"
    low, high = (f"{value:.3f}" if measure.endswith(", s") else f"{value:.0f}" for value in found)
    return low if low == high else f"{low} to {high}"
