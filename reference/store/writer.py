"""The single writer: collects waiting batches, commits them together, reports the results in order.

    submit            puts a batch in the queue and returns at once; the queue is bounded
    run               takes waiting batches (at least one, at most 256 entries), gives them to the store, calls
                      `done` for each with the result
    while it waits    more batches arrive and become the next transaction: a slower disk makes larger groups

There is one transaction at a time, so `done` is called in the order of `submit`, exactly once for each batch. If a batch was
refused, later batches of its run that are queued do not fit either: each gets its own StoreConflict, and nothing is reordered.

When `run` is cancelled, the group that is with the store is finished (shielded, for at most `commit_s_max`) and reported; batches
that still wait are reported as StoreUnavailable, and were not given to the store. A commit that takes longer than `commit_s_max`
is reported as StoreUnavailable too, and may still succeed: the store lets it finish before it takes the next one.

An unexpected exception of the store affects only that commit, and one of `done` nothing else: the
writer goes on, because every run of the server depends on it.
"""

from collections import deque
from collections.abc import Callable
from typing import NoReturn

import trio

from reference.protocol.errors import ConfigError
from reference.protocol.records import Append
from reference.store.base import EventStore, StoreError, StoreOverloaded, StoreUnavailable

Done = Callable[[Append, StoreError | None], None]
"""Called in the trio thread with the batch and None (it is durable) or the reason why it is not confirmed."""


class GroupCommit:
    """The one task that writes to `store`. Start `run` in a nursery; `submit` may be called before, and from the trio thread
    only."""

    def __init__(
        self,
        store: EventStore,
        *,
        entries_per_commit_max: int = 256,
        appends_waiting_max: int = 4096,
        commit_s_max: float = 30.0,
        on_fault: Callable[[str, Exception], None] | None = None,
    ) -> None:
        """`on_fault` is called with what failed and the error; without it such errors are raised by `run`."""
        for name, limit in (
            ("entries_per_commit_max", entries_per_commit_max),
            ("appends_waiting_max", appends_waiting_max),
            ("commit_s_max", commit_s_max),
        ):
            if not limit > 0:
                raise ConfigError(f"{name} must be above 0, but is {limit}")
        self._store = store
        self._on_fault = _raise if on_fault is None else on_fault
        self._entries_per_commit_max = entries_per_commit_max
        self._appends_waiting_max = appends_waiting_max
        self._commit_s_max = commit_s_max
        self._waiting: deque[tuple[Append, Done]] = deque()
        self._announced: list[Callable[[], None]] = []
        self._arrived = trio.Event()
        self._has_stopped = False

    @property
    def appends_waiting(self) -> int:
        """Batches not yet reported, including those with the store."""
        return len(self._waiting)

    def submit(self, append: Append, done: Done) -> None:
        """Queue `append`; `done` will be called once, after every earlier one. Never waits.

        Raises StoreOverloaded if `appends_waiting_max` batches wait already, StoreUnavailable if the writer
        has stopped; then `done` is not called.
        """
        if self._has_stopped:
            raise StoreUnavailable("the writer has stopped; nothing more can be stored until the server starts again")
        if len(self._waiting) >= self._appends_waiting_max:
            raise StoreOverloaded(f"{len(self._waiting)} batches wait for the store, the limit; try again later")
        self._waiting.append((append, done))
        self._arrived.set()

    def announce(self, submit: Callable[[], None]) -> None:
        """Call `submit` once, when the next group is collected: it then submits all batches that exist."""
        if self._has_stopped:
            submit()  # it may add to the group
        else:
            self._announced.append(submit)
            self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                # All tasks ready to submit get a turn, and a cancelled writer takes nothing more.
                await trio.lowlevel.checkpoint()
                self._call_announced()
                if self._waiting:
                    await self._commit(self._next_group())
                if not (self._waiting or self._announced):
                    self._arrived = trio.Event()
        finally:
            self._has_stopped = True
            self._call_announced()
            self._report([StoreUnavailable("the writer stopped before this was confirmed") for _ in self._waiting])

    def _call_announced(self) -> None:
        announced, self._announced = self._announced, []
        for submit in announced:
            submit()

    def _next_group(self) -> list[Append]:
        group: list[Append] = []
        entries = 0
        for append, _ in self._waiting:
            entries += len(append.entries)
            if group and entries > self._entries_per_commit_max:
                break
            group.append(append)
        return group

    async def _commit(self, group: list[Append]) -> None:
        reason = f"the store did not answer within {self._commit_s_max} s; it may still store this"
        outcomes: list[StoreError | None] = [StoreUnavailable(reason) for _ in group]
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._commit_s_max):
            try:
                outcomes = await self._store.append(group)
            except Exception as error:  # an unexpected fault of the store or the system affects this commit and not the server
                what = f"the store failed ({type(error).__name__}: {error}); what was sent last is not confirmed"
                outcomes = [StoreUnavailable(what) for _ in group]
                self._on_fault("a commit failed", error)
        self._report(outcomes)

    def _report(self, outcomes: list[StoreError | None]) -> None:
        # One by one, not as a group: `done` may submit, and may fail, and still no batch is forgotten.
        for outcome in outcomes:
            append, done = self._waiting.popleft()
            try:
                done(append, outcome)
            except Exception as error:
                self._on_fault("the outcome of a commit could not be handled", error)


def _raise(_what: str, error: Exception) -> NoReturn:
    raise error
