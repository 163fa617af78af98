"""The outbox compared with a model that is one plain list, the declared gaps compared with a server's needs, and each policy."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.client.publishing import Outbox
from reference.protocol.config import OutboxPolicy
from reference.protocol.errors import OutboxFull

MESSAGES_MAX, BYTES_MAX, WINDOW, TRIES_MAX = 6, 100, 3, 2

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 50)),
        st.tuples(st.just("take"), st.none() | st.integers(1, 80)),
        st.tuples(st.sampled_from(("accept", "refuse", "put_off")), st.integers(1, 6)),
        st.tuples(st.just("lose"), st.none()),
        st.tuples(st.just("expire"), st.integers(0, 30)),
    ),
    min_size=15,
    max_size=40,
)


@dataclass
class Item:
    ticket: int
    size: int
    at: int
    number: int | None = None
    flies: bool = False
    copies: int = 0
    tries: int = 0


class NaiveOutbox:
    """Everything in one list, in the order of the calls."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.tickets = self.numbers = 0

    def numbered(self) -> list[Item]:
        return [item for item in self.items if item.number is not None]

    def find(self, number: int) -> Item | None:
        return next((item for item in self.items if item.number == number), None)

    def add(self, size: int, at: int) -> int | None:
        if len(self.items) == MESSAGES_MAX or sum(item.size for item in self.items) + size > BYTES_MAX:
            return None
        self.tickets += 1
        self.items.append(Item(self.tickets, size, at))
        return self.tickets

    def take(self, room: int | None) -> list[int]:
        taken: list[Item] = []
        for item in self.items:
            if item.number is None and len(self.numbered()) == WINDOW:
                break
            if item.flies:
                continue
            if room is not None and taken and sum(other.size for other in taken) + item.size > room:
                break
            if item.number is None:
                self.numbers += 1
                item.number = self.numbers
            item.flies = True
            item.copies += 1
            taken.append(item)
        return [item.number or 0 for item in taken]

    def put_off(self, number: int) -> tuple[bool, int | None]:
        item = self.find(number)
        if item is None:
            return False, None
        item.copies -= 1
        if not item.flies:
            return False, None
        is_oldest = self.numbered()[0] is item
        for other in self.numbered():
            other.flies = other.flies and (other.number or 0) < number
        item.tries += is_oldest
        if item.tries <= TRIES_MAX:
            return True, None
        self.items.remove(item)
        return True, item.ticket


@given(STEPS)
def test_the_outbox_behaves_like_the_model(steps: list[tuple[str, int | None]]) -> None:
    outbox, model = Outbox(MESSAGES_MAX, BYTES_MAX, WINDOW, "reject_new"), NaiveOutbox()
    accepted = 0
    for now, (step, argument) in enumerate(steps):
        number = argument or 0
        if step in ("accept", "refuse", "put_off") and number <= WINDOW and model.numbered():
            number = model.numbered()[number % len(model.numbered())].number or 0  # else one that may be long gone
        match step:
            case "add":
                expected = model.add(number, now)
                if expected is None:
                    with pytest.raises(OutboxFull):
                        outbox.add("CHAT", {}, number, now)
                else:
                    assert outbox.add("CHAT", {}, number, now) == (expected, [])
            case "take":
                messages = outbox.take_sendable(argument)
                assert [message.client_sequence for message in messages] == model.take(argument)
                for message in messages:
                    says = message.client_sequence - 1 if message.after is None else message.after
                    between = range(says + 1, message.client_sequence)
                    assert not [n for n in between if model.find(n)], "a hole is only what was given up"
                    before = model.find(says)
                    assert says <= accepted or (before is not None and before.flies), "the server waits for nothing else"
            case "accept":
                item = model.find(number)
                if item is not None and item.copies > 0:
                    model.items.remove(item)
                    accepted = max(accepted, number)
                    got = outbox.accepted(number)
                    assert got is not None
                    assert (got.ticket, got.copies_out) == (item.ticket, item.copies)
                elif item is None:
                    assert outbox.accepted(number) is None
            case "refuse":
                item = model.find(number)
                if item is not None:
                    model.items.remove(item)
                got = outbox.refused(number)
                expected_copies = None if item is None else (item.ticket, item.copies - 1)
                assert (None if got is None else (got.ticket, got.copies_out)) == expected_copies
            case "put_off":
                again, failed = outbox.put_off(number, TRIES_MAX, as_out_of_order=False)
                assert (again, None if failed is None else failed.ticket) == model.put_off(number)
            case "lose":
                outbox.connection_lost()
                for item in model.items:
                    item.flies = False
            case "expire":
                gone = [item for item in model.items if not item.flies and item.at <= number]
                model.items = [item for item in model.items if item not in gone]
                assert [message.ticket for message in outbox.expire(number)] == [item.ticket for item in gone]
        assert len(outbox) == len(model.items)
        assert outbox.size_bytes == sum(item.size for item in model.items)
        assert outbox.unanswered == len(model.numbered())
        waiting = [item.at for item in model.items if not item.flies]
        assert outbox.oldest_waiting_since() == (waiting[0] if waiting else None)
    assert [message.ticket for message in outbox.clear()] == [item.ticket for item in model.items]
    assert (len(outbox), outbox.size_bytes) == (0, 0)


