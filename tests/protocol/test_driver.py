"""The driver of a run and its outgoing queues: one drain for a list of inputs, bounded queues, rounds, durable before visible."""

from collections.abc import Callable, Sequence

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.records import Append
from reference.protocol.server.connection import Identity
from reference.protocol.server.driver import Outgoing, RunDriver
from reference.protocol.server.observations import Answered, Left, Observation
from reference.protocol.server.run import Run

from .machines import EPOCH, seconds, stored_run


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
        self.clock = 0
        self.stores_at_once = False
        self.identity: Identity | RemoteError | None = None
        """Of each token."""
        self.tokens: list[tuple[int, str | None]] = []
        self.answers: list[tuple[int, frames.Frame | Close]] = []
        self.replayed: list[tuple[int, int]] = []
        run = Run(stored_run(), config=config or ServerConfig(), now=0)
        self.driver: RunDriver[frames.Frame] = RunDriver(run, self, control_frames_max=control_frames_max)

    def now(self) -> int:
        return self.clock

    def encode(self, frame: frames.Frame) -> frames.Frame:
        self.encoded += 1
        return frame

    def may_store(self) -> bool:
        return not self.gathers

    def store(self, append: Append) -> bool:
        self.appends.append(append)
        return self.stores_at_once

    def identify(self, connection_id: int, token: str | None) -> Identity | RemoteError | None:
        self.tokens.append((connection_id, token))
        return self.identity

    def answer(self, connection_id: int, frame: frames.Frame) -> None:
        self.answers.append((connection_id, frame))

    def refuse(self, connection_id: int, close: Close) -> None:
        self.answers.append((connection_id, close))

    def replays(self, connection_id: int, events: int) -> None:
        self.replayed.append((connection_id, events))

    def observe(self, observations: Sequence[Observation]) -> None:
        self.observed += observations

    def retire(self) -> None:
        raise AssertionError("somebody is here")

    def turn_over(self) -> None:
        self.turns += 1

    def publish(self, *numbers: int) -> None:
        """Connection 1 publishes, and the events are stored."""
        for number in numbers:
            self.driver.receive(1, publishes(number))
            self.driver.stored(self.appends[-1])

    def join(self, number: int) -> Socket:
        socket = Socket()
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


@pytest.mark.parametrize(("others", "taken"), [(2, 3), (3, 2), (5, 0), (7, 0)])
def test_what_is_beyond_the_limit_of_frames_is_not_looked_at(others: int, taken: int) -> None:
    config = ServerConfig(frames_per_s=2, frame_burst=6, publishes_per_s=1, publish_burst=3)  # hello was the first
    world = World(config=config)
    socket = world.join(1)
    world.driver.receive(1, publishes(1, 2, 3), others)
    assert [len(append.entries) for append in world.appends] == ([taken] if taken else [])
    assert (socket.closed is None) is (taken == 3)


def test_a_reader_whose_socket_is_full_lags_and_catches_up() -> None:
    world = World()
    socket, slow = world.join(1), world.join(2)
    slow.room = 1
    world.publish(1)
    assert world.driver.run.is_lagging(2), "its socket is full now"
    world.publish(2, 3)
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
    world.publish(1)
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
    outgoing: Outgoing[frames.Frame] = Outgoing(socket, 10)
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
    assert outgoing.send(frames.Pong(nonce=4, server_time=0))
    second = [outgoing.take_control(), outgoing.take_control()]
    assert [getattr(frame, "nonce", None) for frame in second] == [3, None]


@pytest.mark.parametrize("took_batch", [True, False])
def test_a_socket_that_is_full_at_the_end_of_a_turn(took_batch: bool) -> None:
    world = World()
    world.join(1)
    world.publish(1)
    world.driver.blocked(1, took_batch=took_batch)
    assert world.driver.is_draining(1)
    assert world.driver.run.is_lagging(1) is took_batch
    world.driver.writable(1)
    assert not world.driver.is_draining(1)
    assert not world.driver.run.is_lagging(1)


def test_frames_that_wait_leave_one_by_one_as_the_socket_has_room() -> None:
    world = World()
    socket = world.join(1)
    socket.room = 1
    for nonce in range(4):
        world.driver.receive(1, [frames.Ping(nonce)])
    for room, waiting in ((0, 3), (1, 2), (2, 0)):
        socket.room = room
        turns = world.turns
        world.driver.writable(1)
        assert (world.driver.control_frames, world.turns) == (waiting, turns + 1)
    world.driver.writable(7)
    assert world.driver.is_draining(1), "its socket is full, though nothing waits"


