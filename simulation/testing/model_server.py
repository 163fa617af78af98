"""The model server for your own clients: our run behind the small interface, with a durable store."""

from collections.abc import Sequence

import msgspec

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import HttpProblem, RemoteError
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from reference.protocol.timers import ns
from simulation.adversary.model import StoreModel

_decoder = msgspec.json.Decoder(frames.PollRequest | frames.PublishRequest)
ORIGIN = 1_700_000_000 * 10**9


class ModelServer:
    """A `simulation.testing.PollingServerUnderTest`."""

    def __init__(self) -> None:
        self.store = StoreModel()
        self.now = ORIGIN
        self._waiting: dict[int, list[str]] = {}
        self._open: set[int] = set()
        self._asked: set[int] = set()
        self._answers: dict[int, str] = {}
        self.restart()

    def restart(self) -> None:
        self._driver = RunDriver(Run(self.store.load(), config=ServerConfig(), now=self.now), _Output(self))

    def crash(self) -> None:
        self._open.clear()
        self._asked.clear()
        self._answers.clear()

    def open(self, connection: int, user: str) -> None:
        self._open.add(connection)
        texts = self._waiting[connection] = []
        self._driver.connect(connection, _Socket(connection, texts, self._open), Identity(user), f"s{connection}")

    def send(self, connection: int, text: str) -> None:
        try:
            message: frames.Frame | RemoteError = frames.decode_client_frame(text)
        except RemoteError as error:
            message = error
        self._driver.receive(connection, (message,))

    def receive(self, connection: int) -> list[str]:
        waiting = self._waiting.get(connection, [])
        texts = list(waiting)
        waiting.clear()
        return texts

    def is_open(self, connection: int) -> bool:
        return connection in self._open

    def cut(self, connection: int) -> None:
        if connection in self._open:
            self._open.discard(connection)
            self._driver.lost(connection)

    def ask(self, request: int, user: str, text: str) -> None:
        self._asked.add(request)
        self._driver.request(request, _decoder.decode(text), Identity(user), f"s{request}")

    def answer(self, request: int) -> str | None:
        return self._answers.pop(request, None)

    def answered(self, request: int, text: str) -> None:
        """There is an answer, if it is still awaited."""
        if request in self._asked:
            self._asked.discard(request)
            self._answers[request] = text

    def forsake(self, request: int) -> None:
        self._answers.pop(request, None)
        if request in self._asked:
            self._asked.discard(request)
            self._driver.lost(request)

    def advance(self, seconds: float) -> None:
        self.now += ns(seconds)
        self._driver.ring()


class _Output:
    """The outputs of the run's driver: answers and texts wait to be fetched, and events are stored at once."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def now(self) -> int:
        return self._server.now

    def encode(self, frame: frames.Frame) -> str:
        return frames.encode(frame).decode()

    def may_store(self) -> bool:
        return True

    def store(self, append: Append) -> bool:
        self._server.store.append(append)
        return True

    def identify(self, connection_id: int, token: str | None) -> None:
        raise AssertionError(f"connection {connection_id} came with its identity")

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        self._server.answered(connection_id, self.encode(frame))

    def refuse(self, connection_id: int, close: Close) -> None:
        problem = HttpProblem(close.code or 0, close.message, close.retry_after_ms)
        self._server.answered(connection_id, frames.encode(problem).decode())

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        pass

    def retire(self) -> None:
        pass  # it is somebody's model: it stays

    def turn_over(self) -> None:
        pass


class _Socket:
    """A WebSocket that takes everything."""

    is_blocked = False

    def __init__(self, connection: int, texts: list[str], open_ones: set[int]) -> None:
        self._connection = connection
        self._texts = texts
        self._open = open_ones

    def push(self, item: str) -> bool:
        self._texts.append(item)
        return False

    def close(self, waiting: Sequence[str], close: Close) -> None:
        self._open.discard(self._connection)
