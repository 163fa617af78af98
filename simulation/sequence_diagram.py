"""A sequence diagram: who said what to whom, time running down, one arrow for each message.

A slanted arrow was long under way; one that ends in a cross never arrived.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reference.protocol.timers import NS_PER_S
from simulation.hostile.tape import Message, Note, Tape

ROWS_MAX = 400
_ROW_IN = 0.26
_COLUMN_IN = 3.4
_LINE = "#8a8f98"
_ARROW = "#1f5fa8"
_LOST = "#b3261e"
_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}


def sequence_diagram(tape: Tape, *, title: str = "", rows_max: int = ROWS_MAX) -> Figure:
    """Draw a tape. Each sending, arrival and note has a row of its own, so rows are in order of time, and not to its scale.

    Beyond `rows_max` rows (the first are kept) nothing is drawn; the figure says so.
    """
    places = tape.places
    x_of = {place: float(index) for index, place in enumerate(places)}
    rows = _rows(tape)
    cut = len(rows) > rows_max
    rows = rows[:rows_max]
    row_of = {key: number for number, (_, key, _) in enumerate(rows)}
    figure = Figure(figsize=(max(6.0, _COLUMN_IN * len(places)), 1.2 + _ROW_IN * max(4, len(rows))), layout="constrained")
    axes = figure.subplots()
    for place, x in x_of.items():
        axes.axvline(x, color=_LINE, linewidth=1, zorder=0)
        axes.text(x, -1.6, place, ha="center", va="bottom", weight="bold")
    for number, (at, _, entry) in enumerate(rows):
        if number == 0 or rows[number - 1][0] != at:
            axes.text(-0.62, number, f"{at / NS_PER_S:.3f} s", ha="left", va="center", fontsize=7, color=_LINE)
        if isinstance(entry, Note):
            x = x_of.get(entry.place, (len(places) - 1) / 2)
            weight = "normal" if entry.place else "bold"
            axes.text(x, number, _short(entry.words), ha="center", va="center", fontsize=7, weight=weight, bbox=_BOX)
        elif row_of[id(entry), "sent"] == number:
            _draw(axes, entry, x_of, number, row_of.get((id(entry), "arrived")))
    axes.set_xlim(-0.65, max(len(places) - 1, 0) + 0.65)
    axes.set_ylim(max(len(rows), 4) + 0.5, -2.5)
    axes.axis("off")
    if title or cut:
        axes.set_title(title + (f" (the first {rows_max} of {len(_rows(tape))} rows)" if cut else ""), loc="left", fontsize=10)
    return figure


def _rows(tape: Tape) -> list[tuple[int, tuple[int, str], Message | Note]]:
    """A time, a key and an entry for each row."""
    rows: list[tuple[int, int, tuple[int, str], Message | Note]] = []
    for order, entry in enumerate(tape.entries):
        if isinstance(entry, Note):
            rows.append((entry.at, order, (id(entry), "note"), entry))
            continue
        rows.append((entry.sent_at, order, (id(entry), "sent"), entry))
        if entry.arrived_at is not None and entry.arrived_at - entry.sent_at > NS_PER_S // 100:
            rows.append((entry.arrived_at, order, (id(entry), "arrived"), entry))
    return [(at, key, entry) for at, _, key, entry in sorted(rows, key=lambda row: row[:2])]


def _draw(axes: Axes, message: Message, x_of: dict[str, float], row: int, arrival_row: int | None) -> None:
    start, end = x_of[message.sender], x_of[message.receiver]
    is_lost = message.arrived_at is None
    color = _LOST if is_lost else _ARROW
    if is_lost:
        end = start + 0.6 * (end - start)
    end_row = row if arrival_row is None else arrival_row
    axes.annotate("", xy=(end, end_row), xytext=(start, row), arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 1})
    if is_lost:
        axes.text(end, end_row, "x", color=color, ha="center", va="center", weight="bold")
    axes.text((start + end) / 2, row - 0.18, _short(message.words), ha="center", va="bottom", fontsize=7, color=color, bbox=_BOX)


def _short(words: str) -> str:
    return words if len(words) <= 70 else words[:69] + "…"
