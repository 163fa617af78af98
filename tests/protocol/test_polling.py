"""A session that polls: its requests, their times, the time limit of an answer, and the end of polling."""

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close, Open, RefreshToken, Send
from reference.protocol.client.outcomes import NotConnected, SessionEnded
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.policies.fallback import AfterFailures
from reference.protocol.states import ClientState, Transport

from .machines import EPOCH, EXAMPLES, Always, chat, client_in, seconds
from .polling import OpenPolling


def test_the_first_poll_says_who_asks_and_how_far_the_websocket_came() -> None:
    polling = OpenPolling(poll_wait_s=2, start="oldest")
    first = frames.PollRequest(
        client_id="client-1",
        wait_ms=2000,
        generation=2,
        start="oldest",
        fallback="not_opened",
        report=frames.Report(failed_attempts=1),
    )
    assert polling.polls == [first]
    assert polling.others == [Open(2, Transport.POLLING, "token-1")]
    polling.answer(1, head=1, events=(chat(1),), session_id="session-9").at(3)
    assert polling.polls[1:] == [
        frames.PollRequest(
            client_id="client-1",
            session_id="session-9",
            epoch=EPOCH,
            after_sequence=1,
            wait_ms=2000,
            generation=2,
            start="oldest",
            fallback="not_opened",
        )
    ]


@pytest.mark.parametrize(
    ("state", "fallback"),
    [(ClientState.CONNECTING, "not_opened"), (ClientState.GREETING, "not_welcomed"), (ClientState.LIVE, "not_steady")],
)
def test_the_server_gets_the_last_stage_of_the_websocket(state: ClientState, fallback: str) -> None:
    client = client_in(state, fallback_after_failures=1)
    client.session.connection_lost(1, None, client.now)
    client.session.handle_timeout(client.now)
    (poll,) = [a.frame for a in client.session.take_actions() if isinstance(a, Send) and isinstance(a.frame, frames.PollRequest)]
    assert poll.fallback == fallback


def test_a_poll_reports_what_waits_and_repeats_unconfirmed_reports() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.session.publish("CHAT", {}, seconds(0.1))
    polling.failed(1).at(3)
    assert polling.polls[1].report == frames.Report(failed_attempts=1, queued_messages=1)
    polling.answer(3.5).at(5.5)
    assert polling.polls[2].report == frames.Report(queued_messages=1), "the publish request that left has no answer yet"
    accepted = frames.Accepted(client_sequence=1, sequence_number=1)
    polling.session.receive_frame(polling.number, frames.PublishAnswer((accepted,), EPOCH), seconds(5.6))
    polling.answer(5.7).at(7.7)
    assert polling.polls[3].report is None


def test_the_next_poll_follows_after_the_interval_or_at_once_when_there_is_more() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(1).at(2.999)
    assert len(polling.polls) == 1
    polling.at(3)
    assert len(polling.polls) == 2
    polling.answer(4, has_more=True)
    assert len(polling.polls) == 3
    polling.answer(5).answer(5.5)  # one answer to one poll: the second is none
    polling.at(7)
    assert len(polling.polls) == 4


def test_a_poll_without_an_answer_is_given_up_and_the_lane_begins_anew() -> None:
    polling = OpenPolling(poll_wait_s=5, request_timeout_s=10, poll_interval_s=2)
    polling.at(14.9)
    assert not [action for action in polling.others if isinstance(action, Close)]
    polling.at(15)
    assert [action for action in polling.others if isinstance(action, Close)] == [Close((2,), None, "polling has ended")]
    opened = [action for action in polling.others if isinstance(action, Open)][-1]
    assert (opened.transport, opened.token) == (Transport.POLLING, "token-1")
    polling.number = opened.connection_id
    polling.at(16.9)
    assert len(polling.polls) == 1
    polling.at(17)
    assert polling.polls[1].generation > polling.polls[0].generation


