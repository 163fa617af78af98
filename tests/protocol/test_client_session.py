"""A client session as its application and its driver see it: health, tokens, held events, and the end."""

import dataclasses

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close, Open, RefreshToken, Send
from reference.protocol.client.health import Status
from reference.protocol.client.outcomes import NotConnected, PublishAccepted, PublishFailed, SessionEnded, StateChanged
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, LocalError, RemoteError, SessionClosed
from reference.protocol.events import Event
from reference.protocol.policies.fallback import AfterSeconds
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.records import RunState
from reference.protocol.states import ClientState, Transport
from reference.protocol.statistics import beyond

from .machines import EPOCH, EXAMPLES, Always, chat, client_in, closes, come_back, ended, opened, seconds, sent, welcome

# Its health in words.


def test_what_a_person_is_shown() -> None:
    client = client_in(ClientState.LIVE)
    health = client.session.health()
    assert (health.status, health.transport, health.reconnections) == (Status.CONNECTED, Transport.WEBSOCKET, 0)
    client.session.connection_lost(1, None, 0)
    client.session.publish("CHAT", {}, 0)
    health = client.session.health()
    assert (health.status, health.transport, health.queued_messages) == (Status.DISCONNECTED, None, 1)
    come_back(client)
    health = client.session.health()
    assert (health.status, health.transport, health.reconnections) == (Status.RECONNECTED, Transport.WEBSOCKET, 1)
    client.session.connection_lost(2, None, client.now)
    come_back(client)
    assert client.session.health().reconnections == 2


def test_health_names_the_last_error_until_a_websocket_carries_the_session() -> None:
    client = client_in(ClientState.LIVE)
    assert client.session.health().last_error is None
    client.session.connection_lost(1, None, 0, message="the network is gone")
    assert client.session.health().last_error == "the network is gone"
    come_back(client)
    assert client.session.health().last_error is None
    client.session.receive_frame(2, frames.Goaway(code=4001, retry_after_ms=1000, spread_ms=1000), client.now)
    assert client.session.take_outcomes()[-1] == NotConnected(4001, "the server asked this client to reconnect later")
    assert client.session.health().last_error == "the server asked this client to reconnect later"


def test_polling_is_shown_once_the_server_has_answered() -> None:
    client = client_in(ClientState.POLLING)
    client.session.handle_timeout(0)
    health = client.session.health()
    assert (health.status, health.transport) == (Status.DISCONNECTED, None)
    client.session.receive_frame(2, EXAMPLES[frames.PollAnswer], 0)
    health = client.session.health()
    assert (health.status, health.transport, health.reconnections) == (Status.HTTP_POLLING, Transport.POLLING, 0)


def test_a_probe_that_succeeds_is_no_reconnection() -> None:
    client = client_in(ClientState.PROBE_PROVING)
    before = client.session.health()
    client.session.receive_frame(client.websocket, frames.Pong(0, server_time=0), client.now)
    assert before.transport is Transport.WEBSOCKET
    assert client.session.health().reconnections == before.reconnections == 0


def test_the_statistics_name_what_is_held_and_its_limit() -> None:
    client = client_in(ClientState.LIVE, outbox_messages_max=70, outbox_bytes_max=5000, inbox_held_max=9)
    session = client.session
    session.receive_frame(1, frames.Events((chat(1),)), 0)
    session.publish("CHAT", {}, 0)
    statistics = session.statistics()
    assert (statistics.state, statistics.epoch, statistics.last, statistics.failures) == (ClientState.LIVE, EPOCH, 1, 0)
    assert (statistics.reconnections, statistics.publishes_accepted, statistics.publishes_failed) == (0, 0, 0)
    assert statistics.limits == welcome().limits
    held = {each.what: (each.length, each.limit) for each in statistics.held}
    assert held["messages in the outbox"] == (1, 70)
    assert held["bytes in the outbox"] == (166, 5000), "the data, the type, and 160 for the frame around them"
    assert held["unanswered publishes"] == (1, 64)
    assert held["held events"] == (0, 9)
    assert held["remembered pings"] == (0, 8)
    assert held["timers"][0] > 0
    assert held["timers"][1] == 18
    assert not beyond(statistics.held)
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.last = 2  # type: ignore[misc] # that is the point
    session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=2), 0)
    assert session.statistics().publishes_accepted == 1


