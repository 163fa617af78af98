"""The driver of a client session: one drain for all frames of a read, actions in order, outcomes, one alarm."""

from collections.abc import Sequence

from reference.protocol import frames
from reference.protocol.actions import ClientAction, Open
from reference.protocol.client.driver import ClientDriver
from reference.protocol.client.outcomes import NotConnected, Outcome
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.saved_session import Change, PublishSaved
from reference.protocol.states import ClientState

from .machines import Always, chat, client_in, seconds


class World:
    """A `ClientIO` that writes down what it is asked for."""

    def __init__(self, driver_in: ClientState, session: ClientSession | None = None) -> None:
        self.session = session or client_in(driver_in, ping_interval_s=100).session
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


class PublishesAtOnce(World):
    """Its application publishes within its first delivery."""

    def deliver(self, outcomes: list[Outcome]) -> None:
        super().deliver(outcomes)
        if len(self.delivered) == 1:
            self.driver.feed(self.session.publish, "CHAT", {}, seconds(1))


def test_the_running_turn_carries_out_what_an_input_within_it_asks_for() -> None:
    world = PublishesAtOnce(ClientState.LIVE)
    world.driver.receive(1, [frames.Events((chat(1),))], seconds(1))
    assert world.done == [("observe", 1), ("send", 1, frames.Publish(client_sequence=1, event_type="CHAT", data={}))]
    assert len(world.alarms) == 1, "both are one turn"


def test_a_new_token_is_asked_for() -> None:
    world = World(ClientState.LIVE)
    world.driver.feed(world.session.connection_lost, 1, CloseCode.TOKEN, seconds(1))
    assert world.done[-1] == ("refresh_token",)


def test_a_close_has_its_code_and_its_reason() -> None:
    world = World(ClientState.LIVE)
    world.driver.feed(world.session.close, seconds(1))
    assert world.done[1:] == [("send", 1, frames.Bye()), ("close", 1, 1000, "leaving")]


def test_reading_is_paused_and_resumed_on_its_connection() -> None:
    world = World(ClientState.LIVE, client_in(ClientState.LIVE, outcomes_waiting_max=1).session)
    world.driver.receive(1, [frames.Events((chat(1),)), frames.Events((chat(2),))], seconds(1))
    assert ("pause", 1) in world.done
    assert ("resume", 1) not in world.done
    world.driver.feed(world.session.application_took, 1, seconds(2))
    assert world.done[-1] == ("resume", 1)


def test_a_change_is_saved_as_it_is() -> None:
    session = ClientSession("client-1", config=ClientConfig(), policy=FullJitter(), random_source=Always(0.5), saves=True)
    world = World(ClientState.NEW, session)
    world.driver.feed(session.start, 0)
    world.driver.feed(session.publish, "CHAT", {"text": "x"}, seconds(1))
    saved = [what for verb, what, *_ in world.done if verb == "save"]
    assert saved[-1] == PublishSaved(1, "CHAT", {"text": "x"})