def test_the_application_gets_the_reason_why_a_request_failed() -> None:
    polling = OpenPolling(request_timeout_s=10, poll_interval_s=2)
    polling.session.take_outcomes()
    polling.session.receive_malformed(polling.number, RemoteError(CloseCode.BAD_FRAME, "not JSON"), seconds(1))
    polling.look()
    polling.at(13)
    reported = [outcome for outcome in polling.session.take_outcomes() if isinstance(outcome, NotConnected)]
    assert reported == [NotConnected(None, "not JSON"), NotConnected(None, "request timeout: no answer within 10 s")]
    polling = OpenPolling().failed(1, code=CloseCode.OVERLOADED, message="too many requests")
    assert polling.session.take_outcomes()[-1] == NotConnected(CloseCode.OVERLOADED, "too many requests")


def test_bytes_of_a_large_answer_give_it_time_each_request_its_own() -> None:
    polling = OpenPolling(request_timeout_s=10, poll_interval_s=60)
    polling.session.bytes_received(polling.number, seconds(8), request="poll")
    polling.at(17.9)
    assert len([action for action in polling.others if isinstance(action, Close)]) == 0
    polling.at(18)
    assert len([action for action in polling.others if isinstance(action, Close)]) == 1
    for request, ends_at in (("publishMany", 19), ("poll", 11)):
        polling = OpenPolling(request_timeout_s=10, poll_interval_s=60)
        polling.answer(0.5)
        polling.session.publish("CHAT", {}, seconds(1))
        polling.look()
        assert len(polling.publishes) == 1
        polling.session.bytes_received(polling.number, seconds(9), request=request)  # type: ignore[arg-type]
        polling.at(ends_at - 0.1)
        assert not [action for action in polling.others if isinstance(action, Close)]
        polling.at(ends_at)
        assert [action for action in polling.others if isinstance(action, Close)]


def test_bytes_never_bring_the_end_of_a_long_poll_forward() -> None:
    polling = OpenPolling(poll_wait_s=25, request_timeout_s=10)
    polling.session.bytes_received(polling.number, seconds(1), request="poll")
    polling.session.bytes_received(77, seconds(30), request="poll")  # of a polling that was left
    polling.session.bytes_received(polling.number, seconds(30))
    polling.at(34.9)
    assert not [action for action in polling.others if isinstance(action, Close)]
    polling.at(35)
    assert [action for action in polling.others if isinstance(action, Close)]


def test_bytes_of_nothing_that_is_under_way_change_nothing() -> None:
    polling = OpenPolling(poll_interval_s=60)
    polling.answer(0.5)
    before = polling.session.next_deadline()
    polling.session.bytes_received(polling.number, seconds(1), request="publishMany")
    polling.session.bytes_received(polling.number, seconds(1))
    polling.session.bytes_received(77, seconds(1), request="poll")
    assert polling.session.next_deadline() == before


def test_a_request_that_failed_is_followed_after_the_policys_wait_but_not_before_the_interval() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.failed(1).at(2.999)  # the policy: 0.25 s and half of a second
    assert len(polling.polls) == 1
    polling.at(3)
    assert len(polling.polls) == 2
    polling.failed(3).at(4.999)
    assert len(polling.polls) == 2
    polling.at(5)
    assert len(polling.polls) == 3
    polling.failed(5).at(7.2)  # the third failure: 0.25 s and half of four seconds
    assert len(polling.polls) == 3
    polling.at(7.25)
    assert len(polling.polls) == 4
    polling.answer(8).at(10).failed(11).at(12.999)
    assert len(polling.polls) == 5, "an answer has ended the count"
    polling.at(13)
    assert len(polling.polls) == 6


def test_a_lane_that_opens_again_after_failures_waits_first() -> None:
    polling = OpenPolling(
        poll_interval_s=2, probe_interval_s=1, probe_interval_max_s=1, probe_jitter=0, fallback_after_failures=1
    )
    polling.failed(0.5)
    session = polling.session
    session.handle_timeout(seconds(1))  # the probe
    session.connection_opened(3, seconds(1))
    session.receive_frame(3, EXAMPLES[frames.Welcome], seconds(1))
    session.receive_frame(3, EXAMPLES[frames.SnapshotFrame], seconds(1))
    session.receive_frame(3, frames.Pong(0, server_time=0), seconds(1))
    assert session.state is ClientState.LIVE
    session.connection_lost(3, None, seconds(2))
    assert session.state is ClientState.POLLING
    polling.look()
    polling.number = [action for action in polling.others if isinstance(action, Open)][-1].connection_id
    assert session.next_deadline() == seconds(2.75), "0.25 s and half of a second: one poll has failed, and none was answered"


