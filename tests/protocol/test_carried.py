"""When anything carries a session: a welcomed WebSocket, or polling from an answered poll until one fails (7.42)."""

import pytest

from reference.protocol import frames
from reference.protocol.client.health import Quality, Status
from reference.protocol.client.outcomes import StateChanged
from reference.protocol.errors import CloseCode
from reference.protocol.states import ClientState, Transport

from .machines import Client, client_in, come_back, seconds, welcome
from .polling import OpenPolling


def carried(client: Client | OpenPolling) -> list[tuple[ClientState, bool]]:
    """The reports to the application."""
    return [(each.state, each.is_carried) for each in client.session.take_outcomes() if isinstance(each, StateChanged)]


def test_polling_without_answers_carries_nothing() -> None:
    polling = OpenPolling()
    assert not polling.session.is_carried
    assert polling.session.transport is None
    assert polling.session.health().status is Status.DISCONNECTED
    polling.at(300)
    assert not polling.session.is_carried
    assert not any(is_carried for _, is_carried in carried(polling))


def test_polling_carries_from_its_first_answer_until_a_poll_fails() -> None:
    polling = OpenPolling()
    carried(polling)
    polling.answer(1)
    assert carried(polling) == [(ClientState.POLLING, True)]
    assert polling.session.transport is Transport.POLLING
    assert polling.session.health().status is Status.HTTP_POLLING
    polling.at(3).failed(3)
    assert carried(polling) == [(ClientState.POLLING, False)]
    assert polling.session.health().status is Status.DISCONNECTED
    polling.at(6).answer(6)
    assert carried(polling)[-1] == (ClientState.POLLING, True)
    assert polling.session.health().reconnections == 1


def test_a_failed_publish_does_not_end_what_polls_carry() -> None:
    polling = OpenPolling()
    polling.answer(1)
    polling.session.publish("CHAT", {}, seconds(1))
    polling.look()
    polling.failed(1.5, "publishMany")
    assert polling.session.is_carried


def test_a_poll_that_times_out_carries_nothing() -> None:
    polling = OpenPolling(request_timeout_s=5.0)
    polling.answer(1).at(9)
    assert not polling.session.is_carried


def test_an_outage_lasts_until_the_first_answer_whatever_was_opened() -> None:
    """The report to the server says the same as the state."""
    client = client_in(ClientState.LIVE, fallback_after_failures=1)
    session = client.session
    for _ in range(2):
        session.connection_lost(client.websocket, None, seconds(10))
        if session.state is ClientState.POLLING:
            break
        client.now = session.next_deadline() or 0
        session.handle_timeout(client.now)
        client.websocket += 1
    assert session.state is ClientState.POLLING
    session.take_actions()
    session.handle_timeout(client.now)
    connection_id = session._connectivity.polling.connection_id
    assert connection_id is not None
    answered_at = client.now + seconds(7)
    session.receive_frame(connection_id, OpenPolling.ANSWER, answered_at)
    (recovery,) = session._context.client_report._recoveries
    assert recovery.recovery_ms == (answered_at - seconds(10)) // 1_000_000


def recoveries(polling: OpenPolling) -> tuple[frames.Recovery, ...]:
    """As the last poll reported them."""
    report = polling.polls[-1].report
    assert report is not None
    return report.recoveries


def test_an_outage_begins_when_a_probe_is_lost_that_carried_alone() -> None:
    polling = OpenPolling(probe_interval_s=1, probe_jitter=0, request_timeout_s=100).at(1)
    polling.session.connection_opened(3, seconds(1))
    polling.session.receive_frame(3, welcome(), seconds(1))
    assert polling.session.is_carried
    polling.session.connection_lost(3, None, seconds(4))
    assert not polling.session.is_carried
    polling.answer(9).at(11)
    assert recoveries(polling) == (frames.Recovery(recovery_ms=5000),)


@pytest.mark.parametrize("event", ["a poll fails", "a poll is not answered", "the token is refused", "a token is new"])
def test_an_outage_of_polling_is_reported_from_its_beginning(event: str) -> None:
    polling = OpenPolling(request_timeout_s=5.0, probe_interval_max_s=300.0)
    polling.answer(1)
    polling.at(3)
    lost_at = 3
    match event:
        case "a poll fails":
            polling.failed(3)
        case "a poll is not answered":
            lost_at = 8
            polling.at(8)
        case "the token is refused":
            polling.failed(3, code=CloseCode.TOKEN)
            polling.session.handle_token("token-2", seconds(3))
        case "a token is new":
            polling.session.handle_token("token-2", seconds(3))
    assert not polling.session.is_carried
    polling.look()
    polling.number = polling.session._connectivity.polling.connection_id or 0
    polling.at(lost_at + 4).answer(lost_at + 4)
    polling.at(lost_at + 7)
    assert recoveries(polling) == (frames.Recovery(recovery_ms=4000),)


def test_a_probe_that_is_welcomed_behind_unanswered_polling_is_a_recovery() -> None:
    client = client_in(ClientState.LIVE, fallback_after_failures=1, probe_interval_s=5.0)
    session = client.session
    session.connection_lost(1, None, seconds(10))
    come_back(client)
    session.connection_lost(client.websocket, None, client.now)
    assert session.state is ClientState.POLLING
    assert not session.is_carried
    session.take_outcomes()
    while session.state is not ClientState.PROBE_CONNECTING:
        client.now = session.next_deadline() or 0
        session.handle_timeout(client.now)
    assert carried(client) == [(ClientState.PROBE_CONNECTING, False)]


def test_quality_is_unhealthy_while_nothing_carries_the_session() -> None:
    client = client_in(ClientState.LIVE)
    assert client.session.health().quality is Quality.HEALTHY
    client.session.connection_lost(1, None, seconds(5))
    health = client.session.health()
    assert (health.quality, health.quality_score) == (Quality.UNHEALTHY, 49.0)
    come_back(client)
    assert client.session.health().quality is Quality.HEALTHY


def test_a_session_that_never_was_carried_has_no_quality() -> None:
    assert client_in(ClientState.WAITING).session.health().quality is Quality.UNKNOWN


def test_a_live_session_that_gets_an_old_poll_answer_stays_carried() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(2, frames.RequestFailed(request="poll"), 0)
    assert client.session.is_carried
