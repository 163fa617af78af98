"""Draws the states of a client from their transition table, so that the picture always agrees with the code.

Only the places of the states are laid out by hand. The arrows, and the words on them, come from `CLIENT_TRANSITIONS`: arrows with
the same word to the same state form a bundle with one label. An input that is possible nearly everywhere would be an arrow from
nearly everywhere; it is drawn once, from a box that names the states from which it is not possible.

    python docs/draw_states.py FILE.svg     also FILE.png; the ending decides
"""

import math
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from reference.protocol.states import CLIENT_MAY_RECEIVE, CLIENT_TRANSITIONS, ClientInput, ClientState

Place = tuple[float, float]
"""Column and row, both counted from the top left."""
Line = tuple[Place, Place]

PLACES: dict[ClientState, Place] = {
    ClientState.WAITING: (2.5, 0.0),
    ClientState.NEW: (0.0, 1.2),
    ClientState.CONNECTING: (1.0, 1.2),
    ClientState.GREETING: (2.0, 1.2),
    ClientState.PROVING: (3.0, 1.2),
    ClientState.LIVE: (4.0, 1.2),
    ClientState.POLLING: (2.5, 2.4),
    ClientState.PROBE_CONNECTING: (1.5, 3.6),
    ClientState.PROBE_GREETING: (2.5, 3.6),
    ClientState.PROBE_PROVING: (3.5, 3.6),
    ClientState.REFRESHING: (4.9, 1.2),
    ClientState.CLOSED: (4.9, 2.4),
}
ANYWHERE: dict[ClientInput, Place] = {ClientInput.TOKEN_WANTED: (4.9, 0.0), ClientInput.END: (4.9, 3.6)}
"""Inputs that are possible nearly everywhere, and the place of the box that stands for all the states they start from."""

WIDTH, HEIGHT = 0.62, 0.46  # of a box, in columns and rows
UNBUNDLED_MAX = 2
"""More arrows than this, with one word and one target, share one label."""
APART = 0.09
"""How far an arrow is moved to its right when another goes the opposite way."""
INK, ARROW, QUIET = "#1f2933", "#52606d", "#7b8794"
WEBSOCKET, POLLING, NOTHING = "#d9f0e3", "#fdebc8", "#eef1f4"


def bundles() -> dict[tuple[ClientInput, ClientState], dict[ClientState, Line]]:
    """The transitions that are drawn one by one: (input, target) -> an arrow from each state it starts from."""
    shown = {(state, event): target for (state, event), target in CLIENT_TRANSITIONS.items() if event not in ANYWHERE}
    arrows = {(state, target) for (state, _), target in shown.items()}
    found: dict[tuple[ClientInput, ClientState], dict[ClientState, Line]] = defaultdict(dict)
    for (state, event), target in shown.items():
        found[event, target][state] = _line(PLACES[state], PLACES[target], goes_back=(target, state) in arrows)
    return dict(found)


def everywhere(event: ClientInput) -> tuple[str, ClientState]:
    """Of an input that is possible nearly everywhere: the states it starts from, in words, and where it leads."""
    starts = {state: target for (state, wanted), target in CLIENT_TRANSITIONS.items() if wanted is event}
    (target,) = set(starts.values())
    missing = [_name(state) for state in ClientState if state not in starts]
    return "any state but\n" + ",\n".join(", ".join(missing[i : i + 2]) for i in range(0, len(missing), 2)), target