def test_the_server_is_not_asked_before_the_time_that_it_named() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.failed(1, code=CloseCode.OVERLOADED, retry_after_ms=20_000).at(20.9)
    assert len(polling.polls) == 1
    polling.at(21.75)
    assert len(polling.polls) == 2, "and then the policy's wait, because other clients got the same time"


def test_what_is_published_goes_out_once_polling_has_proved_itself() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.session.publish("CHAT", {"n": 1}, seconds(0.1))
    polling.session.move_cursor({"x": 1}, seconds(0.2))
    polling.look()
    assert polling.publishes == []
    polling.answer(1)
    message = frames.Message(client_sequence=1, event_type="CHAT", data={"n": 1})
    expected = frames.PublishRequest(client_id="client-1", generation=2, messages=(message,), cursor={"x": 1})
    assert polling.publishes == [expected]
    polling.session.publish("CHAT", {"n": 2}, seconds(1.1))
    polling.look()
    assert polling.publishes == [expected], "one request at a time"
    accepted = frames.Accepted(client_sequence=1, sequence_number=1)
    polling.session.receive_frame(polling.number, frames.PublishAnswer((accepted,), EPOCH), seconds(1.5))
    polling.look()
    assert [request.messages[0].data for request in polling.publishes] == [{"n": 1}, {"n": 2}]


def test_a_publish_request_that_failed_is_sent_again_after_the_wait() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5)
    polling.session.publish("CHAT", {"n": 1}, seconds(1))
    polling.look()
    polling.failed(1, "publishMany").at(2.999)
    assert len(polling.publishes) == 1
    polling.answer(2.9).at(3)
    assert len(polling.publishes) == 2
    assert polling.publishes[1] == polling.publishes[0]


def test_a_wait_that_a_publish_was_asked_for_holds_for_the_next_poll() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5)
    polling.session.publish("CHAT", {}, seconds(1))
    polling.look()
    polling.failed(1.2, "publishMany", code=CloseCode.OVERLOADED, retry_after_ms=20_000).at(21.1)
    assert len(polling.polls) == 1
    polling.at(21.2)
    assert len(polling.polls) == 2


def test_a_poll_that_the_server_holds_goes_on_while_another_request_is_asked_to_wait() -> None:
    polling = OpenPolling(poll_interval_s=2, poll_wait_s=20)
    polling.answer(0.5)
    polling.at(2.5)
    polling.session.publish("CHAT", {}, seconds(3))
    polling.look()
    polling.failed(3, "publishMany", code=CloseCode.OVERLOADED, retry_after_ms=20_000)
    assert not [action for action in polling.others if isinstance(action, Close)]
    polling.answer(10, outcome="resumed", head=1, events=(chat(1),)).at(22.9)
    assert polling.session.position == (EPOCH, 1)
    assert len(polling.polls) == 2
    polling.at(23)
    assert len(polling.polls) == 3


def test_a_rejection_names_a_time_for_what_a_failed_request_carried_too() -> None:
    polling = OpenPolling(poll_interval_s=2, request_timeout_s=100, probe_interval_s=1, probe_interval_max_s=1, probe_jitter=0)
    session = polling.session
    polling.answer(0.5)
    session.publish("CHAT", {}, seconds(0.6))
    polling.look()
    assert len(polling.publishes) == 1
    session.handle_timeout(seconds(1))  # the probe
    session.connection_opened(3, seconds(1))
    session.receive_frame(3, EXAMPLES[frames.Welcome], seconds(1))
    session.receive_frame(3, EXAMPLES[frames.SnapshotFrame], seconds(1))
    put_off = frames.Rejected(client_sequence=1, code="rate", message="", retryable=True, retry_after_ms=30_000)
    session.receive_frame(3, put_off, seconds(1))
    session.connection_lost(3, None, seconds(1.1))
    polling.look()
    polling.failed(1.2, "publishMany")
    polling.at(30.9)
    assert len(polling.publishes) == 1
    polling.at(31)
    assert len(polling.publishes) == 2


