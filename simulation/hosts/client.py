"""A simulated client: the shipped session and its driver, with virtual connections as its I/O.

Outcomes go to the trace, and time is SimPy's. Polling works like a real HTTP client's pool: a request uses an idle connection if
there is one, and opens another if not, so a publish does not wait behind a long poll. An application that takes a limited number
of events per second (`takes_per_s`) makes its session slow the server down, as in the trio client: the client stops reading from
a paused connection, so data wait in the network and, beyond its send buffer, at the server.

A device that sleeps (`begin_sleep`) takes no input until it wakes, and its user does nothing. If its clock stops meanwhile, the
time of its session falls behind the world's.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.delivery import is_sequenced
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import Outcome, StateChanged
from reference.protocol.client.session import ClientSession
from reference.protocol.errors import InvalidEvent, OutboxFull, SessionClosed
from reference.protocol.events import Data
from reference.protocol.frames import encoded_bytes
from reference.protocol.saved_session import Change
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_S, ns
from simulation.clock import ARRIVAL, Alarm, Call, TimerLateness
from simulation.hosts.tokens import Issuer
from simulation.network.connection import ClientAccessLink, Ending, ServerListener
from simulation.network.http_connection import REQUEST_HEAD_BYTES, HttpConnection, request_kind
from simulation.network.link_state import without
from simulation.network.websocket_connection import WebSocketConnection, websocket_bytes
from simulation.scenario.faults import BackgroundTab, Suspend
from simulation.trace.trace import ClientStarted, CursorMoved, LeaveAsked, Published, PublishRefused, Trace
from simulation.trace.writer import RECORDED_FRAMES, record_actions, record_frame, record_loss, record_outcomes

Listen = Callable[[str, int, Literal["sent", "received"], int, frames.Frame], None]
"""Called with every frame of a client: the client, the time in ns, the direction, the connection, and the frame."""
CONNECTIONS_MAX = 64
"""Connections of one client that still have an endpoint, including half-open ones."""
_REQUESTS = (frames.PollRequest, frames.PublishRequest)
_LEFT = Ending(None, "the client has left")
_NOTHING: list[Callable[[], None]] = []
"""The deferred inputs of a client that is awake; always empty."""


class _Pool:
    """The connections of one polling transport: a request uses an idle one, or opens another."""

    __slots__ = ("connection_id", "links", "token")

    def __init__(self, connection_id: int, token: str | None) -> None:
        self.connection_id = connection_id
        self.token = token
        self.links: list[HttpConnection] = []


class ClientHost:
    """One client on its access link: its session's `ClientIO`. A session has at most one WebSocket and one polling transport.

    takes_per_s: how many sequenced outcomes its application takes per second; None: all at once.
    """

    __slots__ = (
        "_access_link",
        "_alarm",
        "_behind",
        "_clock",
        "_deferred",
        "_driver",
        "_is_paused",
        "_lateness",
        "_listen",
        "_machine",
        "_outbox_longest",
        "_pool",
        "_send_buffer_bytes",
        "_sleeps",
        "_stopped_at",
        "_takes_every",
        "_throttles",
        "_tokens",
        "_trace",
        "_unread",
        "_untaken",
        "_untaken_longest",
        "_websocket",
        "_websocket_id",
        "frames",
        "is_carried",
        "name",
        "on_carried",
        "session",
    )

    def __init__(
        self,
        session: ClientSession,
        access_link: ClientAccessLink,
        machine: ServerListener,
        trace: Trace,
        send_buffer_bytes: int,
        listen: Listen | None = None,
        tokens: Issuer | None = None,
        takes_per_s: float | None = None,
        lateness: TimerLateness | None = None,
    ) -> None:
        self.name = access_link.client
        self.session = session
        self._driver = ClientDriver(session, self)
        self._access_link = access_link
        self._clock = access_link.clock
        self._machine = machine
        self._trace = trace
        self._send_buffer_bytes = send_buffer_bytes
        self._listen = listen
        self._tokens = tokens
        self._takes_every = None if takes_per_s is None else max(1, round(NS_PER_S / takes_per_s))
        self._websocket: WebSocketConnection | None = None
        self._websocket_id = 0
        self._is_paused = False
        self._unread: deque[frames.Frame | Ending] | None = None  # arrived on a paused WebSocket at the instant of the pause
        self._untaken = 0
        self._outbox_longest = self._untaken_longest = 0
        self._pool: _Pool | None = None
        self._lateness = lateness
        self._throttles: tuple[BackgroundTab, ...] = ()
        self._sleeps: tuple[Suspend, ...] = ()
        self._stopped_at = 0  # since when its clock has been stopped
        self._behind = 0  # how far its session's clock is behind, in ns
        self._deferred: list[Callable[[], None]] = _NOTHING  # inputs that arrived while it slept
        self._alarm = Alarm(access_link.clock, self, lateness)
        self.frames = 0
        """Frames that have reached the session."""
        self.is_carried = False
        self.on_carried: Callable[[], None] | None = None
        """Called when the session gets a transport again; `is_carried` is kept only then."""

    # Inputs from the application.

    def start(self) -> None:
        if self._sleeps:
            self._deferred.append(self.start)
            return
        now = self._clock.now
        self._trace.add(ClientStarted(at=now, client=self.name, client_id=self.session.client_id, user_id=self.name))
        if self._tokens is not None:
            self.session.handle_token(self._tokens.issue(self.name, now), now - self._behind)
        self._driver.feed(self.session.start, now - self._behind)

    def publish(self, event_type: str, data: Data) -> None:
        if self._sleeps:
            return
        now = self._clock.now
        try:
            ticket = self.session.publish(event_type, data, now - self._behind)
        except (InvalidEvent, OutboxFull, SessionClosed) as error:
            refused = PublishRefused(at=now, client=self.name, event_type=event_type, error=type(error).__name__)
            self._trace.add(refused)
            return
        self._outbox_longest = max(self._outbox_longest, self.session.queued_messages)
        self._trace.add(Published(at=now, client=self.name, ticket=ticket, event_type=event_type, data=data))
        self._driver.drain()

    def leave(self) -> None:
        """Leave for good, with a bye if the server can be notified; unanswered publishes are reported as failed."""
        if self._sleeps:
            self._deferred.append(self.leave)
            return
        now = self._clock.now
        self._trace.add(LeaveAsked(at=now, client=self.name))
        self._driver.feed(self.session.close, now - self._behind)

    def move_cursor(self, data: Data) -> None:
        if self._sleeps:
            return
        now = self._clock.now
        try:
            self.session.move_cursor(data, now - self._behind)
        except SessionClosed:
            return
        self._trace.add(CursorMoved(at=now, client=self.name, data=data))
        self._driver.drain()

    def _take_later(self) -> None:
        assert self._takes_every is not None, "an application without a rate takes everything at once"
        Call(self._clock, self._clock.now + self._takes_every, ARRIVAL, self._take)

    def _take(self, call: Call) -> None:
        """The application takes one of the waiting outcomes."""
        if self._sleeps:
            self._deferred.append(partial(self._take, call))
            return
        self._untaken -= 1
        if self._untaken:
            self._take_later()
        self._driver.feed(self.session.application_took, 1, self._clock.now - self._behind)

    # Inputs from the network.

    def connection_opened(self, connection_id: int) -> None:
        self._driver.feed(self.session.connection_opened, connection_id, self._clock.now - self._behind)

    def connection_ended(self, connection_id: int, ending: Ending) -> None:
        if self._sleeps:
            self._deferred.append(partial(self.connection_ended, connection_id, ending))
            return
        if self._is_paused:  # the end of the stream comes after the frames that are not read yet
            self._keep_unread(ending)
            return
        self._websocket = None
        now, code, message = self._clock.now, ending.code, ending.message
        retry_after_ms = ending.retry_after_ms
        record_loss(self._trace, self.name, connection_id, now, code=code, message=message, retry_after_ms=retry_after_ms)
        self.session.connection_lost(connection_id, code, now - self._behind, message=message, retry_after_ms=retry_after_ms)
        self._driver.drain()

    def frame_arrived(self, connection_id: int, frame: frames.Frame) -> None:
        if self._is_paused and connection_id == self._websocket_id:
            self._keep_unread(frame)
            return
        now = self._clock.now
        self.frames += 1
        if self._listen is not None:
            self._listen(self.name, now, "received", connection_id, frame)
        if type(frame) in RECORDED_FRAMES:
            record_frame(self._trace, self.name, connection_id, frame, now)
        self.session.receive_frame(connection_id, frame, now - self._behind)
        self._driver.drain()

    def bytes_arrived(self, connection_id: int) -> None:
        self._driver.feed(self.session.bytes_received, connection_id, self._clock.now - self._behind)

    def bytes_of_answer_arrived(self, link: HttpConnection) -> None:
        if link.request is not None:
            request = request_kind(link.request)
            connection_id = self._pool_with(link).connection_id
            self._driver.feed(self.session.bytes_received, connection_id, self._clock.now - self._behind, request=request)

    def request_answered(self, link: HttpConnection, answer: frames.Frame) -> None:
        self.frame_arrived(self._pool_with(link).connection_id, answer)

    def http_ended(self, link: HttpConnection, failure: frames.RequestFailed | None) -> None:
        if self._sleeps:
            self._deferred.append(partial(self.http_ended, link, failure))
            return
        pool = self._pool_with(link)
        pool.links.remove(link)
        if failure is not None:
            self.frame_arrived(pool.connection_id, failure)

    def _give_token(self, call: Call) -> None:
        assert self._tokens is not None, "it has been asked for one"
        if self._sleeps:
            self._deferred.append(partial(self._give_token, call))
            return
        now = self._clock.now
        self._driver.feed(self.session.handle_token, self._tokens.issue(self.name, now), now - self._behind)

    def next_deadline(self) -> int | None:
        deadline = None if self._sleeps else self.session.next_deadline()
        return None if deadline is None else deadline + self._behind

    def ring(self) -> None:
        self._driver.ring(self._clock.now - self._behind)

    # Faults of the device.

    def begin_sleep(self, sleep: Suspend) -> None:
        """The device sleeps until every sleep that has begun is over."""
        if not self._sleeps:
            self._deferred = []
        if sleep.clock == "stops" and not self._stops:
            self._stopped_at = self._clock.now
        self._sleeps = (*self._sleeps, sleep)

    def end_sleep(self, sleep: Suspend) -> None:
        """Undo one `begin_sleep`."""
        did_stop, self._sleeps = self._stops, without(self._sleeps, sleep)
        if did_stop and not self._stops:
            self._behind += self._clock.now - self._stopped_at
        if self._sleeps:
            return
        deferred, self._deferred = self._deferred, _NOTHING
        for take in deferred:
            take()
        self._alarm.arm(self.next_deadline())

    @property
    def _stops(self) -> bool:
        """Whether its clock is stopped."""
        return any(sleep.clock == "stops" for sleep in self._sleeps)

    def begin_background(self, background: BackgroundTab) -> None:
        """Timers are throttled until every such fault that has begun is over; the slowest of them decides."""
        self._throttles = (*self._throttles, background)
        self._throttle()

    def end_background(self, background: BackgroundTab) -> None:
        """Undo one `begin_background`."""
        self._throttles = without(self._throttles, background)
        self._throttle()

    def _throttle(self) -> None:
        if self._lateness is None:
            self._lateness = TimerLateness(0, 0, self._access_link.random_source.of(self.name))
        self._lateness.throttle = max((ns(each.timers_every_s) for each in self._throttles), default=0)
        self._alarm.set_lateness(self._lateness)

    # Inspection.

    def queues(self) -> Iterator[tuple[str, int, int]]:
        """The current queues: name, length, and limit."""
        config = self.session.config
        yield "outbox", self.session.queued_messages, config.outbox_messages_max
        yield "connections", self._access_link.connections, CONNECTIONS_MAX

    def longest(self) -> Iterator[tuple[str, int, int]]:
        """The maxima of its queues: name, length, and limit."""
        yield "outbox", self._outbox_longest, self.session.config.outbox_messages_max
        if self._takes_every is not None:
            held = next(held for held in self.session.statistics().held if held.what.startswith("outcomes"))
            yield "application", self._untaken_longest, held.limit

    # Methods of ClientIO.

    def observe(self, actions: list[ClientAction]) -> None:
        record_actions(self._trace, self.name, actions, self._clock.now)

    def open(self, action: Open) -> None:
        connection_id = action.connection_id
        if action.transport is Transport.POLLING:
            assert self._pool is None, "a session leaves its polling transport before it opens another"
            self._pool = _Pool(connection_id, action.token)
            return
        assert self._websocket is None, "a session leaves its WebSocket before it opens another"
        self._websocket_id = connection_id
        self._websocket = WebSocketConnection(
            self._access_link, self, connection_id, self._machine, self._send_buffer_bytes, action.token
        )

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        if self._listen is not None:
            self._listen(self.name, self._clock.now, "sent", connection_id, frame)
        # Without a bottleneck the sizes of a client's frames are not needed.
        size_bytes = encoded_bytes(frame) if self._access_link.counts_up else 0
        if isinstance(frame, _REQUESTS):
            self._idle_link(connection_id).ask(frame, REQUEST_HEAD_BYTES + size_bytes)
            return
        link = self._websocket
        if link is not None and connection_id == self._websocket_id:
            link.send_to_server(frame, websocket_bytes(size_bytes, is_masked=True) if size_bytes else 0)

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        websocket, pool = self._websocket, self._pool
        if websocket is not None and connection_id == self._websocket_id:
            self._websocket = None
            self._is_paused, self._unread = False, None
            websocket.client_leaves(Ending(code, message))
        elif pool is not None and connection_id == pool.connection_id:
            self._pool = None
            for link in pool.links:
                link.client_leaves(_LEFT)

    def pause(self, connection_id: int) -> None:
        """Its kernel's receive buffer fills up: data travel up to it, and are acknowledged when they are read."""
        if self._websocket is not None and connection_id == self._websocket_id:
            self._is_paused = True
            self._websocket.stall()

    def resume(self, connection_id: int) -> None:
        websocket = self._websocket
        if websocket is None or connection_id != self._websocket_id:
            return
        self._is_paused = False
        unread, self._unread = self._unread, None
        while unread and not self._is_paused:
            what = unread.popleft()
            if isinstance(what, Ending):
                self.connection_ended(connection_id, what)
            else:
                self.frame_arrived(connection_id, what)
        if self._is_paused:
            self._unread = unread or None
        elif self._websocket is websocket:
            websocket.unstall()

    def save(self, change: Change) -> None:
        raise AssertionError("this session does not save")

    def refresh_token(self) -> None:
        assert self._tokens is not None, "only a server whose tokens expire asks for another"
        Call(self._clock, self._clock.now + self._tokens.time, ARRIVAL, self._give_token)

    def deliver(self, outcomes: list[Outcome]) -> None:
        if self.on_carried is not None:
            self._heed_states(outcomes, self.on_carried)
        record_outcomes(self._trace, self.name, outcomes, self._clock.now, session=self.session)
        if self._takes_every is not None and (count := sum(map(is_sequenced, outcomes))):
            if not self._untaken:
                self._take_later()
            self._untaken += count
            self._untaken_longest = max(self._untaken_longest, self._untaken)

    def set_alarm(self, deadline: int | None) -> None:
        if deadline is None:
            return
        deadline, set_for = deadline + self._behind, self._alarm.set_for
        if set_for is None or deadline < set_for:  # as `arm` says; it usually is not, and this is asked for every frame
            self._alarm.arm(deadline)

    # Internal.

    def _heed_states(self, outcomes: list[Outcome], on_carried: Callable[[], None]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, StateChanged):
                was_carried, self.is_carried = self.is_carried, outcome.is_carried
                if self.is_carried and not was_carried:
                    on_carried()

    def _keep_unread(self, what: frames.Frame | Ending) -> None:
        if self._unread is None:
            self._unread = deque()
        self._unread.append(what)

    def _idle_link(self, connection_id: int) -> HttpConnection:
        pool = self._pool
        assert pool is not None, "requests are sent on an open transport"
        assert pool.connection_id == connection_id, "and there is one at a time"
        for link in pool.links:
            if link.request is None:
                return link
        link = HttpConnection(self._access_link, self, self._machine, self._send_buffer_bytes, pool.token)
        pool.links.append(link)
        return link

    def _pool_with(self, link: HttpConnection) -> _Pool:
        pool = self._pool
        assert pool is not None, "a link of a transport that was left reports nothing any more"
        assert link in pool.links, "nor does one of another transport"
        return pool
