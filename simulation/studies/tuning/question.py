"""The question of a tuning: objectives, constraints, scenarios; and the score of one setting.

    [tune]
    objectives = [{ figure = "back_99_s" }, { figure = "attempts_peak_per_s", weight = 0.2 }]
    constraints = [{ figure = "accept_queue_max", most = 1000 }, { figure = "delivery_rate", least = 0.99 }]
    combine = "worst"                         # over several scenarios: the worst, or the weighted mean
    trials = 60
    finalists = 6

An objective is compared with its value for the untuned setting (the baseline: the scenario as it is) in the same scenario. A
ratio of 0.5 means half of that. The score of a setting in a scenario is the weighted mean of its ratios; its score is the worst,
or the weighted mean, over the scenarios. Ratios are those of means over the replications, and so is every score: in the search,
the table and the selection (`by_replication`). The baseline is estimated from the same replications, so an interval of a score
has the variance of both and their covariance. A setting that is good in one scenario and bad in another does not win; with the
mean, `score_most` = 1.05 says so: in no scenario may the score be above that. An objective that the baseline does not have in a
scenario (nothing was published there, say) does not count in that scenario.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec

from reference.protocol.errors import ConfigError

LEAST_RATIO_BASE = 1e-9
"""A baseline value below this is too small for a ratio; such an objective is compared by its difference instead."""

Figures = Mapping[str, float]
"""Of one run: figure -> value; NaN where nothing was measured."""


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure to minimise (`goal` "min") or maximise ("max"). `weight`: in the score, relative to the other objectives.
    `scenarios`: the names of those in which it counts (none: in all)."""

    figure: str
    goal: Literal["min", "max"] = "min"
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    scenarios: tuple[str, ...] = ()


class Constraint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mean of a figure must be at least `least` and at most `most`. `scenarios`: the names of those in which it must
    (none: in all)."""

    figure: str
    least: float | None = None
    most: float | None = None
    scenarios: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ConfigError(f"the constraint on {self.figure} needs least, most, or both")

    def excess(self, value: float) -> float:
        """By how much a value violates the bound, relative to it; 0 or less if it satisfies it. NaN violates it."""
        if math.isnan(value):
            return math.inf
        over = -math.inf if self.most is None else (value - self.most) / max(abs(self.most), LEAST_RATIO_BASE)
        under = -math.inf if self.least is None else (self.least - value) / max(abs(self.least), LEAST_RATIO_BASE)
        return max(over, under)

    def __str__(self) -> str:
        least = "" if self.least is None else f"at least {self.least:g}"
        most = "" if self.most is None else f"at most {self.most:g}"
        where = f" in {', '.join(self.scenarios)}" if self.scenarios else ""
        return f"{self.figure} {' and '.join(filter(None, (least, most)))}{where}"


class FullSize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The chosen setting and the unchanged one are run at these scales; the smallest is the reference: 1 is full size."""

    scales: Annotated[tuple[Annotated[float, msgspec.Meta(ge=1, le=100_000)], ...], msgspec.Meta(min_length=2, max_length=8)]
    replications: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 5


