"""A client's report on its connections, and how the server treats it."""

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.actions import Send
from reference.protocol.client.client_report import POLL, ClientReport
from reference.protocol.errors import CloseCode, RemoteError
from reference.protocol.limits import Limit
from reference.protocol.policies.keepalive import ANSWERS_AWAITED_MAX
from reference.protocol.server.connection import Identity
from reference.protocol.server.observations import FellBack, LimitReached, Refused, Reported, RoundTripMeasured
from reference.protocol.states import ClientState, ConnectionState, Transport
from reference.protocol.timers import NS_PER_MS

from .machines import EXAMPLES, Client, client_in, come_back, go_live, seconds, sent, server_in


def next_ping(client: Client) -> frames.Ping:
    """Let time pass until a ping leaves."""
    while True:
        pings = [frame for frame in sent(client.session.take_actions(), client.websocket) if isinstance(frame, frames.Ping)]
        if pings:
            return pings[-1]
        deadline = client.session.next_deadline()
        assert deadline is not None
        client.now = max(client.now, deadline)
        client.session.handle_timeout(client.now)


@pytest.mark.parametrize("code", [CloseCode.GOING_AWAY, CloseCode.TOKEN])
def test_an_outage_that_was_told_has_a_recovery_time_and_no_silence(code: CloseCode) -> None:
    client = client_in(ClientState.LIVE)
    client.now = seconds(3)
    client.session.connection_lost(client.websocket, code, client.now)
    client.session.handle_token("token-2", client.now)
    come_back(client)
    report = next_ping(client).report
    assert report is not None
    assert report.failed_attempts == 1, "it had been useful for three seconds only"
    (recovery,) = report.recoveries
    assert recovery == frames.Recovery(recovery_ms=(client.now - seconds(3)) // NS_PER_MS)


def test_a_half_open_line_was_silent_for_a_while() -> None:
    client = client_in(ClientState.LIVE)
    while client.session.state is ClientState.LIVE:
        deadline = client.session.next_deadline()
        assert deadline is not None
        client.now = deadline
        client.session.handle_timeout(client.now)
    lost_at = client.now
    come_back(client)
    report = next_ping(client).report
    assert report is not None
    (recovery,) = report.recoveries
    assert (recovery.silence_ms, recovery.recovery_ms) == (lost_at // NS_PER_MS, (client.now - lost_at) // NS_PER_MS)


@pytest.mark.parametrize("is_retryable", [True, False])
def test_a_publish_that_was_given_up_after_its_retries_is_reported_and_a_final_rejection_is_not(is_retryable: bool) -> None:
    """The server counts its final rejections as failures, and what it puts off as put off."""
    client = client_in(ClientState.LIVE, retry_limit=0)
    client.session.publish("CHAT", {}, 0)
    rejected = frames.Rejected(client_sequence=1, code="rate", message="", retryable=is_retryable)
    client.session.receive_frame(client.websocket, rejected, 0)
    assert client.session.statistics().publishes_failed == 1
    report = next_ping(client).report
    assert (0 if report is None else report.failed_messages) == is_retryable


def test_gaps_and_copies_are_counted() -> None:
    client = client_in(ClientState.LIVE)
    first = EXAMPLES[frames.Events].events[0]
    for number in (1, 1, 3):
        event = msgspec.structs.replace(first, sequence_number=number)
        client.session.receive_frame(client.websocket, frames.Events((event,)), client.now)
    come_back(client)
    report = next_ping(client).report
    assert report is not None
    assert (report.gaps, report.duplicates) == (1, 1)


def test_what_is_queued_and_what_was_given_up() -> None:
    client = client_in(ClientState.WAITING, outbox_messages_max=64, outbox_policy="drop_oldest")
    for _ in range(67):
        client.session.publish("CHAT", {}, client.now)
    come_back(client)
    report = next_ping(client).report
    assert report is not None
    assert (report.failed_messages, report.queued_messages) == (3, 64)


def test_an_empty_report_is_not_sent() -> None:
    assert next_ping(client_in(ClientState.LIVE)).report is None


def test_a_report_without_an_answer_is_sent_again_and_one_with_an_answer_is_not() -> None:
    client_report = ClientReport()
    client_report.gaps = 2
    assert client_report.report(1, 0) == frames.Report(gaps=2)
    assert client_report.report(2, 0) is None, "it is under way"
    client_report.gaps = 1
    assert client_report.report(3, 5) == frames.Report(gaps=1, queued_messages=5)
    client_report.acknowledged(1)
    client_report.unreported()
    assert client_report.report(4, 0) == frames.Report(gaps=1)
    client_report.acknowledged(4)
    client_report.unreported()
    assert client_report.report(5, 0) is None


def test_reports_of_pings_that_are_never_answered_are_kept_together() -> None:
    """A server that sends events and no pongs: each ping left a report, as long as the connection stood."""
    client_report = ClientReport()
    client_report.gaps = 1
    assert client_report.report(POLL, 0) is not None
    for nonce in range(100):
        client_report.gaps = 1
        assert client_report.report(nonce, 0) == frames.Report(gaps=1)
    assert len(client_report._under_way) == ANSWERS_AWAITED_MAX + 1
    client_report.acknowledged(95)
    client_report.unreported()
    client_report.poll_unreported()
    assert client_report.report(100, 0) == frames.Report(gaps=5)


def test_of_reports_that_are_kept_together_nothing_is_lost() -> None:
    client_report = ClientReport()
    for nonce in range(20):
        client_report.gaps = client_report.duplicates = client_report.failed_attempts = client_report.failed_messages = 1
        client_report.lost(0, silent_since=None)
        client_report.recovered(nonce * NS_PER_MS)
        client_report.report(nonce, 3)
    client_report.unreported()
    recoveries = tuple(frames.Recovery(recovery_ms=nonce) for nonce in range(12, 20))
    all_of_them = frames.Report(failed_attempts=20, gaps=20, duplicates=20, failed_messages=20, recoveries=recoveries)
    assert client_report.report(20, 0) == all_of_them


def test_reports_of_a_poll_are_confirmed_by_its_answer_and_by_no_pong() -> None:
    client_report = ClientReport()
    client_report.gaps = 2
    assert client_report.report(POLL, 0) == frames.Report(gaps=2)
    client_report.duplicates = 1
    assert client_report.report(7, 0) == frames.Report(duplicates=1)
    client_report.acknowledged(7)
    client_report.unreported()
    assert client_report.report(8, 0) is None, "the poll is still under way"
    client_report.poll_unreported()
    assert client_report.report(POLL, 3) == frames.Report(gaps=2, queued_messages=3)
    client_report.poll_acknowledged()
    client_report.poll_unreported()
    assert client_report.report(POLL, 0) is None


def test_a_client_on_polling_reports_with_its_polls() -> None:
    client = client_in(ClientState.CONNECTING, fallback_after_failures=1)
    client.session.connection_lost(client.websocket, None, client.now)
    client.session.handle_timeout(client.now)
    (first,) = polls(client)
    assert first.report == frames.Report(failed_attempts=1)
    answer = EXAMPLES[frames.PollAnswer]
    lane = client.session._connectivity.polling.connection_id
    assert lane is not None
    client.session.receive_frame(lane, frames.RequestFailed(request="poll"), client.now)
    pass_until_a_poll(client)
    (again,) = polls(client)
    assert again.report == first.report, "it failed, so it is reported again"
    client.session.receive_frame(lane, answer, client.now)
    pass_until_a_poll(client)
    (last,) = polls(client)
    assert last.report is None


def polls(client: Client) -> list[frames.PollRequest]:
    said = [action.frame for action in client.session.take_actions() if isinstance(action, Send)]
    return [frame for frame in said if isinstance(frame, frames.PollRequest)]


def pass_until_a_poll(client: Client) -> None:
    deadline = client.session.next_deadline()
    assert deadline is not None
    client.now = deadline
    client.session.handle_timeout(client.now)


@pytest.mark.parametrize("generation", [2, 1])
def test_the_server_takes_a_report_with_a_poll_whether_or_not_it_keeps_the_session(generation: int) -> None:
    run = server_in(ConnectionState.LIVE)
    run.take_observations()
    run.connection_opened(9, Transport.POLLING, Identity("ann"), "session-9", 0)
    poll = frames.PollRequest(client_id="client-1", generation=generation, report=frames.Report(gaps=3))
    run.receive_frame(9, poll, 0)
    assert Reported("session-1", "client-1", frames.Report(gaps=3)) in run.take_observations()


def test_a_report_stays_within_the_bounds_of_the_frame() -> None:
    client_report = ClientReport()
    client_report.failed_attempts = client_report.gaps = client_report.duplicates = client_report.failed_messages = 10**9
    for outage in range(20):
        client_report.lost(outage * seconds(200_000), silent_since=None)
        client_report.recovered(outage * seconds(200_000) + seconds(100_000))
    report = client_report.report(1, 10**9)
    assert report is not None
    frames.decode_client_frame(frames.encode(frames.Ping(1, report=report)))
    assert report.recoveries == (frames.Recovery(recovery_ms=frames.MILLISECONDS_MAX),) * frames.RECOVERIES_MAX


@pytest.mark.parametrize(
    "ping",
    [
        '{"type":"ping","nonce":1,"roundTripMs":1e300}',
        '{"type":"ping","nonce":1,"report":{"gaps":-1}}',
        '{"type":"ping","nonce":1,"report":{"gaps":1000001}}',
        '{"type":"ping","nonce":1,"report":{"recoveries":[{"recoveryMs":86400001}]}}',
        '{"type":"ping","nonce":1,"report":{"recoveries":[' + ",".join(['{"recoveryMs":1}'] * 9) + "]}}",
    ],
)
def test_a_report_beyond_its_bounds_is_a_bad_frame(ping: str) -> None:
    with pytest.raises(RemoteError) as caught:
        frames.decode_client_frame(ping)
    assert caught.value.code is CloseCode.BAD_FRAME


def test_the_server_lets_a_report_be_observed_and_changes_nothing() -> None:
    run = server_in(ConnectionState.LIVE)
    report = frames.Report(gaps=7)
    run.receive_frame(1, frames.Ping(1, 2.5, report), 0)
    assert sent(run.take_actions(), 1) == [frames.Pong(1, server_time=0)]
    session_id = "session-1"
    assert run.take_observations() == [
        RoundTripMeasured(session_id, "client-1", 2.5),
        Reported(session_id, "client-1", report),
    ]


def test_why_a_client_polls_is_observed() -> None:
    client = client_in(ClientState.CONNECTING, fallback_after_failures=1)
    client.session.connection_lost(client.websocket, None, client.now)
    client.session.handle_timeout(client.now)
    (poll,) = [action.frame for action in client.session.take_actions() if hasattr(action, "frame")]
    assert isinstance(poll, frames.PollRequest)
    assert poll.fallback == "not_opened"
    run = server_in(ConnectionState.AWAITING_REQUEST)
    run.receive_frame(1, poll, 0)
    (fell,) = [seen for seen in run.take_observations() if isinstance(seen, FellBack)]
    assert fell == FellBack("session-1", "client-1", "ann", "not_opened")


def test_limits_and_refusals_are_observed() -> None:
    run = server_in(ConnectionState.AWAITING_HELLO)
    run.handle_timeout(seconds(10))
    assert run.take_observations() == [LimitReached(Limit.HELLO_TIME), Refused(1, CloseCode.HEARTBEAT_LOST)]
    go_live(run, 2, "client-2", "ann", seconds(10))
    run.take_observations()
    run.too_slow(2, seconds(11))
    assert LimitReached(Limit.SLOW_READER) in run.take_observations()
