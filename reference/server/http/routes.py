"""The addresses of the HTTP side, and what stands behind each.

PUT  /api/runs/{runId}                         make a run
GET  /api/runs/{runId}/collaboration/poll      what is new, for a client without a WebSocket
POST /api/runs/{runId}/collaboration/publish   and what it has to say
GET  /api/runs/{runId}/collaboration/replay    what is kept
GET  /api/runs/{runId}/collaboration/events    what is kept, by type, author or time
     /api/admin/websocket/...                  who is connected, and how it goes; and what an operator can do (`admin_actions`)
GET  /  /admin  /web/...                       pages for people (`web_pages`)
GET  /ws/runs/{runId}/collaboration            what was to be an upgrade, and has lost on its way what makes it one
GET  /healthz  /readyz  /metrics               for whoever runs the server
GET  /openapi.json  /docs                      all of this, for programs and for people
"""

from collections.abc import Callable

from litestar import Litestar, MediaType, Response, get, post, put
from litestar.config.cors import CORSConfig
from litestar.types import ControllerRouterHandler

from reference.protocol import frames
from reference.protocol.limits import Limit
from reference.server.http.admin_actions import AdminActions, action_routes
from reference.server.http.admin_answers import CleanedUp, ConnectionsAnswer, RunConnections, ServerHealth, Sessions
from reference.server.http.admin_api import AdminApi
from reference.server.http.docs_page import CSP, docs_page
from reference.server.http.openapi import document
from reference.server.http.operator_api import OperatorApi, ProbeStatus
from reference.server.http.problems import STATUSES, AnyRequest, exception_handlers, problem
from reference.server.http.replay import ReplayAnswer
from reference.server.http.run_api import CreatedRun, RunApi
from reference.server.http.web_pages import page_routes
from reference.server.monitoring.logs import OnFault
from reference.server.monitoring.sessions import SessionMetrics
from reference.server.wire.framing import UPGRADE_LOST
from reference.web.files import WebSettings

_LOOPBACK_ORIGINS = r"https?://(localhost|[a-z0-9-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?"


def http_app(
    runs: RunApi,
    admin: AdminApi,
    actions: AdminActions,
    operator: OperatorApi,
    *,
    web: WebSettings,
    allowed_origins: tuple[str, ...],
    on_fault: OnFault,
    on_limit: Callable[[Limit], None],
    retry_after_ms: int,
) -> Litestar:
    """The ASGI application."""
    return Litestar(
        [
            *_run_routes(runs),
            *_admin_routes(admin),
            *action_routes(actions),
            *_operator_routes(operator),
            *page_routes(web),
            _lost_upgrades(),
        ],
        cors_config=CORSConfig(
            allow_origins=list(allowed_origins),
            allow_origin_regex=_LOOPBACK_ORIGINS,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["retry-after"],
        ),
        exception_handlers=exception_handlers(on_fault, on_limit, retry_after_ms),
        openapi_config=None,
        logging_config=None,
    )


def _lost_upgrades() -> ControllerRouterHandler:
    """WebSockets that come as plain HTTP; whole ones are taken at the door."""

    @get("/ws/runs/{run_id:str}/collaboration")
    async def lost_upgrade() -> Response[bytes]:
        why = "WebSockets only: this request has no header Upgrade; does a proxy pass it on?"
        return problem(STATUSES[UPGRADE_LOST], UPGRADE_LOST, why, headers={"upgrade": "websocket"})

    return lost_upgrade


def _run_routes(api: RunApi) -> list[ControllerRouterHandler]:
    @put("/api/runs/{run_id:str}")
    async def create(request: AnyRequest) -> Response[CreatedRun]:
        created, is_new = await api.create(request)
        return Response(created, status_code=201 if is_new else 200)

    @get("/api/runs/{run_id:str}/collaboration/poll")
    async def poll(request: AnyRequest) -> frames.PollAnswer:
        return await api.poll(request)

    @post("/api/runs/{run_id:str}/collaboration/publish", status_code=200)
    async def publish(request: AnyRequest) -> frames.PublishAnswer:
        return await api.publish(request)

    @get("/api/runs/{run_id:str}/collaboration/replay")
    async def replay(request: AnyRequest) -> ReplayAnswer:
        return await api.replay(request)

    @get("/api/runs/{run_id:str}/collaboration/events")
    async def events(request: AnyRequest) -> ReplayAnswer:
        return await api.history(request)

    return [create, poll, publish, replay, events]


def _admin_routes(api: AdminApi) -> list[ControllerRouterHandler]:
    @get("/api/admin/websocket/connections")
    async def connections(request: AnyRequest) -> ConnectionsAnswer:
        return await api.connections(request)

    @get("/api/admin/websocket/connections/{run_id:str}")
    async def run_connections(request: AnyRequest) -> RunConnections:
        return await api.run_connections(request)

    @get("/api/admin/websocket/metrics")
    async def sessions(request: AnyRequest) -> Sessions:
        return await api.sessions(request)

    @get("/api/admin/websocket/metrics/{session_id:str}")
    async def session(request: AnyRequest) -> SessionMetrics:
        return await api.session(request)

    @get("/api/admin/websocket/health")
    async def health(request: AnyRequest) -> ServerHealth:
        return await api.health(request)

    @post("/api/admin/websocket/cleanup-stale", status_code=200)
    async def clean_up(request: AnyRequest) -> CleanedUp:
        return await api.clean_up(request)

    return [connections, run_connections, sessions, session, health, clean_up]


def _operator_routes(api: OperatorApi) -> list[ControllerRouterHandler]:
    @get("/healthz")
    async def healthz() -> ProbeStatus:
        return ProbeStatus("alive")

    @get("/readyz")
    async def readyz() -> ProbeStatus:
        return await api.ready()

    @get("/metrics")
    async def metrics(request: AnyRequest) -> Response[bytes]:
        text, content_type = api.metrics(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    @get("/openapi.json")
    async def openapi() -> Response[bytes]:
        return Response(document(), media_type=MediaType.JSON)

    @get("/docs")
    async def docs() -> Response[bytes]:
        return Response(docs_page(), headers={"content-type": "text/html; charset=utf-8", "content-security-policy": CSP})

    return [healthz, readyz, metrics, openapi, docs]
