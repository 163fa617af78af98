"""The small parts of the machines: rate limits, identity, memberships, codes, presence."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference.protocol import frames
from reference.protocol.client.client_report import ClientReport
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, Reaction, RejectCode, RemoteError, reaction_to
from reference.protocol.limits import Limit
from reference.protocol.server.connection import (
    USER_ID_CHARACTERS_MAX,
    Connection,
    Identity,
    PublishRate,
    TokenBucket,
    too_many_frames,
)
from reference.protocol.server.context import RunContext
from reference.protocol.server.observations import Answered, LimitReached
from reference.protocol.server.sessions import Sessions
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.timers import NS_PER_MS

from .machines import EXAMPLES, seconds

# An allowance.


def test_a_full_bucket_is_a_burst_and_then_so_many_a_second() -> None:
    rate_limit = TokenBucket(4, 3)
    assert [rate_limit.spend(0) for _ in range(4)] == [0, 0, 0, 250]
    assert rate_limit.spend(seconds(0.125)) == 125
    assert rate_limit.spend(seconds(0.25)) == 0
    assert [rate_limit.spend(seconds(100)) for _ in range(4)] == [0, 0, 0, 250], "it does not fill beyond its burst"


@example(0.1, 1, [(1, 1), (5 * NS_PER_MS, 1)])  # all but 1e-16 of a token are there
@given(
    st.sampled_from([0.1, 0.3, 1.0, 1.5, 3.0, 7.0, 64_000.0]),
    st.integers(1, 1000),
    st.lists(st.tuples(st.sampled_from([0, 1, 5 * NS_PER_MS, 333_333_333, seconds(1)]), st.integers(1, 200)), max_size=8),
)
def test_after_the_wait_the_tokens_are_there(per_s: float, burst: int, spends: list[tuple[int, int]]) -> None:
    rate_limit, now = TokenBucket(per_s, burst), seconds(10**9)
    for pause, tokens in spends:
        now += pause
        wait_ms = rate_limit.spend(now, min(tokens, burst))
        if wait_ms:
            now += wait_ms * NS_PER_MS
            assert rate_limit.spend(now, min(tokens, burst)) == 0


def test_a_wait_is_at_least_a_millisecond_and_at_most_a_day() -> None:
    quick = TokenBucket(100_000, 1)
    assert [quick.spend(0), quick.spend(0)] == [0, 1]
    slow = TokenBucket(0.000001, 1)
    assert [slow.spend(0), slow.spend(0)] == [0, frames.MILLISECONDS_MAX]


def test_work_already_done_may_leave_a_debt_of_one_burst() -> None:
    rate_limit = TokenBucket(1, 3)
    rate_limit.drain(0, 2)
    assert [rate_limit.spend(0), rate_limit.spend(0)] == [0, 1000]
    rate_limit.drain(seconds(1), 2)
    assert rate_limit.spend(seconds(1)) == 2000, "a second's token, and two taken"
    rate_limit.drain(seconds(1), 100)
    assert rate_limit.spend(seconds(1)) == 4000


def test_a_publish_takes_from_both_buckets_or_from_none() -> None:
    rate_limit = PublishRate(TokenBucket(1, 2), TokenBucket(100, 150))
    assert rate_limit.spend(0, 100) == (0, 0)
    assert rate_limit.spend(0, 100) == (0, 500)
    assert rate_limit.spend(0, 50) == (0, 0), "what the bytes put off took no publish"
    assert rate_limit.spend(0, 50) == (1000, 500)
    assert rate_limit.spend(seconds(0.5), 50) == (500, 0)
    assert rate_limit.spend(seconds(1), 100) == (0, 0)


# One connection.


def connection(state: ConnectionState = ConnectionState.LIVE, burst: int = 2) -> Connection:
    return Connection(1, Transport.WEBSOCKET, state, None, TokenBucket(1, burst), "session-1")


def test_more_frames_than_are_allowed_end_a_connection() -> None:
    one = connection()
    assert [one.take_frames(1, 0), one.take_frames(5, 0), one.take_frames(1, 0)] == [1, 1, 0]
    error = too_many_frames()
    assert (error.code, error.limit) == (CloseCode.RATE, Limit.FRAME_RATE)
    assert str(error) == "frame rate limit exceeded on this connection"
    assert one.take_frames(3, seconds(1.5)) == 1
    assert one.take_frames(3, seconds(2)) == 1, "what was there of a token is kept"


def test_what_may_not_be_said_now_is_named() -> None:
    with pytest.raises(RemoteError, match=r"^publish is not allowed while awaiting hello$") as error:
        connection(ConnectionState.AWAITING_HELLO).check(EXAMPLES[frames.Publish])
    assert (error.value.code, error.value.limit) == (CloseCode.BAD_FRAME, None)


@pytest.mark.parametrize("characters", [0, USER_ID_CHARACTERS_MAX + 1])
def test_a_user_id_is_neither_empty_nor_endless(characters: int) -> None:
    with pytest.raises(RemoteError, match=r"^a user id has 1 to 128 characters$") as error:
        Identity("a" * characters)
    assert error.value.code == CloseCode.FORBIDDEN
    assert Identity("a").user_id == "a"
    assert Identity("a" * USER_ID_CHARACTERS_MAX)


# Sessions.


def no_sessions() -> Sessions:
    return Sessions(RunContext(ServerConfig()), dict[str, str]().get, 0)


def test_the_higher_generation_owns_a_session_and_of_equals_the_later() -> None:
    sessions = no_sessions()
    session = sessions.claim("c", "ann", None, 2, Transport.WEBSOCKET, "drawn-1", 0)
    assert (session.session_id, session.generation, sessions.take_superseded()) == ("drawn-1", 2, [])
    session.connection_id = 7
    assert sessions.count([]) == (1, 1)
    assert sessions.claim("c", "ann", None, 2, Transport.POLLING, "drawn-2", 0) is session
    assert (sessions.take_superseded(), session.session_id) == ([7], "drawn-1")
    assert (session.connection_id, session.transport, sessions.count([])) == (None, Transport.POLLING, (1, 0))
    sessions.claim("c", "ann", "named", 5, Transport.WEBSOCKET, "drawn-3", 0)
    assert (session.session_id, session.generation) == ("named", 5)
    with pytest.raises(RemoteError, match=r"^a newer connection owns this session$") as error:
        sessions.claim("c", "ann", None, 4, Transport.WEBSOCKET, "drawn-4", 0)
    assert error.value.code == CloseCode.SUPERSEDED
    with pytest.raises(RemoteError, match=r"^this client id belongs to another user$") as error:
        sessions.claim("c", "bob", None, 9, Transport.WEBSOCKET, "drawn-5", 0)
    assert error.value.code == CloseCode.FORBIDDEN
    assert (session.generation, len(sessions)) == (5, 1)
    for _ in range(2):
        sessions.leave("c", 0)
        assert len(sessions) == 0


def test_a_server_that_knows_no_session_believes_the_name() -> None:
    session = no_sessions().claim("c", "ann", "named", 1, Transport.POLLING, "drawn", 0)
    assert (session.session_id, session.user_id, session.client_id) == ("named", "ann", "c")


# Codes.


@pytest.mark.parametrize(
    ("code", "reaction"),
    [
        (None, Reaction.RESUME),
        (1000, Reaction.RESUME),
        (1006, Reaction.RESUME),
        (CloseCode.GOING_AWAY, Reaction.RESUME),
        (CloseCode.OVERLOADED, Reaction.RESUME),
        (4099, Reaction.RESUME),
        (CloseCode.SUPERSEDED, Reaction.STOP),
        (CloseCode.SESSION_EXPIRED, Reaction.NEW_SESSION),
        (4199, Reaction.NEW_SESSION),
        (CloseCode.TOKEN, Reaction.NEW_TOKEN),
        (CloseCode.TOO_BIG, Reaction.STOP),
        (4499, Reaction.STOP),
        (4500, Reaction.RESUME),
    ],
)
def test_what_a_client_does_after_a_close(code: int | None, reaction: Reaction) -> None:
    assert reaction_to(code) is reaction


def test_an_answer_is_observed_with_the_limit_that_it_met() -> None:
    context = RunContext(ServerConfig())
    context.answered("c", frames.Accepted(client_sequence=1, sequence_number=1, duplicate=True))
    context.answered("c", frames.Rejected(client_sequence=2, code=RejectCode.RATE, message=""))
    context.answered("c", frames.Rejected(client_sequence=3, code=RejectCode.OUT_OF_ORDER, message=""))
    assert context.take_observations() == [
        Answered("c", True, None, True),
        Answered("c", False, RejectCode.RATE, False),
        LimitReached(Limit.PUBLISH_RATE),
        Answered("c", False, RejectCode.OUT_OF_ORDER, False),
    ]


# The tally.


def test_an_outage_is_counted_from_its_first_loss_with_the_silence_before_it() -> None:
    client_report = ClientReport()
    client_report.lost(seconds(10), silent_since=seconds(3))
    client_report.lost(seconds(12), silent_since=None)
    client_report.recovered(seconds(15))
    client_report.recovered(seconds(16))
    report = client_report.report(1, 0)
    assert report == frames.Report(recoveries=(frames.Recovery(recovery_ms=5000, silence_ms=7000),))


def test_of_many_outages_the_last_are_reported() -> None:
    client_report = ClientReport()
    for outage in range(frames.RECOVERIES_MAX + 2):
        client_report.lost(0, silent_since=None)
        client_report.recovered(outage * NS_PER_MS)
    report = client_report.report(1, 0)
    assert report is not None
    assert [each.recovery_ms for each in report.recoveries] == list(range(2, frames.RECOVERIES_MAX + 2))
    client_report.lost(0, silent_since=None)
    client_report.recovered(99 * NS_PER_MS)
    client_report.unreported()
    report = client_report.report(2, 0)
    assert report is not None
    assert [each.recovery_ms for each in report.recoveries] == [*range(3, frames.RECOVERIES_MAX + 2), 99]


def test_every_count_is_sent_again_while_its_arrival_is_unknown() -> None:
    client_report = ClientReport()
    client_report.failed_attempts, client_report.gaps, client_report.duplicates, client_report.failed_messages = 1, 2, 3, 4
    first = client_report.report(1, 9)
    assert first == frames.Report(failed_attempts=1, gaps=2, duplicates=3, failed_messages=4, queued_messages=9)
    client_report.failed_attempts, client_report.gaps, client_report.duplicates, client_report.failed_messages = 10, 20, 30, 40
    assert client_report.report(2, 0) is not None
    client_report.unreported()
    assert client_report.report(3, 0) == frames.Report(failed_attempts=11, gaps=22, duplicates=33, failed_messages=44)
    client_report.acknowledged(3)
    client_report.unreported()
    assert client_report.report(4, 0) is None
