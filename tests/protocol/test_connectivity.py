"""A session without a connection: attempts, waits, and probes of WebSocket during polling."""

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close, Open
from reference.protocol.client.outcomes import NotConnected, SessionEnded
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.errors import CloseCode
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.policies.reconnect import Attempt, FullJitter
from reference.protocol.states import ClientState, Transport

from .machines import EPOCH, EXAMPLES, Always, chat, client_in, come_back, ended, opened, seconds, sent, welcome


def test_an_attempt_says_who_comes_back_and_from_where() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Events((chat(1),)), 0)
    client.session.connection_lost(1, None, 0)
    client.now = client.session.next_deadline() or 0
    client.session.handle_timeout(client.now)
    (attempt,) = opened(client.session)
    assert attempt == Open(2, Transport.WEBSOCKET, "token-1")
    client.session.connection_opened(2, client.now)
    assert sent(client.session.take_actions(), 2) == [
        frames.Hello(
            protocol=1,
            client_id="client-1",
            generation=2,
            session_id="session-1",
            epoch=EPOCH,
            after_sequence=1,
        )
    ]


def test_connect_and_welcome_have_separate_timeouts() -> None:
    client = client_in(ClientState.CONNECTING, connect_timeout_s=10)
    session = client.session
    session.handle_timeout(seconds(9.9))
    session.connection_opened(1, seconds(9.9))
    session.take_actions()
    session.handle_timeout(seconds(19.8))
    assert session.state is ClientState.GREETING
    session.handle_timeout(seconds(19.9))
    assert session.state is ClientState.WAITING
    assert session.take_actions() == [Close((1,), None, "connect timeout: no welcome within 10 s")]


def test_the_servers_spread_replaces_ours() -> None:
    client = client_in(ClientState.GREETING, first_spread_s=1.0)
    client.session.receive_frame(1, welcome(retry=frames.Retry(8000)), 0)
    client.session.receive_frame(1, EXAMPLES[frames.SnapshotFrame], 0)
    client.session.receive_frame(1, frames.Pong(0, server_time=0), 0)
    client.session.bytes_received(1, seconds(9))
    client.session.handle_timeout(seconds(10))  # steady
    client.session.take_actions()
    client.session.connection_lost(1, None, seconds(11))
    assert client.session.next_deadline() == seconds(15)


def test_failures_are_forgotten_only_when_a_connection_was_steady() -> None:
    client = client_in(ClientState.LIVE, steady_after_s=10, ping_interval_s=100)
    client.session.connection_lost(1, None, seconds(9.9))
    assert client.session.statistics().failures == 1
    client = client_in(ClientState.LIVE, steady_after_s=10, ping_interval_s=100)
    client.session.handle_timeout(seconds(10))
    client.session.connection_lost(1, None, seconds(10.1))
    assert client.session.statistics().failures == 0


def test_a_policy_that_gives_up_ends_the_session_and_says_after_how_many() -> None:
    config = ClientConfig(fallback_after_failures=None)
    session = ClientSession("client-1", config=config, policy=Fixed(seconds=1, attempts_max=2), random_source=Always(0.5))
    session.start(0)
    for number in (1, 2):
        assert session.state is ClientState.CONNECTING
        session.connection_lost(number, None, seconds(number))
        session.handle_timeout(seconds(number + 1))
    assert session.take_outcomes()[-1] == SessionEnded(
        None, "the reconnect policy gave up after 2 failed attempts; last error: the connection was lost"
    )


def test_a_policy_that_gives_up_without_an_error_names_none() -> None:
    config = ClientConfig(fallback_after_failures=None)
    session = ClientSession("client-1", config=config, policy=Fixed(seconds=1, attempts_max=0), random_source=Always(0.5))
    session.start(0)
    session.connection_opened(1, 0)
    session.receive_frame(1, welcome(), 0)
    session.receive_frame(1, EXAMPLES[frames.SnapshotFrame], 0)
    session.hold_events(0)
    session.receive_frame(1, frames.Events((chat(1),)), 0)
    session.release_events(0)
    assert session.ended == SessionEnded(None, "the reconnect policy gave up after 0 failed attempts")


def test_a_reason_is_reported_once_while_nothing_carries_the_session() -> None:
    config = ClientConfig(fallback_after_failures=None)
    session = ClientSession("client-1", config=config, policy=Fixed(seconds=1), random_source=Always(0.5))
    session.start(0)

    def is_reported(attempt: int, reason: str) -> bool:
        session.connection_lost(attempt, CloseCode.OVERLOADED, 0, message=reason)
        session.handle_timeout(session.next_attempt_at or 0)
        return NotConnected(CloseCode.OVERLOADED, reason) in session.take_outcomes()

    reasons = [*"abcdefgh", "a", "i", "a"]
    reported = [reason for attempt, reason in enumerate(reasons, 1) if is_reported(attempt, reason)]
    assert reported == [*"abcdefgh", "i", "a"], "the last eight are remembered"


