"""Publishes that are not simply accepted: postponed, rejected, too old, too large, given up; and cursors."""

from typing import Any

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.client.outcomes import PublishAccepted, PublishFailed
from reference.protocol.errors import InvalidEvent, RejectCode
from reference.protocol.frames import FRAME_BYTES_MAX
from reference.protocol.states import ClientState

from .machines import EPOCH, EXAMPLES, Client, client_in, come_back, seconds, sent


def live(**settings: object) -> Client:
    """Live; it would ping only after a day."""
    return client_in(ClientState.LIVE, **({"ping_interval_s": 86_400, "steady_after_s": 86_400} | settings))  # type: ignore[arg-type]


def published(client: Client) -> list[int]:
    """The numbers of the publishes that left since the last call."""
    return [f.client_sequence for f in sent(client.session.take_actions(), client.websocket) if isinstance(f, frames.Publish)]


def reject(client: Client, number: int, code: RejectCode, at: float, retry_after_ms: int | None = None) -> None:
    rejected = frames.Rejected(
        client_sequence=number, code=code, message="because", retryable=code.is_retryable, retry_after_ms=retry_after_ms
    )
    client.session.receive_frame(client.websocket, rejected, seconds(at))


def failures(client: Client) -> list[PublishFailed]:
    return [outcome for outcome in client.session.take_outcomes() if isinstance(outcome, PublishFailed)]


def at(client: Client, second: float) -> Client:
    while (deadline := client.session.next_deadline()) is not None and deadline <= seconds(second):
        client.session.handle_timeout(deadline)
    return client


def test_an_acceptance_names_the_ticket_the_number_and_the_history() -> None:
    client = live()
    ticket = client.session.publish("CHAT", {}, 0)
    client.session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=9, duplicate=True), 0)
    assert client.session.take_outcomes() == [PublishAccepted(ticket, 9, True, EPOCH)]
    assert client.session.health().delivery_rate == 1.0
    client.session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=9), 0)
    assert client.session.take_outcomes() == [], "once"
    assert client.session.statistics().publishes_accepted == 1
    client.session.publish("CHAT", {}, 0)
    client.session.receive_frame(1, frames.Accepted(client_sequence=2, sequence_number=10), 0)
    assert client.session.statistics().publishes_accepted == 2


def test_a_publish_that_is_put_off_waits_twice_as_long_each_time_and_then_fails() -> None:
    client = live(retry_limit=3, retry_base_s=2)
    ticket = client.session.publish("CHAT", {}, 0)
    assert published(client) == [1]
    now = 0.0
    for wait_s in (2, 4, 8):
        reject(client, 1, RejectCode.RATE, now)
        assert published(at(client, now + wait_s - 0.001)) == []
        now += wait_s
        assert published(at(client, now)) == [1]
    reject(client, 1, RejectCode.RATE, now)
    assert failures(client) == [PublishFailed(ticket, "rate", "because (tried 4 times)", may_have_arrived=False)]
    assert client.session.health().delivery_rate == 0.0


def test_no_wait_after_a_rejection_is_longer_than_half_a_minute() -> None:
    client = live(retry_limit=10, retry_base_s=20)
    client.session.publish("CHAT", {}, 0)
    published(client)
    reject(client, 1, RejectCode.OVERLOADED, 0)
    assert published(at(client, 20)) == [1]
    reject(client, 1, RejectCode.OVERLOADED, 20)
    assert published(at(client, 49.9)) == []
    assert published(at(client, 50)) == [1]


def test_the_server_may_ask_for_more_time_but_not_for_less() -> None:
    client = live(retry_base_s=2)
    client.session.publish("CHAT", {}, 0)
    published(client)
    reject(client, 1, RejectCode.RATE, 0, retry_after_ms=5000)
    assert published(at(client, 4.9)) == []
    assert published(at(client, 5)) == [1]
    reject(client, 1, RejectCode.RATE, 5, retry_after_ms=1000)
    assert published(at(client, 8.9)) == []
    assert published(at(client, 9)) == [1]


