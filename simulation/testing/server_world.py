"""Real client sessions around somebody's server, and an account of what it tells them.

The sessions behave as the protocol says (they resend what was not answered, resume where they were); the server is in a box.
What it says is compared with what it said before: the same number is the same event to everyone, a publish has one number, a
connection is given events without a gap, and in the end everyone has everything that was accepted.
"""

from typing import ClassVar

from reference.protocol import codec, frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import Outcome, PublishAccepted
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import RemoteError
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_S, ns
from simulation.testing.under_test import ServerUnderTest
from simulation.trace.messages import MessageLog
from simulation.trace.wording import words_of, words_of_outcome

CONFIG = ClientConfig(fallback_after_failures=None, start="oldest", ping_interval_s=5.0, ping_timeout_s=5.0, retry_limit=1000)
POLICY = FullJitter(base_s=0.5, cap_s=1.0)
SETTLE_ROUNDS = 60


class Violated(AssertionError):
    """The server has broken a guarantee: `guarantee` names it."""

    def __init__(self, guarantee: str, what: str) -> None:
        super().__init__(f"{guarantee}: {what}")
        self.guarantee = guarantee


class _NoChance:
    def uniform(self, purpose: str, index: int) -> float:
        return 0.5


class Guest:
    """One client: its session, the driver of it, and its `ClientIO` in a `ServerWorld`.

    connection: what it believes to have, by the server's name for it. link: the session's name for that. last_given: the last
    event that the connection brought. marks: of its publishes, by ticket. sent: the mark of each, by client sequence. is_blocked:
    every WebSocket of this client is refused on the way.
    """

    def __init__(self, name: str, session: ClientSession, world: "ServerWorld") -> None:
        self.name = name
        self.session = session
        self.driver = ClientDriver(session, self)
        self.world = world
        self.connection: int | None = None
        self.link: int | None = None
        self.last_given: int | None = None
        self.marks: dict[int, str] = {}
        self.sent: dict[int, str] = {}
        self.is_blocked = False

    def observe(self, actions: list[ClientAction]) -> None:
        pass

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

    def refresh_token(self) -> None:
        pass

    def deliver(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self.world.hand_over(self, outcome)

    def set_alarm(self, deadline: int | None) -> None:
        """The world looks at every session's deadline itself."""


class ServerWorld:
    """See the module. Nothing happens but what a method says; `settle` judges the end. Methods raise Violated."""

    config: ClassVar[ClientConfig] = CONFIG

    def __init__(self, server: ServerUnderTest, message_log: MessageLog | None = None) -> None:
        self.server = server
        self.message_log = message_log or MessageLog()
        self.guests: list[Guest] = []
        self.now = 0
        self.is_down = False
        self._connections = 0
        self._events: dict[tuple[str, int], str] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._answers: dict[tuple[str, int], int] = {}
        self._accepted: dict[str, int] = {}

    # What can happen.

    def join(self) -> None:
        """One more client begins to connect."""
        name = f"client{len(self.guests)}"
        session = ClientSession(name, config=self.config, policy=POLICY, random_source=_NoChance())
        guest = self._new_guest(name, session)
        self.guests.append(guest)
        guest.driver.feed(session.start, self.now)

    def publish(self, client: int) -> None:
        """A client's application publishes; what that makes it send arrives at once."""
        guest = self._pick(client)
        if guest is not None:
            mark = f"{guest.name}/{len(guest.marks) + 1}"
            ticket = guest.session.publish("CHAT", {"mark": mark}, self.now)
            guest.marks[ticket] = mark
            guest.driver.drain()

    def deliver(self, client: int) -> None:
        """What the server has said to a client arrives."""
        guest = self._pick(client)
        if guest is None or guest.connection is None or self.is_down:
            return
        connection = guest.connection
        for text in self.server.receive(connection):
            self._hear(guest, connection, text)
        if guest.connection == connection and not self.server.is_open(connection):
            self._lose(guest)

    def cut(self, client: int) -> None:
        """A client's connection breaks; what was on its way to the client is lost."""
        guest = self._pick(client)
        if guest is not None and guest.connection is not None:
            if not self.is_down:
                self.server.cut(guest.connection)
            self._lose(guest)

    def wait(self, seconds: float) -> None:
        """Time passes, and every alarm rings when it is due."""
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
        """The server is killed and started again; everyone loses their connection."""
        self.message_log.note("server", "is killed and comes back", self.now)
        self.server.crash()
        self.is_down = True
        for guest in self.guests:
            if guest.connection is not None:
                self._lose(guest)
        self.server.restart()
        self.is_down = False

    def settle(self) -> None:
        """Faults stop. Then everyone, and one who comes late, must have all that was accepted, once."""
        self.message_log.note("", "the faults stop", self.now)
        self.join()
        self._let_pass(SETTLE_ROUNDS)
        late = self.guests[-1]
        epoch, head = late.session.position
        for guest in self.guests:
            if guest.session.position != (epoch, head):
                raise Violated("G6", f"{guest.name} rests at {guest.session.position}, {late.name} at {(epoch, head)}")
            if guest.session.queued_messages:
                raise Violated("G6", f"{guest.name} still has {guest.session.queued_messages} publishes without an answer")
        for mark, number in self._accepted.items():
            if epoch is not None and self._events.get((epoch, number)) != mark:
                raise Violated("G11", f"{mark} was accepted as {number}; that event is {self._events.get((epoch, number))}")

    # The guests' IO.

    def open(self, guest: Guest, link: int) -> None:
        """A guest opens a WebSocket, which the session calls `link`."""
        if self.is_down or guest.is_blocked:
            guest.driver.feed(guest.session.connection_lost, link, None, self.now)
            return
        self._connections += 1
        guest.connection, guest.link, guest.last_given = self._connections, link, None
        self.server.open(self._connections, guest.name)
        guest.driver.feed(guest.session.connection_opened, link, self.now)

    def send(self, guest: Guest, connection: int, frame: frames.Frame) -> None:
        """A guest sends a frame, which arrives at once."""
        if isinstance(frame, frames.Publish):
            guest.sent[frame.client_sequence] = str(frame.data["mark"])
        self.message_log.sent((connection, "up"), guest.name, "server", words_of(frame), self.now)
        self.message_log.arrived((connection, "up"), self.now)
        self.server.send(connection, codec.encode(frame).decode())

    def hand_over(self, guest: Guest, outcome: Outcome) -> None:
        """A guest's application is given an outcome."""
        words = words_of_outcome(outcome)
        if words is not None:
            self.message_log.note(guest.name, words, self.now)
        if isinstance(outcome, PublishAccepted):
            self._accepted[guest.marks[outcome.ticket]] = outcome.sequence_number

    def _new_guest(self, name: str, session: ClientSession) -> Guest:
        return Guest(name, session, self)

    def _let_pass(self, rounds: int) -> None:
        """So many seconds in which everything arrives."""
        for _ in range(rounds):
            for client in range(len(self.guests)):
                self._bring_everything(client)
            self.wait(1.0)

    def _bring_everything(self, client: int) -> None:
        """What waits for a client arrives."""
        self.deliver(client)

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
        guest.driver.feed(guest.session.connection_lost, guest.link, None, self.now)

    # The account.

    def _hear(self, guest: Guest, connection: int, text: str) -> None:
        self.message_log.sent((connection, "down"), "server", guest.name, _words(text), self.now)
        self.message_log.arrived((connection, "down"), self.now)
        link = guest.link
        assert link is not None, "it has a connection"
        try:
            frame = codec.decode_server_frame(text)
        except RemoteError as error:
            raise Violated("form", f"{guest.name} was sent what is no frame: {error.message}") from None
        self._account(guest, frame)
        guest.driver.receive(link, (frame,), self.now)

    def _account(self, guest: Guest, frame: frames.Frame) -> None:
        epoch = guest.session.position[0] or ""
        match frame:
            case frames.Welcome():
                guest.last_given = frame.after_sequence
            case frames.SnapshotFrame():
                guest.last_given = frame.sequence_number
            case frames.Events(events=events):
                for event in events:
                    number = event.sequence_number or 0
                    if guest.last_given is not None and number != guest.last_given + 1:
                        what = f"{guest.name} was given event {number} after {guest.last_given} on one connection"
                        raise Violated("G1", what)
                    guest.last_given = number
                    self._seen(epoch, number, str(event.data.get("mark")))
            case frames.Accepted():
                self._answered(guest, frame)
            case _:
                pass

    def _answered(self, guest: Guest, accepted: frames.Accepted) -> None:
        sequence, number = accepted.client_sequence, accepted.sequence_number
        first = self._answers.setdefault((guest.name, sequence), number)
        if first != number:
            raise Violated("G4", f"publish {guest.sent.get(sequence)} was answered {first}, and now {number}")

    def _seen(self, epoch: str, number: int, mark: str) -> None:
        before = self._events.setdefault((epoch, number), mark)
        if before != mark:
            raise Violated("G11", f"event {number} was {before}, and now it is {mark}")
        first = self._numbers.setdefault((epoch, mark), number)
        if first != number:
            raise Violated("G3", f"{mark} is event {first}, and event {number} as well")


def _words(text: str) -> str:
    try:
        return words_of(codec.decode_server_frame(text))
    except RemoteError:
        return text[:60]
