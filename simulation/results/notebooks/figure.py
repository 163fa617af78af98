"""A figure that shows itself in a notebook, and the colours and markers of all figures."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")
"""Distinguishable for colour-blind readers too (Okabe and Ito, Color Universal Design, 2008; without its yellow, which
is too light on white)."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""One for each colour, so that colour is never the only difference between two series."""
DPI, PIXELS_PER_INCH = 144, 72


class ShownFigure(Figure):
    """A matplotlib figure without pyplot. A notebook displays it as the value of a cell, with no magic command."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, and its displayed size, in CSS pixels: it has twice as many pixels."""
        FigureCanvasAgg(self)
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
        width, height = self.get_size_inches()
        return content.getvalue(), {"width": round(width * PIXELS_PER_INCH), "height": round(height * PIXELS_PER_INCH)}


def style(place: int) -> dict[str, Any]:
    """Colour and marker of the series at that place; they repeat after seven."""
    return {"color": OKABE_ITO[place % len(OKABE_ITO)], "marker": MARKERS[place % len(MARKERS)]}
