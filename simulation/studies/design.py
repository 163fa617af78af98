"""The design of an experiment: which settings (points) are run.

    grid({"client.policy.cap_s": [5, 10, 30], "client.policy.base_s": Range(0.2, 2.0, levels=4, scale="log")})
    latin_hypercube({"client.policy.cap_s": Range(5, 60)}, points=50, seed=1)
    sobol({"client.policy.cap_s": Range(5, 60)}, points=64, seed=1)

A point is a mapping of parameter paths (see `Scenario.replace`) to values. A list of points, or a DataFrame with one column per
path, is a design too. Equal arguments give equal designs.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pandas as pd
from scipy.stats import qmc

from reference.protocol.errors import ConfigError

Point = dict[str, Any]
POINTS_MAX = 100_000


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high`, both included. `scale` "log": equal ratios are equally likely, which needs low > 0.
    `whole`: integers only. `levels`: how many values a grid takes, evenly spaced on the scale."""

    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False
    levels: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"a range needs low < high, both finite; this one has low = {self.low:g}, high = {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ConfigError(f'a range with scale = "log" needs low > 0; this one has low = {self.low:g}')

    def at(self, u: float) -> float | int:
        """The value at the fraction `u` of the range, from 0 to 1."""
        if self.scale == "log":
            value = math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else value

    def of_levels(self) -> list[float | int]:
        """The values of a grid, ascending, each once."""
        return list(dict.fromkeys(self.at(place / (self.levels - 1)) for place in range(self.levels)))


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of some values, each as likely as the others: numbers, words, or whole parts such as {preset = "nats"}."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError("a choice needs at least one value")

    def at(self, u: float) -> Any:
        """The value at the fraction `u`, from 0 to 1."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]


Parameter = Range | Choice
Parameters = Mapping[str, "Parameter | Sequence[Any]"]


def parameter_of(path: str, given: "Parameter | Sequence[Any]") -> Parameter:
    """A list of values is a Choice. Raises ConfigError for anything else that is neither a Range nor a Choice."""
    if isinstance(given, Range | Choice):
        return given
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise ConfigError(f"{path}: give a list of values to try, a Range or a Choice")
    try:
        return Choice(tuple(given))
    except ConfigError:
        raise ConfigError(f"{path}: give a list of values to try; this one is empty") from None


def grid(parameters: Parameters) -> list[Point]:
    """Every combination of the values; a Range gives its levels. Raises ConfigError for more than POINTS_MAX points."""
    lists = {}
    for path, given in parameters.items():
        parameter = parameter_of(path, given)
        lists[path] = parameter.of_levels() if isinstance(parameter, Range) else list(parameter.values)
    _check_size(math.prod(len(values) for values in lists.values()))
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def latin_hypercube(parameters: Parameters, *, points: int, seed: int = 1) -> list[Point]:
    """`points` points of which each parameter's range is covered evenly (McKay, Beckman and Conover 1979)."""
    _check_size(points)
    sampler = qmc.LatinHypercube(d=max(len(parameters), 1), rng=np.random.default_rng(seed))
    return _points(parameters, sampler.random(points))


def sobol(parameters: Parameters, *, points: int, seed: int = 1) -> list[Point]:
    """The first `points` of a scrambled Sobol sequence; balanced if that is a power of 2, so other numbers are refused."""
    _check_size(points)
    if points & (points - 1):
        near = 1 << (points - 1).bit_length()
        raise ConfigError(f"points = {points}: a Sobol design is balanced only for powers of 2; take {near // 2} or {near}")
    sampler = qmc.Sobol(d=max(len(parameters), 1), rng=np.random.default_rng(seed))
    return _points(parameters, sampler.random(points))


def points_of(design: "Iterable[Mapping[str, Any]] | pd.DataFrame") -> list[Point]:
    """A design as a list of points. A point sets what it names and leaves the rest as it is. Raises
    ConfigError for an empty design, or one above POINTS_MAX."""
    rows = design.to_dict("records") if isinstance(design, pd.DataFrame) else design
    points = [{str(path): _plain(value) for path, value in row.items()} for row in rows]
    if not points:
        raise ConfigError("the design has no points")
    _check_size(len(points))
    return points


def _points(parameters: Parameters, fractions: "np.ndarray[Any, Any]") -> list[Point]:
    known = {path: parameter_of(path, given) for path, given in parameters.items()}
    return [{path: parameter.at(float(u)) for (path, parameter), u in zip(known.items(), row, strict=False)} for row in fractions]


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's: a scenario's text has no others."""
    return value.item() if isinstance(value, np.generic) else value


def _check_size(points: int) -> None:
    if not 1 <= points <= POINTS_MAX:
        raise ConfigError(f"{points} points; a design has from 1 to {POINTS_MAX}")
