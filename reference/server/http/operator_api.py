"""What a server tells whoever runs it: whether it lives, whether it may be sent work, and what it has counted."""

import msgspec
import trio

from reference.protocol.errors import CloseCode
from reference.server.access import AccessControl
from reference.server.http.problems import RequestRefused
from reference.server.monitoring.logs import OnFault
from reference.server.monitoring.monitor import Monitor
from reference.store import EventStore, StoreError

READY_TIMEOUT_S = 5.0
"""How long the store may take to say that it can be written."""


class ProbeStatus(msgspec.Struct, frozen=True):
    """The answer of /healthz and /readyz."""

    status: str


class OperatorApi:
    """For probes and for Prometheus."""

    def __init__(self, store: EventStore, monitor: Monitor, admission: AccessControl, on_fault: OnFault) -> None:
        self._store = store
        self._monitor = monitor
        self._admission = admission
        self._on_fault = on_fault

    async def ready(self) -> ProbeStatus:
        """Raises RequestRefused while the server should be sent nobody."""
        if self._admission.is_going_away:
            raise RequestRefused(CloseCode.GOING_AWAY, "the server is going away")
        with trio.move_on_after(READY_TIMEOUT_S) as limit:
            try:
                await self._store.check()
            except StoreError as error:
                self._on_fault("not ready: the store cannot be written", error)
                raise RequestRefused(CloseCode.OVERLOADED, "the store cannot be written; the log says why") from error
        if limit.cancelled_caught:
            raise RequestRefused(CloseCode.OVERLOADED, f"the store did not answer within {READY_TIMEOUT_S:g} s")
        return ProbeStatus("ready")

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that the Accept header asks for, and its content type."""
        return self._monitor.metrics.exposition(accept)
