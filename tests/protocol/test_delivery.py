"""What a session accepts from its server and what it ignores: snapshots, resets, presence, and frames while it holds."""

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.client.context import ClientContext
from reference.protocol.client.delivery import EventDelivery, Roster
from reference.protocol.client.outcomes import PublishAccepted, ResetReceived, SnapshotReceived, StateChanged
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode
from reference.protocol.events import Event
from reference.protocol.records import RunState, Snapshot
from reference.protocol.states import ClientState

from .machines import EPOCH, Client, chat, client_in, closes, poll_answer, seconds, sent, welcome

STATE = RunState(grafts={"a": {"position": "a"}})


def outcomes(client: Client) -> list[object]:
    return [outcome for outcome in client.session.take_outcomes() if not isinstance(outcome, StateChanged)]


def behind_three() -> Client:
    """Live at event 3 of the first history, then cut off and greeting again."""
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Events((chat(1), chat(2), chat(3))), 0)
    client.session.connection_lost(1, None, 0)
    client.now = client.session.next_deadline() or 0
    client.session.handle_timeout(client.now)
    client.session.connection_opened(2, client.now)
    client.websocket = 2
    client.session.take_actions()
    client.session.take_outcomes()
    return client


def joined(user: str, at: int = 0) -> Event:
    return Event("USER_JOIN", user, at, None, {}, False)


# Snapshots and histories.


def test_a_fresh_session_is_given_the_state_and_goes_on_behind_it() -> None:
    client = client_in(ClientState.GREETING)
    client.session.receive_frame(1, welcome(head=7, after_sequence=5, active_users=()), 0)
    client.session.receive_frame(1, frames.SnapshotFrame(5, STATE), 0)
    assert outcomes(client) == [SnapshotReceived(EPOCH, Snapshot(5, STATE), None)]
    assert client.session.position == (EPOCH, 5)
    client.session.receive_frame(1, frames.Events((chat(6),)), 0)
    assert outcomes(client) == [chat(6)]


def test_a_position_that_expired_is_moved_forward_by_a_snapshot() -> None:
    client = behind_three()
    frame = welcome(outcome="snapshot", reason="expired", head=9, after_sequence=8, active_users=("ann",))
    client.session.receive_frame(2, frame, client.now)
    client.session.receive_frame(2, frames.SnapshotFrame(8, STATE), client.now)
    assert outcomes(client) == [SnapshotReceived(EPOCH, Snapshot(8, STATE), "expired")]
    assert client.session.position == (EPOCH, 8)


@pytest.mark.parametrize("number", [2, 3])
def test_a_snapshot_never_moves_a_position_back_in_its_history(number: int) -> None:
    client = behind_three()
    frame = welcome(outcome="snapshot", reason="expired", head=3, after_sequence=number, active_users=("ann",))
    client.session.receive_frame(2, frame, client.now)
    client.session.receive_frame(2, frames.SnapshotFrame(number, STATE), client.now)
    assert outcomes(client) == []
    assert client.session.position == (EPOCH, 3)


@pytest.mark.parametrize(("reason", "epoch"), [("epoch", "epoch-2"), ("ahead", EPOCH)])
def test_a_lost_history_is_reported_as_a_reset(reason: str, epoch: str) -> None:
    client = behind_three()
    frame = welcome(outcome="reset", reason=reason, epoch=epoch, head=1, after_sequence=1, active_users=("ann",))
    client.session.receive_frame(2, frame, client.now)
    client.session.receive_frame(2, frames.SnapshotFrame(1, STATE), client.now)
    assert outcomes(client) == [ResetReceived(epoch, Snapshot(1, STATE), reason)]
    assert client.session.position == (epoch, 1)
    client.session.receive_frame(2, frames.Events((chat(2),)), client.now)
    assert client.session.position == (epoch, 2)
    client.session.handle_timeout(client.now + seconds(1))
    acks = [frame for frame in sent(client.session.take_actions(), 2) if isinstance(frame, frames.Ack)]
    assert acks == [frames.Ack(2)], "counted from the snapshot"


@pytest.mark.parametrize("start", ["oldest", "head"])
def test_a_session_may_begin_without_a_snapshot(start: str) -> None:
    client = client_in(ClientState.GREETING, start=start, tail_timeout_s=2, ping_interval_s=100)
    client.session.receive_frame(1, welcome(head=5, after_sequence=4, active_users=()), 0)
    client.session.receive_frame(1, frames.Pong(0, server_time=0), 0)
    assert client.session.position == (EPOCH, 4)
    assert outcomes(client) == []
    client.session.handle_timeout(seconds(2))
    assert closes(client.session.take_actions()) == [(1, CloseCode.GOING_AWAY)], "event 5 exists and has not come"


