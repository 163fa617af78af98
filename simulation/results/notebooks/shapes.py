"""Tables in the shape that a chart takes, and a count that several notebooks need."""

import logging
from typing import Protocol

import pandas as pd

from simulation.results.frames import Frames
from simulation.trace.index import TraceIndex


class _Run(Protocol):
    """A `Result`, which stands above this package."""

    @property
    def trace_index(self) -> TraceIndex: ...


def as_points(points: pd.DataFrame, *, name: str) -> pd.DataFrame:
    """The `points` of an experiment's outcome as one row per value of `name`: of each figure its mean, and `<figure>_low` and
    `<figure>_high`. A figure that not every replication has is NaN: a mean over those that have one would flatter it."""
    known = points.copy()
    known.loc[known["missing"] > 0, ["mean", "low", "high"]] = float("nan")
    wide = pd.DataFrame({name: list(dict.fromkeys(points[name]))})
    for figure, rows in known.groupby("figure", sort=False):
        names = {"mean": str(figure), "low": f"{figure}_low", "high": f"{figure}_high"}
        wide = wide.merge(rows[[name, *names]].rename(columns=names), on=name, how="left")
    return wide


def missed_without_replay(result: _Run) -> int:
    """How many messages were delivered to another client than their sender though nothing carried that client when they were
    published: what a client that does not read on from where it was would miss."""
    frames = Frames(result.trace_index)
    messages, gone = frames["messages"], frames["interruptions"]
    read = messages[messages["is_delivered"] & (messages["sender"] != messages["reader"])]
    both = read[["publish_id", "reader", "published_s"]].merge(
        gone[["client", "start_s", "end_s"]], left_on="reader", right_on="client"
    )
    inside = both[(both["start_s"] <= both["published_s"]) & (both["published_s"] < both["end_s"])]
    return len(inside[["publish_id", "reader"]].drop_duplicates())


def quiet_clients() -> None:
    """Keep what clients log as warnings out of a notebook that provokes it on purpose and shows it in tables."""
    logging.getLogger("steadywire.client").setLevel(logging.ERROR)