# Before and after.


def test_nothing_can_be_said_before_the_start_or_after_the_end() -> None:
    session = client_in(ClientState.NEW).session
    with pytest.raises(LocalError, match=r"^start the session first$"):
        session.publish("CHAT", {}, 0)
    with pytest.raises(LocalError, match=r"^start the session first$"):
        session.move_cursor({}, 0)
    session = client_in(ClientState.CLOSED).session
    with pytest.raises(SessionClosed, match=r"^the session has ended: closed by the application$") as closed:
        session.publish("CHAT", {}, 0)
    assert closed.value.code is None
    client = client_in(ClientState.LIVE)
    client.session.connection_lost(1, CloseCode.FORBIDDEN, 0)
    with pytest.raises(SessionClosed, match=r"^the session has ended: the connection was lost \[4403\]$") as closed:
        client.session.publish("CHAT", {}, 0)
    assert closed.value.code == CloseCode.FORBIDDEN


def test_closing_tells_the_server_and_fails_what_is_unanswered() -> None:
    client = client_in(ClientState.LIVE)
    ticket = client.session.publish("CHAT", {}, 0)
    client.session.take_actions()
    client.session.close(0)
    actions = client.session.take_actions()
    assert actions == [Send((1,), frames.Bye()), Close((1,), 1000, "leaving")]
    outcomes = client.session.take_outcomes()
    failed = PublishFailed(ticket, "closed", "the session ended: closed by the application", may_have_arrived=True)
    assert outcomes == [failed, StateChanged(ClientState.CLOSED, False), SessionEnded(None, "closed by the application")]
    assert client.session.next_deadline() is None
    client.session.close(0)
    assert client.session.take_outcomes() == [], "once"


def test_closing_before_the_start_is_said_to_the_application_only() -> None:
    client = client_in(ClientState.NEW)
    assert client.session.statistics().limits is None
    client.session.close(0)
    assert client.session.take_actions() == []
    assert ended(client) == SessionEnded(None, "closed by the application")


def test_closing_while_nothing_carries_the_session_sends_nothing() -> None:
    client = client_in(ClientState.GREETING)
    client.session.close(0)
    assert client.session.take_actions() == [Close((1,), 1000, "leaving")]


# Tokens.


def test_a_token_that_is_refused_ends_a_session_that_cannot_get_another() -> None:
    client = client_in(ClientState.GREETING, refreshes_token=False)
    client.session.connection_lost(1, CloseCode.TOKEN, 0, message="the token has expired")
    assert ended(client) == SessionEnded(CloseCode.TOKEN, "the token has expired")
    assert RefreshToken() not in client.session.take_actions()


def test_a_token_that_was_wanted_is_waited_for_and_used() -> None:
    client = client_in(ClientState.LIVE, token_timeout_s=60)
    client.session.connection_lost(1, CloseCode.TOKEN, seconds(1))
    assert client.session.take_actions() == [RefreshToken()]
    assert client.session.state is ClientState.REFRESHING
    client.session.handle_timeout(seconds(60.9))
    client.session.handle_token("token-2", seconds(60.9))
    client.session.handle_timeout(seconds(61.0))
    assert client.session.state is ClientState.WAITING, "the time for the token is over, and no matter"
    client.session.handle_timeout(seconds(62))
    assert [action.token for action in opened(client.session)] == ["token-2"]


def test_a_token_that_does_not_come_in_time_ends_the_session() -> None:
    client = client_in(ClientState.LIVE, token_timeout_s=60)
    client.session.connection_lost(1, CloseCode.TOKEN, seconds(1))
    client.session.handle_timeout(seconds(60.9))
    assert client.session.state is ClientState.REFRESHING
    client.session.handle_timeout(seconds(61))
    assert ended(client) == SessionEnded(CloseCode.TOKEN, "the application supplied no token in time")


def test_who_waits_for_a_token_does_not_fall_back_to_polling() -> None:
    session = ClientSession(
        "client-1",
        config=ClientConfig(refreshes_token=True, token_timeout_s=60),
        policy=FullJitter(),
        random_source=Always(0.5),
        fallback=AfterSeconds(5),
    )
    session.start(0)
    session.connection_lost(1, CloseCode.TOKEN, seconds(1))
    session.handle_timeout(seconds(30))
    assert session.state is ClientState.REFRESHING
    session.handle_token("token-2", seconds(30))
    assert session.state is ClientState.POLLING, "it has been in trouble for long enough"


