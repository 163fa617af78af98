"""The driver of a client session: one drain for all frames of a read, actions in order, outcomes, one alarm."""

from collections.abc import Sequence

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import NotConnected, Outcome
from reference.protocol.saved_session import Change
from reference.protocol.states import ClientState

from .machines import chat, client_in, seconds


class World:
    """A `ClientIO` that writes down what it is asked for."""

    def __init__(self, driver_in: ClientState) -> None:
        self.session = client_in(driver_in, ping_interval_s=100).session
        self.driver = ClientDriver(self.session, self)
        self.done: list[tuple[object, ...]] = []
        self.delivered: list[list[Outcome]] = []
        self.alarms: list[int | None] = []

    def observe(self, actions: Sequence[ClientAction]) -> None:
        self.done.append(("observe", len(actions)))

    def open(self, action: Open) -> None:
        self.done.append(("open", action.connection_id))

    def send(self, connection_id: int, frame: frames.Frame) -> None:
        self.done.append(("send", connection_id, frame))

    def close(self, connection_id: int, code: int | None, message: str) -> None:
        self.done.append(("close", connection_id, code, message))

    def pause(self, connection_id: int) -> None:
        self.done.append(("pause", connection_id))

    def resume(self, connection_id: int) -> None:
        self.done.append(("resume", connection_id))

    def save(self, change: Change) -> None:
        self.done.append(("save", change))

    def refresh_token(self) -> None:
        self.done.append(("refresh_token",))

    def deliver(self, outcomes: list[Outcome]) -> None:
        self.delivered.append(outcomes)

    def set_alarm(self, deadline: int | None) -> None:
        self.alarms.append(deadline)


def test_all_frames_of_a_read_are_one_turn() -> None:
    world = World(ClientState.LIVE)
    world.driver.receive(1, [frames.Events((chat(1),)), frames.Events((chat(2),))], seconds(1))
    assert world.delivered == [[chat(1), chat(2)]]
    assert world.alarms == [world.session.next_deadline()]


def test_an_input_is_fed_with_all_its_arguments() -> None:
    world = World(ClientState.LIVE)
    world.driver.feed(world.session.connection_lost, 1, None, seconds(1), message="the network is gone", retry_after_ms=9000)
    ((*_, reason),) = world.delivered
    assert reason == NotConnected(None, "the network is gone")
    assert world.alarms == [seconds(10.75)]
