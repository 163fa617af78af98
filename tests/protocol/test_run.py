"""What the driver of a run may tell it and ask of it: nonsense, a failed store, a replay, an operator's wish."""

import pytest

from reference.protocol import frames
from reference.protocol.actions import Authenticate, Close, Deliver, Retire
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.observations import Answered, Departed, Joined, Left, LimitReached, Refused
from reference.protocol.records import RunState, Snapshot, StoredClient
from reference.protocol.run import Run
from reference.protocol.server_session import Identity
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.timers import NS_PER_MS

from .machines import EPOCH, chat, closes, go_live, seconds, sent, server_in, stored_run


def run_of(*users: str, now: int = 0, **settings: object) -> Run:
    """A run in which connection 1 is the first user's, 2 the second's, and so on, each of them current."""
    run = Run(stored_run(), config=ServerConfig(**settings), now=now)  # type: ignore[arg-type] # as the fields want them
    for number, user in enumerate(users, start=1):
        go_live(run, number, f"client-{number}", user, now)
    run.take_actions()
    run.take_observations()
    return run


def publish(run: Run, connection: int, number: int, now: int = 0, **data: object) -> None:
    run.receive_frame(connection, frames.Publish(client_sequence=number, event_type="CHAT", data=data), now)


def store(run: Run, now: int = 0) -> None:
    append = run.events_to_append()
    assert append is not None
    run.handle_appended(append, now)


# What is no frame.


def test_nonsense_ends_its_connection_with_the_reason_and_no_other() -> None:
    run = server_in(ConnectionState.LIVE)
    run.receive_nonsense(1, RemoteError(CloseCode.TOO_BIG, "a frame of 9 bytes; the limit is 8", Limit.FRAME_BYTES), seconds(2))
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
    run.receive_nonsense(1, RemoteError(CloseCode.BAD_FRAME, "late"), seconds(33))
    assert closes(run.take_actions()) == []


# The store fails.


def test_when_the_store_fails_everyone_is_sent_off_with_the_reason() -> None:
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
    assert (run.head, run.snapshot, run.events_under_way) == (2, Snapshot(0, RunState()), 0)
    assert run.take_observations() == [Answered("client-1", True)] * 2


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
    assert sent(actions, 2) == [frames.Error(code=CloseCode.TOO_SLOW, message="nothing was taken for 20 s")]


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


def test_a_reader_that_was_behind_is_told_who_is_here_only_if_that_has_changed() -> None:
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
        told = sent(run.take_actions(), 2)
        at = seconds(1) // NS_PER_MS
        expected = [
            frames.Presence(full=("ann", "bob", "cem"), server_time=at),
            frames.Cursors(full={}, server_time=at),
        ]
        assert told == (expected if changes else [])


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


# Coming in.


def test_a_run_takes_so_many_connections_and_says_so_to_the_next() -> None:
    run = run_of("ann", connections_per_run_max=2)
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", 0)
    assert closes(run.take_actions()) == []
    run.connection_opened(3, Transport.WEBSOCKET, None, "session-3", 0)
    actions = run.take_actions()
    assert closes(actions) == [(3, CloseCode.OVERLOADED)]
    reason = "this run has 2 connections; it takes no more"
    assert sent(actions, 3) == [frames.Error(code=CloseCode.OVERLOADED, message=reason)]
    assert run.take_observations() == [LimitReached(Limit.RUN_CONNECTIONS), Refused(3, CloseCode.OVERLOADED)]
    assert run.connections == 2


def test_another_version_of_the_protocol_is_refused_with_ours() -> None:
    run = run_of("ann")
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", 0)
    run.receive_frame(2, frames.Hello(protocol=2, client_id="client-2"), 0)
    actions = run.take_actions()
    assert closes(actions) == [(2, CloseCode.VERSION)]
    assert sent(actions, 2) == [frames.Error(code=CloseCode.VERSION, message="protocol 2; this server speaks 1")]


