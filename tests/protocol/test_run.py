"""Inputs of a run's driver: malformed frames, a failed store, a replay, readers that take data or do not."""

from reference.protocol import frames
from reference.protocol.actions import Close, Deliver
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.records import RunState, Snapshot
from reference.protocol.server.observations import Answered, Left, LimitReached
from reference.protocol.server.run import Run
from reference.protocol.states import ConnectionState
from reference.protocol.timers import NS_PER_MS

from .machines import EPOCH, chat, closes, go_live, seconds, sent, server_in, stored_run
from .runs import publish, run_of, store

# What is no frame.


def test_a_malformed_frame_ends_only_its_own_connection_with_the_reason() -> None:
    run = server_in(ConnectionState.LIVE)
    run.receive_frames(1, (RemoteError(CloseCode.TOO_BIG, "a frame of 9 bytes; the limit is 8", Limit.FRAME_BYTES),), seconds(2))
    error = frames.Error(code=CloseCode.TOO_BIG, message="a frame of 9 bytes; the limit is 8")
    actions = run.take_actions()
    assert sent(actions, 1) == [error]
    assert [action for action in actions if isinstance(action, Close)] == [Close((1,), error.code, error.message)]
    assert run.take_observations() == [
        LimitReached(Limit.FRAME_BYTES),
        Left(1, "session-1", "client-1", CloseCode.TOO_BIG),
    ]
    assert run.connections == 1
    run.handle_timeout(seconds(32))
    assert run.active_users == ("bob",), "the grace runs from the end of the connection"
    run.receive_frames(1, (RemoteError(CloseCode.BAD_FRAME, "late"),), seconds(33))
    assert closes(run.take_actions()) == []


# The store fails.


def test_when_the_store_fails_all_clients_are_closed_with_the_reason() -> None:
    run = run_of("ann", "bob")
    publish(run, 1, 1)
    assert run.events_to_append() is not None
    run.handle_append_failed(seconds(1), "disk full")
    actions = run.take_actions()
    assert sorted(closes(actions)) == [(1, CloseCode.OVERLOADED), (2, CloseCode.OVERLOADED)]
    assert [action.message for action in actions if isinstance(action, Close)] == ["the store failed: disk full"] * 2
    assert run.connections == 0
    assert {type(seen) for seen in run.take_observations()} == {Left}


# Reading it over HTTP.


def test_a_replay_begins_where_it_is_asked_or_at_the_nearest_place() -> None:
    config = ServerConfig(events_kept_max=5, appends_pending_max=5, snapshot_interval_events=5)
    events = tuple(chat(number) for number in range(1, 11))
    run = Run(stored_run(head=10, events=events, snapshot=Snapshot(8, RunState())), config=config, now=0)
    assert (run.oldest, run.head) == (6, 10)

    def numbers(after: int, events_max: int) -> list[int | None]:
        return [event.sequence_number for event in run.read(after, events_max)]

    assert numbers(7, 100) == [8, 9, 10]
    assert numbers(5, 2) == [6, 7]
    assert numbers(0, 3) == [6, 7, 8], "what was trimmed cannot be read"
    assert numbers(10, 3) == []
    assert numbers(99, 3) == []


def test_what_a_run_says_of_itself() -> None:
    run = run_of("ann", "bob")
    for number in (1, 2):
        publish(run, 1, number)
    assert (run.last_client_sequence("client-1"), run.last_client_sequence("client-2")) == (2, 0)
    assert (run.head, run.oldest, run.epoch, run.connections) == (0, 1, EPOCH, 2)
    assert not run.is_idle
    store(run)
    assert (run.head, run.snapshot, run.events_in_flight) == (2, Snapshot(0, RunState()), 0)
    assert run.take_observations() == [Answered("client-1", True, count=2)]
    publish(run, 1, 2)
    assert run.take_observations() == [Answered("client-1", True, is_duplicate=True)]


def test_a_replay_is_bounded_in_bytes() -> None:
    events = tuple(chat(number, "x" * 500) for number in range(1, 5))
    run = Run(stored_run(head=4, events=events), config=ServerConfig(batch_bytes_max=1400), now=0)
    assert len(run.read(0, 100)) == 2


# Readers.


