"""The two ends of the bare world: a ClientSession or a Run, the loop of five steps around it (docs/architecture.md), and no more.

The server has a store (the model of `simulation.adversary`, which checks what it is given), a commit that takes its time, and a
life that can end in the middle of one. Nothing it does takes time, and a socket takes whatever it is given: no reader lags for
long.
"""

from typing import assert_never

from reference.protocol import frames
from reference.protocol.actions import Authenticate, ClientAction, Close, Deliver, Open, Retire, Send, ServerAction
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ServerConfig
from reference.protocol.errors import InvalidEvent, OutboxFull, SessionClosed
from reference.protocol.events import CURSOR_MOVE
from reference.protocol.frames import Limits
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.states import ClientState, Transport
from simulation.adversary.model import StoreModel
from simulation.hosts.tokens import ORIGIN
from simulation.random import EntityRandom
from simulation.trace.trace import ClientStarted, CursorMoved, Published, PublishRefused, ServerKilled, ServerStarted
from simulation.trace.writer import record_actions, record_frame, record_loss, record_observations, record_outcomes

from .bare_link import ARRIVAL, RESET, Agenda, Http, Line, Said, WebSocket
from .inputs import Deed
from .transcript import FrameSeen, Tape


class BareClient:
    """A session, its WebSocket if it has one, and the connections of its polling lane."""

    def __init__(self, name: str, session: ClientSession, agenda: Agenda, line: Line, message_log: Tape) -> None:
        self.name = name
        self.session = session
        self._agenda = agenda
        self._line = line
        self._message_log = message_log
        self._websocket: WebSocket | None = None
        self._lane: int | None = None
        self._requests: list[Http] = []

    # The application.

    def start(self) -> None:
        self._message_log.add(ClientStarted(at=self._agenda.now, client=self.name, client_id=self.name, user_id=self.name))
        self.session.start(self._agenda.now)
        self._turn()

    def do(self, deed: Deed) -> None:
        now, name, event_type, data = self._agenda.now, self.name, deed.event_type, deed.data
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
        self._turn()

    # The network.

    def opened(self, connection_id: int) -> None:
        self.session.connection_opened(connection_id, self._agenda.now)
        self._turn()

    def receive(self, connection_id: int, frame: frames.Frame) -> None:
        now = self._agenda.now
        self._message_log.add(FrameSeen(now, self.name, "received", connection_id, frame))
        record_frame(self._message_log, self.name, connection_id, frame, now)
        self.session.receive_frame(connection_id, frame, now)
        self._turn()

    def lose(self, connection_id: int, said: Said) -> None:
        self._websocket = None
        now, (code, message, retry_after_ms) = self._agenda.now, said
        record_loss(self._message_log, self.name, connection_id, now, code=code, message=message, retry_after_ms=retry_after_ms)
        self.session.connection_lost(connection_id, code, now, message=message, retry_after_ms=retry_after_ms)
        self._turn()

    def answered(self, frame: frames.Frame) -> None:
        assert self._lane is not None, "a lane that was left has left its connections"
        self.receive(self._lane, frame)

    def lose_request_connection(self, connection: Http, failure: frames.RequestFailed | None) -> None:
        self._requests.remove(connection)
        if failure is not None:
            self.answered(failure)

    # The loop.

    def next_deadline(self) -> int | None:
        return self.session.next_deadline()

    def ring(self) -> None:
        self.session.handle_timeout(self._agenda.now)
        self._turn()

    def _turn(self) -> None:
        now = self._agenda.now
        for action in self.session.take_actions():
            record_actions(self._message_log, self.name, [action], now)
            self._carry_out(action)
        record_outcomes(self._message_log, self.name, self.session.take_outcomes(), now, epoch=self.session.position[0])

    def _carry_out(self, action: ClientAction) -> None:
        match action:
            case Open(connection_id=connection_id, transport=Transport.WEBSOCKET):
                self._websocket = WebSocket(self._line, self, connection_id)
            case Open(connection_id=connection_id):
                self._lane = connection_id
            case Send(connection_ids=(connection_id,), frame=frame):
                self._message_log.add(FrameSeen(self._agenda.now, self.name, "sent", connection_id, frame))
                self._send(connection_id, frame)
            case Close(connection_ids=(connection_id,)):
                self._leave(connection_id)
            case _:
                raise AssertionError(f"{action} is asked of no client without a token")

    def _send(self, connection_id: int, frame: frames.Frame) -> None:
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            idle = next((connection for connection in self._requests if connection.request is None), None)
            if idle is not None:
                idle.ask(frame)
            else:
                self._requests.append(Http(self._line, self, frame))
        elif self._websocket is not None and self._websocket.client_id == connection_id:
            self._websocket.say_to_server(frame)

    def _leave(self, connection_id: int) -> None:
        if connection_id == self._lane:
            self._lane = None
            left, self._requests = self._requests, []
            for connection in left:
                connection.client_leaves()
        elif self._websocket is not None and self._websocket.client_id == connection_id:
            websocket, self._websocket = self._websocket, None
            websocket.client_leaves()


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
        self.lines: list[Line] = []
        self._agenda = agenda
        self._message_log = message_log
        self._store = store
        self._config = config
        self._limits = limits
        self._commit_time = commit_time
        self._random_source = random_source
        self._loaded: Run | None = None
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
        for line in self.lines:
            for connection in tuple(line.connections):
                if connection.server_stands:
                    connection.server_leaves(RESET)

    # The network.

    def open(self, websocket: WebSocket) -> None:
        """A WebSocket has been upgraded."""
        websocket.server_id = self._new_id()
        self._websockets[websocket.server_id] = websocket
        self._opened(websocket.server_id, Transport.WEBSOCKET, websocket.client.name)
        self._turn()

    def serve(self, connection: Http, request: frames.RequestFrame) -> None:
        connection.server_id = connection_id = self._new_id()
        self._requests[connection_id] = connection
        self._opened(connection_id, Transport.POLLING, connection.client.name)
        self.receive(connection_id, request)

    def receive(self, connection_id: int, frame: frames.Frame) -> None:
        self._run.receive_frame(connection_id, frame, self._now)
        self._turn()
        while self._run.is_lagging(connection_id):
            batch = self._run.next_batch(connection_id, self._now)
            self._turn()
            if batch is not None and connection_id in self._websockets:
                self._websockets[connection_id].say_to_client(batch.frame)

    def lose(self, connection_id: int) -> None:
        self._websockets.pop(connection_id, None)
        self._requests.pop(connection_id, None)
        self._run.connection_lost(connection_id, self._now)
        self._turn()

    # The loop.

    def next_deadline(self) -> int | None:
        deadline = None if self._loaded is None else self._loaded.next_deadline()
        return None if deadline is None else deadline - ORIGIN

    def ring(self) -> None:
        self._run.handle_timeout(self._now)
        self._turn()

    @property
    def _now(self) -> int:
        return ORIGIN + self._agenda.now

    @property
    def _run(self) -> Run:
        if self._loaded is None:
            self._loaded = Run(self._store.load(), config=self._config, now=self._now, limits=self._limits)
        return self._loaded

    def _turn(self) -> None:
        run = self._run
        while True:
            append = run.events_to_append()
            if append is not None:
                self._commit(append)
            actions = run.take_actions()
            if not actions:
                break
            for action in actions:
                self._carry_out(action)
        record_observations(self._message_log, run.take_observations(), self._agenda.now)

    def _commit(self, append: Append) -> None:
        assert self._under_way is None, "one batch is with the store at a time"
        self._under_way = append
        self._commits += 1
        self._agenda.enter(self._agenda.now + self._commit_time, ARRIVAL, lambda: self._committed(append))

    def _committed(self, append: Append) -> None:
        if self._under_way is append:  # else its process was killed
            self._under_way = None
            self._store.append(append)
            self._run.handle_appended(append, self._now)
            self._turn()

    def _carry_out(self, action: ServerAction) -> None:
        match action:
            case Deliver(connection_ids=connection_ids, frame=frame) | Send(connection_ids=connection_ids, frame=frame):
                for connection_id in connection_ids:
                    self._send(connection_id, frame)
            case Close(connection_ids=connection_ids):
                for connection_id in connection_ids:
                    self._close(connection_id, (action.code, action.message, action.retry_after_ms))
            case Authenticate(connection_id=connection_id):
                if connection_id in self._websockets:
                    identity = Identity(self._websockets[connection_id].client.name)
                    self._run.handle_authenticated(connection_id, identity, self._now)
            case Retire():
                self._loaded = None
            case _:
                assert_never(action)

    def _send(self, connection_id: int, frame: frames.Frame) -> None:
        if connection_id in self._websockets:
            self._websockets[connection_id].say_to_client(frame)
        elif connection_id in self._requests:
            self._requests.pop(connection_id).answer(frame)

    def _close(self, connection_id: int, said: Said) -> None:
        if connection_id in self._websockets:
            self._websockets.pop(connection_id).server_leaves(said)
        elif connection_id in self._requests:
            self._requests.pop(connection_id).fail(said)

    def _opened(self, connection_id: int, transport: Transport, user: str) -> None:
        self._run.connection_opened(connection_id, transport, Identity(user), f"session-{connection_id}", self._now)

    def _new_id(self) -> int:
        self._last_connection_id += 1
        return self._last_connection_id
