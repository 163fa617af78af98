"""The driver of a run and its outgoing queues: one drain for a list of inputs, bounded queues, rounds, durable before visible."""

from collections.abc import Sequence

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import Outgoing, RunDriver
from reference.protocol.server.observations import Answered, Observation
from reference.protocol.server.run import Run

from .machines import stored_run


class Socket:
    """Takes `room` frames, then none; None: any number."""

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self.taken: list[frames.Frame] = []
        self.closed: Close | None = None

    @property
    def is_blocked(self) -> bool:
        return self.room == 0

    def push(self, item: frames.Frame) -> bool:
        assert self.room != 0, "nothing is pushed to a socket that is full"
        self.taken.append(item)
        if self.room is not None:
            self.room -= 1
        return self.is_blocked

    def close(self, waiting: Sequence[frames.Frame], close: Close) -> None:
        self.taken += waiting
        self.closed = close

    def kinds(self) -> list[str]:
        return [type(frame).__name__ for frame in self.taken]


class World:
    """A `RunIO` that writes down what it is asked for."""

    def __init__(self, *, control_frames_max: int = 256, gathers: bool = False, config: ServerConfig | None = None) -> None:
        self.gathers = gathers
        self.appends: list[Append] = []
        self.turns = 0
        self.encoded = 0
        self.observed: list[Observation] = []
        run = Run(stored_run(), config=config or ServerConfig(), now=0)
        self.driver: RunDriver[frames.Frame] = RunDriver(run, self, control_frames_max=control_frames_max)

    def now(self) -> int:
        return 0

    def encode(self, frame: frames.Frame) -> frames.Frame:
        self.encoded += 1
        return frame

    def may_store(self) -> bool:
        return not self.gathers

    def store(self, append: Append) -> bool:
        self.appends.append(append)
        return False

    def identify(self, connection_id: int, token: str | None) -> None:
        raise AssertionError("everybody comes with an identity")

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        raise AssertionError("nobody asks over HTTP")

    def refuse(self, connection_id: int, close: Close) -> None:
        raise AssertionError("nobody asks over HTTP")

    def replays(self, connection_id: int, events: int) -> None:
        pass

    def observe(self, observations: Sequence[Observation]) -> None:
        self.observed += observations

    def retire(self) -> None:
        raise AssertionError("somebody is here")

    def turn_over(self) -> None:
        self.turns += 1

    def join(self, number: int, room: int | None = None) -> Socket:
        socket = Socket(room)
        self.driver.connect(number, socket, Identity(f"user-{number}"), f"session-{number}")
        self.driver.receive(number, [frames.Hello(protocol=1, client_id=f"client-{number}", start="head")])
        return socket


def publishes(*numbers: int) -> list[frames.Frame | RemoteError]:
    return [frames.Publish(client_sequence=number, event_type="CHAT", data={}) for number in numbers]


def test_a_list_of_inputs_is_one_turn_and_one_batch() -> None:
    world = World()
    socket, other = world.join(1), world.join(2)
    turns, encoded = world.turns, world.encoded
    world.driver.receive(1, publishes(1, 2, 3))
    assert world.turns == turns + 1
    (append,) = world.appends
    assert [entry.sequence_number for entry in append.entries] == [1, 2, 3]
    assert "Accepted" not in socket.kinds(), "nothing is shown before it is durable"
    world.driver.stored(append)
    assert world.turns == turns + 2
    assert socket.kinds()[-4:] == ["Accepted", "Accepted", "Accepted", "Events"]
    assert other.kinds()[-1] == "Events"
    assert world.encoded == encoded + 4, "a batch is encoded once for all readers"
    assert [each.count for each in world.observed if isinstance(each, Answered)] == [3]


def test_what_comes_while_the_store_is_not_ready_is_one_batch() -> None:
    world = World(gathers=True)
    world.join(1), world.join(2)
    world.driver.receive(1, publishes(1))
    world.driver.receive(2, publishes(1))
    assert world.appends == []
    world.driver.store_now()
    assert [len(append.entries) for append in world.appends] == [2]
    world.driver.receive(1, publishes(2))
    world.driver.store_now()
    assert len(world.appends) == 1, "one batch is with the store at a time"


