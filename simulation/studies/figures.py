"""Figures of one run that a study file can name, in addition to the columns of the summary: costs and alerts.

recovery_p99_s                 more than 99 % of all interruptions were over after this; infinite if 1 % or more never ended, 0 if
                               there was none
downtime_s_per_client_hour     time in which a client had no transport
storm_peak_per_s               WebSocket attempts in the busiest second after the first fault began
accept_queue_max               the most connections that waited to be accepted (0 without a capacity); the summary's column of
                               this name is of the whole run
attempts_per_client_hour       WebSocket attempts and starts of polling
pings_per_connected_hour       answered pings while a WebSocket was open, the cost of the heartbeat
server_busy_s_per_client_hour  processor time of the server (0 without a capacity)
alerts_MEASURE                 how often a measure crossed the brief's alert threshold (`simulation.results.measures`) in the full
                               world; NaN if the run kept no messages to compute it

The warm-up is left out. A client-hour is one from a client's start until it leaves, or the run ends.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from reference.protocol.timers import NS_PER_S, ns
from simulation.results.frames import Frames
from simulation.results.measures import MEASURES, alerts
from simulation.results.outage_figures import busiest_second
from simulation.world import Result

HOUR_S = 3600.0


def recovery_p99_s(result: Result, frames: Frames) -> float:
    return recovery_quantile_s(result, frames, 0.99)


def recovery_quantile_s(result: Result, frames: Frames, fraction: float) -> float:
    """The least time after which more than that fraction of all interruptions were over (and all of them, at 1): of those that
    began after the warm-up, with those without an end as infinite. 0 without one. Who left while it was cut off is left out."""
    left = {client.name for client in result.trace_index.clients.values() if client.left_at is not None}
    gone = frames.measured("interruptions")
    gone = gone[gone["has_returned"] | ~gone["client"].isin(left)]
    lasted = np.where(gone["has_returned"], gone["duration_s"], math.inf)
    lasted = np.append(lasted, [math.inf] * len(_gave_up_at_once(result, frames)))
    return quantile_of(lasted, fraction) if len(lasted) else 0.0


def quantile_of(values: "np.ndarray", fraction: float) -> float:
    """The least value that more than that fraction of them do not exceed; the largest at 1. It is one of them, also if some are
    infinite."""
    return float(np.quantile(values, fraction, method="higher"))


def downtime_s_per_client_hour(result: Result, frames: Frames) -> float:
    gone = frames["interruptions"]
    down_s = _after_warm_up(result, gone["start_s"], gone["end_s"]) + math.fsum(_gave_up_at_once(result, frames))
    return down_s / _client_hours(result)


def _gave_up_at_once(result: Result, frames: Frames) -> list[float]:
    """Of each client whose policy ended after the warm-up with the connection, so that it has no interruption: how long the run
    went on, in s."""
    gone = frames["interruptions"]
    known = set(gone[~gone["has_returned"]]["client"])  # only tested for membership, never iterated
    over = [each for each in result.trace_index.clients.values() if each.is_over and each.left_at is None]
    ends = [each.records[-1].at for each in over if each.name not in known]
    warm_up = ns(result.trace_index.started.warm_up_s)
    return [(result.trace_index.ended_at - end) / NS_PER_S for end in ends if end >= warm_up]


def storm_peak_per_s(result: Result, frames: Frames) -> float:
    began_s = min((trouble.start for trouble in result.trace_index.troubles), default=0) / NS_PER_S
    tried = frames.measured("attempts")
    times_s = tried[tried["transport"] == "websocket"]["attempted_s"]
    return float(busiest_second(times_s[times_s >= began_s]))


def accept_queue_max(result: Result, _: Frames) -> float:
    warm_up = ns(result.trace_index.started.warm_up_s)
    return float(max((sample.backlog_most for sample in result.trace_index.work if sample.at > warm_up), default=0))


def attempts_per_client_hour(result: Result, frames: Frames) -> float:
    return len(frames.measured("attempts")) / _client_hours(result)


def pings_per_connected_hour(result: Result, frames: Frames) -> float:
    measured, held = result.trace_index.measured, frames["connections"]
    answered = len(frames.measured("round_trips")) if measured is None else measured.round_trip.histogram().count
    held = held[held["transport"] == "websocket"]
    connected_s = _after_warm_up(result, held["welcomed_s"], held["welcomed_s"] + held["duration_s"])
    return answered / connected_s * HOUR_S if connected_s else 0.0


def server_busy_s_per_client_hour(result: Result, _: Frames) -> float:
    warm_up = ns(result.trace_index.started.warm_up_s)
    return math.fsum(sample.busy_s for sample in result.trace_index.work if sample.at > warm_up) / _client_hours(result)


def _alerts(measure: str, result: Result, frames: Frames) -> float:
    fired = alerts(result.trace_index, frames.scale)
    fired = fired[fired["alert"] == measure]
    return float(len(fired)) if fired["is_judged"].all() else math.nan


def _after_warm_up(result: Result, starts_s: "pd.Series[float]", ends_s: "pd.Series[float]") -> float:
    """The length of these intervals together, in s, without the warm-up."""
    since_s = result.trace_index.started.warm_up_s
    return float((ends_s.clip(lower=since_s) - starts_s.clip(lower=since_s)).sum())


def _client_hours(result: Result) -> float:
    """At least one second, so that it can divide."""
    since, ended_at = ns(result.trace_index.started.warm_up_s), result.trace_index.ended_at
    there = (
        (ended_at if client.left_at is None else client.left_at) - max(client.started_at, since)
        for client in result.trace_index.clients.values()
    )
    return max(1.0, sum(each for each in there if each > 0) / NS_PER_S) / HOUR_S


DERIVED: dict[str, Callable[[Result, Frames], float]] = {
    "recovery_p99_s": recovery_p99_s,
    "downtime_s_per_client_hour": downtime_s_per_client_hour,
    "storm_peak_per_s": storm_peak_per_s,
    "accept_queue_max": accept_queue_max,
    "attempts_per_client_hour": attempts_per_client_hour,
    "pings_per_connected_hour": pings_per_connected_hour,
    "server_busy_s_per_client_hour": server_busy_s_per_client_hour,
    **{f"alerts_{measure}": functools.partial(_alerts, measure) for measure in MEASURES},
}