def test_a_head_that_welcome_names_is_waited_for() -> None:
    client = behind_three()
    client.session.receive_frame(2, welcome(outcome="resumed", head=4, after_sequence=3), client.now)
    client.session.receive_frame(2, frames.Pong(1, server_time=0), client.now)
    client.session.handle_timeout(client.now + seconds(2))
    assert Close((2,), CloseCode.GOING_AWAY, "event 4 has not come") in client.session.take_actions()


def test_what_is_still_missing_after_some_events_is_waited_for_anew() -> None:
    client = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
    client.session.receive_frame(1, frames.Heartbeat(3), 0)
    client.session.receive_frame(1, frames.Events((chat(1),)), seconds(1.5))
    client.session.handle_timeout(seconds(3.4))
    assert client.session.state is ClientState.LIVE
    client.session.handle_timeout(seconds(3.5))
    assert closes(client.session.take_actions()) == [(1, CloseCode.GOING_AWAY)]


def test_a_heartbeat_that_comes_again_gives_a_missing_event_no_more_time() -> None:
    client = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
    for second in (0, 1.9):
        client.session.receive_frame(1, frames.Heartbeat(1), seconds(second))
    client.session.handle_timeout(seconds(2))
    assert closes(client.session.take_actions()) == [(1, CloseCode.GOING_AWAY)]


def test_a_resumed_session_acknowledges_and_gets_the_users() -> None:
    client = behind_three()
    frame = welcome(outcome="resumed", head=4, cursor_positions={"ann": {"x": 1}}, server_time=8)
    client.session.receive_frame(2, frame, client.now)
    assert outcomes(client) == [Event("CURSOR_MOVE", "ann", 8, None, {"x": 1}, False)]
    client.session.receive_frame(2, frames.Events((chat(4),)), client.now)
    client.session.handle_timeout(client.now + seconds(1))
    assert frames.Ack(4) in sent(client.session.take_actions(), 2)


def test_a_snapshot_that_came_while_nothing_was_taken_is_asked_for_again() -> None:
    client = client_in(ClientState.PROVING, snapshot_is_due=True)
    client.session.hold_events(0)
    client.session.receive_frame(1, frames.SnapshotFrame(0, STATE), 0)
    assert outcomes(client) == []
    assert client.session.position == (None, 0)
    client.session.release_events(0)
    assert closes(client.session.take_actions()) == [(1, CloseCode.GOING_AWAY)]


def test_what_a_lost_connection_has_passed_over_needs_no_second_resume() -> None:
    client = client_in(ClientState.LIVE)
    client.session.hold_events(0)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    client.session.connection_lost(1, None, 0)
    client.session.take_actions()
    client.session.release_events(0)
    assert client.session.take_actions() == []


# The other transport.


def test_events_come_once_whichever_transport_is_faster() -> None:
    client = client_in(ClientState.PROBE_GREETING)
    session = client.session
    session.handle_timeout(client.now + seconds(2))  # the next poll is on its way
    session.receive_frame(client.websocket, welcome(outcome="resumed", head=2), client.now)
    session.receive_frame(client.websocket, frames.Events((chat(1), chat(2))), client.now)
    session.receive_frame(2, poll_answer(outcome="resumed", events=(chat(1), chat(2), chat(3)), head=3), client.now)
    assert [each.sequence_number for each in outcomes(client) if isinstance(each, Event) and each.event_type == "CHAT"] == [
        1,
        2,
        3,
    ]


def _delivery(start: str = "snapshot") -> EventDelivery:
    return EventDelivery(ClientContext(ClientConfig(start=start)))  # type: ignore[arg-type]


def test_a_poll_moves_the_position_by_its_snapshot_and_its_events() -> None:
    delivery = _delivery()
    answer = poll_answer(head=6, after_sequence=5, snapshot=frames.SnapshotFrame(5, STATE), events=(chat(6),))
    delivery.poll(answer, asked_in=None, takes_roster=False)
    assert (delivery.inbox.epoch, delivery.inbox.last) == (EPOCH, 6)
    assert delivery._context.outcomes == [SnapshotReceived(EPOCH, Snapshot(5, STATE), None), chat(6)]


def test_a_poll_may_begin_without_a_snapshot() -> None:
    delivery = _delivery("oldest")
    delivery.poll(poll_answer(head=6, after_sequence=4, events=(chat(5),)), asked_in=None, takes_roster=False)
    assert (delivery.inbox.epoch, delivery.inbox.last) == (EPOCH, 5)


def test_a_poll_that_was_asked_for_in_another_history_is_too_late() -> None:
    delivery = _delivery()
    delivery.inbox.start_at("epoch-2", 0)
    answer = poll_answer(head=6, after_sequence=5, snapshot=frames.SnapshotFrame(5, STATE), events=(chat(6),))
    delivery.poll(answer, asked_in="epoch-0", takes_roster=True)
    assert (delivery.inbox.epoch, delivery.inbox.last) == ("epoch-2", 0)
    assert delivery._context.outcomes == []


