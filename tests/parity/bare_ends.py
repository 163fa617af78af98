"""The two ends of the bare world: a ClientSession and a Run, each with the output of its driver, and no more.

The server has a store (the model of `simulation.adversary`, which checks what it is given), a commit that takes its time, and a
life that can end in the middle of one. Nothing it does takes time, and a socket takes whatever it is given: no reader lags for
long.
"""

from collections.abc import Callable, Sequence

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Close, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ServerConfig
from reference.protocol.errors import InvalidEvent, OutboxFull, SessionClosed
from reference.protocol.events import CURSOR_MOVE
from reference.protocol.frames import Limits
from reference.protocol.records import Append
from reference.protocol.saved_session import Change
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import RunDriver
from reference.protocol.server.observations import Observation
from reference.protocol.server.run import Run
from reference.protocol.states import ClientState, Transport
from simulation.adversary.model import StoreModel
from simulation.hosts.tokens import ORIGIN
from simulation.random import EntityRandom
from simulation.trace.trace import ClientStarted, CursorMoved, Published, PublishRefused, ServerKilled, ServerStarted
from simulation.trace.writer import record_actions, record_frame, record_loss, record_observations, record_outcomes

from .bare_link import ARRIVAL, RESET, AccessLink, Agenda, Http, Said, WebSocket
from .inputs import UserAction
from .transcript import FrameSeen, Tape


class BareClient:
    """A session, its driver and its `ClientIO`: a WebSocket if it has one, and the connections of its polling transport."""

    def __init__(self, name: str, session: ClientSession, agenda: Agenda, link: AccessLink, message_log: Tape) -> None:
        self.name = name
        self.session = session
        self._driver = ClientDriver(session, self)
        self._agenda = agenda
        self._link = link
        self._message_log = message_log
        self._websocket: WebSocket | None = None
        self._polling: int | None = None
        self._requests: list[Http] = []

    # The application.

    def start(self) -> None:
        self._message_log.add(ClientStarted(at=self._agenda.now, client=self.name, client_id=self.name, user_id=self.name))
        self.session.start(self._agenda.now)
        self._driver.drain()

    def do(self, user_action: UserAction) -> None:
        now, name, event_type, data = self._agenda.now, self.name, user_action.event_type, user_action.data
        if event_type == CURSOR_MOVE:
            if self.session.state is not ClientState.CLOSED:
                self.session.move_cursor(data, now)
                self._message_log.add(CursorMoved(at=now, client=name, data=data))
        else:
            try:
                ticket = self.session.publish(event_type, data, now)
            except (InvalidEvent, OutboxFull, SessionClosed) as error:
                self._message_log.add(PublishRefused(at=now, client=name, event_type=event_type, error=type(error).__name__))
            else:
                self._message_log.add(Published(at=now, client=name, ticket=ticket, event_type=event_type, data=data))
        self._driver.drain()

    # The network.

    def opened(self, connection_id: int) -> None:
        self.session.connection_opened(connection_id, self._agenda.now)
        self._driver.drain()

    def receive(self, connection_id: int, frame: frames.Frame) -> None:
        now = self._agenda.now
        self._message_log.add(FrameSeen(now, self.name, "received", connection_id, frame))
        record_frame(self._message_log, self.name, connection_id, frame, now)
        self.session.receive_frame(connection_id, frame, now)
        self._driver.drain()

    def lose(self, connection_id: int, said: Said) -> None:
        self._websocket = None
        now, (code, message, retry_after_ms) = self._agenda.now, said
        record_loss(self._message_log, self.name, connection_id, now, code=code, message=message, retry_after_ms=retry_after_ms)
        self.session.connection_lost(connection_id, code, now, message=message, retry_after_ms=retry_after_ms)
        self._driver.drain()

    def answered(self, frame: frames.Frame) -> None:
        assert self._polling is not None, "a polling transport that is closed has closed its connections"
        self.receive(self._polling, frame)

    def lose_request_connection(self, connection: Http, failure: frames.RequestFailed | None) -> None:
        self._requests.remove(connection)
        if failure is not None:
            self.answered(failure)

    # The alarm.

    def next_deadline(self) -> int | None:
        return self.session.next_deadline()

    def ring(self) -> None:
        self._driver.ring(self._agenda.now)

    # ClientIO.

    def observe(self, actions: list[ClientAction]) -> None:
        record_actions(self._message_log, self.name, actions, self._agenda.now)

    def open(self, action: Open) -> None:
        if action.transport is Transport.WEBSOCKET:
            self._websocket = WebSocket(self._link, self, action.connection_id)
        else:
            self._polling = action.connection_id

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        self._message_log.add(FrameSeen(self._agenda.now, self.name, "sent", connection_id, frame))
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            idle = next((connection for connection in self._requests if connection.request is None), None)
            if idle is not None:
                idle.ask(frame)
            else:
                self._requests.append(Http(self._link, self, frame))
        elif self._websocket is not None and self._websocket.client_id == connection_id:
            self._websocket.say_to_server(frame)

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        if connection_id == self._polling:
            self._polling = None
            left, self._requests = self._requests, []
            for connection in left:
                connection.client_leaves()
        elif self._websocket is not None and self._websocket.client_id == connection_id:
            websocket, self._websocket = self._websocket, None
            websocket.client_leaves()

    def pause(self, connection_id: int) -> None:
        raise AssertionError("an application without a limit pauses nothing")

    resume = pause

    def save(self, change: Change) -> None:
        raise AssertionError("this session does not save")

    def refresh_token(self) -> None:
        raise AssertionError("nobody here has a token")

    def deliver(self, outcomes: list[Outcome]) -> None:
        record_outcomes(self._message_log, self.name, outcomes, self._agenda.now, epoch=self.session.position[0])

    def set_alarm(self, deadline: int | None) -> None:
        """The agenda asks for the next deadline of everyone."""


