"""The registry of runs: loaded when somebody comes, kept while somebody is here, dropped when idle.

A run is loaded once, however many clients come at the same moment; they wait for the same load and share its outcome. The load
belongs to the registry, so a client that goes away meanwhile takes nothing from the others. A run that has ended is loaded anew
only when nothing of its former life is with the writer any more, or the new one would begin from what is about to change.
"""

import re

import trio

from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.events import EventRegistry
from reference.protocol.limits import Limit
from reference.protocol.run import Run
from reference.server.live_run import LiveRun
from reference.server.surroundings import Surroundings
from reference.store import EventStore, StoreUnavailable

_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def canonical_run_id(text: str) -> str:
    """The run id that `text` means, in its one spelling. Raises RemoteError NO_SUCH_RUN if it means none."""
    if _RUN_ID.fullmatch(text) is None:
        raise RemoteError(CloseCode.NO_SUCH_RUN, "a run id is a UUID, like 01234567-89ab-cdef-0123-456789abcdef")
    return text.lower()


class _Loading:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.live: LiveRun | None = None
        self.error: RemoteError | None = None


class RunRegistry:
    """All runs that this server has in memory. Their alarms, and loads, are tasks in `nursery`."""

    def __init__(
        self,
        store: EventStore,
        shared: Surroundings,
        nursery: trio.Nursery,
        *,
        config: ServerConfig,
        events: EventRegistry,
        loaded_runs_max: int,
    ) -> None:
        self._store = store
        self._shared = shared
        self._nursery = nursery
        self._config = config
        self._events = events
        self._loaded_runs_max = loaded_runs_max
        self._live: dict[str, LiveRun] = {}
        self._loading: dict[str, _Loading] = {}
        self._settling: dict[str, LiveRun] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def runs(self) -> tuple[LiveRun, ...]:
        """The runs in memory, in the order in which they were loaded."""
        return tuple(self._live.values())

    async def create(self, run_id: str) -> bool:
        """Make a run, durably. False: it was there already. Raises RemoteError."""
        try:
            is_new = await self._store.create_run(run_id, self._shared.new_id())
        except StoreUnavailable as error:
            raise self._unavailable(f"run {run_id} could not be made", error) from error
        if is_new:
            self._shared.monitor.run_created()
        return is_new

    async def open(self, run_id: str) -> LiveRun:
        """The live run; use it before the next checkpoint, since after it the run may have ended.

        Raises RemoteError: NO_SUCH_RUN, or OVERLOADED when it cannot be loaded now.
        """
        await trio.lowlevel.checkpoint()
        while True:
            live = self._live.get(run_id)
            if live is not None:
                live.touch()
                return live
            loading = self._loading.get(run_id)
            if loading is None:
                self._make_room()
                loading = self._loading[run_id] = _Loading()
                self._nursery.start_soon(self._load, run_id, loading)
            await loading.done.wait()
            if loading.error is not None:
                # A new exception for each: one that is raised in many tasks collects all their tracebacks.
                raise RemoteError(loading.error.code, loading.error.message, loading.error.limit)

    async def stored(self) -> None:
        """Wait until no run has anything with the writer."""
        for live in (*self._live.values(), *self._settling.values()):
            await live.stored()

    async def _load(self, run_id: str, loading: _Loading) -> None:
        try:
            former = self._settling.get(run_id)
            if former is not None:
                await former.settled.wait()
            stored = await self._store.load_run(run_id)
            if stored is None:
                raise RemoteError(CloseCode.NO_SUCH_RUN, f"there is no run {run_id}")
            run = Run(stored, config=self._config, now=self._shared.clock.now(), registry=self._events)
            live = loading.live = self._live[run_id] = LiveRun(run, self._shared, self._forget)
            self._nursery.start_soon(live.watch)
        except RemoteError as error:
            loading.error = error
        except StoreUnavailable as error:
            loading.error = self._unavailable(f"run {run_id} could not be loaded", error)
        except Exception as error:
            self._shared.on_fault(f"run {run_id} could not be loaded", error)
            loading.error = RemoteError(CloseCode.OVERLOADED, "the run cannot be loaded")
        finally:
            del self._loading[run_id]
            loading.done.set()

    def _forget(self, live: LiveRun) -> None:
        del self._live[live.run_id]
        if not live.settled.is_set():
            self._settling[live.run_id] = live
            self._nursery.start_soon(self._forget_when_settled, live)

    async def _forget_when_settled(self, live: LiveRun) -> None:
        await live.settled.wait()
        del self._settling[live.run_id]

    def _make_room(self) -> None:
        if len(self._live) + len(self._loading) < self._loaded_runs_max:
            return
        idle = [live for live in self._live.values() if live.idle_since is not None]
        if not idle:
            limit = self._loaded_runs_max
            reason = f"this server has {limit} runs in use, its limit; try again later"
            raise RemoteError(CloseCode.OVERLOADED, reason, Limit.LOADED_RUNS)
        min(idle, key=lambda live: live.idle_since or 0).end()

    def _unavailable(self, what: str, error: StoreUnavailable) -> RemoteError:
        self._shared.on_fault(what, error)
        return RemoteError(CloseCode.OVERLOADED, "the store is not available; come back later")
