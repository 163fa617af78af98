"""The kit as a client: what a case uses to judge a server.

    ServerUnderTest   the server's address and the tokens that it takes; one for all cases
    ServerBench       the tools of one case: runs, WebSockets and HTTP calls, all closed at its end
    Peer              one WebSocket; each frame of the server is validated, and the rules that hold on every connection are
                      checked as frames arrive: what may come before `welcome`, whether a snapshot follows it, that events are
                      contiguous, that pongs and answers belong to what this connection has sent

A Peer reads only when a case waits for something, so nothing happens behind a case's back.
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

from simulation.conformance.cases import Case, Failed, NotApplicable, require
from simulation.conformance.frames import SERVER_FRAMES, BadFrame, Frame, check_body, check_frame, parse, shorten
from simulation.conformance.wire import (
    CLOSING_S_MAX,
    SUBPROTOCOL,
    Binary,
    Closed,
    Dial,
    Headers,
    HttpConnection,
    Lost,
    Refused,
    Response,
    Target,
    WebSocket,
    open_websocket,
)

PATIENCE_S = 5.0
"""How long a server may take for what it is to do at once. Generous: it bounds no requirement, only the wait of a case."""
TOKEN_LIFE_S = 3600
STATUS_OF = {
    4001: 503, 4003: 408, 4008: 408, 4029: 429, 4030: 503, 4101: 409, 4102: 410, 4400: 400, 4401: 401, 4403: 403, 4404: 404,
    4406: 406, 4413: 413, 1002: 426, 1011: 500,
}  # fmt: skip
"""The table of 5.6."""


@dataclass
class ServerUnderTest:
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
    async def open_bench(self, case: "Case[ServerBench]") -> "AsyncIterator[ServerBench]":
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

    def __init__(self, server: ServerUnderTest, name: str) -> None:
        self.server = server
        self.patience_s = server.patience_s
        self._name = name
        self._numbers = itertools.count(1)
        self._open: list[Peer | HttpConnection] = []
        self._lent: list[str] = []

    async def aclose(self) -> None:
        for each in self._open:
            if self._lent and isinstance(each, Peer):
                await each.leave()  # else its user would stay present for the next case in this run
            await each.aclose()
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
        """A stream to the server. Raises Failed."""
        try:
            with trio.fail_after(self.patience_s):
                return await (self.server.dial or self.server.target.dial)()
        except (OSError, trio.TooSlowError) as error:
            raise Failed("3.1", f"no connection to the server: {error or 'timeout'}") from None

    async def connect(
        self,
        run: str,
        *,
        user: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (SUBPROTOCOL,),
        query: str = "",
        receive_buffer_bytes: int | None = None,
    ) -> "Peer":
        """An open WebSocket; with `user`, the upgrade brings that user's token. `receive_buffer_bytes` is for the kernel. Raises
        Refused if the answer is not 101."""
        target = self.server.target
        path = f"{target.base_path}/ws/runs/{run}/collaboration{query}"
        lines = [*headers] if user is None else [("Authorization", f"Bearer {self.token(user)}"), *headers]
        stream = await self.dial()
        if receive_buffer_bytes is not None and isinstance(stream, trio.SocketStream):
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            with trio.fail_after(self.patience_s):
                websocket = await open_websocket(stream, path, target.authority, subprotocols=subprotocols, headers=lines)
        except Lost as error:
            await trio.aclose_forcefully(stream)
            raise Failed("3.1", f"the upgrade was not answered: {error}") from None
        except trio.TooSlowError:
            await trio.aclose_forcefully(stream)
            raise Failed("3.1", f"the upgrade was not answered within {self.patience_s:g} s") from None
        except Refused:
            await trio.aclose_forcefully(stream)
            raise
        peer = Peer(websocket, self.patience_s)
        self._open.append(peer)
        return peer

    async def join(self, run: str, *, user: int = 0, client_id: str | None = None, **fields: Any) -> "Peer":
        """A welcomed client; `fields` go into its `hello`."""
        peer = await self.upgraded(run)
        await peer.hello(token=self.token(user), clientId=client_id or self.client_id(), **fields)
        return peer

    async def upgraded(self, run: str, **options: Any) -> "Peer":
        """As `connect`; a refused upgrade is a failure."""
        try:
            return await self.connect(run, **options)
        except Refused as refused:
            raise Failed("3.1", f"the upgrade was refused: {_shown(refused.response)}") from None

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
        connection = HttpConnection(await self.dial(), target.authority)
        try:
            with trio.fail_after(within_s):
                return await connection.request(method, text, headers=lines, body=body or b"")
        except trio.TooSlowError:
            raise Failed("5.2", f"{method} {path} was not answered within {within_s:g} s") from None
        except Lost as error:
            raise Failed("5.1", f"{method} {path} was not answered: {error}") from None
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


@dataclass
class Peer:
    """One WebSocket to the server, from the kit's side."""

    websocket: WebSocket
    patience_s: float
    seen: list[Frame] = field(default_factory=list)
    events: list[Frame] = field(default_factory=list)
    welcome: Frame | None = None
    snapshot: Frame | None = None
    position: int = 0
    present: set[str] = field(default_factory=set)
    cursors: dict[str, Any] = field(default_factory=dict)
    ended: Closed | None = None
    _greeting: Frame = field(default_factory=dict)
    _snapshot_due: bool = False
    _nonces: set[int] = field(default_factory=set)
    _published: dict[int, int] = field(default_factory=dict)

    async def aclose(self) -> None:
        await self.websocket.cut()

    async def leave(self) -> None:
        """Say bye, if the connection is still there, and wait shortly for its end."""
        if self.welcome is None or self.ended is not None or self.websocket.ended is not None:
            return
        await self.websocket.send_text('{"type":"bye"}')
        with trio.move_on_after(CLOSING_S_MAX):
            while not isinstance(await self.websocket.receive(), Closed):
                pass

    async def cut(self) -> None:
        """End the connection without a word."""
        await self.websocket.cut()

    # ---- sending ----

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame; fields with the value None are left out."""
        frame = {"type": kind, **{name: value for name, value in fields.items() if value is not None}}
        self._note(frame)
        await self.websocket.send_text(json.dumps(frame, ensure_ascii=False))

    async def send_frames(self, frames: Sequence[Frame]) -> None:
        """Several frames in one piece."""
        for frame in frames:
            self._note(frame)
        await self.websocket.send_all([json.dumps(frame, ensure_ascii=False) for frame in frames])

    async def send_raw(self, text: str, **noted: Any) -> None:
        """Any text as one message; `noted` is what it says, if the server may answer it."""
        self._note(noted)
        await self.websocket.send_text(text)

    async def send_binary(self, data: bytes, **noted: Any) -> None:
        """As `send_raw`, as a binary message."""
        self._note(noted)
        await self.websocket.send_binary(data)

    async def hello(self, **fields: Any) -> Frame:
        """Greet, and return the welcome (and have read the snapshot, if one must follow)."""
        await self.send("hello", **{"protocol": 1, **fields})
        welcome = await self.expect("welcome", "3.8")
        if self._snapshot_due:
            await self.expect("snapshot", "8.14")
        return welcome

    async def publish(self, number: int, text: str = "", *, clause: str = "8.2", **fields: Any) -> Frame:
        """Publish a CHAT, or what `fields` say, and return the answer to that number."""
        await self.send("publish", **{"clientSequence": number, "eventType": "CHAT", "data": {"text": text}, **fields})
        return await self.answer(number, clause)

    async def answer(self, number: int, clause: str = "8.2", within_s: float | None = None) -> Frame:
        """The next answer to that publish."""
        return await self.find(
            lambda frame: frame["type"] in ("accepted", "rejected") and frame["clientSequence"] == number,
            f"answer to publish {number}",
            clause,
            within_s,
        )

    async def answers(self, numbers: Iterable[int], clause: str = "8.2") -> list[Frame]:
        """The next answer to each of these publishes, in the order of the numbers; they may come in any."""
        found: dict[int, Frame] = {}
        missing = set(numbers)

        def note(frame: Frame) -> bool:
            if frame["type"] in ("accepted", "rejected") and frame["clientSequence"] in missing:
                found[frame["clientSequence"]] = frame
                missing.discard(frame["clientSequence"])
            return not missing

        if missing:
            await self.find(note, f"answers to publishes {min(missing)} to {max(missing)}", clause)
        return [found[number] for number in sorted(found)]

    # ---- receiving ----

    async def expect(
        self, kind: str, clause: str, within_s: float | None = None, where: Callable[[Frame], bool] = lambda frame: True
    ) -> Frame:
        """The next frame of that kind; others are checked, noted in `seen`, and passed over."""
        return await self.find(lambda frame: frame["type"] == kind and where(frame), f"`{kind}`", clause, within_s)

    async def find(self, is_it: Callable[[Frame], bool], name: str, clause: str, within_s: float | None = None) -> Frame:
        """The next frame of which that holds. Raises Failed if it does not come in time."""
        within_s = self.patience_s if within_s is None else within_s
        start = len(self.seen)
        with trio.move_on_after(within_s):
            while True:
                frame = await self._next()
                if frame is None:
                    break
                if is_it(frame):
                    return frame
        heard = [frame["type"] for frame in self.seen[start:]]
        what = f"the connection was closed ({_code(self.ended)})" if self.ended else f"not within {within_s:g} s"
        error = next((frame["message"] for frame in reversed(self.seen) if frame["type"] == "error"), None)
        said = f'; the server said "{error}"' if error else ""
        raise Failed(clause, f"no {name}: {what}{said}; frames that came instead: {', '.join(heard[-8:]) or 'none'}")

    async def until(self, condition: Callable[[], bool], name: str, clause: str, within_s: float | None = None) -> None:
        """Read until the condition holds."""
        if not condition():
            await self.find(lambda frame: condition(), name, clause, within_s)

    async def events_up_to(self, number: int, clause: str = "8.16", within_s: float | None = None) -> list[Frame]:
        """Read until the event with that number is there; all events of this connection so far."""
        await self.until(lambda: self.position >= number, f"event {number}", clause, within_s)
        return self.events

    async def settle(self, clause: str = "4.17") -> list[Frame]:
        """Ping and read until the pong: everything that the server sent before has been read. Returns these frames."""
        start, nonce = len(self.seen), secrets.randbelow(2**40)
        await self.send("ping", nonce=nonce)
        await self.expect("pong", clause, where=lambda frame: frame["nonce"] == nonce)
        return self.seen[start:]

    async def quiet(self, seconds: float) -> list[Frame]:
        """Read for that long, and return the frames that came."""
        start = len(self.seen)
        with trio.move_on_after(seconds):
            while await self._next() is not None:
                pass
        return self.seen[start:]

    async def closed(self, codes: int | Sequence[int], clause: str, within_s: float | None = None) -> Closed:
        """Wait until the server closes, which must be with that code (or one of them)."""
        wanted = [codes] if isinstance(codes, int) else list(codes)
        within_s = self.patience_s if within_s is None else within_s
        with trio.move_on_after(within_s):
            while await self._next() is not None:
                pass
        words = " or ".join(map(str, wanted))
        if self.ended is None:
            raise Failed(clause, f"the server must close with {words}; after {within_s:g} s it has not")
        reason = f' "{self.ended.reason}"' if self.ended.reason else ""
        require(self.ended.code in wanted, clause, f"closed with {_code(self.ended)}{reason}, not with {words}")
        for frame in self.seen:
            if frame["type"] in ("error", "goaway"):
                found = frame["code"]
                require(found == self.ended.code, "3.10", f"`{frame['type']}` has {found}, the close {self.ended.code}")
        return self.ended

    async def alive(self, clause: str) -> None:
        """The connection still answers."""
        await self.settle(clause)

    async def _next(self) -> Frame | None:
        """The next frame, checked; None at the end of the connection."""
        if self.ended is not None:
            return None
        message = await self.websocket.receive()
        if isinstance(message, Closed):
            self.ended = message
            return None
        if isinstance(message, Binary):
            raise Failed("3.2", f"a binary message of {len(message.data)} bytes; frames are text")
        frame = check_frame(message.text, SERVER_FRAMES)
        self._check(frame)
        self.seen.append(frame)
        return frame

    # ---- the rules of every connection ----

    def _note(self, frame: Frame) -> None:
        match frame.get("type"):
            case "hello":
                self._greeting = frame
            case "ping":
                self._nonces.add(frame["nonce"])
            case "publish":
                number = frame["clientSequence"]
                self._published[number] = self._published.get(number, 0) + 1

    def _check(self, frame: Frame) -> None:
        kind = frame["type"]
        if self.welcome is None:
            require(kind in ("welcome", "goaway", "error"), "3.8", f"`{kind}` came before `welcome`: {shorten(frame)}")
        elif self._snapshot_due:
            require(kind in ("snapshot", "goaway", "error"), "3.8", f"`{kind}` came between `welcome` and its snapshot")
        match kind:
            case "welcome":
                self._check_welcome(frame)
            case "snapshot":
                self._check_snapshot(frame)
            case "events":
                self._check_events(frame["events"])
            case "heartbeat":
                head = frame["head"]
                require(head == self.position, "4.16", f"heartbeat with head {head} to a reader that has {self.position}")
            case "pong":
                nonce = frame["nonce"]
                require(nonce in self._nonces, "4.17", f"a pong with nonce {nonce}, which this connection has not sent")
                self._nonces.discard(nonce)
            case "accepted" | "rejected":
                number = frame["clientSequence"]
                left = self._published.get(number, 0)
                require(left > 0, "8.2", f"`{kind}` for publish {number}, more often than it was sent on this connection")
                self._published[number] = left - 1
            case "presence":
                self._check_presence(frame)
            case "cursors":
                self.cursors = dict(frame["full"]) if frame.get("full") is not None else self.cursors
                self.cursors |= frame.get("moved", {})

    def _check_welcome(self, frame: Frame) -> None:
        require(self.welcome is None, "3.8", "a second `welcome` on one connection")
        self.welcome, self.position = frame, frame["afterSequence"]
        self.present, self.cursors = set(frame["activeUsers"]), dict(frame["cursorPositions"])
        outcome, has_position = frame["outcome"], "afterSequence" in self._greeting
        require((outcome == "fresh") != has_position, "8.13", f"outcome {outcome} for a hello with position: {has_position}")
        start = self._greeting.get("start", "snapshot")
        self._snapshot_due = outcome in ("snapshot", "reset") or (outcome == "fresh" and start == "snapshot")
        if outcome == "resumed":
            found, asked = frame["afterSequence"], self._greeting["afterSequence"]
            require(found == asked, "8.14", f"resumed after {found}, although {asked} was asked for")

    def _check_snapshot(self, frame: Frame) -> None:
        require(self._snapshot_due, "8.14", "a snapshot that `welcome` did not announce, or a second one")
        self._snapshot_due, self.snapshot = False, frame
        assert self.welcome is not None
        number, after = frame["sequenceNumber"], self.welcome["afterSequence"]
        require(number == after, "4.9", f"a snapshot at {number}, although `welcome` said afterSequence {after}")
        self.position = number

    def _check_events(self, events: list[Frame]) -> None:
        require(events, "4.11", "an `events` frame without events")
        for event in events:
            number = event["sequenceNumber"]
            require(number == self.position + 1, "4.11", f"event {number} came after {self.position} on the same connection")
            self.position = number
        self.events += events

    def _check_presence(self, frame: Frame) -> None:
        joined, left = frame.get("joined", []), frame.get("left", [])
        require(not set(joined) & set(left), "4.12", f"{set(joined) & set(left)} both joined and left")
        if frame.get("full") is not None:
            self.present = set(frame["full"])
        self.present = (self.present | set(joined)) - set(left)
        self.cursors = {user: data for user, data in self.cursors.items() if user in self.present}


def read_json(response: Response, name: str, clause: str = "4.21") -> Frame:
    """The body of a successful answer."""
    try:
        return check_body(parse(response.body), name, clause)
    except BadFrame as error:
        raise Failed(error.clause if name != "HttpProblem" else "5.1", str(error)) from None


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


def _code(closed: Closed | None) -> str:
    if closed is None:
        return "still open"
    return f"code {closed.code}" if closed.code is not None else f"no code{f', {closed.reason}' if closed.reason else ''}"
