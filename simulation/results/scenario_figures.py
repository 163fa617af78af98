"""Figures for a scenario: chooses those that have something to show in a run, and draws them.

    storm          attempts and welcomes per second, attempts that wait for an answer, and connected clients    (many reconnects)
    outbox         publishes that wait, and for how long                                                  (a queue grows)
    groups         latency and connection of each group                                                   (several groups)
    worst_client   one client's states, attempts, queue and latencies over time                           (always)

`figures_of` chooses; `simulation.results.plots` has the one about latency and delivery. Every line has its own mark or dash
pattern, so that colour is never the only difference.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from simulation.results.columns import rows_of
from simulation.results.figure import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from simulation.results.frames import Frames
from simulation.results.outage_figures import group_of
from simulation.results.plots import end_of_events, latency_and_delivery, seconds_shown, shade_faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import XAxis, YAxis

SERIES = (
    (BLUE, "-", "o"),
    (ORANGE, "--", "s"),
    (GREEN, "-.", "^"),
    (RED, ":", "D"),
    (PURPLE, (0, (5, 1)), "v"),
    (BLACK, "-", "x"),
)
"""Colour, dash pattern and mark of the n-th line."""
STORM_SHARE = 0.5
"""From this share of reconnected clients on, a run is about a storm."""
STORM_CLIENTS_MIN = 5
OUTBOX_MIN = 3
"""A queue of this many publishes is worth a figure."""
OUTBOXES_SHOWN = 5
GROUPS_SHOWN = len(SERIES)
ATTEMPTS_SHOWN = 2000


class Drawn(NamedTuple):
    """One figure. `name`: short, for its file. `caption`: a sentence that says what to see."""

    name: str
    caption: str
    figure: Figure


def figures_of(frames: Frames, title: str, groups: tuple[str, ...]) -> Iterator[Drawn]:
    """The figures that have something to show, the most informative first. `groups`: their names in the scenario."""
    if is_storm(frames):
        yield Drawn(
            "storm",
            "How clients came back: attempts, what waited for an answer, and how many were connected.",
            storm(frames, title),
        )
    if outbox_peaks(frames).head(1).ge(OUTBOX_MIN).any():
        yield Drawn("outbox", "What waited to be sent, for the clients with the longest queues.", outbox(frames, title))
    if len(groups) > 1:
        yield Drawn(
            "groups",
            "Each group by itself: the latency of what its clients received, and how many were connected.",
            by_group(frames, title),
        )
    if len(frames["messages"]):
        caption = "Every message at the time of its publish, how many were delivered, and the transports of the clients."
        yield Drawn("latency_and_delivery", caption, latency_and_delivery(frames, title))
    client = worst_client(frames)
    if client is not None:
        yield Drawn("worst_client", f"The client that was away the longest: {client}.", timeline(frames, client, title))


# Selection.


def is_storm(frames: Frames) -> bool:
    """Whether many clients reconnected together, and not one after the other."""
    again = frames["attempts"]
    again = again[again["waited_s"].notna()]
    clients = max(1, frames["states"]["client"].nunique())
    came_back = again["client"].nunique()
    return came_back >= max(STORM_CLIENTS_MIN, STORM_SHARE * clients)


def outbox_peaks(frames: Frames) -> "pd.Series[int]":
    """The longest queue of each client that had one, the longest first."""
    samples = frames["samples"]
    longest = samples[samples["queue"] == "outbox"].groupby("place")["length"].max()
    return longest[longest > 0].sort_values(ascending=False, kind="stable")


def worst_client(frames: Frames) -> str | None:
    """The client with the longest single interruption; else with the longest queue; else the first. None without clients."""
    away = frames["interruptions"]
    if len(away):
        return str(away["client"].to_numpy()[away["duration_s"].to_numpy().argmax()])
    peaks = outbox_peaks(frames)
    if len(peaks):
        return str(peaks.index[0])
    clients = frames["states"]["client"]
    return str(clients.iloc[0]) if len(clients) else None


# The figures.


def storm(frames: Frames, title: str) -> Figure:
    """Attempts and welcomes in each whole second; attempts that wait for an answer, and the server's queue; clients that are
    connected. The busiest second may begin at any time, so the dotted line may lie above every whole second."""
    attempts, samples = frames["attempts"], frames["samples"]
    figure, (rate, waiting, connected), end_s = _panels(frames, f"{title}\n{_came_back(frames)}", (2.2, 1.6, 1.6))
    edges = np.arange(0, np.ceil(end_s) + 1)
    websockets = attempts[attempts["transport"] == "websocket"]
    for column, label, (colour, _, _) in (("attempted_s", "tried", SERIES[1]), ("welcomed_s", "welcomed", SERIES[0])):
        counts, _ = np.histogram(websockets[column].dropna(), edges)
        is_fill = column == "welcomed_s"
        style: dict[str, Any] = {"fill": True, "alpha": 0.55, "lw": 0} if is_fill else {"lw": 1.6}
        rate.stairs(counts, edges, color=colour, label=label, **style)
    peak = rows_of(frames["summary"])[0]["attempts_per_s_max"]
    if peak > 0:
        rate.axhline(peak, color=GREY, lw=0.8, ls=":", label=f"most within any one second: {peak:,}")
    rate.set_ylabel("WebSocket attempts\nin each whole second")
    _legend(rate)

    times, counts = _open_attempts(attempts)
    waiting.step(times, counts, where="post", color=RED, lw=1.4, label="attempts that wait for an answer")
    queue = samples[samples["queue"] == "work queue"]
    if len(queue):
        waiting.step(*_lengths(queue, end_s), where="post", color=BLACK, lw=1, ls="--", label="jobs that wait for the server")
    waiting.set_ylabel("waiting")
    _legend(waiting)

    states = frames["states"]
    total = states["client"].nunique()
    for place, (transport, label) in enumerate((("websocket", "by WebSocket"), ("polling", "by HTTP polling"))):
        own = states[states["transport"] == transport]
        if len(own):
            times, counts = _steps(own["start_s"], own["end_s"])
            colour, dashes, _ = SERIES[place]
            connected.step(times, counts, where="post", color=colour, ls=dashes, lw=1.6, label=label)
    connected.axhline(total, color=GREY, lw=0.8, ls=":")
    connected.text(0.005, total, f"all {total:,}", transform=connected.get_yaxis_transform(), va="bottom", fontsize=8, color=GREY)
    connected.set_ylabel("clients\nconnected")
    _legend(connected)
    for axes in (rate, waiting, connected):
        axes.set_ylim(0, axes.get_ylim()[1] * (1.3 if axes is connected else 1.15))
    return figure


def _came_back(frames: Frames) -> str:
    row = rows_of(frames["summary"])[0]
    peak = f"at most {row['attempts_per_s_max']:,} attempts within one second"
    back_s = row["back_99_s"]
    back = f"99 % of the clients back, by either transport, {back_s:.3g} s after the last fault"
    return peak if pd.isna(back_s) else f"{peak}; {back}"


def outbox(frames: Frames, title: str) -> Figure:
    """Publishes that wait in the outboxes of the clients with the longest ones, and the time from publish to answer."""
    samples, publishes, peaks = frames["samples"], frames["publishes"], outbox_peaks(frames)
    longest = f"{title}: up to {peaks.max()} publishes wait ({peaks.index[0]})"
    figure, (queues, answers), end_s = _panels(frames, longest, (2.2, 1.8))
    for (client, peak), (colour, dashes, mark) in zip(
        peaks[peaks.ge(OUTBOX_MIN)].head(OUTBOXES_SHOWN).items(), SERIES, strict=False
    ):
        own = samples[(samples["queue"] == "outbox") & (samples["place"] == client)]
        label = f"{client} (at most {peak})"
        queues.step(*_lengths(own, end_s), where="post", color=colour, ls=dashes, lw=1.5, label=label)
        sent = publishes[(publishes["sender"] == client) & (publishes["outcome"] == "accepted")]
        waited = sent["answered_s"] - sent["published_s"]
        answers.plot(sent["published_s"], waited.clip(lower=1e-4), mark, ms=3.5, color=colour, alpha=0.7, label=str(client))
        lost = publishes[(publishes["sender"] == client) & (publishes["outcome"] == "failed")]
        if len(lost):
            answers.plot(lost["published_s"], np.full(len(lost), 1.0), "x", ms=6, color=RED, label=f"{client}: failed")
    queues.set_ylabel("publishes in\nthe outbox")
    queues.set_ylim(0, float(peaks.max()) * 1.2)
    queues.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    _log_seconds(answers.yaxis)
    answers.set_ylabel("publish to acceptance\n(log scale), by time of publish")
    answers.grid(axis="y", color="#dddddd", lw=0.6)
    _legend(queues)
    return figure


def by_group(frames: Frames, title: str) -> Figure:
    """Two panels: the distribution of latency for each group's readers, and the share of its clients that is connected."""
    messages, states = frames.measured("messages"), frames["states"]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    latency, connected = figure.subplots(2, 1)
    names = list(dict.fromkeys(states["client"].map(group_of)))
    readers = messages["reader"].map(group_of)
    for place, name in enumerate(names[:GROUPS_SHOWN]):
        colour, dashes, mark = SERIES[place]
        own = messages[readers == name]
        owed = own[~(own["is_covered"] | own["has_left"])]
        if len(owed):
            ascending = np.sort(owed["latency_s"].dropna().to_numpy()).clip(min=1e-4)
            shares = np.arange(1, len(ascending) + 1) / len(owed)
            label = f"{name}: p95 {np.quantile(ascending, 0.95):.3g} s, {100 * len(ascending) / len(owed):.4g} % delivered"
            every = max(1, len(ascending) // 8)
            latency.plot(ascending, shares, color=colour, ls=dashes, marker=mark, markevery=every, ms=4, lw=1.6, label=label)
        mine = states[states["client"].map(group_of) == name]
        carried = mine[mine["is_connected"]]
        clients = max(1, mine["client"].nunique())
        times, counts = _steps(carried["start_s"], carried["end_s"])
        shown = f"{name} ({clients} client{'s' if clients > 1 else ''})"
        connected.step(times, 100 * counts / clients, where="post", color=colour, ls=dashes, lw=1.6, label=shown)
    if len(messages):
        _log_seconds(latency.xaxis)
        latency.set_xlabel("latency from publish to delivery, as the group's clients see it (log scale)")
        latency.set_ylabel("share of messages\ndelivered within it")
        latency.set_ylim(0, 1.03)
        latency.grid(color="#dddddd", lw=0.6)
        _legend(latency, "lower right", 1)
    else:
        latency.remove()
    end_s = end_of_events(frames)
    shade_faults(connected, frames["faults"], end_s)
    connected.set_xlim(0, end_s)
    connected.set_ylim(0, 108)
    connected.set_ylabel("clients connected (%)")
    connected.set_xlabel("time since the run began (s); faults are shaded")
    _legend(connected, "lower right")
    for axes in (latency, connected):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: each group by itself", x=0.01, ha="left", fontsize=12)
    return figure


def timeline(frames: Frames, client: str, title: str) -> Figure:
    """One client over time: its transport, its attempts, its outbox, and the latency of what it received."""
    states, attempts = frames["states"], frames["attempts"]
    figure, (carried, queue, latency), end_s = _panels(frames, f"{title}: {client}", (1.3, 1.2, 1.8))
    own = states[states["client"] == client]
    for transport, label, colour, hatch in (
        ("websocket", "WebSocket", BLUE, ""), ("polling", "HTTP polling", ORANGE, "//"), (None, "none", RED, "xx"),
    ):  # fmt: skip
        rows = own[own["transport"].isna()] if transport is None else own[own["transport"] == transport]
        spans = [(row["start_s"], row["end_s"] - row["start_s"]) for row in rows_of(rows)]
        if spans:
            carried.broken_barh(
                spans, (0.1, 0.5), facecolor=colour, alpha=0.55, hatch=hatch, edgecolor="white", lw=0, label=label
            )
    mine = attempts[attempts["client"] == client].head(ATTEMPTS_SHOWN)
    for outcome, mark, colour in (("failed", "x", RED), ("welcomed", "^", GREEN), ("open", "o", GREY)):
        at = mine.loc[mine["outcome"] == outcome, "attempted_s"]
        if len(at):
            carried.plot(at, np.full(len(at), 0.85), mark, ms=6, color=colour, label=f"attempt {outcome}")
    carried.set_ylim(0, 1.9)
    carried.set_yticks([])
    carried.set_ylabel("transport")
    _legend(carried, columns=6)

    samples = frames["samples"]
    waiting = samples[(samples["queue"] == "outbox") & (samples["place"] == client)]
    queue.step(*_lengths(waiting, end_s), where="post", color=BLACK, lw=1.4)
    queue.set_ylim(0, max(1.0, float(waiting["length"].max() if len(waiting) else 1)) * 1.2)
    queue.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    queue.set_ylabel("publishes in\nthe outbox")

    messages = frames["messages"]
    read = messages[(messages["reader"] == client) & messages["is_delivered"]]
    if len(read):
        latency.plot(read["delivered_s"], read["latency_s"].clip(lower=1e-4), ".", ms=4, color=BLUE, alpha=0.6, mew=0)
        _log_seconds(latency.yaxis)
    else:
        latency.text(0.5, 0.5, "no message was recorded one by one", transform=latency.transAxes, ha="center", color=GREY)
    latency.set_ylabel("latency of what it\nreceived (log scale),\nby time of delivery")
    return figure


# Helpers.


def _panels(frames: Frames, title: str, heights: tuple[float, ...]) -> tuple[Figure, list["Axes"], float]:
    """A figure of panels over one time axis, with the faults shaded; and where the axis ends, in s."""
    figure = Figure(figsize=(11, 1.2 + 1.5 * sum(heights)), layout="constrained")
    panels = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
    end_s = end_of_events(frames)
    for axes in panels:
        shade_faults(axes, frames["faults"], end_s)
        axes.set_xlim(0, end_s)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time since the run began (s); faults are shaded")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    return figure, panels, end_s


def _log_seconds(axis: "XAxis | YAxis") -> None:
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter(FuncFormatter(seconds_shown))


def _legend(axes: "Axes", where: Any = "upper right", columns: int = 3) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=where, frameon=False, fontsize=9, ncols=columns)