def test_at_the_very_time_that_the_server_named_something_may_be_said() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5).at(2.5).failed(2.5, retry_after_ms=8500)
    polling.session.publish("CHAT", {"n": 1}, seconds(10.9))
    polling.look()
    assert polling.publishes == []
    polling.session.publish("CHAT", {"n": 2}, seconds(11))
    polling.look()
    assert [message.data["n"] for request in polling.publishes for message in request.messages] == [1, 2]


def test_an_answer_to_nothing_is_no_answer() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5)
    polling.answer(0.6, outcome="resumed", head=1, events=(chat(1),))
    assert polling.session.position == (EPOCH, 0)
    polling.session.publish("CHAT", {}, seconds(1))
    polling.look()
    polling.failed(1.1, "publishMany")
    accepted = frames.Accepted(client_sequence=1, sequence_number=1)
    polling.session.receive_frame(polling.number, frames.PublishAnswer((accepted,), EPOCH), seconds(1.2))
    assert polling.session.queued_messages == 1


def test_an_answer_before_the_first_poll_is_none() -> None:
    client = client_in(ClientState.CONNECTING, fallback_after_failures=1)
    session = client.session
    session.connection_lost(1, CloseCode.OVERLOADED, 0, retry_after_ms=20_000)
    assert session.state is ClientState.POLLING
    assert not [action for action in session.take_actions() if isinstance(action, Send)]
    session.receive_frame(2, EXAMPLES[frames.PollAnswer], seconds(1))
    assert session.position == (None, 0)
    session.handle_timeout(seconds(20))
    assert [action for action in session.take_actions() if isinstance(action, Send)]


def test_a_publish_request_that_was_answered_is_waited_for_no_more() -> None:
    polling = OpenPolling(poll_interval_s=100, request_timeout_s=5)
    polling.answer(0.5)
    polling.session.publish("CHAT", {}, seconds(1))
    polling.look()
    accepted = frames.Accepted(client_sequence=1, sequence_number=1)
    polling.session.receive_frame(polling.number, frames.PublishAnswer((accepted,), EPOCH), seconds(2))
    polling.at(50)
    assert not [action for action in polling.others if isinstance(action, Close)]


def test_a_publish_request_that_hangs_goes_out_again_on_the_new_lane() -> None:
    polling = OpenPolling(poll_interval_s=2, request_timeout_s=5)
    polling.answer(0.5)
    polling.session.publish("CHAT", {"n": 1}, seconds(1))
    polling.look()
    polling.at(2.5).answer(2.6).at(4.6).answer(4.7).at(6)  # the polls are answered, the publish request is not
    assert Close((2,), None, "polling has ended") in polling.others
    polling.number = [action for action in polling.others if isinstance(action, Open)][-1].connection_id
    polling.at(8).answer(8.1)
    assert [message.data for request in polling.publishes for message in request.messages] == [{"n": 1}, {"n": 1}]


def test_a_terminal_code_ends_the_session_with_its_reason() -> None:
    polling = OpenPolling()
    polling.failed(1, code=CloseCode.NO_SUCH_RUN, message="no such run")
    assert polling.session.take_outcomes()[-1] == SessionEnded(CloseCode.NO_SUCH_RUN, "no such run")
    assert polling.session.state is ClientState.CLOSED
    assert polling.session.next_deadline() is None


def test_a_token_that_a_request_was_refused_for_is_replaced_or_ends_the_session() -> None:
    polling = OpenPolling(token_timeout_s=60, probe_interval_s=10)
    polling.failed(1, code=CloseCode.TOKEN, message="the token has expired")
    assert polling.session.state is ClientState.REFRESHING
    assert polling.others[-2:] == [Close((2,), None, "polling has ended"), RefreshToken()]
    polling.session.handle_timeout(seconds(60.9))
    assert polling.session.state is ClientState.REFRESHING
    polling.session.handle_timeout(seconds(61))
    assert polling.session.state is ClientState.CLOSED
    cannot = OpenPolling(refreshes_token=False)
    cannot.failed(1, code=CloseCode.TOKEN, message="the token has expired")
    assert cannot.session.take_outcomes()[-1] == SessionEnded(CloseCode.TOKEN, "the token has expired")


