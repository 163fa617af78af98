"""Distributions of times and sizes: each converts one uniform sample to one value with its inverse distribution function.

One sample per value keeps samples aligned: two scenarios that differ only in a distribution use the same uniform number for the
n-th value of an entity (common random numbers). All values are finite and not negative; times are in seconds.

    distribution.at(u)     the value at probability u, from [0, 1)
    distribution.mean      the expected value
"""

import math
from statistics import NormalDist
from typing import Annotated

import msgspec

from reference.protocol.errors import ConfigError

Value = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
PositiveValue = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
EMPIRICAL_VALUES_MAX = 100_000
_NORMAL = NormalDist()


class _Distribution(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    pass


class Constant(_Distribution, frozen=True, kw_only=True, tag="constant"):
    """The same value each time."""

    value: Value

    def at(self, u: float) -> float:
        return self.value

    @property
    def mean(self) -> float:
        return self.value


class Uniform(_Distribution, frozen=True, kw_only=True, tag="uniform"):
    """Each value from `low` to `high` with the same density."""

    low: Value = 0.0
    high: Value

    def __post_init__(self) -> None:
        if self.high < self.low:
            raise ConfigError(f"high = {self.high:g} is below low = {self.low:g}; exchange them")

    def at(self, u: float) -> float:
        return self.low + (self.high - self.low) * u

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2


class Exponential(_Distribution, frozen=True, kw_only=True, tag="exponential"):
    """Exponential with the mean `scale`, added to `least`."""

    scale: PositiveValue
    least: Value = 0.0

    def at(self, u: float) -> float:
        return self.least - self.scale * math.log1p(-u)

    @property
    def mean(self) -> float:
        return self.least + self.scale


class LogNormal(_Distribution, frozen=True, kw_only=True, tag="log_normal"):
    """exp(N(ln median, sigma**2)), added to `least`."""

    median: PositiveValue
    sigma: Annotated[float, msgspec.Meta(ge=0, le=5)]
    least: Value = 0.0

    def at(self, u: float) -> float:
        return self.least + self.median * math.exp(self.sigma * _NORMAL.inv_cdf(min(max(u, 2.0**-54), 1 - 2.0**-53)))

    @property
    def mean(self) -> float:
        return self.least + self.median * math.exp(self.sigma**2 / 2)


class Pareto(_Distribution, frozen=True, kw_only=True, tag="pareto"):
    """P(X > x) = (scale / x)**shape from `scale` on, cut at `most`: larger values become `most`."""

    scale: PositiveValue
    shape: Annotated[float, msgspec.Meta(gt=0, le=100)]
    most: PositiveValue = 3600.0

    def __post_init__(self) -> None:
        if self.most < self.scale:
            raise ConfigError(f"most = {self.most:g} is below scale = {self.scale:g}; raise it")

    def at(self, u: float) -> float:
        return min(self.most, self.scale * math.pow(1 - u, -1 / self.shape))

    @property
    def mean(self) -> float:
        a, ratio = self.shape, self.scale / self.most
        if a == 1:
            return self.scale * (1 - math.log(ratio))
        return self.scale * (a - math.pow(ratio, a - 1)) / (a - 1)


class Empirical(_Distribution, frozen=True, kw_only=True, tag="empirical"):
    """Each of the values with the same probability; not interpolated."""

    values: Annotated[tuple[Value, ...], msgspec.Meta(min_length=1, max_length=EMPIRICAL_VALUES_MAX)]

    def at(self, u: float) -> float:
        return self.values[int(u * len(self.values))]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)


Distribution = Constant | Uniform | Exponential | LogNormal | Pareto | Empirical
