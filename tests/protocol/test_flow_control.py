"""A slow application: which frames wait, what is paused, and when the session holds."""

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.actions import Close, PauseReading, ResumeReading
from reference.protocol.client.delivery import FlowControl, is_sequenced
from reference.protocol.client.outcomes import Outcome, PublishAccepted, ResetReceived, SnapshotReceived
from reference.protocol.errors import CloseCode
from reference.protocol.events import Event
from reference.protocol.records import RunState, Snapshot
from reference.protocol.states import ClientState
from reference.protocol.statistics import beyond

from .machines import EPOCH, EXAMPLES, Client, chat, client_in, closes, come_back, seconds

ROOM = 8


def slow_client(state: ClientState = ClientState.LIVE, **settings: object) -> Client:
    """Its application has taken the snapshot, and nothing else yet."""
    client = client_in(state, outcomes_waiting_max=ROOM, ping_interval_s=100, **settings)  # type: ignore[arg-type]
    if state is ClientState.LIVE:
        client.session.application_took(1, 0)
        client.session.take_actions()
    return client


def events(first: int, last: int) -> frames.Events:
    return frames.Events(tuple(chat(number) for number in range(first, last + 1)))


def handed_over(client: Client) -> list[int]:
    outcomes = client.session.take_outcomes()
    return [each.sequence_number for each in outcomes if isinstance(each, Event) and each.sequence_number is not None]


def test_a_frame_that_does_not_fit_is_handed_over_in_parts() -> None:
    client = slow_client()
    session = client.session
    session.receive_frame(1, events(1, 12), 0)
    assert handed_over(client) == list(range(1, ROOM + 1))
    assert session.take_actions() == [PauseReading(1)]
    session.application_took(1, seconds(0.1))
    assert handed_over(client) == [], "it is worth waiting for room for a quarter"
    session.application_took(1, seconds(0.2))
    assert handed_over(client) == [9, 10]
    session.application_took(2, seconds(0.3))
    assert handed_over(client) == [11, 12]
    assert session.take_actions() == [ResumeReading(1)]
    assert session.position[1] == 12


def test_what_stands_behind_events_waits_with_them() -> None:
    client = slow_client()
    session = client.session
    session.receive_frame(1, events(1, 9), 0)
    session.receive_frame(1, frames.Heartbeat(20), 0)
    assert not session._delivery.is_behind, "the heartbeat is not read yet"
    session.application_took(8, seconds(0.5))
    assert session._delivery.is_behind


def test_an_application_that_takes_nothing_makes_the_session_hold() -> None:
    client = slow_client(patience_s=0.5)
    session = client.session
    session.receive_frame(1, events(1, 9), 0)
    session.receive_frame(1, frames.Pong(99, server_time=0), 0)
    assert not beyond(session.statistics().held)
    client.session.take_actions()
    session.handle_timeout(seconds(0.49))
    assert session.take_actions() == []
    session.handle_timeout(seconds(0.5))
    assert session.take_actions() == [ResumeReading(1)]
    assert session.position[1] == ROOM, "what is not taken is not counted as received"
    session.receive_frame(1, events(10, 12), seconds(1))
    assert session.position[1] == ROOM
    handed_over(client)
    session.application_took(3, seconds(2))
    assert closes(session.take_actions()) == []
    session.application_took(1, seconds(3))
    assert closes(session.take_actions()) == [(1, CloseCode.GOING_AWAY)], "half is taken, and a resume brings the rest"
    assert session.statistics().failures == 0


def test_the_time_limit_of_an_application_restarts_with_each_item_taken() -> None:
    client = slow_client(patience_s=1.0)
    session = client.session
    session.receive_frame(1, events(1, 60), 0)
    for second in range(1, 40):
        session.application_took(1, seconds(second - 0.5))
        session.handle_timeout(seconds(second))
    assert session.state is ClientState.LIVE
    assert handed_over(client) == list(range(1, ROOM + 40))
    assert all(not isinstance(action, Close) for action in session.take_actions())


def test_the_time_limit_counts_from_the_last_frame_that_was_handed_over() -> None:
    client = slow_client(patience_s=1.0, ack_interval_s=100)
    session = client.session
    session.receive_frame(1, events(1, 12), 0)
    assert session.next_deadline() == seconds(1)
    session.application_took(1, seconds(0.4))
    assert session.next_deadline() == seconds(1), "that made too little room"
    session.application_took(1, seconds(0.5))
    assert session.next_deadline() == seconds(1.5)


def test_an_application_is_not_held_to_a_time_limit_when_nothing_waits() -> None:
    client = slow_client(patience_s=1.0)
    session = client.session
    session.receive_frame(1, events(1, 9), 0)
    session.application_took(1, seconds(0.5))
    session.handle_timeout(seconds(5))
    session.receive_frame(1, events(10, 10), seconds(5))
    session.application_took(1, seconds(5.5))
    assert session.position[1] == 10


def test_after_it_has_held_a_session_delivers_in_parts_again() -> None:
    client = slow_client(patience_s=0.5)
    session = client.session
    session.receive_frame(1, events(1, 9), 0)
    session.handle_timeout(seconds(0.5))
    session.application_took(8, seconds(1))
    come_back(client)
    session.receive_frame(client.websocket, events(9, 18), client.now)
    assert session.position[1] == 16
    session.application_took(4, client.now)
    assert session.position[1] == 18