def test_what_follows_a_violation_is_not_looked_at() -> None:
    world = World()
    socket = world.join(1)
    world.driver.receive(1, [*publishes(1), RemoteError(CloseCode.BAD_FRAME, "not JSON"), *publishes(2)])
    assert socket.closed is not None
    assert socket.closed.code == CloseCode.BAD_FRAME
    assert [entry.client_sequence for entry in world.appends[0].entries] == [1]


def test_frames_of_the_transport_count_against_the_limit() -> None:
    config = ServerConfig(frames_per_s=2, frame_burst=10, publishes_per_s=1, publish_burst=1)
    world = World(config=config)
    socket = world.join(1)
    world.driver.receive(1, [], others=9)
    assert socket.closed is None
    world.driver.receive(1, [], others=1)
    assert socket.closed is not None
    assert socket.closed.code == CloseCode.RATE


def test_a_reader_whose_socket_is_full_lags_and_catches_up() -> None:
    world = World()
    socket, slow = world.join(1), world.join(2)
    slow.room = 1
    for number in (1, 2, 3):
        world.driver.receive(1, publishes(number))
        world.driver.stored(world.appends[-1])
    assert world.driver.run.is_lagging(2)
    assert not world.driver.run.is_lagging(1)
    slow.room = None
    world.driver.writable(2)
    assert not world.driver.run.is_lagging(2)
    reported = [event.sequence_number for frame in slow.taken if isinstance(frame, frames.Events) for event in frame.events]
    assert reported == [1, 2, 3]
    assert socket.kinds().count("Events") == 3


def test_a_reader_whose_socket_refuses_a_batch_is_given_it_later() -> None:
    world = World()
    world.join(1)
    slow = world.join(2)
    slow.room = 1
    world.driver.receive(2, [frames.Ping(1)])
    world.driver.receive(1, publishes(1))
    world.driver.stored(world.appends[-1])
    assert world.driver.run.is_lagging(2)
    assert "Events" not in slow.kinds()
    slow.room = None
    world.driver.writable(2)
    assert slow.kinds()[-1] == "Events"
    assert not world.driver.is_draining(2)


def test_control_frames_that_wait_are_bounded_and_a_reader_beyond_that_is_closed() -> None:
    world = World(control_frames_max=3)
    socket = world.join(1)
    socket.room = 1
    for nonce in range(4):
        world.driver.receive(1, [frames.Ping(nonce)])
    assert socket.closed is None
    assert world.driver.control_frames_held.length == 3
    world.driver.receive(1, [frames.Ping(9)])
    assert socket.closed is not None
    assert socket.closed.code == CloseCode.TOO_SLOW
    assert socket.kinds()[-4:-1] == ["Pong", "Pong", "Pong"], "what was sent before leaves first"


def test_rounds_keep_neither_kind_waiting_for_ever() -> None:
    socket = Socket(room=1)
    outgoing: Outgoing[frames.Frame] = Outgoing(1, socket, 10)
    assert outgoing.send(frames.Pong(nonce=0, server_time=0))
    assert outgoing.is_draining
    assert not outgoing.offer(frames.Events(())), "the log keeps it"
    for nonce in (1, 2):
        assert outgoing.send(frames.Pong(nonce=nonce, server_time=0))
    first = [outgoing.take_control(), outgoing.take_control(), outgoing.take_control()]
    assert [getattr(frame, "nonce", None) for frame in first] == [1, 2, None], "then a batch"
    assert outgoing.send(frames.Pong(nonce=3, server_time=0))
    assert outgoing.take_control() is None, "what came in this round waits for the next"
    assert outgoing.begin_round()
    assert getattr(outgoing.take_control(), "nonce", None) == 3


@pytest.mark.parametrize("took_batch", [True, False])
def test_a_socket_that_is_full_at_the_end_of_a_turn(took_batch: bool) -> None:
    world = World()
    world.join(1)
    world.driver.receive(1, publishes(1))
    world.driver.stored(world.appends[-1])
    world.driver.blocked(1, took_batch=took_batch)
    assert world.driver.is_draining(1)
    assert world.driver.run.is_lagging(1) is took_batch
    world.driver.writable(1)
    assert not world.driver.is_draining(1)
    assert not world.driver.run.is_lagging(1)
