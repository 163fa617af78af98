"""Worker: one thread that lives as long as the store and does what it is given, in order.

The queue in front of it is the queue in front of the database: one piece of work after the other, and one that hangs
holds up the next instead of racing it. A thread of its own is cheaper than one from a pool, which costs 0.1 ms for
each piece of work, and it cannot be refused by the system in the middle of a life.
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
    """Made inside of trio; `run` is for trio tasks. A daemon: work that hangs does not keep the process."""

    def __init__(self, name: str) -> None:
        """Raises StoreUnavailable if the system gives no thread."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._has_ended = trio.Event()
        self._thread = threading.Thread(target=self._serve, args=(trio.lowlevel.current_trio_token(),), name=name, daemon=True)
        start_thread(self._thread)

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in the thread. A caller that is cancelled does not learn it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        job = _Job(work)
        self._jobs.put(job)

        def abandon(_: object) -> trio.lowlevel.Abort:
            job.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        result: T = await trio.lowlevel.wait_task_rescheduled(abandon)
        return result

    async def stop(self) -> None:
        """Let the thread end when it has done what it was given, and wait for that."""
        self._jobs.put(None)
        await self._has_ended.wait()

    def _serve(self, token: trio.lowlevel.TrioToken) -> None:
        while (job := self._jobs.get()) is not None:
            job.result = outcome.capture(job.work)
            with contextlib.suppress(trio.RunFinishedError):  # then nobody waits any more
                job.token.run_sync_soon(job.report)
            del job
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(self._has_ended.set)


def start_thread(thread: threading.Thread) -> None:
    """Start `thread`. Raises StoreUnavailable if the system gives none."""
    try:
        thread.start()
    except RuntimeError as error:
        raise no_thread(error) from error


def no_thread(error: RuntimeError) -> StoreUnavailable:
    """The error of work for which the system gave no thread."""
    return StoreUnavailable(f"the system gives no thread ({error}); raise its limit of processes and threads")
