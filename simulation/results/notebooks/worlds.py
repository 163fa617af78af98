"""Comparisons of several worlds in notebooks, each world in its own colour."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reference.protocol.client.health import Health
from reference.protocol.errors import ConfigError
from simulation.results.figure import BLUE, FAULT, ORANGE, ShownFigure
from simulation.results.frames import Frames
from simulation.results.plots import shade_faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REAL, SIMULATED = "real sockets", "simulated"
"""The names of the two worlds."""
_STYLES: dict[str, dict[str, Any]] = {
    REAL: {"color": BLUE, "marker": "o", "ms": 4.6, "mew": 0, "alpha": 0.55, "lw": 2.6, "ls": "-"},
    SIMULATED: {"color": ORANGE, "marker": "x", "ms": 4.6, "mew": 1.4, "alpha": 1.0, "lw": 1.5, "ls": (0, (4, 1.5))},
}


def waiting(publishes: pd.DataFrame, sender: str) -> pd.DataFrame:
    """How many publishes of `sender` had no answer, at each change: columns time_s, waiting."""
    own = publishes[publishes["sender"] == sender]
    changes = pd.concat([pd.Series(1, own["published_s"]), pd.Series(-1, own["answered_s"].dropna())])
    steps = changes.groupby(level=0).sum().cumsum()
    return pd.DataFrame({"time_s": steps.index, "waiting": steps.to_numpy()})


def latencies(worlds: Mapping[str, Frames]) -> pd.DataFrame:
    """One row per message to another client, one column per world: the latency in s, NaN where it was not delivered."""
    columns = {}
    for world, frames in worlds.items():
        messages = frames.measured("messages")
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


def health_table(healths: Mapping[str, Health]) -> pd.DataFrame:
    """Each client's health, one column per client."""
    return pd.DataFrame(
        {
            client: {
                "status": str(health.status),
                "transport": health.transport or "none",
                "round trip, median (ms)": _number(health.round_trip.p50_ms),
                "delivery rate": _number(health.delivery_rate),
                "queued messages": _number(health.queued_messages),
                "reconnections": _number(health.reconnections),
                "quality": f"{health.quality} ({_number(health.quality_score)})",
            }
            for client, health in healths.items()
        }
    )


def one_clients_cut(worlds: Mapping[str, Frames], client: str) -> Figure:
    """One client's network was cut, in one or several worlds: when the client noticed, what waited, and every message's latency.

    `worlds`: frames by the name of their world, REAL or SIMULATED; the first one's faults are shaded.
    """
    first = next(iter(worlds.values()))
    messages = first["messages"]
    others = sorted(set(messages["reader"]) - {client})
    everyone = ", ".join(others)
    last_s = float(np.nanmax([messages["published_s"].max(), messages["delivered_s"].max()]))
    figure = ShownFigure(figsize=(10.5, 9.4), layout="constrained")
    knows, outbox, sent, received = figure.subplots(4, 1, sharex=True, height_ratios=[0.55, 1.5, 2, 2])
    _draw_interruptions(knows, worlds, client)
    _draw_waiting(outbox, worlds, client)
    _draw_latencies(sent, worlds, [client], others)
    _draw_latencies(received, worlds, others, [client])
    for axes, title in (
        (knows, f"{client} knows that it is disconnected"),
        (outbox, f"{client}'s outbox"),
        (sent, f"{client} to {everyone}: events wait in {client}'s outbox"),
        (received, f"{everyone} to {client}: events wait in the server's log"),
    ):
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        shade_faults(axes, first["faults"], last_s)
    _name_faults(outbox, first["faults"])
    received.set_xlim(-0.02 * last_s, 1.03 * last_s)
    received.set_xlabel("time since the first client began (s); messages stand at the time of their publish")
    handles = [Line2D([], [], label=world, **_STYLES[world]) for world in worlds]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(worlds), frameon=False)
    return figure


def _draw_interruptions(axes: "Axes", worlds: Mapping[str, Frames], client: str) -> None:
    """When the client had no transport, one bar for each world."""
    for place, (world, frames) in enumerate(worlds.items()):
        gone = frames["interruptions"].query("client == @client")
        axes.barh(-place, gone["duration_s"], left=gone["start_s"], height=0.62, color=_STYLES[world]["color"], lw=0)
    axes.set_yticks([-place for place in range(len(worlds))], list(worlds))
    axes.set_ylim(0.6 - len(worlds), 0.6)
    axes.tick_params(left=False)


def _draw_waiting(axes: "Axes", worlds: Mapping[str, Frames], client: str) -> None:
    for world, frames in worlds.items():
        queue, style = waiting(frames["publishes"], client), _STYLES[world]
        axes.step(queue["time_s"], queue["waiting"], where="post", color=style["color"], lw=style["lw"], ls=style["ls"])
    axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    axes.set_ylabel("events without\nan answer (number)")


def _draw_latencies(axes: "Axes", worlds: Mapping[str, Frames], senders: list[str], readers: list[str]) -> None:
    for world, frames in worlds.items():
        messages, style = frames.measured("messages"), {**_STYLES[world], "ls": ""}
        shown = messages[messages["sender"].isin(senders) & messages["reader"].isin(readers)]
        axes.plot(shown["published_s"], shown["latency_s"], **style)
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_ylabel("latency from publish\nto delivery (s)")


def _name_faults(axes: "Axes", faults: pd.DataFrame) -> None:
    for kind, start_s, end_s in zip(faults["kind"], faults["start_s"], faults["end_s"], strict=True):
        text = f" {kind.replace('_', ' ')}, {end_s - start_s:.1f} s"
        axes.annotate(text, (start_s, 0.96), xycoords=("data", "axes fraction"), ha="left", va="top", color=FAULT, fontsize=10)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