def test_a_poll_that_is_passed_over_leaves_the_position_where_it_was() -> None:
    delivery = _delivery()
    delivery.inbox.start_at(EPOCH, 0)
    delivery.hold()
    delivery.poll(poll_answer(outcome="resumed", head=1, events=(chat(1),)), asked_in=EPOCH, takes_roster=True)
    assert delivery.inbox.last == 0
    assert delivery._context.outcomes == [joined("ann")], "the users present are reported all the same"
    assert delivery.release(0)
    assert not delivery.release(0)


def test_a_snapshot_of_a_poll_that_is_passed_over_is_asked_for_again() -> None:
    delivery = _delivery()
    delivery.hold()
    answer = poll_answer(head=5, after_sequence=5, snapshot=frames.SnapshotFrame(5, STATE))
    delivery.poll(answer, asked_in=None, takes_roster=False)
    assert delivery.inbox.epoch is None
    assert delivery.release(0)


def test_a_poll_carries_users_and_cursors_unless_a_websocket_does() -> None:
    for takes_roster in (True, False):
        delivery = _delivery()
        answer = poll_answer(outcome="resumed", cursor_positions={"ann": {"x": 1}}, server_time=4)
        delivery.poll(answer, asked_in=None, takes_roster=takes_roster)
        reported = [joined("ann", 4), Event("CURSOR_MOVE", "ann", 4, None, {"x": 1}, False)]
        assert delivery._context.outcomes == (reported if takes_roster else [])


def test_who_is_here_comes_from_the_websocket_while_both_transports_do() -> None:
    client = client_in(ClientState.POLLING)
    session = client.session
    session.handle_timeout(0)
    session.receive_frame(2, poll_answer(active_users=("ann", "bob")), 0)
    assert session.active_users == ("ann", "bob")
    probing = client_in(ClientState.PROBE_GREETING)
    probing.session.handle_timeout(probing.now + seconds(2))  # a poll is on its way
    probing.session.receive_frame(probing.websocket, welcome(outcome="resumed", active_users=("ann", "cem")), probing.now)
    probing.session.receive_frame(2, poll_answer(outcome="resumed", active_users=("ann", "bob")), probing.now)
    assert probing.session.active_users == ("ann", "cem")


def test_a_reset_over_http_is_reported_and_numbers_start_again_for_the_server() -> None:
    client = client_in(ClientState.POLLING, poll_interval_s=2)
    session = client.session
    session.handle_timeout(0)
    session.receive_frame(2, poll_answer(), 0)
    session.publish("CHAT", {}, 0)
    accepted = frames.Accepted(client_sequence=1, sequence_number=1)
    session.receive_frame(2, frames.PublishAnswer((accepted,), "epoch-7"), 0)
    assert PublishAccepted(1, 1, False, "epoch-7") in session.take_outcomes(), "the history that the answer speaks of"
    for last, outcome, epoch, after in ((1, "resumed", EPOCH, None), (2, "reset", "epoch-2", 0)):
        client.now += seconds(2)
        session.handle_timeout(client.now)
        snapshot = frames.SnapshotFrame(0, STATE) if outcome == "reset" else None
        answer = poll_answer(outcome=outcome, epoch=epoch, snapshot=snapshot, last_client_sequence=last)
        session.receive_frame(2, answer, client.now)
        assert session.position == (epoch, 0)
        session.take_actions()
        ticket = session.publish("CHAT", {}, client.now)
        (request,) = [frame for frame in sent(session.take_actions(), 2) if isinstance(frame, frames.PublishRequest)]
        assert (request.messages[0].client_sequence, request.messages[0].after) == (ticket, after)
        accepted = frames.Accepted(client_sequence=ticket, sequence_number=ticket)
        session.receive_frame(2, frames.PublishAnswer((accepted,), epoch), client.now)


def test_a_snapshot_that_the_other_transport_has_overtaken_moves_nothing() -> None:
    delivery = _delivery()
    delivery.inbox.start_at(EPOCH, 3)
    delivery.greeted()
    delivery.welcomed(welcome(outcome="snapshot", reason="expired", head=8, after_sequence=8, active_users=()), 0)
    delivery.inbox.start_at(EPOCH, 10)  # as a poll does meanwhile
    delivery.snapshot(frames.SnapshotFrame(8, STATE), 0)
    assert (delivery.inbox.last, delivery._context.outcomes) == (10, [])


