"""Membership: this process among those that share its database.

It joins before the server is used, and again after every loss of the database. In between it owns no run, and clients that open
one are asked to retry. When it is cut off, other processes may take its runs at once, so it drops them at once: their clients
reconnect to the process that serves the run then.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from reference.server.monitoring.logs import OnFault
from reference.store import EventStore, StoreError, StoreUnavailable, shared_url
from reference.store.base import ProcessAddress

if TYPE_CHECKING:
    from reference.store.ownership import Ownership

REJOIN_PAUSE_S = 1.0
"""Between two tries to join again."""


@asynccontextmanager
async def open_ownership(store: EventStore, *, is_reachable: bool) -> "AsyncIterator[Ownership | None]":
    """This process's ownership of runs; None if the store is for one process, or other processes cannot reach this one."""
    url = shared_url(store) if is_reachable else None
    if url is None:
        yield None
        return
    from reference.store.ownership import Ownership  # imported here, because it loads a database driver

    ownership = Ownership(url)
    try:
        yield ownership
    finally:
        await ownership.aclose()


class Membership:
    """Created by `open_server`; `run` is a task for the whole life of the server."""

    def __init__(self, ownership: "Ownership", on_fault: OnFault) -> None:
        self._ownership = ownership
        self._on_fault = on_fault
        self._has_left = False

    @property
    def place(self) -> ProcessAddress | None:
        """Where the others reach this process; None while it is cut off."""
        return self._ownership.place

    @property
    def is_held(self) -> bool:
        """Whether this process certainly still owns its runs; checked before each answer."""
        return self._ownership.is_held

    async def join(self, host: str, port: int) -> None:
        """Join for the first time. Raises StoreUnavailable."""
        await self._ownership.join(host, port)

    async def run(
        self, host: str, port: int, on_lost: Callable[[StoreError], None], on_joined: Callable[[], Awaitable[None]]
    ) -> None:
        """Stay a member after `join`, until cancelled or `leave`. `on_lost` is called when other processes may own this process's
        runs, `on_joined` when it is a member again."""
        while not self._has_left:
            try:
                await self._ownership.keep()
            except StoreUnavailable as error:
                if self._has_left:
                    return
                on_lost(error)
                self._on_fault("cut off from the database that is shared; all runs are dropped", error)
            await self._ownership.leave()
            await self._rejoin(host, port)
            if not self._has_left:
                await on_joined()

    async def leave(self) -> None:
        """Leave for good: give all runs to the other processes."""
        self._has_left = True
        await self._ownership.leave()

    async def claim(self, run_id: str) -> ProcessAddress | None:
        """As Ownership.claim."""
        return await self._ownership.claim(run_id)

    async def find(self, run_id: str) -> ProcessAddress | None:
        """As Ownership.find."""
        return await self._ownership.find(run_id)

    async def others(self) -> tuple[ProcessAddress, ...]:
        """As Ownership.others."""
        return await self._ownership.others()

    async def release(self, run_id: str) -> None:
        """Give up ownership of a run that is no longer in memory. If the database cannot be reached, the run stays ours, and
        clients are relayed here. It is not given up half way: a late release would take away a run that is served again."""
        try:
            await self._ownership.release(run_id)
        except StoreUnavailable as error:
            self._on_fault(f"run {run_id} could not be released to the other processes", error)

    async def _rejoin(self, host: str, port: int) -> None:
        while not self._has_left:
            try:
                await self._ownership.join(host, port)
            except StoreUnavailable:  # it was logged when we were cut off
                await trio.sleep(REJOIN_PAUSE_S)
            else:
                break
        if self._has_left:  # `leave` was called meanwhile
            await self._ownership.leave()
