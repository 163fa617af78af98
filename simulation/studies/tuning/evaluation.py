"""Evaluation of a setting in all scenarios of a study: it is run, scaled if the study says so, and scored against the
baseline."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.scenario.scaling import scaled
from simulation.studies.design import Point
from simulation.studies.execution import Backend, Report
from simulation.studies.experiment import Experiment
from simulation.studies.study import Study
from simulation.studies.tuning.question import Figures, Scorer, Tune, mean_figures

FRESH_SEEDS = 1_000_003
"""Added to the seed for the finals."""


@dataclass(frozen=True)
class Candidate:
    """A setting and its results: the means of the figures in each scenario, score, ratio of each objective to the baseline's, and
    the excess of each constraint (0 or less: it is satisfied)."""

    name: str
    point: Point
    figures: tuple[Figures, ...]
    score: float
    objectives: tuple[float, ...]
    excesses: tuple[float, ...]

    @property
    def is_feasible(self) -> bool:
        return all(excess <= 0 for excess in self.excesses)


class Evaluator:
    """Runs settings in all scenarios of a study and scores them."""

    def __init__(self, study: Study, folder_of_study: Path, *, workers: int, dask: str | None, folder: Path | None) -> None:
        self.tune: Tune = study.tuning
        self.scenarios = study.scenarios_of(folder_of_study)
        self.names = tuple(scenario.name for scenario in self.scenarios)
        named = [(f"objective {each.figure}", each.scenarios) for each in self.tune.objectives]
        named += [(f"constraint {each.figure}", each.scenarios) for each in self.tune.constraints]
        for asked, names in named:
            for name in names:
                if name not in self.names:
                    raise ConfigError(f"the {asked} names {name!r}, which is no scenario of this study")
        self._seed = study.seed
        self.processes = Backend(workers, dask).processes
        """How many runs are carried out at a time; on a cluster, at least."""
        self._run = functools.partial(_run, workers=workers, dask=dask, folder=folder)
        self._scorers: dict[int, Scorer] = {}
        self._weights = study.weights
        self._scales = study.scales
        self.scaled = tuple(scale != 1 for scale in study.scales)
        if self.tune.full is not None and not any(self.scaled):
            raise ConfigError("tune.full confirms a scaled answer, and no scenario of this study has a scale; leave it out")

    def check(self, point: Point) -> str | None:
        """Why a setting has no valid scenario; None if it has one."""
        try:
            for scenario, scale in zip(self.scenarios, self._scales, strict=True):
                scaled(scenario.replace(point), scale)
        except ConfigError as error:
            return str(error)
        return None

    def runs(
        self,
        points: Sequence[Point],
        replications: int,
        *,
        fresh: bool,
        report: Report | None = None,
        scale: float | None = None,
    ) -> list[list[list[Figures]]]:
        """The figures of each setting in each scenario by replication: [setting][scenario][replication]. `scale`: in place of
        the scales of scenarios that the study scales."""
        found: list[list[list[Figures]]] = [[] for _ in points]
        for scenario, own_scale in zip(self.scenarios, self._scales, strict=True):
            seed = (scenario.seed if self._seed is None else self._seed) + (FRESH_SEEDS if fresh else 0)
            experiment = Experiment(
                scenario, points, self.tune.figures, replications, seed, scale=own_scale if own_scale == 1 else scale or own_scale
            )
            outcome = self._run(experiment, report)
            if len(outcome.failures) == len(outcome.runs):
                raise ConfigError(f"{scenario.name}: every run failed: {outcome.failures['error'].iloc[0]}")
            for place, runs in found_by_point(outcome.runs, self.tune.figures, len(points)).items():
                found[place].append(runs)
        return found

    def scorer(self, replications: int, *, fresh: bool) -> Scorer:
        """Scores against the baseline on the same seeds."""
        key = replications if fresh else 0
        if key not in self._scorers:
            per_scenario = self.runs([{}], replications, fresh=fresh)[0]
            means = [mean_figures(runs, self.tune.figures) for runs in per_scenario]
            self._scorers[key] = Scorer(self.tune, means, self._weights, self.names)
        return self._scorers[key]

    def candidate(self, name: str, point: Point, per_scenario: Sequence[Sequence[Figures]], scorer: Scorer) -> Candidate:
        means = tuple(mean_figures(runs, self.tune.figures) for runs in per_scenario)
        objectives = tuple(scorer.objective(each, means) for each in self.tune.objectives)
        return Candidate(name, dict(point), means, scorer.score(means), objectives, tuple(scorer.excesses(means)))


def found_by_point(runs: pd.DataFrame, figures: Sequence[str], points: int) -> dict[int, list[Figures]]:
    """The figures of each point by replication; NaN in a run that failed."""
    known = [figure for figure in figures if figure in runs.columns]
    found: dict[int, list[Figures]] = {place: [] for place in range(points)}
    for row in runs.sort_values(["point", "replication"], kind="stable").to_dict("records"):
        values = {figure: float(row[figure]) if figure in known else math.nan for figure in figures}
        found[int(row["point"])].append(values if not row["error"] else dict.fromkeys(figures, math.nan))
    return found


def _run(experiment: Experiment, report: Report | None, *, workers: int, dask: str | None, folder: Path | None) -> Any:
    return experiment.run(workers=workers, dask=dask, folder=folder, report=report)