def test_a_warning_asks_for_a_token_and_the_new_one_is_sent_on_the_open_connection() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Expiring(1000), 0)
    assert client.session.take_actions() == [RefreshToken()]
    client.session.handle_token("token-2", 0)
    assert client.session.take_actions() == [Send((1,), frames.Auth("token-2"))]
    cannot = client_in(ClientState.LIVE, refreshes_token=False)
    cannot.session.receive_frame(1, frames.Expiring(1000), 0)
    assert cannot.session.take_actions() == []


@pytest.mark.parametrize(
    ("in_ms", "given_at", "asks_again_at"),
    [
        (20_000, seconds(2) + 1, seconds(11)),
        (6_000, seconds(2), seconds(7)),
        (2_000, seconds(2) - 1, seconds(7) - 1),
        (2_000, seconds(2), None),
        (None, seconds(2), None),
    ],
)
def test_who_is_given_the_old_token_asks_again_after_half_of_its_time(
    in_ms: int | None, given_at: int, asks_again_at: int | None
) -> None:
    """7.36: but not sooner than after five seconds, and not once the token has expired."""
    client = client_in(ClientState.LIVE, ping_interval_s=1000, ping_timeout_s=1000, steady_after_s=1000)
    session = client.session
    if in_ms is not None:
        session.receive_frame(1, frames.Expiring(in_ms), 0)
    session.take_actions()
    before = session.next_deadline()
    session.handle_token("token-1", given_at)
    assert session.next_deadline() == (before if asks_again_at is None else asks_again_at)
    if asks_again_at is not None:
        session.handle_timeout(asks_again_at)
        assert session.take_actions() == [RefreshToken()]


def test_an_old_token_is_not_asked_about_again_without_a_connection() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Expiring(60_000), 0)
    client.session.connection_lost(1, None, 0)
    before = client.session.next_deadline()
    client.session.handle_token("token-1", 0)
    client.session.take_actions()
    assert client.session.next_deadline() == before


def test_the_time_of_a_token_ends_with_it() -> None:
    """A token of which nothing is known is not asked about, even if the one before it was about to expire."""
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Expiring(60_000), 0)
    client.session.connection_lost(1, CloseCode.TOKEN, 0)
    client.session.handle_token("token-2", 0)
    come_back(client)
    before = client.session.next_deadline()
    client.session.handle_token("token-2", client.now)
    assert client.session.next_deadline() == before


def test_a_new_token_begins_a_new_polling_lane() -> None:
    client = client_in(ClientState.POLLING)
    client.session.handle_token("token-2", seconds(1))
    actions = client.session.take_actions()
    assert [action for action in actions if isinstance(action, Close)] == [Close((2,), None, "polling has ended")]
    assert [action for action in actions if isinstance(action, Open)] == [Open(3, Transport.POLLING, "token-2")]
    client.session.handle_timeout(seconds(1))
    assert [type(frame) for frame in sent(client.session.take_actions(), 3)] == [frames.PollRequest]


# What the server says.


def test_a_missing_event_is_named_and_resumed_for() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    client.session.receive_frame(1, frames.Events((chat(3),)), 0)
    assert client.session.take_actions()[-1] == Close((1,), CloseCode.GOING_AWAY, "event 2 is missing")


def test_a_tail_that_does_not_come_is_waited_for_and_then_resumed_for() -> None:
    client = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    client.session.receive_frame(1, frames.Heartbeat(3), seconds(1))
    client.session.handle_timeout(seconds(2.9))
    assert client.session.state is ClientState.LIVE
    client.session.handle_timeout(seconds(3))
    assert closes(client.session.take_actions()) == [(1, CloseCode.GOING_AWAY)]
    calm = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
    calm.session.receive_frame(1, frames.Heartbeat(1), 0)
    calm.session.receive_frame(1, frames.Events((chat(1),)), seconds(1.9))
    calm.session.handle_timeout(seconds(5))
    assert calm.session.state is ClientState.LIVE, "it came"