def test_how_far_behind_a_reader_is() -> None:
    run = run_of("ann", "bob")
    for number in (1, 2, 3):
        publish(run, 1, number)
    store(run)
    (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
    run.handle_refused(2, batch, 0)
    assert (run.lag_of(1), run.lag_of(2)) == (0, 3)
    assert run.is_lagging(2)
    assert not run.is_lagging(1)


def test_a_reader_that_takes_nothing_is_closed_after_its_time_and_one_that_is_served_again_is_not() -> None:
    run = run_of("ann", "bob", "cem", slow_reader_timeout_s=20, silence_max_s=1000)
    publish(run, 1, 1)
    store(run, seconds(1))
    (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
    run.handle_refused(2, batch, seconds(1))
    run.handle_blocked(3, batch, seconds(2))
    assert run.next_batch(3, seconds(3)) is None, "it was only full"
    run.handle_timeout(seconds(20.9))
    assert closes(run.take_actions()) == []
    run.handle_timeout(seconds(21))
    actions = run.take_actions()
    assert closes(actions) == [(2, CloseCode.TOO_SLOW)]
    assert sent(actions, 2) == [frames.Error(code=CloseCode.TOO_SLOW, message="slow reader: no data taken for 20 s")]


def test_a_batch_that_was_refused_is_given_again() -> None:
    run = run_of("ann", "bob", batch_events_max=1)
    for number in (1, 2):
        publish(run, 1, number)
    store(run)
    first = next(action for action in run.take_actions() if isinstance(action, Deliver))
    run.handle_refused(2, first, 0)
    for _ in range(2):
        batch = run.next_batch(2, 0)
        assert batch is not None
        assert (batch.first, batch.last) == (1, 1)
        run.handle_refused(2, batch, 0)
    taken = [run.next_batch(2, 0), run.next_batch(2, 0)]
    assert [batch.first for batch in taken if batch is not None] == [1, 2]
    run.handle_blocked(2, taken[0], 0)  # type: ignore[arg-type] # it was just given
    again = run.next_batch(2, 0)
    assert again is not None
    assert again.first == 2, "the first was taken, and no more"


def test_a_reader_that_refuses_again_gets_no_more_time() -> None:
    run = run_of("ann", "bob", slow_reader_timeout_s=20, silence_max_s=1000)
    publish(run, 1, 1)
    store(run)
    (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
    for at in (0, 10):
        run.handle_refused(2, batch, seconds(at))
    run.handle_timeout(seconds(20))
    assert closes(run.take_actions()) == [(2, CloseCode.TOO_SLOW)]


def test_a_reader_whose_socket_is_full_has_everything_and_is_waited_for() -> None:
    run = run_of("ann", "bob", slow_reader_timeout_s=20, silence_max_s=1000, heartbeat_interval_s=1000)
    publish(run, 1, 1)
    store(run)
    (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
    run.handle_blocked(2, batch, seconds(1))
    assert (run.is_lagging(2), run.lag_of(2)) == (True, 0)
    assert run.next_batch(2, seconds(2)) is None
    assert sent(run.take_actions(), 2) == [], "nobody came or went meanwhile"
    assert not run.is_lagging(2)
    publish(run, 1, 2, seconds(3))
    store(run, seconds(3))
    (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
    run.handle_blocked(2, batch, seconds(3))
    run.handle_timeout(seconds(22.9))
    assert closes(run.take_actions()) == []
    run.handle_timeout(seconds(23))
    assert closes(run.take_actions()) == [(2, CloseCode.TOO_SLOW)]


def test_each_batch_gives_a_lagging_reader_its_time_again() -> None:
    run = run_of("ann", "bob", slow_reader_timeout_s=20, silence_max_s=1000, batch_events_max=1)
    for number in (1, 2):
        publish(run, 1, number)
    store(run, 0)
    first = next(action for action in run.take_actions() if isinstance(action, Deliver))
    run.handle_refused(2, first, 0)
    run.handle_refused(2, first, seconds(10))  # says it again: its time runs since the first
    assert run.next_batch(2, seconds(15)) is not None
    run.handle_timeout(seconds(34.9))
    assert closes(run.take_actions()) == []
    run.handle_timeout(seconds(35))
    assert closes(run.take_actions()) == [(2, CloseCode.TOO_SLOW)]


def test_a_reader_that_was_behind_gets_the_users_only_if_they_have_changed() -> None:
    for changes in (False, True):
        run = run_of("ann", "bob", presence_interval_s=0.25)
        publish(run, 1, 1)
        store(run)
        (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
        run.handle_refused(2, batch, 0)
        if changes:
            go_live(run, 3, "client-3", "cem", seconds(1))
        run.take_actions()
        assert run.next_batch(2, seconds(1)) == Deliver((2,), batch.frame, 1, 1)
        assert run.next_batch(2, seconds(1)) is None
        reported = sent(run.take_actions(), 2)
        at = seconds(1) // NS_PER_MS
        expected = [
            frames.Presence(full=("ann", "bob", "cem"), server_time=at),
            frames.Cursors(full={}, server_time=at),
        ]
        assert reported == (expected if changes else [])


def test_an_acknowledgement_of_what_is_yet_to_come_is_refused() -> None:
    run = run_of("ann")
    publish(run, 1, 1)
    store(run)
    run.receive_frame(1, frames.Ack(1), 0)
    run.receive_frame(1, frames.Ack(0), 0)
    assert closes(run.take_actions()) == []
    run.receive_frame(1, frames.Ack(2), 0)
    actions = run.take_actions()
    assert closes(actions) == [(1, CloseCode.BAD_FRAME)]
    assert sent(actions, 1) == [frames.Error(code=CloseCode.BAD_FRAME, message="ack of 2; the head is 1")]
