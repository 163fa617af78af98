"""Intervals compared with numbers from tables and textbooks, and with how often they cover the true value."""

import math
import random

import numpy as np
import pytest

from reference.protocol.errors import ConfigError
from simulation.studies import all_pairs, mser, paired_interval, quantile_interval, t_interval, wilson_interval
from simulation.studies.statistics import common_warm_up, runs_needed


def test_t_interval_of_a_known_sample() -> None:
    # t(0.975, 2) = 4.302653 from the table; the standard error of 1, 2, 3 is 1 / sqrt(3).
    interval = t_interval([1.0, 2.0, 3.0, math.nan])
    assert (interval.mean, interval.n) == (2.0, 3)
    assert interval.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert math.isnan(t_interval([1.0]).low)
    assert t_interval([]).n == 0


def test_wilson_interval_of_known_shares() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    interval = wilson_interval(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)
    interval = wilson_interval(0, 20)
    assert (interval.low, round(interval.high, 4)) == (0.0, 0.1611)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson_interval(3, 2)


def test_pairs_take_the_common_part_out() -> None:
    chance = random.Random(3)
    common = [chance.gauss(0, 10) for _ in range(30)]
    one = [value + chance.gauss(0, 0.1) for value in common]
    other = [value + 1 + chance.gauss(0, 0.1) for value in common]
    assert paired_interval(other, one).half_width < 0.1
    assert t_interval(one).half_width > 2


def test_all_pairs_are_corrected() -> None:
    chance = random.Random(4)
    values = {name: [chance.gauss(0, 1) for _ in range(20)] for name in "abcd"}
    values["far"] = [value + 5 for value in values["a"]]
    table = all_pairs(values)
    assert len(table) == 10
    distinguished = {(row.first, row.second) for row in table[table["differs"]].itertuples()}
    assert distinguished == {(name, "far") for name in "abcd"}
    single = paired_interval(values["a"], values["b"])
    of_ten = table.iloc[0]
    assert of_ten["high"] - of_ten["low"] > 2 * single.half_width  # ten intervals that hold at once are wider
    assert (table["p_adjusted"] >= table["p_value"] - 1e-15).all()


def test_every_pair_has_a_p_value() -> None:
    """Of one replication, of equal values, and of values that are infinite: a client that never came back."""
    never = math.inf
    few = all_pairs({"a": [1.0], "b": [2.0]}).iloc[0]
    assert (few["mean"], few["n"], few["p_value"], few["differs"]) == (-1.0, 1, 1.0, False)
    constant = all_pairs({"a": [1.0] * 3, "b": [2.0] * 3, "as a": [1.0] * 3})
    assert constant["p_adjusted"].tolist() == [0.0, 1.0, 0.0]
    assert constant["differs"].tolist() == [True, False, True]
    endless = all_pairs({"a": [never] * 10, "b": [2.0] * 10, "c": [2.0, never] + [2.0] * 8, "as a": [never] * 10})
    pairs = endless.set_index(["first", "second"])
    assert pairs.loc[("a", "b"), "mean"] == never
    assert pairs.loc[("a", "b"), "p_value"] == pytest.approx(2 / 2**10)
    assert pairs["differs"].to_dict() == {
        ("a", "b"): True,
        ("a", "c"): True,
        ("a", "as a"): False,
        ("b", "c"): False,
        ("b", "as a"): True,
        ("c", "as a"): True,
    }
    mixed = all_pairs({"a": [never, 1.0], "b": [1.0, never]}).iloc[0]
    assert (mixed["n"], mixed["p_value"], mixed["differs"]) == (2, 1.0, False)


def test_among_equal_settings_hardly_ever_one_differs() -> None:
    chance = random.Random(5)
    wrong = 0
    for _ in range(100):
        values = {str(k): [chance.gauss(0, 1) for _ in range(15)] for k in range(5)}
        wrong += bool(all_pairs(values)["differs"].any())
    assert wrong <= 12  # 5 expected; without the correction about 28


def test_a_pooled_quantile_resamples_runs_and_not_messages() -> None:
    chance = random.Random(6)
    runs = []
    for _ in range(20):
        level = chance.gauss(10, 2)  # the messages of one run depend on each other
        runs.append([level + chance.gauss(0, 0.1) for _ in range(200)])
    interval = quantile_interval(runs, 0.5)
    assert interval.low < 10 < interval.high
    assert interval.half_width > 0.4  # of 4000 independent values it would be 0.06
    assert quantile_interval(runs, 0.5) == interval
    endless = quantile_interval([[1.0, 2.0, 3.0], [4.0, math.inf, math.inf]], 0.5)  # who never came back
    assert (endless.mean, endless.low, endless.high) == (4.0, 2.0, math.inf)
    assert quantile_interval([[1.0, 2.0, math.inf]] * 2, 0.4).mean == 2.0


