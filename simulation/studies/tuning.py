"""What a tuning asks: objectives, constraints, scenarios; and how one setting is scored.

    [tune]
    objectives = [{ figure = "back_99_s" }, { figure = "attempts_peak_per_s", weight = 0.2 }]
    constraints = [{ figure = "accept_queue_max", most = 1000 }, { figure = "delivery_rate", least = 0.99 }]
    combine = "worst"                         # over several scenarios: the worst, or the weighted mean
    trials = 60
    finalists = 6

An objective is compared with its value for the untuned setting (the baseline: the scenario as it is) in the same scenario. A
ratio of 0.5 means half of that. The score of a setting in a scenario is the weighted mean of its ratios; its score is the worst,
or the weighted mean, over the scenarios. A setting that is good in one scenario and bad in another does not win.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from reference.protocol.errors import ConfigError

LEAST_RATIO_BASE = 1e-9
"""A baseline value below this cannot be divided by; such an objective is compared by its difference instead."""

Figures = Mapping[str, float]
"""Of one run: figure -> value; NaN where nothing was measured."""


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure to make small (`goal` "min") or large ("max"). `weight`: in the score, relative to the other objectives."""

    figure: str
    goal: Literal["min", "max"] = "min"
    weight: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0


class Constraint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mean of a figure must be at least `least` and at most `most`, in every scenario."""

    figure: str
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ConfigError(f"the constraint on {self.figure} needs least, most, or both")

    def excess(self, value: float) -> float:
        """By how much a value breaks the bound, relative to it; 0 or less if it keeps it. NaN breaks it."""
        if math.isnan(value):
            return math.inf
        over = -math.inf if self.most is None else (value - self.most) / max(abs(self.most), LEAST_RATIO_BASE)
        under = -math.inf if self.least is None else (self.least - value) / max(abs(self.least), LEAST_RATIO_BASE)
        return max(over, under)

    def __str__(self) -> str:
        least = "" if self.least is None else f"at least {self.least:g}"
        most = "" if self.most is None else f"at most {self.most:g}"
        return f"{self.figure} {' and '.join(filter(None, (least, most)))}"


class Tune(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See the module. `replications`: of each trial. `final_replications`: of each finalist, on seeds that the search has not
    seen; up to `final_replications_max` until the best is known with `confidence`. `delta`: two settings whose scores differ by
    less count as equally good. `batch`: trials that are proposed at a time; the search is the same for any number of workers."""

    objectives: Annotated[tuple[Objective, ...], msgspec.Meta(min_length=1, max_length=8)]
    constraints: tuple[Constraint, ...] = ()
    combine: Literal["worst", "weighted"] = "worst"
    trials: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 60
    replications: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 3
    finalists: Annotated[int, msgspec.Meta(ge=2, le=50)] = 6
    final_replications: Annotated[int, msgspec.Meta(ge=5, le=10_000)] = 20
    final_replications_max: Annotated[int, msgspec.Meta(ge=5, le=10_000)] = 60
    confidence: Annotated[float, msgspec.Meta(gt=0.5, lt=1)] = 0.95
    delta: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.02
    batch: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 8
    compare_presets: bool = True
    """Whether the table shows every preset of `client.policy` in the same scenarios."""

    def __post_init__(self) -> None:
        names = [objective.figure for objective in self.objectives]
        if len(set(names)) < len(names):
            raise ConfigError(f"two objectives name the same figure: {', '.join(names)}")
        if self.final_replications > self.final_replications_max:
            raise ConfigError("final_replications must not exceed final_replications_max")

    @property
    def figures(self) -> tuple[str, ...]:
        """Every figure that is needed, each once."""
        named = [*(each.figure for each in self.objectives), *(each.figure for each in self.constraints)]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class Scorer:
    """Scores runs against a baseline. `baseline`: for each scenario the mean of each figure of the untuned setting. `weights`: of
    the scenarios, for combine = "weighted"."""

    tune: Tune
    baseline: Sequence[Figures]
    weights: Sequence[float]

    def ratio(self, objective: Objective, value: float, scenario: int) -> float:
        """How a value compares with the baseline's: 1 is equal, less is better. Infinite if it is NaN."""
        if math.isnan(value):
            return math.inf
        base = self.baseline[scenario][objective.figure]
        if math.isnan(base) or abs(base) < LEAST_RATIO_BASE:
            return 1.0 + (value if objective.goal == "min" else -value)
        ratio = value / base
        if objective.goal == "min":
            return ratio
        return math.inf if ratio <= 0 else 1 / ratio

    def objective(self, objective: Objective, per_scenario: Sequence[Figures]) -> float:
        """One objective's ratio, combined over the scenarios."""
        return self._combined([self.ratio(objective, figures[objective.figure], s) for s, figures in enumerate(per_scenario)])

    def score(self, per_scenario: Sequence[Figures]) -> float:
        """The score of a setting: `per_scenario` has its figures in each scenario (of one replication, or means)."""
        total = math.fsum(objective.weight for objective in self.tune.objectives)
        scores = []
        for scenario, figures in enumerate(per_scenario):
            ratios = (each.weight * self.ratio(each, figures[each.figure], scenario) for each in self.tune.objectives)
            scores.append(math.fsum(ratios) / total)
        return self._combined(scores)

    def excesses(self, per_scenario: Sequence[Figures]) -> list[float]:
        """For each constraint by how much it is broken in the worst scenario; 0 or less where it holds."""
        return [max(each.excess(figures[each.figure]) for figures in per_scenario) for each in self.tune.constraints]

    def _combined(self, values: Sequence[float]) -> float:
        if self.tune.combine == "worst":
            return max(values)
        total = math.fsum(self.weights)
        return math.fsum(weight * value for weight, value in zip(self.weights, values, strict=True)) / total


def mean_figures(runs: Sequence[Figures], names: Sequence[str]) -> dict[str, float]:
    """The mean of each figure over replications. A figure that one replication lacks (nobody came back, say) is NaN: a setting
    must not look better because its worst runs have no value."""
    means = {}
    for name in names:
        values = [float(run.get(name, math.nan)) for run in runs]
        means[name] = math.nan if any(map(math.isnan, values)) else math.fsum(values) / len(values)
    return means