def test_the_time_that_the_server_asked_for_outlives_the_connection() -> None:
    client = live()
    client.session.publish("CHAT", {}, 0)
    published(client)
    reject(client, 1, RejectCode.RATE, 0, retry_after_ms=60_000)
    client.session.connection_lost(1, None, seconds(1))
    come_back(client)
    client.session.receive_frame(2, frames.Pong(1, server_time=0), client.now)
    assert published(at(client, 59.9)) == []
    assert published(at(client, 60)) == [1]


def test_the_wait_of_a_rejection_without_a_time_ends_with_its_connection() -> None:
    client = live(retry_base_s=20)
    client.session.publish("CHAT", {}, 0)
    published(client)
    reject(client, 1, RejectCode.OVERLOADED, 0)
    client.session.connection_lost(1, None, seconds(1))
    come_back(client)
    assert published(client) == [1]


def test_of_several_times_that_rejections_name_the_latest_stands() -> None:
    client = live(retry_base_s=2)
    for n in (1, 2):
        client.session.publish("CHAT", {"n": n}, 0)
    published(client)
    reject(client, 2, RejectCode.RATE, 0, retry_after_ms=9000)
    reject(client, 1, RejectCode.OVERLOADED, 1, retry_after_ms=1000)
    assert published(at(client, 8.9)) == []
    assert published(at(client, 9)) == [1, 2]


def test_what_stands_behind_a_publish_that_is_put_off_waits_with_it_and_counts_no_try() -> None:
    client = live(retry_limit=0)
    tickets = [client.session.publish("CHAT", {"n": n}, 0) for n in (1, 2)]
    assert published(client) == [1, 2]
    reject(client, 2, RejectCode.OUT_OF_ORDER, 0)
    assert failures(client) == []
    assert published(at(client, 1)) == [2]
    reject(client, 1, RejectCode.RATE, 1)
    reject(client, 2, RejectCode.OUT_OF_ORDER, 1)
    assert [failed.ticket for failed in failures(client)] == tickets[:1]
    assert published(at(client, 2)) == [2]


def test_a_server_that_lost_accepted_publishes_is_sent_that_nothing_comes_before() -> None:
    client = live(retry_limit=0)
    client.session.publish("CHAT", {}, 0)
    client.session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=1), 0)
    client.session.publish("CHAT", {}, 0)
    (second,) = [f for f in sent(client.session.take_actions(), 1) if isinstance(f, frames.Publish) and f.client_sequence == 2]
    assert second.after is None
    reject(client, 2, RejectCode.OUT_OF_ORDER, 0)
    assert failures(client) == [], "that was no try of it"
    at(client, 1)
    (again,) = [f for f in sent(client.session.take_actions(), 1) if isinstance(f, frames.Publish)]
    assert (again.client_sequence, again.after) == (2, 0)
    reject(client, 2, RejectCode.OUT_OF_ORDER, 1)
    assert [failed.code for failed in failures(client)] == ["out_of_order"]


@pytest.mark.parametrize(
    ("code", "may_have_arrived"),
    [
        (RejectCode.INVALID_EVENT, False),
        (RejectCode.STATE_FULL, False),
        (RejectCode.TOO_MANY_CLIENTS, True),
        (RejectCode.ANSWER_EXPIRED, True),
    ],
)
def test_a_final_rejection_reports_whether_a_copy_may_still_arrive(code: RejectCode, may_have_arrived: bool) -> None:
    client = live()
    ticket = client.session.publish("CHAT", {}, 0)
    client.session.connection_lost(1, None, 0)  # a first copy is out
    come_back(client)
    client.session.take_outcomes()
    reject(client, 1, code, 2)
    assert failures(client) == [PublishFailed(ticket, code, "because", may_have_arrived)]