def test_a_token_of_the_upgrade_is_checked_already_and_one_of_hello_is_not() -> None:
    run = run_of("ann")
    for number, token in ((2, None), (3, "token-3")):
        run.connection_opened(number, Transport.WEBSOCKET, Identity("bob"), f"session-{number}", 0)
        run.receive_frame(number, frames.Hello(protocol=1, client_id=f"client-{number}", token=token), 0)
    actions = run.take_actions()
    assert isinstance(sent(actions, 2)[0], frames.Welcome)
    assert [action for action in actions if isinstance(action, Authenticate)] == [Authenticate(3, "token-3")]


def test_a_welcome_says_where_the_reader_stands() -> None:
    config = ServerConfig(heartbeat_interval_s=12.5, first_spread_s=2.5, silence_max_s=20)
    events = (chat(1), chat(2), chat(3))
    memory = StoredClient("client-1", "ann", 7, ())
    stored = stored_run(head=3, events=events, snapshot=Snapshot(1, RunState()), clients=(memory,))
    run = Run(stored, config=config, now=seconds(5))
    run.connection_opened(1, Transport.WEBSOCKET, Identity("ann"), "session-1", seconds(5))
    run.receive_frame(1, frames.Hello(protocol=1, client_id="client-1"), seconds(5))
    welcome, snapshot = sent(run.take_actions(), 1)
    assert welcome == frames.Welcome(
        session_id="session-1",
        epoch=EPOCH,
        outcome="fresh",
        oldest=1,
        head=3,
        after_sequence=1,
        last_client_sequence=7,
        heartbeat_ms=12_500,
        limits=config.limits,
        retry=frames.Retry(2500),
        active_users=("ann",),
        cursor_positions={},
        server_time=5000,
    )
    assert snapshot == frames.SnapshotFrame(1, RunState())
    assert run.lag_of(1) == 2


def test_who_joins_is_observed_with_what_it_missed() -> None:
    run = run_of("ann")
    for number in (1, 2, 3):
        publish(run, 1, number)
    store(run)
    run.take_observations()
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", 0)
    hello = frames.Hello(protocol=1, client_id="client-2", session_id="session-0", epoch=EPOCH, after_sequence=1)
    run.receive_frame(2, hello, 0)
    run.handle_authenticated(2, Identity("bob"), 0)
    (joined,) = [seen for seen in run.take_observations() if isinstance(seen, Joined)]
    assert joined == Joined(2, "session-0", "client-2", "bob", Transport.WEBSOCKET, "resumed", is_return=True, replayed=2)


def test_a_refused_token_ends_the_connection_with_the_codes_of_whoever_refused_it() -> None:
    run = server_in(ConnectionState.AUTHENTICATING)
    run.handle_authenticated(1, RemoteError(CloseCode.TOKEN, "the token has expired", Limit.RUN_CREATIONS), seconds(1))
    actions = run.take_actions()
    assert sent(actions, 1) == [frames.Error(code=CloseCode.TOKEN, message="the token has expired")]
    assert closes(actions) == [(1, CloseCode.TOKEN)]
    assert run.take_observations() == [LimitReached(Limit.RUN_CREATIONS), Refused(1, CloseCode.TOKEN)]
    run.handle_authenticated(1, Identity("ann"), seconds(2))  # too late, and no matter
    assert run.take_actions() == []


def test_a_new_token_must_be_the_same_users() -> None:
    run = run_of("ann")
    run.receive_frame(1, frames.Auth("token-2"), 0)
    run.handle_authenticated(1, Identity("bob"), 0)
    actions = run.take_actions()
    assert closes(actions) == [(1, CloseCode.FORBIDDEN)]
    assert sent(actions, 1) == [frames.Error(code=CloseCode.FORBIDDEN, message="the new token belongs to another user")]


