"""A world around a server under test: real client sessions, and a trace of its messages for `simulation.checks`.

The sessions behave as the protocol requires (they resend unanswered publishes, resume from their position); the server is a black
box. The trace is checked after every arrival. In the end a late client joins and reads everything: its events are taken for the
log, and every client must have them, with everything that was accepted, once.
"""

from collections.abc import Mapping
from typing import ClassVar

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.errors import RemoteError
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.records import RunState
from reference.protocol.saved_session import Change
from reference.protocol.session_trace import trace_started
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_S, ns
from simulation.adversary.journal import Journal
from simulation.checks.checkers import check
from simulation.testing.under_test import ServerUnderTest
from simulation.trace.index import index_of
from simulation.trace.messages import MessageLog
from simulation.trace.publishes import publish_data
from simulation.trace.trace import BeginningGiven, Delivered, EntryStored, LogStored, ResetTaken, SnapshotTaken, Trace
from simulation.trace.wording import words_of, words_of_outcome
from simulation.trace.writer import record_actions

CONFIG = ClientConfig(fallback_after_failures=None, start="oldest", ping_interval_s=5.0, ping_timeout_s=5.0, retry_limit=1000)
POLICY = FullJitter(base_s=0.5, cap_s=1.0)
SETTLE_ROUNDS = 60
ROUND_TRIP_MAX_S = 2.5
"""In the end everything is delivered once a second."""


