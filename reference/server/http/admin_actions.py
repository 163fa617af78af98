"""What an operator can do: close a session, send a run away, refuse a user, delete a run. For tokens with the role admin.

close a session   its WebSocket ends. `isFinal`: with 4403, so that the client stops; else with a goaway, and it comes back
send a run away   every client of the run leaves, and comes back after a time (goaway); nothing is lost
refuse a user     every connection of the user ends with 4403, and the user is turned away until a time (`refused_users`)
delete a run      every client of the run is told that there is no such run (4404), and its events are removed from the store

Each is logged with the admin who did it. Of several processes on one database, what concerns a run is done by the process that
serves it, and what concerns users and sessions by all (`cluster.admin`).
"""

from typing import Annotated

import msgspec
from litestar import delete, get, post, put
from litestar.types import ControllerRouterHandler

from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.server.connection import USER_ID_CHARACTERS_MAX
from reference.protocol.timers import NS_PER_MS
from reference.server.access import AccessControl
from reference.server.clock import ServerClock
from reference.server.http.parameters import parameters
from reference.server.http.problems import AnyRequest, RequestRefused
from reference.server.live_run import LiveRun
from reference.server.monitoring.logs import log_event
from reference.server.monitoring.monitor import Monitor
from reference.server.monitoring.sessions import SessionRecord
from reference.server.refused_users import Refusal, RefusedUsers
from reference.server.registry import RunRegistry, canonical_run_id

DAY_MS = 86_400_000


class CloseSessionRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST .../sessions/{sessionId}/close. A session id is a name that a client may choose: the others tell two of one name
    apart.
    """

    run_id: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    client_id: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    is_final: bool = False


class SendAwayRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST .../runs/{runId}/send-away."""

    retry_after_ms: Annotated[int, msgspec.Meta(ge=0, le=DAY_MS)] = 1000
    spread_ms: Annotated[int, msgspec.Meta(ge=0, le=DAY_MS)] = 5000


class RefuseRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """PUT .../refused-users."""

    user_id: Annotated[str, msgspec.Meta(max_length=USER_ID_CHARACTERS_MAX)] = ""
    for_ms: Annotated[int, msgspec.Meta(ge=0, le=30 * DAY_MS)] = 3_600_000


class AllowRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """DELETE .../refused-users."""

    user_id: Annotated[str, msgspec.Meta(max_length=USER_ID_CHARACTERS_MAX)] = ""


