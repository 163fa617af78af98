"""Sessions driven by hand and replayed in Node: they find planted faults in the browser's machine that no other test finds."""

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.states import ClientState
from tests.protocol.machines import EPOCH, EXAMPLES, Always, chat, client_in, seconds, sent
from tests.protocol.polling import OpenPolling

from .fourth_world import assert_same_in_node
from .recording import recorded
from .tools import NODE_IS_MISSING, WHY_NODE

pytestmark = pytest.mark.skipif(NODE_IS_MISSING, reason=WHY_NODE)
PRESENCE = frames.Presence(joined=("bob",), server_time=0)


def test_a_lost_connection_forgets_the_tail_that_it_owed() -> None:
    with recorded() as recording:
        client = client_in(ClientState.LIVE, tail_timeout_s=2, ping_interval_s=100)
        client.session.receive_frame(1, frames.Heartbeat(3), seconds(1))
        assert client.session.next_deadline() == seconds(3)
        client.session.connection_lost(1, None, seconds(1.5))
        assert client.session.next_deadline() == seconds(2.25), "the next attempt"
    assert_same_in_node(recording)


def test_any_frame_gives_the_tail_more_time_but_not_after_a_heartbeat() -> None:
    with recorded() as recording:
        for frame in (frames.Heartbeat(3), EXAMPLES[frames.Welcome]):
            is_certain = isinstance(frame, frames.Heartbeat)
            state = ClientState.LIVE if is_certain else ClientState.GREETING
            client = client_in(
                state, tail_timeout_s=2, ping_interval_s=100, ack_interval_s=50, start="snapshot" if is_certain else "oldest"
            )
            if not is_certain:
                frame = msgspec.structs.replace(frame, head=3)
            client.session.receive_frame(1, frame, seconds(1))
            client.session.receive_frame(1, PRESENCE, seconds(2))
            assert client.session.next_deadline() == seconds(3 if is_certain else 4)
            client.session.receive_frame(1, frames.Events((chat(1),)), seconds(2.5))
            client.session.receive_frame(1, PRESENCE, seconds(2.9))
            assert client.session.next_deadline() == seconds(4.9), "an event came, and others are owed"
            client.session.handle_timeout(seconds(10))
            assert client.session.state is ClientState.WAITING
    assert_same_in_node(recording)


def test_a_publish_that_was_under_way_when_the_token_was_refused_is_sent_again() -> None:
    with recorded() as recording:
        polling = OpenPolling(refreshes_token=True)
        polling.answer(0.1, last_client_sequence=0)
        polling.session.publish("CHAT", {"n": 1}, seconds(0.2))
        polling.look()
        assert [len(request.messages) for request in polling.publishes] == [1]
        polling.failed(0.3, "publishMany", code=int(CloseCode.TOKEN))
        assert polling.session.state is ClientState.REFRESHING
        polling.session.handle_token("token-2", seconds(0.4))
        polling.number += 1
        polling.look()
        polling.at(6)  # the new connection has polled
        polling.answer(6)
        assert [[message.client_sequence for message in request.messages] for request in polling.publishes] == [[1], [1]]
    assert_same_in_node(recording)


def test_a_policy_that_gave_up_on_polling_ends_the_session_when_the_token_comes() -> None:
    with recorded() as recording:
        config = ClientConfig(fallback_after_failures=1, refreshes_token=True)
        policy = Fixed(seconds=1, attempts_max=1)
        session = ClientSession("client-1", config=config, policy=policy, random_source=Always(0.5), token="token-1")
        session.start(0)
        session.connection_lost(1, None, 0)
        session.receive_frame(2, frames.RequestFailed(request="poll", code=CloseCode.TOKEN), seconds(1))
        session.handle_token("token-2", seconds(2))
        assert session.state is ClientState.CLOSED
    assert_same_in_node(recording)


def test_bytes_of_an_answer_extend_its_own_limit_only() -> None:
    with recorded() as recording:
        polling = OpenPolling(request_timeout_s=10.0, poll_interval_s=2.0)
        polling.answer(0.5)
        polling.session.publish("CHAT", {}, seconds(1))
        polling.look()
        polling.at(2.5)  # the second poll leaves
        assert len(polling.polls) == 2
        for second, request in ((4, "publishMany"), (5, None), (6, "poll"), (7, "poll")):
            polling.session.bytes_received(polling.number, seconds(second), request=request)  # type: ignore[arg-type]
        assert polling.session.next_deadline() == seconds(14), "the publish request's"
        polling.session.bytes_received(99, seconds(8), request="publishMany")
        polling.at(14)
        assert len(polling.others) > 1, "it has begun anew on another connection"
    assert_same_in_node(recording)


def test_a_rejection_that_asked_for_a_wait_is_waited_for_on_the_next_connection_and_then_forgotten() -> None:
    with recorded() as recording:
        client = client_in(ClientState.LIVE, ping_interval_s=100, retry_base_s=1, retry_limit=3)
        session = client.session
        session.publish("CHAT", {}, seconds(1))
        session.receive_frame(
            1,
            frames.Rejected(client_sequence=1, code="rate", message="", retryable=True, retry_after_ms=5000),
            seconds(1),
        )
        session.take_actions()
        session.handle_timeout(seconds(6))
        assert [frame.client_sequence for frame in sent(session.take_actions(), 1) if isinstance(frame, frames.Publish)] == [1]
        session.connection_lost(1, None, seconds(7))
        deadlines = []
        while session.state is not ClientState.CONNECTING:
            deadline = session.next_deadline()
            assert deadline is not None
            deadlines.append(deadline)
            session.handle_timeout(deadline)
        session.connection_opened(2, deadlines[-1])
        session.receive_frame(2, msgspec.structs.replace(EXAMPLES[frames.Welcome], outcome="resumed", epoch=EPOCH), deadlines[-1])
        publishes = [frame for frame in sent(session.take_actions(), 2) if isinstance(frame, frames.Publish)]
        assert [frame.client_sequence for frame in publishes] == [1], "at once: the time that was asked for is over"
    assert_same_in_node(recording)


def test_a_new_token_ends_no_wait_of_polling() -> None:
    with recorded() as recording:
        polling = OpenPolling(poll_interval_s=30)
        polling.answer(0.5)
        polling.session.publish("CHAT", {}, seconds(1))
        polling.look()
        polling.failed(1, "publishMany").at(30.5).answer(30.6)
        polling.session.handle_token("token-2", seconds(30.7))
        polling.number += 1
        polling.at(30.7).answer(30.8).at(30.999)
        assert len(polling.publishes) == 1
        polling.at(31).failed(31, "publishMany")
        polling.session.handle_token("token-3", seconds(31.1))
        polling.number += 1
        polling.at(60.799)
        assert len(polling.polls) == 3
        polling.at(60.8)
        assert len(polling.polls) == 4
    assert_same_in_node(recording)


def test_a_publish_that_was_given_up_after_its_retries_is_reported() -> None:
    with recorded() as recording:
        client = client_in(ClientState.LIVE, retry_limit=0, ping_interval_s=5)
        for number, is_retryable in ((1, True), (2, False)):
            client.session.publish("CHAT", {}, 0)
            rejected = frames.Rejected(client_sequence=number, code="rate", message="", retryable=is_retryable)
            client.session.receive_frame(1, rejected, 0)
            client.session.handle_timeout(seconds(1))
        client.session.take_actions()
        client.session.handle_timeout(seconds(5))
        (ping,) = [frame for frame in sent(client.session.take_actions(), 1) if isinstance(frame, frames.Ping)]
        assert ping.report is not None
        assert ping.report.failed_messages == 1
    assert_same_in_node(recording)
