"""Both distributions of each measure in one picture: the share of samples up to a value, simulated and real."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from simulation.processes.fidelity.measures import ComparedMeasure


def draw_distributions(simulated: Mapping[str, ComparedMeasure], real: Mapping[str, ComparedMeasure], *, title: str) -> Figure:
    """One panel for each measure; a measure without samples on one side has one line."""
    figure = Figure(figsize=(4 * max(1, len(real)), 3.2), layout="constrained")
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, max(1, len(real)), squeeze=False)[0], real, strict=True):
        for label, measure in (("simulated", simulated[name]), ("real", real[name])):
            values = np.sort(measure.samples)
            if len(values):
                axes.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=f"{label} ({len(values)})")
        axes.set_title(name)
        axes.set_xlabel(real[name].unit or "count")
        axes.set_ylabel("share of samples")
        axes.set_ylim(0, 1)
        if axes.has_data():
            axes.legend(loc="lower right")
    return figure