def test_a_token_is_warned_of_at_its_fraction_and_over_after_its_grace() -> None:
    run = run_of("bob", silence_max_s=10_000, token_warning_fraction=0.8, token_grace_s=30)
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", seconds(10))
    run.receive_frame(2, frames.Hello(protocol=1, client_id="client-2"), seconds(10))
    run.handle_authenticated(2, Identity("ann", expires_at=seconds(100), issued_at=0), seconds(10))
    assert run.next_batch(2, seconds(10)) is None
    run.take_actions()
    run.handle_timeout(seconds(79.999))
    assert not [frame for frame in sent(run.take_actions(), 2) if isinstance(frame, frames.Expiring)]
    run.handle_timeout(seconds(80))
    assert [frame for frame in sent(run.take_actions(), 2) if isinstance(frame, frames.Expiring)] == [frames.Expiring(20_000)]
    run.handle_timeout(seconds(129.9))
    assert closes(run.take_actions()) == []
    run.handle_timeout(seconds(130))
    assert closes(run.take_actions()) == [(2, CloseCode.TOKEN)]


def test_a_token_that_has_ended_already_is_warned_of_at_once() -> None:
    run = run_of("bob")
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", seconds(10))
    run.receive_frame(2, frames.Hello(protocol=1, client_id="client-2"), seconds(10))
    run.handle_authenticated(2, Identity("ann", expires_at=seconds(9), issued_at=0), seconds(10))
    assert frames.Expiring(0) in sent(run.take_actions(), 2)
    run.handle_timeout(seconds(39))
    assert (2, CloseCode.TOKEN) in closes(run.take_actions())


def test_a_token_of_unknown_birth_counts_from_its_arrival_and_a_new_one_ends_the_old_ones_time() -> None:
    run = run_of("bob", silence_max_s=10_000)
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", seconds(50))
    run.receive_frame(2, frames.Hello(protocol=1, client_id="client-2"), seconds(50))
    run.handle_authenticated(2, Identity("ann", expires_at=seconds(150)), seconds(50))
    assert run.next_batch(2, seconds(50)) is None
    run.take_actions()
    run.handle_timeout(seconds(129.9))
    assert not [frame for frame in sent(run.take_actions(), 2) if isinstance(frame, frames.Expiring)]
    run.handle_timeout(seconds(130))
    assert frames.Expiring(20_000) in sent(run.take_actions(), 2)
    run.receive_frame(2, frames.Auth("token-2"), seconds(131))
    run.handle_authenticated(2, Identity("ann"), seconds(131))
    run.handle_timeout(seconds(1000))
    assert closes(run.take_actions()) == [], "the new token has no end"


# Going.


def test_a_peers_code_is_observed_and_the_user_stays_for_the_grace() -> None:
    run = run_of("ann", "bob", presence_grace_s=30, silence_max_s=1000)
    run.connection_lost(1, seconds(5), 1001)
    assert run.take_observations() == [Left(1, "session-1", "client-1", None, 1001)]
    run.handle_timeout(seconds(34.9))
    assert run.active_users == ("ann", "bob")
    run.handle_timeout(seconds(35))
    assert run.active_users == ("bob",)
    assert run.take_observations() == [Departed("session-1", "client-1")]


def test_who_says_bye_is_gone_at_once() -> None:
    run = run_of("ann", "bob")
    run.receive_frame(1, frames.Bye(), seconds(5))
    actions = run.take_actions()
    assert [action for action in actions if isinstance(action, Close)] == [Close((1,), 1000, "bye")]
    assert not [frame for frame in sent(actions, 1) if isinstance(frame, frames.Error)], "1000 is no error"
    assert run.active_users == ("bob",)
    assert run.take_observations() == [Left(1, "session-1", "client-1", 1000), Departed("session-1", "client-1")]


def test_who_is_gone_waits_for_no_answer() -> None:
    run = run_of("ann", "bob")
    publish(run, 1, 1)
    run.connection_lost(1, seconds(1))
    held = {each.what: each.length for each in run.statistics().held}
    assert held["connections that wait for one answer"] == 0
    assert held["pending publishes of one client"] == 1
    store(run, seconds(2))
    assert not sent(run.take_actions(), 1)