def test_events_are_acknowledged_after_so_many_or_after_a_while() -> None:
    client = client_in(ClientState.LIVE, ack_events=3, ack_interval_s=5, ping_interval_s=100)
    session = client.session

    def acks() -> list[int]:
        return [frame.sequence_number for frame in sent(session.take_actions(), 1) if isinstance(frame, frames.Ack)]

    session.receive_frame(1, frames.Events((chat(1), chat(2))), 0)
    assert acks() == []
    session.receive_frame(1, frames.Events((chat(3),)), seconds(1))
    assert acks() == [3]
    session.handle_timeout(seconds(6))
    assert acks() == [], "nothing is left to acknowledge"
    session.receive_frame(1, frames.Events((chat(4),)), seconds(7))
    session.receive_frame(1, frames.Events((chat(5),)), seconds(8))
    session.handle_timeout(seconds(11.9))
    assert acks() == []
    session.handle_timeout(seconds(12))
    assert acks() == [5]
    session.receive_frame(1, frames.Events((chat(5),)), seconds(13))
    session.handle_timeout(seconds(20))
    assert acks() == [], "copies are not acknowledged"


def test_a_snapshot_comes_when_it_was_announced_and_only_then() -> None:
    client = client_in(ClientState.PROVING, snapshot_is_due=True)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    reason = "events before the snapshot that welcome announced"
    assert client.session.take_actions() == [Close((1,), CloseCode.BAD_FRAME, reason)]
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.SnapshotFrame(0, RunState()), 0)
    reason = "a snapshot that was not announced by welcome"
    assert client.session.take_actions() == [Close((1,), CloseCode.BAD_FRAME, reason)]


def test_a_malformed_frame_ends_the_connection_with_its_code() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_malformed(1, RemoteError(CloseCode.TOO_BIG, "too large"), 0)
    assert client.session.take_actions() == [Close((1,), CloseCode.TOO_BIG, "too large")]
    assert client.session.state is ClientState.WAITING


def test_what_is_not_allowed_now_is_named_in_the_close() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, EXAMPLES[frames.Welcome], 0)
    assert client.session.take_actions() == [Close((1,), CloseCode.BAD_FRAME, "Welcome while live")]


def test_pings_are_numbered_and_tell_the_round_trip_before() -> None:
    client = client_in(ClientState.PROVING, ping_interval_s=10, ping_timeout_s=5)
    session = client.session
    session.receive_frame(1, frames.Pong(0, server_time=0), seconds(0.25))
    pings = []
    for second in (10, 20, 30):
        session.handle_timeout(seconds(second))
        pings += [frame for frame in sent(session.take_actions(), 1) if isinstance(frame, frames.Ping)]
        session.receive_frame(1, frames.Pong(pings[-1].nonce, server_time=0), seconds(second) + seconds(0.001) * len(pings))
    assert [(ping.nonce, ping.round_trip_ms) for ping in pings] == [(1, 250.0), (2, 1.0), (3, 2.0)]


def test_so_many_pings_are_remembered() -> None:
    client = client_in(ClientState.LIVE, ping_interval_s=1, ping_timeout_s=100)
    for second in range(1, 11):
        client.session.handle_timeout(seconds(second))
    held = {each.what: each.length for each in client.session.statistics().held}
    assert held["remembered pings"] == 8


def test_a_pong_to_no_ping_of_this_connection_proves_nothing() -> None:
    client = client_in(ClientState.PROVING)
    client.session.receive_frame(1, frames.Pong(7, server_time=0), 0)
    assert client.session.state is ClientState.PROVING
    assert client.session.health().round_trip.samples == 0
    client.session.receive_frame(1, frames.Pong(0, server_time=0), 0)
    assert client.session.state is ClientState.LIVE
    client.session.receive_frame(1, frames.Pong(0, server_time=0), 0)
    assert client.session.health().round_trip.samples == 1


def test_a_dead_line_is_left_with_the_reason() -> None:
    client = client_in(ClientState.LIVE, ping_interval_s=10, ping_timeout_s=3)
    for at in (10, 13):
        client.session.handle_timeout(seconds(at))
    assert Close((1,), CloseCode.HEARTBEAT_LOST, "no data received after a ping") in client.session.take_actions()


