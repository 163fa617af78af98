"""A simulated client: the shipped session machine, and what stands around it on a client's machine.

The pump is that of the trio shell. After every input: carry out the actions, hand over the outcomes (here: to the trace), arm the
one alarm. Polling works as over a real HTTP client's pool: a request takes an idle connection if there is one, and opens another
if not, so a publish does not wait behind a long poll.
"""

from collections.abc import Callable, Iterator
from typing import Literal, assert_never

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Close, Open, RefreshToken, Send
from reference.protocol.client.session import ClientSession
from reference.protocol.codec import encoded_bytes
from reference.protocol.errors import InvalidEvent, OutboxFull, SessionClosed
from reference.protocol.events import Data
from reference.protocol.states import Transport
from simulation.clock import ARRIVAL, Alarm, Call
from simulation.hosts.tokens import Issuer
from simulation.network.access_link import AccessLink
from simulation.network.connection import (
    REQUEST_HEAD_BYTES,
    Ending,
    HttpConnection,
    ServerListener,
    WebSocketConnection,
    request_kind,
    websocket_bytes,
)
from simulation.trace.trace import ClientStarted, CursorMoved, LeaveAsked, Published, PublishRefused, Trace
from simulation.trace.writer import RECORDED_FRAMES, record_actions, record_frame, record_loss, record_outcomes

Listen = Callable[[str, int, Literal["sent", "received"], int, frames.Frame], None]
"""Told of every frame of a client: whose, when in ns, which way, on which connection, and the frame."""
CONNECTIONS_MAX = 64
"""Of one client that either end still has, half-open ones that nobody has given up yet included."""
_REQUESTS = (frames.PollRequest, frames.PublishRequest)
_LEFT = Ending(None, "the client has left")


class _Pool:
    """The connections of one polling lane: a request takes an idle one, or opens another."""

    __slots__ = ("connection_id", "links", "token")

    def __init__(self, connection_id: int, token: str | None) -> None:
        self.connection_id = connection_id
        self.token = token
        self.links: list[HttpConnection] = []


