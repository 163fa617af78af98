"""A world around a client under test: the protocol's run, over wires whose messages a test delivers.

Messages of the client wait on the wire until they are delivered; a cut loses them, and the client does not know whether they
arrived. Its application must get every event in order, once; its publishes must be in the log once, in order. The world writes
the trace of this client, as far as it is visible from outside, and `simulation.checks` checks it.
"""

from collections import deque

from reference.protocol.client.outcomes import StateChanged
from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.fallback import NeverFallBack
from reference.protocol.session_trace import trace_started
from reference.protocol.states import ClientState
from reference.protocol.timers import ns
from simulation.adversary.journal import Journal
from simulation.testing.model_server import ModelServer
from simulation.testing.server_world import ROUND_TRIP_MAX_S, Violated, judge
from simulation.testing.under_test import ClientUnderTest
from simulation.trace.publishes import publish_data
from simulation.trace.trace import Trace

SETTLE_ROUNDS = 90
USER = "ann"
NAME = "client"


class ClientWorld:
    """See the module. Methods raise Violated."""

    def __init__(self, client: ClientUnderTest) -> None:
        self.client = client
        self.server = ModelServer()
        self.now = 0
        self.trace = Trace(
            [
                trace_started(
                    world="client_under_test",
                    seed=0,
                    run_id="run",
                    client=ClientConfig(start="oldest"),
                    server=ServerConfig(),
                    wait_max_s=SETTLE_ROUNDS,
                    round_trip_max_s=ROUND_TRIP_MAX_S,
                    fallback=NeverFallBack(),
                )
            ]
        )
        self.journal = Journal(self.trace, lambda: self.now)
        self.journal.client_joins(NAME, USER)
        self.journal.begins_at(NAME, self.server.store.now.epoch, 0)
        self._connection: int | None = None
        self._up: deque[tuple[int, str]] = deque()
        self._down: deque[tuple[int, str]] = deque()
        self._published = 0
        self._turn()

    def publish(self) -> None:
        self._published += 1
        data = publish_data(f"{NAME}/{self._published}", n=self._published)
        self.journal.published(NAME, self._published, "CHAT", data)
        self.client.publish("CHAT", data)
        self._turn()

    def carry_up(self, count: int) -> None:
        """Some of the client's messages arrive."""
        for _ in range(min(count, len(self._up))):
            connection, text = self._up.popleft()
            if self.server.is_open(connection):
                self.server.send(connection, text)
        self._turn()

    def carry_down(self, count: int) -> None:
        """Some of the server's messages arrive."""
        for _ in range(min(count, len(self._down))):
            connection, text = self._down.popleft()
            if connection == self._connection:
                self.client.receive(connection, text)
        if self._connection is not None and not self._down and not self.server.is_open(self._connection):
            self._lose()
        self._turn()

    def cut(self) -> None:
        """The connection breaks, and both ends are notified; messages on their way are lost."""
        if self._connection is not None:
            self.server.cut(self._connection)
            self._lose()
        self._turn()

    def wait(self, seconds: float) -> None:
        self.now += ns(seconds)
        self.server.advance(seconds)
        self.client.advance(seconds)
        self._turn()

    def crash(self) -> None:
        """The server is killed and restarted."""
        self.journal.server_died()
        self.server.crash()
        self.server.restart()
        if self._connection is not None:
            self._lose()
        self._turn()

    def settle(self) -> None:
        """Faults stop: in the end the client has everything, and all its publishes are in the log."""
        self.stop_faults()
        self.come_to_rest()

    def stop_faults(self) -> None:
        self.journal.faults_stop()
        self._let_pass(SETTLE_ROUNDS)

    def come_to_rest(self, *, is_blocked: bool = False) -> None:
        """Everything should have recovered: check everything."""
        trace = Trace(self.trace)
        journal = Journal(trace, lambda: self.now)
        journal.entries_are(self.server.store.now)
        journal.rests(is_blocked=is_blocked)
        judge(trace)

    def _let_pass(self, rounds: int) -> None:
        """This many seconds in which everything arrives."""
        for _ in range(rounds):
            self._carry_everything()
            self.wait(1.0)

    def _carry_everything(self) -> None:
        self.carry_up(len(self._up))
        self.carry_down(len(self._down))

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        self._up.clear()
        self._down.clear()
        if connection is not None:
            self.state_is(ClientState.WAITING)
            self.client.lost(connection, None)

    def _open(self, connection: int) -> None:
        if self._connection is not None:
            self.server.cut(self._connection)
        self._connection = connection
        self._up.clear()
        self._down.clear()
        self.state_is(ClientState.LIVE)
        self.server.open(connection, USER)
        self.client.opened(connection)

    def _turn(self) -> None:
        for connection in self.client.wishes():
            self._open(connection)
        self._up.extend(self.client.sent())
        if self._connection is not None:
            self._down.extend((self._connection, text) for text in self.server.receive(self._connection))
        history = self.server.store.now
        for number in self.client.delivered():
            event = history.event(number)
            if event is None:
                raise Violated("G1", f"the application was given event {number}; the log ends at {history.head}")
            self.trace.deliver(NAME, history.epoch, number, event, self.now)

    def state_is(self, state: ClientState) -> None:
        """The transport of the session, as visible from outside."""
        self.journal.reported(NAME, [StateChanged(state, is_carried=state is not ClientState.WAITING)], None)