@pytest.mark.parametrize("code", [CloseCode.FORBIDDEN, CloseCode.NO_SUCH_RUN, CloseCode.SUPERSEDED, CloseCode.VERSION, 4499])
def test_a_code_that_forbids_reconnecting_ends_the_session(code: int) -> None:
    client = client_in(ClientState.LIVE)
    client.session.connection_lost(1, code, 0)
    assert ended(client) == SessionEnded(code, "the connection was lost")
    assert client.session.next_deadline() is None


def test_a_session_that_expired_comes_back_as_a_new_one_with_its_position() -> None:
    client = client_in(ClientState.LIVE)
    client.session.connection_lost(1, CloseCode.SESSION_EXPIRED, 0)
    client.now = client.session.next_deadline() or 0
    client.session.handle_timeout(client.now)
    (attempt,) = opened(client.session)
    client.session.connection_opened(attempt.connection_id, client.now)
    (hello,) = sent(client.session.take_actions(), attempt.connection_id)
    assert isinstance(hello, frames.Hello)
    assert (hello.session_id, hello.epoch, hello.after_sequence) == (None, EPOCH, 0)


def test_a_wait_that_came_with_a_refusal_is_kept() -> None:
    client = client_in(ClientState.CONNECTING)
    client.session.connection_lost(1, CloseCode.OVERLOADED, 0, retry_after_ms=20_000)
    assert client.session.next_deadline() == seconds(20.75), "and then the policy's 0.25 s and half of a second"


def test_until_the_server_names_a_spread_a_policy_gets_ours() -> None:
    class Remembers:
        def __init__(self) -> None:
            self.reported: list[float] = []

        def wait_s(self, attempt: Attempt) -> float:
            self.reported.append(attempt.first_spread_s)
            return 1.0

    policy = Remembers()
    session = ClientSession("client-1", config=ClientConfig(first_spread_s=3.0), policy=policy, random_source=Always(0.5))
    session.start(0)
    session.connection_lost(1, None, 0)
    session.handle_timeout(seconds(1))
    session.connection_opened(2, seconds(1))
    session.receive_frame(2, welcome(retry=frames.Retry(7000)), seconds(1))
    session.connection_lost(2, None, seconds(1))
    assert policy.reported == [3.0, 7.0]
    config = ClientConfig(first_spread_s=3.0, fallback_after_failures=1)
    polls = ClientSession("client-1", config=config, policy=policy, random_source=Always(0.5))
    polls.start(0)
    polls.connection_lost(1, None, 0)
    polls.handle_timeout(0)
    polls.receive_frame(2, frames.RequestFailed(request="poll"), 0)
    assert policy.reported == [3.0, 7.0, 3.0]


def test_waits_of_polls_are_drawn_beside_those_of_attempts() -> None:
    chance = Always(0.5)
    config = ClientConfig(fallback_after_failures=2, probe_interval_s=1000, probe_interval_max_s=1000)
    session = ClientSession("client-1", config=config, policy=FullJitter(), random_source=chance)
    session.start(0)
    session.connection_lost(1, None, 0)
    session.handle_timeout(seconds(1))
    session.connection_lost(2, None, seconds(1))
    session.handle_timeout(seconds(1))
    session.receive_frame(3, frames.RequestFailed(request="poll"), seconds(1))
    assert chance.asked == [("backoff", 0), ("probe", 0), ("poll_backoff", 0)]


def test_who_is_sent_away_comes_back_spread_over_the_time_that_was_named() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Goaway(code=4001, retry_after_ms=5000, spread_ms=4000), seconds(1))
    assert client.session.take_actions() == [Close((1,), 1000, "asked to go away")]
    assert client.session.next_deadline() == seconds(8)
    assert client.session.statistics().failures == 0
    come_back(client)
    (ping,) = [frame for frame in sent(client.session.take_actions(), 2) if isinstance(frame, frames.Ping)]
    assert ping.report == frames.Report(recoveries=(frames.Recovery(recovery_ms=7000),)), "and reports no failure"


def test_a_probe_waits_longer_after_each_failure_and_never_before_the_server_wants_it() -> None:
    client = client_in(ClientState.POLLING, probe_interval_s=10, probe_interval_max_s=30, probe_jitter=0, poll_interval_s=1000)
    session = client.session
    session.handle_timeout(0)
    session.receive_frame(2, EXAMPLES[frames.PollAnswer], 0)
    now, number = 0, 3
    for wait_s in (10, 20, 30, 30):
        session.handle_timeout(now + seconds(wait_s) - 1)
        assert session.state is ClientState.POLLING
        now += seconds(wait_s)
        session.handle_timeout(now)
        assert session.state is ClientState.PROBE_CONNECTING
        session.connection_lost(number, None, now)
        number += 1


