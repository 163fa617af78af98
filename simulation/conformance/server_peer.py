"""ServerPeer: one WebSocket to the server under test, from the kit's side.

Each frame of the server is validated, and the rules of every connection are checked as frames arrive: frames before `welcome`,
the snapshot behind it, contiguous events, pongs and answers to frames of this connection. A ServerPeer reads only when a case
waits for something, so nothing happens behind a case's back.
"""

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from simulation.conformance.cases import CaseFailed, require
from simulation.conformance.frames import SERVER_FRAMES, Frame, check_frame, shorten
from simulation.conformance.wire import CLOSING_S_MAX, Binary, Closed, WebSocket


@dataclass
class ServerPeer:
    """One WebSocket to the server, from the kit's side."""

    websocket: WebSocket
    patience_s: float
    seen: list[Frame] = field(default_factory=list)
    events: list[Frame] = field(default_factory=list)
    _welcome: Frame | None = None
    snapshot: Frame | None = None
    position: int = 0
    present: set[str] = field(default_factory=set)
    cursors: dict[str, Any] = field(default_factory=dict)
    ended: Closed | None = None
    _greeting: Frame = field(default_factory=dict)
    _snapshot_due: bool = False
    _nonces: set[int] = field(default_factory=set)
    _published: dict[int, int] = field(default_factory=dict)

    @property
    def welcome(self) -> Frame:
        """The server's `welcome`; for a peer that has been welcomed."""
        assert self._welcome is not None, "it has not been welcomed"
        return self._welcome

    async def leave(self) -> None:
        """Say bye, if the connection is still there, and wait shortly for its end."""
        if self._welcome is None or self.ended is not None or self.websocket.ended is not None:
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
        """The next frame of which that holds. Raises CaseFailed if it does not come in time."""
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
        raise CaseFailed(clause, f"no {name}: {what}{said}; frames that came instead: {', '.join(heard[-8:]) or 'none'}")

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
            raise CaseFailed(clause, f"the server must close with {words}; after {within_s:g} s it has not")
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
            raise CaseFailed("3.2", f"a binary message of {len(message.data)} bytes; frames are text")
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
        if self._welcome is None:
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
        require(self._welcome is None, "3.8", "a second `welcome` on one connection")
        self._welcome, self.position = frame, frame["afterSequence"]
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


def _code(closed: Closed | None) -> str:
    if closed is None:
        return "still open"
    return f"code {closed.code}" if closed.code is not None else f"no code{f', {closed.reason}' if closed.reason else ''}"
