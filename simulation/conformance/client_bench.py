"""The kit as a server: what a case uses to judge a client.

    JudgedClient    how the client is started; one for all cases
    ClientBench     the tools of one case: a listening port, the running client, its reports, and a model of one run

Every frame and request of the client is validated, and the rules that hold on every connection are checked as frames arrive:
generations grow, the position is one that the client can have, publishes are numbered, complete, in order, and not sent twice.
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import trio

from simulation.conformance.applications import Application, Assignment, Start
from simulation.conformance.cases import CaseFailed, KitCase, require
from simulation.conformance.client_connection import ClientConnection, ClientExchange
from simulation.conformance.client_model import DEFAULTS, PATIENCE_S, SESSION_ID, SLACK_S, START_S_MAX, Log, Memory, Sent
from simulation.conformance.frames import BadFrame, Frame, check_body, parse, shorten
from simulation.conformance.wire import SUBPROTOCOL, RawRequest, ServedConnection


class ClientBench:
    """The tools of one case."""

    def __init__(self, nursery: trio.Nursery, name: str, client_ids: set[str]) -> None:
        self.nursery = nursery
        self._client_ids = client_ids
        self.run_id = str(uuid.uuid4())
        self.token = f"dev:kit-{name}"
        self.log = Log()
        self.memory = Memory()
        self.connections: list[ClientConnection] = []
        self.requests: list[ClientExchange] = []
        self.reports: list[Frame] = []
        self.settings: dict[str, Any] = dict(DEFAULTS)
        self.application: Application | None = None
        self._arriving, self._arrived = trio.open_memory_channel[ClientExchange](64)
        self._news = trio.Condition()
        self._passed = 0
        self._has_ended = False

    # ---- the network ----

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One TCP connection of the client: one request after another."""
        connection = ServedConnection(stream)
        try:
            while (request := await connection.read_request()) is not None:
                exchange = ClientExchange(self, request, connection)
                self._check_request(exchange)
                self.requests.append(exchange)
                await self._arriving.send(exchange)
                await exchange.is_done.wait()
                if exchange.kind == "upgrade" and any(each.request is request for each in self.connections):
                    return
        finally:
            with trio.CancelScope(shield=True):
                await connection.aclose()

    def _check_request(self, exchange: ClientExchange) -> None:
        request = exchange.request
        require(self.token not in request.target.replace("%3A", ":"), "3.4", f"the token is in a URL: {request.target}")
        if exchange.kind == "upgrade":
            path = f"/ws/runs/{self.run_id}/collaboration"
            require(request.path == path, "3.1", f"an upgrade of {request.path}, not of {path}")
            require(
                SUBPROTOCOL in request.subprotocols,
                "3.1",
                f"the subprotocols {request.subprotocols} were offered, not {SUBPROTOCOL}",
            )
            return
        header = request.headers.get("authorization", "")
        require(header.startswith("Bearer "), "5.1", f"{request.method} {request.path} without `Authorization: Bearer`")
        if exchange.kind == "poll":
            exchange.frame = check_body(_query_of(request), "poll")
        elif exchange.kind == "publish":
            try:
                exchange.frame = check_body(parse(request.body), "publishMany")
            except BadFrame as error:
                raise CaseFailed("4.21", f"a publish request: {error}") from None

    async def exchange(self, clause: str, within_s: float = PATIENCE_S) -> ClientExchange:
        """The next request of the client, of any kind."""
        with trio.move_on_after(within_s):
            return await self._arrived.receive()
        raise CaseFailed(clause, f"no request of the client within {within_s:g} s")

    async def upgrade(self, clause: str = "7.20", within_s: float = PATIENCE_S) -> ClientExchange:
        """The next request, which must be an upgrade."""
        found = await self.exchange(clause, within_s)
        require(found.kind == "upgrade", clause, f"{found.request.method} {found.request.path} came, not an upgrade")
        return found

    async def connection(self, clause: str = "7.20", within_s: float = PATIENCE_S, **welcome: Any) -> ClientConnection:
        """The next WebSocket, its hello read and answered with a welcome at the right place."""
        connection = await (await self.upgrade(clause, within_s)).greeted()
        await connection.welcome(**welcome)
        return connection

    async def first(self, **welcome: Any) -> ClientConnection:
        """The first WebSocket of a client that is being started, welcomed."""
        return await self.connection("3.1", START_S_MAX, **welcome)

    async def again(self, before: ClientConnection, clause: str, *, failures: int = 1, **welcome: Any) -> ClientConnection:
        """The WebSocket after one that has ended, welcomed; it must come in the time that the policy allows (7.22)."""
        upgrade = await self.upgrade(clause, self.latest_s(failures))
        waited_s = upgrade.at_s - before.ended_s
        if before.is_left and self.settings["policy"] == "full_jitter":  # else the client knew of the end before the kit did
            require(
                waited_s >= 0.24, "7.22", f"after {failures} failures the next attempt came after {waited_s:.2f} s, not 0.25 s"
            )
        connection = await upgrade.greeted()
        await connection.welcome(**welcome)
        return connection

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
            raise CaseFailed(clause, f"{found.request.method} {found.request.path} came, {why}")

    # ---- HTTP ----

    async def answer_poll(self, exchange: ClientExchange) -> list[Frame]:
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

    async def answer_publish(self, exchange: ClientExchange) -> list[Frame]:
        """Answer a publish request from the model; returns its messages."""
        messages: list[Frame] = exchange.frame.get("messages", [])
        results = []
        for message in messages:
            answer, _ = self.log.take(message)
            self.memory.publishes[message["clientSequence"]].is_settled = True
            results.append(answer)
        await exchange.answer(200, {"results": results, "epoch": self.log.epoch})
        return messages

    def check_poll(self, exchange: ClientExchange) -> None:
        """The rules for a poll of a client on polling."""
        self.check_identity(exchange.frame, is_request=True)
        self.check_position(exchange.frame.get("epoch"), exchange.frame.get("afterSequence"), "7.25")

    def check_request(self, exchange: ClientExchange) -> None:
        """The rules for a publish request."""
        self.check_identity(exchange.frame, is_request=True)
        for message in exchange.frame.get("messages", []):
            self.check_publish(message)

    # ---- the rules over all connections ----

    def check_identity(self, frame: Frame, *, is_request: bool = False) -> None:
        """The client id stays; a WebSocket has a higher generation than anything before, requests not a lower one (2.6)."""
        memory, found = self.memory, frame.get("clientId")
        if memory.client_id is None and found is not None:
            require(found not in self._client_ids, "2.2", f"two programs have the client id {found}")
            self._client_ids.add(found)
            memory.client_id = found
        require(found == memory.client_id, "2.2", f"the client id changed from {memory.client_id} to {found}")
        generation = frame.get("generation", 1)
        is_above = generation >= memory.generation if is_request else generation > memory.generation
        require(is_above, "2.6", f"generation {generation} after {memory.generation}")
        memory.generation = generation

    def check_position(self, epoch: str | None, after: int | None, clause: str) -> None:
        """A position (2.8) is not below the last event known to be handed over, nor above the last one sent."""
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
            within,
            "2.8",
            f"the position is {after}; known to be handed over is {memory.known_up_to}, sent was {memory.sent_up_to}",
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
            require(not before.is_given_up, "7.6", f"publish {number} leaves `after` out, but {number - 1} was given up")
        if after is not None:
            waiting = [other for other in memory.unanswered if other < number]
            allowed = {0, *waiting[-1:], number - 1}
            require(
                after in allowed, "7.6", f"publish {number} says after {after}; unanswered before it is {waiting[-1:] or 'none'}"
            )

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
                        raise CaseFailed(clause, f"the program ended before it reported `{name}`")
                    await self._news.wait()
        raise CaseFailed(clause, f"the application did not report `{name}` within {within_s:g} s")

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
        if not self.all_of("ended"):
            words = await self.application.last_words()
            raise CaseFailed("contract", f"the program ended before it reported `ended`: {words}")

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
class JudgedClient:
    """A client, and how it is started. `listen` replaces TCP: it makes the streams of the client arrive at `serve`."""

    start: Start
    listen: "Callable[[trio.Nursery, ClientBench], str] | None" = None
    _client_ids: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def open_bench(self, case: KitCase[ClientBench]) -> AsyncIterator[ClientBench]:
        """A bench for one case, with the client started."""
        async with trio.open_nursery() as nursery:
            bench = ClientBench(nursery, secrets.token_hex(4), self._client_ids)
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


def _query_of(request: RawRequest) -> Frame:
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
