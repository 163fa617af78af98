"""What all figures share: a figure that shows itself in a notebook, its PNG, and colours and marks."""

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

OKABE_ITO = BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000",
)  # fmt: skip
"""Distinguishable for colour-blind readers too (Okabe and Ito, Color Universal Design, 2008; without its yellow, which
is too light on white)."""
GREY = "#666666"
FAULT = "#c44e52"
"""For faults: another red than RED, which is a series."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""One for each colour, so that colour is never the only difference between two series."""
DPI, SHOWN_DPI = 150, 144
"""Of a file; of a notebook, where a CSS pixel has two pixels of the picture."""
CSS_PIXELS_PER_INCH = 72


def png_of(figure: Figure, dpi: int = DPI) -> bytes:
    """A figure as PNG; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    return content.getvalue()


class ShownFigure(Figure):
    """A matplotlib figure without pyplot. A notebook displays it as the value of a cell, with no magic command."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, and its displayed size in CSS pixels."""
        width, height = self.get_size_inches()
        size = {"width": round(width * CSS_PIXELS_PER_INCH), "height": round(height * CSS_PIXELS_PER_INCH)}
        return png_of(self, SHOWN_DPI), size


def style(place: int) -> dict[str, Any]:
    """Colour and marker of the series at that place (0, 1, ...); they repeat after seven."""
    return {"color": OKABE_ITO[place % len(OKABE_ITO)], "marker": MARKERS[place % len(MARKERS)]}
