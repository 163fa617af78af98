"""Sensitivity analysis: Morris' elementary effects of all parameters, then Sobol indices of the important ones (with SALib).

Morris (1991) needs few runs and ranks: mu_star is the mean absolute effect of a step across a parameter's range on the score,
sigma how much it varies (interactions, or a curved response). Sobol's indices say which share of the variance of the score a
parameter explains alone (S1) and with its interactions (ST). All settings run with common random numbers, so an effect is caused
by the parameter and not by randomness.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.studies.design import Point
from simulation.studies.execution import Report
from simulation.studies.study import Study, parameters_of
from simulation.studies.tuning.evaluation import Evaluator
from simulation.studies.tuning.question import Scorer
from simulation.studies.tuning.search import Say
from simulation.studies.tuning.space import numeric

TRAJECTORIES = 8
SOBOL_SAMPLES = 32
MATTERS = 0.1
"""A parameter matters if its mu_star is at least this share of the largest one."""
ANALYSED_MAX = 4


def sensitivity(
    study: Study,
    folder_of_study: Path,
    *,
    workers: int = 1,
    dask: str | None = None,
    folder: str | Path | None = None,
    seed: int = 1,
    say: Say = lambda _: None,
    report: Report | None = None,
) -> pd.DataFrame:
    """One row per numeric parameter, the strongest first: parameter, mu_star, sigma, S1 and ST (NaN for those that were not
    analysed further). mu_star, S1 and ST have intervals with the study's `tune.confidence`, in columns that end in _low and
    _high. Choices keep the scenario's own value. Raises ConfigError."""
    from SALib.analyze import morris as morris_analysis
    from SALib.analyze import sobol as sobol_analysis
    from SALib.sample import morris, sobol

    ranges = numeric(parameters_of(study.parameters))
    if not ranges:
        raise ConfigError("no parameter is a range: there is nothing whose influence could be measured")
    evaluator = Evaluator(study, folder_of_study, workers=workers, dask=dask, folder=folder)
    scorer = evaluator.scorer(study.tuning.replications, fresh=False)

    def scores(samples: "np.ndarray", names: Sequence[str]) -> "np.ndarray":
        points = [{name: ranges[name].at(float(u)) for name, u in zip(names, row, strict=True)} for row in samples]
        return np.array(_scores(evaluator, points, scorer, report))

    problem = _problem(list(ranges))
    samples = morris.sample(problem, TRAJECTORIES, seed=seed)
    say(f"Morris: {len(samples)} settings")
    asked = {"conf_level": study.tuning.confidence, "seed": seed}
    effects = morris_analysis.analyze(problem, samples, scores(samples, list(ranges)), **asked)
    table = pd.DataFrame({"parameter": list(ranges), "mu_star": effects["mu_star"], "sigma": effects["sigma"]})
    table["mu_star_conf"] = np.asarray(effects["mu_star_conf"], dtype=float)
    table = table.sort_values("mu_star", ascending=False, kind="stable").reset_index(drop=True)
    strong = table[table["mu_star"] >= MATTERS * table["mu_star"].max()]["parameter"].tolist()[:ANALYSED_MAX]
    table[["S1", "S1_conf", "ST", "ST_conf"]] = math.nan
    if len(strong) > 1:
        smaller = _problem(strong)
        samples = sobol.sample(smaller, SOBOL_SAMPLES, calc_second_order=False, seed=seed)
        say(f"Sobol: {len(samples)} settings of {', '.join(strong)}")
        indices = sobol_analysis.analyze(smaller, scores(samples, strong), calc_second_order=False, **asked)
        for column in ("S1", "S1_conf", "ST", "ST_conf"):
            table[column] = table["parameter"].map(dict(zip(strong, indices[column], strict=True)))
    columns = ["parameter"]
    for value in ("mu_star", "S1", "ST"):
        half = table[f"{value}_conf"]  # half of SALib's interval
        table[f"{value}_low"], table[f"{value}_high"] = table[value] - half, table[value] + half
        columns += [value, f"{value}_low", f"{value}_high", *(["sigma"] if value == "mu_star" else [])]
    return table[columns]


def _scores(evaluator: Evaluator, points: Sequence[Point], scorer: Scorer, report: Report | None) -> list[float]:
    """The score of each setting; a setting that has none (no client reconnected) counts as ten times the worst that has one."""
    found = evaluator.runs(points, evaluator.tune.replications, fresh=False, report=report)
    scores = [evaluator.candidate("", point, runs, scorer).score for point, runs in zip(points, found, strict=True)]
    worst = max((score for score in scores if math.isfinite(score)), default=1.0)
    return [score if math.isfinite(score) else 10 * worst for score in scores]


def _problem(names: Sequence[str]) -> dict[str, object]:
    return {"num_vars": len(names), "names": list(names), "bounds": [[0.0, 1.0]] * len(names)}
