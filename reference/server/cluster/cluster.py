"""Cluster: the parts that a process has in addition when it shares its database."""

from collections.abc import Awaitable, Callable

import httpcore
import trio

from reference.protocol.metrics import RELAY_FAILURES, RELAYED
from reference.server.cluster.membership import Membership
from reference.server.cluster.request_relay import RequestRelay
from reference.server.cluster.router import Router
from reference.server.cluster.upgrade_relay import CONNECT_S_MAX, UpgradeRelay
from reference.server.monitoring.metrics import MetricSet
from reference.server.registry import RunRegistry


class Cluster:
    """The parts. `pool` is closed at the end."""

    def __init__(
        self,
        membership: Membership,
        runs: RunRegistry,
        pool: httpcore.AsyncConnectionPool,
        metrics: MetricSet,
        on_joined: Callable[[], Awaitable[None]],
    ) -> None:
        """`on_joined`: called each time that this process has become a member."""
        self._on_joined = on_joined
        self.router = Router(runs, membership)
        self._runs = runs
        self._membership = membership
        count_failure = metrics.counter(RELAY_FAILURES).inc
        self.upgrades = UpgradeRelay(self.router, count_failure)
        self.requests = RequestRelay(self.router, pool, count_failure)
        self._pool = pool
        metrics.show(RELAYED, lambda: len(self.upgrades))

    async def join(self, host: str, port: int, nursery: trio.Nursery) -> None:
        """Join, reachable at this address, until `nursery` is cancelled. Raises StoreUnavailable."""
        await self._membership.join(host, port)
        nursery.start_soon(self._live, host, port)
        await self._on_joined()

    def go_away(self, retry_after_ms: int, spread_ms: int) -> None:
        """Ask every relayed client to reconnect later."""
        self.upgrades.go_away(retry_after_ms, spread_ms)
        self.requests.go_away(retry_after_ms)

    async def leave(self) -> None:
        """Leave: give all runs to the other processes."""
        for live in self._runs.runs:
            live.end()
        await self._membership.leave()

    async def _live(self, host: str, port: int) -> None:
        try:
            await self._membership.run(host, port, self._runs.drop, self._on_joined)
            await trio.sleep_forever()  # after `leave` requests may still be under way at other processes
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CONNECT_S_MAX):
                await self._pool.aclose()
                await self.requests.aclose()
