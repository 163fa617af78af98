"""The polling transport: the same session, over single HTTP requests.

Each frame that the session sends on a polling connection is a request with one answer: a PollAnswer, a PublishAnswer, or
RequestFailed in place of it. One poll and one publish may be under way at the same time. The session decides how often to ask,
how long to wait for an answer and what to do without one; to give up a request it closes the whole connection, which cancels all
requests under way.
"""

import math
from functools import partial
from typing import Literal
from urllib.parse import urlencode

import msgspec
import trio

from reference.client.addresses import Address, OpenStream
from reference.client.http import HttpClient, HttpResponse, RequestLost, read_refusal
from reference.client.transport import Reports
from reference.protocol import frames
from reference.protocol.errors import RemoteError

REQUESTS_MAX = 2


class PollingTransport:
    """See the module and `transport.ClientTransport`."""

    def __init__(
        self, connection_id: int, address: Address, run_id: str, token: str | None, open_stream: OpenStream, reports: Reports
    ) -> None:
        self._id = connection_id
        self._path = address.run_path(run_id) + "/collaboration"
        self._http = HttpClient(address, token, open_stream)
        self._reports = reports
        self._scope = trio.CancelScope()
        self._under_way = 0
        self._to_send, self._requests = trio.open_memory_channel[frames.Frame](math.inf)  # bounded by REQUESTS_MAX

    def send(self, frame: frames.Frame) -> None:
        self._under_way += 1
        assert self._under_way <= REQUESTS_MAX, "the session has one poll and one publish under way"
        self._to_send.send_nowait(frame)

    def close(self, code: int | None, message: str) -> None:
        self._scope.cancel()

    def pause(self) -> None:
        """Nothing to do: the next request is not made before the last answer was taken."""

    def resume(self) -> None:
        pass

    async def run(self) -> None:
        with self._scope:
            async with self._http, trio.open_nursery() as nursery:
                async for request in self._requests:
                    nursery.start_soon(self._exchange, request)

    async def _exchange(self, request: frames.Frame) -> None:
        assert isinstance(request, frames.PollRequest | frames.PublishRequest), "only requests are sent over HTTP"
        try:
            answer = _read_answer(request, await self._ask(request))
        except RequestLost as error:
            answer = _failed(request, str(error))
        except RemoteError as error:
            self._under_way -= 1
            self._reports.malformed(self._id, error)
            return
        self._under_way -= 1
        self._reports.arrived(self._id, answer)

    async def _ask(self, request: frames.RequestFrame) -> HttpResponse:
        if isinstance(request, frames.PublishRequest):
            came = partial(self._reports.bytes_came, self._id, "publishMany")
            return await self._http.request("POST", f"{self._path}/publish", frames.encode(request), bytes_came=came)
        parameters = msgspec.to_builtins(request)
        del parameters["type"]
        if request.report is not None:
            parameters["report"] = frames.encode(request.report).decode()
        came = partial(self._reports.bytes_came, self._id, "poll")
        return await self._http.request("GET", f"{self._path}/poll?{urlencode(parameters)}", bytes_came=came)


def _read_answer(request: frames.RequestFrame, answer: HttpResponse) -> frames.AnswerFrame | frames.RequestFailed:
    if answer.status == 200:
        return frames.decode_answer(request, answer.body)
    refusal = read_refusal(answer.status, answer.headers, answer.body)
    return _failed(request, refusal.message, refusal.code, refusal.retry_after_ms)


def _failed(
    request: frames.RequestFrame, message: str, code: int | None = None, retry_after_ms: int | None = None
) -> frames.RequestFailed:
    name: Literal["poll", "publishMany"] = "poll" if isinstance(request, frames.PollRequest) else "publishMany"
    return frames.RequestFailed(request=name, code=code, message=message, retry_after_ms=retry_after_ms)
