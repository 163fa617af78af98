"""The registry of runs: a run is loaded for its first client, kept while it is in use, and dropped when idle.

A run is loaded once, however many clients arrive at the same moment; they wait for the same load and share its result. The load
belongs to the registry, so a client that disconnects meanwhile does not affect the others. A run that has ended is loaded again
only when the writer has nothing of it any more; otherwise it would be loaded from data that are about to change.

With several processes (`cluster`) a run is claimed before it is loaded, and released when it has ended; a run that another
process owns is not loaded.
"""

import trio

from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.events import EventRegistry
from reference.protocol.frames import Limits
from reference.protocol.limits import Limit
from reference.protocol.server.run import Run
from reference.server.context import ServerContext
from reference.server.live_run import LiveRun
from reference.store import EventStore, StoreError, StoreUnavailable
from reference.store.base import ProcessAddress, is_run_id

PLACES_REMEMBERED_MAX = 10_000
"""How many runs of other processes are cached with their owner."""


def canonical_run_id(text: str) -> str:
    """The canonical form of a run id. Raises RemoteError NO_SUCH_RUN if `text` is not a run id."""
    run_id = text.lower()
    if not is_run_id(run_id):
        raise RemoteError(CloseCode.NO_SUCH_RUN, "a run id is a UUID, like 01234567-89ab-cdef-0123-456789abcdef")
    return run_id


class _Loading:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.live: LiveRun | None = None
        self.error: RemoteError | None = None
        self.place: ProcessAddress | None = None
        """The other process that serves the run, if one does."""


class _Leaving:
    """A run that has ended and still has a batch with the writer."""

    def __init__(self, live: LiveRun) -> None:
        self.live = live
        self.gone = trio.Event()


