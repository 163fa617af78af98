"""Figures of several runs or scenarios side by side: dots with intervals, and distributions.

Each takes tidy frames and returns a matplotlib figure with labelled axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from simulation.results.figure import OKABE_ITO, ShownFigure, style
from simulation.studies.sweeping import interval

ROW_INCHES = 0.34


def dots(runs: pd.DataFrame, figures: Mapping[str, str], *, by: str, label: str, title: str, log: bool = True) -> Figure:
    """One row per value of `by`, one dot per figure: its mean over the replications, with its 95 % t interval.

    `figures`: columns of `runs`, with their names in the legend; `label`: of the axis, with its unit.
    """
    names = list(dict.fromkeys(runs[by]))
    figure = ShownFigure(figsize=(8, 1.3 + ROW_INCHES * len(names) * max(1.0, 0.5 * len(figures))), layout="constrained")
    axes = figure.subplots()
    for place, (column, name) in enumerate(figures.items()):
        table = interval(runs, column, by=by).set_index(by).loc[names]
        rows = -np.arange(len(names)) - (place - (len(figures) - 1) / 2) * 0.22
        errors = np.nan_to_num(np.array([table["mean"] - table["low"], table["high"] - table["mean"]]))
        if log:
            errors[0] = np.minimum(errors[0], 0.999 * table["mean"].to_numpy())
        look: dict[str, Any] = {"ls": "", "ms": 5, "capsize": 2.5, "elinewidth": 1.2}
        axes.errorbar(table["mean"], rows, xerr=errors, label=name, **look, **style(place))
    axes.set_yticks(-np.arange(len(names)), names)
    axes.set_xlabel(label)
    figure.suptitle(title, x=0.01, ha="left")  # the axes begin behind the names, too far right for a long title
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x", which="both", alpha=0.25)
    figure.legend(frameon=False, ncols=len(figures), loc="outside lower center")
    return figure


def distributions(
    samples: Mapping[str, Sequence[float]], *, label: str, title: str, line: tuple[float, str] | None = None
) -> Figure:
    """The share of each sample above a value; both axes are logarithmic, so that tails can be seen.

    `label`: of the values, with their unit. `line`: a value to mark, and its name.
    """
    figure = ShownFigure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for place, (name, values) in enumerate(samples.items()):
        ascending = np.sort(np.asarray(values, dtype=float))
        above = 1 - np.arange(len(ascending)) / len(ascending)  # at each value, the share that is not below it
        dashes = ("-", "--", "-.", ":")[place % 4]  # so that colour is not the only difference
        colour, count = OKABE_ITO[place % len(OKABE_ITO)], len(ascending)
        axes.step(ascending, above, where="pre", color=colour, ls=dashes, lw=1.7, label=f"{name} ({count})")
    if line is not None:
        axes.axvline(line[0], color="black", lw=0.8, ls=":")
        axes.annotate(f" {line[1]}", (line[0], 0.97), xycoords=("data", "axes fraction"), va="top")
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="share of the messages above (1)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_title(title, loc="left")
    axes.grid(which="both", alpha=0.2)
    figure.legend(frameon=False, ncols=2, loc="outside lower center")
    return figure
