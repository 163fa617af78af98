"""Evaluation of a setting in all scenarios of a study: it is run, scaled if the study says so, and scored against the
baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reference.protocol.errors import ConfigError
from simulation.scenario.scaling import scaled
from simulation.scenario.scenario import Scenario
from simulation.studies.design import Point
from simulation.studies.execution import Backend, Report, Rows
from simulation.studies.experiment import Experiment
from simulation.studies.study import Study
from simulation.studies.tuning.question import Figures, Scorer, Tune, mean_figures

FRESH_SEEDS = 1_000_003
"""Added to the seed for the finals."""
TUNED = "-tuned"
"""Added to the name of a scenario with the chosen setting."""


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

    def __init__(self, study: Study, folder_of_study: Path, *, workers: int, dask: str | None, folder: str | Path | None) -> None:
        self.tune: Tune = study.tuning
        self.scenarios = study.scenarios_of(folder_of_study)
        self.names = tuple(scenario.name for scenario in self.scenarios)
        if len(set(self.names)) < len(self.names):
            raise ConfigError("two scenarios of the study have the same name; give one another with set = { name = ... }")
        for scenario in self.scenarios:
            _check_tuned_name(scenario, self.names)
        named = [(f"objective {each.figure}", each.scenarios) for each in self.tune.objectives]
        named += [(f"constraint {each.figure}", each.scenarios) for each in self.tune.constraints]
        for asked, names in named:
            for name in names:
                if name not in self.names:
                    raise ConfigError(f"the {asked} names {name!r}, which is no scenario of this study")
        self._seed = study.seed
        self.processes = Backend(workers, dask).processes
        """How many runs are carried out at a time; on a cluster, at least."""
        self._weights = study.weights
        self._scales = study.scales
        self.scaled = tuple(scale != 1 for scale in study.scales)
        if self.tune.full is not None and not any(self.scaled):
            raise ConfigError("tune.full confirms a scaled answer, and no scenario of this study has a scale; leave it out")
        self._workers, self._dask, self._rows = workers, dask, Rows(folder)
        self.note = self._rows.note
        """About runs in the folder that are not used; empty if there are none."""

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
            outcome = experiment.run(workers=self._workers, dask=self._dask, folder=self._rows, report=report)
            if len(outcome.failures) == len(outcome.runs):
                raise ConfigError(f"{scenario.name}: every run failed: {outcome.failures['error'].iloc[0]}")
            for place, runs in enumerate(_by_point(outcome.runs, self.tune.figures, len(points))):
                found[place].append(runs)
        return found

    def scorer(self, replications: int, *, fresh: bool) -> Scorer:
        """Scores against the baseline on the same seeds."""
        return self.scorer_of(self.runs([{}], replications, fresh=fresh)[0])

    def scorer_of(self, baseline: Sequence[Sequence[Figures]]) -> Scorer:
        """Scores against these runs of the baseline: [scenario][replication]."""
        means = [mean_figures(runs, self.tune.figures) for runs in baseline]
        return Scorer(self.tune, means, self._weights, self.names, baseline)

    def candidate(self, name: str, point: Point, per_scenario: Sequence[Sequence[Figures]], scorer: Scorer) -> Candidate:
        means = tuple(mean_figures(runs, self.tune.figures) for runs in per_scenario)
        objectives = tuple(scorer.objective(each, means) for each in self.tune.objectives)
        return Candidate(name, dict(point), means, scorer.score(means), objectives, tuple(scorer.excesses(means)))


def _check_tuned_name(scenario: Scenario, names: Sequence[str]) -> None:
    """Raise ConfigError unless the scenario with the chosen setting can have a name of its own: its file is named after it."""
    advice = "give the scenario another name with set = { name = ... }"
    name = scenario.name + TUNED
    if name in names:
        raise ConfigError(f"{name!r} is a scenario, and the name of {scenario.name!r} with the chosen setting; {advice}")
    try:
        scenario.replace(name=name)
    except ConfigError:
        raise ConfigError(f"{name!r}, the name of {scenario.name!r} with the chosen setting, is too long; {advice}") from None


def _by_point(runs: pd.DataFrame, figures: Sequence[str], points: int) -> list[list[Figures]]:
    """The figures of each point by replication; NaN in a run that failed."""
    values = runs[list(figures)].astype(float)
    of = [values[runs["point"] == place].to_numpy().tolist() for place in range(points)]
    return [[dict(zip(figures, row, strict=True)) for row in rows] for rows in of]