class ClosedConnections(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How many connections were closed for it."""

    closed: int
    processes_silent: tuple[str, ...] = ()
    """HOST:PORT of processes on the same database that did not answer in time: there it was not done."""


class RefusedUser(msgspec.Struct, frozen=True, rename="camel"):
    """`until` in ms since 1970."""

    user_id: str
    until: int
    refused_by: str


class RefusedUsersAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    users: tuple[RefusedUser, ...]


class AllowedUser(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    was_refused: bool
    processes_silent: tuple[str, ...] = ()
    """As in `ClosedConnections`."""


class AdminActions:
    """Every method raises RemoteError, RequestRefused or HttpRefusal."""

    def __init__(
        self, runs: RunRegistry, monitor: Monitor, admission: AccessControl, clock: ServerClock, refused: RefusedUsers
    ) -> None:
        self._runs = runs
        self._sessions = monitor.sessions
        self._admission = admission
        self._clock = clock
        self._refused = refused

    async def close_session(self, request: AnyRequest) -> ClosedConnections:
        admin = self._admit(request)
        session_id: str = request.path_params["session_id"]
        wanted = parameters(request, CloseSessionRequest)
        run_id = None if wanted.run_id is None else canonical_run_id(wanted.run_id)
        record = self._find(session_id, run_id, wanted.client_id)
        live = self._live().get(record.run_id)
        if live is None or record.connection_id is None:
            reason = "this session has no WebSocket now, so there is nothing to close; to keep its user out, refuse the user"
            raise RequestRefused(CloseCode.SUPERSEDED, reason)
        closed = self._close(live, (record.connection_id,), is_final=wanted.is_final)
        log_event("admin closed session", admin=admin, run=record.run_id, session=session_id, is_final=wanted.is_final)
        return ClosedConnections(closed=closed)

    async def send_away(self, request: AnyRequest) -> ClosedConnections:
        admin = self._admit(request)
        run_id = canonical_run_id(request.path_params["run_id"])
        wanted = parameters(request, SendAwayRequest)
        live = self._live().get(run_id)
        closed = 0 if live is None else live.send_away(wanted.retry_after_ms, wanted.spread_ms)
        log_event("admin sent run away", admin=admin, run=run_id, retry_after_ms=wanted.retry_after_ms, connections=closed)
        return ClosedConnections(closed=closed)

    async def delete_run(self, request: AnyRequest) -> ClosedConnections:
        admin = self._admit(request)
        run_id = canonical_run_id(request.path_params["run_id"])
        closed = await self._runs.delete(run_id)
        log_event("admin deleted run", admin=admin, run=run_id, connections=closed)
        return ClosedConnections(closed=closed)

    async def refused_users(self, request: AnyRequest) -> RefusedUsersAnswer:
        self._admit(request)
        listed = self._refused.listed(self._clock.now())
        return RefusedUsersAnswer(users=tuple(RefusedUser(one.user_id, one.until // NS_PER_MS, one.refused_by) for one in listed))

    async def refuse(self, request: AnyRequest) -> ClosedConnections:
        admin = self._admit(request)
        wanted = parameters(request, RefuseRequest)
        user_id = _named(wanted.user_id)
        now = self._clock.now()
        self._refused.refuse(Refusal(user_id, now + wanted.for_ms * NS_PER_MS, admin), now)
        closed = 0
        for run_id, live in self._live().items():
            of_user = (one.connection_id for one in self._sessions.of_run(run_id) if one.user_id == user_id)
            closed += self._close(live, tuple(number for number in of_user if number is not None), is_final=True)
        log_event("admin refused user", admin=admin, user=user_id, for_ms=wanted.for_ms, connections=closed)
        return ClosedConnections(closed=closed)

    async def allow(self, request: AnyRequest) -> AllowedUser:
        admin = self._admit(request)
        user_id = _named(parameters(request, AllowRequest).user_id)
        was_refused = self._refused.allow(user_id)
        log_event("admin allowed user", admin=admin, user=user_id, was_refused=was_refused)
        return AllowedUser(was_refused=was_refused)

    def _admit(self, request: AnyRequest) -> str:
        return self._admission.admit_admin(dict(request.scope["headers"]))

    def _live(self) -> dict[str, LiveRun]:
        return {live.run_id: live for live in self._runs.runs}

    def _find(self, session_id: str, run_id: str | None, client_id: str | None) -> SessionRecord:
        found = [
            record
            for record in (self._sessions if run_id is None else self._sessions.of_run(run_id))
            if record.session_id == session_id and client_id in (None, record.client_id)
        ]
        if not found:
            raise RemoteError(CloseCode.NO_SUCH_RUN, "no session of this id is known here; it may have been forgotten")
        if len(found) > 1:
            reason = f"{len(found)} sessions go by this id; add runId and clientId, which /api/admin/websocket/metrics shows"
            raise RequestRefused(CloseCode.SUPERSEDED, reason)
        return found[0]

    def _close(self, live: LiveRun, connection_ids: tuple[int, ...], *, is_final: bool) -> int:
        if is_final:
            return live.dismiss(connection_ids, CloseCode.FORBIDDEN, "an operator has ended this session")
        return live.send_away(0, 0, connection_ids)


def _named(user_id: str) -> str:
    if not user_id:
        raise RemoteError(CloseCode.BAD_FRAME, "parameter userId: name the user")
    return user_id


def action_routes(actions: AdminActions) -> list[ControllerRouterHandler]:
    """The addresses."""

    @post("/api/admin/websocket/sessions/{session_id:str}/close", status_code=200)
    async def close_session(request: AnyRequest) -> ClosedConnections:
        return await actions.close_session(request)

    @post("/api/admin/websocket/runs/{run_id:str}/send-away", status_code=200)
    async def send_away(request: AnyRequest) -> ClosedConnections:
        return await actions.send_away(request)

    @delete("/api/admin/websocket/runs/{run_id:str}", status_code=200)
    async def delete_run(request: AnyRequest) -> ClosedConnections:
        return await actions.delete_run(request)

    @get("/api/admin/websocket/refused-users")
    async def refused_users(request: AnyRequest) -> RefusedUsersAnswer:
        return await actions.refused_users(request)

    @put("/api/admin/websocket/refused-users", status_code=200)
    async def refuse(request: AnyRequest) -> ClosedConnections:
        return await actions.refuse(request)

    @delete("/api/admin/websocket/refused-users", status_code=200)
    async def allow(request: AnyRequest) -> AllowedUser:
        return await actions.allow(request)

    return [close_session, send_away, delete_run, refused_users, refuse, allow]