@pytest.mark.parametrize("was_answered", [False, True])
def test_what_was_out_when_a_history_was_lost_may_have_arrived_there(was_answered: bool) -> None:
    client = live()
    ticket = client.session.publish("CHAT", {}, 0)
    if was_answered:
        reject(client, 1, RejectCode.RATE, 0)
    client.session.connection_lost(1, None, 0)
    come_back(client, outcome="reset", reason="epoch", epoch="epoch-2")
    client.session.take_outcomes()
    reject(client, 1, RejectCode.INVALID_EVENT, 2)
    assert failures(client) == [PublishFailed(ticket, "invalid_event", "because", may_have_arrived=not was_answered)]


@pytest.mark.parametrize(("code", "may_have_arrived"), [(RejectCode.TOO_MANY_CLIENTS, False), (RejectCode.ANSWER_EXPIRED, True)])
def test_a_publish_whose_only_copy_was_refused_has_not_arrived(code: RejectCode, may_have_arrived: bool) -> None:
    client = live()
    ticket = client.session.publish("CHAT", {}, 0)
    reject(client, 1, code, 0)
    assert failures(client) == [PublishFailed(ticket, code, "because", may_have_arrived)]
    reject(client, 1, code, 0)
    assert failures(client) == []
    assert client.session.statistics().publishes_failed == 1


def test_what_waits_for_too_long_is_given_up_and_what_is_in_flight_is_not() -> None:
    client = client_in(ClientState.WAITING, outbox_age_max_s=30, connect_timeout_s=86_400)
    first = client.session.publish("CHAT", {}, 0)
    second = client.session.publish("CHAT", {}, seconds(10))
    at(client, 29.999)
    assert failures(client) == []
    at(client, 30)
    assert failures(client) == [PublishFailed(first, "expired", "waited for a connection for too long", False)]
    at(client, 40)
    assert [failed.ticket for failed in failures(client)] == [second]
    assert client.session.statistics().publishes_failed == 2
    flying = live(outbox_age_max_s=30)
    flying.session.publish("CHAT", {}, 0)
    at(flying, 1000)
    assert failures(flying) == []
    flying.session.connection_lost(1, None, seconds(1000))
    flying.session.handle_timeout(seconds(1000))
    assert [(failed.code, failed.may_have_arrived) for failed in failures(flying)] == [("expired", True)]


def test_what_is_too_large_for_any_server_is_refused_at_once() -> None:
    session = client_in(ClientState.CONNECTING).session
    overhead = 160 + len('{"t":""}')
    fits = "x" * (FRAME_BYTES_MAX - overhead)
    assert session.publish("CHAT", {"t": fits}, 0) == 1
    message = r"^a frame of 65537 bytes; the server takes 65536\. Send less, or a reference to it$"
    with pytest.raises(InvalidEvent, match=message):
        session.publish("CHAT", {"t": fits + "x"}, 0)
    assert session.queued_messages == 1


def test_what_is_too_large_for_this_server_fails_when_it_says_so() -> None:
    client = client_in(ClientState.GREETING)
    small = client.session.publish("CHAT", {}, 0)
    large = client.session.publish("CHAT", {"t": "x" * 2000}, 0)
    limits = frames.Limits(1024, 64, 200.0)
    client.session.receive_frame(1, msgspec.structs.replace(EXAMPLES[frames.Welcome], limits=limits), 0)
    reason = "its frame is larger than the 1024 bytes that this server takes"
    assert failures(client) == [PublishFailed(large, "too_big", reason, False)]
    assert published(client) == [1]
    with pytest.raises(InvalidEvent, match="the server takes 1024"):
        client.session.publish("CHAT", {"t": "x" * 2000}, 0)
    assert small == 1