def test_what_a_probe_had_in_flight_goes_out_over_http_at_once_when_it_is_lost() -> None:
    client = client_in(ClientState.PROBE_PROVING)
    session = client.session
    session.publish("CHAT", {}, client.now)
    assert [type(frame) for frame in sent(session.take_actions(), client.websocket)] == [frames.Publish]
    session.connection_lost(client.websocket, None, client.now)
    assert session.state is ClientState.POLLING
    assert [type(frame) for frame in sent(session.take_actions(), 2)] == [frames.PublishRequest]


def test_failures_of_probes_are_forgotten_when_a_websocket_was_steady() -> None:
    settings = {"probe_interval_s": 10, "probe_interval_max_s": 80, "probe_jitter": 0, "request_timeout_s": 1000}
    client = client_in(ClientState.POLLING, steady_after_s=5, ping_interval_s=1000, poll_interval_s=1000, **settings)
    session = client.session
    session.handle_timeout(0)
    session.receive_frame(2, EXAMPLES[frames.PollAnswer], 0)
    for number, at_s in ((3, 10), (4, 30)):
        session.handle_timeout(seconds(at_s))
        session.connection_lost(number, None, seconds(at_s))
    session.handle_timeout(seconds(70))  # 10, 20, 40 after the one before
    session.connection_opened(5, seconds(70))
    session.receive_frame(5, welcome(outcome="resumed"), seconds(70))
    session.receive_frame(5, frames.Pong(0, server_time=0), seconds(70))
    session.handle_timeout(seconds(75))
    session.connection_lost(5, None, seconds(80))
    while session.state is not ClientState.POLLING:
        client.now = session.next_deadline() or 0
        session.handle_timeout(client.now)
        if session.state is ClientState.CONNECTING:
            session.connection_lost(6, None, client.now)
    at = client.now
    session.handle_timeout(at + seconds(9.9))
    assert session.state is ClientState.POLLING
    session.handle_timeout(at + seconds(10))
    assert session.state is ClientState.PROBE_CONNECTING


def test_each_probe_has_a_draw_of_its_own() -> None:
    chance = Always(0.5)
    config = ClientConfig(probe_interval_s=1, probe_interval_max_s=1, fallback_after_failures=1, request_timeout_s=1000)
    session = ClientSession("client-1", config=config, policy=FullJitter(), random_source=chance)
    session.start(0)
    session.connection_lost(1, None, 0)
    for number in (3, 4):
        session.handle_timeout(seconds(number - 2))
        session.connection_lost(number, None, seconds(number - 2))
    assert [asked for asked in chance.asked if asked[0] == "probe"] == [("probe", 0), ("probe", 1), ("probe", 2)]


def test_probes_are_spread_to_both_sides() -> None:
    for value, at_s in ((0.0, 7.5), (0.5, 10), (1.0, 12.5)):
        config = ClientConfig(
            probe_interval_s=10, probe_jitter=0.25, fallback_after_failures=1, poll_interval_s=1000, request_timeout_s=1000
        )
        session = ClientSession("client-1", config=config, policy=FullJitter(), random_source=Always(value))
        session.start(0)
        session.connection_lost(1, None, 0)
        session.handle_timeout(seconds(at_s) - 1)
        assert session.state is ClientState.POLLING
        session.handle_timeout(seconds(at_s))
        assert session.state is ClientState.PROBE_CONNECTING


