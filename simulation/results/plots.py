"""The figure of latency and delivery over time, and what other figures over time share. `save` writes any figure as PNG.

A function that makes a figure takes frames and returns a matplotlib figure, which is neither shown nor saved. It is made without
pyplot, so it needs no display and leaves nothing open.
"""

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simulation.results.columns import rows_of
from simulation.results.figure import BLUE, FAULT, GREEN, GREY, ORANGE, ShownFigure, png_of
from simulation.results.frames import Frames

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS_MAX = 20_000
"""More single messages than this are thinned out, evenly."""
FAULT_ROWS_MAX = 8
"""More faults than this share a row for each kind."""
FAULTS_SHADED_MAX = 500
_FAULT_NAMES = {"half_open": "half-open", "block_upgrade": "WebSocket blocked", "server_restart": "server restart"}


def save(figure: Figure, path: FilePath) -> None:
    """Write a figure as PNG; equal figures give equal bytes. Raises OSError."""
    path.write_bytes(png_of(figure))


def latency_and_delivery(frames: Frames, title: str) -> Figure:
    """Latency of messages, deliveries, and the clients' transports, over time; faults are shaded.

    The upper panel shows every message after the warm-up at the time of its publish, the median and the 95th percentile per
    second; the middle one how many messages were published and delivered in each second; the lower one the clients by their
    transport.
    """
    messages, faults, states = frames["messages"], frames["faults"], frames["states"]
    end_s = end_of_events(frames)
    figure = ShownFigure(figsize=(11, 8.2), layout="constrained")
    grid = figure.add_gridspec(4, 1, height_ratios=[0.12 + 0.16 * _fault_rows(faults), 3.2, 1.7, 1.4], hspace=0.04)
    strip, latency, delivery, transports = (figure.add_subplot(grid[row]) for row in range(4))
    _draw_faults(strip, faults, end_s)
    _draw_latency(latency, frames.measured("messages"))
    _draw_delivery(delivery, messages, end_s)
    _draw_transports(transports, states, end_s)
    for axes in (latency, delivery):
        shade_faults(axes, faults, end_s)
    for axes in (strip, latency, delivery, transports):
        axes.set_xlim(0, end_s)
        axes.spines[["top", "right"]].set_visible(False)
        if axes is not transports:
            axes.tick_params(labelbottom=False)
    transports.set_xlabel("time since the run began (s)")
    figure.suptitle(f"{title}\n{_subtitle(frames)}", x=0.01, ha="left", fontsize=12)
    return figure


def _draw_faults(axes: "Axes", faults: pd.DataFrame, end_s: float) -> None:
    """One bar for each fault, named; where there are many, one row for each kind."""
    shown = rows_of(faults)
    if len(shown) > FAULT_ROWS_MAX:
        _draw_kinds(axes, faults)
        shown = []
    for row, fault in enumerate(shown):
        start_s, clients = fault["start_s"], fault["clients"]
        width = max(fault["end_s"] - start_s, end_s / 300)
        axes.barh(-row, width, left=start_s, height=0.62, color=FAULT, alpha=0.75, lw=0)
        label = f"{_FAULT_NAMES.get(fault['kind'], fault['kind'])}, {clients} client{'s' if clients != 1 else ''}"
        is_late = start_s + width > 0.75 * end_s
        x, side = (start_s - end_s / 150, "right") if is_late else (start_s + width + end_s / 150, "left")
        axes.text(x, -row, label, va="center", ha=side, fontsize=8, color=GREY)
    axes.set_ylim(-_fault_rows(faults) + 0.4, 0.6)
    axes.set_yticks([])
    axes.set_ylabel("faults", rotation=0, ha="right", va="center", fontsize=9)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)