class ClientHost:
    """One client on its line. Its session has one WebSocket and one polling lane at the most, so there is one place for each."""

    __slots__ = (
        "_alarm",
        "_clock",
        "_has_bottleneck",
        "_line",
        "_listen",
        "_machine",
        "_pool",
        "_send_buffer_bytes",
        "_tokens",
        "_trace",
        "_websocket",
        "_websocket_id",
        "frames",
        "name",
        "session",
    )

    def __init__(
        self,
        session: ClientSession,
        line: AccessLink,
        machine: ServerListener,
        trace: Trace,
        send_buffer_bytes: int,
        listen: Listen | None = None,
        tokens: Issuer | None = None,
    ) -> None:
        self.name = line.client
        self.session = session
        self._line = line
        self._clock = line.clock
        self._machine = machine
        self._trace = trace
        self._send_buffer_bytes = send_buffer_bytes
        self._listen = listen
        self._tokens = tokens
        self._has_bottleneck = line.ways.up.counts_bytes
        self._websocket: WebSocketConnection | None = None
        self._websocket_id = 0
        self._pool: _Pool | None = None
        self._alarm = Alarm(line.clock, session, self)
        self.frames = 0
        """That have reached the session's machine."""

    # The application speaks.

    def start(self) -> None:
        now = self._clock.now
        self._trace.add(ClientStarted(at=now, client=self.name, client_id=self.session.client_id, user_id=self.name))
        if self._tokens is not None:
            self.session.handle_token(self._tokens.issue(self.name, now), now)
        self.session.start(now)
        self._pump()

    def publish(self, event_type: str, data: Data) -> None:
        now = self._clock.now
        try:
            ticket = self.session.publish(event_type, data, now)
        except (InvalidEvent, OutboxFull, SessionClosed) as error:
            refused = PublishRefused(at=now, client=self.name, event_type=event_type, error=type(error).__name__)
            self._trace.add(refused)
            return
        self._trace.add(Published(at=now, client=self.name, ticket=ticket, event_type=event_type, data=data))
        self._pump()

    def leave(self) -> None:
        """For good, with a bye if anyone can be told; what is unanswered fails visibly."""
        now = self._clock.now
        self._trace.add(LeaveAsked(at=now, client=self.name))
        self.session.close(now)
        self._pump()

    def move_cursor(self, data: Data) -> None:
        now = self._clock.now
        try:
            self.session.move_cursor(data, now)
        except SessionClosed:
            return
        self._trace.add(CursorMoved(at=now, client=self.name, data=data))
        self._pump()

    # The network speaks.

    def connection_opened(self, connection_id: int) -> None:
        self.session.connection_opened(connection_id, self._clock.now)
        self._pump()

    def connection_ended(self, connection_id: int, ending: Ending) -> None:
        self._websocket = None
        now = self._clock.now
        record_loss(
            self._trace,
            self.name,
            connection_id,
            now,
            code=ending.code,
            message=ending.message,
            retry_after_ms=ending.retry_after_ms,
        )
        self.session.connection_lost(
            connection_id, ending.code, now, message=ending.message, retry_after_ms=ending.retry_after_ms
        )
        self._pump()

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None:
        now = self._clock.now
        self.frames += 1
        if self._listen is not None:
            self._listen(self.name, now, "received", connection_id, frame)
        if type(frame) in RECORDED_FRAMES:
            record_frame(self._trace, self.name, connection_id, frame, now)
        self.session.receive_frame(connection_id, frame, now)
        self._pump()

    def bytes_arrived(self, connection_id: int) -> None:
        self.session.bytes_received(connection_id, self._clock.now)
        self._pump()

    def bytes_of_answer_arrived(self, link: HttpConnection) -> None:
        if link.request is not None:
            request = request_kind(link.request)
            self.session.bytes_received(self._pool_with(link).connection_id, self._clock.now, request=request)
            self._pump()

    def request_answered(self, link: HttpConnection, answer: frames.Frame) -> None:
        self.frame_arrived(self._pool_with(link).connection_id, answer)

    def http_ended(self, link: HttpConnection, failure: frames.RequestFailed | None) -> None:
        pool = self._pool_with(link)
        pool.links.remove(link)
        if failure is not None:
            self.frame_arrived(pool.connection_id, failure)

    def _give_token(self, _: Call) -> None:
        assert self._tokens is not None, "it has been asked for one"
        now = self._clock.now
        self.session.handle_token(self._tokens.issue(self.name, now), now)
        self._pump()

    # What can be looked at.

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """What it holds now: a name, how much, and the limit."""
        config = self.session.config
        yield "outbox", self.session.queued_messages, config.outbox_messages_max
        yield "connections", self._line.links, CONNECTIONS_MAX

    # The pump.

    def ring(self) -> None:
        self.session.handle_timeout(self._clock.now)
        self._pump()

    def _pump(self) -> None:
        session, now = self.session, self._clock.now
        actions = session.take_actions()
        if actions:
            record_actions(self._trace, self.name, actions, now)
            for action in actions:
                self._carry_out(action)
        outcomes = session.take_outcomes()
        if outcomes:
            record_outcomes(self._trace, self.name, outcomes, now, epoch=session.position[0])
        self._alarm.arm()

    def _carry_out(self, action: ClientAction) -> None:
        match action:
            case Send(connection_ids=connection_ids, frame=frame):
                for connection_id in connection_ids:
                    self._send(connection_id, frame)
            case Open(connection_id=connection_id, transport=Transport.WEBSOCKET, token=token):
                assert self._websocket is None, "a session leaves its WebSocket before it opens another"
                self._websocket_id = connection_id
                self._websocket = WebSocketConnection(
                    self._line, self, connection_id, self._machine, self._send_buffer_bytes, token
                )
            case Open(connection_id=connection_id, token=token):
                assert self._pool is None, "a session leaves its polling lane before it opens another"
                self._pool = _Pool(connection_id, token)
            case Close(connection_ids=connection_ids, code=code, message=message):
                for connection_id in connection_ids:
                    self._close(connection_id, Ending(code, message))
            case RefreshToken():
                assert self._tokens is not None, "only a server whose tokens expire asks for another"
                Call(self._clock, self._clock.now + self._tokens.time, ARRIVAL, self._give_token)
            case _:
                assert_never(action)

    def _send(self, connection_id: int, frame: frames.Frame) -> None:
        if self._listen is not None:
            self._listen(self.name, self._clock.now, "sent", connection_id, frame)
        # Without a bottleneck nobody asks for the size of what a client sends.
        size_bytes = encoded_bytes(frame) if self._has_bottleneck else 0
        if isinstance(frame, _REQUESTS):
            self._idle_link(connection_id).ask(frame, REQUEST_HEAD_BYTES + size_bytes)
            return
        link = self._websocket
        if link is not None and connection_id == self._websocket_id:
            link.send_to_server(frame, websocket_bytes(size_bytes, is_masked=True) if size_bytes else 0)

    def _idle_link(self, connection_id: int) -> HttpConnection:
        pool = self._pool
        assert pool is not None, "requests are sent on an open lane"
        assert pool.connection_id == connection_id, "and there is one at a time"
        for link in pool.links:
            if link.request is None:
                return link
        link = HttpConnection(self._line, self, self._machine, self._send_buffer_bytes, pool.token)
        pool.links.append(link)
        return link

    def _pool_with(self, link: HttpConnection) -> _Pool:
        pool = self._pool
        assert pool is not None, "a link of a lane that was left tells nothing any more"
        assert link in pool.links, "nor does one of another lane"
        return pool

    def _close(self, connection_id: int, ending: Ending) -> None:
        websocket, pool = self._websocket, self._pool
        if websocket is not None and connection_id == self._websocket_id:
            self._websocket = None
            websocket.client_leaves(ending)
        elif pool is not None and connection_id == pool.connection_id:
            self._pool = None
            for link in pool.links:
                link.client_leaves(_LEFT)
