"""Health of the event loop: its lag, its long turns, and the time spent in garbage collection.

The whole server runs on one loop, so a long turn delays every client. Only `serve` measures it, not tests in virtual time.
"""

import contextlib
import gc
import time
from collections.abc import Iterator
from typing import Literal

import trio

from reference.protocol import metrics
from reference.server.monitoring.metrics import MetricSet

LAG_INTERVAL_S = 0.25
"""Between two measurements of the lag."""
LONG_TURN_S = 0.001
"""Shorter turns are not counted: there are thousands per second."""
YOUNG_OBJECTS = 10_000
"""Objects created before the youngest generation is collected. Frames and events are freed by reference counting, so the
collector rarely finds anything; Python's default of 700 would collect hundreds of times per second under load."""


def tune_collector() -> None:
    """Call when a server has started: objects that exist by then stay for good and are not scanned again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
    gc.enable()


async def watch_lag(shown: MetricSet) -> None:
    """Measure for ever how much later than requested this task is woken."""
    lag = shown.histogram(metrics.LOOP_LAG)
    while True:
        due_at = trio.current_time() + LAG_INTERVAL_S
        await trio.sleep_until(due_at)
        lag.observe(trio.current_time() - due_at)


@contextlib.contextmanager
def watched_turns(shown: MetricSet) -> Iterator[None]:
    """Count long turns of the loop, and collections, within this block. Call inside trio."""
    turns, collections = _Turns(shown), _Collections(shown)
    trio.lowlevel.add_instrument(turns)
    gc.callbacks.append(collections)
    try:
        yield
    finally:
        gc.callbacks.remove(collections)
        trio.lowlevel.remove_instrument(turns)


class _Turns(trio.abc.Instrument):
    def __init__(self, shown: MetricSet) -> None:
        self._long = shown.histogram(metrics.LONG_TURNS)
        self._began_at = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_at = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took_s = time.perf_counter() - self._began_at
        if took_s >= LONG_TURN_S:
            self._long.observe(took_s)


class _Collections:
    def __init__(self, shown: MetricSet) -> None:
        self._took = shown.histogram(metrics.COLLECTIONS)
        self._began_at = 0.0

    def __call__(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._began_at = time.perf_counter()
        else:
            self._took.observe(time.perf_counter() - self._began_at)
