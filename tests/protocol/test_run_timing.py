"""A run's timers: heartbeats, silence, collected presence and cursors, and idling."""

import pytest

from reference.protocol import frames
from reference.protocol.actions import Deliver, Retire
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode
from reference.protocol.limits import Limit
from reference.protocol.server.observations import LimitReached
from reference.protocol.server.run import Run

from .machines import closes, go_live, seconds, sent, stored_run
from .runs import publish, run_of, store


def test_a_run_that_was_loaded_waits_for_its_first_heartbeat() -> None:
    run = Run(stored_run(), config=ServerConfig(heartbeat_interval_s=15, run_idle_s=60), now=seconds(5))
    assert run.next_deadline() == seconds(20)


def test_readers_hear_the_head_when_nothing_else_comes() -> None:
    run = run_of("ann", heartbeat_interval_s=15, silence_max_s=1000)
    publish(run, 1, 1)
    store(run, seconds(10))
    assert frames.Heartbeat(1) not in sent(run.take_actions(), 1)
    run.handle_timeout(seconds(24.9))
    assert frames.Heartbeat(1) not in sent(run.take_actions(), 1)
    for at in (25, 40):
        run.handle_timeout(seconds(at))
        assert sent(run.take_actions(), 1) == [frames.Heartbeat(1)]


def test_a_silent_client_is_closed_and_an_active_one_is_not() -> None:
    run = run_of("ann", "bob", silence_max_s=35, heartbeat_interval_s=1000)
    run.receive_frame(1, frames.Ping(1), seconds(20))
    run.handle_timeout(seconds(34.9))
    run.take_actions()
    run.handle_timeout(seconds(35))
    actions = run.take_actions()
    assert closes(actions) == [(2, CloseCode.HEARTBEAT_LOST)]
    message = "no frame received from this client for 35 s"
    assert sent(actions, 2) == [frames.Error(code=CloseCode.HEARTBEAT_LOST, message=message)]
    run.handle_timeout(seconds(55))
    assert closes(run.take_actions()) == [(1, CloseCode.HEARTBEAT_LOST)]


@pytest.mark.parametrize(("late_s", "closes_at_once"), [(0.1, True), (0.1001, False)])
def test_a_server_that_looks_late_reads_before_it_judges(late_s: float, closes_at_once: bool) -> None:
    run = run_of("ann", silence_max_s=35, heartbeat_interval_s=1000)
    run.handle_timeout(seconds(35 + late_s))
    assert (closes(run.take_actions()) == [(1, CloseCode.HEARTBEAT_LOST)]) is closes_at_once
    if not closes_at_once:
        run.handle_timeout(seconds(36 + late_s) - 1)
        assert closes(run.take_actions()) == []
        run.handle_timeout(seconds(36 + late_s))
        assert closes(run.take_actions()) == [(1, CloseCode.HEARTBEAT_LOST)]


def test_a_client_that_is_heard_after_a_server_looked_late_stays() -> None:
    run = run_of("ann", silence_max_s=35, heartbeat_interval_s=1000)
    run.handle_timeout(seconds(60))
    run.receive_frame(1, frames.Ping(1), seconds(60.5))
    run.handle_timeout(seconds(95.4))
    assert closes(run.take_actions()) == []
    run.handle_timeout(seconds(95.5))
    assert closes(run.take_actions()) == [(1, CloseCode.HEARTBEAT_LOST)]


def test_only_of_silence_it_is_judged_again() -> None:
    run = run_of("ann", silence_max_s=1000, slow_reader_timeout_s=20)
    publish(run, 1, 1)
    store(run)
    (batch,) = [action for action in run.take_actions() if isinstance(action, Deliver)]
    run.handle_refused(1, batch, 0)
    run.handle_timeout(seconds(60))
    assert closes(run.take_actions()) == [(1, CloseCode.TOO_SLOW)]


def test_the_first_changes_after_a_run_was_loaded_are_sent_at_once() -> None:
    run = run_of("ann", presence_interval_s=0.25, cursor_interval_s=0.1)
    go_live(run, 2, "client-2", "bob", seconds(0.3))
    assert sent(run.take_actions(), 1) == [frames.Presence(joined=("bob",), server_time=300)]
    quick = run_of("ann", "bob", cursor_interval_s=0.1)
    quick.receive_frame(2, frames.Cursor({"x": 1}), seconds(0.01))
    assert frames.Cursors(moved={"bob": {"x": 1}}, server_time=10) in sent(quick.take_actions(), 1)


