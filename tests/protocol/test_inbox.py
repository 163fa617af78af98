"""The inbox compared with a model that keeps the set of all numbers it has ever seen."""

from hypothesis import given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.client.delivery import Inbox
from reference.protocol.records import RunState
from reference.protocol.states import ClientState

from .machines import EPOCH, chat, client_in, come_back

HELD_MAX = 4


@given(st.lists(st.lists(st.integers(1, 15), min_size=1, max_size=6), min_size=4, max_size=15))
def test_events_are_handed_over_in_order_each_once(batches: list[list[int]]) -> None:
    inbox = Inbox(HELD_MAX)
    inbox.start_at(EPOCH, 0)
    held: set[int] = set()
    handed_over: list[int] = []
    for batch in batches:
        received = inbox.receive([chat(number) for number in batch])
        expected: list[int] = []
        copies = 0
        for number in batch:
            last = len(handed_over) + len(expected)
            if number <= last or number in held:
                copies += 1
            elif number == last + 1 or len(held) < HELD_MAX:
                held.add(number)
            while (following := len(handed_over) + len(expected) + 1) in held:
                held.remove(following)
                expected.append(following)
        assert [event.sequence_number for event in received.deliver] == expected
        assert received.duplicates == copies
        assert received.gap is bool(held)
        handed_over += expected
        assert handed_over == list(range(1, len(handed_over) + 1))
        assert (inbox.last, inbox.held) == (len(handed_over), len(held))


def test_a_snapshot_ahead_keeps_what_is_held_behind_it() -> None:
    inbox = Inbox(HELD_MAX)
    inbox.start_at(EPOCH, 0)
    assert inbox.receive([chat(3), chat(7)]).gap
    inbox.start_at(EPOCH, 5)
    assert inbox.held == 1
    received = inbox.receive([chat(6)])
    assert [event.sequence_number for event in received.deliver] == [6, 7]
    assert not received.gap


def test_an_event_held_right_behind_a_snapshot_is_handed_over_once_and_is_no_gap() -> None:
    inbox = Inbox(HELD_MAX)
    inbox.start_at(EPOCH, 0)
    assert inbox.receive([chat(6)]).gap
    inbox.start_at(EPOCH, 5)
    received = inbox.receive([chat(6), chat(7)])
    assert [event.sequence_number for event in received.deliver] == [6, 7]
    assert not received.gap
    assert (inbox.last, inbox.held) == (7, 0)


def test_a_session_that_held_an_event_right_behind_its_snapshot_stays_connected() -> None:
    client = client_in(ClientState.LIVE)
    session = client.session
    session.receive_frame(client.websocket, frames.Events((chat(8),)), 0)
    assert not session.is_carried, "event 1 is missing"
    come_back(client, outcome="snapshot", reason="expired", head=8, after_sequence=7)
    for frame in (frames.SnapshotFrame(7, RunState()), frames.Events((chat(8),)), frames.Events((chat(9),))):
        session.receive_frame(client.websocket, frame, client.now)
    assert session.state is ClientState.PROVING
    assert session.position == (EPOCH, 9)


def test_what_a_snapshot_covers_is_held_no_more() -> None:
    inbox = Inbox(HELD_MAX)
    inbox.start_at(EPOCH, 0)
    inbox.receive([chat(6), chat(8)])
    inbox.start_at(EPOCH, 6)
    assert inbox.held == 1
    received = inbox.receive([chat(7)])
    assert [event.sequence_number for event in received.deliver] == [7, 8]
    assert not received.gap


def test_the_place_where_it_stands_keeps_what_is_held() -> None:
    inbox = Inbox(HELD_MAX)
    inbox.start_at(EPOCH, 1)
    inbox.receive([chat(3)])
    inbox.start_at(EPOCH, 1)
    assert inbox.held == 1


def test_another_history_or_an_earlier_place_forgets_what_is_held() -> None:
    for epoch, number in (("epoch-2", 2), (EPOCH, 0)):
        inbox = Inbox(HELD_MAX)
        inbox.start_at(EPOCH, 1)
        inbox.receive([chat(5)])
        inbox.start_at(epoch, number)
        assert (inbox.epoch, inbox.last, inbox.held) == (epoch, number, 0)
