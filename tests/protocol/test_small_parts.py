"""The small parts of the machines: rate limits, identity, memberships, codes, presence."""

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.client.client_report import ClientReport
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode, ConfigError, InvalidEvent, Reaction, RejectCode, RemoteError, reaction_to
from reference.protocol.events import DEFAULT_REGISTRY, EventClass, EventRegistry
from reference.protocol.frames import decode_answer, decode_client_frame, decode_publish_request, encode
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
from reference.protocol.server.sessions import Attendance, Sessions
from reference.protocol.states import ConnectionState, Transport
from reference.protocol.statistics import Held, beyond
from reference.protocol.timers import NS_PER_MS

from .machines import EXAMPLES, chat, seconds

# An allowance.


def test_a_full_bucket_is_a_burst_and_then_so_many_a_second() -> None:
    rate_limit = TokenBucket(4, 3)
    assert [rate_limit.spend(0) for _ in range(4)] == [0, 0, 0, 250]
    assert rate_limit.spend(seconds(0.125)) == 125
    assert rate_limit.spend(seconds(0.25)) == 0
    assert [rate_limit.spend(seconds(100)) for _ in range(4)] == [0, 0, 0, 250], "it does not fill beyond its burst"


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


# Presence names the first to come.


def test_who_comes_later_is_named_when_one_has_left() -> None:
    attendance = Attendance(users_max=2)
    assert [attendance.arrive(user) for user in ("cem", "ann", "bob")] == [True, True, True]
    assert attendance.users == ("ann", "cem")
    assert not attendance.is_present("bob")
    presence = attendance.take_presence(5)
    assert presence == frames.Presence(joined=("cem", "ann"), server_time=5)
    assert attendance.take_presence(6) is None
    assert not attendance.arrive("dan"), "users that are not named are not reported"
    assert attendance.leave("cem")
    assert attendance.take_presence(7) == frames.Presence(joined=("bob",), left=("cem",), server_time=7)
    assert attendance.users == ("ann", "bob")
    assert not attendance.leave("dan")
    assert attendance.version == 2


def test_a_second_session_of_a_user_changes_nothing() -> None:
    attendance = Attendance(users_max=10)
    attendance.arrive("ann")
    attendance.take_presence(0)
    assert not attendance.arrive("ann")
    assert not attendance.leave("ann")
    assert attendance.users == ("ann",)
    assert attendance.leave("ann")
    assert attendance.users == ()


def test_cursors_are_the_latest_of_those_who_are_here() -> None:
    attendance = Attendance(users_max=10)
    for user in ("ann", "bob"):
        attendance.arrive(user)
        attendance.move_cursor(user, {"of": user})
    attendance.move_cursor("ann", {"of": "ann", "n": 2})
    attendance.leave("bob")
    assert attendance.cursors == {"ann": {"of": "ann", "n": 2}}
    assert attendance.take_cursors(3) == frames.Cursors(moved={"ann": {"of": "ann", "n": 2}}, server_time=3)
    assert attendance.take_cursors(4) is None
    assert attendance.full(9) == (
        frames.Presence(full=("ann",), server_time=9),
        frames.Cursors(full={"ann": {"of": "ann", "n": 2}}, server_time=9),
    )


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


def test_only_what_exceeds_its_limit_is_beyond() -> None:
    held = (Held("a", 1, 2), Held("b", 2, 2), Held("c", 3, 2))
    assert beyond(held) == [held[2]]


# Event types.


@pytest.mark.parametrize("name", ["", "x" * 65, "a-b", "ä", "a b", "a\n"])
def test_an_event_type_is_a_plain_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^event type '.*': use 1 to 64 ASCII letters, digits and underscores$"):
        EventRegistry((name,))