def test_a_probe_that_proves_itself_and_dies_before_it_is_steady_has_failed() -> None:
    """Behind a proxy that kills every WebSocket after a while probes become rare, however well each begins."""
    settings = {"probe_interval_s": 10, "probe_interval_max_s": 80, "probe_jitter": 0, "request_timeout_s": 1000}
    client = client_in(ClientState.POLLING, steady_after_s=5, ping_interval_s=1000, poll_interval_s=1000, **settings)
    session = client.session
    waits = []
    for number in range(3, 18, 2):  # each fallback opens a lane, and each probe a WebSocket
        since = client.now
        while session.state is not ClientState.PROBE_CONNECTING:
            client.now = session.next_deadline() or 0
            session.handle_timeout(client.now)
        waits.append((client.now - since) / seconds(1))
        session.connection_opened(number, client.now)
        session.receive_frame(number, welcome(outcome="resumed"), client.now)
        session.receive_frame(number, frames.Pong((number - 3) // 2, server_time=0), client.now)
        assert session.state is ClientState.LIVE
        client.now += seconds(4)
        session.connection_lost(number, None, client.now)
        assert session.state is ClientState.POLLING
    assert waits == [10, 20, 40, 80, 80, 80, 80, 80]


def test_a_probe_that_is_welcomed_before_any_poll_was_answered_is_a_reconnection() -> None:
    client = client_in(ClientState.LIVE, probe_interval_s=1, probe_jitter=0, fallback_after_failures=1, request_timeout_s=1000)
    session = client.session
    session.connection_lost(client.websocket, None, client.now)
    while session.state is not ClientState.PROBE_CONNECTING:
        client.now = session.next_deadline() or 0
        session.handle_timeout(client.now)
    session.connection_opened(3, client.now)
    session.receive_frame(3, welcome(outcome="resumed"), client.now)
    assert session.health().reconnections == 1
    session.receive_frame(2, EXAMPLES[frames.PollAnswer], client.now)
    assert session.health().reconnections == 1, "it was counted already"
    session.receive_frame(3, frames.Pong(1, server_time=0), client.now)
    assert (session.health().status, session.health().reconnections) == ("Reconnected", 1)


class Quarters:
    """Chance that says a quarter for the spread of a network that is back, and nearly one for all else."""

    def uniform(self, purpose: str, index: int) -> float:
        return 0.25 if purpose == "network_returned" else 0.99


def lost_at_once(config: ClientConfig, *, retry_after_ms: int | None = None) -> ClientSession:
    session = ClientSession("client-1", config=config, policy=FullJitter(), random_source=Quarters())
    session.start(0)
    session.connection_lost(1, None, 0, retry_after_ms=retry_after_ms)
    return session


@pytest.mark.parametrize("fallback_after_failures", [5, 1])
def test_when_the_network_of_the_machine_is_back_nothing_waits_for_its_time(fallback_after_failures: int) -> None:
    """7.44: the next attempt is made after the first spread, or the next probe and the next poll are."""
    session = lost_at_once(ClientConfig(first_spread_s=2.0, fallback_after_failures=fallback_after_failures))
    if session.state is ClientState.POLLING:
        session.handle_timeout(0)  # the first poll is under way
        (polling,) = [action.connection_id for action in session.take_actions() if isinstance(action, Open)][1:]
        session.receive_frame(polling, frames.RequestFailed(request="poll"), 0)
    waited_for = session.next_deadline()
    assert waited_for is not None
    assert waited_for > seconds(1)
    session.network_returned(seconds(0.1))
    assert session.next_deadline() == seconds(0.6)
    assert session.next_attempt_at == seconds(0.6)
    session.network_returned(seconds(0.5))
    assert session.next_deadline() == seconds(0.6), "its own time is earlier"
    assert session.statistics().failures == 1, "failures stay counted"


def test_a_network_that_is_back_shortens_no_wait_that_the_server_asked_for() -> None:
    session = lost_at_once(ClientConfig(), retry_after_ms=8000)
    waits_until = session.next_deadline()
    assert waits_until == seconds(8 + 0.25 + 0.99)
    for second in (0, 7.9, 8.1, 9.2):
        session.network_returned(seconds(second))
        assert session.next_deadline() == waits_until, "after the wait, spread as the policy has it (7.23)"
    session.handle_timeout(waits_until)
    assert session.state is ClientState.CONNECTING
    session.connection_lost(2, None, seconds(10))
    session.network_returned(seconds(10))
    assert session.next_deadline() == seconds(10.25), "that wait is over"


def test_a_network_that_is_back_keeps_the_spread_of_a_goaway() -> None:
    client = client_in(ClientState.LIVE)
    client.session.receive_frame(1, frames.Goaway(code=4001, retry_after_ms=2000, spread_ms=6000), seconds(1))
    waits_until = client.session.next_deadline()
    assert waits_until == seconds(1 + 2 + 3)
    for second in (2, 4):
        client.session.network_returned(seconds(second))
        assert client.session.next_deadline() == waits_until


def test_a_network_that_is_back_changes_nothing_for_a_connection_that_stands() -> None:
    client = client_in(ClientState.LIVE)
    before = client.session.next_deadline()
    client.session.network_returned(seconds(0.1))
    assert (client.session.take_actions(), client.session.next_deadline()) == ([], before)


def test_each_return_of_the_network_has_a_draw_of_its_own() -> None:
    chance = Always(0.5)
    session = ClientSession("client-1", config=ClientConfig(), policy=FullJitter(), random_source=chance)
    session.start(0)
    for _ in range(3):
        session.network_returned(0)
    assert chance.asked == [("network_returned", 0), ("network_returned", 1), ("network_returned", 2)]
