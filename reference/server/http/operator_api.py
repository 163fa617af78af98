"""For operators: liveness, readiness and metrics of the server."""

import msgspec
import trio

from reference.protocol.errors import CloseCode
from reference.server.access.admission import AccessControl
from reference.server.http.answers import Answer, RequestRefused
from reference.server.http.description import get
from reference.server.http.request import Request
from reference.server.monitoring.logs import OnFault
from reference.server.monitoring.monitor import Monitor
from reference.store import EventStore, StoreError

READY_TIMEOUT_S = 5.0
"""How long the store may take for the readiness check."""

OPERATOR_PATHS = ("/healthz", "/readyz", "/metrics")
"""Answered even when the front door has no room for other requests."""


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

    @get("/healthz", "operation", "Whether the process is alive")
    async def healthz(self, request: Request) -> ProbeStatus:
        return ProbeStatus("alive")

    @get("/readyz", "operation", "Whether clients may be sent to this process")
    async def readyz(self, request: Request) -> ProbeStatus:
        """Raises RequestRefused while no clients should be sent to this server."""
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

    @get(
        "/metrics",
        "operation",
        "Metrics of the server",
        "In the text format of Prometheus, or as OpenMetrics if the header Accept asks for it.",
        name="prometheus",
        answers={200: "text/plain"},
    )
    async def metrics(self, request: Request) -> Answer:
        """All metrics in the format that the Accept header asks for."""
        text, content_type = self._monitor.metrics.exposition((request.head.header(b"accept") or b"").decode("latin-1"))
        return Answer(text, content_type)
