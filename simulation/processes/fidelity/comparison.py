"""Two samples of one measure, compared: quantiles, their differences, and confidence intervals.

The interval of a difference comes from a bootstrap over clusters, of both sides independently: 95 % of the differences that other
publishes, or other clients, of the same kind would show. Two figures agree within 10 % of the real one, or within 5 ms. The
verdict depends on the interval and the number of samples: *no* needs an interval completely outside of the tolerance, *yes* one
completely within it, from at least 20 samples on either side; everything else is *perhaps*.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from simulation.processes.fidelity.measures import ComparedMeasure, Floats

RELATIVE_MAX = 0.10
SECONDS_MAX = 0.005
COUNT_MAX = 0.25
"""Of a mean of counts."""
RESAMPLES = 1000
SAMPLES_MIN = 20
"""On either side, for a figure to be said to agree."""
Verdict = Literal["yes", "no", "perhaps", "nothing to compare"]
QUANTILES: tuple[tuple[str, float], ...] = (("p50", 0.5), ("p95", 0.95))


Ints = NDArray[np.int64]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one measure. difference: simulated - real; low and high: its 95 % interval. agrees None: no samples on both
    sides, so there is nothing to compare."""

    measure: str
    unit: str
    figure: str
    simulated: float | None
    real: float | None
    difference: float | None
    low: float | None
    high: float | None
    samples_simulated: int
    samples_real: int
    share_simulated: float
    share_real: float
    agrees: bool | None

    @property
    def verdict(self) -> Verdict:
        """yes, no, or perhaps: by the interval and the number of samples."""
        if self.agrees is None or self.low is None or self.high is None or self.real is None:
            return "nothing to compare"
        if self.low == self.high:  # counts that are all equal have no spread: the difference itself is judged
            return "yes" if self.agrees else "no"
        tolerance = max(RELATIVE_MAX * abs(self.real), SECONDS_MAX if self.unit else COUNT_MAX)
        if self.low > tolerance or self.high < -tolerance:
            return "no"
        is_within = -tolerance <= self.low and self.high <= tolerance
        return "yes" if is_within and min(self.samples_simulated, self.samples_real) >= SAMPLES_MIN else "perhaps"


@dataclass(frozen=True, slots=True)
class _Side:
    """Samples in ascending order, and the cluster of each."""

    values: Floats
    owners: Ints
    clusters: int

    @classmethod
    def of(cls, measure: ComparedMeasure) -> "_Side":
        owners = np.repeat(np.arange(len(measure.clusters)), [len(cluster) for cluster in measure.clusters])
        order = np.argsort(measure.samples, kind="stable")
        return cls(measure.samples[order], owners[order], len(measure.clusters))

    def figure(self, name: str, weights: Floats | Ints) -> float:
        """A quantile, or the mean, with each cluster counted as often as `weights` says."""
        each = weights[self.owners]
        total = np.cumsum(each)
        if name == "mean":
            return float(np.dot(each, self.values) / total[-1])
        fraction = dict(QUANTILES)[name]
        return float(self.values[min(np.searchsorted(total, fraction * total[-1]), len(self.values) - 1)])


def compare(simulated: ComparedMeasure, real: ComparedMeasure, *, seed: int) -> list[Difference]:
    """The figures of one measure: quantiles of times, the mean of counts. `seed`: of the bootstrap."""
    names = ["mean"] if not real.unit else [name for name, _ in QUANTILES]
    sides = (_Side.of(simulated), _Side.of(real))
    if not all(len(side.values) for side in sides):
        return [_difference(simulated, real, name, None, None, None) for name in names]
    chance = np.random.default_rng(seed)
    random_source = [
        [np.bincount(chance.integers(side.clusters, size=side.clusters), minlength=side.clusters) for _ in range(RESAMPLES)]
        for side in sides
    ]
    found = []
    for name in names:
        estimates = [side.figure(name, np.ones(side.clusters)) for side in sides]
        resampled = [
            np.array([side.figure(name, weights) for weights in drawn]) for side, drawn in zip(sides, random_source, strict=True)
        ]
        low, high = np.quantile(resampled[0] - resampled[1], (0.025, 0.975))
        found.append(_difference(simulated, real, name, estimates[0], estimates[1], (float(low), float(high))))
    return found


def _difference(
    simulated: ComparedMeasure,
    real: ComparedMeasure,
    figure: str,
    ours: float | None,
    theirs: float | None,
    interval: tuple[float, float] | None,
) -> Difference:
    gap = None if ours is None or theirs is None else ours - theirs
    least = SECONDS_MAX if real.unit else COUNT_MAX
    return Difference(
        measure=real.name,
        unit=real.unit,
        figure=figure,
        simulated=ours,
        real=theirs,
        difference=gap,
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        samples_simulated=len(simulated.samples),
        samples_real=len(real.samples),
        share_simulated=simulated.share,
        share_real=real.share,
        agrees=None if gap is None or theirs is None else abs(gap) <= max(RELATIVE_MAX * abs(theirs), least),
    )