class BareServer:
    """One process at a time, with one run, which is loaded when somebody first asks for it."""

    def __init__(
        self,
        agenda: Agenda,
        message_log: Tape,
        store: StoreModel,
        config: ServerConfig,
        limits: Limits,
        commit_time: int,
        random_source: EntityRandom,
    ) -> None:
        self.is_up = False
        self.links: list[AccessLink] = []
        self._agenda = agenda
        self._message_log = message_log
        self._store = store
        self._config = config
        self._limits = limits
        self._commit_time = commit_time
        self._random_source = random_source
        self._loaded: RunDriver[frames.Frame] | None = None
        self._websockets: dict[int, WebSocket] = {}
        self._requests: dict[int, Http] = {}
        self._last_connection_id = 0
        self._commits = 0
        self._under_way: Append | None = None

    # Life and death.

    def start(self) -> None:
        self.is_up = True
        self._message_log.add(ServerStarted(at=self._agenda.now, epoch=self._store.now.epoch, head=self._store.now.head))

    def kill(self) -> None:
        """All but the store is gone, and of what is on its way to the store a draw says whether it has arrived."""
        self._message_log.add(ServerKilled(at=self._agenda.now))
        self.is_up = False
        self._loaded = None
        self._websockets.clear()
        self._requests.clear()
        append, self._under_way = self._under_way, None
        if append is not None and self._random_source.uniform("crash", self._commits) < 0.5:
            self._store.append(append)
        for link in self.links:
            for connection in tuple(link.connections):
                if connection.server_stands:
                    connection.server_leaves(RESET)

    # The network.

    def open(self, websocket: WebSocket) -> None:
        """A WebSocket has been upgraded."""
        websocket.server_id = number = self._new_id()
        self._websockets[number] = websocket
        socket = _Socket(websocket, lambda: self._websockets.pop(number, None))
        self._driver.connect(number, socket, Identity(websocket.client.name), f"session-{number}")

    def serve(self, connection: Http, request: frames.RequestFrame) -> None:
        connection.server_id = connection_id = self._new_id()
        self._requests[connection_id] = connection
        self._driver.request(connection_id, request, Identity(connection.client.name), f"session-{connection_id}")

    def receive(self, connection_id: int, read: Sequence[frames.Frame]) -> None:
        self._driver.receive(connection_id, read)

    def lose(self, connection_id: int) -> None:
        self._websockets.pop(connection_id, None)
        self._requests.pop(connection_id, None)
        self._driver.lost(connection_id)

    # The driver's output, as RunIO.

    def next_deadline(self) -> int | None:
        deadline = None if self._loaded is None else self._loaded.run.next_deadline()
        return None if deadline is None else deadline - ORIGIN

    def ring(self) -> None:
        self._driver.ring()

    def now(self) -> int:
        return ORIGIN + self._agenda.now

    def encode(self, frame: frames.Frame) -> frames.Frame:
        return frame

    def may_store(self) -> bool:
        return True

    def store(self, append: Append) -> bool:
        assert self._under_way is None, "one batch is with the store at a time"
        self._under_way = append
        self._commits += 1
        self._agenda.enter(self._agenda.now + self._commit_time, ARRIVAL, lambda: self._committed(append))
        return False

    def _committed(self, append: Append) -> None:
        if self._under_way is append:  # else its process was killed
            self._under_way = None
            self._store.append(append)
            self._driver.stored(append)

    def identify(self, connection_id: int, token: str | None) -> Identity | None:
        websocket = self._websockets.get(connection_id)
        return None if websocket is None else Identity(websocket.client.name)

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        if connection_id in self._requests:
            self._requests.pop(connection_id).answer(frame)

    def refuse(self, connection_id: int, close: Close) -> None:
        if connection_id in self._requests:
            self._requests.pop(connection_id).fail((close.code, close.message, close.retry_after_ms))

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        record_observations(self._message_log, observations, self._agenda.now)

    def retire(self) -> None:
        self._loaded = None

    def turn_over(self) -> None:
        pass

    @property
    def _driver(self) -> RunDriver[frames.Frame]:
        if self._loaded is None:
            run = Run(self._store.load(), config=self._config, now=self.now(), limits=self._limits)
            self._loaded = RunDriver(run, self)
        return self._loaded

    def _new_id(self) -> int:
        self._last_connection_id += 1
        return self._last_connection_id


class _Socket:
    """A WebSocket at the server's end; it takes everything."""

    is_blocked = False

    def __init__(self, websocket: WebSocket, forget: Callable[[], object]) -> None:
        self._websocket = websocket
        self._forget = forget

    def push(self, item: frames.Frame) -> bool:
        self._websocket.say_to_client(item)
        return False

    def close(self, waiting: Sequence[frames.Frame], close: Close) -> None:
        self._forget()
        self._websocket.server_leaves((close.code, close.message, close.retry_after_ms))