def _lengths(samples: pd.DataFrame, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    """The length of one queue over the whole time of a figure: a sample is kept when the length has changed, at first from 0."""
    ascending = samples.sort_values("time_s")
    lengths = np.concatenate([[0], ascending["length"].to_numpy()])
    return np.concatenate([[0.0], ascending["time_s"].to_numpy(), [end_s]]), np.append(lengths, lengths[-1])


def _open_attempts(attempts: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The number of attempts that are neither welcomed nor failed, over time."""
    until = attempts[["welcomed_s", "ended_s"]].min(axis=1).fillna(np.inf)
    return _steps(attempts["attempted_s"], until)


def _steps(starts: "pd.Series[float]", ends: "pd.Series[float]") -> tuple[np.ndarray, np.ndarray]:
    """The number of active intervals, at each time at which it changes."""
    changes = np.concatenate([starts.to_numpy(dtype=float), ends.to_numpy(dtype=float)])
    signs = np.concatenate([np.ones(len(starts)), -np.ones(len(ends))])
    known = np.isfinite(changes)
    times, places = np.unique(changes[known], return_inverse=True)
    steps = np.cumsum(np.bincount(places, weights=signs[known], minlength=len(times)))
    return np.concatenate([[0.0], times]), np.concatenate([[0.0], steps])
