"""What notebooks show: one thing seen in several worlds, each world in its own colour everywhere.

Notebooks define no functions; what more than one of their cells needs stands here. Figures are made as in `plots`, without
pyplot; a notebook shows them as the value of a cell.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reference.protocol.errors import ConfigError
from simulation.plots import BLUE, GREY, ORANGE, RED
from simulation.results import Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REAL, SIMULATED = "real sockets", "simulated"
"""The names of the two worlds."""
_STYLES = {
    REAL: {"color": BLUE, "marker": "o", "ms": 4.6, "mew": 0, "alpha": 0.55, "lw": 2.6, "ls": "-"},
    SIMULATED: {"color": ORANGE, "marker": "x", "ms": 4.6, "mew": 1.4, "alpha": 1.0, "lw": 1.5, "ls": (0, (4, 1.5))},
}
MARGIN_S = 0.5


def waiting(publishes: pd.DataFrame, sender: str) -> pd.DataFrame:
    """How many publishes of `sender` had no answer yet, each time that it changed: columns time_s, waiting."""
    own = publishes[publishes["sender"] == sender]
    changes = pd.concat([pd.Series(1, own["published_s"]), pd.Series(-1, own["answered_s"].dropna())])
    steps = changes.groupby(level=0).sum().cumsum()
    return pd.DataFrame({"time_s": steps.index, "waiting": steps.to_numpy()})


def latencies(worlds: Mapping[str, Frames]) -> pd.DataFrame:
    """One row per message to another client, one column per world: the latency in s, NaN where it was not delivered."""
    columns = {}
    for world, frames in worlds.items():
        messages = frames["messages"]
        others = messages[messages["sender"] != messages["reader"]]
        columns[world] = others.set_index(["publish_id", "sender", "reader"])["latency_s"]
    return pd.DataFrame(columns)


def side_by_side(worlds: Mapping[str, Frames], rows: tuple[str, ...]) -> pd.DataFrame:
    """These rows of each world's summary, one column per world. Raises ConfigError for a row that no summary has."""
    table = pd.DataFrame({world: frames["summary"].iloc[0] for world, frames in worlds.items()})
    unknown = [row for row in rows if row not in table.index]
    if unknown:
        raise ConfigError(f"no summary has {', '.join(unknown)}; there are {', '.join(table.index)}")
    return table.loc[list(rows)]


def one_clients_cut(worlds: Mapping[str, Frames], client: str) -> Figure:
    """One client's line was cut, in several worlds: when it knew, what waited, and how late every message was.

    `worlds`: frames by the name of their world, REAL and SIMULATED; the first one's faults are shaded.
    """
    first = next(iter(worlds.values()))
    messages = first["messages"]
    others = sorted(set(messages["reader"]) - {client})
    figure = Figure(figsize=(10.5, 9.2), layout="constrained")
    rows = figure.subplots(4, 1, sharex=True, height_ratios=[0.55, 1.5, 2, 2])
    _draw_interruptions(rows[0], worlds, client)
    for world, frames in worlds.items():
        style = _STYLES[world]
        queue = waiting(frames["publishes"], client)
        rows[1].step(queue["time_s"], queue["waiting"], where="post", color=style["color"], lw=style["lw"], ls=style["ls"])
        for axes, senders, readers in ((rows[2], [client], others), (rows[3], others, [client])):
            of_these = frames["messages"].query("sender in @senders and reader in @readers")
            line = {name: style[name] for name in ("color", "marker", "ms", "mew", "alpha")}
            axes.plot(of_these["published_s"], of_these["latency_s"], ls="", label=world, **line)
    rows[1].set_ylabel("events without\nan answer (number)")
    rows[1].set_title(f"{client}'s outbox", loc="left")
    everyone = ", ".join(others)
    for axes, title in (
        (rows[2], f"{client} → {everyone}: events wait in {client}'s outbox"),
        (rows[3], f"{everyone} → {client}: events wait in the server's log"),
    ):
        axes.set_ylabel("latency from publish\nto delivery (s)")
        axes.set_title(title, loc="left")
        axes.legend(loc="upper right", frameon=False)
    for axes in rows[1:]:
        axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    _shade_faults(rows, first["faults"])
    last_s = float(np.nanmax([messages["published_s"].max(), messages["delivered_s"].max()]))
    rows[3].set_xlim(-0.02 * last_s, last_s + MARGIN_S)
    rows[3].set_xlabel("time of publish since the first client began (s)")
    for axes in rows:
        axes.title.set_fontsize(10.5)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_interruptions(axes: "Axes", worlds: Mapping[str, Frames], client: str) -> None:
    """When the client knew that nothing carried it, one bar for each world."""
    for place, (world, frames) in enumerate(worlds.items()):
        gone = frames["interruptions"].query("client == @client")
        axes.barh(-place, gone["duration_s"], left=gone["start_s"], height=0.62, color=_STYLES[world]["color"], lw=0)
    axes.set_yticks([-place for place in range(len(worlds))], list(worlds))
    axes.set_ylim(0.6 - len(worlds), 0.6)
    axes.set_ylabel("world")
    axes.set_title(f"{client} knows that nothing carries it", loc="left")
    axes.tick_params(left=False)


def _shade_faults(rows: "np.ndarray", faults: pd.DataFrame) -> None:
    for fault in faults.to_dict("records"):
        for axes in rows:
            axes.axvspan(fault["start_s"], fault["end_s"], color=RED, alpha=0.09, lw=0, zorder=0)
        name = str(fault["kind"]).replace("_", " ")
        x = (fault["start_s"] + fault["end_s"]) / 2
        rows[1].annotate(name, (x, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=RED, fontsize=10)
    for axes in rows:
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=GREY, labelcolor="black")
