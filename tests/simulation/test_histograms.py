"""A histogram of a fixed size: its quantiles have the stated accuracy, and the order of merging does not matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.errors import ConfigError
from simulation.trace.histograms import LEAST, MOST, LogHistogram
from simulation.trace.measured import Measured

VALUES = st.lists(st.one_of(st.just(0.0), st.floats(LEAST, MOST)), min_size=1, max_size=60)
FRACTIONS = st.floats(0, 1)


@given(VALUES, FRACTIONS, st.sampled_from([0.001, 0.01, 0.1]))
def test_a_quantile_is_within_the_stated_error_of_the_exact_one(values: list[float], fraction: float, error: float) -> None:
    read = LogHistogram.of(values, error).quantile(fraction)
    assert read == pytest.approx(float(np.quantile(values, fraction)), rel=error * (1 + 1e-9), abs=1e-300)


def test_a_quantile_of_two_values_is_between_them() -> None:
    histogram = LogHistogram.of([1.0, 100.0])
    assert histogram.quantile(0.95) == pytest.approx(95.05, rel=0.01)
    assert [histogram.quantile(fraction) for fraction in (0.0, 1.0)] == pytest.approx([1.0, 100.0], rel=0.01)


@given(VALUES, VALUES)
def test_merged_ones_are_what_one_would_have_been(one: list[float], other: list[float]) -> None:
    merged, whole = LogHistogram.of(one), LogHistogram.of([*one, *other])
    merged.merge(LogHistogram.of(other))
    assert merged.buckets() == whole.buckets()
    assert (merged.count, merged.smallest, merged.largest) == (whole.count, whole.smallest, whole.largest)
    assert merged.mean == pytest.approx(whole.mean)


@given(VALUES)
def test_it_is_read_back_as_it_was_written(values: list[float]) -> None:
    written = LogHistogram.of(values)
    read = Measured.from_histogram(written).histogram()
    assert [read.quantile(q / 10) for q in range(11)] == [written.quantile(q / 10) for q in range(11)]
    assert read.mean == written.mean


def test_its_size_does_not_grow_with_the_number_of_values() -> None:
    histogram = LogHistogram()
    for step in range(20_000):
        histogram.add(LEAST * (MOST / LEAST) ** (step / 19_999))
    histogram.add(0.0)
    histogram.add(10 * MOST)
    assert len(histogram.buckets()) <= 1844
    assert histogram.quantile(0.0) == 0.0
    assert histogram.quantile(1.0) == pytest.approx(MOST, rel=0.01)


def test_no_values_have_no_quantile_and_invalid_values_are_refused() -> None:
    assert LogHistogram().quantile(0.5) is None
    assert LogHistogram().mean is None
    for value in (-1.0, math.nan):
        with pytest.raises(ValueError, match="no place"):
            LogHistogram().add(value)
    with pytest.raises(ValueError, match="from 0 to 1"):
        LogHistogram().quantile(1.5)
    with pytest.raises(ConfigError, match="relative_error"):
        LogHistogram(0.0)
    with pytest.raises(ConfigError, match="cannot merge"):
        LogHistogram(0.1).merge(LogHistogram(0.2))
