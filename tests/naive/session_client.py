"""Our own session behind the small interface for clients; `forgets`: what it does wrong on purpose."""

from reference.protocol import codec
from reference.protocol.actions import ClientAction, Close, Open, Send
from reference.protocol.backoff import FullJitter
from reference.protocol.client_session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.events import Data, Event
from reference.protocol.timers import ns


class Halves:
    def uniform(self, purpose: str, index: int) -> float:
        return 0.5


class SessionClient:
    """A `simulation.strategies.ClientUnderTest`."""

    is_forgetful = False

    def __init__(self) -> None:
        config = ClientConfig(start="oldest", fallback_after_failures=None, retry_limit=1000)
        self._session = ClientSession("c", config=config, policy=FullJitter(cap_s=1.0), draws=Halves())
        self._now = 0
        self._wishes: list[int] = []
        self._sent: list[tuple[int, str]] = []
        self._delivered: list[int] = []
        self._session.start(0)
        self._drain()

    def publish(self, event_type: str, data: Data) -> None:
        self._session.publish(event_type, data, self._now)
        self._drain()

    def wishes(self) -> list[int]:
        wishes, self._wishes = self._wishes, []
        return wishes

    def opened(self, connection: int) -> None:
        self._session.connection_opened(connection, self._now)
        self._drain()

    def sent(self) -> list[tuple[int, str]]:
        sent, self._sent = self._sent, []
        return sent

    def receive(self, connection: int, text: str) -> None:
        self._session.receive_frame(connection, codec.decode_server_frame(text), self._now)
        self._drain()

    def lost(self, connection: int, code: int | None) -> None:
        if self.is_forgetful:
            self._session._sending.outbox.clear()
        self._session.connection_lost(connection, code, self._now)
        self._drain()

    def advance(self, seconds: float) -> None:
        self._now += ns(seconds)
        self._session.handle_timeout(self._now)
        self._drain()

    def delivered(self) -> list[int]:
        delivered, self._delivered = self._delivered, []
        return delivered

    def _drain(self) -> None:
        for action in self._session.take_actions():
            self._do(action)
        for outcome in self._session.take_outcomes():
            if isinstance(outcome, Event) and outcome.sequence_number is not None:
                self._delivered.append(outcome.sequence_number)

    def _do(self, action: ClientAction) -> None:
        match action:
            case Open(connection_id=connection):
                self._wishes.append(connection)
            case Send(connection_ids=connections, frame=frame):
                self._sent += [(connection, codec.encode(frame).decode()) for connection in connections]
            case Close():
                pass


class ForgetfulClient(SessionClient):
    """What was not answered is gone with the connection."""

    is_forgetful = True
