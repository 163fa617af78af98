"""A run over HTTP: poll, publish, replay, and creating one.

A poll and a publish are connections to the run's machine with one frame and one answer; replay only reads. The caller is
authenticated first: a request without a valid token learns nothing, not even whether the run exists.
"""

import msgspec
import trio

from reference.protocol import frames
from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.server.access.admission import AccessControl
from reference.server.access.user_limits import UserRates
from reference.server.clock import ServerClock
from reference.server.http.answers import Answer, RequestRefused, json_answer
from reference.server.http.description import get, post, put
from reference.server.http.replay import HistoryRequest, ReplayAnswer, ReplayRequest, history, replay
from reference.server.http.request import Request, wait_until_gone
from reference.server.registry import RunRegistry

_RUN = "/api/runs/{runId}"
_COLLABORATION = _RUN + "/collaboration"


class CreatedRun(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to PUT: the id in canonical form."""

    run_id: str


class RunApi:
    """The operations on runs over HTTP. Every method raises RemoteError, RequestRefused or HttpRefusal."""

    def __init__(
        self,
        runs: RunRegistry,
        admission: AccessControl,
        clock: ServerClock,
        *,
        runs_per_minute_max: int,
    ) -> None:
        """`runs_per_minute_max` is for one user."""
        self._runs = runs
        self._admission = admission
        self._clock = clock
        self._creations = UserRates(Limit.RUN_CREATIONS, "makes runs", runs_per_minute_max / 60, runs_per_minute_max)

    @put(
        _RUN,
        "runs",
        "Make a run",
        "201 if the run is new, 200 if it was there. A user may make a limited number in a minute.",
        name="createRun",
        answers={200: CreatedRun, 201: CreatedRun},
    )
    async def create(self, request: Request) -> Answer:
        self._creations.spend(request.user_id, self._clock.now())
        is_new = await self._runs.create(request.run_id)
        return json_answer(CreatedRun(request.run_id), 201 if is_new else 200)

    @get(
        _COLLABORATION + "/poll",
        "runs",
        "What is new after a position",
        "The same events as over WebSocket. May be held until there is something. With clientId it keeps that client's session.",
        refuses=(409,),
    )
    async def poll(self, request: Request, query: frames.PollRequest) -> frames.PollAnswer:
        answer = await self._ask(request, query)
        assert isinstance(answer, frames.PollAnswer)
        return answer

    @post(
        _COLLABORATION + "/publish",
        "runs",
        "Publish events, once each however often they are sent",
        "Answered when every message is durable or refused; each has a result of its own.",
        refuses=(409,),
    )
    async def publish(self, request: Request, body: frames.PublishRequest) -> frames.PublishAnswer:
        answer = await self._ask(request, body)
        assert isinstance(answer, frames.PublishAnswer)
        return answer

    @get(
        _COLLABORATION + "/replay",
        "runs",
        "What is kept, from a number on",
        "Ascending. Without fromSequence the critical events. nextSequence says where to go on.",
    )
    async def replay(self, request: Request, query: ReplayRequest) -> ReplayAnswer:
        live = await self._runs.open(request.run_id)
        return replay(live.run, query)

    @get(
        _COLLABORATION + "/events",
        "runs",
        "What is kept, by type, author, number or time",
        "Ascending; what is given must all hold. nextSequence is the fromSequence of the next page.",
        name="events",
    )
    async def history(self, request: Request, query: HistoryRequest) -> ReplayAnswer:
        live = await self._runs.open(request.run_id)
        return history(live.run, query)

    async def _ask(self, request: Request, frame: frames.RequestFrame) -> frames.Frame:
        live = await self._runs.open(request.run_id)
        self._admission.check_still_open()
        peer = live.request(frame, request.caller)
        try:
            if not peer.settled.is_set():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait_until_gone, request, nursery.cancel_scope)
                    await peer.settled.wait()
                    nursery.cancel_scope.cancel()
        finally:
            live.lost(peer.connection_id)
        if peer.failure is not None:
            code = CloseCode.OVERLOADED if peer.failure.code is None else peer.failure.code
            raise RequestRefused(code, peer.failure.message, peer.failure.retry_after_ms)
        if peer.answer is None:
            raise RequestRefused(CloseCode.TOO_SLOW, "the client went away before its answer came")
        return peer.answer
