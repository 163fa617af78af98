"""The kit as a client: what a case uses to judge a server.

JudgedServer   the server's address and the tokens that it takes; one for all cases
ServerBench    the tools of one case: runs, WebSockets and HTTP calls, all closed at its end
"""

import itertools
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import jwt
import trio

from simulation.conformance.cases import CaseFailed, KitCase, NotApplicable, require
from simulation.conformance.frames import BadFrame, Frame, check_body, parse, shorten
from simulation.conformance.server_peer import ServerPeer
from simulation.conformance.wire import (
    SUBPROTOCOL,
    Dial,
    Headers,
    Lost,
    RawHttp,
    Response,
    Target,
    UpgradeRefused,
    open_websocket,
)

PATIENCE_S = 5.0
"""How long a server may take for what it is to do at once. Generous: it bounds no requirement, only the wait of a case."""
TOKEN_LIFE_S = 3600
BAD_TOKEN = "not-a-token-of-this-server"
STATUS_OF = {
    4001: 503, 4003: 408, 4008: 408, 4029: 429, 4030: 503, 4101: 409, 4102: 410, 4400: 400, 4401: 401, 4403: 403, 4404: 404,
    4406: 406, 4413: 413, 1002: 426, 1011: 500,
}  # fmt: skip
"""The table of 5.6."""


@dataclass
class JudgedServer:
    """A server, with the tokens and runs that the kit has been given.

    `tokens` are tokens of different users. `secret` signs tokens that the kit makes itself (HS256, with the claims of
    docs/operations.md). Without both, development tokens for new users are used (10.8). `wall_clock` gives seconds since 1970.
    `runs`: existing runs to use, one case at a time in each; empty: each case makes runs of its own. `dial` replaces TCP.
    """

    target: Target
    tokens: Sequence[str] = ()
    admin_token: str | None = None
    secret: bytes | None = field(default=None, repr=False)
    runs: Sequence[str] = ()
    patience_s: float = PATIENCE_S
    dial: Dial | None = None
    wall_clock: Callable[[], float] = time.time
    shared: str | None = None
    sharing: trio.Lock = field(default_factory=trio.Lock)
    free_runs: "tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]] | None" = None

    @asynccontextmanager
    async def open_bench(self, case: "KitCase[ServerBench]") -> "AsyncIterator[ServerBench]":
        """A bench for one case."""
        bench = ServerBench(self, secrets.token_hex(4))
        try:
            if self.runs:
                await bench.borrow()
            yield bench
        finally:
            with trio.CancelScope(shield=True):
                await bench.aclose()

    def lend(self) -> "tuple[trio.MemorySendChannel[str], trio.MemoryReceiveChannel[str]]":
        """The given runs that no case uses now."""
        if self.free_runs is None:
            self.free_runs = trio.open_memory_channel[str](len(self.runs))
            for run in self.runs:
                self.free_runs[0].send_nowait(run)
        return self.free_runs


