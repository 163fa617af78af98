"""The figures of studies: each axis has the label that it was given, and each mark a name in the legend."""

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from simulation.studies import plots


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_distributions_say_what_is_measured_and_of_how_many() -> None:
    figure = plots.distributions({"one": [0.1, 0.2], "other": [0.3]}, label="latency (s)", title="t", line=(0.2, "limit"))
    (axes,) = figure.axes
    assert axes.get_xlabel() == "latency (s)"
    assert legend_of(figure) == ["one (2)", "other (1)"]
    assert [text.get_text().strip() for text in axes.texts] == ["limit"]


def test_dots_say_what_is_measured() -> None:
    runs = pd.DataFrame({"case": ["a", "a", "b", "b"], "p50": [1.0, 2.0, 3.0, 4.0], "p95": [2.0, 3.0, 4.0, 5.0]})
    figure = plots.dots(runs, {"p50": "median", "p95": "p95"}, by="case", label="time (s)", title="t")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "time (s)"
    assert legend_of(figure) == ["median", "p95"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]


def test_a_long_title_beside_long_names_is_inside_the_figure() -> None:
    runs = pd.DataFrame({"case": ["WebSocket blocked: brief, as documented"] * 2, "p50": [1.0, 2.0]})
    title = "What the server sees: a fixed wait sends all 60 clients at once\n(95 % intervals)"
    figure = plots.dots(runs, {"p50": "median"}, by="case", label="time (s)", title=title)
    FigureCanvasAgg(figure).draw()
    (shown,) = [text for text in figure.findobj(Text) if text.get_text() == title]
    box = shown.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_between_two_values_the_share_above_is_that_of_the_larger() -> None:
    (axes,) = plots.distributions({"one": [2.0, 1.0]}, label="latency (s)", title="t").axes
    (line,) = axes.lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([1.0, 2.0], [1.0, 0.5])
    assert line.get_drawstyle() == "steps-pre", "each share holds down to the value before"
