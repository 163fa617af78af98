"""Our own run behind the small interface, over a store that keeps what it confirmed: the model for clients of yours."""

import msgspec

from reference.protocol import codec, frames
from reference.protocol.actions import Authenticate, Close, Deliver, Send
from reference.protocol.config import ServerConfig
from reference.protocol.errors import HttpProblem, RemoteError
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.states import Transport
from reference.protocol.timers import ns
from simulation.adversary.model import StoreModel

_decoder = msgspec.json.Decoder(frames.PollRequest | frames.PublishRequest)
ORIGIN = 1_700_000_000 * 10**9


class ModelServer:
    """A `simulation.testing.PollingServerUnderTest`."""

    def __init__(self) -> None:
        self.store = StoreModel()
        self._now = ORIGIN
        self._waiting: dict[int, list[str]] = {}
        self._open: set[int] = set()
        self._asked: set[int] = set()
        self._answers: dict[int, str] = {}
        self.restart()

    def restart(self) -> None:
        self._run = Run(self.store.load(), config=ServerConfig(), now=self._now)

    def crash(self) -> None:
        self._open.clear()
        self._asked.clear()
        self._answers.clear()

    def open(self, connection: int, user: str) -> None:
        self._open.add(connection)
        self._waiting[connection] = []
        self._run.connection_opened(connection, Transport.WEBSOCKET, Identity(user), f"s{connection}", self._now)
        self._pump()

    def send(self, connection: int, text: str) -> None:
        try:
            frame = codec.decode_client_frame(text)
        except RemoteError as error:
            self._run.receive_malformed(connection, error, self._now)
        else:
            self._run.receive_frame(connection, frame, self._now)
        self._pump()

    def receive(self, connection: int) -> list[str]:
        texts, self._waiting[connection] = self._waiting.get(connection, []), []
        return texts

    def is_open(self, connection: int) -> bool:
        return connection in self._open

    def cut(self, connection: int) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._run.connection_lost(connection, self._now)
            self._pump()

    def ask(self, request: int, user: str, text: str) -> None:
        self._asked.add(request)
        self._run.connection_opened(request, Transport.POLLING, Identity(user), f"s{request}", self._now)
        self._run.receive_frame(request, _decoder.decode(text), self._now)
        self._pump()

    def answer(self, request: int) -> str | None:
        return self._answers.pop(request, None)

    def forsake(self, request: int) -> None:
        self._answers.pop(request, None)
        if request in self._asked:
            self._asked.discard(request)
            self._run.connection_lost(request, self._now)
            self._pump()

    def advance(self, seconds: float) -> None:
        self._now += ns(seconds)
        self._run.handle_timeout(self._now)
        self._pump()

    def _pump(self) -> None:
        while True:
            append = self._run.events_to_append()
            if append is not None:
                self.store.append(append)
                self._run.handle_appended(append, self._now)
            actions = self._run.take_actions()
            for action in actions:
                match action:
                    case Send(connection_ids, frame):
                        self._say(connection_ids, frame)
                    case Deliver(connection_ids):
                        self._say(connection_ids, action.frame)
                    case Close(connection_ids, code, message, retry_after_ms):
                        self._close(connection_ids, HttpProblem(code or 0, message, retry_after_ms))
                    case Authenticate(connection_id, _):
                        raise AssertionError(f"connection {connection_id} came with its identity")
            gave = [self._give(connection) for connection in sorted(self._open)]
            if append is None and not actions and not any(gave):
                self._run.take_observations()
                return

    def _give(self, connection: int) -> bool:
        if not self._run.is_lagging(connection):
            return False
        batch = self._run.next_batch(connection, self._now)
        if batch is not None:
            self._say((connection,), batch.frame)
        return True

    def _close(self, connection_ids: tuple[int, ...], problem: HttpProblem) -> None:
        for connection in connection_ids:
            self._open.discard(connection)
            if connection in self._asked:
                self._asked.discard(connection)
                self._answers[connection] = codec.encode(problem).decode()

    def _say(self, connection_ids: tuple[int, ...], frame: frames.Frame) -> None:
        for connection in connection_ids:
            if connection in self._asked:
                self._asked.discard(connection)
                self._answers[connection] = codec.encode(frame).decode()
            elif connection in self._open:
                self._waiting[connection].append(codec.encode(frame).decode())
