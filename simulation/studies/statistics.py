"""Statistics of replications: intervals, paired differences, shares, quantiles, and where a warm-up ends.

Replications of a simulation are independent; the messages of one run are not (their variance would be up to 17 times too small).
So every interval here is over replications, one value each. Two settings that ran with common random numbers are compared
replication by replication (`paired_interval`), which needs far fewer runs than two independent means.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from reference.protocol.errors import ConfigError

CONFIDENCE = 0.95
MSER_BATCH = 5
"""Observations in a batch of MSER-5 (White 1997)."""


class Interval(NamedTuple):
    """A mean with the bounds of its interval; NaN bounds where there are fewer than two values, or an infinite one (something
    never ended). `n`: how many values."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's t interval for the mean of independent values. NaNs are left out."""
    known = [float(value) for value in values if not math.isnan(value)]
    n = len(known)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    if not all(map(math.isfinite, known)):
        return Interval(sum(known) / n, math.nan, math.nan, n)  # NaN if infinities of both signs leave no mean
    mean = math.fsum(known) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, 1)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1) / n)
    half = float(stats.t.ppf((1 + checked_confidence(confidence)) / 2, n - 1)) * error
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(values: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """t interval for the mean of values[i] - others[i]; pairs without a difference (one is NaN, or both are equally infinite) are
    left out. Raises ValueError for lengths that differ."""
    return t_interval([value - other for value, other in zip(values, others, strict=True)], confidence)


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for a share, such as that of runs in which a guarantee held (Wilson 1927)."""
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials}: successes are from 0 to the number of trials")
    if trials == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = float(stats.norm.ppf((1 + checked_confidence(confidence)) / 2))
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), trials)


def all_pairs(values: Mapping[str, Sequence[float]], confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Every pair of settings compared on the same replications. Columns: first, second, mean (first - second), low, high, n,
    p_value, p_adjusted (Holm 1979), differs.

    The intervals hold simultaneously (Bonferroni): each has the confidence 1 - (1 - confidence) / pairs. `differs` says whether
    the adjusted p value is below 1 - confidence. The p value is that of the paired t test; of the sign test, if a difference is
    infinite (something never ended); and 1 with fewer than two differences, from which nothing follows.
    """
    names = list(values)
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    rows = []
    for one, other in pairs:
        each = 1 - (1 - checked_confidence(confidence)) / len(pairs)
        interval = paired_interval(values[one], values[other], each)
        rows.append({"first": one, "second": other, **interval._asdict(), "p_value": _p_value(values[one], values[other])})
    table = pd.DataFrame(rows, columns=["first", "second", "mean", "low", "high", "n", "p_value"])
    table["p_adjusted"] = _holm(table["p_value"].tolist())
    table["differs"] = table["p_adjusted"] < 1 - confidence
    return table


def quantile_interval(
    per_run: Sequence[Sequence[float]], fraction: float, confidence: float = CONFIDENCE, *, resamples: int = 2000, seed: int = 1
) -> Interval:
    """A quantile of all values of all runs together, with a bootstrap interval that resamples whole runs.

    Values of one run depend on each other, so runs are resampled and never single values. The percentiles of the resamples are
    taken further out as Student's t is wider than the normal law (the expanded percentile interval of Hesterberg 2015); plain
    ones are too narrow for few runs. What no run had it cannot see, so a quantile in a tail needs many runs: of ten whose levels
    differ three times as much as the values of one, a 95 % interval covers the quantile of 0.9 in about seven of ten cases, the
    median as often as it should. `n`: the number of runs. Raises ValueError for a fraction outside of 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction = {fraction}: must be from 0 to 1")
    runs = [np.asarray(run, dtype=float) for run in per_run]
    runs = [run[~np.isnan(run)] for run in runs]
    runs = [run for run in runs if len(run)]
    if not runs:
        return Interval(math.nan, math.nan, math.nan, 0)
    pooled = _quantile(runs, fraction)
    if len(runs) == 1:
        return Interval(pooled, math.nan, math.nan, 1)
    random = np.random.default_rng(seed)
    found = [_quantile([runs[place] for place in random.integers(len(runs), size=len(runs))], fraction) for _ in range(resamples)]
    wider = math.sqrt(len(runs) / (len(runs) - 1)) * stats.t.ppf((1 + checked_confidence(confidence)) / 2, len(runs) - 1)
    tail = float(stats.norm.sf(wider))
    low, high = (_quantile([np.array(found)], each) for each in (tail, 1 - tail))
    return Interval(pooled, low, high, len(runs))


def _quantile(runs: "Sequence[np.ndarray]", fraction: float) -> float:
    """Of all values together; not between two values if one is infinite, for which numpy has no number."""
    values = np.concatenate(runs)
    return float(np.quantile(values, fraction, method="linear" if np.isfinite(values).all() else "higher"))


def mser(values: Sequence[float], batch: int = MSER_BATCH) -> int:
    """How many values at the start belong to the warm-up, by MSER (White 1997): the truncation that makes the standard error of
    the mean of the rest smallest.

    A NaN is a moment at which there was nothing to measure. It keeps its place, so the result counts places of `values`: a batch
    is the mean of what it has, and one that has nothing is left out. Only truncations that leave at least half of the batches are
    considered; a result that leaves no more means that the series is too short to tell. 0 if a value is infinite: there is no
    mean.
    """
    return _truncation(values, batch)[0]


def _truncation(values: Sequence[float], batch: int) -> tuple[int, bool]:
    """The result of `mser`, and whether the series is too short to tell."""
    series = np.asarray(values, dtype=float)
    batches = series[: len(series) // batch * batch].reshape(-1, batch)
    places = np.flatnonzero(~np.isnan(batches).all(axis=1))
    means = np.nanmean(batches[places], axis=1) if len(places) else np.empty(0)
    n = len(means)
    if n < 2 or not np.isfinite(means).all():
        return 0, True
    tails = [(float(np.var(means[cut:])) / (n - cut), cut) for cut in range(n // 2 + 1)]
    cut = min(tails)[1]
    return (int(places[cut]) * batch if cut else 0), cut >= n // 2


class WarmUp(NamedTuple):
    """`values`: how many at the start of a series belong to it. `is_short`: the series ends too early to tell."""

    values: int
    is_short: bool


def common_warm_up(per_run: Sequence[Sequence[float]], batch: int = MSER_BATCH) -> WarmUp:
    """Where the warm-up ends in several replications of one series: MSER of their mean, value by value.

    Replications warm up alike and fluctuate apart, so their mean shows the end more clearly than one of them. A value that some
    of them lack (NaN) is the mean of the others. It is as long as the shortest that has any value.
    """
    runs = [series for series in (np.asarray(run, dtype=float) for run in per_run) if not np.isnan(series).all()]
    if not runs:
        return WarmUp(0, True)
    table = np.array([series[: min(map(len, runs))] for series in runs])
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    sums = np.where(known, table, 0.0).sum(axis=0)
    means = np.divide(sums, counts, out=np.full(len(sums), math.nan), where=counts > 0)
    return WarmUp(*_truncation(means.tolist(), batch))


def runs_needed(values: Sequence[float], half_width: float, confidence: float = CONFIDENCE) -> int:
    """The approximate number of replications for an interval of that half width, by the variance of those that ran (at least
    2)."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return 2
    deviation = float(np.std(known, ddof=1))
    n = len(known)
    for _ in range(50):
        wanted = max(
            2,
            math.ceil(
                (float(stats.t.ppf((1 + checked_confidence(confidence)) / 2, max(n - 1, 1))) * deviation / half_width) ** 2
            ),
        )
        if wanted == n:
            break
        n = wanted
    return n


def _p_value(values: Sequence[float], others: Sequence[float]) -> float:
    differences = [one - other for one, other in zip(values, others, strict=True) if not math.isnan(one - other)]
    if len(differences) < 2:
        return 1.0
    if not all(map(math.isfinite, differences)):
        above, below = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
        return float(stats.binomtest(above, above + below).pvalue)
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment."""
    order = sorted((p, place) for place, p in enumerate(p_values))
    adjusted, most = [1.0] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        most = max(most, min(1.0, (len(order) - rank) * p))
        adjusted[place] = most
    return adjusted


def checked_confidence(confidence: float) -> float:
    """The same confidence. Raises ConfigError if it is none."""
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence = {confidence}: must be between 0 and 1, such as 0.95")
    return confidence
