"""The run of the protocol around somebody's client, over wires that a test carries by hand.

What the client sends is kept on the wire until it is carried; a cut loses it, and the client does not know whether it arrived.
Its application must be given every event in order, once; what it published must stand in the log once, in its order.
"""

from collections import deque

from simulation.testing.model_server import ModelServer
from simulation.testing.server_world import Violated
from simulation.testing.under_test import ClientUnderTest

SETTLE_ROUNDS = 90
USER = "ann"


class ClientWorld:
    """See the module. Methods raise Violated."""

    def __init__(self, client: ClientUnderTest) -> None:
        self.client = client
        self.server = ModelServer()
        self.delivered: list[int] = []
        self._connection: int | None = None
        self._up: deque[tuple[int, str]] = deque()
        self._down: deque[tuple[int, str]] = deque()
        self._published = 0
        self._turn()

    def publish(self) -> None:
        self._published += 1
        self.client.publish("CHAT", {"n": self._published})
        self._turn()

    def carry_up(self, count: int) -> None:
        """Some of what the client has sent arrives."""
        for _ in range(min(count, len(self._up))):
            connection, text = self._up.popleft()
            if self.server.is_open(connection):
                self.server.send(connection, text)
        self._turn()

    def carry_down(self, count: int) -> None:
        """Some of what the server has said arrives."""
        for _ in range(min(count, len(self._down))):
            connection, text = self._down.popleft()
            if connection == self._connection:
                self.client.receive(connection, text)
        if self._connection is not None and not self._down and not self.server.is_open(self._connection):
            self._lose()
        self._turn()

    def cut(self) -> None:
        """The connection breaks, and both ends learn of it; what was on its way is lost."""
        if self._connection is not None:
            self.server.cut(self._connection)
            self._lose()
        self._turn()

    def wait(self, seconds: float) -> None:
        self.server.advance(seconds)
        self.client.advance(seconds)
        self._turn()

    def crash(self) -> None:
        """The server is killed and comes back."""
        self.server.crash()
        self.server.restart()
        if self._connection is not None:
            self._lose()
        self._turn()

    def settle(self) -> None:
        """Faults stop: in the end the client has everything, and everything that it published stands in the log."""
        self._let_pass(SETTLE_ROUNDS)
        log = [entry.event.data["n"] for entry in self.server.store.now.entries]
        if log != list(range(1, self._published + 1)):
            raise Violated("G3", f"{self._published} publishes were made; the log holds {log}")
        if self.delivered != list(range(1, len(log) + 1)):
            raise Violated("G6", f"the application was given {self.delivered} of {len(log)} events")

    def _let_pass(self, rounds: int) -> None:
        """So many seconds in which everything arrives."""
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
            self.client.lost(connection, None)

    def _open(self, connection: int) -> None:
        if self._connection is not None:
            self.server.cut(self._connection)
        self._connection = connection
        self._up.clear()
        self._down.clear()
        self.server.open(connection, USER)
        self.client.opened(connection)

    def _turn(self) -> None:
        for connection in self.client.wishes():
            self._open(connection)
        self._up.extend(self.client.sent())
        if self._connection is not None:
            self._down.extend((self._connection, text) for text in self.server.receive(self._connection))
        for number in self.client.delivered():
            if number != len(self.delivered) + 1:
                raise Violated("G1", f"the application was given event {number} after {len(self.delivered)}")
            self.delivered.append(number)
