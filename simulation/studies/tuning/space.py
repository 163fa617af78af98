"""The search space of a tuning: parameters with ranges, choices, and choices with their own ranges.

    [parameters]
    "client.policy" = { values = [
        { kind = "full_jitter", base_s = { low = 0.2, high = 5, scale = "log" }, cap_s = { low = 2, high = 60, scale = "log" } },
        { kind = "preset", preset = "centrifuge-js" },
    ] }
    "client.config.fallback_after_failures" = { low = 2, high = 12, whole = true }

Below a choice, a table with `low` and `high` is a range that exists only if that value is chosen.
"""

from collections.abc import Callable, Mapping
from typing import Any

from reference.tables import value_of
from simulation.studies.design import Choice, Point, Range

Draw = Callable[[str, Range | Choice], Any]
"""Chooses a value for a named parameter: for a Choice the index of the value."""


def point_of(space: Mapping[str, Range | Choice], draw: Draw) -> Point:
    """One point of the space, each value chosen by `draw`. Names below a choice are PATH.NUMBER.FIELD."""
    point: Point = {}
    for path, parameter in space.items():
        if isinstance(parameter, Range):
            point[path] = draw(path, parameter)
            continue
        number = draw(path, parameter)
        point[path] = _filled(parameter.values[number], f"{path}.{number}", draw)
    return point


def numeric(space: Mapping[str, Range | Choice]) -> dict[str, Range]:
    """The parameters that are ranges at the top level, whose influence can be analysed."""
    return {path: parameter for path, parameter in space.items() if isinstance(parameter, Range)}


def _filled(value: Any, name: str, draw: Draw) -> Any:
    if not isinstance(value, Mapping):
        return value
    filled = {}
    for key, inner in value.items():
        found = _range_of(inner)
        filled[key] = inner if found is None else draw(f"{name}.{key}", found)
    return filled


def _range_of(value: Any) -> Range | None:
    if not (isinstance(value, Mapping) and {"low", "high"} <= set(value)):
        return None
    return value_of(value, Range, str(dict(value)))