class Tune(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module. `replications`: of each trial. `final_replications`: of each finalist, on seeds that the search has not
    seen; up to `final_replications_max` until the best is known with `confidence`. `delta`: two settings whose scores differ by
    less count as equally good. `keep_baseline`: the setting as it is stays the choice unless another is better by more than
    `delta`, by the interval of the difference. `batch`: trials that are proposed at a time; the search is the same for any number
    of workers."""

    objectives: Annotated[tuple[Objective, ...], msgspec.Meta(min_length=1, max_length=8)]
    constraints: tuple[Constraint, ...] = ()
    combine: Literal["worst", "weighted"] = "worst"
    score_most: Annotated[float, msgspec.Meta(gt=0)] | None = None
    search: Literal["front", "score"] = "front"
    """What the search minimises: each objective, for a Pareto front, or the score alone, which needs fewer trials."""
    trials: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 60
    replications: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 3
    finalists: Annotated[int, msgspec.Meta(ge=2, le=50)] = 6
    final_replications: Annotated[int, msgspec.Meta(ge=5, le=10_000)] = 20
    final_replications_max: Annotated[int, msgspec.Meta(ge=5, le=10_000)] = 60
    confidence: Annotated[float, msgspec.Meta(gt=0.5, lt=1)] = 0.95
    delta: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    keep_baseline: bool = False
    batch: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 8
    compare_presets: bool = True
    """Whether the table shows every preset of `client.policy` in the same scenarios."""
    preset_replications: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 10
    """Of each; no more than the finalists have."""
    preset_finalists: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    """How many of them, the best by score, run as often as the finalists."""
    candidates: tuple[dict[str, Any], ...] = ()
    """Settings that take part in the finals in any case, such as rounded values of an earlier answer."""
    full: FullSize | None = None
    """How the answer of a scaled study is confirmed (`scale_check`)."""

    def __post_init__(self) -> None:
        names = [objective.figure for objective in self.objectives]
        if len(set(names)) < len(names):
            raise ConfigError(f"two objectives name the same figure: {', '.join(names)}")
        if self.final_replications > self.final_replications_max:
            raise ConfigError("final_replications must not exceed final_replications_max")

    @property
    def constraint_names(self) -> list[str]:
        """Of every constraint, in words, in the order of `Scorer.excesses`."""
        most = [] if self.score_most is None else [f"score in every scenario at most {self.score_most:g}"]
        return [*map(str, self.constraints), *most]

    @property
    def figures(self) -> tuple[str, ...]:
        """Every needed figure, once."""
        named = [*(each.figure for each in self.objectives), *(each.figure for each in self.constraints)]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class Scorer:
    """Scores runs against a baseline. `baseline`: for each scenario the mean of each figure of the untuned setting. `weights`: of
    the scenarios, for combine = "weighted". `runs`: from which the means of the baseline come, [scenario][replication]; none: the
    baseline is exact."""

    tune: Tune
    baseline: Sequence[Figures]
    weights: Sequence[float]
    scenarios: Sequence[str] = ()
    """Their names, in the order of `baseline`."""
    runs: Sequence[Sequence[Figures]] = ()

    def __post_init__(self) -> None:
        if not self.scenarios:
            object.__setattr__(self, "scenarios", ("",) * len(self.baseline))
        for place in range(len(self.baseline)):
            if not any(place in self._having(objective) for objective in self.tune.objectives):
                raise ConfigError(f"scenario {place + 1} has none of the objectives: nothing that they measure happens there")

    @cached_property
    def without(self) -> "tuple[Scorer, ...]":
        """For each replication of the baseline: this scorer as it would be without it; empty if the baseline is exact.

        A mean that is infinite or missing stays as it is: whether an objective counts does not depend on one replication.
        """
        scorers = []
        for k in range(len(self.runs[0]) if self.runs else 0):
            varied = []
            for of, means in zip(self.runs, self.baseline, strict=True):
                rest = mean_figures([*of[:k], *of[k + 1 :]], tuple(means))
                varied.append({name: rest[name] if math.isfinite(mean) else mean for name, mean in means.items()})
            scorers.append(Scorer(self.tune, varied, self.weights, self.scenarios))
        return tuple(scorers)

    def ratio(self, objective: Objective, value: float, scenario: int) -> float:
        """A value relative to the baseline's: 1 is equal, less is better. Infinite if it is NaN."""
        if math.isnan(value):
            return math.inf
        base = self.baseline[scenario][objective.figure]
        if math.isinf(base):
            return 1.0 if value == base else 0.0
        if abs(base) < LEAST_RATIO_BASE:
            return 1.0 + (value if objective.goal == "min" else -value)
        ratio = value / base
        if objective.goal == "min":
            return ratio
        return math.inf if ratio <= 0 else 1 / ratio

    def objective(self, objective: Objective, per_scenario: Sequence[Figures]) -> float:
        """One objective's ratio, combined over the scenarios that have it; NaN if none has."""
        ratios = {s: self.ratio(objective, per_scenario[s][objective.figure], s) for s in self._having(objective)}
        return self._combined(ratios) if ratios else math.nan

    def score(self, per_scenario: Sequence[Figures]) -> float:
        """The score of a setting: `per_scenario` has its figures in each scenario (of one replication, or means)."""
        return self._combined(dict(enumerate(self.scores(per_scenario))))

    def scores(self, per_scenario: Sequence[Figures]) -> list[float]:
        """The score in each scenario."""
        scores = []
        for scenario, figures in enumerate(per_scenario):
            having = [each for each in self.tune.objectives if scenario in self._having(each)]
            ratios = (each.weight * self.ratio(each, figures[each.figure], scenario) for each in having)
            scores.append(math.fsum(ratios) / math.fsum(each.weight for each in having))
        return scores

    def excesses(self, per_scenario: Sequence[Figures]) -> list[float]:
        """For each constraint, `score_most` last, by how much it is violated in the worst scenario; 0 or less if it is
        satisfied."""
        excesses = [
            max(each.excess(per_scenario[place][each.figure]) for place in self._bound(each)) for each in self.tune.constraints
        ]
        if self.tune.score_most is not None:
            excesses.append(max(self.scores(per_scenario)) / self.tune.score_most - 1)
        return excesses

    def _bound(self, constraint: Constraint) -> list[int]:
        """The scenarios in which the constraint must hold."""
        return [place for place, name in enumerate(self.scenarios) if not constraint.scenarios or name in constraint.scenarios]

    def _having(self, objective: Objective) -> list[int]:
        """The scenarios in which the objective counts and the baseline has it."""
        return [
            place
            for place, (name, figures) in enumerate(zip(self.scenarios, self.baseline, strict=True))
            if (not objective.scenarios or name in objective.scenarios) and not math.isnan(figures[objective.figure])
        ]

    def _combined(self, values: Mapping[int, float]) -> float:
        """`values`: by scenario."""
        if self.tune.combine == "worst":
            return max(values.values())
        total = math.fsum(self.weights[place] for place in values)
        return math.fsum(self.weights[place] * value for place, value in values.items()) / total


def mean_figures(runs: Sequence[Figures], names: Sequence[str]) -> dict[str, float]:
    """The mean of each figure over replications. A figure that one replication lacks (no client came back, for example) is NaN: a
    setting must not look better because its worst runs have no value."""
    means = {}
    for name in names:
        values = [float(run.get(name, math.nan)) for run in runs]
        means[name] = math.nan if any(map(math.isnan, values)) else math.fsum(values) / len(values)
    return means


def by_replication(
    scorer: Scorer, value: Callable[[Scorer, Sequence[Figures]], float], runs: Sequence[Sequence[Figures]], names: Sequence[str]
) -> list[float]:
    """One number per replication of `runs` ([scenario][replication]), for intervals of `value` (`Scorer.score`, say) of the means
    of the figures `names`: their mean is that value. They are jackknife pseudo-values (Tukey 1958), which leave a replication out
    of the setting and of the baseline at once: a ratio of two means varies with both, and less than either where both vary
    together. If the baseline is exact and `value` is linear, they are its values in each replication.

    A worst score is not linear: the mean of the worst scores is above the worst of the mean scores. If the value of the means is
    not finite, neither is that of some replication, and the values in each replication are returned. Raises ValueError if the
    baseline has another number of replications.
    """
    times = len(runs[0])
    scorers = scorer.without or (scorer,) * times
    if len(scorers) != times:
        raise ValueError(f"{times} replications against {len(scorers)} of the baseline: they are compared one by one")
    whole = value(scorer, [mean_figures(of, names) for of in runs])
    without = [
        value(scorers[k], [mean_figures([*of[:k], *of[k + 1 :]], names) for of in runs]) for k in range(times if times > 1 else 0)
    ]
    if not without or not all(map(math.isfinite, (whole, *without))):
        return [value(scorer, [of[k] for of in runs]) for k in range(times)]
    centre = math.fsum(without) / times
    return [whole + (times - 1) * (centre - each) for each in without]
