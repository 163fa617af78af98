"""Checkers of records that only the adversarial world makes: each guarantee is broken in a trace, and its checker reports it."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from reference.protocol.config import ClientConfig, ServerConfig
from reference.protocol.policies.catalogue import Fixed
from reference.protocol.states import ClientState, Transport
from reference.protocol.timers import NS_PER_S
from simulation.adversary import steps
from simulation.adversary.settling import settle
from simulation.adversary.world import AdversarialWorld, Setup
from simulation.checks.checkers import CHECKERS, check
from simulation.trace.index import index_of
from simulation.trace.trace import (
    AcceptedRecord,
    AckSent,
    AlarmServed,
    AnswerGiven,
    AttemptMade,
    BeginningGiven,
    CameToRest,
    ClientStarted,
    ConnectionLeft,
    ConnectionLost,
    ConnectionRefused,
    CursorSeen,
    Delivered,
    EntryStored,
    EventsCommitted,
    EventShown,
    Failed,
    FrameGiven,
    LogStored,
    PositionHeld,
    PresenceSeen,
    Published,
    PublishSent,
    PublishTaken,
    ReaderBlocked,
    Record,
    RequestAnswered,
    RequestMade,
    RetryAsked,
    RosterGiven,
    RosterSampled,
    ServerAlarmServed,
    ServerKilled,
    ServerStopped,
    SessionDeparted,
    SessionJoined,
    SessionLeft,
    SessionOver,
    StateTurned,
    TokenTaken,
    Trace,
    TraceStarted,
    TrespassAnswered,
)

Records = list[Record]
R = TypeVar("R")
CLIENT = ClientConfig(
    fallback_after_failures=1,
    steady_after_s=1.0,
    probe_interval_s=2.0,
    probe_interval_max_s=4.0,
    outbox_age_max_s=30.0,
    refreshes_token=True,
)
SERVER = ServerConfig(heartbeat_interval_s=1.0, slow_reader_timeout_s=2.0, presence_grace_s=3.0, token_grace_s=30.0)
SCHEDULE: tuple[steps.Step, ...] = (
    steps.Calm(100),
    steps.PublishEvent(0, "GRAFT", 0),
    steps.PublishEvent(1, "CHAT", 0),
    steps.MoveCursor(0, 1),
    steps.Calm(500),
    steps.TrespassOn(0, "poll"),
    steps.Cut(0, "now", "now"),
    steps.Calm(3000),
    steps.Block(1, True),
    steps.PublishEvent(1, "FLAG", 1),
    steps.Calm(100),
    steps.WaitFor(1000, "exact"),
    steps.Calm(5000),
    steps.PublishEvent(1, "FLAG", 0),
    steps.Calm(5000),
    steps.CalmUntil("request", 5000),
    steps.TurnAway("request", 0, 500),
    steps.Calm(3000),
    steps.Block(1, False),
    steps.Calm(5000),
    steps.Choke(0, 1),
    steps.PublishEvent(1, "CHAT", 0),
    steps.Calm(20),
    steps.WaitFor(1900, "exact"),
    steps.Choke(0, 0),
    steps.Join(0),
    steps.Calm(500),
    steps.Cut(-1, "never", "now"),
    steps.Leave(2),
    steps.Calm(5000),
    steps.Crash(0, True),
    steps.Calm(3000),
    steps.PublishEvent(0, "CHAT", 0),
    steps.Calm(100),
)


def played() -> Trace:
    world = AdversarialWorld(Setup(client=CLIENT, server=SERVER, token_life_s=40.0))
    for step in SCHEDULE:
        step.do(world)
    settle(world)
    return world.trace


HELD = list(played())


def all_of(kind: type[R], **fields: Any) -> list[R]:
    found = [record for record in HELD if isinstance(record, kind)]
    return [record for record in found if all(getattr(record, name) == value for name, value in fields.items())]


def changed(record: R, **fields: Any) -> R:
    return msgspec.structs.replace(record, **fields)  # type: ignore[type-var]  # records are structs


def exchanged(old: object, *new: Record) -> Records:
    place = next(number for number, record in enumerate(HELD) if record is old)
    return [*HELD[:place], *new, *HELD[place + 1 :]]


def after(old: Record, *new: Record) -> Records:
    return exchanged(old, old, *new)


def gap_on_a_connection() -> Records:
    given = all_of(FrameGiven, frame="Events")[-1]
    return exchanged(given, changed(given, first=given.first + 1, last=given.last + 1))


def wrong_position() -> Records:
    held = all_of(PositionHeld)[-1]
    return exchanged(held, changed(held, sequence_number=held.sequence_number + 1))


def ack_ahead() -> Records:
    held = all_of(PositionHeld, client="client0")[-1]
    return after(held, AckSent(at=held.at, client="client0", epoch=held.epoch, sequence_number=held.sequence_number + 1))


def accepted_as_another() -> Records:
    entry = all_of(EntryStored)[0]
    other = next(one for one in all_of(AnswerGiven) if one.client_id != entry.client_id)
    return after(other, changed(other, client_sequence=50, sequence_number=entry.sequence_number))


def never_arrived_and_stored() -> Records:
    accepted = all_of(AcceptedRecord)[0]
    return exchanged(accepted, Failed(at=accepted.at, client=accepted.client, ticket=accepted.ticket, code="closed"))


def two_numbers() -> Records:
    shown = EventShown(at=HELD[-1].at, client="client0", epoch="E1", sequence_number=1, publish_id="x")
    return [*HELD, shown, changed(shown, sequence_number=2)]


def two_events() -> Records:
    shown = EventShown(at=HELD[-1].at, client="client0", epoch="E1", sequence_number=1, publish_id="x")
    return [*HELD, shown, changed(shown, publish_id="y")]


def forgotten_answer() -> Records:
    answer = next(one for one in all_of(AnswerGiven) if one.sequence_number is not None)
    return after(answer, changed(answer, sequence_number=None, code="answer_expired"))


def never_told() -> Records:
    published = all_of(Published, client="client0")[0]
    return after(published, changed(published, ticket=99))


def visible_too_soon() -> Records:
    given = all_of(FrameGiven, frame="Events")[0]
    return exchanged(given, changed(given, last=given.last + 5))


def visible_before_the_first_commit() -> Records:
    return [record for record in HELD if record is not all_of(EventsCommitted)[0]]


def stopped_too_soon() -> Records:
    return after(all_of(ServerKilled)[0], ServerStopped(at=all_of(ServerKilled)[0].at, unstored=2))


def given_to_the_old_one() -> Records:
    welcome = all_of(FrameGiven, frame="Welcome", client_id="client0")[1]
    return after(welcome, changed(welcome, frame="Pong", connection_id=1))


def taken_from_the_old_one() -> Records:
    welcome = all_of(FrameGiven, frame="Welcome", client_id="client0")[1]
    return after(welcome, PublishTaken(at=welcome.at, client_id="client0", connection_id=1, client_sequence=9))


def trespass_answered() -> Records:
    answered = all_of(TrespassAnswered)[0]
    return exchanged(answered, changed(answered, frame="PollAnswer", code=None))


def deaf_for_ever() -> Records:
    blocked = next(one for one in all_of(ReaderBlocked) if one.is_blocked)
    return exchanged(blocked, changed(blocked, at=blocked.at - 3 * NS_PER_S))


def two_websockets() -> Records:
    made = all_of(AttemptMade, transport=Transport.WEBSOCKET, client="client0")[-1]
    return after(made, changed(made, connection_id=made.connection_id + 100))


def sent_twice() -> Records:
    sent = all_of(PublishSent)[0]
    return after(sent, sent)


def sent_again_what_is_before_the_rejected() -> Records:
    sent = all_of(PublishSent)[0]
    rejected = RetryAsked(
        at=sent.at, client=sent.client, connection_id=sent.connection_id, client_sequence=sent.client_sequence + 1
    )
    return after(sent, rejected, sent)


def accused_server() -> Records:
    turned = all_of(StateTurned, client="client0")[-1]
    return after(turned, ConnectionLeft(at=turned.at, client="client0", connection_id=77, code=4400, message="what?"))


def accused_client() -> Records:
    served = all_of(ServerAlarmServed)[-1]
    return after(served, ConnectionRefused(at=served.at, client_id="client0", connection_id=77, code=4400))


def ended_by_itself() -> Records:
    return [*HELD, SessionOver(at=HELD[-1].at, client="client0", code=4403, message="go")]


def no_fallback() -> Records:
    waits = {"state": ClientState.WAITING, "is_carried": False}
    return [
        changed(record, **waits) if isinstance(record, StateTurned) and record.state.is_polling else record for record in HELD
    ]


def not_back() -> Records:
    rest = all_of(CameToRest)[0]
    turned = StateTurned(at=rest.at, client="client0", state=ClientState.POLLING, is_carried=True)
    return exchanged(rest, turned, rest)


def no_polls() -> Records:
    answered = all_of(RequestAnswered, request="poll", client="client1")[0]
    place = next(number for number, record in enumerate(HELD) if record is answered)
    return HELD[: place + 1] + [record for record in HELD[place + 1 :] if not isinstance(record, RequestMade | RequestAnswered)]


def other_roster(**fields: Any) -> Callable[[], Records]:
    def broken() -> Records:
        sample = next(one for one in all_of(RosterSampled) if one.place == "client0")
        return exchanged(sample, changed(sample, **fields))

    return broken


def cursor_untold() -> Records:
    return [record for record in HELD if not isinstance(record, CursorSeen)]


def cursor_told_and_never_ended() -> Records:
    seen, rest = all_of(CursorSeen)[0], all_of(CameToRest)[0]
    return exchanged(rest, changed(seen, at=rest.at, user_id="ben"), rest)


def expired_too_soon() -> Records:
    accepted = all_of(AcceptedRecord)[0]
    failed = Failed(at=accepted.at, client=accepted.client, ticket=accepted.ticket, code="expired", may_have_arrived=True)
    return exchanged(accepted, failed)


def expired_never() -> Records:
    turned = next(one for one in all_of(StateTurned, client="client0") if one.state is ClientState.WAITING)
    late = turned.at + 40 * NS_PER_S
    published = Published(at=turned.at, client="client0", ticket=99, event_type="CHAT")
    return [record for record in after(turned, published) if record.at <= turned.at] + [AlarmServed(at=late, client="client0")]


def token_outlived() -> Records:
    taken = all_of(TokenTaken)[0]
    return exchanged(taken, changed(taken, good_until=taken.at - 40 * NS_PER_S))


def token_cut_short() -> Records:
    taken = all_of(TokenTaken)[-1]
    number, client_id = taken.connection_id, taken.client_id
    return after(taken, ConnectionRefused(at=taken.at, client_id=client_id, connection_id=number, code=4401))


def too_many_publishes() -> Records:
    taken = all_of(PublishTaken)[0]
    return after(taken, *[taken] * (SERVER.publish_burst + 1))


def too_many_bytes() -> Records:
    taken = all_of(PublishTaken)[0]
    stored = all_of(EntryStored, client_id=taken.client_id, client_sequence=taken.client_sequence)[0]
    return exchanged(stored, changed(stored, data={"text": "x" * SERVER.publish_bytes_burst}))


def gone_before_the_grace() -> Records:
    left = next(one for one in all_of(SessionLeft) if one.connection_id == 1)
    return after(left, SessionDeparted(at=left.at, client_id="client0", session_id=left.session_id))


def gone_while_connected() -> Records:
    joined = all_of(SessionJoined)[-1]
    return after(joined, SessionDeparted(at=joined.at, client_id=joined.client_id, session_id=joined.session_id))


def no_heartbeat() -> Records:
    return [record for record in HELD if not (isinstance(record, FrameGiven) and record.frame == "Heartbeat")]


def no_heartbeat_after_a_block() -> Records:
    unblocked = all_of(ReaderBlocked, is_blocked=False)[0]
    withheld = all_of(FrameGiven, frame="Heartbeat", connection_id=unblocked.connection_id)
    return [record for record in HELD if not (record in withheld and record.at > unblocked.at)]


def tried_too_soon() -> Records:
    waiting = next(one for one in all_of(StateTurned, client="client1") if one.state is ClientState.POLLING)
    lost = ConnectionLost(at=waiting.at, client="client1", connection_id=500)
    turned = StateTurned(at=waiting.at, client="client1", state=ClientState.WAITING, is_carried=False)
    attempt = AttemptMade(at=waiting.at, client="client1", connection_id=501, transport=Transport.WEBSOCKET)
    return exchanged(waiting, lost, turned, attempt)


def tried_too_late() -> Records:
    waiting = next(one for one in all_of(StateTurned, client="client0") if one.state is ClientState.WAITING)
    return exchanged(waiting, changed(waiting, at=waiting.at - 40 * NS_PER_S))


def polled_too_soon_after_a_failure() -> Records:
    failed = all_of(ConnectionLost, request="poll")[-1]
    again = RequestMade(at=failed.at, client=failed.client, connection_id=failed.connection_id, request="poll")
    return after(failed, again)


def polled_too_soon_with_a_new_token() -> Records:
    failed = all_of(ConnectionLost, request="poll")[-1]
    opened = AttemptMade(at=failed.at, client=failed.client, connection_id=100, transport=Transport.POLLING)
    again = RequestMade(at=failed.at + 19 * NS_PER_S // 10, client=failed.client, connection_id=100, request="poll")
    return after(failed, opened, again)


def polled_after_the_policy_gave_up() -> Records:
    started, failed = HELD[0], all_of(ConnectionLost, request="poll")[-1]
    assert isinstance(started, TraceStarted)
    again = RequestMade(at=failed.at + 9 * NS_PER_S, client=failed.client, connection_id=failed.connection_id, request="poll")
    return [changed(started, policy=Fixed(seconds=1.0, attempts_max=1)), *after(failed, again)[1:]]


def published_too_soon_after_a_rejection() -> Records:
    sent = all_of(PublishSent)[0]
    rejected = RetryAsked(
        at=sent.at,
        client=sent.client,
        connection_id=sent.connection_id,
        client_sequence=sent.client_sequence,
        retry_after_ms=9000,
    )
    return after(sent, rejected, changed(sent, at=sent.at + 8 * NS_PER_S, connection_id=100))


def cursor_not_given() -> Records:
    return [record for record in HELD if not (isinstance(record, RosterGiven) and record.moved)]


def cursor_given_of_a_user_without_one() -> Records:
    given = next(record for record in all_of(RosterGiven, client_id="client1") if record.moved)
    return exchanged(given, changed(given, moved={**given.moved, "ben": {"x": 9}}))


def user_not_given() -> Records:
    answer = next(record for record in all_of(RosterGiven) if record.over_http)
    return exchanged(answer, changed(answer, users=("ben",)))


def user_not_told() -> Records:
    return [record for record in HELD if not (isinstance(record, PresenceSeen) and record.client == "client0")]


def cursor_told_that_nobody_sent() -> Records:
    seen = all_of(CursorSeen)[0]
    return exchanged(seen, changed(seen, data={"x": 9}))


def polled_too_soon() -> Records:
    answered = all_of(RequestAnswered, request="poll", has_more=False)[0]
    again = RequestMade(at=answered.at, client=answered.client, connection_id=answered.connection_id, request="poll")
    return after(answered, again)


def probed_too_soon() -> Records:
    turned = next(one for one in all_of(StateTurned) if one.state is ClientState.POLLING)
    attempt = AttemptMade(at=turned.at, client=turned.client, connection_id=501, transport=Transport.WEBSOCKET)
    return after(turned, attempt)


def no_probe() -> Records:
    turned = next(one for one in all_of(StateTurned) if one.state is ClientState.POLLING)
    return after(turned, AlarmServed(at=turned.at + 20 * NS_PER_S, client=turned.client))


def out_of_order() -> Records:
    accepted = all_of(AcceptedRecord)[0]
    failed = Failed(at=accepted.at, client=accepted.client, ticket=accepted.ticket, code="out_of_order", may_have_arrived=True)
    return exchanged(accepted, failed)


def event_lost_in_a_crash() -> Records:
    log = all_of(LogStored)[0]
    kept = [record for record in HELD if not isinstance(record, EntryStored | LogStored)]
    return [*kept, changed(log, head=0, snapshot_number=0)]


def other_content() -> Records:
    delivered = all_of(Delivered)[0]
    return exchanged(delivered, changed(delivered, data={**delivered.data, "note": "another"}))


def began_elsewhere() -> Records:
    started = all_of(ClientStarted)[0]
    return after(started, BeginningGiven(at=started.at, client="client0", epoch="E1", sequence_number=5))


BROKEN: list[tuple[str, str, Callable[[], Records]]] = [
    ("G1", "stream_order", gap_on_a_connection),
    ("G1", "as_stored", other_content),
    ("G2", "positions", wrong_position),
    ("G2", "positions", ack_ahead),
    ("G2", "no_silence", began_elsewhere),
    ("G3", "answered_for_another", accepted_as_another),
    ("G3", "answered_for_another", never_arrived_and_stored),
    ("G3", "one_number", two_numbers),
    ("G4", "forgotten", forgotten_answer),
    ("G4", "outcomes", never_told),
    ("G6", "honest_endpoints", accused_server),
    ("G6", "honest_endpoints", accused_client),
    ("G6", "honest_endpoints", ended_by_itself),
    ("G6", "fallback", no_fallback),
    ("G6", "everyone_is_back", not_back),
    ("G6", "polling_goes_on", no_polls),
    ("G6", "probes_go_on", no_probe),
    ("G6", "attempts_go_on", tried_too_late),
    ("G7", "patience_with_readers", deaf_for_ever),
    ("G7", "one_transport", two_websockets),
    ("G7", "expiries", expired_too_soon),
    ("G7", "expiries", expired_never),
    ("G7", "tokens", token_outlived),
    ("G7", "tokens", token_cut_short),
    ("G7", "rates", too_many_publishes),
    ("G7", "rates", too_many_bytes),
    ("G8", "in_order_in_the_end", out_of_order),
    ("G9", "ownership", given_to_the_old_one),
    ("G9", "ownership", taken_from_the_old_one),
    ("G9", "trespasses", trespass_answered),
    ("G10", "repeats", sent_twice),
    ("G10", "repeats", sent_again_what_is_before_the_rejected),
    ("G10", "policy_waits", tried_too_soon),
    ("G10", "failed_polls", polled_too_soon_after_a_failure),
    ("G10", "failed_polls", polled_too_soon_with_a_new_token),
    ("G10", "failed_polls", polled_after_the_policy_gave_up),
    ("G10", "rejections", published_too_soon_after_a_rejection),
    ("G10", "polls_and_probes", polled_too_soon),
    ("G10", "polls_and_probes", probed_too_soon),
    ("G11", "durable_first", visible_too_soon),
    ("G11", "durable_first", visible_before_the_first_commit),
    ("G11", "durable_first", stopped_too_soon),
    ("G11", "same_event", two_events),
    ("G11", "still_there", event_lost_in_a_crash),
    ("G12", "rosters", other_roster(users=("ann",))),
    ("G12", "rosters", other_roster(cursors={"ann": {"x": 9}})),
    ("G12", "rosters", cursor_untold),
    ("G12", "rosters", cursor_told_and_never_ended),
    ("G12", "rosters_given", cursor_not_given),
    ("G12", "rosters_given", cursor_given_of_a_user_without_one),
    ("G12", "rosters_given", user_not_given),
    ("G12", "rosters_reported", user_not_told),
    ("G12", "rosters_reported", cursor_told_that_nobody_sent),
    ("G12", "grace_periods", gone_before_the_grace),
    ("G12", "grace_periods", gone_while_connected),
    ("G13", "heartbeats", no_heartbeat),
    ("G13", "heartbeats", no_heartbeat_after_a_block),
]
ELSEWHERE = {"order", "once", "same_answer", "fold", "recovery", "bounds", "sender_fifo", "takeover", "manners", "durability"}
"""Checkers that `test_checkers` breaks, with `latest_values` and `tail`."""


RARE = {"tail", "forgotten", "one_number", "same_event", "in_order_in_the_end", "expiries"}
"""Checkers of what does not happen in this world; that they can fail is shown below."""


def test_the_trace_holds_and_exercises_every_checker() -> None:
    trace_index = index_of(Trace(HELD))
    assert {name: verdict.violations for name, verdict in check(Trace(HELD)).items() if verdict.violations} == {}
    for _, *checkers in CHECKERS.values():
        for checker in checkers:
            seen = list(checker(trace_index))
            assert seen or checker.__name__ in RARE, checker.__name__


@pytest.mark.parametrize(("guarantee", "checker", "broken"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_checker_sees_what_is_broken(guarantee: str, checker: str, broken: Callable[[], Records]) -> None:
    _, *checkers = CHECKERS[guarantee]
    judge = next(each for each in checkers if each.__name__ == checker)
    assert any(finding is not None for finding in judge(index_of(Trace(broken()))))


def test_every_checker_is_broken_somewhere() -> None:
    names = {checker.__name__ for _, *checkers in CHECKERS.values() for checker in checkers}
    assert names - ELSEWHERE - {"latest_values", "tail"} == {checker for _, checker, _ in BROKEN if checker != "no_silence"} | {
        "no_silence"
    }