def test_frames_are_counted_by_the_second() -> None:
    run = run_of("ann", publishes_per_s=1, publish_burst=1, frames_per_s=2, frame_burst=3)  # its hello was the first
    for second in range(1, 9):
        for nonce in (1, 2):
            run.receive_frame(1, frames.Ping(nonce), seconds(second))
    assert closes(run.take_actions()) == []
    run.take_observations()
    for nonce in range(2):
        run.receive_frame(1, frames.Ping(nonce), seconds(8))
    assert closes(run.take_actions()) == [(1, CloseCode.RATE)]
    assert LimitReached(Limit.FRAME_RATE) in run.take_observations()


def test_presence_is_sent_at_once_and_then_collected() -> None:
    run = run_of("ann", presence_interval_s=0.25)
    run.handle_timeout(seconds(5))
    run.take_actions()
    for number, user, at in ((2, "bob", 10.0), (3, "cem", 10.1), (4, "dan", 10.2)):
        go_live(run, number, f"client-{number}", user, seconds(at))
    (first,) = [frame for frame in sent(run.take_actions(), 1) if isinstance(frame, frames.Presence)]
    assert first == frames.Presence(joined=("bob",), server_time=10_000)
    run.handle_timeout(seconds(10.2499))
    assert sent(run.take_actions(), 1) == []
    run.handle_timeout(seconds(10.25))
    assert sent(run.take_actions(), 1) == [frames.Presence(joined=("cem", "dan"), server_time=10_250)]


def test_a_user_who_leaves_and_returns_between_two_frames_has_no_cursor() -> None:
    run = run_of("ann", "bob", presence_interval_s=0.25)
    run.receive_frame(2, frames.Cursor({"x": 1}), seconds(10))
    run.handle_timeout(seconds(10.1))
    go_live(run, 3, "client-3", "cem", seconds(11))
    run.take_actions()
    run.receive_frame(2, frames.Bye(), seconds(11.1))
    go_live(run, 4, "client-4", "bob", seconds(11.2))
    run.take_actions()
    run.handle_timeout(seconds(11.25))
    assert sent(run.take_actions(), 1) == [
        frames.Presence(left=("bob",), server_time=11_250),
        frames.Presence(joined=("bob",), server_time=11_250),
    ]
    assert run.cursors == {}


def test_cursors_are_sent_at_once_and_then_collected() -> None:
    run = run_of("ann", "bob", cursor_interval_s=0.1)
    run.receive_frame(2, frames.Cursor({"x": 1}), seconds(10))
    assert frames.Cursors(moved={"bob": {"x": 1}}, server_time=10_000) in sent(run.take_actions(), 1)
    run.receive_frame(2, frames.Cursor({"x": 2}), seconds(10.05))
    run.receive_frame(2, frames.Cursor({"x": 3}), seconds(10.06))
    run.handle_timeout(seconds(10.0999))
    assert sent(run.take_actions(), 1) == []
    run.handle_timeout(seconds(10.1))
    assert sent(run.take_actions(), 1) == [frames.Cursors(moved={"bob": {"x": 3}}, server_time=10_100)]
    assert run.cursors == {"bob": {"x": 3}}


def test_a_cursor_that_cannot_be_kept_ends_the_connection() -> None:
    run = run_of("ann")
    run.receive_frame(1, frames.Cursor({"x": "y" * 600}), 0)
    actions = run.take_actions()
    assert closes(actions) == [(1, CloseCode.BAD_FRAME)]
    (error,) = [frame for frame in sent(actions, 1) if isinstance(frame, frames.Error)]
    assert error.message == "a cursor that cannot be kept: a cursor of 608 bytes; the limit is 512"


def test_a_touch_puts_the_leaving_off() -> None:
    run = Run(stored_run(), config=ServerConfig(run_idle_s=60), now=0)
    run.touch(seconds(40))
    assert run.idle_since == seconds(40)
    run.handle_timeout(seconds(99.9))
    assert run.take_actions() == []
    run.handle_timeout(seconds(100))
    assert run.take_actions() == [Retire()]
    used = run_of("ann")
    used.touch(seconds(40))
    assert used.idle_since is None