def test_a_poll_that_failed_does_not_hold_publishes_up() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5)
    polling.session.publish("CHAT", {"n": 1}, seconds(1))
    polling.at(2.5).failed(2.6)  # the second poll
    accepted = frames.Accepted(client_sequence=1, sequence_number=1)
    polling.session.receive_frame(polling.number, frames.PublishAnswer((accepted,), EPOCH), seconds(2.7))
    polling.session.publish("CHAT", {"n": 2}, seconds(2.8))
    polling.look()
    assert [message.data for request in polling.publishes for message in request.messages] == [{"n": 1}, {"n": 2}]


def test_a_session_that_the_server_forgot_is_not_named_again() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(1, session_id="session-9").at(3)
    assert polling.polls[-1].session_id == "session-9"
    polling.failed(4, code=CloseCode.SESSION_EXPIRED).at(6)
    assert polling.polls[-1].session_id is None


def test_a_lane_that_is_superseded_by_another_client_ends() -> None:
    polling = OpenPolling()
    polling.failed(1, code=CloseCode.SUPERSEDED, message="a newer connection owns this session")
    assert polling.session.state is ClientState.CLOSED


def test_a_poll_that_our_own_probe_superseded_is_no_end() -> None:
    polling = OpenPolling(probe_interval_s=1, probe_interval_max_s=1, probe_jitter=0, poll_interval_s=60)
    polling.at(1)  # the probe is on its way
    assert polling.session.state is ClientState.PROBE_CONNECTING
    polling.failed(1.5, code=CloseCode.SUPERSEDED)
    assert polling.session.state is ClientState.PROBE_CONNECTING


@pytest.mark.parametrize("publishes", [False, True])
def test_a_policy_that_gives_up_on_polling_says_so(publishes: bool) -> None:
    session = ClientSession(
        "client-1",
        config=ClientConfig(request_timeout_s=5),
        policy=Fixed(seconds=1, attempts_max=1),
        random_source=Always(0.5),
        fallback=AfterFailures(1),
    )
    session.start(0)
    session.connection_lost(1, None, 0)
    session.handle_timeout(0)
    if publishes:
        session.receive_frame(2, frames.RequestFailed(request="poll"), seconds(1))
    else:
        session.handle_timeout(seconds(5))  # no answer in time
    assert session.take_outcomes()[-1] == SessionEnded(None, "the reconnect policy gave up on polling")


def test_a_policy_that_gave_up_on_polling_gives_no_poll_to_a_new_token() -> None:
    """7.40 goes on as 7.25 says, with the policy's wait; a policy without one ends the session (7.22)."""
    policy = Fixed(seconds=1, attempts_max=1)
    config = ClientConfig(fallback_after_failures=1, refreshes_token=True)
    session = ClientSession("client-1", config=config, policy=policy, random_source=Always(0.5), token="token-1")
    session.start(0)
    session.connection_lost(1, None, 0)
    session.receive_frame(2, frames.RequestFailed(request="poll", code=CloseCode.TOKEN), seconds(1))
    assert session.state is ClientState.REFRESHING
    session.take_actions()
    session.handle_token("token-2", seconds(2))
    assert session.take_outcomes()[-1] == SessionEnded(None, "the reconnect policy gave up on polling")
    assert session.take_actions() == []
    assert session.next_deadline() is None


def test_the_lane_ends_when_a_probe_has_proved_itself() -> None:
    client = client_in(ClientState.PROBE_PROVING)
    session = client.session
    client.session.receive_frame(client.websocket, frames.Pong(0, server_time=0), client.now)
    assert session.state is ClientState.LIVE
    closed = [action for action in session.take_actions() if isinstance(action, Close)]
    assert closed == [Close((2,), None, "polling has ended")]
    while (deadline := session.next_deadline()) is not None and deadline < client.now + seconds(100):
        session.handle_timeout(deadline)
        for action in session.take_actions():
            assert not (isinstance(action, Send) and action.connection_ids == (2,)), "nothing more is asked over HTTP"
        if session.state is not ClientState.LIVE:
            break


