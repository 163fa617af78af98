"""How connections join a run and leave it: versions, tokens, sessions, welcomes, and disconnects by an operator."""

from reference.protocol import frames
from reference.protocol.actions import Authenticate, Close, Deliver
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.records import RunState, Snapshot, StoredClient
from reference.protocol.server.connection import Identity
from reference.protocol.server.observations import Departed, Joined, Left, LimitReached, Refused
from reference.protocol.server.run import COME_BACK_MS, COME_BACK_SPREAD_MS, Run
from reference.protocol.states import ConnectionState, Transport

from .machines import EPOCH, chat, closes, seconds, sent, server_in, stored_run
from .runs import publish, run_of, store

# Coming in.


def test_a_run_takes_so_many_connections_and_says_so_to_the_next() -> None:
    run = run_of("ann", connections_per_run_max=2)
    run.connection_opened(2, Transport.WEBSOCKET, None, "session-2", 0)
    assert closes(run.take_actions()) == []
    run.connection_opened(3, Transport.WEBSOCKET, None, "session-3", 0)
    actions = run.take_actions()
    assert closes(actions) == [(3, CloseCode.OVERLOADED)]
    reason = "connection limit reached: this run already has 2 connections"
    goaway = frames.Goaway(code=CloseCode.OVERLOADED, retry_after_ms=COME_BACK_MS, spread_ms=COME_BACK_SPREAD_MS)
    assert sent(actions, 3) == [goaway, frames.Error(code=CloseCode.OVERLOADED, message=reason)]
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
    run.handle_authenticated(3, Identity("bob"), 0)
    assert [each.hello for each in run._connections.values()] == [None] * 3  # that a token is kept cannot be seen from outside


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


def test_a_driver_may_tell_more_limits_than_the_config_has() -> None:
    limits = frames.Limits(2000, 9, 7.5, connections_max=3)
    run = Run(stored_run(), config=ServerConfig(), now=0, limits=limits)
    run.connection_opened(1, Transport.WEBSOCKET, Identity("ann"), "session-1", 0)
    run.receive_frame(1, frames.Hello(protocol=1, client_id="client-1"), 0)
    welcome = sent(run.take_actions(), 1)[0]
    assert isinstance(welcome, frames.Welcome)
    assert welcome.limits == limits


def test_a_position_in_another_history_is_answered_with_a_reset() -> None:
    run = run_of("ann")
    run.connection_opened(2, Transport.WEBSOCKET, Identity("bob"), "session-2", 0)
    run.receive_frame(2, frames.Hello(protocol=1, client_id="client-2", epoch="epoch-0", after_sequence=0), 0)
    welcome = sent(run.take_actions(), 2)[0]
    assert isinstance(welcome, frames.Welcome)
    assert (welcome.epoch, welcome.outcome, welcome.reason) == (EPOCH, "reset", "epoch")


def test_another_users_client_id_is_refused_also_when_only_its_publishes_are_remembered() -> None:
    run = Run(stored_run(clients=(StoredClient("client-1", "ann", 1, ()),)), config=ServerConfig(), now=0)
    run.connection_opened(1, Transport.WEBSOCKET, Identity("bob"), "session-1", 0)
    run.receive_frame(1, frames.Hello(protocol=1, client_id="client-1"), 0)
    actions = run.take_actions()
    assert closes(actions) == [(1, CloseCode.FORBIDDEN)]
    assert sent(actions, 1) == [frames.Error(code=4403, message="this client id belongs to another user")]


def test_a_run_takes_so_many_sessions_but_those_that_it_has_may_come_back() -> None:
    run = run_of("ann", sessions_per_run_max=1)
    for number, client in ((2, "client-2"), (3, "client-1")):
        run.connection_opened(number, Transport.WEBSOCKET, Identity("ann"), f"session-{number}", 0)
        run.receive_frame(number, frames.Hello(protocol=1, client_id=client, generation=2), 0)
    actions = run.take_actions()
    reason = "session limit reached: this run already has 1 sessions"
    assert sent(actions, 2) == [frames.Error(code=CloseCode.OVERLOADED, message=reason)]
    assert LimitReached(Limit.RUN_SESSIONS) in run.take_observations()
    assert isinstance(sent(actions, 3)[0], frames.Welcome)
    assert closes(actions) == [(2, CloseCode.OVERLOADED), (1, CloseCode.SUPERSEDED)]


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