def draw() -> Figure:
    """The picture."""
    figure = Figure(figsize=(11.5, 6.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.55, 5.45)
    axes.set_ylim(4.42, -0.4)
    axes.axis("off")
    for state, place in PLACES.items():
        _box(axes, place, _name(state), _colour(state))
    for (event, _), lines in bundles().items():
        for line in lines.values():
            _arrow(axes, line)
        named = list(lines.values())
        if len(named) > UNBUNDLED_MAX:
            named = [(_centre([start for start, _ in named]), _centre([end for _, end in named]))]
        for line in named:
            _label(axes, line, _name(event))
    for event, place in ANYWHERE.items():
        text, target = everywhere(event)
        _box(axes, place, text, "white", small=True)
        line = _line(place, PLACES[target])
        _arrow(axes, line)
        _label(axes, line, _name(event))
    for column, (colour, meaning) in enumerate(
        (
            (WEBSOCKET, "WebSocket carries the session"),
            (POLLING, "HTTP polling carries it, WebSocket is probed behind it"),
            (NOTHING, "nothing carries it"),
        )
    ):
        _legend(axes, ((0.35, 2.0, 4.35)[column], 4.24), colour, meaning)
    return figure


def save(path: Path) -> None:
    """Draw into a file; the same table gives the same bytes."""
    with matplotlib.rc_context({"svg.hashsalt": "steadywire", "font.family": "DejaVu Sans"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        draw().savefig(path, metadata=metadata, dpi=110)


def _name(thing: ClientState | ClientInput) -> str:
    word: str = thing.value
    return word.replace("_", " ")


def _colour(state: ClientState) -> str:
    if state.is_polling:
        return POLLING
    return WEBSOCKET if state.has_websocket else NOTHING


def _box(axes: Axes, place: Place, text: str, colour: str, *, small: bool = False) -> None:
    x, y = place
    shape = FancyBboxPatch(
        (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.09", fc=colour, ec=INK,
        lw=0.8 if small else 1.2, ls=":" if small else "-", zorder=3,
    )  # fmt: skip
    axes.add_patch(shape)
    axes.text(
        x, y, text.replace("probe ", "probe\n"), ha="center", va="center", fontsize=8 if small else 10.5, color=INK, zorder=4
    )


def _line(start: Place, end: Place, *, goes_back: bool = False) -> Line:
    """Between the edges of two boxes; moved to its right if another goes the opposite way."""
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    dx, dy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    aside = (-dy * APART, dx * APART) if goes_back else (0.0, 0.0)
    return _edge(start, aside, (dx, dy)), _edge(end, aside, (-dx, -dy))


def _edge(box: Place, inside: Place, direction: Place) -> Place:
    """Where a line leaves a box, from a point inside of it that is named from the box's middle."""
    distances = [
        (math.copysign(half, towards) - offset) / towards
        for half, offset, towards in ((WIDTH / 2, inside[0], direction[0]), (HEIGHT / 2, inside[1], direction[1]))
        if towards
    ]
    distance = min(distances)
    return box[0] + inside[0] + direction[0] * distance, box[1] + inside[1] + direction[1] * distance


def _arrow(axes: Axes, line: Line) -> None:
    axes.add_patch(FancyArrowPatch(*line, arrowstyle="-|>", mutation_scale=13, color=ARROW, lw=1.1, zorder=2))


def _label(axes: Axes, line: Line, text: str) -> None:
    """In the middle of the line, or just above it if it lies flat."""
    x, y = _centre(list(line))
    lift = 0.12 if line[0][1] == line[1][1] else 0.0
    axes.text(x, y - lift, text, ha="center", va="center", fontsize=9, style="italic", color=INK, zorder=5,
              bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"} if not lift else None)  # fmt: skip


def _legend(axes: Axes, place: Place, colour: str, text: str) -> None:
    x, y = place
    axes.add_patch(FancyBboxPatch((x, y - 0.06), 0.14, 0.12, boxstyle="round,pad=0,rounding_size=0.03", fc=colour, ec=QUIET))
    axes.text(x + 0.2, y, text, va="center", fontsize=9, color=INK)


def _centre(places: list[Place]) -> Place:
    return sum(x for x, _ in places) / len(places), sum(y for _, y in places) / len(places)


assert PLACES.keys() == CLIENT_MAY_RECEIVE.keys(), "every state has a place"

if __name__ == "__main__":
    save(Path(sys.argv[1]))