def full(policy: OutboxPolicy) -> Outbox:
    """One message on its way and two that wait, in an outbox for three messages of 30 bytes together."""
    outbox = Outbox(3, 30, 1, policy)
    outbox.add("GRAFT", {"position": "p1"}, 10, 0)
    outbox.take_sendable()
    outbox.add("GRAFT", {"position": "p1"}, 10, 1)
    outbox.add("GRAFT", {"position": "p2"}, 10, 2)
    return outbox


def test_reject_new_refuses_what_is_new_and_keeps_the_rest() -> None:
    outbox = full("reject_new")
    with pytest.raises(OutboxFull, match="3 messages of 30 bytes wait; the limits are 3 and 30"):
        outbox.add("CHAT", {}, 1, 3)
    assert len(outbox) == 3


def test_drop_oldest_gives_up_the_oldest_that_was_never_sent() -> None:
    outbox = full("drop_oldest")
    ticket, dropped = outbox.add("CHAT", {}, 20, 3)
    assert (ticket, [message.ticket for message in dropped]) == (4, [2, 3])
    assert (len(outbox), outbox.size_bytes) == (2, 30)
    with pytest.raises(OutboxFull):
        outbox.add("CHAT", {}, 21, 4)
    assert len(outbox) == 2, "what is refused drops nothing"


def test_conflate_gives_up_only_what_the_new_one_replaces() -> None:
    outbox = full("conflate")
    _, dropped = outbox.add("GRAFT", {"position": "p2"}, 10, 3)
    assert [message.ticket for message in dropped] == [3]
    for event_type, data in (("GRAFT", {"position": "p3"}), ("PRUNE", {"step": "p1"}), ("FLAG", {}), ("CHAT", {})):
        with pytest.raises(OutboxFull):
            outbox.add(event_type, data, 10, 4)


def test_a_message_larger_than_the_outbox_is_refused_by_every_policy() -> None:
    for policy in ("reject_new", "drop_oldest", "conflate"):
        with pytest.raises(OutboxFull, match="a message of 31 bytes; the outbox holds at most 30"):
            full(policy).add("CHAT", {}, 31, 3)


def test_a_message_may_fill_the_outbox() -> None:
    outbox = Outbox(1, 30, 1, "reject_new")
    assert outbox.add("CHAT", {}, 30, 0) == (1, [])
    assert (len(outbox), outbox.size_bytes) == (1, 30)