def _draw_kinds(axes: "Axes", faults: pd.DataFrame) -> None:
    for row, (kind, those) in enumerate(faults.groupby("kind", sort=False)):
        apart = those.drop_duplicates(["start_s", "end_s"])
        axes.barh(-row, apart["end_s"] - apart["start_s"], left=apart["start_s"], height=0.62, color=FAULT, alpha=0.75, lw=0)
        label = f"{_FAULT_NAMES.get(str(kind), str(kind))}, {len(apart)} times"
        x = float(apart["end_s"].max())
        axes.annotate(label, (x, -row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=GREY)


def _fault_rows(faults: pd.DataFrame) -> int:
    return len(faults) if len(faults) <= FAULT_ROWS_MAX else int(faults["kind"].nunique())


def _draw_latency(axes: "Axes", messages: pd.DataFrame) -> None:
    delivered = messages[messages["is_delivered"]]
    if len(delivered):
        shown = delivered.iloc[:: max(1, len(delivered) // POINTS_MAX)]
        alpha = float(np.clip(4000 / len(shown), 0.12, 0.6))
        axes.plot(shown["published_s"], shown["latency_s"], ".", ms=2.4, color=BLUE, alpha=alpha, mew=0, rasterized=True)
        per_second = delivered.groupby(np.floor(delivered["published_s"]))["latency_s"]
        middle, high = per_second.median(), per_second.quantile(0.95)
        axes.plot(high.index + 0.5, high, color=ORANGE, lw=1.4, label="95th percentile of each second")
        axes.plot(middle.index + 0.5, middle, color=BLUE, lw=1.8, label="median of each second")
        axes.legend(loc="upper right", frameon=False, fontsize=9, ncols=2)
        axes.set_ylim(delivered["latency_s"].min() / 1.5, delivered["latency_s"].max() * 4)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(seconds_shown))
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_ylabel("latency from publish\nto delivery (log scale)")


def _draw_delivery(axes: "Axes", messages: pd.DataFrame, end_s: float) -> None:
    edges = np.arange(0, np.ceil(end_s) + 1)
    published, _ = np.histogram(messages["published_s"], edges)
    delivered, _ = np.histogram(messages["delivered_s"].dropna(), edges)
    axes.stairs(delivered, edges, color=GREEN, fill=True, alpha=0.6, lw=0, label="delivered", zorder=2)
    axes.stairs(published, edges, color=GREY, lw=1.3, label="published, times readers", zorder=3)
    axes.set_ylim(0, max(1.0, float(max(published.max(), delivered.max()))) * 1.25)
    axes.set_ylabel("messages\nper second")
    axes.legend(loc="upper right", frameon=False, fontsize=9, ncols=2)


def _draw_transports(axes: "Axes", states: pd.DataFrame, end_s: float) -> None:
    transports = states["transport"].fillna("nothing")
    changes = pd.concat(
        [
            pd.DataFrame({"time_s": states["start_s"], "transport": transports, "change": 1}),
            pd.DataFrame({"time_s": states["end_s"], "transport": transports, "change": -1}),
        ]
    )
    times = np.sort(np.unique(changes["time_s"]))
    layers: list[np.ndarray] = []
    for transport in ("websocket", "polling", "nothing"):
        own = changes[changes["transport"] == transport].groupby("time_s")["change"].sum()
        layers.append(own.reindex(times, fill_value=0).cumsum().to_numpy())
    shown = times < times[-1] if len(times) > 1 else np.ones(len(times), dtype=bool)
    where = np.append(times[shown], end_s)
    stacked = [np.append(layer[shown], layer[shown][-1] if shown.any() else 0) for layer in layers]
    labels = ("WebSocket", "HTTP polling", "none")
    axes.stackplot(where, *stacked, labels=labels, colors=(BLUE, ORANGE, FAULT), alpha=0.6, step="post", lw=0)
    total = max(1, states["client"].nunique())
    axes.set_ylim(0, total * 1.45)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.set_ylabel("clients by transport")
    axes.legend(loc="upper right", frameon=False, fontsize=9, ncols=3)


def end_of_events(frames: Frames) -> float:
    """Where a plot over time ends, in s: a little after the last event, because a run goes on without events for much longer."""
    messages, faults, states, attempts = (frames[name] for name in ("messages", "faults", "states", "attempts"))
    last = (messages["published_s"], messages["delivered_s"], faults["end_s"], states["start_s"], attempts["welcomed_s"])
    return 1.03 * float(np.nanmax([1.0, *(times.max() for times in last)]))


def shade_faults(axes: "Axes", faults: pd.DataFrame, end_s: float) -> None:
    """Shade the time of each fault in a plot that ends at `end_s`; one that lasts no time is as wide as a thin line."""
    for fault in rows_of(faults.drop_duplicates(["start_s", "end_s"]).head(FAULTS_SHADED_MAX)):
        until_s = max(fault["end_s"], fault["start_s"] + end_s / 600)
        axes.axvspan(fault["start_s"], until_s, color=FAULT, alpha=0.09, lw=0, zorder=0)


def _subtitle(frames: Frames) -> str:
    row = rows_of(frames["summary"])[0]
    share = row["delivered_share"]
    if pd.isna(row["latency_p50_s"]):
        return f"{row['published']:.0f} published, nothing delivered"
    return (
        f"{row['clients']:.0f} clients, {row['published']:.0f} published; {100 * share:.2f} % of {row['messages']:.0f} messages "
        f"delivered; latency p50 {seconds_shown(row['latency_p50_s'])}, p95 {seconds_shown(row['latency_p95_s'])}, "
        f"p99 {seconds_shown(row['latency_p99_s'])}"
    )


def seconds_shown(value: float, _: object = None) -> str:
    """A time for a reader, or for an axis: 250 ms, 3 s."""
    if value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s"