def test_event_types_of_ones_own() -> None:
    registry = EventRegistry(("x" * 64, "A_B_2"))
    assert registry.class_of("A_B_2") is EventClass.SEQUENCED
    assert registry.class_of("CHAT") is None, "the example is in the default only"
    with pytest.raises(ConfigError, match=r"^event type GRAFT is built in and cannot be registered again$"):
        EventRegistry(("GRAFT",))
    with pytest.raises(InvalidEvent, match=r"^unknown event type 'DANCE'; this server knows CHAT, FLAG, GRAFT, PRUNE$"):
        DEFAULT_REGISTRY.check_publish("DANCE", {})
    message = r"^USER_JOIN is not published: the server makes presence, cursors have their own frame$"
    with pytest.raises(InvalidEvent, match=message):
        DEFAULT_REGISTRY.check_publish("USER_JOIN", {})


@pytest.mark.parametrize(("event_type", "key"), [("GRAFT", "position"), ("PRUNE", "step")])
def test_a_critical_event_says_what_it_changes(event_type: str, key: str) -> None:
    for value in ("x", "x" * 256):
        assert DEFAULT_REGISTRY.check_publish(event_type, {key: value}) is EventClass.CRITICAL
    with pytest.raises(InvalidEvent, match="not a JSON number"):
        DEFAULT_REGISTRY.check_publish(event_type, {key: "x", "n": float("nan")})
    for wrong in ("", "x" * 257, 5, None):
        with pytest.raises(InvalidEvent, match=rf"^{event_type} needs data\.{key}, a string of 1 to 256 characters$"):
            DEFAULT_REGISTRY.check_publish(event_type, {key: wrong})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"t": "a\0"}, "text contains the character NUL, which no database keeps; remove it"),
        ({"a\0": 1}, "text contains the character NUL, which no database keeps; remove it"),
        ({"t": "\ud800"}, "text contains half of a surrogate pair, which is not Unicode; remove it"),
        ({"n": 2**63}, "the integer 9223372036854775808 does not fit into 64 bits; send it as a string"),
        ({"n": -(2**63) - 1}, "the integer -9223372036854775809 does not fit into 64 bits; send it as a string"),
        ({"n": float("inf")}, "inf is not a JSON number; leave it out or send it as a string"),
        ({1: 2}, "the key 1 is not a string, which JSON requires"),
        ({"x": {1}}, "a set is not JSON: use strings, numbers, booleans, null, lists and objects"),
    ],
)
def test_data_that_would_not_come_back_as_it_was_is_refused_with_what_to_do(data: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        DEFAULT_REGISTRY.check_publish("CHAT", data)
    assert str(refused.value) == says


def test_the_largest_integers_are_taken() -> None:
    assert DEFAULT_REGISTRY.check_publish("CHAT", {"n": [2**63 - 1, -(2**63)]}) is EventClass.SEQUENCED


# Bytes.


def test_a_message_is_just_as_large_as_it_may_be() -> None:
    wire = encode(frames.Ping(1))
    assert decode_client_frame(wire, len(wire)) == frames.Ping(1)
    with pytest.raises(RemoteError) as error:
        decode_client_frame(wire, len(wire) - 1)
    assert str(error.value) == f"a frame of {len(wire)} bytes; the limit is {len(wire) - 1}"
    assert (error.value.code, error.value.limit) == (CloseCode.TOO_BIG, Limit.FRAME_BYTES)


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (b'{"type":"ping"}', "not a frame of this protocol: Object missing required field `nonce`"),
        (b"{", "not JSON: Input data was truncated"),
        (b'{"type":"\xff"', "not JSON: "),
        (b'{"type":"cursor","data":{"x":' + b"[" * 5000, "JSON that nests too deeply"),
    ],
)
def test_a_malformed_frame_is_answered_with_the_reason(wire: bytes, says: str) -> None:
    with pytest.raises(RemoteError) as error:
        decode_client_frame(wire)
    assert str(error.value).startswith(says)
    assert error.value.code == CloseCode.BAD_FRAME