def test_a_hole_is_declared_by_the_message_behind_it() -> None:
    outbox = Outbox(9, 900, 9, "reject_new")
    for at in range(4):
        outbox.add("CHAT", {}, 1, at)
    assert [message.after for message in outbox.take_sendable()] == [None] * 4
    outbox.accepted(1)
    outbox.connection_lost()
    outbox.expire(1)  # number 2
    assert [(m.client_sequence, m.after) for m in outbox.take_sendable()] == [(3, 0), (4, None)]


def test_the_first_message_to_a_server_that_lost_its_memory_says_that_nothing_comes_before() -> None:
    outbox = Outbox(9, 900, 9, "reject_new")
    outbox.add("CHAT", {}, 1, 0)
    outbox.take_sendable()
    outbox.accepted(1)
    outbox.add("CHAT", {}, 1, 1)
    assert [(m.client_sequence, m.after) for m in outbox.take_sendable()] == [(2, None)]
    assert outbox.put_off(2, 0, as_out_of_order=True) == (True, None), "that was no try"
    assert [(m.client_sequence, m.after) for m in outbox.take_sendable()] == [(2, 0)]
    again, failed = outbox.put_off(2, 0, as_out_of_order=True)
    assert again
    assert failed is not None
    assert len(outbox) == 0


def test_a_client_id_that_the_server_knows_numbers_on_from_there() -> None:
    outbox = Outbox(9, 900, 9, "reject_new")
    outbox.resume_numbering(41)
    outbox.add("CHAT", {}, 1, 0)
    assert [(m.client_sequence, m.after) for m in outbox.take_sendable()] == [(42, None)]
    outbox.resume_numbering(90)
    outbox.add("CHAT", {}, 1, 1)
    assert [(m.client_sequence, m.after) for m in outbox.take_sendable()] == [(43, None)]


def test_the_servers_window_narrows_ours_and_never_widens_it() -> None:
    outbox = Outbox(9, 900, 4, "reject_new")
    outbox.keep_unanswered_below(2)
    outbox.keep_unanswered_below(8)
    for at in range(5):
        outbox.add("CHAT", {}, 1, at)
    assert len(outbox.take_sendable()) == 2


def test_what_is_larger_than_the_server_takes_is_given_up_unless_it_flies() -> None:
    outbox = Outbox(9, 900, 1, "reject_new")
    for size in (50, 60, 10):
        outbox.add("CHAT", {}, size, 0)
    outbox.take_sendable()
    assert not outbox.give_up_larger_than(60)
    assert [message.ticket for message in outbox.give_up_larger_than(49)] == [2]
    outbox.connection_lost()
    assert [message.ticket for message in outbox.give_up_larger_than(49)] == [1]
    assert outbox.size_bytes == 10


def test_one_request_is_filled_to_the_byte() -> None:
    outbox = Outbox(9, 900, 9, "reject_new")
    for at in range(4):
        outbox.add("CHAT", {}, 10, at)

    def taken(bytes_max: int) -> list[int]:
        outbox.connection_lost()
        return [message.client_sequence for message in outbox.take_sendable(bytes_max)]

    # Some are new and some are sent again, and one goes out even if it is too large.
    for bytes_max, count in ((19, 1), (20, 2), (30, 3), (29, 2), (39, 3), (40, 4), (39, 3), (5, 1)):
        assert taken(bytes_max) == list(range(1, count + 1))


def test_how_often_the_oldest_was_put_off() -> None:
    outbox = Outbox(9, 900, 9, "reject_new")
    assert outbox.tries_of_oldest() == 0
    for at in range(2):
        outbox.add("CHAT", {}, 1, at)
    outbox.take_sendable()
    for tries in (1, 2):
        assert outbox.put_off(1, 2, as_out_of_order=False) == (True, None)
        assert outbox.tries_of_oldest() == tries
        outbox.take_sendable()
    again, failed = outbox.put_off(1, 2, as_out_of_order=False)
    assert again
    assert failed is not None
    assert (failed.tries, failed.copies_out) == (3, 0)
    assert outbox.tries_of_oldest() == 0, "the next one has not been tried"