def test_a_refused_token_ends_the_connection_with_the_code_of_the_refusal() -> None:
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
    early = run_of("ann", silence_max_s=10_000)
    for at, identity in ((1, Identity("ann", expires_at=seconds(100))), (2, Identity("ann"))):
        early.receive_frame(1, frames.Auth("token-2"), seconds(at))
        early.handle_authenticated(1, identity, seconds(at))
    early.handle_timeout(seconds(1000))
    assert not [frame for frame in sent(early.take_actions(), 1) if isinstance(frame, frames.Expiring)]
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


def test_an_operator_asks_all_or_some_clients_to_come_back_later() -> None:
    run = run_of("ann", "bob", "cem")
    run.connection_opened(4, Transport.POLLING, Identity("dan"), "session-4", 0)
    run.go_away(seconds(1), retry_after_ms=3000, spread_ms=700, of=[2], code=CloseCode.OVERLOADED)
    actions = run.take_actions()
    goaway = frames.Goaway(code=CloseCode.OVERLOADED, retry_after_ms=3000, spread_ms=700)
    assert goaway in sent(actions, 2)
    assert [a for a in actions if isinstance(a, Close)] == [Close((2,), CloseCode.OVERLOADED, "reconnect later", 3000)]
    run.go_away(seconds(1), retry_after_ms=5000, spread_ms=900)
    actions = run.take_actions()
    assert sorted(closes(actions)) == [(number, CloseCode.GOING_AWAY) for number in (1, 3, 4)]
    assert [action.retry_after_ms for action in actions if isinstance(action, Close)] == [5000] * 3
    goaway = frames.Goaway(code=CloseCode.GOING_AWAY, retry_after_ms=5000, spread_ms=900)
    assert (goaway in sent(actions, 1), goaway in sent(actions, 4)) == (True, False), "a request gets only its answer"
    assert run.connections == 0


def test_an_operator_ends_connections_with_a_code_and_a_reason() -> None:
    run = run_of("ann", "bob", "cem", presence_grace_s=30, presence_interval_s=0.25)
    run.dismiss([1, 7, 3], CloseCode.FORBIDDEN, "not today", seconds(1))
    actions = run.take_actions()
    assert [action for action in actions if isinstance(action, Close)] == [
        Close((number,), CloseCode.FORBIDDEN, "not today") for number in (1, 3)
    ]
    assert sent(actions, 3) == [frames.Error(code=CloseCode.FORBIDDEN, message="not today")]
    assert [each for each in run.take_observations() if isinstance(each, Left)] == [
        Left(number, f"session-{number}", f"client-{number}", CloseCode.FORBIDDEN) for number in (1, 3)
    ]
    run.handle_timeout(seconds(31) - 1)
    assert run.active_users == ("ann", "bob", "cem")
    run.dismiss([], CloseCode.FORBIDDEN, "not today", seconds(31))
    assert run.active_users == ("bob",), "each input serves the timers too"


def test_a_reader_whose_driver_keeps_too_much_is_closed() -> None:
    run = run_of("ann", "bob")
    run.too_slow(2, seconds(1))
    actions = run.take_actions()
    reason = "slow reader: too many frames wait for this connection"
    assert sent(actions, 2) == [frames.Error(code=CloseCode.TOO_SLOW, message=reason)]
    assert closes(actions) == [(2, CloseCode.TOO_SLOW)]
    run.too_slow(2, seconds(2))
    assert run.take_actions() == []


def test_a_reader_that_fell_out_of_the_log_is_asked_to_resume() -> None:
    limits = {"events_kept_max": 2, "appends_pending_max": 2, "snapshot_interval_events": 2}
    run = run_of("ann", "bob", **limits)
    reported: list[str] = []
    for number in range(1, 6):
        publish(run, 1, number)
        store(run)
        actions = run.take_actions()
        reported += [frame.message for frame in sent(actions, 2) if isinstance(frame, frames.Error)]
        for batch in [action for action in actions if isinstance(action, Deliver)]:
            if 2 in batch.connection_ids:
                run.handle_refused(2, batch, 0)
        if number == 2:
            assert run.connections == 2, "what comes next for it is still there"
            run.take_observations()
    assert run.connections == 1
    assert LimitReached(Limit.OFFLINE_WINDOW) in run.take_observations()
    assert reported == ["the next event for this reader is no longer kept; resume to get a snapshot"]