def test_a_publish_that_was_put_off_waits_while_an_application_reads_again() -> None:
    polling = OpenPolling(poll_interval_s=10, retry_base_s=30, request_timeout_s=100)
    polling.answer(0.1)
    polling.session.publish("CHAT", {}, seconds(9))
    polling.look()
    rejected = frames.Rejected(client_sequence=1, code="rate", message="", retryable=True)
    polling.session.receive_frame(polling.number, frames.PublishAnswer((rejected,), EPOCH), seconds(9))
    polling.session.hold_events(seconds(9.5))
    polling.at(10.1).answer(10.2, head=1, events=(chat(1),))
    polling.session.release_events(seconds(11))
    polling.look()
    assert (len(polling.polls), len(polling.publishes)) == (3, 1)
    polling.answer(11.1, head=1, events=(chat(1),), outcome="resumed").at(38.9)
    assert len(polling.publishes) == 1
    polling.at(39)
    assert len(polling.publishes) == 2


def test_an_application_that_reads_again_is_polled_for_at_once() -> None:
    polling = OpenPolling(poll_interval_s=60)
    polling.answer(0.1)
    polling.session.hold_events(seconds(1))
    polling.at(60.1).answer(60.2, head=1, events=(chat(1),), has_more=True)
    assert len(polling.polls) == 2, "more would not be taken"
    assert polling.session.position == (EPOCH, 0)
    polling.session.release_events(seconds(61))
    polling.look()
    assert len(polling.polls) == 3
    polling.answer(61.1, head=1, events=(chat(1),), outcome="resumed")
    assert polling.session.position == (EPOCH, 1)
    polling.session.hold_events(seconds(62))
    polling.session.release_events(seconds(63))
    polling.look()
    assert len(polling.polls) == 3, "nothing was passed over"


@pytest.mark.parametrize("request_", ["poll", "publishMany"])
def test_a_new_token_does_not_end_the_wait_after_a_failed_request(request_: frames.RequestKind) -> None:
    """7.37. Nor do tokens put the poll off."""
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5)
    polling.session.publish("CHAT", {}, seconds(0.6))
    polling.look()
    polling.at(2.5)
    if request_ == "publishMany":
        polling.answer(2.6)
    polling.failed(2.7, request_)
    due = {"poll": 4.7, "publishMany": 4.6}[request_]
    for count in range(15):
        polling.session.handle_token(f"token-{count}", seconds(2.8 + count / 10))
        polling.number += 1
        polling.look()
    assert Open(polling.number, Transport.POLLING, "token-14") in polling.others
    polling.at(due - 0.001)
    assert len(polling.polls) == 2
    polling.at(due)
    assert len(polling.polls) == 3


def test_a_new_token_does_not_end_a_wait_that_the_server_asked_for_nor_the_policys_after_it() -> None:
    polling = OpenPolling(poll_interval_s=2)
    polling.answer(0.5).at(2.5).failed(2.6, code=CloseCode.OVERLOADED, retry_after_ms=20_000)
    polling.session.handle_token("token-2", seconds(22.6))
    polling.number += 1
    polling.at(23.3)
    assert len(polling.polls) == 2
    polling.at(23.35)  # 22.6 + 0.25 + half of a second
    assert len(polling.polls) == 3


@pytest.mark.parametrize("is_rejected", [False, True])
def test_a_new_token_does_not_end_the_wait_of_publishes(is_rejected: bool) -> None:
    """7.10 and 7.27: another connection has a wait of its own, but not one that begins at once with a new token (7.37)."""
    polling = OpenPolling(poll_interval_s=30, retry_base_s=30)
    polling.answer(0.5)
    polling.session.publish("CHAT", {}, seconds(1))
    polling.look()
    if is_rejected:
        rejected = frames.Rejected(client_sequence=1, code="overloaded", message="", retryable=True)
        polling.session.receive_frame(polling.number, frames.PublishAnswer((rejected,), EPOCH), seconds(1))
    else:
        polling.failed(1, "publishMany")
    polling.at(30.5).answer(30.6)
    polling.session.handle_token("token-2", seconds(30.7))
    polling.number += 1
    polling.at(30.7)
    assert len(polling.polls) == 3, "no request has failed since the last answered poll"
    polling.answer(30.8).at(30.999)
    assert len(polling.publishes) == 1
    polling.at(31)
    assert len(polling.publishes) == 2
