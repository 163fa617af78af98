"""The event loop's own health: how late it is, which turns of it were long, and what the collection of garbage takes.

Everything of a server happens on one loop, so a long turn delays everybody. Watched only by `serve`, not in virtual time.
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
"""Shorter turns are not counted: there are thousands in a second."""
YOUNG_OBJECTS = 10_000
"""Objects made before the youngest generation is collected. Frames and events die by reference counting, so it rarely finds
anything; the interpreter's 700 would collect hundreds of times a second under load."""


def tune_collector() -> None:
    """To be called when a server has started: what is there stays for good, and is not looked at again."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)
    gc.enable()


async def watch_lag(shown: MetricSet) -> None:
    """Measure for ever how much later than asked this task is woken."""
    lag = shown.histogram(metrics.LOOP_LAG)
    while True:
        due_at = trio.current_time() + LAG_INTERVAL_S
        await trio.sleep_until(due_at)
        lag.observe(trio.current_time() - due_at)


@contextlib.contextmanager
def watched_turns(shown: MetricSet) -> Iterator[None]:
    """Within this block long turns of the loop, and collections, are counted. Inside of trio."""
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
