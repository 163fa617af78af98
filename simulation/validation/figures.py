"""Figures of a verification, one function each: they take numbers and return a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from simulation.results.figure import BLUE, GREEN, GREY, ORANGE, RED, ShownFigure
from simulation.validation.experiment import STANDARD_ERRORS_MAX, Number

COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)
CONFIDENCE = 0.95


def agreement(numbers: Sequence[Number]) -> Figure:
    """How far each number is from theory, in standard errors, by family; beyond the dashed lines it does not agree."""
    families = list(dict.fromkeys(number.family for number in numbers))
    figure = ShownFigure(figsize=(8, 1.2 + 0.4 * len(families)), layout="constrained")
    axes = figure.add_subplot()
    for right, colour in ((True, BLUE), (False, RED)):
        shown = [number for number in numbers if number.is_right == right]
        rows = [families.index(number.family) for number in shown]
        label = "agrees with theory" if right else "does not agree"
        marker = "o" if right else "X"
        axes.plot([number.z for number in shown], rows, marker, color=colour, alpha=0.6, markersize=6, label=label)
    for limit in (-STANDARD_ERRORS_MAX, STANDARD_ERRORS_MAX):
        label = f"{STANDARD_ERRORS_MAX} standard errors" if limit > 0 else "_"
        axes.axvline(limit, color=GREY, linestyle="--", linewidth=1, label=label)
    axes.axvline(0, color=GREY, linewidth=0.5)
    axes.set_yticks(range(len(families)), families)
    axes.set_ylim(len(families) - 0.5, -0.5)
    axes.set_xlabel("estimate - reference (standard errors)")
    axes.set_title("Distance of each number from theory: between the dashed lines it agrees", loc="left", fontsize=11)
    figure.legend(frameon=False, ncols=3, loc="outside lower center")
    return figure


def against_theory(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    points: Mapping[str, Mapping[float, Number]],
    x_label: str,
    y_label: str,
) -> Figure:
    """Curves of theory, and what the simulator gave, with the t intervals of its replications. The labels name their units."""
    figure = ShownFigure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for colour, (name, (x, y)) in zip(COLOURS, curves.items(), strict=False):
        axes.plot(x, y, color=colour, linewidth=1.2, label=f"{name}: theory")
        at = points[name]
        half = [float(t.ppf(0.5 + CONFIDENCE / 2, number.replications - 1)) * number.standard_error for number in at.values()]
        estimates = [number.estimate for number in at.values()]
        axes.errorbar(list(at), estimates, yerr=half, fmt="o", color=colour, capsize=4, label=f"{name}: simulated")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(frameon=False)
    return figure


def as_table(numbers: Mapping[Any, Sequence[Number]], quantity: str, names: Sequence[str]) -> pd.DataFrame:
    """One quantity of several verifications: a row for each key of `numbers`, whose parts are the columns `names`, with
    mean, low and high (the t interval of the replications), reference and is_right. `quantity`: how its name begins."""
    rows = []
    for key, those in numbers.items():
        number = next(each for each in those if each.quantity.startswith(quantity))
        half = float(t.ppf(0.5 + CONFIDENCE / 2, number.replications - 1)) * number.standard_error
        about = {"mean": number.estimate, "low": number.estimate - half, "high": number.estimate + half}
        rows.append({**dict(zip(names, key, strict=True)), **about, "reference": number.reference, "is_right": number.is_right})
    return pd.DataFrame(rows)
