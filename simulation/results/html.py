"""Self-contained HTML pages: text, tables and figures in one file.

Figures are embedded as PNG, styles are in the page, and nothing is loaded from elsewhere. Every text is escaped.
"""

import base64
import html
import math
from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from simulation.results.figure import png_of

ROWS_MAX = 500
"""Rows of a table that are shown; the others are counted."""
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: white; border-radius: 4px; }
figcaption, .note { opacity: .75; font-size: .9rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; } td.text { white-space: normal; }
tr.marked { background: var(--soft); font-weight: 600; }
pre { background: var(--soft); padding: 1rem; overflow-x: auto; }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """A whole page. `sections`: HTML made by the functions below."""
    name = html.escape(title)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}</title><style>{_STYLE}</style>'
    )
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n<h1>{name}</h1>\n'
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str, *, note: bool = False) -> str:
    return f'<p class="note">{html.escape(text)}</p>' if note else f"<p>{html.escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def code(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def figure(drawn: Figure, caption: str) -> str:
    """A matplotlib figure as an embedded PNG; the caption is also its text for screen readers."""
    return image(png_of(drawn), caption)


def image(png: bytes, caption: str) -> str:
    """The same for an existing PNG."""
    data = base64.b64encode(png).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def table(frame: pd.DataFrame, *, marked: Iterable[int] = ()) -> str:
    """A frame as a table, numbers with four significant digits. `marked`: places of rows that stand out."""
    stand_out = set(marked)
    shapes = [' class="text"' if any(isinstance(value, str) for value in frame.iloc[:, n]) else "" for n in range(frame.shape[1])]
    head = "".join(
        f"<th scope=col{shape}>{html.escape(str(column))}</th>" for shape, column in zip(shapes, frame.columns, strict=True)
    )
    rows = []
    for place, row in enumerate(frame.head(ROWS_MAX).itertuples(index=False, name=None)):
        cells = "".join(f"<td{shape}>{html.escape(shown(value))}</td>" for shape, value in zip(shapes, row, strict=True))
        rows.append(f'<tr class="marked">{cells}</tr>' if place in stand_out else f"<tr>{cells}</tr>")
    more = paragraph(f"... and {len(frame) - ROWS_MAX} more rows", note=True) if len(frame) > ROWS_MAX else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>{more}'


def shown(value: object) -> str:
    """A value for a reader: four significant digits, yes or no, a dash for a missing value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
