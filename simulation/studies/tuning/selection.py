"""Ranking and selection: which of several settings is the best, and how certain that is.

All settings run the same replications with common random numbers, so their scores are compared replication by replication. The
probability that the chosen setting is right is estimated by resampling whole replications with replacement (bootstrap): the share
of resamples in which its mean score is the lowest, and the share in which it is within `delta` of the lowest. Settings that do
not differ significantly from the chosen one are named: their paired difference, corrected for the number of comparisons, is not
significant, or is below delta.

A setting that is in use can be kept, because a change has a cost of its own. Then another one is chosen only if it is better by
more than `delta`, by the whole interval of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulation.studies.statistics import CONFIDENCE, Interval, paired_interval, t_interval

RESAMPLES = 4000


@dataclass(frozen=True)
class Selection:
    """`best`: the name of the chosen setting: the one with the lowest mean score (`lowest`), or one that is kept because no other
    is better by more than `delta`. `is_best`: the probability that it is the best; `is_good`: that it is within `delta` of the
    best. `tied`: those that do not differ from it significantly. `scores`: each mean with its t interval
    of the same confidence; infinite if the setting has no score in some replication."""

    best: str
    lowest: str
    is_best: float
    is_good: float
    delta: float
    tied: tuple[str, ...]
    scores: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    """Of each other setting to the best one, paired; intervals hold all at once (Bonferroni)."""
    replications: int


def select(
    scores: Mapping[str, Sequence[float]],
    *,
    delta: float,
    confidence: float = CONFIDENCE,
    keep: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Selection:
    """Choose the setting with the lowest mean score. `scores`: name -> score by replication, equally many of each. An infinite
    score (something never happened) makes a setting lose. `keep`: a setting that stays the choice unless that one is better by
    more than `delta`; it is no choice if it has no finite score. Raises ValueError for fewer than two replications or no
    settings."""
    names = list(scores)
    table = np.array([list(scores[name]) for name in names], dtype=float)
    if table.ndim != 2 or table.shape[0] < 1 or table.shape[1] < 2:
        raise ValueError("a selection needs at least one setting and two replications of each")
    finite = np.isfinite(table).all(axis=1)
    if not finite.any():
        raise ValueError("no setting has a score in every replication: each fails its objective now and then")
    means = np.where(finite, np.where(np.isfinite(table), table, 0.0).mean(axis=1), np.inf)
    lowest = place = int(means.argmin())
    each = 1 - (1 - confidence) / max(int(finite.sum()) - 1, 1)
    kept = names.index(keep) if keep in names else lowest
    if finite[kept] and not paired_interval(scores[names[kept]], scores[names[lowest]], each).low > delta:
        place = kept
    random = np.random.default_rng(seed)
    draws = random.integers(table.shape[1], size=(resamples, table.shape[1]))
    compared = table[finite]
    own = int(np.flatnonzero(np.flatnonzero(finite) == place)[0])
    resampled = compared[:, draws].mean(axis=2)
    least = resampled.min(axis=0)
    is_best = float((resampled[own] <= least).mean())
    is_good = float((resampled[own] <= least + delta).mean())
    others = [name for name, known in zip(names, finite, strict=True) if known and name != names[place]]
    differences = {name: paired_interval(scores[name], scores[names[place]], each) for name in others}
    tied = tuple(name for name, difference in differences.items() if _is_tied(difference, delta))
    return Selection(
        best=names[place],
        lowest=names[lowest],
        is_best=is_best,
        is_good=is_good,
        delta=delta,
        tied=tied,
        scores={name: t_interval(scores[name], confidence) for name in names},
        differences=differences,
        replications=table.shape[1],
    )


def _is_tied(difference: Interval, delta: float) -> bool:
    """Whether a paired difference is not significant, or smaller than what matters."""
    return not (difference.low > 0 or difference.high < 0) or (difference.low > -delta and difference.high < delta)


def pareto_front(rows: Sequence[Sequence[float]]) -> list[int]:
    """The places of the rows that no other row dominates: not worse in any value and better in one. Lower is better."""
    front = []
    for place, row in enumerate(rows):
        beaten = any(
            all(other <= own for other, own in zip(others, row, strict=True))
            and any(other < own for other, own in zip(others, row, strict=True))
            for others in rows
        )
        if not beaten:
            front.append(place)
    return front
