"""A world around a client under test without WebSockets: it must poll, publish over HTTP, and return to WebSocket.

While WebSockets are blocked, each requested one is lost at once. Requests wait until they are delivered; a lost request may have
been served, which the client does not learn. In the end polling must deliver everything; then WebSockets pass again, and the
client must use one, and make no more requests over HTTP.
"""

from reference.protocol.states import ClientState
from simulation.testing.client_world import USER, ClientWorld
from simulation.testing.server_world import Violated
from simulation.testing.under_test import PollingClientUnderTest

RETURN_ROUNDS = 60
"""Seconds for it to return, and how long it is then observed."""


class PollingClientWorld(ClientWorld):
    """See the module. Methods raise Violated."""

    def __init__(self, client: PollingClientUnderTest) -> None:
        self.is_blocked = False
        self._http = client
        self._on_the_way: dict[int, str] = {}
        self._at_server: list[int] = []
        self._asked = 0
        super().__init__(client)

    def block(self) -> None:
        """The WebSocket breaks, and every new one is refused on the way; HTTP passes."""
        self.is_blocked = True
        self.cut()

    def unblock(self) -> None:
        self.is_blocked = False

    def carry_requests(self) -> None:
        """The client's requests arrive at the server."""
        for request, text in self._on_the_way.items():
            self.server.ask(request, USER, text)
            self._at_server.append(request)
        self._on_the_way.clear()
        self._turn()

    def carry_answers(self) -> None:
        """The server's answers arrive at the client."""
        for request in tuple(self._at_server):
            text = self.server.answer(request)
            if text is not None:
                self._at_server.remove(request)
                if self._connection is None:
                    self.state_is(ClientState.POLLING)
                self._http.answered(request, text)
        self._turn()

    def lose_requests(self) -> None:
        """The connections of all requests break; those that have arrived are served or not."""
        lost, self._on_the_way, self._at_server = [*self._on_the_way, *self._at_server], {}, []
        for request in lost:
            self.server.forsake(request)
            self._http.unanswered(request)
        self._turn()

    def crash(self) -> None:
        self.lose_requests()
        super().crash()

    def settle(self) -> None:
        """Polling alone must be enough; then nothing is blocked any more."""
        self.stop_faults()
        self.come_to_rest(is_blocked=True)
        self.unblock()
        self._let_pass(RETURN_ROUNDS)
        self.come_to_rest()
        asked = self._asked
        self._let_pass(RETURN_ROUNDS)
        if self._asked != asked:
            raise Violated("G6", f"the client has a WebSocket, and made {self._asked - asked} requests in {RETURN_ROUNDS} s")

    def _carry_everything(self) -> None:
        super()._carry_everything()
        self.carry_requests()
        self.carry_answers()

    def _open(self, connection: int) -> None:
        if self.is_blocked:
            self.client.lost(connection, None)
        else:
            super()._open(connection)

    def _turn(self) -> None:
        super()._turn()
        asked = self._http.asked()
        self._asked += len(asked)
        self._on_the_way.update(asked)
