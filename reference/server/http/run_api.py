"""A run over HTTP: poll, publish, replay, and creating one.

A poll and a publish are connections to the run's machine with one frame and one answer; replay only reads. The caller is
authenticated first: a request without a valid token learns nothing, not even whether the run exists.
"""

import msgspec
import trio
from msgspec.structs import replace

from reference.protocol import frames
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.server.http_requests import SAME_NUMBER
from reference.protocol.server.run import Run
from reference.server.access.admission import AccessControl
from reference.server.access.users import UserRates
from reference.server.clock import ServerClock
from reference.server.http.answers import Answer, RequestRefused, json_answer
from reference.server.http.description import get, post, put
from reference.server.http.replay import HistoryRequest, ReplayAnswer, ReplayRequest, history, replay
from reference.server.http.request import Request, wait_until_gone
from reference.server.live_run import LiveRun
from reference.server.registry import RunRegistry
from reference.server.run_output import RequestPeer

PIECE_BYTES_MAX = 256 * 1024
"""Of events, encoded, that one turn of a run takes from a request: the costliest take 2 ms for 64 KiB."""
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
        self._creations = UserRates(Limit.RUN_CREATIONS, "creates runs", runs_per_minute_max / 60, runs_per_minute_max)

    @put(
        _RUN,
        "runs",
        "Create a run",
        "201 if the run is new, 200 if it existed. A user may create a limited number per minute.",
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
        "Events after a position",
        "The same events as over WebSocket. waitMs holds the answer until there is one. clientId keeps that client's session.",
        refuses=(409,),
    )
    async def poll(self, request: Request, query: frames.PollRequest) -> frames.PollAnswer:
        (answer,) = await self._ask(request, query)
        assert isinstance(answer, frames.PollAnswer)
        return answer

    @post(
        _COLLABORATION + "/publish",
        "runs",
        "Publish events; each is stored once, however often it is sent",
        "Answered when every message is durable or rejected; each has its own result.",
        refuses=(409,),
    )
    async def publish(self, request: Request, body: frames.PublishRequest) -> frames.PublishAnswer:
        answers = [answer for answer in await self._ask(request, *_pieces(body)) if isinstance(answer, frames.PublishAnswer)]
        return frames.PublishAnswer(tuple(result for answer in answers for result in answer.results), answers[-1].epoch)

    @get(
        _COLLABORATION + "/replay",
        "runs",
        "Retained events from a number on",
        "Ascending. Without fromSequence: the critical events. nextSequence is the fromSequence of the next page.",
    )
    async def replay(self, request: Request, query: ReplayRequest) -> ReplayAnswer:
        return replay(await self._readable(request), query)

    @get(
        _COLLABORATION + "/events",
        "runs",
        "Retained events by type, author, number or time",
        "Ascending; all given conditions must hold. nextSequence is the fromSequence of the next page.",
        name="events",
    )
    async def history(self, request: Request, query: HistoryRequest) -> ReplayAnswer:
        return history(await self._readable(request), query)

    async def _readable(self, request: Request) -> Run:
        """The run that is asked for. Raises RemoteError or RequestRefused."""
        live = await self._runs.open(request.run_id)
        self._admission.check_debt(request.caller)
        return live.run

    async def _ask(self, request: Request, *asked: frames.RequestFrame) -> list[frames.Frame]:
        """The answer to each frame. Other tasks run between two of them."""
        peers: list[tuple[LiveRun, RequestPeer]] = []
        try:
            for frame in asked:
                live = await self._runs.open(request.run_id)
                self._admission.check_still_open()
                self._admission.check_still_allowed(request.head, request.run_id, request.caller)
                if isinstance(frame, frames.PollRequest):  # a publish was counted when its body was there
                    self._admission.check_debt(request.caller)
                peers.append((live, live.request(frame, request.caller)))
            if not all(peer.settled.is_set() for _, peer in peers):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait_until_gone, request.receive, nursery.cancel_scope)
                    for _, peer in peers:
                        await peer.settled.wait()
                    nursery.cancel_scope.cancel()
        finally:
            for live, peer in peers:
                live.lost(peer.connection_id)
        return [_answer_of(peer) for _, peer in peers]


def _answer_of(peer: RequestPeer) -> frames.Frame:
    if peer.failure is not None:
        code = CloseCode.OVERLOADED if peer.failure.code is None else peer.failure.code
        raise RequestRefused(code, peer.failure.message, peer.failure.retry_after_ms)
    if peer.answer is None:
        raise RequestRefused(CloseCode.TOO_SLOW, "the client went away before its answer came")
    return peer.answer


def _pieces(request: frames.PublishRequest) -> list[frames.PublishRequest]:
    """The same publishes in requests of at most `PIECE_BYTES_MAX`, or of one message each. Raises RemoteError."""
    pieces: list[list[frames.Message]] = [[]]
    room = PIECE_BYTES_MAX
    for message in request.messages:
        size_bytes = frames.encoded_bytes(message.data)
        if size_bytes > room and pieces[-1]:
            pieces.append([])
            room = PIECE_BYTES_MAX
        pieces[-1].append(message)
        room -= size_bytes
    if len(pieces) == 1:
        return [request]
    if len({message.client_sequence for message in request.messages}) < len(request.messages):
        raise RemoteError(CloseCode.BAD_FRAME, SAME_NUMBER)  # which the run sees only within a piece
    first = replace(request, messages=tuple(pieces[0]))
    return [first, *(replace(request, messages=tuple(piece), cursor=None) for piece in pieces[1:])]