def test_the_server_allows_fewer_unanswered_publishes_than_we_would_send() -> None:
    client = client_in(ClientState.GREETING)
    limits = frames.Limits(FRAME_BYTES_MAX, 2, 200.0)
    client.session.receive_frame(1, msgspec.structs.replace(EXAMPLES[frames.Welcome], limits=limits), 0)
    for _ in range(4):
        client.session.publish("CHAT", {}, 0)
    assert published(client) == [1, 2]
    client.session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=1), 0)
    assert published(client) == [3]


def test_messages_dropped_for_newer_ones_are_reported() -> None:
    client = client_in(ClientState.WAITING, outbox_messages_max=64, outbox_policy="drop_oldest")
    for _ in range(65):
        client.session.publish("CHAT", {}, 0)
    assert failures(client) == [PublishFailed(1, "dropped", "dropped to make room for a newer message", False)]


def test_numbers_go_on_from_what_the_server_knows_of_an_earlier_life() -> None:
    client = client_in(ClientState.GREETING)
    client.session.publish("CHAT", {}, 0)
    client.session.receive_frame(1, msgspec.structs.replace(EXAMPLES[frames.Welcome], last_client_sequence=7), 0)
    (publish,) = [f for f in sent(client.session.take_actions(), 1) if isinstance(f, frames.Publish)]
    assert (publish.client_sequence, publish.after) == (8, None)


def test_after_a_reset_the_server_is_sent_that_nothing_comes_before() -> None:
    client = live()
    client.session.publish("CHAT", {}, 0)
    client.session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=1), 0)
    client.session.connection_lost(1, None, 0)
    client.session.publish("CHAT", {}, 0)
    come_back(client, outcome="reset", reason="epoch", epoch="epoch-2")
    (publish,) = [f for f in sent(client.session.take_actions(), 2) if isinstance(f, frames.Publish)]
    assert (publish.client_sequence, publish.after) == (2, 0)


def test_over_http_one_request_holds_no_more_than_a_frame_and_over_websocket_each_message_is_its_own() -> None:
    client = client_in(ClientState.POLLING)
    session = client.session
    session.handle_timeout(0)
    session.receive_frame(2, EXAMPLES[frames.PollAnswer], 0)
    session.take_actions()
    large = {"text": "x" * 40_000}
    session.publish("CHAT", {}, 0)  # leaves alone, and while it is under way the others gather
    for _ in range(2):
        session.publish("CHAT", large, 0)
    session.receive_frame(2, frames.PublishAnswer((frames.Accepted(client_sequence=1, sequence_number=1),), EPOCH), 0)
    requests = [frame for frame in sent(session.take_actions(), 2) if isinstance(frame, frames.PublishRequest)]
    assert [len(request.messages) for request in requests] == [1, 1]
    greeting = client_in(ClientState.GREETING)
    for _ in range(3):
        greeting.session.publish("CHAT", large, 0)
    greeting.session.receive_frame(1, EXAMPLES[frames.Welcome], 0)
    assert published(greeting) == [1, 2, 3]


def test_what_was_put_off_goes_out_at_once_on_the_next_connection() -> None:
    client = live(retry_base_s=30)
    client.session.publish("CHAT", {}, 0)
    reject(client, 1, RejectCode.OVERLOADED, 0)
    client.session.connection_lost(1, None, 0)
    come_back(client)
    assert client.now < seconds(2)
    assert published(client) == [1]


# Cursors.


def test_a_first_cursor_is_sent_at_once_whatever_was_published() -> None:
    client = live(cursor_interval_s=10)
    client.session.publish("CHAT", {}, 0)
    client.session.move_cursor({"x": 1}, seconds(0.01))
    assert cursors(client) == [frames.Cursor({"x": 1})]


def cursors(client: Client) -> list[frames.Cursor]:
    return [f for f in sent(client.session.take_actions(), client.websocket) if isinstance(f, frames.Cursor)]


