"""Figures of one run that a study file can name, in addition to the columns of the summary: costs and alerts.

recovery_p99_s                 99 % of all interruptions were over after this; infinite if more than 1 % never ended, 0 if there
                               was none
downtime_s_per_client_hour     time in which a client had no transport
storm_peak_per_s               WebSocket attempts in the busiest second after the first fault began
accept_queue_max               the most connections that waited to be accepted (0 without a capacity)
attempts_per_client_hour       WebSocket attempts and starts of polling
pings_per_connected_hour       answered pings while a WebSocket was open, the cost of the heartbeat
server_busy_s_per_client_hour  processor time of the server (0 without a capacity)
alerts_MEASURE                 how often a measure crossed the brief's alert threshold (`simulation.results.measures`);
                               NaN if the run kept no messages to compute it
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from reference.protocol.timers import NS_PER_S
from simulation.results.frames import Frames
from simulation.results.measures import MEASURES
from simulation.results.outage_figures import busiest_second
from simulation.world import Result

HOUR_S = 3600.0


def recovery_p99_s(result: Result, frames: Frames) -> float:
    return recovery_quantile_s(result, frames, 0.99)


def recovery_quantile_s(result: Result, frames: Frames, fraction: float) -> float:
    """Of all interruptions after the warm-up, with those without an end as infinite; 0 without one."""
    gone = frames["interruptions"]
    gone = gone[gone["start_s"] >= result.trace_index.started.warm_up_s]
    lasted = np.where(gone["has_returned"], gone["duration_s"], math.inf)
    lasted = np.append(lasted, [math.inf] * len(_gave_up_at_once(result, frames)))
    return float(np.quantile(lasted, fraction, method="higher")) if len(lasted) else 0.0


def downtime_s_per_client_hour(result: Result, frames: Frames) -> float:
    down_s = float(frames["interruptions"]["duration_s"].sum()) + math.fsum(_gave_up_at_once(result, frames))
    return down_s / _client_hours(result)


def _gave_up_at_once(result: Result, frames: Frames) -> list[float]:
    """Of each client whose policy ended with the connection, so that it has no interruption: how long the run went on, in s."""
    gone = frames["interruptions"]
    known = set(gone[~gone["has_returned"]]["client"])  # only tested for membership, never iterated
    over = [each for each in result.trace_index.clients.values() if each.is_over and each.left_at is None]
    ended_at = result.trace_index.ended_at
    return [(ended_at - each.records[-1].at) / NS_PER_S for each in over if each.name not in known]


def storm_peak_per_s(result: Result, frames: Frames) -> float:
    began_s = min((trouble.start for trouble in result.trace_index.troubles), default=0) / NS_PER_S
    tried = frames["attempts"]
    times_s = tried[tried["transport"] == "websocket"]["attempted_s"]
    return float(busiest_second(times_s[times_s >= began_s]))


def accept_queue_max(result: Result, _: Frames) -> float:
    return float(max((sample.backlog_most for sample in result.trace_index.work), default=0))


def attempts_per_client_hour(result: Result, frames: Frames) -> float:
    return len(frames["attempts"]) / _client_hours(result)


def pings_per_connected_hour(result: Result, frames: Frames) -> float:
    measured, held = result.trace_index.measured, frames["connections"]
    answered = len(frames["round_trips"]) if measured is None else measured.round_trip.histogram().count
    connected_s = float(held[held["transport"] == "websocket"]["duration_s"].sum())
    return answered / connected_s * HOUR_S if connected_s else 0.0


def server_busy_s_per_client_hour(result: Result, _: Frames) -> float:
    return math.fsum(sample.busy_s for sample in result.trace_index.work) / _client_hours(result)


def _alerts(measure: str, _: Result, frames: Frames) -> float:
    fired = frames["alerts"]
    fired = fired[fired["alert"] == measure]
    return float(len(fired)) if fired["is_judged"].all() else math.nan


def _client_hours(result: Result) -> float:
    return max(1, len(result.trace_index.clients)) * result.trace_index.ended_at / NS_PER_S / HOUR_S


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
