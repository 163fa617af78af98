"""Faults found by a review of the machines: one short case for each rule that no other test names."""

from reference.protocol import frames
from reference.protocol.actions import Close, Open, Send
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode
from reference.protocol.server.connection import Identity
from reference.protocol.server.run import Run
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_S

from .machines import EXAMPLES, client_in, closes, come_back, sent, stored_run

DAY_S = 86_400


def joined(identity: Identity, now: int = 0, **settings: object) -> Run:
    """A run with connection 1 live in it."""
    run = Run(stored_run(), config=ServerConfig(**settings), now=now)
    run.connection_opened(1, Transport.WEBSOCKET, identity, "session-1", now)
    run.receive_frame(1, frames.Hello(protocol=1, client_id="client-1"), now)
    run.take_actions()
    return run


def test_a_warning_of_a_token_that_lives_long_is_a_frame_that_a_client_takes() -> None:
    run = joined(Identity("ann", expires_at=30 * DAY_S * NS_PER_S, issued_at=0), silence_max_s=DAY_S)
    assert run.next_batch(1, 0) is None, "the reader has everything, so it cannot be the matter either"
    for day in range(1, 26):  # the client is heard every day, so that only the token can be the matter
        run.receive_frame(1, frames.Ping(day), (day * DAY_S - 1) * NS_PER_S)
        warnings = [frame for frame in sent(run.take_actions(), 1) if isinstance(frame, frames.Expiring)]
        if warnings:
            assert warnings == [frames.Expiring(frames.MILLISECONDS_MAX)]
            return
    raise AssertionError("no warning at 80 % of the token's life")


def test_sessions_of_polls_are_limited() -> None:
    run = Run(stored_run(), config=ServerConfig(sessions_per_run_max=2), now=0)
    ends = []
    for number in (1, 2, 3):
        run.connection_opened(number, Transport.POLLING, Identity("ann"), f"session-{number}", 0)
        run.receive_frame(number, frames.PollRequest(client_id=f"client-{number}"), 0)
        ends += closes(run.take_actions())
    assert ends == [(3, CloseCode.OVERLOADED)]


def test_a_slow_reader_that_takes_bytes_is_not_stalled() -> None:
    run = joined(Identity("ann"), slow_reader_timeout_s=30, silence_max_s=1000)
    run.bytes_taken(1, 20 * NS_PER_S)
    run.handle_timeout(49 * NS_PER_S)
    assert closes(run.take_actions()) == []
    run.handle_timeout(50 * NS_PER_S)
    assert closes(run.take_actions()) == [(1, CloseCode.TOO_SLOW)]


def test_any_byte_counts_as_life() -> None:
    client = client_in(ClientState.LIVE, ping_interval_s=10, ping_timeout_s=3)
    client.session.handle_timeout(10 * NS_PER_S)  # a ping, to be followed by some byte within 3 s
    client.session.bytes_received(1, 12 * NS_PER_S)
    client.session.handle_timeout(14 * NS_PER_S)
    assert client.session.state is ClientState.LIVE


def test_a_part_of_a_large_frame_gives_it_time_but_not_after_a_heartbeat() -> None:
    for certain in (False, True):
        client = client_in(ClientState.PROVING, snapshot_is_due=True, start="snapshot", tail_timeout_s=2)
        client.session.receive_frame(1, frames.SnapshotFrame(0, stored_run().snapshot.state), 0)
        client.session.receive_frame(1, frames.Events(()), 0)
        if certain:
            client.session.receive_frame(1, frames.Heartbeat(5), 0)
        else:
            client.session._delivery.head_is(5, 0)
        client.session.bytes_received(1, NS_PER_S)
        client.session.handle_timeout(2 * NS_PER_S)
        assert client.session.state is (ClientState.WAITING if certain else ClientState.PROVING)


def test_a_token_that_is_refused_again_and_again_does_not_loop() -> None:
    """7.40: at once when an attempt has shown that the last was too old; not when the new one is refused, too; and so on."""
    session, now = client_in(ClientState.REFRESHING, fallback_after_failures=100).session, 0
    for turn in range(3):
        session.handle_token("a new one", now)
        assert session.state is ClientState.CONNECTING
        (opening,) = (action for action in session.take_actions() if isinstance(action, Open))
        assert opening.token == "a new one"
        session.connection_lost(opening.connection_id, CloseCode.TOKEN, now)
        session.handle_token("as bad as the last", now)
        assert session.state is ClientState.WAITING, turn
        now = session.next_deadline() or 0
        session.handle_timeout(now)
        (opening,) = (action for action in session.take_actions() if isinstance(action, Open))
        session.connection_lost(opening.connection_id, CloseCode.TOKEN, now)


def test_an_attempt_that_failed_for_another_reason_makes_the_next_refusal_the_first_again() -> None:
    """7.40: only the same reaction twice in a row makes the client wait."""
    session, now = client_in(ClientState.REFRESHING, fallback_after_failures=100).session, 0
    session.handle_token("a new one", now)
    for code in (None, CloseCode.TOKEN):
        (opening,) = (action for action in session.take_actions() if isinstance(action, Open))
        session.connection_lost(opening.connection_id, code, now)
        if code is None:
            now = session.next_deadline() or 0
            session.handle_timeout(now)
    session.handle_token("another", now)
    assert session.state is ClientState.CONNECTING