class ServerBench:
    """The tools of one case."""

    def __init__(self, server: JudgedServer, name: str) -> None:
        self.server = server
        self.patience_s = server.patience_s
        self._name = name
        self._numbers = itertools.count(1)
        self._open: list[ServerPeer] = []
        self._lent: list[str] = []

    async def aclose(self) -> None:
        for each in self._open:
            if self._lent:
                await each.leave()  # else its user would stay present for the next case in this run
            await each.cut()
        for run in self._lent:
            self.server.lend()[0].send_nowait(run)

    # ---- who and where ----

    def token(self, user: int = 0) -> str:
        """A token of the case's n-th user. Raises NotApplicable if the kit has too few."""
        if self.server.secret is not None:
            return self.signed(user)
        if not self.server.tokens:
            return f"dev:kit-{self._name}-{user}"
        if user >= len(self.server.tokens):
            raise NotApplicable(f"needs tokens of {user + 1} users; give more with --token")
        return self.server.tokens[user]

    def signed(self, user: int = 0, *, life_s: int = TOKEN_LIFE_S, begins_s: int = 0, **claims: Any) -> str:
        """A token of that user, issued `begins_s` from now for `life_s`. Raises NotApplicable without a secret."""
        if self.server.secret is None:
            raise NotApplicable("needs tokens that the kit makes itself; give the server's secret with --secret-file")
        issued_s = int(self.server.wall_clock()) + begins_s
        content = {"sub": f"kit-{self._name}-{user}", "iat": issued_s, "exp": issued_s + life_s, **claims}
        return jwt.encode(content, self.server.secret, algorithm="HS256")

    def admin_token(self) -> str:
        """A token with the role admin. Raises NotApplicable if the kit has none."""
        if self.server.admin_token is not None:
            return self.server.admin_token
        if self.server.secret is not None:
            return self.signed(role="admin")
        if self.server.tokens:
            raise NotApplicable("needs a token with the role admin; give one with --admin-token")
        return "dev-admin:kit"

    def client_id(self) -> str:
        """A new client id."""
        return f"kit-{self._name}-{next(self._numbers)}"

    async def run(self, *, empty: bool = False) -> str:
        """A run for this case alone: a new one, or one of the given. `empty`: it must have no event yet."""
        if self.server.runs:
            if empty:
                raise NotApplicable("needs a new run; leave out --run")
            return self._lent[0]
        return await self._new_run()

    async def borrow(self) -> None:
        """Wait until one of the given runs is free; it is this bench's until it is closed."""
        self._lent.append(await self.server.lend()[1].receive())

    async def shared_run(self) -> str:
        """A run that other cases use at the same time: for cases that do not look at its log, since runs are limited, too."""
        if self.server.runs:
            return await self.run()
        async with self.server.sharing:
            if self.server.shared is None:
                self.server.shared = await self._new_run()
        return self.server.shared

    async def _new_run(self) -> str:
        run = str(uuid.uuid4())
        users = max(1, 0 if self.server.secret else len(self.server.tokens))
        for user in itertools.cycle(range(users)):
            response = await self.http("PUT", f"/api/runs/{run}", token=self.token(user))
            if response.status != 429:
                break
            problem = read_problem(response, 4029, "5.6", "PUT of a new run")  # runsPerUserPerMinuteMax
            await trio.sleep(0 if user < users - 1 else problem.get("retryAfterMs", 1000) / 1000)
        require(response.status == 201, "5.2", f"PUT of a new run was answered with {_shown(response)}, not with 201")
        return run

    # ---- WebSocket ----

    async def dial(self) -> trio.abc.Stream:
        """A stream to the server. Raises CaseFailed."""
        try:
            with trio.fail_after(self.patience_s):
                return await (self.server.dial or self.server.target.dial)()
        except (OSError, trio.TooSlowError) as error:
            raise CaseFailed("3.1", f"no connection to the server: {error or 'timeout'}") from None

    async def connect(
        self,
        run: str,
        *,
        user: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (SUBPROTOCOL,),
        query: str = "",
        receive_buffer_bytes: int | None = None,
    ) -> "ServerPeer":
        """An open WebSocket; with `user`, the upgrade brings that user's token. `receive_buffer_bytes` is for the kernel. Raises
        UpgradeRefused if the answer is not 101."""
        target = self.server.target
        path = f"{target.base_path}/ws/runs/{run}/collaboration{query}"
        lines = [*headers] if user is None else [("Authorization", f"Bearer {self.token(user)}"), *headers]
        stream = await self.dial()
        if receive_buffer_bytes is not None and isinstance(stream, trio.SocketStream):
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            with trio.fail_after(self.patience_s):
                websocket = await open_websocket(stream, path, target.authority, subprotocols=subprotocols, headers=lines)
        except (Lost, trio.TooSlowError, UpgradeRefused) as error:
            await trio.aclose_forcefully(stream)
            if isinstance(error, UpgradeRefused):
                raise
            why = f": {error}" if isinstance(error, Lost) else f" within {self.patience_s:g} s"
            raise CaseFailed("3.1", f"the upgrade was not answered{why}") from None
        peer = ServerPeer(websocket, self.patience_s)
        self._open.append(peer)
        return peer

    async def join(self, run: str, *, user: int = 0, client_id: str | None = None, **fields: Any) -> "ServerPeer":
        """A welcomed client; `fields` go into its `hello`."""
        peer = await self.upgraded(run)
        await peer.hello(token=self.token(user), clientId=client_id or self.client_id(), **fields)
        return peer

    async def turned_away(
        self, run: str, code: int, clause: str, *, upgrade: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        """A client with these fields in its `hello` must be closed with that code."""
        peer = await self.upgraded(run, **(upgrade or {}))
        await peer.send("hello", **{"protocol": 1, "clientId": self.client_id(), **fields})
        await peer.closed(code, clause)

    async def upgraded(self, run: str, **options: Any) -> "ServerPeer":
        """As `connect`; a refused upgrade is a failure."""
        try:
            return await self.connect(run, **options)
        except UpgradeRefused as refused:
            raise CaseFailed("3.1", f"the upgrade was refused: {_shown(refused.response)}") from None

    # ---- HTTP ----

    async def http(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        token: str | None = "",
        headers: Headers | None = None,
        within_s: float | None = None,
    ) -> Response:
        """One call on a connection of its own. `token`: "" is that of user 0, None sends none. `body`: bytes, or JSON."""
        lines = list(headers or [])
        if token is not None:
            lines.append(("Authorization", f"Bearer {token or self.token()}"))
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            lines.append(("Content-Type", "application/json"))
        target = self.server.target
        text = f"{target.base_path}{path}"
        if query:
            text += "?" + urlencode({name: _query(value) for name, value in query.items()}, doseq=True)
        within_s = within_s or self.patience_s
        connection = RawHttp(await self.dial(), target.authority)
        try:
            with trio.fail_after(within_s):
                return await connection.request(method, text, headers=lines, body=body or b"")
        except trio.TooSlowError:
            raise CaseFailed("5.2", f"{method} {path} was not answered within {within_s:g} s") from None
        except Lost as error:
            raise CaseFailed("5.1", f"{method} {path} was not answered: {error}") from None
        finally:
            await connection.aclose()

    async def problem(self, code: int, clause: str, method: str, path: str, **options: Any) -> Frame:
        """A call that must fail with this code, with the status of 5.6 and an HttpProblem."""
        response = await self.http(method, path, **options)
        return read_problem(response, code, clause, f"{method} {path}")

    async def poll(self, run: str, *, token: str = "", within_s: float | None = None, **query: Any) -> Frame:
        """The body of a poll, which must succeed."""
        path = f"/api/runs/{run}/collaboration/poll"
        response = await self.http("GET", path, query=query, token=token, within_s=within_s)
        require(response.status == 200, "5.2", f"a poll was answered with {_shown(response)}")
        polled = read_json(response, "polled")
        begins = polled["snapshot"]["sequenceNumber"] if polled.get("snapshot") else polled["afterSequence"]
        if polled["events"]:
            first = polled["events"][0]["sequenceNumber"]
            require(first == begins + 1, "4.21", f"the events of a poll begin with {first}, not with {begins} + 1")
        return polled

    async def publish_many(
        self, run: str, client_id: str, messages: Iterable[Frame], *, token: str = "", **fields: Any
    ) -> list[Frame]:
        """The results of a publish request, which must succeed."""
        listed = list(messages)
        body = {"clientId": client_id, "messages": listed, **fields}
        response = await self.http("POST", f"/api/runs/{run}/collaboration/publish", body=body, token=token)
        require(response.status == 200, "5.2", f"a publish request was answered with {_shown(response)}")
        results: list[Frame] = read_json(response, "published")["results"]
        found, sent = ([each["clientSequence"] for each in answers] for answers in (results, listed))
        require(found == sent, "4.21", f"results for {found} to messages {sent}; there is one for each, in their order")
        return results


def read_json(response: Response, name: str, clause: str = "4.21") -> Frame:
    """The body of a successful answer."""
    try:
        return check_body(parse(response.body), name, clause)
    except BadFrame as error:
        raise CaseFailed(error.clause if name != "HttpProblem" else "5.1", str(error)) from None


def read_problem(response: Response, code: int, clause: str, what: str) -> Frame:
    """The HttpProblem of an answer that must have that code and the status of 5.6."""
    require(response.status >= 400, clause, f"{what} was answered with {_shown(response)}, not with code {code}")
    problem = read_json(response, "HttpProblem")
    require(problem["code"] == code, clause, f"{what}: the code is {problem['code']}, not {code} ({_shown(response)})")
    status = STATUS_OF[code]
    require(response.status == status, "5.6", f"{what}: status {response.status} for code {code}, not {status}")
    wait = problem.get("retryAfterMs")
    if wait is not None:
        found = response.headers.get("retry-after")
        require(found == str(-(-wait // 1000)), "5.6", f"{what}: Retry-After is {found}, retryAfterMs {wait}")
    return problem


def graft(position: str, **data: Any) -> Frame:
    """The fields of a publish of a GRAFT."""
    return {"eventType": "GRAFT", "data": {"position": position, **data}}


def chat(number: int, text: str = "", **fields: Any) -> Frame:
    """A Message of a publish request."""
    return {"clientSequence": number, "eventType": "CHAT", "data": {"text": text}, **fields}


def _query(value: Any) -> Any:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _shown(response: Response) -> str:
    return f"HTTP status {response.status} {shorten(response.body.decode('utf-8', 'replace'))}".rstrip()
