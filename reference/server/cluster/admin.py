"""The admin API of one process in a cluster: lists and figures cover all processes, and actions are carried out by all.

Every process answers for itself, and the process that received the request merges the answers. `limit` and `offset` apply to each
of them, so that paging to the end shows everything once. A session that moved to another process may be reported by both until
the first has forgotten it. Health is that of one process.
"""

from collections import Counter
from typing import Any, TypeVar

import msgspec

from reference.protocol.errors import CloseCode, RemoteError
from reference.server.cluster.peer_processes import PeerProcesses
from reference.server.http.admin_actions import (
    AdminActions,
    AllowedUser,
    AllowRequest,
    ClosedConnections,
    CloseSessionRequest,
    RefuseRequest,
)
from reference.server.http.admin_answers import (
    CleanedUp,
    CleanupRequest,
    ConnectionsAnswer,
    Page,
    SessionRequest,
    SessionsAnswer,
    SessionsRequest,
)
from reference.server.http.admin_api import AdminApi
from reference.server.http.answers import RequestRefused
from reference.server.http.request import Request
from reference.server.monitoring.sessions import SessionMetrics

T = TypeVar("T")


class AdminOfAll(AdminApi):
    """AdminApi, with the other processes' answers."""

    def __init__(self, *parts: Any, peer_processes: PeerProcesses) -> None:
        """`parts`: as for AdminApi."""
        super().__init__(*parts)
        self._peer_processes = peer_processes

    async def connections(self, request: Request, query: Page) -> ConnectionsAnswer:
        own = await super().connections(request, query)
        others, silent = await self._ask(request, ConnectionsAnswer)
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
        others, silent = await self._ask(request, SessionsAnswer)
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
        others, silent = await self._ask(request, SessionMetrics)
        found += others
        if not found:
            missing = f"; {', '.join(silent)} did not answer" if silent else ""
            raise RemoteError(CloseCode.NO_SUCH_RUN, f"no session of this id is known; it may have been forgotten{missing}")
        found = [one for one in found if one.is_connected] or found
        if len({(one.run_id, one.client_id) for one in found}) > 1:
            raise RequestRefused(CloseCode.SUPERSEDED, "several sessions go by this id; add runId and clientId")
        return max(found, key=lambda one: one.last_activity_at)

    async def clean_up(self, request: Request, query: CleanupRequest) -> CleanedUp:
        own = await super().clean_up(request, query)
        others, silent = await self._ask(request, CleanedUp)
        return CleanedUp(
            removed=own.removed + sum(answer.removed for answer in others),
            remaining=own.remaining + sum(answer.remaining for answer in others),
            processes_silent=silent,
        )

    async def _ask(self, request: Request, kind: type[T]) -> tuple[list[T], tuple[str, ...]]:
        return await _ask_others(self._peer_processes, request, kind)


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
        others, silent = await _ask_others(self._peer_processes, request, ClosedConnections)
        if failure is not None and not others:
            raise failure
        return ClosedConnections(closed=closed + sum(answer.closed for answer in others), processes_silent=silent)

    async def refuse(self, request: Request, query: RefuseRequest) -> ClosedConnections:
        own = await super().refuse(request, query)
        others, silent = await _ask_others(self._peer_processes, request, ClosedConnections)
        return ClosedConnections(closed=own.closed + sum(answer.closed for answer in others), processes_silent=silent)

    async def allow(self, request: Request, query: AllowRequest) -> AllowedUser:
        own = await super().allow(request, query)
        others, silent = await _ask_others(self._peer_processes, request, AllowedUser)
        was_refused = own.was_refused or any(answer.was_refused for answer in others)
        return AllowedUser(was_refused=was_refused, processes_silent=silent)


async def _ask_others(peer_processes: PeerProcesses, request: Request, kind: type[T]) -> tuple[list[T], tuple[str, ...]]:
    """The answers of the other processes, and the processes without a usable answer."""
    answers = await peer_processes.ask(request.head)
    said, silent = [], list(answers.silent)
    for name, (status, body) in answers.received.items():
        try:
            if status not in (404, 409):  # these statuses mean that it knows no such session
                said.append(msgspec.json.decode(body, type=kind))
        except msgspec.DecodeError:  # another kind of error, or another version
            silent.append(name)
    return said, tuple(silent)