def test_a_token_that_was_taken_makes_the_next_refusal_the_first_again() -> None:
    session = client_in(ClientState.REFRESHING, fallback_after_failures=100).session
    session.handle_token("good", 0)
    (opening,) = (action for action in session.take_actions() if isinstance(action, Open))
    session.connection_opened(opening.connection_id, 0)
    session.receive_frame(opening.connection_id, EXAMPLES[frames.Welcome], 0)
    session.connection_lost(opening.connection_id, None, 0)
    now = session.next_deadline() or 0
    session.handle_timeout(now)
    (opening,) = (action for action in session.take_actions() if isinstance(action, Open))
    session.connection_lost(opening.connection_id, CloseCode.TOKEN, now)
    session.handle_token("a new one", now)
    assert session.state is ClientState.CONNECTING


def test_a_token_that_grew_old_on_a_standing_connection_is_no_reason_to_hurry() -> None:
    """The tokens of many may grow old together, and their connections are closed together."""
    session = client_in(ClientState.LIVE).session
    session.connection_lost(1, CloseCode.TOKEN, 0)
    session.handle_token("a new one", 0)
    assert session.state is ClientState.WAITING


def test_a_new_token_for_polling_leaves_the_next_probe_its_time() -> None:
    """7.40: tokens that live shorter than the wait for a probe kept a client from its WebSocket for ever."""
    session = client_in(ClientState.POLLING).session
    due = session.next_attempt_at
    for second in range(1, 5):
        lane = session._connectivity.polling.connection_id
        assert lane is not None
        failed = frames.RequestFailed(request="poll", code=CloseCode.TOKEN)
        session.receive_frame(lane, failed, second * NS_PER_S)
        session.handle_token(f"token {second}", second * NS_PER_S)
        assert (session.state, session.next_attempt_at) == (ClientState.POLLING, due)


def test_a_probe_that_was_dropped_for_a_token_is_made_again_at_once() -> None:
    """7.40: whether the probe itself was refused, or a poll while it was under way."""
    for is_probes in (True, False):
        session = client_in(ClientState.PROBE_CONNECTING).session
        lane, probe = session._connectivity.polling.connection_id, session._connectivity.websocket
        assert lane is not None
        assert probe is not None
        if is_probes:
            session.connection_lost(probe, CloseCode.TOKEN, 0)
        else:
            session.receive_frame(lane, frames.RequestFailed(request="poll", code=CloseCode.TOKEN), 0)
        session.handle_token("a new one", 0)
        assert session.state is ClientState.PROBE_CONNECTING
        assert session._connectivity.websocket != probe


def test_a_new_token_is_not_tried_before_the_time_that_was_asked_for() -> None:
    session = client_in(ClientState.CONNECTING).session
    session.connection_lost(1, CloseCode.TOKEN, 0, retry_after_ms=5000)
    session.handle_token("a new one", 0)
    assert (session.state, session.next_deadline()) == (ClientState.WAITING, 5 * NS_PER_S)


def test_a_wait_that_one_request_was_asked_for_holds_for_all() -> None:
    session = client_in(ClientState.POLLING).session
    lane = session._connectivity.polling.connection_id  # its first poll has left
    assert lane is not None
    session.receive_frame(lane, EXAMPLES[frames.PollAnswer], 0)
    session.handle_timeout(2 * NS_PER_S)  # the next poll
    session.receive_frame(lane, frames.RequestFailed(request="poll", code=None, retry_after_ms=60_000), 3 * NS_PER_S)
    session.take_actions()
    session.publish("CHAT", {}, 4 * NS_PER_S)
    while (deadline := session.next_deadline()) is not None and deadline < 63 * NS_PER_S:
        session.handle_timeout(deadline)
    assert [action for action in session.take_actions() if isinstance(action, Send | Open)] == []


def test_a_wait_holds_for_the_poll_after_the_one_that_was_under_way() -> None:
    """A publish request was put off while a poll was on its way; its answer began the next poll at once."""
    session = client_in(ClientState.POLLING).session
    lane = session._connectivity.polling.connection_id
    assert lane is not None
    session.receive_frame(lane, EXAMPLES[frames.PollAnswer], 0)
    session.publish("CHAT", {}, 0)
    session.handle_timeout(2 * NS_PER_S)  # the next poll leaves
    session.receive_frame(lane, frames.RequestFailed(request="publishMany", code=None, retry_after_ms=60_000), 2 * NS_PER_S)
    session.receive_frame(lane, EXAMPLES[frames.PollAnswer], 3 * NS_PER_S)
    session.take_actions()
    while (deadline := session.next_deadline()) is not None and deadline < 62 * NS_PER_S:
        session.handle_timeout(deadline)
    assert [action for action in session.take_actions() if isinstance(action, Send | Open)] == []


def test_a_lane_that_is_replaced_behind_a_probe_does_not_supersede_it() -> None:
    client = client_in(ClientState.PROBE_GREETING)
    probe_generation = client.session._connectivity.websocket_generation
    client.session.handle_token("token-2", client.now)
    assert [action for action in client.session.take_actions() if isinstance(action, Close)]
    assert client.session._connectivity.polling.generation < probe_generation


def test_a_cursor_that_was_in_flight_is_sent_again() -> None:
    client = client_in(ClientState.LIVE)
    client.session.move_cursor({"x": 1}, NS_PER_S)
    assert sent(client.session.take_actions(), 1) == [frames.Cursor({"x": 1})]
    client.session.connection_lost(1, None, 2 * NS_PER_S)
    come_back(client)
    assert frames.Cursor({"x": 1}) in sent(client.session.take_actions(), client.websocket)
