"""Actions of an operator: close a session, send a run's clients away, refuse a user, delete a run. Needs the role admin (5.11).

close a session   its WebSocket ends. `isFinal`: with 4403, and the client stops; else with a goaway, and it reconnects
send a run away   every client of the run leaves, and reconnects after a time (goaway); nothing is lost
refuse a user     every connection and request of the user ends with 4403, and the user is refused until a time (`refused_users`)
delete a run      every client of the run is notified that there is no such run (4404), and its events are removed from the store

Each is logged with the admin who did it. With several processes on one database, an action on a run is carried out by the process
that serves it, an action on users and sessions by all (`cluster.admin`).
"""

from typing import Annotated

import msgspec

from reference.protocol.errors import CloseCode
from reference.protocol.server.connection import USER_ID_CHARACTERS_MAX
from reference.protocol.timers import NS_PER_MS
from reference.server.access.users import Refusal, RefusedUsers, UserConnections
from reference.server.clock import ServerClock
from reference.server.http.admin_api import ADMIN, SessionRequest, find_session
from reference.server.http.answers import RequestRefused
from reference.server.http.description import delete, get, post, put
from reference.server.http.request import Request
from reference.server.live_run import LiveRun
from reference.server.monitoring.logs import log_event
from reference.server.monitoring.monitor import Monitor
from reference.server.registry import RunRegistry, canonical_run_id

DAY_MS = 86_400_000
UserId = Annotated[str, msgspec.Meta(min_length=1, max_length=USER_ID_CHARACTERS_MAX)]


class CloseSessionRequest(SessionRequest, frozen=True, kw_only=True, rename="camel"):
    """POST .../sessions/{sessionId}/close."""

    is_final: bool = False


class SendAwayRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """POST .../runs/{runId}/send-away."""

    retry_after_ms: Annotated[int, msgspec.Meta(ge=0, le=DAY_MS)] = 1000
    spread_ms: Annotated[int, msgspec.Meta(ge=0, le=DAY_MS)] = 5000


class RefuseRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """PUT .../refused-users."""

    user_id: UserId
    for_ms: Annotated[int, msgspec.Meta(ge=0, le=30 * DAY_MS)] = 3_600_000


class AllowRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """DELETE .../refused-users."""

    user_id: UserId


class ClosedConnections(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How many connections were closed."""

    closed: int
    processes_silent: tuple[str, ...] = ()
    """HOST:PORT of processes on the same database that did not answer in time: there the action was not carried out."""


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
        self,
        runs: RunRegistry,
        monitor: Monitor,
        clock: ServerClock,
        refused: RefusedUsers,
        user_connections: UserConnections,
    ) -> None:
        self._runs = runs
        self._sessions = monitor.sessions
        self._clock = clock
        self._refused = refused
        self._user_connections = user_connections

    @post(
        ADMIN + "/sessions/{sessionId}/close",
        "admin",
        "Close a session",
        "Its client reconnects, unless isFinal is set. 409: the session has no WebSocket now, or several sessions have this id.",
        refuses=(404, 409),
    )
    async def close_session(self, request: Request, query: CloseSessionRequest) -> ClosedConnections:
        session_id = request.path_parameters["sessionId"]
        record = find_session(self._sessions, session_id, query)
        live = self._runs.get(record.run_id)
        if live is None or record.connection_id is None:
            reason = "this session has no WebSocket now, so there is nothing to close; to keep its user out, refuse the user"
            raise RequestRefused(CloseCode.SUPERSEDED, reason)
        closed = await self._close(live, (record.connection_id,), is_final=query.is_final)
        admin = request.user_id
        log_event("admin closed session", admin=admin, run=record.run_id, session=session_id, is_final=query.is_final)
        return ClosedConnections(closed=closed)

    @post(
        ADMIN + "/runs/{runId}/send-away",
        "admin",
        "Ask every client of a run to reconnect later",
        "They resume from their positions; nothing is lost.",
        name="sendRunAway",
        refuses=(404,),
    )
    async def send_away(self, request: Request, query: SendAwayRequest) -> ClosedConnections:
        run_id = canonical_run_id(request.run_id)
        live = self._runs.get(run_id)
        closed = 0 if live is None else await live.send_away(query.retry_after_ms, query.spread_ms)
        wait_ms = query.retry_after_ms
        log_event("admin sent run away", admin=request.user_id, run=run_id, retry_after_ms=wait_ms, connections=closed)
        return ClosedConnections(closed=closed)

    @get(ADMIN + "/refused-users", "admin", "Refused users", "Of this process only.")
    async def refused_users(self, request: Request) -> RefusedUsersAnswer:
        listed = self._refused.listed(self._clock.wall())
        return RefusedUsersAnswer(users=tuple(RefusedUser(one.user_id, one.until // NS_PER_MS, one.refused_by) for one in listed))

    @put(
        ADMIN + "/refused-users",
        "admin",
        "Refuse a user in every run, for a time",
        "All connections of the user are closed. Admins are not refused. A restart of the server forgets it.",
        name="refuseUser",
    )
    async def refuse(self, request: Request, query: RefuseRequest) -> ClosedConnections:
        user_id = query.user_id
        closed = await self._shut_out(Refusal(user_id, self._clock.wall() + query.for_ms * NS_PER_MS, request.user_id))
        log_event("admin refused user", admin=request.user_id, user=user_id, for_ms=query.for_ms, connections=closed)
        return ClosedConnections(closed=closed)

    @delete(ADMIN + "/refused-users", "admin", "Cancel the refusal of a user", name="allowUser")
    async def allow(self, request: Request, query: AllowRequest) -> AllowedUser:
        user_id = query.user_id
        was_refused = self._refused.allow(user_id)
        log_event("admin allowed user", admin=request.user_id, user=user_id, was_refused=was_refused)
        return AllowedUser(was_refused=was_refused)

    @delete(
        ADMIN + "/runs/{runId}",
        "admin",
        "Delete a run and all its events",
        "Its clients are notified that there is no such run. It cannot be undone.",
        refuses=(404,),
    )
    async def delete_run(self, request: Request) -> ClosedConnections:
        run_id = canonical_run_id(request.run_id)
        closed = await self._runs.delete(run_id)
        log_event("admin deleted run", admin=request.user_id, run=run_id, connections=closed)
        return ClosedConnections(closed=closed)

    async def _shut_out(self, refusal: Refusal) -> int:
        """Refuse the user from now on. Returns how many connections were closed."""
        self._refused.refuse(refusal, self._clock.wall())  # the clock that tokens are checked with
        closed = 0
        connection_ids = self._user_connections.of_user(refusal.user_id)
        for live in self._runs.runs:
            closed += await self._close(live, (*connection_ids, *live.requests_of(refusal.user_id)), is_final=True)
        return closed

    async def _close(self, live: LiveRun, connection_ids: tuple[int, ...], *, is_final: bool) -> int:
        if is_final:
            return await live.dismiss(connection_ids, CloseCode.FORBIDDEN, "an operator has ended this session")
        return await live.send_away(0, 0, connection_ids)
