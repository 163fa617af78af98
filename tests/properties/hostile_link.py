"""A hostile link: real client sessions and a real run, and everything between them that can go wrong.

    application -> ClientSession -> Wire or Request -> Run -> StoreModel
                        |                              |
                        '--------- Journal ------------'      (the checkers: see `journal`)

Time is an integer that only `steps` move, and nothing happens by itself: every delivery, loss, cut, commit and crash is a step that
Hypothesis drew, so a failing example is a list of steps that anyone can read and replay. The link does what TCP and a dying server can
do, and no more: what arrives on one wire arrives in order and whole, but when, and whether the other end ever learns of the end,
is anyone's guess. Frames pass through the codec.

`World.calm` is the link without malice: everything is delivered within a millisecond and alarms ring on time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from reference.protocol import codec, frames
from reference.protocol.actions import Authenticate, Close, Deliver, Open, RefreshToken, Send
from reference.protocol.backoff import FullJitter
from reference.protocol.client_session import ClientSession
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import LocalError
from reference.protocol.events import EventRegistry
from reference.protocol.records import Append
from reference.protocol.run import Run
from reference.protocol.server_session import Identity
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_MS, ns

from .bounds import check_client, check_run
from .journal import Journal, View
from .model import StoreModel
from .network import End, Opened, Request, Wire

SERVER_CLOCK_AHEAD = 1_700_000_000 * 1_000_000_000
POLICY = FullJitter(base_s=0.5, cap_s=2.0)
WAIT_MAX_S = POLICY.floor_s + POLICY.cap_s
SERVER_KNOWS = EventRegistry(("CHAT",))
CLIENT_KNOWS = EventRegistry(("CHAT", "NEWER"))
"""Clients of a newer version publish a type that this server refuses for good."""
ROUNDS_MAX = 50_000


@dataclass(frozen=True)
class Setup:
    """What a world begins with. `users[i]` is the user of client i; `chance` is what every draw is taken from."""

    users: tuple[str, ...] = ("ann", "ben")
    client: ClientConfig = field(default_factory=ClientConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    chance: tuple[float, ...] = (0.0,)
    token_in_hello: bool = False


@dataclass(frozen=True)
class Draws:
    chance: tuple[float, ...]

    def uniform(self, purpose: str, index: int) -> float:
        return self.chance[(len(purpose) + index) % len(self.chance)]


@dataclass(eq=False)
class Host:
    """One client and its application."""

    index: int
    user: str
    session: ClientSession
    view: View
    wires: dict[int, Wire] = field(default_factory=dict)
    lane: int | None = None
    blocked: bool = False
    """Every WebSocket is refused on the way; HTTP passes."""
    is_gone: bool = False
    not_before: int = 0
    """The server asked this client not to come back earlier."""
    failures: int = 0
    """WebSockets in a row that died under it before they were live."""


class World:
    """See the module."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.now = 0
        self.store = StoreModel()
        self.journal = Journal(self.store.histories)
        self.hosts: list[Host] = []
        self.wires: list[Wire] = []
        self.requests: list[Request] = []
        self.appends: list[Append] = []
        self.checks: list[tuple[int, str | None]] = []
        """Connections whose tokens are being checked."""
        self.run: Run | None = None
        self._by_server_end: dict[int, Wire | Request] = {}
        self._ends = 0
        self.restart()
        for user in setup.users:
            self.join(user)

    # Clients.

    def join(self, user: str) -> Host:
        """A new client: a page is opened, a notebook is started."""
        name = f"client{len(self.hosts)}"
        draws = Draws(self.setup.chance)
        session = ClientSession(name, config=self.setup.client, policy=POLICY, draws=draws, registry=CLIENT_KNOWS, token=user)
        host = Host(len(self.hosts), user, session, View(name))
        self.hosts.append(host)
        session.start(self.now)
        self.pump(host)
        return host

    def publish(self, host: Host, event_type: str, **data: object) -> None:
        """The application publishes. Its data carries a mark by which it is known wherever it turns up."""
        if host.is_gone:
            return
        ticket = len(host.view.marks) + 1
        mark = f"{host.view.client}/{ticket}"
        try:
            given = host.session.publish(event_type, {**data, "mark": mark}, self.now)
        except LocalError:
            pass  # full, or closed: nothing was queued
        else:
            assert given not in host.view.marks, "a ticket is given once"
            # Marks count what was queued; a ticket is the machine's own name for it.
            host.view.marks[given] = mark
            host.view.asked[given] = mark
        self.pump(host)

    def leave(self, host: Host) -> None:
        """The application closes its session."""
        if not host.is_gone:
            host.is_gone = True
            host.session.close(self.now)
            self.pump(host)

    def pump(self, host: Host) -> None:
        """Do what the session asks for."""
        session = host.session
        for action in session.take_actions():
            match action:
                case Open(connection_id, transport, _):
                    self._open(host, connection_id, transport)
                case Send((connection_id,), frame):
                    self._send(host, connection_id, frame)
                case Close((connection_id,), code, message):
                    self._close(host, connection_id, code, message)
                case RefreshToken():
                    session.handle_token(host.user, self.now)
                case _:
                    raise AssertionError(f"no driver knows {action}")
        for outcome in session.take_outcomes():
            self.journal.told(host.view, outcome)
        if session.state is ClientState.CLOSED and not host.is_gone:
            self.journal.note("G6", f"{session.client_id} has ended by itself: {host.view.ended}")
            host.is_gone = True
        self._check_roads(host)
        self.journal.position_is(host.view, *session.position)
        check_client(session, self.journal.note)

    def _check_roads(self, host: Host) -> None:
        """One WebSocket, or one lane with a probe behind it; and polling when WebSocket has failed often enough."""
        state, limit = host.session.state, self.setup.client.fallback_after_failures
        if len(host.wires) > 1 or (state is ClientState.LIVE and host.lane is not None):
            self.journal.note(
                "G7", f"{host.session.client_id} is {state.value} with {len(host.wires)} wires and lane {host.lane}"
            )
        if state is ClientState.LIVE or state.is_polling:
            host.failures = 0
        elif limit is not None and host.failures >= limit and state is not ClientState.CLOSED:
            self.journal.note("G6", f"{host.session.client_id} is {state.value} after {host.failures} failures, and not polling")

    def _open(self, host: Host, connection_id: int, transport: Transport) -> None:
        if self.now < host.not_before and transport is Transport.WEBSOCKET:
            early_ms = (host.not_before - self.now) // NS_PER_MS
            self.journal.note("G10", f"{host.session.client_id} comes back {early_ms} ms before the time it was asked for")
        if transport is Transport.POLLING:
            host.lane = connection_id
            return
        wire = Wire(host.index, connection_id)
        host.wires[connection_id] = wire
        self.wires.append(wire)

    def _send(self, host: Host, connection_id: int, frame: frames.Frame) -> None:
        if isinstance(frame, frames.PollRequest | frames.PublishRequest):
            assert connection_id == host.lane, "a request on a lane that is closed"
            if isinstance(frame, frames.PublishRequest):
                sent = codec.decode_publish_request(codec.encode(frame), codec.FRAME_BYTES_MAX)
                assert sent == frame
            self.requests.append(Request(host.index, connection_id, frame))
            return
        wire = host.wires[connection_id]
        assert wire.client_stands, f"{type(frame).__name__} on a connection that the session has left"
        if isinstance(frame, frames.Publish):
            if frame.client_sequence in wire.publishes:
                self.journal.note("G10", f"publish {frame.client_sequence} is sent twice on one living connection")
            wire.publishes.add(frame.client_sequence)
        wire.up.append(codec.encode(frame))

    def _close(self, host: Host, connection_id: int, code: int | None, message: str) -> None:
        if code is not None and code >= 4100:
            self.journal.note("G6", f"{host.session.client_id} quarrels with an honest server: {code} {message}")
        if connection_id == host.lane:
            host.lane = None
            for request in self.requests:
                if request.client == host.index and request.lane == connection_id:
                    request.client_waits = False
            return
        wire = host.wires.pop(connection_id)
        wire.client_stands = False
        wire.up.append(End(code, message))

    # The server.

    @property
    def server_now(self) -> int:
        return self.now + SERVER_CLOCK_AHEAD

    def restart(self) -> None:
        """The server is started, with what its store holds."""
        assert self.run is None
        self.run = Run(self.store.load(), config=self.setup.server, now=self.server_now, registry=SERVER_KNOWS)
        self.journal.server_restarted()
        self.pump_server()

    def crash(self, stored: int) -> None:
        """The server dies. Of the batches on their way to the store, the first `stored` arrive."""
        self.run = None
        self.commit(stored)
        self.appends.clear()
        self.checks.clear()
        self._by_server_end.clear()
        for wire in self.wires:
            if wire.server_stands:
                wire.server_stands = False
                wire.up.clear()
                wire.down.append(End())
        for request in self.requests:
            if request.server_end is not None and not request.is_answered:
                request.fail(None, "the server died")

    def commit(self, count: int) -> None:
        """The first `count` batches become durable, and the run, if it still lives, is told so."""
        for append in self.appends[:count]:
            self.store.append(append)
            self.journal.stored(append)
            if self.run is not None:
                self.run.handle_appended(append, self.server_now)
        del self.appends[:count]
        self.pump_server()

    def lose_history(self, kept: int) -> None:
        """The server dies, and its store is restored from an older copy, or from none."""
        self.crash(0)
        self.store.begin(self.store.now.entries[:kept])
        self.journal.history_lost(self.store.now.epoch, [str(entry.event.data["mark"]) for entry in self.store.now.entries])

    def fail_append(self, stored: int) -> None:
        """The store gives an error. The driver tells the run, drops it and loads it anew."""
        if self.run is None or not self.appends:
            return
        self.run.handle_append_failed(self.server_now, "the disk is full")
        self.pump_server()
        self.crash(stored)
        self.restart()

    def accept(self, wire: Wire) -> None:
        """The server takes a WebSocket that a client wishes to open."""
        assert self.run is not None
        wire.server_end = self._new_end(wire)
        wire.server_stands = True
        identity = None if self.setup.token_in_hello else Identity(self.hosts[wire.client].user)
        self.run.connection_opened(wire.server_end, Transport.WEBSOCKET, identity, f"s{wire.server_end}", self.server_now)
        wire.down.append(Opened())
        self.pump_server()

    def take_request(self, request: Request) -> None:
        """An HTTP request arrives at the server."""
        assert self.run is not None
        request.server_end = end = self._new_end(request)
        user = Identity(self.hosts[request.client].user)
        self.run.connection_opened(end, Transport.POLLING, user, f"s{end}", self.server_now)
        self.run.receive_frame(end, request.frame, self.server_now)
        self.pump_server()

    def check_token(self) -> None:
        """The oldest token that waits is found good."""
        connection_id, token = self.checks.pop(0)
        assert self.run is not None
        self.run.handle_authenticated(connection_id, Identity(token or "nobody"), self.server_now)
        self.pump_server()

    def pump_server(self) -> None:
        """Do what the run asks for, until it asks for nothing more."""
        run = self.run
        while run is not None:
            append = run.events_to_append()
            if append is not None:
                self.appends.append(append)
            actions = run.take_actions()
            for action in actions:
                match action:
                    case Send(connection_ids, frame):
                        for connection_id in connection_ids:
                            self._say(run, connection_id, frame)
                    case Deliver(connection_ids):
                        for connection_id in connection_ids:
                            self._deliver(run, connection_id, action)
                    case Close(connection_ids, code, message, retry_after_ms):
                        for connection_id in connection_ids:
                            self._hang_up(connection_id, End(code, message, retry_after_ms))
                    case Authenticate(connection_id, token):
                        self.checks.append((connection_id, token or self.hosts[self._by_server_end[connection_id].client].user))
                    case _:
                        assert_never(action)
            gave = [self._give(run, wire) for wire in self.wires if wire.server_stands]
            if not actions and append is None and not any(gave):
                break
        if run is not None:
            run.take_observations()
            check_run(run, self.journal.note)

    def _new_end(self, thing: Wire | Request) -> int:
        self._ends += 1
        self._by_server_end[self._ends] = thing
        return self._ends

    def _say(self, run: Run, connection_id: int, frame: frames.Frame) -> None:
        thing = self._by_server_end[connection_id]
        client = self.hosts[thing.client].session.client_id
        is_http = isinstance(thing, Request)
        self.journal.said(client, connection_id, frame, run.epoch, over_http=is_http)
        if isinstance(thing, Request):
            assert not thing.is_answered, "a request gets one answer"
            thing.answer = codec.encode(frame)
            del self._by_server_end[connection_id]
        else:
            thing.down.append(codec.encode(frame))

    def _deliver(self, run: Run, connection_id: int, batch: Deliver) -> None:
        wire = self._by_server_end[connection_id]
        assert isinstance(wire, Wire)
        if wire.credit == 0:
            run.handle_refused(connection_id, batch, self.server_now)
            return
        if wire.swallows:
            wire.swallows -= 1
        else:
            self._say(run, connection_id, batch.frame)
        if wire.credit is not None:
            wire.credit -= 1
            if wire.credit == 0:
                run.handle_blocked(connection_id, batch, self.server_now)

    def _give(self, run: Run, wire: Wire) -> bool:
        """Give a lagging reader what its socket takes. Returns whether anything was asked for."""
        end = wire.server_end
        asked = False
        while end is not None and run.is_lagging(end) and wire.credit != 0:
            batch = run.next_batch(end, self.server_now)
            asked = True
            if batch is None:
                assert not run.is_lagging(end), "a reader that is given nothing more is current"
                break
            self._deliver(run, end, batch)
        return asked

    def _hang_up(self, connection_id: int, end: End) -> None:
        thing = self._by_server_end.pop(connection_id)
        client = self.hosts[thing.client]
        if end.code is not None and end.code >= 4400:
            self.journal.note("G6", f"the server quarrels with honest {client.session.client_id}: {end.code} {end.message}")
        if isinstance(thing, Request):
            thing.fail(end.code, end.message, end.retry_after_ms)
            return
        thing.server_stands = False
        thing.up.clear()
        thing.down.append(end)

    # What arrives.

    def move_up(self, wire: Wire) -> None:
        """The next thing that a client sent arrives at the server."""
        item = wire.up.popleft()
        run, end = self.run, wire.server_end
        if run is None or end is None or not wire.server_stands:
            return  # nobody listens
        if isinstance(item, End):
            wire.server_stands = False
            del self._by_server_end[end]
            run.connection_lost(end, self.server_now)
        else:
            frame = codec.decode_client_frame(item)
            client = self.hosts[wire.client].session.client_id
            was_owner, before = self.journal.owns(client, end), run._sequencer.last_of(client)
            run.receive_frame(end, frame, self.server_now)
            if isinstance(frame, frames.Publish) and not was_owner and run._sequencer.last_of(client) != before:
                self.journal.note("G9", f"a connection of {client} published that does not own its session")
        self.pump_server()

    def move_down(self, wire: Wire) -> None:
        """The next thing that the server sent arrives at the client."""
        item = wire.down.popleft()
        host = self.hosts[wire.client]
        session = host.session
        match item:
            case Opened():
                if wire.client_stands:
                    session.connection_opened(wire.client_end, self.now)
            case End(code, message, retry_after_ms):
                if wire.client_stands:
                    self._lose(host, wire, code, message, retry_after_ms)
            case _:
                # A frame may come too late: the session has left this connection, and does not care what it says.
                frame = codec.decode_server_frame(item)
                if wire.client_stands:
                    self._expect(host, frame)
                if isinstance(frame, frames.Rejected) and frame.retryable:
                    wire.publishes.clear()
                session.receive_frame(wire.client_end, frame, self.now)
        self.pump(host)

    def answer(self, request: Request) -> None:
        """The answer to an HTTP request arrives, or the news that there will be none."""
        self.requests.remove(request)
        host = self.hosts[request.client]
        answer: frames.Frame | None = request.failure
        if request.answer is not None:
            answer = codec.decode_answer(request.frame, request.answer)
        assert answer is not None
        if request.client_waits:
            self._expect(host, answer)
        elif request.lane == host.lane:
            return  # the driver gave up on this one; what comes on a lane that the session has left is for the session to ignore
        host.session.receive_frame(request.lane, answer, self.now)
        self.pump(host)

    def disown(self, request: Request) -> None:
        """Nobody waits for what the server will answer to a request that it has."""
        assert request.server_end is not None
        orphan = Request(request.client, request.lane, request.frame, client_waits=False, server_end=request.server_end)
        self._by_server_end[request.server_end] = orphan

    def sever(self, wire: Wire) -> None:
        """The client learns that a wire is dead."""
        host = self.hosts[wire.client]
        wire.down.clear()
        if wire.client_stands:
            self._lose(host, wire, None, "cut", None)
            self.pump(host)

    def sever_server(self, wire: Wire) -> None:
        """The server learns that a wire is dead."""
        wire.up.clear()
        if wire.server_stands and wire.server_end is not None and self.run is not None:
            wire.server_stands = False
            del self._by_server_end[wire.server_end]
            self.run.connection_lost(wire.server_end, self.server_now)
            self.pump_server()

    def _lose(self, host: Host, wire: Wire, code: int | None, message: str, retry_after_ms: int | None) -> None:
        wire.client_stands = False
        host.failures += host.session.state is not ClientState.LIVE
        del host.wires[wire.client_end]
        wire.up.append(End())
        if retry_after_ms is not None:
            host.not_before = max(host.not_before, self.now + retry_after_ms * NS_PER_MS)
        host.session.connection_lost(wire.client_end, code, self.now, message=message, retry_after_ms=retry_after_ms)

    def _expect(self, host: Host, frame: frames.Frame) -> None:
        """Note what a frame that is about to be received will mean to the application."""
        if isinstance(frame, frames.Goaway) and host.session.state is not ClientState.CLOSED:
            host.not_before = max(host.not_before, self.now + frame.retry_after_ms * NS_PER_MS)
        if isinstance(frame, frames.Welcome | frames.PollAnswer) and frame.outcome == "fresh":
            if self.setup.client.start != "snapshot" and host.view.epoch is None:
                host.view.begins_at = (frame.epoch, frame.after_sequence)

    # Time.

    def ring(self) -> None:
        """Every alarm that is due by now rings."""
        for host in self.hosts:
            deadline = host.session.next_deadline()
            if deadline is not None and deadline <= self.now:
                host.session.handle_timeout(self.now)
                self._check_alarm(host.session.next_deadline(), self.now)
                self.pump(host)
        if self.run is not None:
            deadline = self.run.next_deadline()
            if deadline is not None and deadline <= self.server_now:
                self.run.handle_timeout(self.server_now)
                self._check_alarm(self.run.next_deadline(), self.server_now)
                self.pump_server()

    def _check_alarm(self, deadline: int | None, now: int) -> None:
        assert deadline is None or deadline > now, "an alarm that was served does not ring again at once"

    def next_alarm(self) -> int | None:
        alarms = [host.session.next_deadline() for host in self.hosts]
        if self.run is not None:
            due = self.run.next_deadline()
            alarms.append(None if due is None else due - SERVER_CLOCK_AHEAD)
        return min((alarm for alarm in alarms if alarm is not None), default=None)

    def calm(self, duration_s: float) -> None:
        """Let everything go as it should for a while: a message takes a millisecond, and alarms ring on time."""
        until = self.now + ns(duration_s)
        for _ in range(ROUNDS_MAX):
            if self._move_everything():
                self.now += NS_PER_MS
            elif (alarm := self.next_alarm()) is None or alarm > until:
                self.now = max(self.now, until)
                break
            else:
                self.now = max(self.now, alarm)
            self.ring()
            if self.now >= until:
                break
        else:
            raise AssertionError(f"no rest within {ROUNDS_MAX} rounds")

    def _move_everything(self) -> bool:
        """One step of everything that can move. Returns whether anything did."""
        self._sweep()
        moves: list[tuple[Callable[..., None], Sequence[object]]] = []
        for wire in self.wires:
            if wire.is_opening and wire.client_stands:
                refused = self.hosts[wire.client].blocked or self.run is None
                moves.append((self.sever if refused else self.accept, (wire,)))
            moves += [(self._move_up_if_any, (wire,))] * (len(wire.up) if wire.moves_up and not wire.up_is_stalled else 0)
            moves += [(self._move_down_if_any, (wire,))] * (len(wire.down) if wire.moves_down and not wire.down_is_stalled else 0)
        for request in self.requests:
            if request.is_stalled:
                continue
            if request.is_answered:
                moves.append((self.answer, (request,)))
            elif request.is_under_way and self.run is not None:
                moves.append((self.take_request, (request,)))
            elif request.is_under_way:
                request.fail(None, "connection refused")
        if self.appends:
            moves.append((self.commit, (len(self.appends),)))
        if self.checks and self.run is not None:
            moves.append((self.check_token, ()))
        for move, given in moves:
            move(*given)
        return bool(moves)

    def _move_up_if_any(self, wire: Wire) -> None:
        if wire.moves_up:
            self.move_up(wire)

    def _move_down_if_any(self, wire: Wire) -> None:
        if wire.moves_down:
            self.move_down(wire)

    def _sweep(self) -> None:
        self.wires = [wire for wire in self.wires if not wire.is_over]
