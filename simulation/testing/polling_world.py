"""A world around a server under test whose clients have no WebSocket: they poll, publish over HTTP, and return to WebSocket.

A client whose WebSockets are blocked falls back by itself; its requests arrive at once, their answers when they are delivered.
After a lost answer it is unknown whether the request was served, so everything is requested again. Answers over HTTP are checked
with frames over WebSocket: a number is one event on both, a publish has one number on both, and an answer to a poll continues
from the position of its request. When the faults stop, polling must deliver everything, and then every client must return to a
WebSocket.
"""

from typing import ClassVar

import msgspec

from reference.protocol import frames
from reference.protocol.actions import Open
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import HttpProblem, RemoteError
from reference.protocol.states import Transport
from simulation.testing.server_world import CONFIG, Guest, ServerWorld, Violated
from simulation.testing.under_test import PollingServerUnderTest
from simulation.trace.messages import MessageLog
from simulation.trace.wording import words_of

RETURN_ROUNDS = 20
"""Seconds for everyone to come back: a few probes, and what a failed one costs."""


class PollingGuest(Guest):
    """polling: the session's name for its polling transport, None while it has none. requests: under way, by their numbers."""

    world: "PollingServerWorld"

    def __init__(self, name: str, session: ClientSession, world: "PollingServerWorld") -> None:
        super().__init__(name, session, world)
        self.polling: int | None = None
        self.requests: dict[int, frames.RequestFrame] = {}

    def open(self, action: Open) -> None:
        if action.transport is Transport.WEBSOCKET:
            super().open(action)
            return
        self.world.message_log.note(self.name, "goes on over HTTP", self.world.now)
        self.polling = action.connection_id

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            self.world.ask(self, frame)
        else:
            super().send(connection_id, frame)

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        if connection_id == self.polling:
            self.polling = None
            self.world.forsake_all(self)
        else:
            super().close(connection_id, code, message)


class PollingServerWorld(ServerWorld):
    """See the module."""

    config: ClassVar[ClientConfig] = msgspec.structs.replace(
        CONFIG, fallback_after_failures=1, poll_interval_s=0.5, poll_wait_s=1.0, probe_interval_s=2.0, probe_interval_max_s=4.0
    )

    def __init__(self, server: PollingServerUnderTest, message_log: MessageLog | None = None) -> None:
        super().__init__(server, message_log)
        self._http = server

    # What can happen.

    def block(self, client: int) -> None:
        """A client's WebSocket breaks, and every new one is refused on the way; HTTP passes."""
        guest = self._pick(client)
        if guest is not None:
            guest.is_blocked = True
            self.cut(client)

    def unblock(self, client: int) -> None:
        """WebSockets pass again; the client finds out by its next probe."""
        guest = self._pick(client)
        if guest is not None:
            guest.is_blocked = False

    def answer(self, client: int) -> None:
        """The answers that the server has given to a client's requests arrive."""
        self._bring_answers(client)
        self.judge()

    def _bring_answers(self, client: int) -> None:
        guest = self._pick(client)
        assert isinstance(guest, PollingGuest), "somebody has joined"
        for number in tuple(guest.requests):
            if number in guest.requests and (text := self._http.answer(number)) is not None:
                self._hear_answer(guest, number, text)

    def lose_answers(self, client: int) -> None:
        """The connections of a client's requests break: they have been served or not, and it will not learn which."""
        guest = self._pick(client)
        assert isinstance(guest, PollingGuest), "somebody has joined"
        for number in tuple(guest.requests):
            if number in guest.requests:
                self._http.forsake(number)
                self._fail(guest, number)

    def crash(self) -> None:
        for client in range(len(self.guests)):
            self.lose_answers(client)
        super().crash()

    def settle(self) -> None:
        """Faults stop, but for what is blocked: polling must be enough for everyone to have everything. Then nothing is blocked,
        and everyone must be back on a WebSocket, and on nothing else."""
        self.stop_faults()
        self.come_to_rest(is_blocked=True)
        for client in range(len(self.guests)):
            self.unblock(client)
        self._let_pass(RETURN_ROUNDS)
        self.journal.rests()
        self.judge()

    # The guests' IO.

    def ask(self, guest: PollingGuest, frame: frames.RequestFrame) -> None:
        """A guest makes a request, which arrives at once."""
        self._connections += 1
        number = self._connections
        guest.requests[number] = frame
        self.message_log.sent((number, "up"), guest.name, "server", words_of(frame), self.now)
        if self.is_down:
            self._fail(guest, number)
            return
        self.message_log.arrived((number, "up"), self.now)
        self._http.ask(number, guest.name, frames.encode(frame).decode())

    def forsake_all(self, guest: PollingGuest) -> None:
        """A guest waits for no answer any more."""
        for number in guest.requests:
            self._http.forsake(number)
        guest.requests.clear()

    def _new_guest(self, name: str, session: ClientSession) -> Guest:
        return PollingGuest(name, session, self)

    def _bring_everything(self, client: int) -> None:
        super()._bring_everything(client)
        self._bring_answers(client)

    def _fail(self, guest: PollingGuest, number: int, problem: HttpProblem | None = None) -> None:
        kind: frames.RequestKind = "poll" if isinstance(guest.requests.pop(number), frames.PollRequest) else "publishMany"
        if problem is None:
            failure = frames.RequestFailed(request=kind, code=None, message="the connection broke", retry_after_ms=None)
        else:
            code, wait_ms = problem.code if 4000 <= problem.code <= 4999 else None, problem.retry_after_ms
            failure = frames.RequestFailed(request=kind, code=code, message=problem.message, retry_after_ms=wait_ms)
        self.message_log.note(guest.name, f"gets no answer to its {kind}: {failure.message}", self.now)
        self._receive(guest, failure)

    def _receive(self, guest: PollingGuest, frame: frames.Frame) -> None:
        assert guest.polling is not None, "a polling transport that is left has no requests"
        self.journal.hears(guest.name, guest.polling, frame, begins_anywhere=guest.session.position[0] is None)
        guest.driver.receive(guest.polling, (frame,), self.now)

    def _hear_answer(self, guest: PollingGuest, number: int, text: str) -> None:
        request = guest.requests[number]
        try:
            frame = frames.decode_answer(request, text.encode())
        except RemoteError as error:
            try:
                problem = msgspec.json.decode(text, type=HttpProblem)
            except msgspec.DecodeError:
                raise Violated("form", f"{guest.name} was answered what is no answer: {error.message}") from None
            self._fail(guest, number, problem)
            return
        self.message_log.sent((number, "down"), "server", guest.name, words_of(frame), self.now)
        self.message_log.arrived((number, "down"), self.now)
        if isinstance(request, frames.PublishRequest) and isinstance(frame, frames.PublishAnswer):
            asked = [message.client_sequence for message in request.messages]
            answered = [result.client_sequence for result in frame.results]
            if asked != answered:
                raise Violated("form", f"{guest.name} published {asked} and got results for {answered}")
        asked_after = request.after_sequence if isinstance(request, frames.PollRequest) else None
        self.journal.brings(guest.name, number, frame, guest.session.position[0] or "", asked_after)
        del guest.requests[number]
        self._receive(guest, frame)