def test_without_a_time_limit_it_holds_at_once() -> None:
    client = slow_client(patience_s=0.0)
    client.session.receive_frame(1, events(1, 9), 0)
    client.session.receive_frame(1, events(10, 11), 0)
    assert client.session.position[1] == ROOM
    assert client.session._delivery.is_holding


def test_what_waits_is_forgotten_with_its_connection() -> None:
    client = slow_client()
    client.session.receive_frame(1, events(1, 9), 0)
    client.session.connection_lost(1, None, 0)
    held = {each.what: each.length for each in client.session.statistics().held}
    assert held["frames that wait for the application"] == 0
    assert held["outcomes that the application has not taken"] == ROOM
    client.session.take_actions()
    client.session.application_took(8, seconds(0.1))
    assert client.session.position[1] == ROOM
    assert client.session.take_actions() == []
    come_back(client)
    client.session.take_actions()
    client.session.receive_frame(client.websocket, events(9, 17), client.now)
    assert client.session.take_actions() == [PauseReading(client.websocket)], "the old connection is not resumed"


def test_what_needs_less_room_does_not_wait_behind_another_connection() -> None:
    flow = FlowControl(ROOM)
    flow.waiting = ROOM - 1
    flow.postpone(1, events(1, 4))
    flow.postpone(2, EXAMPLES[frames.PollAnswer])
    assert flow.next_readable(takes_any=False, is_patient=True) == (2, EXAMPLES[frames.PollAnswer])
    assert flow.next_readable(takes_any=False, is_patient=True) is None


@pytest.mark.parametrize(("limit", "worth_waiting_for"), [(3, 1), (4, 1), (7, 1), (8, 2), (11, 2)])
def test_a_frame_is_handed_over_in_parts_of_a_quarter_of_the_limit(limit: int, worth_waiting_for: int) -> None:
    flow = FlowControl(limit)
    flow.postpone(1, events(1, 20))
    flow.waiting = limit - worth_waiting_for + 1
    assert flow.next_readable(takes_any=False, is_patient=True) is None
    flow.waiting -= 1
    assert flow.next_readable(takes_any=False, is_patient=True) == (1, events(1, worth_waiting_for))


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (chat(1), True),
        (chat(None), False),
        (SnapshotReceived(EPOCH, Snapshot(0, RunState()), None), True),
        (ResetReceived(EPOCH, Snapshot(0, RunState()), None), True),
        (PublishAccepted(1, 1, False, EPOCH), False),
    ],
)
def test_events_with_a_number_and_snapshots_count_until_they_are_taken(outcome: Outcome, counts: bool) -> None:
    assert is_sequenced(outcome) is counts


def test_a_snapshot_counts_as_one_and_waits_for_room() -> None:
    client = client_in(ClientState.GREETING, outcomes_waiting_max=1, ping_interval_s=100)
    session = client.session
    session.receive_frame(1, EXAMPLES[frames.Welcome], 0)
    session.receive_frame(1, EXAMPLES[frames.SnapshotFrame], 0)
    assert any(isinstance(outcome, SnapshotReceived) for outcome in session.take_outcomes())
    session.receive_frame(1, events(1, 1), 0)
    assert handed_over(client) == []
    session.application_took(1, seconds(0.1))
    assert handed_over(client) == [1]


def test_a_snapshot_counts_among_what_the_application_has_not_taken() -> None:
    client = slow_client()
    client.session.receive_frame(1, events(1, 3), 0)
    client.session.connection_lost(1, None, 0)
    come_back(client, outcome="snapshot", reason="expired", head=30, after_sequence=20)
    client.session.receive_frame(client.websocket, frames.SnapshotFrame(20, RunState()), client.now)
    client.session.take_outcomes()
    client.session.receive_frame(client.websocket, events(21, 30), client.now)
    assert handed_over(client) == [21, 22, 23, 24], "three events and the snapshot wait as well"


def test_answers_over_http_do_not_wait_behind_a_poll() -> None:
    client = client_in(ClientState.POLLING, outcomes_waiting_max=1, poll_interval_s=1.0)
    session = client.session
    connection_id = session._connectivity.polling.connection_id
    assert connection_id is not None
    ticket = session.publish("CHAT", {}, 0)
    session.handle_timeout(0)
    session.receive_frame(connection_id, EXAMPLES[frames.PollAnswer], 0)
    session.take_outcomes()
    session.handle_timeout(seconds(1))
    answer = msgspec.structs.replace(EXAMPLES[frames.PollAnswer], events=(chat(1), chat(2)), head=2)
    session._flow.waiting = 1  # type: ignore[union-attr] # the application has left something
    session.receive_frame(connection_id, answer, seconds(1))
    assert handed_over(client) == []
    accepted = frames.PublishAnswer((frames.Accepted(client_sequence=1, sequence_number=1),), epoch="epoch-1")
    session.receive_frame(connection_id, accepted, seconds(1))
    assert [getattr(outcome, "ticket", None) for outcome in session.take_outcomes()] == [ticket]
