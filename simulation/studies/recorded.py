"""Figures of traces that `steadywire fidelity --keep FOLDER` left: the same scenarios simulated, and played by real processes.

    python -m simulation.studies.recorded FOLDER recovery_p99_s storm_peak_per_s

Figures are those of a study (`simulation.studies.figures`, and the columns of the summary).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.scenario.scenario import load_scenario
from simulation.studies.experiment import check_figures, figures_of
from simulation.trace.trace import Trace
from simulation.world import Result

SIDES = ("simulated", "real")


def recorded(folder: Path, figures: Sequence[str]) -> pd.DataFrame:
    """One row per run and side: run, side, and the figures. Raises ConfigError for an unknown figure or an empty folder."""
    check_figures(figures)
    rows = []
    for place in sorted(path.parent for path in folder.glob("*/scenario.toml")):
        scenario = load_scenario(place / "scenario.toml")
        for side in SIDES:
            trace = Trace.read(place / f"{side}.jsonl")
            rows.append({"run": place.name, "side": side, **figures_of(Result(scenario, 0, trace, 0), figures)})
    if not rows:
        raise ConfigError(f"{folder} has no runs; make some with `steadywire fidelity --keep {folder}`")
    return pd.DataFrame(rows)


if __name__ == "__main__":
    try:
        print(recorded(Path(sys.argv[1]), sys.argv[2:]).to_string(index=False, float_format="{:.4g}".format))
    except ConfigError as error:
        sys.exit(str(error))