def lagging_reader(world: World) -> Socket:
    """Connection 2 was sent the event that it missed, its socket is full again, and one control frame has come since."""
    world.join(1)
    slow = world.join(2)
    slow.room = 1
    world.driver.receive(2, [frames.Ping(1)])
    world.publish(1)
    slow.room = 1
    world.driver.writable(2)
    assert slow.kinds()[-2:] == ["Pong", "Events"]
    world.driver.receive(2, [frames.Ping(2)])
    return slow


def test_a_frame_that_came_in_the_last_round_leaves_in_the_next() -> None:
    world = World()
    slow = lagging_reader(world)
    slow.room, turns = None, world.turns
    world.driver.writable(2)
    assert slow.kinds()[-3:] == ["Pong", "Events", "Pong"]
    assert world.turns == turns + 1
    assert not world.driver.is_draining(2)


@pytest.mark.parametrize(("control_frames_max", "is_closed"), [(3, False), (2, True)])
def test_who_is_current_again_is_sent_the_presence_that_it_missed(control_frames_max: int, is_closed: bool) -> None:
    world = World(control_frames_max=control_frames_max)
    slow = lagging_reader(world)
    world.join(3)
    world.clock = seconds(1)
    world.driver.ring()
    slow.room, turns = None, world.turns
    world.driver.writable(2)
    assert world.turns == turns + 1
    assert (slow.closed is not None) is is_closed, "it counts among the frames that wait"
    if not is_closed:
        assert slow.kinds()[-4:] == ["Events", "Pong", "Presence", "Cursors"]


@pytest.mark.parametrize("comes_later", [True, False])
def test_who_is_welcomed_is_sent_what_it_missed_in_the_same_turn(comes_later: bool) -> None:
    world = World()
    world.join(1)
    world.publish(1, 2)
    world.identity = None if comes_later else Identity("user-2")
    socket = Socket()
    world.driver.connect(2, socket, None, "session-2")
    world.driver.receive(2, [frames.Hello(protocol=1, client_id="client-2", token="token-2", epoch=EPOCH, after_sequence=0)])
    assert world.tokens == [(2, "token-2")]
    if comes_later:
        assert socket.taken == []
        world.driver.authenticated(2, Identity("user-2"))
    assert world.replayed == [(2, 2)]
    assert socket.kinds()[0] == "Welcome"
    assert [len(frame.events) for frame in socket.taken if isinstance(frame, frames.Events)] == [2]


def catching_up(room: int) -> tuple[World, Socket]:
    """Connection 2 is welcomed three events behind, each a batch of its own; its socket takes `room` frames."""
    world = World(config=ServerConfig(batch_events_max=1))
    world.join(1)
    world.publish(1, 2, 3)
    socket = Socket(room)
    world.driver.connect(2, socket, Identity("user-2"), "session-2")
    world.driver.receive(2, [frames.Hello(protocol=1, client_id="client-2", epoch=EPOCH, after_sequence=0)])
    return world, socket


def test_who_catches_up_is_sent_what_its_socket_takes_and_the_rest_when_it_has_room() -> None:
    world, socket = catching_up(room=2)
    assert socket.kinds() == ["Welcome", "Events"], "its socket is full, and nothing is pushed to it"
    assert world.driver.is_draining(2)
    socket.room = None
    world.driver.writable(2)
    assert [frame.events[0].sequence_number for frame in socket.taken if isinstance(frame, frames.Events)] == [1, 2, 3]
    assert not world.driver.run.is_lagging(2)


def test_who_catches_up_is_not_served_past_the_frames_that_wait() -> None:
    world, socket = catching_up(room=1)
    world.driver.receive(2, [frames.Ping(1)])
    socket.room = None
    world.driver.receive(2, [frames.Ping(2)])
    assert socket.kinds() == ["Welcome"], "its socket has room, but a round has to be served first"
    world.driver.writable(2)
    assert socket.kinds() == ["Welcome", "Pong", "Pong", "Events", "Events", "Events"]


def test_presence_that_changes_with_a_welcome_reaches_who_is_welcomed_in_the_same_turn() -> None:
    world = World()
    world.join(1), world.join(2)
    world.clock = seconds(10)  # the change that connection 2 made is due, and the alarm is late
    socket, turns = Socket(), world.turns
    world.driver.connect(3, socket, Identity("user-3"), "session-3")
    world.driver.receive(3, [frames.Hello(protocol=1, client_id="client-3", start="head")])
    assert world.turns == turns + 2
    assert socket.kinds() == ["Welcome", "Presence", "Cursors"]


def test_an_alarm_is_served_for_the_time_that_it_was_set_for_though_the_clock_is_before_it() -> None:
    world = World()
    socket = world.join(1)
    heartbeat_at = seconds(15)
    world.clock = heartbeat_at - 1
    world.driver.ring()
    assert "Heartbeat" not in socket.kinds()
    world.driver.ring(heartbeat_at)
    assert socket.kinds()[-1] == "Heartbeat"


