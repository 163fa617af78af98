"""The kit as a server: what a case uses to judge a client.

    ClientUnderTest    how the client is started; one for all cases
    ClientBench        what one case has: a listening port, the running client, its reports, and a model of one run
    Exchange           a request of the client that waits for the case's answer: an upgrade, a poll, or a publish request
    Connection         an accepted WebSocket; pings and publishes are answered in the background, unless a case says otherwise

Every frame and request of the client is validated, and the rules that hold on every connection are checked as frames arrive:
generations grow, the position is one that the client can have, publishes are numbered, complete, in order, and not sent twice.
"""

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import trio

from simulation.conformance.applications import Application, Assignment, Start
from simulation.conformance.cases import Case, Failed, require
from simulation.conformance.frames import (
    CLIENT_FRAMES,
    CRITICAL,
    BadFrame,
    Frame,
    check_body,
    check_frame,
    fold,
    parse,
    shorten,
)
from simulation.conformance.wire import CLOSING_S_MAX, SUBPROTOCOL, Binary, Closed, Request, ServedConnection, WebSocket

PATIENCE_S = 5.0
START_S_MAX = 30.0
"""For the start of the client's process, until its first request."""
SLACK_S = 2.5
"""How much later than the text says something may happen, on a loaded machine."""
SESSION_ID = "kit-session"
DEFAULTS: dict[str, Any] = {
    "connect_timeout_s": 10.0,
    "ping_interval_s": 10.0,
    "ping_timeout_s": 10.0,
    "steady_after_s": 10.0,
    "tail_timeout_s": 2.0,
    "fallback_after_failures": 5,
    "poll_interval_s": 2.0,
    "poll_wait_s": 0.0,
    "request_timeout_s": 10.0,
    "probe_interval_s": 15.0,
    "probe_jitter": 0.25,
    "retry_base_s": 1.0,
    "retry_limit": 3,
    "cursor_interval_s": 0.05,
    "ack_interval_s": 1.0,
    "policy": "full_jitter",
}
"""What the kit takes as the client's settings (9.2, 7.22), unless its `ready` says otherwise."""


class Log:
    """The run that the kit plays: a history, its epoch, and the publishes of the one client."""

    def __init__(self) -> None:
        self.epoch = _new_id("epoch")
        self.events: list[Frame] = []
        self.answers: dict[int, Frame] = {}
        self.newest_taken = 0
        self.base = 0

    @property
    def head(self) -> int:
        return self.base + len(self.events)

    def append(self, event_type: str = "CHAT", data: Frame | None = None, user: str = "kit-other") -> Frame:
        """A new event."""
        event = {
            "eventType": event_type,
            "userId": user,
            "timestamp": 1_795_438_800_000 + self.head,
            "sequenceNumber": self.head + 1,
            "data": {} if data is None else data,
            "isCritical": event_type in CRITICAL,
        }
        self.events.append(event)
        return event

    def after(self, number: int) -> list[Frame]:
        """The events after that number."""
        return self.events[max(0, number - self.base) :]

    def state(self, number: int) -> Frame:
        """The state at that number, as `snapshot.state`."""
        return fold(self.events[: number - self.base])

    def take(self, publish: Frame) -> tuple[Frame, Frame | None]:
        """The answer to a publish, and the event if it is new."""
        number = publish["clientSequence"]
        if number in self.answers:
            return self.answers[number] | {"duplicate": True}, None
        event = self.append(publish["eventType"], publish["data"], "kit-user")
        self.newest_taken = max(self.newest_taken, number)
        answer = {"type": "accepted", "clientSequence": number, "sequenceNumber": event["sequenceNumber"]}
        self.answers[number] = answer
        return answer, event

    def lose_history(self, events: int = 0) -> None:
        """Another epoch, with that many events of its own."""
        self.__init__()  # type: ignore[misc]
        for number in range(events):
            self.append("GRAFT", {"position": f"new-{number}"})


@dataclass
class Sent:
    """What the kit knows of one publish of the client."""

    event_type: str
    data: Frame
    is_settled: bool = False
    is_given_up: bool = False