def test_an_answer_is_what_was_asked_for() -> None:
    published = encode(frames.PublishAnswer((), "epoch-1"))
    assert decode_answer(EXAMPLES[frames.PublishRequest], published) == frames.PublishAnswer((), "epoch-1")  # type: ignore[arg-type]
    polled = encode(EXAMPLES[frames.PollAnswer])
    assert decode_answer(EXAMPLES[frames.PollRequest], polled) == EXAMPLES[frames.PollAnswer]  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        decode_answer(EXAMPLES[frames.PollRequest], published)  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match="the limit is 5"):
        decode_answer(EXAMPLES[frames.PollRequest], polled, 5)  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match="the limit is 5"):
        decode_answer(EXAMPLES[frames.PublishRequest], published, 5)  # type: ignore[arg-type]


def test_the_body_of_a_publish_request_needs_no_type() -> None:
    assert decode_publish_request(b'{"clientId":"c"}', 16) == frames.PublishRequest(client_id="c")
    with pytest.raises(RemoteError, match="the limit is 15"):
        decode_publish_request(b'{"clientId":"c"}', 15)


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


def test_a_pong_confirms_the_reports_up_to_its_ping() -> None:
    client_report = ClientReport()
    for nonce in (1, 2, 3):
        client_report.gaps = nonce
        client_report.report(nonce, 0)
    client_report.acknowledged(2)
    client_report.unreported()
    assert client_report.report(4, 0) == frames.Report(gaps=3)


# Frames that contradict themselves.

BOTH_OR_NEITHER = "a position is an epoch and an afterSequence; send both or neither"


@pytest.mark.parametrize(
    ("wire", "says"),
    [
        (b'{"type":"hello","protocol":1,"clientId":"c","epoch":"e"}', BOTH_OR_NEITHER),
        (b'{"type":"hello","protocol":1,"clientId":"c","afterSequence":3}', BOTH_OR_NEITHER),
        (b'{"type":"publish","clientSequence":3,"eventType":"CHAT","data":{},"after":3}', "after must be below clientSequence"),
    ],
)
def test_a_frame_that_contradicts_itself_is_refused_with_the_reason(wire: bytes, says: str) -> None:
    with pytest.raises(RemoteError) as error:
        decode_client_frame(wire)
    assert str(error.value) == f"not a frame of this protocol: {says}"
    assert error.value.code == CloseCode.BAD_FRAME


def test_a_frame_that_just_agrees_with_itself_is_taken() -> None:
    wire = b'{"type":"publish","clientSequence":3,"eventType":"CHAT","data":{},"after":2}'
    assert decode_client_frame(wire) == frames.Publish(client_sequence=3, event_type="CHAT", data={}, after=2)
    assert frames.Message(client_sequence=3, event_type="CHAT", data={}, after=0).as_frame().after == 0
    with pytest.raises(ValueError, match=r"^after must be below clientSequence$"):
        frames.Message(client_sequence=3, event_type="CHAT", data={}, after=3)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((None,), "an event without a sequence number among numbered ones"),
        ((0, 1), "an event without a sequence number among numbered ones"),
        ((1, 3), "event 3 stands where 2 belongs"),
        ((4, 5, 5), "event 5 stands where 6 belongs"),
        ((4, None), "event None stands where 5 belongs"),
    ],
)
def test_events_that_do_not_follow_each_other_make_no_frame(numbers: tuple[int | None, ...], says: str) -> None:
    events = tuple(chat(number) for number in numbers)
    with pytest.raises(ValueError, match=f"^{says}$"):
        frames.Events(events)
    with pytest.raises(ValueError, match=f"^{says}$"):
        msgspec.structs.replace(EXAMPLES[frames.PollAnswer], events=events)


def test_events_that_follow_each_other_make_one() -> None:
    for numbers in ((), (1,), (7, 8, 9)):
        assert len(frames.Events(tuple(chat(number) for number in numbers)).events) == len(numbers)