def test_the_most_frames_that_waited_are_remembered() -> None:
    world = World()
    socket = world.join(1)
    assert world.driver.control_frames_longest == 0
    socket.room = 1
    for nonce in range(4):
        world.driver.receive(1, [frames.Ping(nonce)])
    socket.room = None
    world.driver.writable(1)
    socket.room = 1
    for nonce in range(2):
        world.driver.receive(1, [frames.Ping(nonce)])
    assert (world.driver.control_frames, world.driver.control_frames_longest) == (1, 3)


def test_a_connection_that_is_lost_is_forgotten_with_its_code() -> None:
    world = World()
    world.join(1), world.join(2)
    world.observed.clear()
    world.driver.lost(1, 1001)
    world.driver.lost(7)
    assert world.driver.websockets == (2,)
    assert world.observed == [Left(1, "session-1", "client-1", None, 1001)]


@pytest.mark.parametrize(
    ("act", "code", "reason", "closed"),
    [
        (lambda driver: driver.too_slow(2), CloseCode.TOO_SLOW, "slow reader: too many frames wait for this connection", [2]),
        (lambda driver: driver.dismiss([2], CloseCode.FORBIDDEN, "not today"), CloseCode.FORBIDDEN, "not today", [2]),
        (lambda driver: driver.store_failed("disk full"), CloseCode.OVERLOADED, "the store failed: disk full", [1, 2]),
        (
            lambda driver: driver.go_away(retry_after_ms=1, spread_ms=1, of=[2], code=CloseCode.RATE),
            CloseCode.RATE,
            "reconnect later",
            [2],
        ),
        (lambda driver: driver.go_away(retry_after_ms=1, spread_ms=1), CloseCode.GOING_AWAY, "reconnect later", [1, 2]),
    ],
)
def test_connections_that_are_ended_are_closed_in_the_same_turn(
    act: Callable[[RunDriver[frames.Frame]], None], code: CloseCode, reason: str, closed: list[int]
) -> None:
    world = World()
    sockets = {number: world.join(number) for number in (1, 2)}
    world.clock, turns = seconds(1), world.turns
    act(world.driver)
    assert world.turns == turns + 1
    assert [number for number, socket in sockets.items() if socket.closed] == closed
    last = sockets[2].closed
    assert last is not None
    assert (last.code, last.message) == (code, reason)


def test_who_is_asked_to_go_away_is_told_for_how_long() -> None:
    world = World()
    socket = world.join(1)
    world.driver.go_away(retry_after_ms=3, spread_ms=7)
    assert frames.Goaway(code=CloseCode.GOING_AWAY, retry_after_ms=3, spread_ms=7) in socket.taken
    assert socket.closed is not None
    assert socket.closed.retry_after_ms == 3


def test_a_reader_whose_socket_progresses_is_given_its_time_again() -> None:
    world = World(config=ServerConfig(slow_reader_timeout_s=20, silence_max_s=1000))
    world.join(1)
    slow = world.join(2)
    slow.room = 1
    world.publish(1)
    world.clock = seconds(15)
    world.driver.progressed(2)
    for at, is_closed in ((35 - 1e-9, False), (35, True)):
        world.clock = seconds(at)
        world.driver.ring()
        assert (slow.closed is not None) is is_closed


@pytest.mark.parametrize("gathers", [True, False])
def test_what_a_store_takes_at_once_is_shown_in_the_same_turn(gathers: bool) -> None:
    world = World(gathers=gathers)
    socket = world.join(1)
    world.stores_at_once, turns = True, world.turns
    world.driver.receive(1, publishes(1))
    if gathers:
        assert world.turns == turns + 1
        world.driver.store_now()
    assert world.turns == turns + 1 + gathers
    assert socket.kinds()[-2:] == ["Accepted", "Events"]
    assert world.driver.run.events_in_flight == 0


def test_a_request_is_answered_or_refused_in_the_same_turn() -> None:
    world = World()
    for number, wait_ms in ((1, 0), (2, 25_000)):
        poll = frames.PollRequest(epoch=EPOCH, after_sequence=0, wait_ms=wait_ms)
        world.driver.request(number, poll, Identity("ann"), f"session-{number}")
    (answer,) = world.answers
    assert answer[0] == 1
    assert isinstance(answer[1], frames.PollAnswer)
    world.driver.dismiss([2], CloseCode.FORBIDDEN, "not today")
    assert world.answers[1:] == [(2, Close((2,), CloseCode.FORBIDDEN, "not today"))]
