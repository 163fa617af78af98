"""Worker: one thread, as long as the store is open, that executes functions in order.

Its queue is the queue of the database: functions run one after the other, and one that hangs delays the next instead of racing
with it. A dedicated thread is cheaper than one from a pool, which costs 0.1 ms per call, and cannot be refused by the system
later.
"""

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import outcome
import trio

from reference.store.base import StoreUnavailable

T = TypeVar("T")


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        self.token = trio.lowlevel.current_trio_token()
        self.result: outcome.Outcome[Any] = outcome.Value(None)

    def report(self) -> None:
        if self.task is not None:
            trio.lowlevel.reschedule(self.task, self.result)


class Worker:
    """Created inside trio; `run` is for trio tasks. A daemon thread: a function that hangs does not keep the process alive."""

    def __init__(self, name: str) -> None:
        """Raises StoreUnavailable if no thread can be started."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._has_ended = trio.Event()
        self._thread = threading.Thread(target=self._serve, args=(trio.lowlevel.current_trio_token(),), name=name, daemon=True)
        start_thread(self._thread)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, executed in the thread. A cancelled caller does not get it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(work)
        self._jobs.put(job)

        def abandon(_: object) -> trio.lowlevel.Abort:
            job.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        result: T = await trio.lowlevel.wait_task_rescheduled(abandon)
        return result

    async def stop(self) -> None:
        """Let the thread end after the queued functions, and wait for that."""
        self._jobs.put(None)
        await self._has_ended.wait()

    def _serve(self, token: trio.lowlevel.TrioToken) -> None:
        while (job := self._jobs.get()) is not None:
            job.result = outcome.capture(job.work)
            with contextlib.suppress(trio.RunFinishedError):  # then no task waits any more
                job.token.run_sync_soon(job.report)
            del job
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(self._has_ended.set)


def start_thread(thread: threading.Thread) -> None:
    """Start `thread`. Raises StoreUnavailable if the system refuses it."""
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread(error) from error


def no_thread(error: RuntimeError) -> StoreUnavailable:
    """The error of work for which the system refused a thread."""
    return StoreUnavailable(f"the system gives no thread ({error}); raise its limit of processes and threads")
