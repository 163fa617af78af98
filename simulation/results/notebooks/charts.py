"""Charts of tidy tables with intervals: lines over a parameter, and trade-offs of two figures with named points.

A table has a row for each point, and its estimates in columns `mean`, `low` and `high` (`lines`) or `y`, `y_low`, `y_high`
(`trade_off`, for each axis). A missing value (NaN) is not drawn, and the figure says so.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox

from simulation.results.figure import GREY, OKABE_ITO, ShownFigure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS_MAX = 8
"""Up to this many values of x are labelled individually, unless a curve goes beyond them."""
_UPS = sorted((up * side for up in range(8, 180, 9) for side in (1, -1)), key=abs)
_PLACES = [(side * distance, up) for up in _UPS for distance in (6, 24) for side in (1, -1)]
"""Positions of a name beside its point, in points; the first free one is used."""


def lines(
    table: pd.DataFrame,
    *,
    x: str,
    by: str,
    x_label: str,
    y_label: str,
    title: str,
    curves: Mapping[str, tuple[Any, Any]] | None = None,
    level: tuple[float, str] | None = None,
    log: Iterable[str] = (),
) -> ShownFigure:
    """One line per value of `by` over `x`, with the interval of each point. `curves`: of theory, drawn without points, in the
    colours of the lines of the same name. `level`: a horizontal line and its name. `log`: which of the axes "x", "y"
    are logarithmic."""
    figure = ShownFigure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(table[by]))
    for place, name in enumerate(names):
        rows = table[table[by] == name].sort_values(x)
        reach = np.nan_to_num(np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]], dtype=float)).clip(0)
        is_bare = name in (curves or {})
        look: dict[str, Any] = {"lw": 0 if is_bare else 1.5, "elinewidth": 1.2, "capsize": 3, "ms": 6}
        axes.errorbar(
            rows[x], rows["mean"], yerr=reach, label=f"{name}: simulated" if is_bare else str(name), **look, **style(place)
        )
    for name, (at, values) in (curves or {}).items():
        place = names.index(name) if name in names else len(names)
        axes.plot(at, values, color=OKABE_ITO[place % len(OKABE_ITO)], lw=1.2, ls="--", label=f"{name}: theory")
    if level is not None:
        axes.axhline(level[0], color="black", lw=0.9, ls=":", label=level[1])
    _finish(axes, x_label, y_label, title, log)
    values = sorted(set(table[x]))
    reaches_beyond = any(min(at) < values[0] or max(at) > values[-1] for at, _ in (curves or {}).values())
    if len(values) <= TICKS_MAX and not reaches_beyond:  # else a part of the axis would have no labels
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
    figure.legend(frameon=False, ncols=3, loc="outside lower center")
    return figure


def trade_off(
    table: pd.DataFrame,
    *,
    name: str,
    x: str,
    y: str,
    x_label: str,
    y_label: str,
    title: str,
    marked: str | None = None,
    log: Iterable[str] = ("x", "y"),
    kind: str | None = None,
) -> ShownFigure:
    """Each row as a point that is named, with its interval on both axes: columns `x`, `x_low`, `x_high`, and so for `y`.

    `kind`: a column by which points are coloured. `marked`: the name of the row that stands out. Rows without a value on one
    of the axes are named under the figure.
    """
    shown = table.dropna(subset=[x, y])
    missing = [str(each) for each in table[name] if each not in set(shown[name])]
    figure = ShownFigure(figsize=(9, 6.4), layout="constrained")
    axes = figure.subplots()
    kinds = list(dict.fromkeys(shown[kind])) if kind is not None else [""]
    for place, each in enumerate(kinds):
        rows = shown[shown[kind] == each] if kind is not None else shown
        _points(axes, rows[rows[name] != marked], x, y, style(place), str(each) if kind is not None else "mean, 95 % interval")
    _points(axes, shown[shown[name] == marked], x, y, {"color": OKABE_ITO[3], "marker": "*"}, f"{marked} (ours)", size=15)
    _finish(axes, x_label, y_label, title, log)
    if missing:
        figure.supxlabel(f"Not shown, without a value: {', '.join(missing)}", fontsize=8, x=0.01, ha="left", color=GREY)
    axes.legend(frameon=False, loc="best", fontsize=9)
    _name_points(figure, axes, shown, name, x, y, marked)
    return figure


def _points(axes: "Axes", rows: pd.DataFrame, x: str, y: str, look: Mapping[str, Any], label: str, size: int = 6) -> None:
    if not len(rows):
        return
    reach = {
        axis: np.nan_to_num(np.array([rows[axis] - rows[f"{axis}_low"], rows[f"{axis}_high"] - rows[axis]], dtype=float)).clip(0)
        for axis in (x, y)
    }
    axes.errorbar(rows[x], rows[y], xerr=reach[x], yerr=reach[y], ls="", ms=size, capsize=2, elinewidth=1, label=label, **look)


def _finish(axes: "Axes", x_label: str, y_label: str, title: str, log: Iterable[str]) -> None:
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, loc="left", fontsize=11)
    for axis in log:
        axes.set(**{f"{axis}scale": "log"})
        mine = axes.xaxis if axis == "x" else axes.yaxis
        low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
        mine.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        mine.set_minor_formatter(FuncFormatter(_some) if high < 100 * low else NullFormatter())
    axes.grid(which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _some(value: float, _: object = None) -> str:
    """2 and 5 between powers of ten, and nothing else."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _name_points(figure: ShownFigure, axes: "Axes", rows: pd.DataFrame, name: str, x: str, y: str, marked: str | None) -> None:
    """Write each name at the first place beside its point where it covers neither a point nor another name."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, scale = canvas.get_renderer(), figure.dpi / 72
    spots = axes.transData.transform(rows[[x, y]].to_numpy(dtype=float))
    taken = [Bbox.from_bounds(left - 5 * scale, low - 5 * scale, 10 * scale, 10 * scale) for left, low in spots]
    for spot, each, at_x, at_y in zip(spots, rows[name], rows[x], rows[y], strict=True):
        weight = "bold" if each == marked else "normal"
        text = axes.annotate(
            str(each),
            (at_x, at_y),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=8,
            va="center",
            fontweight=weight,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
        text.set_in_layout(False)  # the axes must stay where they were when the positions were chosen
        width, height = Text.get_window_extent(text, renderer).width, 11 * scale  # without its arrow
        best = _first_free(spot, width, height, scale, taken, axes.bbox)
        text.set_horizontalalignment("left" if best[0] > 0 else "right")
        text.set_position(best)
        taken.append(_box(spot, best, width, height, scale))


def _first_free(spot: Any, width: float, height: float, scale: float, taken: list[Bbox], page: Any) -> tuple[int, int]:
    for place in _PLACES:
        box = _box(spot, place, width, height, scale)
        is_inside = page.x0 <= box.x0 and box.x1 <= page.x1 + 8 * scale and page.y0 <= box.y0 and box.y1 <= page.y1
        if is_inside and not any(box.overlaps(other) for other in taken):
            return place
    return _PLACES[0]


def _box(spot: Any, place: tuple[int, int], width: float, height: float, scale: float) -> Bbox:
    left = spot[0] + place[0] * scale - (width if place[0] < 0 else 0)
    return Bbox.from_bounds(left, spot[1] + place[1] * scale - height / 2, width, height)