def test_a_cursor_is_sent_at_once_and_then_at_its_interval_the_latest_only() -> None:
    client = live(cursor_interval_s=0.5)
    client.session.move_cursor({"x": 1}, seconds(1))
    assert cursors(client) == [frames.Cursor({"x": 1})]
    for x in (2, 3):
        client.session.move_cursor({"x": x}, seconds(1.1))
    assert cursors(at(client, 1.499)) == []
    assert cursors(at(client, 1.5)) == [frames.Cursor({"x": 3})]
    assert cursors(at(client, 60)) == []


def test_a_cursor_that_no_frame_can_carry_is_refused() -> None:
    client = live()
    with pytest.raises(InvalidEvent, match="a cursor of 608 bytes; the limit is 512"):
        client.session.move_cursor({"x": "y" * 600}, 0)
    with pytest.raises(InvalidEvent, match="not a JSON number"):
        client.session.move_cursor({"x": float("nan")}, 0)
    assert cursors(client) == []


def test_a_cursor_waits_while_publishes_are_put_off() -> None:
    client = live(retry_base_s=2)
    client.session.publish("CHAT", {}, 0)
    reject(client, 1, RejectCode.RATE, 0)
    client.session.move_cursor({"x": 1}, seconds(1))
    assert cursors(at(client, 1.9)) == []
    assert cursors(at(client, 2)) == [frames.Cursor({"x": 1})]


def test_over_http_a_cursor_is_sent_no_more_often_than_polls() -> None:
    client = client_in(ClientState.POLLING, poll_interval_s=5, cursor_interval_s=0.05)
    session = client.session
    session.handle_timeout(0)
    session.receive_frame(2, EXAMPLES[frames.PollAnswer], 0)
    session.take_actions()

    def reported() -> list[object]:
        requests = [f for f in sent(session.take_actions(), 2) if isinstance(f, frames.PublishRequest)]
        for _ in requests:
            session.receive_frame(2, frames.PublishAnswer(()), seconds(1))
        return [request.cursor for request in requests]

    session.move_cursor({"x": 1}, seconds(1))
    assert reported() == [{"x": 1}]
    session.move_cursor({"x": 2}, seconds(1.1))
    assert reported() == []
    session.handle_timeout(seconds(5.9))
    assert reported() == []
    session.handle_timeout(seconds(6))
    assert reported() == [{"x": 2}]


def test_on_the_next_connection_a_cursor_does_not_wait_for_the_last_ones_interval() -> None:
    client = live(cursor_interval_s=100)
    client.session.move_cursor({"x": 1}, 0)
    client.session.connection_lost(1, None, 0)
    come_back(client)
    assert cursors(client) == [frames.Cursor({"x": 1})]


@pytest.mark.parametrize("data", [[1], "text", None, 5, ({},)])
def test_data_that_is_no_object_is_invalid(data: Any) -> None:
    session = client_in(ClientState.LIVE).session
    with pytest.raises(InvalidEvent, match=f"^data is a {type(data).__name__}; it has to be a JSON object"):
        session.publish("CHAT", data, 0)
    with pytest.raises(InvalidEvent, match=f"^data is a {type(data).__name__}; it has to be a JSON object"):
        session.move_cursor(data, 0)


def test_a_server_that_has_forgotten_the_client_id_is_sent_what_came_before() -> None:
    """Client ids expire (8.3): numbers go on, and the first publish after that declares that nothing has to come before it."""
    client = client_in(ClientState.LIVE)
    session = client.session
    for number in (1, 2):
        session.publish("CHAT", {}, 0)
        session.receive_frame(1, frames.Accepted(client_sequence=number, sequence_number=number), 0)
    session.connection_lost(1, None, seconds(10))
    come_back(client, last_client_sequence=0)
    session.take_actions()
    session.publish("CHAT", {}, client.now)
    (publish,) = [frame for frame in sent(session.take_actions(), client.websocket) if isinstance(frame, frames.Publish)]
    assert (publish.client_sequence, publish.after) == (3, 0)
