"""Check of a scaled study: the chosen and the unchanged setting, run at several scales.

    [tune]
    full = { scales = [20, 10, 1], replications = 5 }

The smallest scale of the list is the reference; 1 is full size. Counts are multiplied by the scale (`scenario.scaling`), so that
all scales describe the same world. `off` is the difference of a mean from the reference, relative to it. A figure that one
replication lacks has no mean, as in a score, and keeps no constraint.
"""

import math
from collections.abc import Sequence

import pandas as pd

from simulation.studies.design import Point
from simulation.studies.execution import Report
from simulation.studies.statistics import Interval, t_interval
from simulation.studies.tuning.evaluation import Evaluator
from simulation.studies.tuning.question import FullSize, Tune

COLUMNS = ["scenario", "setting", "scale", "figure", "mean", "low", "high", "n", "off"]


def scale_check(
    evaluator: Evaluator, asked: FullSize, settings: Sequence[tuple[str, Point]], report: Report | None
) -> pd.DataFrame:
    """One row per scenario, setting, scale and figure. The settings run on fresh seeds. Raises ConfigError."""
    rows = []
    for scale in sorted(asked.scales):
        found = evaluator.runs([point for _, point in settings], asked.replications, fresh=True, report=report, scale=scale)
        for (name, _), per_scenario in zip(settings, found, strict=True):
            for scenario, runs, is_scaled in zip(evaluator.scenarios, per_scenario, evaluator.scaled, strict=True):
                if not is_scaled:
                    continue
                for figure in evaluator.tune.figures:
                    interval = mean_of_all([run[figure] for run in runs], evaluator.tune.confidence)
                    about = {"scenario": scenario.name, "setting": name, "scale": scale, "figure": figure}
                    rows.append({**about, **interval._asdict()})
    table = pd.DataFrame(rows)
    truth = table[table["scale"] == min(asked.scales)].set_index(["scenario", "setting", "figure"])["mean"]
    keys = list(zip(table["scenario"], table["setting"], table["figure"], strict=True))
    table["off"] = [
        (mean - truth[key]) / abs(truth[key]) if truth[key] else math.nan for mean, key in zip(table["mean"], keys, strict=True)
    ]
    return table[COLUMNS]


def mean_of_all(values: Sequence[float], confidence: float) -> Interval:
    """The t interval if every replication has a value; else NaN: a setting must not look better because its worst runs have
    none."""
    interval = t_interval(values, confidence)
    return interval if interval.n == len(values) else Interval(math.nan, math.nan, math.nan, interval.n)


def sentences(table: pd.DataFrame, tune: Tune, baseline: str) -> list[str]:
    """The conclusions for the chosen setting at the smallest scale, and how far the other scales are from it."""
    least = table["scale"].min()
    where = "At full size" if least == 1 else f"At scale {least:g}"
    is_baseline = table["setting"] == baseline
    chosen = table if is_baseline.all() else table[~is_baseline]
    before = table[is_baseline & (table["scale"] == least)].set_index(["scenario", "figure"])["mean"]
    smallest = chosen[chosen["scale"] == least]
    lines = []
    for objective in tune.objectives:
        for _, row in smallest[smallest["figure"] == objective.figure].iterrows():
            key = (row["scenario"], row["figure"])
            as_it_is = f", {before[key]:.4g} as it is" if key in before and row["setting"] != baseline else ""
            interval = f"{row['mean']:.4g} [{row['low']:.4g}, {row['high']:.4g}]"
            lines.append(f"{where}, {row['scenario']}: {objective.figure} {interval}{as_it_is}.")
    for constraint in tune.constraints:
        for _, row in smallest[smallest["figure"] == constraint.figure].iterrows():
            if not constraint.scenarios or row["scenario"] in constraint.scenarios:
                verdict = "holds" if constraint.excess(float(row["mean"])) <= 0 else "is BROKEN"
                lines.append(f"{where}, {row['scenario']}: {constraint} {verdict} ({row['mean']:.4g}).")
    for scale in sorted(set(table["scale"]) - {least}):
        far = chosen[(chosen["scale"] == scale) & chosen["off"].notna()]
        if len(far):
            each = ", ".join(f"{row['figure']} {row['off']:+.0%}" for _, row in far.head(4).iterrows())
            lines.append(f"Scale {scale:g} is off by at most {far['off'].abs().max():.0%} ({each}).")
    return lines