def test_a_websocket_in_a_history_that_was_left_is_closed() -> None:
    client = client_in(ClientState.PROBE_PROVING)
    client.session._delivery.inbox.start_at("epoch-9", 4)  # as a poll does that finds a lost history
    client.session.receive_frame(client.websocket, frames.Events((chat(1),)), client.now)
    reason = "this connection is in a history that was left"
    assert Close((client.websocket,), CloseCode.GOING_AWAY, reason) in client.session.take_actions()


# Who is here.


def test_every_join_and_leave_is_sent_once() -> None:
    roster = Roster()
    assert roster.full((), {}, 0) == []
    assert roster.full(("ann", "bob"), {"bob": {"x": 1}}, 5) == [
        joined("ann", 5),
        joined("bob", 5),
        Event("CURSOR_MOVE", "bob", 5, None, {"x": 1}, False),
    ]
    assert roster.full(("ann", "bob"), {"bob": {"x": 1}}, 6) == []
    assert (roster.users, roster.positions) == (("ann", "bob"), {"bob": {"x": 1}})
    assert roster.full(("ann",), {}, 7) == [Event("USER_LEAVE", "bob", 7, None, {}, False)]
    assert (roster.users, roster.positions) == (("ann",), {})


def test_a_cursor_that_is_gone_means_that_its_user_left_and_returned() -> None:
    """8.30. An application that draws from events has no other way to learn of it."""
    left, returned = Event("USER_LEAVE", "bob", 6, None, {}, False), joined("bob", 6)
    for see in (
        lambda roster: roster.full(("ann", "bob"), {}, 6),
        lambda roster: roster.cursors(frames.Cursors(full={}, server_time=6)),
    ):
        roster = Roster()
        roster.full(("ann", "bob"), {"bob": {"x": 1}}, 5)
        assert see(roster) == [left, returned]
        assert (roster.users, roster.positions) == (("ann", "bob"), {})


def test_a_cursor_that_came_before_its_user_ends_with_the_leave() -> None:
    left = Event("USER_LEAVE", "bob", 6, None, {}, False)
    for gone in (frames.Presence(left=("bob",), server_time=6), frames.Presence(full=("ann",), server_time=6)):
        roster = Roster()
        roster.full(("ann",), {}, 5)
        assert len(roster.cursors(frames.Cursors(moved={"bob": {"x": 1}}, server_time=5))) == 1
        assert roster.presence(gone) == [left]
        assert (roster.users, roster.positions) == (("ann",), {})


def test_the_leave_of_a_single_user_is_sent() -> None:
    roster = Roster()
    roster.full(("ann",), {}, 0)
    assert roster.full((), {}, 5) == [Event("USER_LEAVE", "ann", 5, None, {}, False)]
    assert roster.full((), {}, 6) == []


def test_only_real_changes_of_presence_are_sent() -> None:
    roster = Roster()
    roster.full(("ann",), {}, 0)
    reported = roster.presence(frames.Presence(joined=("ann", "bob"), left=("cem",), server_time=3))
    assert reported == [joined("bob", 3)]
    roster.cursors(frames.Cursors(moved={"bob": {"x": 1}}, server_time=3))
    assert roster.presence(frames.Presence(left=("bob",), server_time=4)) == [Event("USER_LEAVE", "bob", 4, None, {}, False)]
    assert roster.positions == {}


def test_cursors_are_sent_when_they_have_moved() -> None:
    roster = Roster()
    roster.full(("ann", "bob"), {"ann": {"x": 1}}, 0)
    moved = {"ann": {"x": 1}, "bob": {"x": 2}}
    assert roster.cursors(frames.Cursors(moved=moved, server_time=3)) == [Event("CURSOR_MOVE", "bob", 3, None, {"x": 2}, False)]
    assert roster.cursors(frames.Cursors(full={"ann": {"x": 9}, "bob": {"x": 2}}, server_time=4)) == [
        Event("CURSOR_MOVE", "ann", 4, None, {"x": 9}, False)
    ]
    assert roster.positions == {"ann": {"x": 9}, "bob": {"x": 2}}


def test_a_cursor_that_moves_ends_no_other() -> None:
    roster = Roster()
    roster.full(("ann", "bob"), {"ann": {"x": 1}, "bob": {"x": 1}}, 0)
    assert [event.user_id for event in roster.cursors(frames.Cursors(moved={"bob": {"x": 2}}, server_time=1))] == ["bob"]
    assert roster.positions == {"ann": {"x": 1}, "bob": {"x": 2}}


def test_the_session_shows_who_is_here() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Presence(joined=("bob",), server_time=0), 0)
    client.session.receive_frame(1, frames.Cursors(moved={"bob": {"x": 2}}, server_time=0), 0)
    assert (client.session.active_users, client.session.cursors) == (("ann", "bob"), {"bob": {"x": 2}})
