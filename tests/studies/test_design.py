"""Designs: every level once, ranges covered evenly, mistakes refused."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.errors import ConfigError
from simulation.studies import Choice, Range, grid, latin_hypercube, sobol
from simulation.studies.design import points_of


def test_a_grid_has_every_combination() -> None:
    points = grid({"a": [1, 2], "b": Range(1, 100, scale="log", levels=3)})
    assert [(point["a"], round(point["b"], 9)) for point in points] == [(a, b) for a in (1, 2) for b in (1, 10, 100)]
    assert grid({}) == [{}]


@given(points=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_a_latin_hypercube_covers_each_range_once(points: int, seed: int) -> None:
    chosen = latin_hypercube({"a": Range(0, 1), "b": Range(10, 20)}, points=points, seed=seed)
    for path, low, width in (("a", 0, 1), ("b", 10, 10)):
        cells = sorted(int((point[path] - low) / width * points) for point in chosen)
        assert cells == list(range(points))
    assert chosen == latin_hypercube({"a": Range(0, 1), "b": Range(10, 20)}, points=points, seed=seed)


def test_a_sobol_design_is_balanced() -> None:
    chosen = sobol({"a": Range(0, 1), "b": Choice((1, 2, 3, 4))}, points=64, seed=3)
    for quarter in range(4):
        assert sum(quarter / 4 <= point["a"] < (quarter + 1) / 4 for point in chosen) == 16
        assert sum(point["b"] == quarter + 1 for point in chosen) == 16
    with pytest.raises(ConfigError, match="take 32 or 64"):
        sobol({"a": Range(0, 1)}, points=60)


@given(u=st.floats(0, 1), low=st.floats(0.001, 10), factor=st.floats(1.001, 1000), log=st.booleans())
def test_a_range_keeps_its_bounds(u: float, low: float, factor: float, log: bool) -> None:
    chosen = Range(low, low * factor, scale="log" if log else "linear")
    assert low <= chosen.at(u) <= low * factor


def test_what_makes_no_design_is_refused() -> None:
    for make, says in (
        (lambda: Range(2, 1), "low < high"),
        (lambda: Range(0, 1, scale="log"), "low > 0"),
        (lambda: Choice(()), "at least one value"),
        (lambda: grid({"a": "abc"}), "a list of values"),
        (lambda: grid({"a": []}), "a list of values"),
        (lambda: grid({"a": Range(0, 1, levels=1000), "b": Range(0, 1, levels=1000)}), "100000"),
        (lambda: points_of([]), "no points"),
    ):
        with pytest.raises(ConfigError, match=says):
            make()


def test_a_frame_is_a_design() -> None:
    points = points_of(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}))
    assert points == [{"a": 1, "b": 0.5}, {"a": 2, "b": 1.5}]
    assert type(points[0]["a"]) is int
