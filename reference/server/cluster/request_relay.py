"""RequestRelay: carries requests that were admitted here to the owners of their runs.

A request is sent with its whole body (the front door limits its size); the answer is passed on as it arrives. If the owner cannot
be reached, or says that it is not the owner, the owner is looked up again, as in `upgrade_relay`; if it fails after that, the
client is asked to retry. Publishing twice does no harm, because the owner recognises copies.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import httpcore
import trio

from reference.protocol.errors import CloseCode
from reference.server.cluster.router import HOP_BY_HOP, MISDIRECTED, RELAYED, Router, come_back, forwarded
from reference.server.cluster.upgrade_relay import CONNECT_S_MAX, REACH_PAUSE_S, REACH_S_MAX
from reference.server.http.request import PARAMETERS_MAX, Request, wait_until_gone
from reference.server.registry import canonical_run_id
from reference.server.wire.exchange import Send
from reference.server.wire.request_head import HttpRefusal, RequestHead
from reference.store.base import ProcessAddress

CONNECTIONS_MAX = 256
"""To all other processes together, for requests that are answered at once."""
WAITING_MAX = 1024
"""Polls that wait at other processes, each on its own connection in addition to those. Further polls are relayed as polls that do
not wait, so that they never block a publish."""
IDLE_CONNECTIONS_MAX = 32
"""Connections kept open for later requests."""
IDLE_S_MAX = 20.0
"""Less than the time for which the other side keeps an idle connection."""
READ_S_MAX = 60.0
"""Between two pieces of an answer; long polls take less."""
POOL_S_MAX = 5.0
"""For a request to get a connection when all are in use."""

_WAIT = "waitMs"
_NOT_REACHED = (httpcore.ConnectError, httpcore.ConnectTimeout)
_TIMEOUTS = {"connect": CONNECT_S_MAX, "read": READ_S_MAX, "write": CONNECT_S_MAX, "pool": POOL_S_MAX}


def connection_pool(connections_max: int = CONNECTIONS_MAX) -> httpcore.AsyncConnectionPool:
    """For requests to the other processes; the caller closes it."""
    return httpcore.AsyncConnectionPool(
        max_connections=connections_max,
        max_keepalive_connections=IDLE_CONNECTIONS_MAX,
        keepalive_expiry=IDLE_S_MAX,
        network_backend=httpcore.TrioBackend(),
    )


class RequestRelay:
    """The relayed requests of one process."""

    def __init__(self, router: Router, pool: httpcore.AsyncConnectionPool, count_failure: Callable[[], None]) -> None:
        """`pool`: for requests that are answered at once; its owner closes it."""
        self._router = router
        self._count_failure = count_failure
        self._pool = pool
        self._waiting_pool = connection_pool(WAITING_MAX)
        self._waiting: dict[_Answer, trio.CancelScope] = {}
        self._going_away: HttpRefusal | None = None

    async def aclose(self) -> None:
        """Close the connections of polls that wait."""
        await self._waiting_pool.aclose()

    def go_away(self, retry_after_ms: int) -> None:
        """Answer the polls that wait at other processes: their clients are asked to retry."""
        self._going_away = HttpRefusal(503, CloseCode.GOING_AWAY, "the server is going away", retry_after_ms=retry_after_ms)
        for answer, scope in self._waiting.items():
            if not answer.has_begun:
                scope.cancel()

    async def serve(self, request: Request, body: bytes, send: Send) -> bool:
        """As application.Elsewhere."""
        if request.head.header(RELAYED) is not None:  # `Router.check_relayed` has believed it
            return False
        run_id = canonical_run_id(request.run_id)
        place = await self._router.place_of(run_id)
        if place is None:
            return False
        answered: HttpRefusal | bool = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_until_gone, request.receive, nursery.cancel_scope)
            answered = await self._carry(request.head, run_id, place, body, send)
            nursery.cancel_scope.cancel()
        if isinstance(answered, HttpRefusal):
            if answered is not self._going_away:
                self._count_failure()
            raise answered
        return answered

    async def _carry(
        self, head: RequestHead, run_id: str, place: ProcessAddress | None, body: bytes, send: Send
    ) -> HttpRefusal | bool:
        """Let the owner answer the request. False if this process is the owner by now, a refusal if no process can be reached."""
        give_up_at = trio.current_time() + REACH_S_MAX
        while place is not None:
            if self._going_away is not None:
                return self._going_away
            answer = _Answer(send)
            try:
                await self._ask(head, place, body, answer)
                return True if answer.has_begun else self._going_away or True
            except (*_NOT_REACHED, _MisdirectedError):
                self._router.forget(run_id)
                if trio.current_time() >= give_up_at:
                    return come_back("the process that serves this run cannot be reached")
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
                self._router.forget(run_id)
                # The answer has begun and cannot be replaced; the front door cuts the connection.
                return True if answer.has_begun else come_back("the process that serves this run did not answer")
            await trio.sleep(REACH_PAUSE_S)
            place = await self._router.place_of(run_id)
        return False

    async def _ask(self, head: RequestHead, place: ProcessAddress, body: bytes, answer: "_Answer") -> None:
        is_readable = head.query.count(b"&") < PARAMETERS_MAX  # else the owner refuses it
        query = parse_qsl(head.query.decode("latin-1"), keep_blank_values=True, encoding="latin-1") if is_readable else []
        if not any(name == _WAIT and value.strip("0") for name, value in query):
            await self._ask_over(self._pool, head, head.target, place, body, answer)
        elif len(self._waiting) >= WAITING_MAX:
            now = urlencode([(name, "0" if name == _WAIT else value) for name, value in query], encoding="latin-1")
            await self._ask_over(self._pool, head, head.raw_path + b"?" + now.encode(), place, body, answer)
        else:
            with trio.CancelScope() as scope:
                self._waiting[answer] = scope
                try:
                    await self._ask_over(self._waiting_pool, head, head.target, place, body, answer)
                finally:
                    del self._waiting[answer]

    async def _ask_over(
        self,
        pool: httpcore.AsyncConnectionPool,
        head: RequestHead,
        target: bytes,
        place: ProcessAddress,
        body: bytes,
        answer: "_Answer",
    ) -> None:
        url = httpcore.URL(scheme=b"http", host=place.host.encode(), port=place.port, target=target)
        headers = forwarded(head, place, without=(*HOP_BY_HOP, b"content-length"))
        extensions = {"timeout": _TIMEOUTS}
        async with pool.stream(head.method, url, headers=headers, content=body or None, extensions=extensions) as response:
            if response.status == MISDIRECTED:
                raise _MisdirectedError
            await answer.begin(response)
            async for piece in response.aiter_stream():
                await answer.go_on(piece)
        await answer.end()


class _MisdirectedError(Exception):
    """The process no longer serves the run."""


class _Answer:
    """The owner's answer, passed on to the client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    async def begin(self, response: httpcore.Response) -> None:
        self.has_begun = True
        headers = [(name.lower(), value) for name, value in response.headers]
        headers = [(name, value) for name, value in headers if name not in HOP_BY_HOP]
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})

    async def go_on(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})
