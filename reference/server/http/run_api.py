"""A run over HTTP: poll, publish, replay, and making one.

A poll and a publish are connections to the run's machine that say one thing and get one answer; replay only looks. Who asks is
found out before anything else: a request without a right token learns nothing, not even whether there is such a run.
"""

import msgspec
import trio

from reference.protocol import codec, frames
from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.protocol.server.connection import Identity
from reference.server.access import AccessControl
from reference.server.clock import ServerClock
from reference.server.http.parameters import parameters
from reference.server.http.problems import AnyRequest, RequestRefused
from reference.server.http.replay import HistoryRequest, ReplayAnswer, ReplayRequest, history, replay
from reference.server.registry import RunRegistry
from reference.server.user_limits import UserRates


class CreatedRun(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to PUT: the id in its one spelling."""

    run_id: str


class RunApi:
    """What can be asked of runs over HTTP. Every method raises RemoteError, RequestRefused or HttpRefusal."""

    def __init__(
        self,
        runs: RunRegistry,
        admission: AccessControl,
        clock: ServerClock,
        *,
        body_bytes_max: int,
        requests_per_s_max: int,
        runs_per_minute_max: int,
    ) -> None:
        """The last two are for one user."""
        self._runs = runs
        self._admission = admission
        self._clock = clock
        self._body_bytes_max = body_bytes_max
        self._requests = UserRates(Limit.REQUEST_RATE, "asks", requests_per_s_max, 2 * requests_per_s_max)
        self._creations = UserRates(Limit.RUN_CREATIONS, "makes runs", runs_per_minute_max / 60, runs_per_minute_max)

    async def create(self, request: AnyRequest) -> tuple[CreatedRun, bool]:
        """The run, and whether it is new."""
        run_id, identity = self._admit(request)
        self._creations.spend(identity.user_id, self._clock.now())
        is_new = await self._runs.create(run_id)
        return CreatedRun(run_id), is_new

    async def poll(self, request: AnyRequest) -> frames.PollAnswer:
        run_id, identity = self._admit(request)
        poll = parameters(request, frames.PollRequest)
        answer = await self._ask(request, run_id, poll, identity)
        assert isinstance(answer, frames.PollAnswer)
        return answer

    async def publish(self, request: AnyRequest) -> frames.PublishAnswer:
        run_id, identity = self._admit(request)
        publish = codec.decode_publish_request(await request.body(), self._body_bytes_max)
        answer = await self._ask(request, run_id, publish, identity)
        assert isinstance(answer, frames.PublishAnswer)
        return answer

    async def replay(self, request: AnyRequest) -> ReplayAnswer:
        run_id, _ = self._admit(request)
        wanted = parameters(request, ReplayRequest)
        live = await self._runs.open(run_id)
        return replay(live.run, wanted)

    async def history(self, request: AnyRequest) -> ReplayAnswer:
        run_id, _ = self._admit(request)
        wanted = parameters(request, HistoryRequest)
        live = await self._runs.open(run_id)
        return history(live.run, wanted)

    def _admit(self, request: AnyRequest) -> tuple[str, Identity]:
        headers = dict(request.scope["headers"])
        run_id, identity = self._admission.admit_request(headers, request.path_params["run_id"])
        self._requests.spend(identity.user_id, self._clock.now())
        return run_id, identity

    async def _ask(self, request: AnyRequest, run_id: str, frame: frames.RequestFrame, identity: Identity) -> frames.Frame:
        live = await self._runs.open(run_id)
        self._admission.check_still_open()
        peer = live.request(frame, identity)
        try:
            if not peer.settled.is_set():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_when_gone, request, nursery.cancel_scope)
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


async def _cancel_when_gone(request: AnyRequest, scope: trio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
