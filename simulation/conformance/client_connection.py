"""A client's requests and WebSockets, from the kit's side.

ClientExchange     a request that waits for the case's answer: an upgrade, a poll, or a publish request
ClientConnection   an accepted WebSocket; pings and publishes are answered in the background, unless a case says otherwise
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import trio

from simulation.conformance.cases import CaseFailed, require
from simulation.conformance.client_model import PATIENCE_S, SESSION_ID, Log, Memory
from simulation.conformance.frames import CLIENT_FRAMES, Frame, check_frame
from simulation.conformance.wire import CLOSING_S_MAX, SUBPROTOCOL, Binary, Closed, RawRequest, ServedConnection, WebSocket


class Bench(Protocol):
    """What a connection needs of `client_bench`: the log, what is known of the client, and the rules for both."""

    nursery: trio.Nursery
    log: Log
    memory: Memory
    connections: "list[ClientConnection]"

    def check_identity(self, frame: Frame) -> None: ...

    def check_position(self, epoch: str | None, after: int | None, clause: str) -> None: ...

    def check_publish(self, message: Frame) -> None: ...


class ClientExchange:
    """A request of the client, not yet answered. `at_s` is when it came."""

    def __init__(self, bench: Bench, request: RawRequest, connection: ServedConnection) -> None:
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

    async def accept(self, subprotocol: str | None = SUBPROTOCOL) -> "ClientConnection":
        """Answer the upgrade with a WebSocket."""
        websocket = await self._connection.accept(self.request, subprotocol)
        connection = ClientConnection(self.bench, websocket, self.request)
        self.bench.connections.append(connection)
        await self.bench.nursery.start(connection.run, self.is_done)
        return connection

    async def greeted(self, clause: str = "3.6") -> "ClientConnection":
        """Answer the upgrade with a WebSocket, and read its `hello`."""
        connection = await self.accept()
        await connection.expect("hello", clause)
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


class ClientConnection:
    """A WebSocket of the client, from the kit's side.

    `answers_pings`, `answers_publishes`: whether this happens in the background.
    """

    def __init__(self, bench: Bench, websocket: WebSocket, request: RawRequest) -> None:
        self.bench = bench
        self.websocket = websocket
        self.request = request
        self.answers_pings = True
        self.answers_publishes = True
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

    async def welcome(
        self, outcome: str | None = None, *, limits: Frame | None = None, first_spread_ms: int = 200, **fields: Any
    ) -> None:
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
        CaseFailed."""
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
        raise CaseFailed(
            clause, f"no `{kind}` within {within_s:g} s{state}; frames that came instead: {', '.join(heard[-8:]) or 'none'}"
        )

    async def left(self, clause: str, within_s: float, codes: Sequence[int | None] = ()) -> Closed:
        """Wait until the client leaves; with `codes`, its close code must be one of them."""
        with trio.move_on_after(within_s):
            async with self._news:
                while self.ended is None:
                    await self._news.wait()
        if self.ended is None:
            raise CaseFailed(clause, f"the client must leave this connection; after {within_s:g} s it has not")
        found = self.ended.code
        require(not codes or found in codes, clause, f"the client left with {found}, not with {' or '.join(map(str, codes))}")
        return self.ended

    async def run(self, is_done: trio.Event, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Read until the end of the connection, and give the automatic answers."""
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
                    raise CaseFailed("3.2", "the client sent a binary message; frames are text")
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
        if event is not None:
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
        self.bench.check_identity(frame)
        if memory.was_welcomed:
            found = frame.get("sessionId")
            if memory.session_id is not None:
                require(found == memory.session_id, "2.4", f"hello names the session {found}, welcome said {memory.session_id}")
        self.bench.check_position(frame.get("epoch"), frame.get("afterSequence"), "4.2")

    def _check_publish(self, frame: Frame) -> None:
        number = frame["clientSequence"]
        require(
            number > self._last_sent,
            "7.8",
            f"publish {number} was sent after {self._last_sent} on the same connection: again, or out of order",
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
