"""The admin API of one process in a cluster: lists and figures cover all processes, and actions are carried out by all.

Every process answers for itself, and the process that received the request merges the answers. `limit` and `offset` apply to each
of them, so that paging to the end shows everything once. A session that moved to another process may be reported by both until
the first has forgotten it. Health is that of one process.
"""

import contextlib
from collections import Counter
from typing import Any, TypeVar

import httpcore
import msgspec
import trio

from reference.protocol.errors import CloseCode, HttpProblem, RemoteError
from reference.protocol.timers import NS_PER_MS
from reference.server.access.users import Refusal
from reference.server.cluster.membership import Membership
from reference.server.cluster.router import HOP_BY_HOP, RELAYED, forwarded, is_relayed
from reference.server.http.admin_actions import (
    AdminActions,
    AllowedUser,
    AllowRequest,
    ClosedConnections,
    CloseSessionRequest,
    RefusedUsersAnswer,
    RefuseRequest,
)
from reference.server.http.admin_api import (
    AdminApi,
    CleanedUp,
    CleanupRequest,
    ConnectionsAnswer,
    Page,
    SessionMetrics,
    SessionRequest,
    SessionsAnswer,
    SessionsRequest,
)
from reference.server.http.answers import RequestRefused
from reference.server.http.description import get
from reference.server.http.request import Request
from reference.server.monitoring.logs import log_event
from reference.server.wire.request_head import RequestHead
from reference.store import StoreUnavailable
from reference.store.base import ProcessAddress

T = TypeVar("T")

ANSWER_S_MAX = 2.0
"""For all answers, including the query of the database for the list of processes."""
_REFUSED_USERS = "/api/processes/refused-users"
UNKNOWN = "unknown: the database did not say who they are"


class PeerProcesses:
    """The other processes, as listed by `membership`, over connections of `pool`. Each checks the token as if the client had
    connected to it directly."""

    def __init__(self, membership: Membership, pool: httpcore.AsyncConnectionPool) -> None:
        self._membership = membership
        self._pool = pool

    def is_from_one(self, head: RequestHead) -> bool:
        """Whether one of them sent the request. Raises HttpRefusal."""
        return is_relayed(head.header(RELAYED), self._membership)

    async def ask(self, head: RequestHead, kind: type[T]) -> tuple[list[T], tuple[str, ...]]:
        """Their answers to a request, which they get without its body, and HOST:PORT of those without a usable answer.

        Takes at most `ANSWER_S_MAX`. Both are empty if one of them sent the request. Raises HttpRefusal, and RequestRefused if
        none has an answer but one reports a conflict (409).
        """
        if self.is_from_one(head):
            return [], ()
        received: dict[str, tuple[int, bytes]] = {}
        names: tuple[str, ...] = (UNKNOWN,)
        with trio.move_on_after(ANSWER_S_MAX), contextlib.suppress(StoreUnavailable):
            places = await self._membership.others()
            names = tuple(f"{place.host}:{place.port}" for place in places)
            async with trio.open_nursery() as nursery:
                for name, place in zip(names, places, strict=True):
                    nursery.start_soon(self._ask, head, name, place, received)
        answers, silent = [], [name for name in names if name not in received]
        conflict: RequestRefused | None = None
        for name, (status, body) in received.items():
            try:
                if status == 409:  # it knows several sessions with this id, or one that it cannot close
                    conflict = RequestRefused(CloseCode.SUPERSEDED, msgspec.json.decode(body, type=HttpProblem).message)
                elif status != 404:  # it knows no such session
                    answers.append(msgspec.json.decode(body, type=kind))
            except msgspec.DecodeError:  # another kind of error, or another version
                silent.append(name)
        if conflict is not None and not answers:
            raise conflict
        return answers, tuple(silent)

    async def _ask(self, head: RequestHead, name: str, place: ProcessAddress, received: dict[str, tuple[int, bytes]]) -> None:
        url = httpcore.URL(scheme=b"http", host=place.host.encode(), port=place.port, target=head.target)
        headers = forwarded(head, place, without=(*HOP_BY_HOP, b"content-length"))
        headers.append((b"connection", b"close"))  # it is asked rarely, and an open connection counts there
        try:
            answer = await self._pool.request(head.method, url, headers=headers)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            return
        received[name] = answer.status, answer.content


