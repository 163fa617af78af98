"""`sweep`: runs a grid of parameter values in one call; and the two most common tables.

    runs = sweep(scenario, {"client.policy": [{"preset": "nats"}, {"preset": "steadywire"}]}, replications=20, workers=-1)
    interval(runs, "latency_p95_s", by="client.policy")
    paired(runs, "latency_p95_s", by="client.policy")

`Experiment` has other designs, your own figures, clusters and more.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.scenario.scenario import Scenario
from simulation.studies import statistics
from simulation.studies.design import grid as grid_of
from simulation.studies.experiment import Experiment
from simulation.studies.statistics import CONFIDENCE


def sweep(
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    replications: int = 10,
    workers: int = 1,
) -> pd.DataFrame:
    """One row per run: the values of the grid, seed, replication, digest of the trace, guarantees violated, and its summary.

    `grid`: by dotted path (see `Scenario.replace`) the values to try; every combination is run `replications` times. `workers`:
    processes; -1 for one on each core. Raises ConfigError for a grid that makes no scenario, before anything is run.
    """
    return Experiment(scenario, grid_of(grid or {}), replications=replications).run(workers=workers).runs


def interval(runs: pd.DataFrame, figure: str, *, by: str | Sequence[str] = (), confidence: float = CONFIDENCE) -> pd.DataFrame:
    """The mean of a figure over replications with its t interval, for each point: columns mean, low, high, replications, missing.

    missing: runs in which there was nothing to measure; they are in no mean. Raises ConfigError for an unknown figure, and if
    `by` leaves out a parameter with several values: the runs of one replication are not independent.
    """
    _check(runs, figure, by)
    columns = [by] if isinstance(by, str) else list(by)
    groups = runs.groupby(columns, sort=False, dropna=False) if columns else [((), runs)]
    rows = []
    for _, rows_of in groups:
        values = _by_replication(rows_of, figure, columns)
        key = {column: rows_of[column].iloc[0] for column in columns}
        rows.append({**key, **_columns(statistics.t_interval(values.tolist(), confidence)), "missing": int(values.isna().sum())})
    return pd.DataFrame(rows)


def paired(runs: pd.DataFrame, figure: str, *, by: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """The difference of a figure to that of the first value of `by`, replication by replication, with its t interval.

    Only replications in which both have the figure count. Columns: `by`, against, mean, low, high, replications. Raises
    ConfigError for an unknown figure, and for runs in which other parameters have several values: choose one of each first.
    """
    _check(runs, figure, by)
    values = runs[by].drop_duplicates().tolist()
    of_each = (runs[runs[by].isna() if pd.isna(value) else runs[by] == value] for value in values)
    table = pd.DataFrame({place: _by_replication(runs_of, figure, [by]) for place, runs_of in enumerate(of_each)})
    rows = []
    for place, value in enumerate(values[1:], 1):
        difference = statistics.paired_interval(table[place].tolist(), table[0].tolist(), confidence)
        rows.append({by: value, "against": values[0], **_columns(difference)})
    return pd.DataFrame(rows, columns=[by, "against", "mean", "low", "high", "replications"])


def _by_replication(rows: pd.DataFrame, figure: str, by: Sequence[str]) -> "pd.Series[float]":
    """A figure by seed and replication, as far as the rows have these. Raises ConfigError if there are several of one."""
    keys = [column for column in ("seed", "replication") if column in rows.columns]
    if keys and rows.duplicated(keys).any():
        same = f" with the same {', '.join(by)}" if by else ""
        raise ConfigError(
            f"several runs of one replication{same}: name the other parameters in `by`, or choose the rows of one value of each"
        )
    return (rows.set_index(keys) if keys else rows)[figure].astype(float)


def _columns(interval: statistics.Interval) -> dict[str, float | int]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "replications": interval.n}


def _check(runs: pd.DataFrame, figure: str, by: str | Sequence[str]) -> None:
    for column in (figure, *([by] if isinstance(by, str) else by)):
        if column not in runs.columns:
            raise ConfigError(f"no column {column!r} in these runs; there are {', '.join(runs.columns)}")