def test_nothing_is_waited_for_of_who_said_bye() -> None:
    run = run_of("ann", presence_grace_s=30, heartbeat_interval_s=100, run_idle_s=200)
    run.receive_frame(1, frames.Bye(), seconds(5))
    run.handle_timeout(seconds(6))
    assert run.next_deadline() == seconds(100)


def test_an_operator_asks_everyone_or_some_to_come_back_later() -> None:
    run = run_of("ann", "bob", "cem")
    run.connection_opened(4, Transport.POLLING, Identity("dan"), "session-4", 0)
    run.go_away(seconds(1), retry_after_ms=3000, spread_ms=700, of=[2], code=CloseCode.OVERLOADED)
    actions = run.take_actions()
    goaway = frames.Goaway(code=CloseCode.OVERLOADED, retry_after_ms=3000, spread_ms=700)
    assert goaway in sent(actions, 2)
    assert [a for a in actions if isinstance(a, Close)] == [Close((2,), CloseCode.OVERLOADED, "come back later", 3000)]
    run.go_away(seconds(1), retry_after_ms=5000, spread_ms=900)
    actions = run.take_actions()
    assert sorted(closes(actions)) == [(number, CloseCode.GOING_AWAY) for number in (1, 3, 4)]
    assert [action.retry_after_ms for action in actions if isinstance(action, Close)] == [5000] * 3
    goaway = frames.Goaway(code=CloseCode.GOING_AWAY, retry_after_ms=5000, spread_ms=900)
    assert (goaway in sent(actions, 1), goaway in sent(actions, 4)) == (True, False), "a request is answered, not told"
    assert run.connections == 0


def test_a_reader_whose_driver_keeps_too_much_is_closed() -> None:
    run = run_of("ann", "bob")
    run.too_slow(2, seconds(1))
    actions = run.take_actions()
    reason = "this connection does not take what is sent to it"
    assert sent(actions, 2) == [frames.Error(code=CloseCode.TOO_SLOW, message=reason)]
    assert closes(actions) == [(2, CloseCode.TOO_SLOW)]
    run.too_slow(2, seconds(2))
    assert run.take_actions() == []


def test_who_fell_out_of_the_log_is_told_to_resume() -> None:
    limits = {"events_kept_max": 2, "appends_pending_max": 2, "snapshot_interval_events": 2}
    run = run_of("ann", "bob", **limits)
    told: list[str] = []
    for number in range(1, 6):
        publish(run, 1, number)
        store(run)
        actions = run.take_actions()
        told += [frame.message for frame in sent(actions, 2) if isinstance(frame, frames.Error)]
        for batch in [action for action in actions if isinstance(action, Deliver)]:
            if 2 in batch.connection_ids:
                run.handle_refused(2, batch, 0)
        if number == 2:
            assert run.connections == 2, "what comes next for it is still there"
            run.take_observations()
    assert run.connections == 1
    assert LimitReached(Limit.OFFLINE_WINDOW) in run.take_observations()
    assert told == ["what comes next for this reader is no longer kept; resume to get a snapshot"]


# Time.


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


def test_a_client_that_says_nothing_is_gone_and_one_that_speaks_is_not() -> None:
    run = run_of("ann", "bob", silence_max_s=35, heartbeat_interval_s=1000)
    run.receive_frame(1, frames.Ping(1), seconds(20))
    run.handle_timeout(seconds(34.9))
    run.take_actions()
    run.handle_timeout(seconds(35))
    actions = run.take_actions()
    assert closes(actions) == [(2, CloseCode.HEARTBEAT_LOST)]
    message = "nothing was heard from this client for 35 s"
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


def test_presence_is_told_at_once_and_then_gathered() -> None:
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


def test_cursors_are_told_at_once_and_then_gathered() -> None:
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