class RunRegistry:
    """All runs that this server has in memory. Their alarms and loads are tasks in the server's nursery."""

    def __init__(
        self,
        store: EventStore,
        shared: ServerContext,
        *,
        config: ServerConfig,
        events: EventRegistry,
        limits: Limits,
        loaded_runs_max: int,
    ) -> None:
        """`limits`: as `welcome` reports them."""
        self._store = store
        self._shared = shared
        self._config = config
        self._events = events
        self._limits = limits
        self._loaded_runs_max = loaded_runs_max
        self._owners = shared.owners
        self._live: dict[str, LiveRun] = {}
        self._loading: dict[str, _Loading] = {}
        self._leaving: dict[str, _Leaving] = {}
        self._places: dict[str, ProcessAddress] = {}
        """The known owners of other runs; valid until a process says that it is not the owner."""

    def __len__(self) -> int:
        return len(self._live)

    @property
    def runs(self) -> tuple[LiveRun, ...]:
        """The runs in memory, in the order in which they were loaded."""
        return tuple(self._live.values())

    def get(self, run_id: str) -> LiveRun | None:
        """The run if it is in memory."""
        return self._live.get(run_id)

    async def create(self, run_id: str) -> bool:
        """Create a run, durably. False: it existed. Raises RemoteError."""
        try:
            is_new = await self._store.create_run(run_id, self._shared.new_id())
        except StoreUnavailable as error:
            raise self._unavailable(f"run {run_id} could not be made", error) from error
        if is_new:
            self._shared.monitor.run_created()
        return is_new

    async def open(self, run_id: str) -> LiveRun:
        """The live run; use it before the next checkpoint, because after that the run may have ended.

        Raises RemoteError: NO_SUCH_RUN, or OVERLOADED when it cannot be loaded now.
        """
        while True:
            live = self._live_here(run_id)
            if live is not None:
                live.touch()
                return live
            loading = self._loading.get(run_id) or self._begin_to_load(run_id)
            await loading.done.wait()
            if loading.error is not None:
                # A new exception for each task: one raised in many tasks would collect all their tracebacks.
                raise RemoteError(loading.error.code, loading.error.message, loading.error.limit)

    async def delete(self, run_id: str) -> int:
        """Remove a run from the store for good; its clients are notified that it does not exist. Returns how many connections
        were closed.

        Raises RemoteError: NO_SUCH_RUN, or OVERLOADED when it cannot be removed now.
        """
        live = await self.open(run_id)
        reason = "this run has been deleted"
        closed = await live.dismiss(None, CloseCode.NO_SUCH_RUN, reason)
        live.end()
        await live.settled.wait()
        try:
            await self._store.delete_run(run_id)
        except StoreUnavailable as error:
            raise self._unavailable(f"run {run_id} could not be deleted", error) from error
        loading = self._loading.get(run_id)
        if loading is not None:  # it may have read the run before
            await loading.done.wait()
        loaded_meanwhile = self._live.get(run_id)
        if loaded_meanwhile is not None:
            closed += await loaded_meanwhile.dismiss(None, CloseCode.NO_SUCH_RUN, reason)
            loaded_meanwhile.end()
        return closed

    async def place_of(self, run_id: str) -> ProcessAddress | None:
        """The other process that serves this run. None: this one does from now on, or `open` reports why not.

        Raises StoreUnavailable.
        """
        if self._owners is None or self._live_here(run_id) is not None:
            return None
        known = self._places.get(run_id)
        if known is not None:
            return known
        loading = self._loading.get(run_id)
        if loading is None:
            try:
                loading = self._begin_to_load(run_id)
            except RemoteError:  # no room to load one more here, which a run of another process does not need
                return await self._owners.find(run_id)
        await loading.done.wait()
        if loading.place is not None:
            if len(self._places) >= PLACES_REMEMBERED_MAX:
                del self._places[next(iter(self._places))]
            self._places[run_id] = loading.place
        return loading.place

    def forget_place(self, run_id: str) -> None:
        """The known owner of the run refused or cannot be reached: `place_of` asks the database again."""
        self._places.pop(run_id, None)

    async def stored(self) -> None:
        """Wait until the writer has no batch of any run."""
        for live in (*self._live.values(), *(leaving.live for leaving in self._leaving.values())):
            await live.stored()

    def drop(self, error: StoreError) -> None:
        """End every run, as if the store had failed: other processes may serve them by now."""
        for live in self.runs:
            live.drop(error)

    def _live_here(self, run_id: str) -> LiveRun | None:
        """The run if it is in memory and this process certainly still owns it."""
        live = self._live.get(run_id)
        return None if live is not None and live.is_dropped_for_lease() else live

    def _begin_to_load(self, run_id: str) -> _Loading:
        self._make_room()
        loading = self._loading[run_id] = _Loading()
        self._shared.nursery.start_soon(self._load, run_id, loading)
        return loading

    async def _load(self, run_id: str, loading: _Loading) -> None:
        try:
            former = self._leaving.get(run_id)
            if former is not None:
                await former.gone.wait()
            if self._owners is not None:
                loading.place = await self._owners.claim(run_id)
                if loading.place is not None:
                    raise RemoteError(CloseCode.OVERLOADED, "another process serves this run; retry")
            stored = await self._store.load_run(run_id)
            if stored is None:
                raise RemoteError(CloseCode.NO_SUCH_RUN, f"there is no run {run_id}")
            now = self._shared.clock.now()
            run = Run(stored, config=self._config, now=now, registry=self._events, limits=self._limits)
            live = loading.live = self._live[run_id] = LiveRun(run, self._shared, self._forget)
            self._shared.nursery.start_soon(live.watch)
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
        if self._owners is not None or not live.settled.is_set():
            leaving = self._leaving[live.run_id] = _Leaving(live)
            self._shared.nursery.start_soon(self._let_go, leaving)

    async def _let_go(self, leaving: _Leaving) -> None:
        run_id = leaving.live.run_id
        await leaving.live.settled.wait()
        if self._owners is not None:
            await self._owners.release(run_id)
        del self._leaving[run_id]
        leaving.gone.set()

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
        return RemoteError(CloseCode.OVERLOADED, "the store is not available; retry later")