class AdminOfAll(AdminApi):
    """AdminApi, with the other processes' answers."""

    def __init__(self, *parts: Any, peer_processes: PeerProcesses) -> None:
        """`parts`: as for AdminApi."""
        super().__init__(*parts)
        self._peer_processes = peer_processes

    async def connections(self, request: Request, query: Page) -> ConnectionsAnswer:
        own = await super().connections(request, query)
        others, silent = await self._peer_processes.ask(request.head, ConnectionsAnswer)
        answers = (own, *others)
        per_run: Counter[str] = Counter()
        for answer in answers:
            per_run.update(answer.connections_per_run)
        return ConnectionsAnswer(
            total_connections=sum(answer.total_connections for answer in answers),
            total_polling=sum(answer.total_polling for answer in answers),
            connections_per_run=dict(per_run),
            has_more=any(answer.has_more for answer in answers),
            connections=tuple(one for answer in answers for one in answer.connections),
            processes_silent=silent,
        )

    async def sessions(self, request: Request, query: SessionsRequest) -> SessionsAnswer:
        own = await super().sessions(request, query)
        others, silent = await self._peer_processes.ask(request.head, SessionsAnswer)
        answers = (own, *others)
        return SessionsAnswer(
            total_sessions=sum(answer.total_sessions for answer in answers),
            has_more=any(answer.has_more for answer in answers),
            sessions=tuple(one for answer in answers for one in answer.sessions),
            processes_silent=silent,
        )

    async def session(self, request: Request, query: SessionRequest) -> SessionMetrics:
        found: list[SessionMetrics] = []
        try:
            found.append(await super().session(request, query))
        except RemoteError as error:
            if error.code is not CloseCode.NO_SUCH_RUN:
                raise
        others, silent = await self._peer_processes.ask(request.head, SessionMetrics)
        found += others
        if not found:
            missing = f"; {', '.join(silent)} did not answer" if silent else ""
            raise RemoteError(CloseCode.NO_SUCH_RUN, f"no session with this id is known; it may have expired{missing}")
        found = [one for one in found if one.is_connected] or found
        if len({(one.run_id, one.client_id) for one in found}) > 1:
            raise RequestRefused(CloseCode.SUPERSEDED, "several sessions have this id; add runId and clientId")
        return max(found, key=lambda one: one.last_activity_at)

    async def clean_up(self, request: Request, query: CleanupRequest) -> CleanedUp:
        own = await super().clean_up(request, query)
        others, silent = await self._peer_processes.ask(request.head, CleanedUp)
        return CleanedUp(
            removed=own.removed + sum(answer.removed for answer in others),
            remaining=own.remaining + sum(answer.remaining for answer in others),
            processes_silent=silent,
        )


class ActionsOfAll(AdminActions):
    """AdminActions, for users and sessions of every process; the router already sends a request about one run to its process."""

    def __init__(self, *parts: Any, peer_processes: PeerProcesses) -> None:
        """`parts`: as for AdminActions."""
        super().__init__(*parts)
        self._peer_processes = peer_processes

    async def close_session(self, request: Request, query: CloseSessionRequest) -> ClosedConnections:
        closed, failure = 0, None
        try:
            closed = (await super().close_session(request, query)).closed
        except (RemoteError, RequestRefused) as error:
            if error.code not in (CloseCode.NO_SUCH_RUN, CloseCode.SUPERSEDED):
                raise
            failure = error
        try:
            others, silent = await self._peer_processes.ask(request.head, ClosedConnections)
        except RequestRefused:
            if failure is not None:
                raise
            others, silent = [], ()  # it was closed here, and had left the other process
        if failure is not None and not others:
            raise failure
        return ClosedConnections(closed=closed + sum(answer.closed for answer in others), processes_silent=silent)

    @get(_REFUSED_USERS, "operation", "Users that this process refuses, for another process", is_listed=False)
    async def refused_here(self, request: Request) -> RefusedUsersAnswer:
        if not self._peer_processes.is_from_one(request.head):
            raise RemoteError(CloseCode.FORBIDDEN, "this is for the other processes on the same database")
        return await self.refused_users(request)

    async def learn_refusals(self) -> None:
        """Refuse the users that other processes refuse: this process was not a member when they were told so."""
        head = RequestHead("GET", _REFUSED_USERS.encode(), "1.1", ((b"host", b"steadywire"),))
        answers, silent = await self._peer_processes.ask(head, RefusedUsersAnswer)
        for one in sorted((user for answer in answers for user in answer.users), key=lambda user: user.until):
            with contextlib.suppress(RemoteError):  # no room for more
                await self._shut_out(Refusal(one.user_id, one.until * NS_PER_MS, one.refused_by))
        if silent:
            log_event("processes did not say whom they refuse", processes=silent)

    async def refuse(self, request: Request, query: RefuseRequest) -> ClosedConnections:
        own = await super().refuse(request, query)
        others, silent = await self._peer_processes.ask(request.head, ClosedConnections)
        return ClosedConnections(closed=own.closed + sum(answer.closed for answer in others), processes_silent=silent)

    async def allow(self, request: Request, query: AllowRequest) -> AllowedUser:
        own = await super().allow(request, query)
        others, silent = await self._peer_processes.ask(request.head, AllowedUser)
        was_refused = own.was_refused or any(answer.was_refused for answer in others)
        return AllowedUser(was_refused=was_refused, processes_silent=silent)
