"""Figures of an outage and of the storm after it: interruptions, attempts per second, when everyone was back, share of fallback.

All are computed from the trace. A client is *back* as defined by G6: it has a transport until the end, and is at least where the
head was when the last fault ended.
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from reference.protocol.timers import NS_PER_S
from simulation.trace.index import TraceIndex, recovered_at

SHARES = (50, 90, 99, 100)


def of_interruptions(gone: pd.DataFrame) -> dict[str, float | None]:
    """Mean and maximum of interruptions, in s; one that had not ended when the trace did counts as far as it went."""
    durations = gone["duration_s"]
    return {
        "interruption_mean_s": float(durations.mean()) if len(durations) else None,
        "interruption_max_s": float(durations.max()) if len(durations) else None,
    }


def busiest_second(times_s: Iterable[float]) -> int:
    """The largest number of events within any one second."""
    ascending = np.sort(np.array([at for at in times_s if not math.isnan(at)]))
    if not len(ascending):
        return 0
    return int((np.searchsorted(ascending, ascending + 1.0, "left") - np.arange(len(ascending))).max())


def of_attempts(attempts: pd.DataFrame) -> dict[str, int]:
    """The most WebSockets that were tried, and that were welcomed, within one second."""
    websockets = attempts[attempts["transport"] == "websocket"]
    return {
        "attempts_per_s_max": busiest_second(websockets["attempted_s"]),
        "accepts_per_s_max": busiest_second(websockets["welcomed_s"]),
    }


def until_back(trace_index: TraceIndex) -> dict[str, float | None]:
    """How long after the last fault 50, 90, 99 and 100 % of the clients were back, in s; None if so many never were, or if there
    was no fault. Clients that left, or whose session is over, are not counted."""
    since = trace_index.faults_end
    staying = [client for client in trace_index.clients.values() if not client.is_over and client.left_at is None]
    if not trace_index.troubles or not staying:
        return {f"back_{share}_s": None for share in SHARES}
    epoch = "" if trace_index.log is None else trace_index.log.epoch
    head = 0
    if trace_index.measured is None:
        head = max((number for (of, number), at in trace_index.visible_at.items() if of == epoch and at <= since), default=0)
    back = sorted((at - since) / NS_PER_S for client in staying if (at := recovered_at(client, since, epoch, head)) is not None)
    needed = {share: math.ceil(len(staying) * share / 100) for share in SHARES}
    return {f"back_{share}_s": back[count - 1] if count <= len(back) else None for share, count in needed.items()}


def fallback_share(states: pd.DataFrame, from_s: float = 0.0) -> float | None:
    """The share of the clients' time from `from_s` on in which they polled."""
    lasted = (states["end_s"] - states["start_s"].clip(lower=from_s)).clip(lower=0.0)
    total = float(lasted.sum())
    return float(lasted[states["transport"] == "polling"].sum()) / total if total else None


def group_of(client: str) -> str:
    """The group of a scenario's client: its name without its number."""
    return client.rpartition("-")[0] or client