@dataclass
class Memory:
    """What holds over the connections of one client."""

    client_id: str | None = None
    generation: int = 0
    session_id: str | None = None
    was_welcomed: bool = False
    epoch: str | None = None
    sent_up_to: int = 0
    known_up_to: int = 0
    publishes: dict[int, Sent] = field(default_factory=dict)
    first_number: int = 1

    @property
    def unanswered(self) -> list[int]:
        return [number for number, sent in sorted(self.publishes.items()) if not sent.is_settled]


class Exchange:
    """A request of the client, not yet answered. `at_s` is when it came."""

    def __init__(self, bench: "ClientBench", request: Request, connection: ServedConnection) -> None:
        self.bench = bench
        self.request = request
        self.at_s = trio.current_time()
        self.is_done = trio.Event()
        self.frame: Frame = {}
        self._connection = connection

    @property
    def kind(self) -> str:
        """upgrade, poll, publish, or other."""
        if self.request.is_upgrade:
            return "upgrade"
        path = self.request.path
        return path.rpartition("/")[2] if path.endswith(("/collaboration/poll", "/collaboration/publish")) else "other"

    async def accept(self, subprotocol: str | None = SUBPROTOCOL) -> "Connection":
        """Answer the upgrade with a WebSocket."""
        websocket = await self._connection.accept(self.request, subprotocol)
        connection = Connection(self.bench, websocket, self.request)
        self.bench.connections.append(connection)
        await self.bench.nursery.start(connection.run, self.is_done)
        return connection

    async def answer(self, status: int, body: Any, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer with JSON."""
        await self._connection.answer(status, json.dumps(body).encode(), headers)
        self.is_done.set()

    async def refuse(self, status: int, code: int, *, retry_after_ms: int | None = None) -> None:
        """Answer with an HttpProblem."""
        problem: Frame = {"code": code, "message": "the conformance kit says no"}
        headers = []
        if retry_after_ms is not None:
            problem["retryAfterMs"] = retry_after_ms
            headers.append(("Retry-After", str(-(-retry_after_ms // 1000))))
        await self.answer(status, problem, headers)

    async def drop(self) -> None:
        """End the connection without an answer."""
        await self._connection.aclose()
        self.is_done.set()


class Connection:
    """A WebSocket of the client, from the kit's side.

    `answers_pings`, `answers_publishes`: whether this happens in the background. `shows_events`: whether an event that is accepted
    is also sent.
    """

    def __init__(self, bench: "ClientBench", websocket: WebSocket, request: Request) -> None:
        self.bench = bench
        self.websocket = websocket
        self.request = request
        self.answers_pings = True
        self.answers_publishes = True
        self.shows_events = True
        self.hello: Frame = {}
        self.is_welcomed = False
        self.is_left = False
        self.frames: list[Frame] = []
        self.times_s: list[float] = []
        self.ended: Closed | None = None
        self.ended_s = 0.0
        self.position = 0
        self.limits = {"frameBytesMax": 65_536, "unansweredMax": 64, "publishesPerS": 200}
        self._news = trio.Condition()
        self.at_s = 0.0
        self._read = 0
        self._last_sent = 0
        self._pings = 0

    # ---- sending ----

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a frame; fields with the value None are left out."""
        frame = {"type": kind, **{name: value for name, value in fields.items() if value is not None}}
        if kind == "rejected":
            self._note_rejection(frame)
        elif kind == "accepted":
            self._note_settled(frame["clientSequence"])
        await self.send_raw(json.dumps(frame, ensure_ascii=False))

    async def send_raw(self, text: str) -> None:
        await self.websocket.send_text(text)

    async def welcome(self, outcome: str | None = None, *, limits: Frame | None = None, first_spread_ms: int = 200, **fields: Any) -> None:
        """Welcome the client at the place that its hello asks for, then send the snapshot and the events that follow."""
        log, memory = self.bench.log, self.bench.memory
        place = self._place() if outcome is None else {"outcome": outcome}
        after = place.pop("after", fields.get("afterSequence", log.head))
        self.limits |= limits or {}
        memory.session_id = fields.get("sessionId", memory.session_id or SESSION_ID)
        memory.was_welcomed, self.is_welcomed, self.position = True, True, after
        frame = {
            "sessionId": memory.session_id,
            "epoch": log.epoch,
            "oldest": log.base + 1,
            "head": log.head,
            "afterSequence": after,
            "lastClientSequence": log.newest_taken,
            "heartbeatMs": 15_000,
            "limits": self.limits,
            "retry": {"firstSpreadMs": first_spread_ms},
            "activeUsers": ["kit-user"],
            "cursorPositions": {},
            "serverTime": 1_795_438_800_000,
            **place,
            **fields,
        }
        await self.send("welcome", **frame)
        is_fresh = frame["outcome"] == "fresh" and self.hello.get("start", "snapshot") == "snapshot"
        if is_fresh or frame["outcome"] in ("reset", "snapshot"):
            await self.send("snapshot", sequenceNumber=after, state=log.state(after))
        self.bench.memory.epoch = log.epoch
        memory.sent_up_to = after
        await self.events(log.after(after))

    def _place(self) -> Frame:
        """The rules of 8.13 and 8.14."""
        log, after = self.bench.log, self.hello.get("afterSequence")
        if after is None:
            begins = {"snapshot": log.base, "oldest": log.base, "head": log.head}[self.hello.get("start", "snapshot")]
            return {"outcome": "fresh", "after": begins}
        if self.hello["epoch"] != log.epoch:
            return {"outcome": "reset", "reason": "epoch", "after": log.head}
        if after > log.head:
            return {"outcome": "reset", "reason": "ahead", "after": log.head}
        return {"outcome": "resumed", "after": after}

    async def events(self, events: list[Frame]) -> None:
        """Send these events in one frame."""
        if events:
            await self.send("events", events=events)
            self.note_sent(events)

    def note_sent(self, events: list[Frame]) -> None:
        """Move the position over those that follow it."""
        for event in events:
            if event["sequenceNumber"] == self.position + 1:
                self.position += 1
        self.bench.memory.sent_up_to = max(self.bench.memory.sent_up_to, self.position)

    async def append(self, event_type: str = "CHAT", data: Frame | None = None) -> Frame:
        """A new event, sent at once."""
        event = self.bench.log.append(event_type, data)
        await self.events([event])
        return event

    async def close(self, code: int, reason: str = "") -> None:
        """Close with that code; what the client still sends is ignored."""
        self.is_left = True
        self.ended_s = trio.current_time()
        await self.websocket.send_close(code, reason)
        with trio.move_on_after(CLOSING_S_MAX):
            async with self._news:
                while self.ended is None:
                    await self._news.wait()
        await self.websocket.cut()

    async def cut(self) -> None:
        """Cut the connection without a word."""
        self.is_left = True
        self.ended_s = trio.current_time()
        await self.websocket.cut()

    def fall_silent(self) -> None:
        """From now on nothing comes back, as when the network is gone: no frame, no pong of any kind."""
        self.answers_pings = self.answers_publishes = False
        self.websocket.is_deaf = True

    # ---- receiving ----

    async def expect(
        self, kind: str, clause: str, within_s: float = PATIENCE_S, where: Callable[[Frame], bool] = lambda frame: True
    ) -> Frame:
        """The next frame of that kind that no `expect` has passed yet, which came at `at_s`; others are passed over. Raises
        Failed."""
        heard = []
        with trio.move_on_after(within_s):
            async with self._news:
                while True:
                    while self._read < len(self.frames):
                        frame = self.frames[self._read]
                        self.at_s = self.times_s[self._read]
                        self._read += 1
                        if frame["type"] == kind and where(frame):
                            return frame
                        heard.append(frame["type"])
                    if self.ended is not None:
                        break
                    await self._news.wait()
        state = "" if self.ended is None else f"; the client ended the connection (code {self.ended.code})"
        raise Failed(clause, f"no `{kind}` within {within_s:g} s{state}; frames that came instead: {', '.join(heard[-8:]) or 'none'}")

    async def left(self, clause: str, within_s: float, codes: Sequence[int | None] = ()) -> Closed:
        """Wait until the client leaves; with `codes`, its close code must be one of them."""
        with trio.move_on_after(within_s):
            async with self._news:
                while self.ended is None:
                    await self._news.wait()
        if self.ended is None:
            raise Failed(clause, f"the client must leave this connection; after {within_s:g} s it has not")
        found = self.ended.code
        require(not codes or found in codes, clause, f"the client left with {found}, not with {' or '.join(map(str, codes))}")
        return self.ended

    async def run(self, is_done: trio.Event, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Read until the end of the connection, and answer what is answered in the background."""
        task_status.started()
        try:
            while True:
                message = await self.websocket.receive()
                if isinstance(message, Closed):
                    self.ended, self.ended_s = message, self.ended_s or trio.current_time()
                    return
                if self.is_left:
                    continue
                if isinstance(message, Binary):
                    raise Failed("3.2", "the client sent a binary message; frames are text")
                size = len(message.text.encode())
                most = self.limits["frameBytesMax"]
                require(size <= most, "7.3", f"the client sent a frame of {size} bytes; frameBytesMax is {most}")
                frame = check_frame(message.text, CLIENT_FRAMES)
                self._check(frame)
                async with self._news:
                    self.frames.append(frame)
                    self.times_s.append(trio.current_time())
                    self._news.notify_all()
                await self._answer(frame)
        finally:
            is_done.set()
            with trio.CancelScope(shield=True):
                async with self._news:
                    self.ended = self.ended or Closed(None)
                    self._news.notify_all()

    async def _answer(self, frame: Frame) -> None:
        match frame["type"]:
            case "ping" if self.answers_pings:
                await self.send("pong", nonce=frame["nonce"], serverTime=1_795_438_800_000)
            case "publish" if self.answers_publishes:
                await self.accept(frame)
            case "bye":
                self.is_left = True
                await self.websocket.send_close(1000)

    async def accept(self, publish: Frame) -> None:
        """Take a publish: its acceptance, then its event."""
        answer, event = self.bench.log.take(publish)
        await self.send(**{"kind": answer["type"], **{name: value for name, value in answer.items() if name != "type"}})
        if event is not None and self.shows_events:
            await self.events([event])

    # ---- the rules of every connection ----

    def _check(self, frame: Frame) -> None:
        kind, memory = frame["type"], self.bench.memory
        if not self.hello:
            require(kind == "hello", "3.6", f"the first frame is `{kind}`, not `hello`")
            self._check_hello(frame)
            return
        require(kind != "hello", "3.7", "a second `hello` on one connection")
        require(self.is_welcomed or kind == "bye", "3.7", f"`{kind}` was sent before `welcome`")
        if kind == "publish":
            self._check_publish(frame)
        elif kind == "ack":
            number = frame["sequenceNumber"]
            require(number <= self.position, "4.5", f"ack of {number}; on this connection {self.position} was sent")
            memory.known_up_to = max(memory.known_up_to, number)

    def _check_hello(self, frame: Frame) -> None:
        memory = self.bench.memory
        self.hello = frame
        require(frame["protocol"] == 1, "4.2", f"hello with protocol {frame['protocol']}")
        header = self.request.headers.get("authorization")
        require(header or frame.get("token") is not None, "3.4", "a token neither in the upgrade nor in hello")
        if header:
            require(header.startswith("Bearer "), "3.4", "the Authorization header of the upgrade is not `Bearer`")
        self.bench.check_identity(frame, "4.2")
        if memory.was_welcomed:
            found = frame.get("sessionId")
            if memory.session_id is not None:
                require(found == memory.session_id, "2.4", f"hello names the session {found}, welcome said {memory.session_id}")
        self.bench.check_position(frame.get("epoch"), frame.get("afterSequence"), "4.2")

    def _check_publish(self, frame: Frame) -> None:
        number = frame["clientSequence"]
        require(
            number > self._last_sent, "7.8", f"publish {number} was sent after {self._last_sent} on the same connection: again, or out of order"
        )
        waiting = [other for other in self.bench.memory.unanswered if self._last_sent < other < number]
        require(not waiting, "7.8", f"publish {number} was sent before {waiting[:5]}, which are unanswered and older")
        self._last_sent = number
        self.bench.check_publish(frame)
        most = min(64, self.limits["unansweredMax"])
        count = len(self.bench.memory.unanswered)
        require(count <= most, "7.4", f"{count} publishes are unanswered; unansweredMax is {most}")

    def _note_rejection(self, frame: Frame) -> None:
        number = frame["clientSequence"]
        if frame.get("retryable"):
            self._last_sent = min(self._last_sent, number - 1)
        else:
            self._note_settled(number)
            self.bench.memory.publishes[number].is_given_up = True

    def _note_settled(self, number: int) -> None:
        sent = self.bench.memory.publishes.get(number)
        if sent is not None:
            sent.is_settled = True


class ClientBench:
    """What one case works with."""

    def __init__(self, nursery: trio.Nursery, name: str) -> None:
        self.nursery = nursery
        self.run_id = str(uuid.uuid4())
        self.token = f"dev:kit-{name}"
        self.log = Log()
        self.memory = Memory()
        self.connections: list[Connection] = []
        self.requests: list[Exchange] = []
        self.reports: list[Frame] = []
        self.settings: dict[str, Any] = dict(DEFAULTS)
        self.application: Application | None = None
        self.closed_s = 0.0
        self._arriving, self._arrived = trio.open_memory_channel[Exchange](64)
        self._news = trio.Condition()
        self._passed = 0
        self._has_ended = False

    # ---- the network ----

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One TCP connection of the client: one request after another."""
        connection = ServedConnection(stream)
        try:
            while (request := await connection.read_request()) is not None:
                exchange = Exchange(self, request, connection)
                self._check_request(exchange)
                self.requests.append(exchange)
                await self._arriving.send(exchange)
                await exchange.is_done.wait()
                if exchange.kind == "upgrade" and any(each.request is request for each in self.connections):
                    return
        finally:
            with trio.CancelScope(shield=True):
                await connection.aclose()

    def _check_request(self, exchange: Exchange) -> None:
        request = exchange.request
        require(self.token not in request.target.replace("%3A", ":"), "3.4", f"the token is in a URL: {request.target}")
        if exchange.kind == "upgrade":
            path = f"/ws/runs/{self.run_id}/collaboration"
            require(request.path == path, "3.1", f"an upgrade of {request.path}, not of {path}")
            require(SUBPROTOCOL in request.subprotocols, "3.1", f"the subprotocols {request.subprotocols} were offered, not {SUBPROTOCOL}")
            return
        header = request.headers.get("authorization", "")
        require(header.startswith("Bearer "), "5.1", f"{request.method} {request.path} without `Authorization: Bearer`")
        if exchange.kind == "poll":
            exchange.frame = check_body(_query_of(request), "poll")
        elif exchange.kind == "publish":
            try:
                exchange.frame = check_body(parse(request.body), "publishMany")
            except BadFrame as error:
                raise Failed("4.21", f"a publish request: {error}") from None

    async def exchange(self, clause: str, within_s: float = PATIENCE_S) -> Exchange:
        """The next request of the client, of any kind."""
        with trio.move_on_after(within_s):
            return await self._arrived.receive()
        raise Failed(clause, f"no request of the client within {within_s:g} s")

    async def upgrade(self, clause: str = "7.20", within_s: float = PATIENCE_S) -> Exchange:
        """The next request, which must be an upgrade."""
        found = await self.exchange(clause, within_s)
        require(found.kind == "upgrade", clause, f"{found.request.method} {found.request.path} came, not an upgrade")
        return found

    async def connection(self, clause: str = "7.20", within_s: float = PATIENCE_S, **welcome: Any) -> Connection:
        """The next WebSocket, its hello read and answered with a welcome at the right place."""
        connection = await (await self.upgrade(clause, within_s)).accept()
        await connection.expect("hello", "3.6")
        await connection.welcome(**welcome)
        return connection

    async def first(self, **welcome: Any) -> Connection:
        """The first WebSocket of a client that is being started, welcomed."""
        return await self.connection("3.1", START_S_MAX, **welcome)

    async def again(self, before: Connection, clause: str, *, failures: int = 1, **welcome: Any) -> Connection:
        """The WebSocket after one that has ended, welcomed; it must come in the time that the policy allows (7.22)."""
        return await self.connection(clause, self.latest_s(failures), **welcome)

    def latest_s(self, failures: int, first_spread_s: float = 0.2) -> float:
        """How long the wait before the next attempt may be, after so many failures in a row, with slack (7.22)."""
        if self.settings["policy"] != "full_jitter":
            return 40.0
        wait_s = first_spread_s if failures == 0 else 0.25 + min(30.0, 2.0 ** (failures - 1))
        return wait_s + SLACK_S

    async def nothing(self, seconds: float, clause: str, why: str) -> None:
        """No request may come for that long."""
        with trio.move_on_after(seconds):
            found = await self._arrived.receive()
            raise Failed(clause, f"{found.request.method} {found.request.path} came, {why}")

    # ---- HTTP ----

    async def answer_poll(self, exchange: Exchange) -> list[Frame]:
        """Answer a poll from the model; returns the events in the answer."""
        query, log = exchange.frame, self.log
        after = query.get("afterSequence")
        snapshot, reason = None, None
        if after is None:
            outcome, after = "fresh", log.head if query.get("start") == "head" else log.base
        elif query.get("epoch", log.epoch) != log.epoch:
            outcome, reason, after = "reset", "epoch", log.head
        elif after > log.head:
            outcome, reason, after = "reset", "ahead", log.head
        else:
            outcome = "resumed"
        if outcome == "reset" or (outcome == "fresh" and query.get("start", "snapshot") == "snapshot"):
            snapshot = {"type": "snapshot", "sequenceNumber": after, "state": log.state(after)}
        events = log.after(after)
        self.memory.epoch, self.memory.sent_up_to = log.epoch, log.head
        self.memory.session_id = self.memory.session_id or SESSION_ID
        body = {
            "runId": self.run_id,
            "sessionId": self.memory.session_id,
            "epoch": log.epoch,
            "outcome": outcome,
            "reason": reason,
            "oldest": log.base + 1,
            "head": log.head,
            "afterSequence": after,
            "lastClientSequence": log.newest_taken,
            "events": events,
            "hasMore": False,
            "snapshot": snapshot,
            "activeUsers": ["kit-user"],
            "cursorPositions": {},
            "serverTime": 1_795_438_800_000,
        }
        await exchange.answer(200, {name: value for name, value in body.items() if value is not None})
        return events

    async def answer_publish(self, exchange: Exchange) -> list[Frame]:
        """Answer a publish request from the model; returns its messages."""
        messages: list[Frame] = exchange.frame.get("messages", [])
        results = []
        for message in messages:
            answer, _ = self.log.take(message)
            self.memory.publishes[message["clientSequence"]].is_settled = True
            results.append(answer)
        await exchange.answer(200, {"results": results, "epoch": self.log.epoch})
        return messages

    def check_poll(self, exchange: Exchange) -> None:
        """The rules for a poll of a client on polling."""
        self.check_identity(exchange.frame, "7.27", is_poll=True)
        self.check_position(exchange.frame.get("epoch"), exchange.frame.get("afterSequence"), "7.25")

    def check_request(self, exchange: Exchange) -> None:
        """The rules for a publish request."""
        self.check_identity(exchange.frame, "7.26", is_poll=True)
        for message in exchange.frame.get("messages", []):
            self.check_publish(message)

    # ---- the rules over all connections ----

    def check_identity(self, frame: Frame, clause: str, *, is_poll: bool = False) -> None:
        """The client id stays; a WebSocket has a higher generation than anything before, requests not a lower one (2.6)."""
        memory, found = self.memory, frame.get("clientId")
        memory.client_id = memory.client_id or found
        require(found == memory.client_id, "2.2", f"the client id changed from {memory.client_id} to {found}")
        generation = frame.get("generation", 1)
        is_above = generation >= memory.generation if is_poll else generation > memory.generation
        require(is_above, "2.6", f"generation {generation} after {memory.generation}")
        memory.generation = generation

    def check_position(self, epoch: str | None, after: int | None, clause: str) -> None:
        """A position is the last event that was handed over (2.8), so it is between what is known to be and what was sent."""
        memory = self.memory
        if memory.epoch is None:
            require(after is None, clause, f"the first position is after {after}, but nothing has ever come")
            return
        if after is None:
            require(False, clause, f"no position, although the client has been given events up to {memory.sent_up_to}")
            return
        require(epoch == memory.epoch, clause, f"the position is in the epoch {epoch}, not in {memory.epoch}")
        within = memory.known_up_to <= after <= memory.sent_up_to
        require(
            within, "2.8", f"the position is {after}; known to be handed over is {memory.known_up_to}, sent was {memory.sent_up_to}"
        )

    def check_publish(self, publish: Frame) -> None:
        """Numbers 1, 2, 3, ...; a number keeps its content; holes are declared."""
        memory, number = self.memory, publish["clientSequence"]
        known = memory.publishes.get(number)
        if known is not None:
            same = known.event_type == publish["eventType"] and known.data == publish["data"]
            require(same, "7.4", f"publish {number} was sent again with another content: {shorten(publish)}")
            require(not known.is_settled, "7.1", f"publish {number} was sent again after its final answer")
        else:
            following = max(memory.publishes, default=memory.first_number - 1) + 1
            require(number == following, "7.4", f"a new publish has the number {number}, not {following}")
            memory.publishes[number] = Sent(publish["eventType"], publish["data"])
        after, before = publish.get("after"), memory.publishes.get(number - 1)
        if after is None and before is not None:
            require(
                not before.is_given_up, "7.6", f"publish {number} leaves `after` out, but {number - 1} was given up"
            )
        if after is not None:
            waiting = [other for other in memory.unanswered if other < number]
            allowed = {0, *waiting[-1:], number - 1}
            require(after in allowed, "7.6", f"publish {number} says after {after}; unanswered before it is {waiting[-1:] or 'none'}")

    # ---- the application ----

    async def publish(self, tag: str, event_type: str = "CHAT", data: Frame | None = None) -> None:
        """Let the application publish."""
        await self._command({"publish": {"tag": tag, "eventType": event_type, "data": data or {"tag": tag}}})

    async def move_cursor(self, data: Frame) -> None:
        await self._command({"cursor": data})

    async def give_token(self, token: str) -> None:
        await self._command({"token": token})

    async def close(self) -> None:
        """Let the application end the session."""
        self.closed_s = trio.current_time()
        await self._command({"close": {}})

    async def _command(self, command: Frame) -> None:
        assert self.application is not None
        await self.application.send(command)

    async def report(
        self, name: str, clause: str, within_s: float = PATIENCE_S, where: Callable[[Frame], bool] = lambda content: True
    ) -> Frame:
        """The content of the next report of that kind. Others are passed over; they stay in `reports`."""
        with trio.move_on_after(within_s):
            async with self._news:
                while True:
                    while self._passed < len(self.reports):
                        report = self.reports[self._passed]
                        self._passed += 1
                        if name in report and where(report[name]):
                            content: Frame = report[name]
                            return content
                    if self._has_ended:
                        raise Failed(clause, f"the program ended before it reported `{name}`")
                    await self._news.wait()
        raise Failed(clause, f"the application did not report `{name}` within {within_s:g} s")

    def all_of(self, name: str) -> list[Frame]:
        """The contents of all reports of that kind so far."""
        return [report[name] for report in self.reports if name in report]

    def delivered(self) -> list[int]:
        """The numbers of all events that the application was given, in their order."""
        return [event["sequenceNumber"] for event in self.all_of("event") if event.get("sequenceNumber") is not None]

    async def delivered_up_to(self, number: int, clause: str = "7.12", within_s: float = PATIENCE_S) -> list[int]:
        """Wait until the application has been given that event; all numbers so far."""
        if number not in self.delivered():
            await self.report("event", clause, within_s, where=lambda event: event.get("sequenceNumber") == number)
        return self.delivered()

    async def read_reports(self) -> None:
        """In the background: the lines of the program."""
        assert self.application is not None
        while (report := await self.application.receive()) is not None:
            async with self._news:
                self.reports.append(report)
                if "ready" in report:
                    self.settings |= report["ready"].get("settings", {})
                if "failed" in report:
                    self._note_given_up(report["failed"]["tag"])
                number = report.get("event", {}).get("sequenceNumber")
                if number is not None:
                    self._check_delivery(report["event"])
                self._news.notify_all()
        async with self._news:
            self._has_ended = True
            self._news.notify_all()

    def _note_given_up(self, tag: str) -> None:
        for sent in self.memory.publishes.values():
            if sent.data.get("tag") == tag and not sent.is_settled:
                sent.is_settled = sent.is_given_up = True

    async def accepted(self, tags: Sequence[str], clause: str, within_s: float = PATIENCE_S) -> list[Frame]:
        """Wait until each of these publishes is reported accepted, in any order, and check that none is twice."""
        missing = set(tags)
        with trio.move_on_after(within_s):
            async with self._news:
                while missing := missing - {content["tag"] for content in self.all_of("accepted")}:
                    if self._has_ended:
                        break
                    await self._news.wait()
        require(not missing, clause, f"{', '.join(sorted(missing))} was not reported accepted within {within_s:g} s")
        found = [content for content in self.all_of("accepted") if content["tag"] in tags]
        require(len(found) == len(tags), clause, f"{len(tags)} publishes were reported accepted {len(found)} times")
        return found

    def _check_delivery(self, event: Frame) -> None:
        """Nothing twice, nothing out of order, nothing changed, between two snapshots (7.12)."""
        last = 0
        for report in self.reports[:-1]:
            if report.get("event", {}).get("sequenceNumber") is not None:
                last = report["event"]["sequenceNumber"]
            elif "snapshot" in report or "reset" in report:
                last = next(iter(report.values()))["sequenceNumber"]
        number = event["sequenceNumber"]
        first = last == 0 and not any("snapshot" in report for report in self.reports)
        require(first or number == last + 1, "7.12", f"the application was given event {number} after {last}")


@dataclass
class ClientUnderTest:
    """A client, and how it is started. `listen` replaces TCP: it makes the streams of the client arrive at `serve`."""

    start: Start
    listen: "Callable[[trio.Nursery, ClientBench], str] | None" = None

    @asynccontextmanager
    async def open_bench(self, case: Case[ClientBench]) -> AsyncIterator[ClientBench]:
        """A bench for one case, with the client started."""
        async with trio.open_nursery() as nursery:
            bench = ClientBench(nursery, secrets.token_hex(4))
            if self.listen is None:
                [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
                nursery.start_soon(trio.serve_listeners, bench.serve, [listener])
                url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            else:
                url = self.listen(nursery, bench)
            async with self.start(Assignment(url, bench.run_id, bench.token)) as application:
                bench.application = application
                nursery.start_soon(bench.read_reports)
                yield bench
                nursery.cancel_scope.cancel()


def _query_of(request: Request) -> Frame:
    """A query as a frame: integers and objects are read as such."""
    frame: Frame = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        if name in ("afterSequence", "waitMs", "generation"):
            frame[name] = int(value) if value.isascii() and value.isdigit() else value
        elif name == "report":
            frame[name] = parse(value)
        else:
            frame[name] = value
    return frame


def _new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(6)}"
