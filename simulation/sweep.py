"""Many runs of a scenario: replications and grids on several workers, and what may be said of them.

    runs = sweep(scenario, {"client.policy": [{"preset": "nats"}, {"preset": "steadywire"}]}, replications=20, workers=4)
    interval(runs, "latency_p95_s", by="client.policy")
    paired(runs, "latency_p95_s", by="client.policy")

Every point of the grid is run with the same replications, and chance is drawn by (seed, replication, entity, purpose, index), so
two points are compared on the same arrivals, losses and draws (common random numbers): `paired` subtracts replication by
replication before it averages, which takes far fewer runs than two independent means. Messages of one run are not independent of
each other, so a quantile is taken of each replication first, and the interval is over replications.

Results do not depend on the number of workers, on their order or on a hash seed: a run is a function of its scenario, its seed
and its replication.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats

from reference.protocol.errors import ConfigError
from simulation.results.frames import summary
from simulation.scenario import presets
from simulation.scenario.presets import PRESETS, Preset
from simulation.scenario.scenario import Scenario
from simulation.world import World

RUNS_MAX = 1_000_000


def sweep(
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]] | None = None,
    *,
    replications: int = 10,
    workers: int = 1,
) -> pd.DataFrame:
    """One row per run: the values of the grid, seed, replication, digest of the trace, guarantees violated, and its summary.

    `grid`: by dotted path (see `Scenario.replace`) the values to try; every combination is run `replications` times. `workers`:
    processes; -1 for one on each core. A row's values of the grid are as they were given where they are numbers, text or
    booleans, and JSON otherwise. Raises ConfigError for a grid that makes no scenario, before anything is run.
    """
    if replications < 1:
        raise ConfigError(f"replications = {replications}: at least one")
    points = _points(grid or {})
    if len(points) * replications > RUNS_MAX:
        raise ConfigError(f"{len(points)} points times {replications} replications; the limit is {RUNS_MAX} runs")
    variants = [scenario.replace(point) for point in points]
    own = {name: preset for name, preset in PRESETS.items() if name not in presets.SHIPPED}
    tasks = [delayed(_run)(variant.to_json(), replication, own) for variant in variants for replication in range(replications)]
    done: list[dict[str, Any]] = Parallel(n_jobs=workers, backend="loky")(tasks)
    named = [_named(point) for point in points for _ in range(replications)]
    return pd.DataFrame([{**point, **row} for point, row in zip(named, done, strict=True)])


def interval(runs: pd.DataFrame, figure: str, *, by: str | Sequence[str] = (), confidence: float = 0.95) -> pd.DataFrame:
    """The mean of a figure over replications with its t interval, for each point: columns mean, low, high, replications, missing.

    missing: runs in which there was nothing to measure; they are in no mean. Raises ConfigError for an unknown figure.
    """
    _check(runs, figure, by)
    columns = [by] if isinstance(by, str) else list(by)
    groups = runs.groupby(columns, sort=False) if columns else [((), runs)]
    rows = []
    for point, rows_of in groups:
        values = rows_of[figure].astype(float)
        key = dict(zip(columns, point if isinstance(point, tuple) else (point,), strict=True))
        rows.append({**key, **_t_interval(values.dropna().tolist(), confidence), "missing": int(values.isna().sum())})
    return pd.DataFrame(rows)


def paired(runs: pd.DataFrame, figure: str, *, by: str, confidence: float = 0.95) -> pd.DataFrame:
    """The difference of a figure to that of the first value of `by`, replication by replication, with its t interval.

    Only replications in which both have the figure count. Columns: `by`, against, mean, low, high, replications.
    """
    _check(runs, figure, by)
    others = [column for column in runs.columns if column in ("seed", "replication")]
    table = runs.pivot_table(index=others, columns=by, values=figure, aggfunc="first", sort=False)
    first, *rest = [value for value in dict.fromkeys(runs[by]) if value in table.columns]
    rows = []
    for value in rest:
        differences = (table[value] - table[first]).dropna().tolist()
        rows.append({by: value, "against": first, **_t_interval(differences, confidence)})
    return pd.DataFrame(rows, columns=[by, "against", "mean", "low", "high", "replications"])


def _run(scenario_text: str, replication: int, own_presets: Mapping[str, Preset]) -> dict[str, Any]:
    """One run, in whatever process."""
    from simulation.scenario.scenario import parse_scenario

    PRESETS.update({name: preset for name, preset in own_presets.items() if name not in PRESETS})
    scenario = parse_scenario(scenario_text)
    result = World(scenario, replication).run()
    violated = [name for name, verdict in result.verdicts.items() if verdict.violated]
    return {
        "scenario": scenario.digest(),
        "seed": scenario.seed,
        "replication": replication,
        "trace": result.trace.digest(),
        "violated": ", ".join(violated),
        **{str(name): value for name, value in summary(result.trace_index).iloc[0].items()},
    }


def _points(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    for path, values in grid.items():
        if isinstance(values, str) or not len(values):
            raise ConfigError(f"{path}: give a list of values to try")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _named(point: Mapping[str, Any]) -> dict[str, Any]:
    named = {}
    for path, value in point.items():
        is_plain = isinstance(value, bool | int | float | str) or value is None
        named[path] = value if is_plain else json.dumps(msgspec.to_builtins(value), sort_keys=True)
    return named


def _t_interval(values: Sequence[float], confidence: float) -> dict[str, float | int]:
    """A Student t interval for the mean of independent values; without a width where there are fewer than two."""
    count = len(values)
    mean = math.fsum(values) / count if count else math.nan
    half = math.nan
    if count > 1:
        error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
        half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return {"mean": mean, "low": mean - half, "high": mean + half, "replications": count}


def _check(runs: pd.DataFrame, figure: str, by: str | Sequence[str]) -> None:
    for column in (figure, *([by] if isinstance(by, str) else by)):
        if column not in runs.columns:
            raise ConfigError(f"no column {column!r} in these runs; there are {', '.join(runs.columns)}")
