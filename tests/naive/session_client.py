"""Our own session behind the small interface for clients; `forgets`: what it does wrong on purpose."""

import msgspec

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import HttpProblem, RemoteError
from reference.protocol.events import Data, Event
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.saved_session import Change
from reference.protocol.states import Transport
from reference.protocol.timers import ns
from tests.protocol.machines import Always


class SessionClient:
    """A `simulation.testing.ClientUnderTest`, and the `ClientIO` of its session."""

    is_forgetful = False
    config = ClientConfig(start="oldest", fallback_after_failures=None, retry_limit=1000)

    def __init__(self) -> None:
        self._session = ClientSession("c", config=self.config, policy=FullJitter(cap_s=1.0), random_source=Always(0.5))
        self._driver = ClientDriver(self._session, self)
        self._now = 0
        self._wishes: list[int] = []
        self._sent: list[tuple[int, str]] = []
        self._delivered: list[int] = []
        self._driver.feed(self._session.start, 0)

    def publish(self, event_type: str, data: Data) -> None:
        self._driver.feed(self._session.publish, event_type, data, self._now)

    def wishes(self) -> list[int]:
        wishes, self._wishes = self._wishes, []
        return wishes

    def opened(self, connection: int) -> None:
        self._driver.feed(self._session.connection_opened, connection, self._now)

    def sent(self) -> list[tuple[int, str]]:
        sent, self._sent = self._sent, []
        return sent

    def receive(self, connection: int, text: str) -> None:
        self._driver.receive(connection, (frames.decode_server_frame(text),), self._now)

    def lost(self, connection: int, code: int | None) -> None:
        if self.is_forgetful:
            self._session._publishing.outbox.clear()
        self._driver.feed(self._session.connection_lost, connection, code, self._now)

    def advance(self, seconds: float) -> None:
        self._now += ns(seconds)
        self._driver.ring(self._now)

    def delivered(self) -> list[int]:
        delivered, self._delivered = self._delivered, []
        return delivered

    # ClientIO.

    def observe(self, actions: list[ClientAction]) -> None:
        pass

    def open(self, action: Open) -> None:
        self._wishes.append(action.connection_id)

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        self._sent.append((connection_id, frames.encode(frame).decode()))

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        pass

    def pause(self, connection_id: int) -> None:
        pass

    def resume(self, connection_id: int) -> None:
        pass

    def save(self, change: Change) -> None:
        raise AssertionError("this session does not save")

    def refresh_token(self) -> None:
        pass

    def deliver(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Event) and outcome.sequence_number is not None:
                self._delivered.append(outcome.sequence_number)

    def set_alarm(self, deadline: int | None) -> None:
        pass


class ForgetfulClient(SessionClient):
    """What was not answered is gone with the connection."""

    is_forgetful = True


class PollingSessionClient(SessionClient):
    """A `simulation.testing.PollingClientUnderTest`."""

    config = msgspec.structs.replace(
        SessionClient.config, fallback_after_failures=1, probe_interval_s=3.0, probe_interval_max_s=6.0
    )

    def __init__(self) -> None:
        self._asked: list[tuple[int, str]] = []
        self._requests: dict[int, tuple[int, frames.RequestFrame]] = {}
        self._last_request = 1_000_000  # far from the names of connections
        super().__init__()

    def asked(self) -> list[tuple[int, str]]:
        asked, self._asked = self._asked, []
        return asked

    def answered(self, request: int, text: str) -> None:
        if request in self._requests:
            polling, frame = self._requests.pop(request)
            try:
                answer: frames.Frame = frames.decode_answer(frame, text.encode())
            except RemoteError:
                problem = msgspec.json.decode(text, type=HttpProblem)
                answer = self._failure(frame, problem.code, problem.retry_after_ms)
            self._driver.receive(polling, (answer,), self._now)

    def unanswered(self, request: int) -> None:
        if request in self._requests:
            polling, frame = self._requests.pop(request)
            self._driver.receive(polling, (self._failure(frame, None, None),), self._now)

    def _failure(self, frame: frames.RequestFrame, code: int | None, retry_after_ms: int | None) -> frames.RequestFailed:
        kind = "poll" if isinstance(frame, frames.PollRequest) else "publishMany"
        return frames.RequestFailed(request=kind, code=code, retry_after_ms=retry_after_ms)

    def open(self, action: Open) -> None:
        if action.transport is Transport.WEBSOCKET:
            super().open(action)

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            self._last_request += 1
            self._requests[self._last_request] = connection_id, frame
            self._asked.append((self._last_request, frames.encode(frame).decode()))
        else:
            super().send(connection_id, frame)

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        self._requests = {number: pair for number, pair in self._requests.items() if pair[0] != connection_id}


class ForgetfulPoller(PollingSessionClient):
    """A publish whose request broke counts as sent."""

    def unanswered(self, request: int) -> None:
        if request in self._requests and isinstance(self._requests[request][1], frames.PublishRequest):
            self._session._publishing.outbox.clear()
        super().unanswered(request)