def test_the_interval_of_a_quantile_is_as_wide_as_few_runs_need() -> None:
    """For the median of six runs with one value each the resamples are known: by how often each run is drawn."""
    values = [[float(k)] for k in range(6)]
    drawn = np.random.default_rng(1).integers(6, size=(2000, 6))
    medians = np.sort(drawn, axis=1)[:, 2:4].mean(axis=1)
    # t(0.975, 5) = 2.570582 from the table; times the root of 6 / 5 it is 2.815932, beyond which is 0.002432 of the normal law
    low, high = np.quantile(medians, (0.002432, 1 - 0.002432))
    interval = quantile_interval(values, 0.5)
    assert (interval.mean, interval.low, interval.high, interval.n) == pytest.approx((2.5, low, high, 6))
    assert (low, high) != tuple(np.quantile(medians, (0.025, 0.975)))


def test_mser_finds_the_end_of_a_transient() -> None:
    chance = random.Random(7)
    series = [20 * math.exp(-k / 30) + chance.gauss(0, 1) for k in range(1000)]
    assert 60 <= mser(series) <= 200
    assert mser([chance.gauss(0, 1) for _ in range(1000)]) <= 100
    assert mser([1.0]) == 0


def test_the_mean_of_replications_shows_a_warm_up_that_noise_hides() -> None:
    chance = random.Random(9)
    runs = [[2.0 * (k < 100) + chance.gauss(0, 3) for k in range(1000 + 10 * run)] for run in range(40)]
    found = common_warm_up(runs)
    assert abs(found.values - 100) <= 10
    assert not found.is_short
    alone = [abs(mser(run) - 100) for run in runs]
    assert sum(alone) / len(alone) > 10
    assert common_warm_up([[5.0 - k for k in range(100)], []]).is_short, "it never settles"
    assert common_warm_up([[1.0] * 9]).is_short
    assert common_warm_up([]) == (0, True)


def test_a_missing_value_keeps_its_place_in_a_series() -> None:
    """The warm-up ends after 200 of 1000 values, whichever of them are missing."""
    series = [4.0 * (k < 200) + 5.0 + (0.1 if k // 5 % 2 else -0.1) for k in range(1000)]
    missing = (set(), set(range(0, 150, 2)), set(range(50, 100)), {3, 701}, set(range(600, 900, 3)), set(range(1000)))
    runs = [[math.nan if k in places else value for k, value in enumerate(series)] for places in missing]
    assert [mser(run) for run in runs] == [200, 200, 200, 200, 200, 0]
    assert common_warm_up(runs) == (200, False)
    assert common_warm_up(runs[-1:]) == (0, True)
    nowhere = [math.nan] * 5
    assert mser([9.0] * 5 + nowhere + [1.0] * 20 + nowhere * 6) == 10, "places of the series, not of what is left of it"
    assert common_warm_up([[1.0] * 50 + [math.inf] * 50]).is_short


def test_mser_takes_the_truncation_with_the_least_standard_error() -> None:
    """By its definition: of batch means y, the least sum((y_i - mean)**2 for i >= d) / (n - d)**2."""
    chance = random.Random(12)
    series = [3.0 * (k < 20) + chance.gauss(0, 1) for k in range(60)]
    batches = [math.fsum(series[k : k + 5]) / 5 for k in range(0, 60, 5)]
    errors = {}
    for d in range(7):
        rest = batches[d:]
        mean = math.fsum(rest) / len(rest)
        errors[d] = math.fsum((y - mean) ** 2 for y in rest) / len(rest) ** 2
    assert mser(series) == 5 * min(errors, key=lambda d: errors[d])


def test_how_many_runs_a_precision_needs() -> None:
    chance = random.Random(8)
    values = [chance.gauss(0, 1) for _ in range(2000)]
    needed = runs_needed(values, 0.1)
    assert 350 <= needed <= 450  # (1.96 / 0.1) ** 2 = 384
    assert t_interval([chance.gauss(0, 1) for _ in range(needed)]).half_width == pytest.approx(0.1, rel=0.15)


def test_a_confidence_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        t_interval([1.0, 2.0], 95)
