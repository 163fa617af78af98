"""Tables in the form that charts need, and helpers of several notebooks."""

import logging
from typing import Protocol

import pandas as pd

from simulation.results.frames import Frames
from simulation.trace.index import TraceIndex


class _Run(Protocol):
    """A `Result`, which this package does not import."""

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
    """How many messages were delivered to another client than their sender although that client had no transport when they were
    published: a client without resume would miss them."""
    frames = Frames(result.trace_index)
    messages, gone = frames["messages"], frames["interruptions"]
    read = messages[messages["is_delivered"] & (messages["sender"] != messages["reader"])]
    both = read[["publish_id", "reader", "published_s"]].merge(
        gone[["client", "start_s", "end_s"]], left_on="reader", right_on="client"
    )
    inside = both[(both["start_s"] <= both["published_s"]) & (both["published_s"] < both["end_s"])]
    return len(inside[["publish_id", "reader"]].drop_duplicates())


def quiet_clients() -> None:
    """Keep the warnings of clients out of a notebook that provokes them on purpose and shows them in tables."""
    logging.getLogger("steadywire.client").setLevel(logging.ERROR)
