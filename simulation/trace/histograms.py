"""Log-bucketed histograms of fixed size, mergeable, with a known error, for runs too large to keep each value.

A value x > 0 goes into bucket i = ceil(log(x) / log(g)), g = (1 + e) / (1 - e), so each bucket is as wide as twice the relative
error e of its middle: each rank read from it is within e of the value of that rank, and so is what lies between two. Two
histograms with the same error merge by adding counts, and the result equals a single histogram of all values. Source: Masson, Rim
and Lee, "DDSketch", VLDB 2019, without the collapsing of buckets: between `LEAST` and `MOST` there are at most 1,843 of them at
the error of 1 %.
"""

import math
from collections.abc import Callable, Iterable, Mapping

from reference.protocol.errors import ConfigError

RELATIVE_ERROR = 0.01
LEAST, MOST = 1e-9, 1e7
"""Smaller values count as 0, larger ones as `MOST`; in seconds: a nanosecond, and four months."""


class LogHistogram:
    """Counts of values from 0 to `MOST`. `relative_error`: of every quantile, from 0.0001 to 0.5."""

    __slots__ = ("_bucket", "_counts", "_last", "_scale", "_total", "count", "largest", "relative_error", "smallest")

    def __init__(self, relative_error: float = RELATIVE_ERROR) -> None:
        if not 0.0001 <= relative_error <= 0.5:
            raise ConfigError(f"relative_error = {relative_error}: must be from 0.0001 to 0.5")
        self.relative_error = relative_error
        self._scale = 1 / math.log((1 + relative_error) / (1 - relative_error))
        self._counts: dict[int | None, int] = {}  # None: 0
        self._total = 0.0
        self._last = -1.0
        self._bucket: int | None = None  # of the last value
        self.count = 0
        self.smallest: float | None = None
        self.largest: float | None = None

    def add(self, value: float, times: int = 1) -> None:
        """Count a value. Raises ValueError if it is negative or not a number."""
        if not value >= 0:
            raise ValueError(f"{value} has no place in a histogram of what cannot be negative")
        if value != self._last:  # many clients with equal links wait equally long
            self._last = value
            self._bucket = None if value < LEAST else math.ceil(math.log(min(value, MOST)) * self._scale)
        bucket = self._bucket
        self._counts[bucket] = self._counts.get(bucket, 0) + times
        self.count += times
        self._total += value * times
        if self.smallest is None or value < self.smallest:
            self.smallest = value
        if self.largest is None or value > self.largest:
            self.largest = value

    def merge(self, other: "LogHistogram") -> None:
        """Add all counts of the other one. Raises ConfigError if its error differs."""
        if other.relative_error != self.relative_error:
            raise ConfigError(f"cannot merge a histogram of error {other.relative_error} into one of {self.relative_error}")
        for bucket, times in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + times
        self.count += other.count
        self._total += other._total
        self.smallest = _of_both(min, self.smallest, other.smallest)
        self.largest = _of_both(max, self.largest, other.largest)

    @property
    def mean(self) -> float | None:
        """Exact except for rounding; None without values."""
        return self._total / self.count if self.count else None

    def quantile(self, fraction: float) -> float | None:
        """Within `relative_error` of the quantile of the values themselves, interpolated between the two neighbouring ranks as
        numpy and pandas do; None without values."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"a quantile is at a fraction from 0 to 1, not at {fraction}")
        if not self.count:
            return None
        place = fraction * (self.count - 1)
        low, seen = math.floor(place), 0
        below: float | None = None
        for bucket in sorted(self._counts, key=lambda bucket: -math.inf if bucket is None else bucket):
            seen += self._counts[bucket]
            if below is None and seen > low:
                below = self._middle(bucket)
            if below is not None and seen > min(low + 1, self.count - 1):
                return below + (self._middle(bucket) - below) * (place - low)
        raise AssertionError("the counts add up to the count")

    def buckets(self) -> dict[str, int]:
        """The argument of `from_buckets`: the counts by bucket, ascending, "zero" first."""
        named = sorted(self._counts.items(), key=lambda item: -math.inf if item[0] is None else item[0])
        return {"zero" if bucket is None else str(bucket): times for bucket, times in named}

    @property
    def total(self) -> float:
        """The sum of all values."""
        return self._total

    @classmethod
    def from_buckets(
        cls,
        buckets: Mapping[str, int],
        *,
        total: float,
        smallest: float | None,
        largest: float | None,
        relative_error: float = RELATIVE_ERROR,
    ) -> "LogHistogram":
        """The histogram described by stored values."""
        histogram = cls(relative_error)
        histogram._counts = {None if name == "zero" else int(name): times for name, times in buckets.items()}
        histogram.count = sum(buckets.values())
        histogram._total, histogram.smallest, histogram.largest = total, smallest, largest
        return histogram

    @classmethod
    def of(cls, values: Iterable[float], relative_error: float = RELATIVE_ERROR) -> "LogHistogram":
        histogram = cls(relative_error)
        for value in values:
            histogram.add(value)
        return histogram

    def _middle(self, bucket: int | None) -> float:
        """The value with equal relative distance to both ends of the bucket, within the observed range."""
        if bucket is None:
            return 0.0
        assert self.smallest is not None, "a bucket has values"
        assert self.largest is not None, "a bucket has values"
        middle = (1 - self.relative_error) * math.exp(bucket / self._scale)
        return min(max(middle, self.smallest), self.largest)


def _of_both(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