class Violated(AssertionError):
    """The server has violated a guarantee: `guarantee` is the one violated first, `what` says how. `broken`: all that are
    violated by now, with a sentence for each."""

    def __init__(self, guarantee: str, what: str, broken: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{guarantee}: {what}")
        self.guarantee = guarantee
        self.what = what
        self.broken = {guarantee: what} if broken is None else broken


def judge(trace: Trace) -> None:
    """Raise Violated for the guarantee that a trace violates first, if any."""
    broken = _broken(trace)
    if not broken:
        return
    records = list(trace)
    holds, breaks = 1, len(records)  # numbers of records: a trace of `holds` records holds, one of `breaks` records does not
    first = broken
    while breaks - holds > 1:
        middle = (holds + breaks) // 2
        if found := _broken(Trace(records[:middle])):
            breaks, first = middle, found
        else:
            holds = middle
    guarantee, what = next(iter(first.items()))
    raise Violated(guarantee, what, broken)


def _broken(trace: Trace) -> dict[str, str]:
    return {name: verdict.violations[0] for name, verdict in check(trace).items() if verdict.violations}


def record_log_of_reader(trace: Trace, client: str, now: int) -> None:
    """The events of a client that has read from the beginning are taken for the log."""
    reader = index_of(trace).clients[client]
    epoch, base, state, delivered = reader.epoch, 0, RunState(), list[Delivered]()
    for record in reader.records:
        if isinstance(record, SnapshotTaken | ResetTaken):
            base, state, delivered = record.sequence_number, record.state, []
        elif isinstance(record, BeginningGiven) and not delivered:
            base = record.sequence_number
        elif isinstance(record, Delivered):
            delivered.append(record)
    if epoch is None:
        return
    for event in delivered:
        number, kind, user, data = event.sequence_number, event.event_type, event.user_id, event.data
        trace.add(EntryStored(at=now, epoch=epoch, sequence_number=number, event_type=kind, user_id=user, data=data))
    trace.add(
        LogStored(
            at=now,
            epoch=epoch,
            oldest=base + 1,
            head=reader.position,
            snapshot_number=base,
            snapshot_state=state,
            is_whole=base == 0,
        )
    )


class _NoChance:
    def uniform(self, purpose: str, index: int) -> float:
        return 0.5


class Guest:
    """One client: its session, the driver of it, and its `ClientIO` in a `ServerWorld`.

    connection: what it believes to have, by the server's name for it. link: the session's name for that. epoch: the history that
    the connection speaks of. is_blocked: every WebSocket of this client is refused on the way.
    """

    def __init__(self, name: str, session: ClientSession, world: "ServerWorld") -> None:
        self.name = name
        self.session = session
        self.driver = ClientDriver(session, self)
        self.world = world
        self.connection: int | None = None
        self.link: int | None = None
        self.epoch = ""
        self.published = 0
        self.is_blocked = False

    def observe(self, actions: list[ClientAction]) -> None:
        record_actions(self.world.trace, self.name, actions, self.world.now)

    def open(self, action: Open) -> None:
        assert action.transport is Transport.WEBSOCKET, "these clients do not poll"
        self.world.open(self, action.connection_id)

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        if self.connection is not None:
            self.world.send(self, self.connection, frame)

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        if self.connection is not None:
            self.world.message_log.note(self.name, f"leaves: {message}", self.world.now)
            self.world.server.cut(self.connection)
            self.connection = None

    def pause(self, connection_id: int) -> None:
        raise AssertionError("an application without a limit pauses nothing")

    resume = pause

    def save(self, change: Change) -> None:
        raise AssertionError("this session does not save")

    def refresh_token(self) -> None:
        pass

    def deliver(self, outcomes: list[Outcome]) -> None:
        self.world.journal.reported(self.name, outcomes, self.session.position[0])
        for words in filter(None, map(words_of_outcome, outcomes)):
            self.world.message_log.note(self.name, words, self.world.now)

    def set_alarm(self, deadline: int | None) -> None:
        """The world looks at every session's deadline itself."""


class ServerWorld:
    """See the module. Only methods make things happen; `settle` checks the end. Methods raise Violated."""

    config: ClassVar[ClientConfig] = CONFIG

    def __init__(self, server: ServerUnderTest, message_log: MessageLog | None = None) -> None:
        self.server = server
        self.message_log = message_log or MessageLog()
        self.guests: list[Guest] = []
        self.now = 0
        self.is_down = False
        self.trace = Trace(
            [
                trace_started(
                    world="server_under_test",
                    seed=0,
                    run_id="run",
                    client=self.config,
                    server=ServerConfig(),
                    wait_max_s=POLICY.floor_s + POLICY.cap_s,
                    round_trip_max_s=ROUND_TRIP_MAX_S,
                    policy=POLICY,
                )
            ]
        )
        self.journal = Journal(self.trace, lambda: self.now)
        self._connections = 0

    # Steps.

    def join(self) -> None:
        """One more client begins to connect."""
        name = f"client{len(self.guests)}"
        session = ClientSession(name, config=self.config, policy=POLICY, random_source=_NoChance())
        guest = self._new_guest(name, session)
        self.guests.append(guest)
        self.journal.client_joins(name, name)
        guest.driver.feed(session.start, self.now)

    def publish(self, client: int) -> None:
        """A client's application publishes; resulting frames arrive at once."""
        guest = self._pick(client)
        if guest is not None:
            guest.published += 1
            data = publish_data(f"{guest.name}/{guest.published}")
            ticket = guest.session.publish("CHAT", data, self.now)
            self.journal.published(guest.name, ticket, "CHAT", data)
            guest.driver.drain()

    def deliver(self, client: int) -> None:
        """The server's messages for a client arrive."""
        self._bring_everything(client)
        self.judge()

    def _bring_everything(self, client: int) -> None:
        """Everything that waits for a client arrives."""
        guest = self._pick(client)
        if guest is None or guest.connection is None or self.is_down:
            return
        connection = guest.connection
        for text in self.server.receive(connection):
            self._hear(guest, connection, text)
        if guest.connection == connection and not self.server.is_open(connection):
            self._lose(guest)

    def cut(self, client: int) -> None:
        """A client's connection breaks; messages on their way to the client are lost."""
        guest = self._pick(client)
        if guest is not None and guest.connection is not None:
            if not self.is_down:
                self.server.cut(guest.connection)
            self._lose(guest)

    def wait(self, seconds: float) -> None:
        """Time passes, and every alarm fires when it is due."""
        until = self.now + ns(seconds)
        while True:
            alarms = [guest.session.next_deadline() for guest in self.guests]
            at = min((alarm for alarm in alarms if alarm is not None and alarm <= until), default=until)
            at = max(at, self.now)
            if not self.is_down:
                self.server.advance((at - self.now) / NS_PER_S)
            self.now = at
            for guest in self.guests:
                guest.driver.ring(self.now)
            if at >= until:
                return

    def crash(self) -> None:
        """The server is killed and started again; every client loses its connection."""
        self.message_log.note("server", "is killed and comes back", self.now)
        self.journal.server_died()
        self.server.crash()
        self.is_down = True
        for guest in self.guests:
            if guest.connection is not None:
                self._lose(guest)
        self.server.restart()
        self.is_down = False

    def settle(self) -> None:
        """Faults stop. Then every client, and a late one, must have everything that was accepted, once."""
        self.stop_faults()
        self.come_to_rest()

    def stop_faults(self) -> None:
        """A late client joins, and everything arrives."""
        self.message_log.note("", "the faults stop", self.now)
        self.journal.faults_stop()
        self.join()
        self._let_pass(SETTLE_ROUNDS)

    def come_to_rest(self, *, is_blocked: bool = False) -> None:
        """Everything should have recovered; the late client's events are the log."""
        record_log_of_reader(self.trace, self.guests[-1].name, self.now)
        self.journal.rests(is_blocked=is_blocked)
        self.judge()

    def judge(self) -> None:
        """Check the trace so far."""
        judge(self.trace)

    # The guests' IO.

    def open(self, guest: Guest, link: int) -> None:
        """A guest opens a WebSocket, which the session calls `link`."""
        if self.is_down or guest.is_blocked:
            self.journal.loses(guest.name, link, None, "", None)
            guest.driver.feed(guest.session.connection_lost, link, None, self.now)
            return
        self._connections += 1
        guest.connection, guest.link = self._connections, link
        self.server.open(self._connections, guest.name)
        guest.driver.feed(guest.session.connection_opened, link, self.now)

    def send(self, guest: Guest, connection: int, frame: frames.Frame) -> None:
        """A guest sends a frame, which arrives at once."""
        self.message_log.sent((connection, "up"), guest.name, "server", words_of(frame), self.now)
        self.message_log.arrived((connection, "up"), self.now)
        self.server.send(connection, frames.encode(frame).decode())

    def _new_guest(self, name: str, session: ClientSession) -> Guest:
        return Guest(name, session, self)

    def _let_pass(self, rounds: int) -> None:
        """This many seconds in which everything arrives."""
        for _ in range(rounds):
            for client in range(len(self.guests)):
                self._bring_everything(client)
            self.wait(1.0)

    def _pick(self, client: int) -> Guest | None:
        return self.guests[client % len(self.guests)] if self.guests else None

    def _lose(self, guest: Guest) -> None:
        connection, guest.connection = guest.connection, None
        if connection is None or guest.link is None:
            return
        if not self.is_down:
            for text in self.server.receive(connection):
                self.message_log.sent((connection, "lost"), "server", guest.name, _words(text), self.now)
        self.message_log.note(guest.name, "loses its connection", self.now)
        self.journal.loses(guest.name, guest.link, None, "", None)
        guest.driver.feed(guest.session.connection_lost, guest.link, None, self.now)

    def _hear(self, guest: Guest, connection: int, text: str) -> None:
        self.message_log.sent((connection, "down"), "server", guest.name, _words(text), self.now)
        self.message_log.arrived((connection, "down"), self.now)
        link = guest.link
        assert link is not None, "it has a connection"
        try:
            frame = frames.decode_server_frame(text)
        except RemoteError as error:
            raise Violated("form", f"{guest.name} was sent what is no frame: {error.message}") from None
        if isinstance(frame, frames.Welcome):
            guest.epoch = frame.epoch
        self.journal.brings(guest.name, connection, frame, guest.epoch)
        self.journal.hears(guest.name, link, frame, begins_anywhere=guest.session.position[0] is None)
        guest.driver.receive(link, (frame,), self.now)


def _words(text: str) -> str:
    try:
        return words_of(frames.decode_server_frame(text))
    except RemoteError:
        return text[:60]
