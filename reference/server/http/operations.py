"""Every operation of the HTTP side, in one table: from it come the OpenAPI document and the page at /docs.

The parameters, bodies and answers are the very types that requests are checked against, so their limits in the document are the
limits that hold. A test compares the table with the routes.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

from reference.protocol import frames
from reference.server.http import admin_actions as actions
from reference.server.http import admin_answers as admin
from reference.server.http.operator_api import ProbeStatus
from reference.server.http.replay import HistoryRequest, ReplayAnswer, ReplayRequest
from reference.server.http.run_api import CreatedRun
from reference.server.monitoring.sessions import SessionMetrics

Tag = Literal["runs", "admin", "operation"]

TAGS: dict[Tag, str] = {
    "runs": "Runs over HTTP: for clients without a WebSocket, for tools and for people. Needs a token that allows the run.",
    "admin": "Who is connected, and how it goes; of all processes on one database. Needs a token with the role admin.",
    "operation": "For whoever runs the server. Needs no token.",
}

_ALL = (400, 408, 413, 431, 500, 503)
_WITH_TOKEN = (*_ALL, 401, 403)
_OF_RUNS = (*_WITH_TOKEN, 404, 429)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address."""

    name: str
    method: Literal["get", "put", "post", "delete"]
    path: str
    tag: Tag
    summary: str
    answers: dict[int, type[msgspec.Struct] | str]
    """By status: a type for JSON, or the media type of text."""
    errors: tuple[int, ...]
    text: str = ""
    parameters: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None

    @property
    def needs_token(self) -> bool:
        return self.tag != "operation"


_RUN = "/api/runs/{runId}"
_COLLABORATION = _RUN + "/collaboration"
_ADMIN = "/api/admin/websocket"