def test_a_timer_that_falls_due_with_a_frame_fires_with_it() -> None:
    client = client_in(ClientState.LIVE, ack_interval_s=5, ping_interval_s=100)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    client.session.receive_frame(1, frames.Heartbeat(1), seconds(5) - 1)
    assert client.session.take_actions() == []
    client.session.receive_frame(1, frames.Heartbeat(1), seconds(5))
    assert client.session.take_actions() == [Send((1,), frames.Ack(1))]


def test_what_the_application_has_to_know_is_kept_in_order_until_it_is_taken() -> None:
    client = client_in(ClientState.LIVE)
    ticket = client.session.publish("CHAT", {}, 0)
    for frame in (
        frames.Events((chat(1),)),
        frames.Presence(joined=("bob",), server_time=1),
        frames.Cursors(moved={"bob": {"x": 1}}, server_time=2),
        frames.Accepted(client_sequence=1, sequence_number=1),
        frames.Events((chat(2),)),
    ):
        client.session.receive_frame(1, frame, 0)
    assert client.session.take_outcomes() == [
        chat(1),
        Event("USER_JOIN", "bob", 1, None, {}, False),
        Event("CURSOR_MOVE", "bob", 2, None, {"x": 1}, False),
        PublishAccepted(ticket, 1, False, EPOCH),
        chat(2),
    ]
    assert client.session.take_outcomes() == []


# Holding events.


def test_events_that_were_passed_over_are_resumed_for_when_the_application_reads_again() -> None:
    client = client_in(ClientState.LIVE)
    session = client.session
    session.hold_events(0)
    session.receive_frame(1, frames.Events((chat(1),)), seconds(1))
    assert session.position == (EPOCH, 0)
    assert session.state is ClientState.LIVE
    session.release_events(seconds(2))
    reason = "events were passed over while the application did not read"
    assert session.take_actions() == [Close((1,), CloseCode.GOING_AWAY, reason)]
    assert session.statistics().failures == 0
    quiet = client_in(ClientState.LIVE)
    quiet.session.hold_events(0)
    quiet.session.release_events(seconds(2))
    assert quiet.session.take_actions() == []


def test_what_a_connection_passed_over_is_brought_by_the_resume_on_the_next() -> None:
    client = client_in(ClientState.LIVE)
    client.session.hold_events(0)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    client.session.connection_lost(1, None, 0)
    come_back(client)
    client.session.take_actions()
    client.session.release_events(client.now)
    assert client.session.take_actions() == []
    assert client.session.state is ClientState.PROVING


def test_who_holds_events_does_not_miss_the_tail() -> None:
    client = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
    client.session.receive_frame(1, frames.Heartbeat(1), 0)
    client.session.hold_events(0)
    client.session.handle_timeout(seconds(10))
    assert client.session.state is ClientState.LIVE
    client.session.release_events(seconds(10))
    client.session.hold_events(seconds(11))
    client.session.release_events(seconds(11.5))
    client.session.handle_timeout(seconds(13.4))
    assert client.session.state is ClientState.LIVE, "it is given its time anew"
    client.session.handle_timeout(seconds(13.5))
    assert client.session.state is ClientState.WAITING


def test_an_application_that_takes_a_break_before_anything_came_misses_nothing() -> None:
    session = client_in(ClientState.CONNECTING).session
    before = session.next_deadline()
    session.hold_events(0)
    session.release_events(0)
    assert session.next_deadline() == before
    assert session.client_id == "client-1"


def test_how_long_a_driver_may_wait_for_an_application() -> None:
    assert client_in(ClientState.NEW, patience_s=0.5).session.patience_s == 0.5
    assert client_in(ClientState.NEW, patience_s=9, tail_timeout_s=3).session.patience_s == 1.5
    assert client_in(ClientState.NEW, patience_s=9, tail_timeout_s=30, ping_timeout_s=4).session.patience_s == 2


def test_an_acceptance_does_not_say_that_an_event_is_missing() -> None:
    """It comes before the event itself, in another frame (7.13)."""
    client = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
    client.session.publish("CHAT", {}, 0)
    client.session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=1), 0)
    client.session.handle_timeout(seconds(50))
    assert client.session.state is ClientState.LIVE
