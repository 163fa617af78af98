"""Rule-based state machines that test your own server or client.

    class MyServer:                       # see ServerUnderTest
        ...

    class TestMyServer(ServerMachine):
        make_server = MyServer

    TestMyServer = TestMyServer.TestCase

Real client sessions of the protocol drive it, through cuts and crashes; its answers must be consistent with each other, and in
the end with what it accepted (`server_world`); for a server that also has HTTP there is `PollingServerMachine`. A failure is a
short program of rules, and `world.message_log` has the messages. For your own client there are `ClientMachine` and
`PollingClientMachine` with `make_client`; the protocol's run is then its server (`client_world`).
"""

from collections.abc import Callable
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from simulation.testing.client_world import ClientWorld
from simulation.testing.polling_client_world import PollingClientWorld
from simulation.testing.polling_world import PollingServerWorld
from simulation.testing.server_world import ServerWorld
from simulation.testing.under_test import ClientUnderTest, PollingClientUnderTest, PollingServerUnderTest, ServerUnderTest
from simulation.trace.messages import MessageLog

ServerStep = tuple[str, float]
_CLIENTS = st.integers(0, 2)
_WAITS = st.sampled_from([0.1, 1.0, 6.0])


def steps_taken(longest: int = 30) -> st.SearchStrategy[list[ServerStep]]:
    """The same as the rules, as a list of values: for `find`, and for saving."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("publish"), _CLIENTS),
            st.tuples(st.just("deliver"), _CLIENTS),
            st.tuples(st.just("cut"), _CLIENTS),
            st.tuples(st.just("wait"), _WAITS),
            st.just(("crash", 0)),
            st.just(("join", 0)),
        ),
        max_size=longest,
    )


def play_steps(server: ServerUnderTest, chosen: list[ServerStep], message_log: MessageLog | None = None) -> ServerWorld:
    """Two clients execute the list; then faults stop. Raises Violated."""
    world = ServerWorld(server, message_log)
    world.join()
    world.join()
    for step, argument in chosen:
        match step:
            case "publish":
                world.publish(int(argument))
            case "deliver":
                world.deliver(int(argument))
            case "cut":
                world.cut(int(argument))
            case "wait":
                world.wait(argument)
            case "crash":
                world.crash()
            case "join" if len(world.guests) < 4:
                world.join()
            case _:
                pass
    world.settle()
    return world


class ServerMachine(RuleBasedStateMachine):
    """See the module."""

    make_server: ClassVar[Callable[[], ServerUnderTest]]

    def __init__(self) -> None:
        super().__init__()
        self.world = self._new_world()

    def _new_world(self) -> ServerWorld:
        return ServerWorld(type(self).make_server())

    @initialize()
    def two_clients_join(self) -> None:
        self.world.join()
        self.world.join()

    @rule()
    def another_joins(self) -> None:
        if len(self.world.guests) < 4:
            self.world.join()

    @rule(client=_CLIENTS)
    def publish(self, client: int) -> None:
        self.world.publish(client)

    @rule(client=_CLIENTS)
    def deliver(self, client: int) -> None:
        self.world.deliver(client)

    @rule(client=_CLIENTS)
    def cut(self, client: int) -> None:
        self.world.cut(client)

    @rule(seconds=_WAITS)
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule()
    def crash(self) -> None:
        self.world.crash()

    def teardown(self) -> None:
        self.world.settle()


class PollingServerMachine(ServerMachine):
    """The same for a server that is asked over HTTP too: `make_server` makes a PollingServerUnderTest. Clients whose WebSockets
    are blocked poll and publish over HTTP, and come back when they are not (`polling_world`)."""

    make_server: ClassVar[Callable[[], PollingServerUnderTest]]
    world: PollingServerWorld

    def _new_world(self) -> ServerWorld:
        return PollingServerWorld(type(self).make_server())

    @rule(client=_CLIENTS)
    def block_websockets(self, client: int) -> None:
        self.world.block(client)

    @rule(client=_CLIENTS)
    def let_websockets_pass(self, client: int) -> None:
        self.world.unblock(client)

    @rule(client=_CLIENTS)
    def answer(self, client: int) -> None:
        self.world.answer(client)

    @rule(client=_CLIENTS)
    def lose_answers(self, client: int) -> None:
        self.world.lose_answers(client)


class ClientMachine(RuleBasedStateMachine):
    """See the module."""

    make_client: ClassVar[Callable[[], ClientUnderTest]]

    def __init__(self) -> None:
        super().__init__()
        self.world = self._new_world()

    def _new_world(self) -> ClientWorld:
        return ClientWorld(type(self).make_client())

    @rule()
    def publish(self) -> None:
        self.world.publish()

    @rule(count=st.integers(1, 5))
    def carry_up(self, count: int) -> None:
        self.world.carry_up(count)

    @rule(count=st.integers(1, 5))
    def carry_down(self, count: int) -> None:
        self.world.carry_down(count)

    @rule()
    def cut(self) -> None:
        self.world.cut()

    @rule(seconds=_WAITS)
    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule()
    def crash(self) -> None:
        self.world.crash()

    def teardown(self) -> None:
        self.world.settle()


class PollingClientMachine(ClientMachine):
    """The same for a client that goes on over HTTP: `make_client` makes a PollingClientUnderTest (`polling_client_world`)."""

    make_client: ClassVar[Callable[[], PollingClientUnderTest]]
    world: PollingClientWorld

    def _new_world(self) -> ClientWorld:
        return PollingClientWorld(type(self).make_client())

    @rule()
    def block_websockets(self) -> None:
        self.world.block()

    @rule()
    def let_websockets_pass(self) -> None:
        self.world.unblock()

    @rule()
    def carry_requests(self) -> None:
        self.world.carry_requests()

    @rule()
    def carry_answers(self) -> None:
        self.world.carry_answers()

    @rule()
    def lose_requests(self) -> None:
        self.world.lose_requests()