OPERATIONS = (
    Operation(
        "createRun",
        "put",
        _RUN,
        "runs",
        "Make a run",
        {200: CreatedRun, 201: CreatedRun},
        _OF_RUNS,
        "201 if the run is new, 200 if it was there. A user may make a limited number in a minute.",
    ),
    Operation(
        "poll",
        "get",
        _COLLABORATION + "/poll",
        "runs",
        "What is new after a position",
        {200: frames.PollAnswer},
        (*_OF_RUNS, 409),
        "The same events as over WebSocket. May be held until there is something. With clientId it keeps that client's session.",
        parameters=frames.PollRequest,
    ),
    Operation(
        "publish",
        "post",
        _COLLABORATION + "/publish",
        "runs",
        "Publish events, once each however often they are sent",
        {200: frames.PublishAnswer},
        (*_OF_RUNS, 409),
        "Answered when every message is durable or refused; each has a result of its own.",
        body=frames.PublishRequest,
    ),
    Operation(
        "replay",
        "get",
        _COLLABORATION + "/replay",
        "runs",
        "What is kept, from a number on",
        {200: ReplayAnswer},
        _OF_RUNS,
        "Ascending. Without fromSequence the critical events. nextSequence says where to go on.",
        parameters=ReplayRequest,
    ),
    Operation(
        "events",
        "get",
        _COLLABORATION + "/events",
        "runs",
        "What is kept, by type, author, number or time",
        {200: ReplayAnswer},
        _OF_RUNS,
        "Ascending; what is given must all hold. nextSequence is the fromSequence of the next page.",
        parameters=HistoryRequest,
    ),
    Operation(
        "connections",
        "get",
        _ADMIN + "/connections",
        "admin",
        "All connections",
        {200: admin.ConnectionsAnswer},
        _WITH_TOKEN,
        "A session that was dropped is no connection.",
        parameters=admin.Page,
    ),
    Operation(
        "runConnections",
        "get",
        _ADMIN + "/connections/{runId}",
        "admin",
        "The connections of one run",
        {200: admin.RunConnections},
        _OF_RUNS,
        parameters=admin.Page,
    ),
    Operation(
        "metrics",
        "get",
        _ADMIN + "/metrics",
        "admin",
        "Metrics of all sessions",
        {200: admin.Sessions},
        _OF_RUNS,
        "Those that are gone are shown until they expire.",
        parameters=admin.SessionsRequest,
    ),
    Operation(
        "sessionMetrics",
        "get",
        _ADMIN + "/metrics/{sessionId}",
        "admin",
        "Metrics of one session",
        {200: SessionMetrics},
        (*_OF_RUNS, 409),
        "409: several sessions go by this id, which a client may choose; add runId and clientId.",
        parameters=admin.SessionRequest,
    ),
    Operation(
        "health",
        "get",
        _ADMIN + "/health",
        "admin",
        "How the server and its connections do",
        {200: admin.ServerHealth},
        _WITH_TOKEN,
        "Of this process alone.",
    ),
    Operation(
        "cleanUpStale",
        "post",
        _ADMIN + "/cleanup-stale",
        "admin",
        "Forget sessions that have been gone for long",
        {200: admin.CleanedUp},
        _WITH_TOKEN,
        "They also expire by themselves. Sessions that are connected are never forgotten.",
        parameters=admin.CleanupRequest,
    ),
    Operation(
        "closeSession",
        "post",
        _ADMIN + "/sessions/{sessionId}/close",
        "admin",
        "Close a session",
        {200: actions.ClosedConnections},
        (*_OF_RUNS, 409),
        "Its client comes back, unless isFinal says that it must not. 409: it has no WebSocket now, or several go by this id.",
        parameters=actions.CloseSessionRequest,
    ),
    Operation(
        "sendRunAway",
        "post",
        _ADMIN + "/runs/{runId}/send-away",
        "admin",
        "Ask every client of a run to leave and to come back later",
        {200: actions.ClosedConnections},
        _OF_RUNS,
        "They resume where they were; nothing is lost.",
        parameters=actions.SendAwayRequest,
    ),
    Operation(
        "refusedUsers",
        "get",
        _ADMIN + "/refused-users",
        "admin",
        "Users who are turned away",
        {200: actions.RefusedUsersAnswer},
        _WITH_TOKEN,
        "As this process knows them.",
    ),
    Operation(
        "refuseUser",
        "put",
        _ADMIN + "/refused-users",
        "admin",
        "Turn a user away from every run, for a time",
        {200: actions.ClosedConnections},
        _WITH_TOKEN,
        "All connections of the user are closed. Admins are not refused. A restart of the server forgets it.",
        parameters=actions.RefuseRequest,
    ),
    Operation(
        "allowUser",
        "delete",
        _ADMIN + "/refused-users",
        "admin",
        "Let a refused user in again",
        {200: actions.AllowedUser},
        _WITH_TOKEN,
        parameters=actions.AllowRequest,
    ),
    Operation(
        "deleteRun",
        "delete",
        _ADMIN + "/runs/{runId}",
        "admin",
        "Delete a run and all its events",
        {200: actions.ClosedConnections},
        _OF_RUNS,
        "Its clients are told that there is no such run. It cannot be undone.",
    ),
    Operation("healthz", "get", "/healthz", "operation", "Whether the process lives", {200: ProbeStatus}, _ALL),
    Operation("readyz", "get", "/readyz", "operation", "Whether work may be sent here", {200: ProbeStatus}, _ALL),
    Operation(
        "prometheus",
        "get",
        "/metrics",
        "operation",
        "Metrics of the server",
        {200: "text/plain"},
        _ALL,
        "In the text format of Prometheus, or as OpenMetrics if the header Accept asks for it.",
    ),
    Operation("openapi", "get", "/openapi.json", "operation", "This document", {200: "application/json"}, _ALL),
    Operation("docs", "get", "/docs", "operation", "This document, for people", {200: "text/html"}, _ALL),
)

PARAMETER_TEXTS: dict[str, str] = {
    "runId": "A run: a UUID.",
    "sessionId": "A session, by the name that it has.",
    "afterSequence": "Events after this number. Without it the poll begins at `start`.",
    "epoch": "The history that the number belongs to; the current one without.",
    "waitMs": "How long the server may hold the poll when there is nothing to bring, in ms.",
    "clientId": "A client: with it, a poll keeps that client's session and its user present.",
    "generation": "Counts the client's connections; of two the higher owns the session.",
    "start": "Where to begin without a position.",
    "fallback": "How far the last WebSocket came before this client went over to polling, for the records.",
    "report": "What only the client can know of its connections since its last report, for the figures.",
    "fromSequence": "The lowest number wanted.",
    "toSequence": "The highest number wanted.",
    "limit": "The most that one answer may bring.",
    "offset": "How many of the list to pass over; like limit, for each process.",
    "criticalOnly": "Only events that are folded into the state: GRAFT, PRUNE, FLAG.",
    "eventType": "Only events of this type; may be given several times.",
    "userId": "Only of this user.",
    "fromTime": "Not before this time, in ms since 1970.",
    "toTime": "Not after this time, in ms since 1970.",
    "connectedOnly": "Leave out sessions that are gone.",
    "isFinal": "Whether the client is told not to come back.",
    "retryAfterMs": "When clients may come back, in ms.",
    "spreadMs": "Over how long a time, after that, they spread their return, in ms.",
    "forMs": "For how long, in ms.",
    "maxAgeMs": "Forget those that have been gone for longer than this, in ms.",
}
