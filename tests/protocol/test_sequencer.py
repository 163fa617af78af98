"""The sequencer: every publish once, one answer for all its copies, and none before the events that it depends on are durable."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.protocol.config import ServerConfig
from reference.protocol.errors import RejectCode
from reference.protocol.events import DEFAULT_REGISTRY, Event
from reference.protocol.frames import Accepted, Publish, Rejected
from reference.protocol.records import ANSWERS_KEPT, Append, RunState, Snapshot, StoredClient
from reference.protocol.server.sequencer import Reply, Sequencer

from .machines import seconds, stored_run


def sequencer(stored: dict[str, Any] | None = None, **limits: Any) -> Sequencer:
    return Sequencer(stored_run(**(stored or {})), ServerConfig(**limits), DEFAULT_REGISTRY)


def chat(number: int, after: int | None = None) -> Publish:
    return Publish(client_sequence=number, event_type="CHAT", data={"n": number}, after=after)


def say(run: Sequencer, publish: Publish, client: str = "c1", connection: int = 1, now: int = 0) -> list[Reply]:
    run.publish(client, f"user of {client}", publish, connection, now)
    return run.take_replies()


def store(run: Sequencer) -> list[Reply]:
    """Make everything durable; what may be said then."""
    append = run.take_append()
    if append is not None:
        run.appended(append.entries[-1].sequence_number)
    return run.take_replies()


def code_of(replies: list[Reply]) -> tuple[str, bool]:
    (reply,) = replies
    assert isinstance(reply.answer, Rejected)
    return reply.answer.code, reply.answer.retryable


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(("c1", "c2")), st.integers(1, 8)),
        st.tuples(st.just("invalid"), st.sampled_from(("c1", "c2")), st.integers(1, 8)),
        st.tuples(st.just("hand out"), st.just(""), st.just(0)),
        st.tuples(st.just("durable"), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_publish_is_numbered_once_and_all_its_copies_get_one_answer(steps: list[tuple[str, str, int]]) -> None:
    run = sequencer()
    handed_out: list[Append] = []
    durable = 0
    answers: dict[tuple[str, int], Accepted | Rejected] = {}
    clients = {1: "c1", 2: "c2"}
    numbered: list[tuple[str, int]] = []
    taken = {"c1": 0, "c2": 0}
    for step, client, number in steps:
        if step == "hand out":
            append = run.take_append()
            if append is not None:
                handed_out.append(append)
                numbered += [(entry.client_id, entry.client_sequence) for entry in append.entries]
                assert append.entries[-1].sequence_number == len(numbered)
        elif step == "durable" and handed_out:
            durable = handed_out.pop(0).entries[-1].sequence_number
            run.appended(durable)
        elif step in ("say", "invalid"):
            if number == taken[client] + 1:
                taken[client] = number
            kind = "CHAT" if step == "say" else "GRAFT"  # without a position
            publish = Publish(client_sequence=number, event_type=kind, data={})
            run.publish(client, f"user of {client}", publish, int(client[1]), 0)
            assert run.last_of(client) == taken[client]
        for reply in run.take_replies():
            answer = reply.answer
            if isinstance(answer, Rejected) and answer.retryable:
                assert answer.code == RejectCode.OUT_OF_ORDER
                assert answer.client_sequence > taken[clients[reply.connection_id]] + 1
                continue
            first = answers.setdefault((clients[reply.connection_id], answer.client_sequence), answer)
            if isinstance(answer, Accepted):
                assert isinstance(first, Accepted)
                assert answer.sequence_number == first.sequence_number <= durable
                assert answer.duplicate is (first is not answer)
            else:
                assert answer == first
    assert len(set(numbered)) == len(numbered), "nothing is numbered twice"
    for client in ("c1", "c2"):
        own = [number for name, number in numbered if name == client]
        assert own == sorted(own), "a client's publishes keep their order"


def test_the_answer_waits_for_the_store_and_a_copy_of_what_waits_is_answered_with_it() -> None:
    run = sequencer()
    assert say(run, chat(1), connection=1) == []
    assert say(run, chat(1), connection=2) == []
    assert say(run, chat(1), connection=2) == []
    assert run.events_pending == 1
    first = Accepted(client_sequence=1, sequence_number=1)
    again = Accepted(client_sequence=1, sequence_number=1, duplicate=True)
    assert store(run) == [Reply(1, first), Reply(2, again)]
    assert say(run, chat(1), connection=3) == [Reply(3, again)]
    assert run.events_pending == 0
    assert run.take_append() is None


def test_a_rejection_waits_for_what_the_run_took_before_it() -> None:
    run = sequencer()
    malformed = Publish(client_sequence=1, event_type="DANCE", data={})
    assert code_of(say(run, malformed, "c2")) == (RejectCode.UNKNOWN_EVENT_TYPE, False)
    say(run, chat(1))
    assert say(run, Publish(client_sequence=2, event_type="DANCE", data={})) == []
    assert say(run, chat(3)) == []
    assert [type(reply.answer) for reply in store(run)] == [Accepted, Rejected, Accepted]


def test_what_is_partly_durable_is_partly_answered() -> None:
    run = sequencer()
    for number in (1, 2):
        say(run, chat(number))
    assert run.take_append() is not None
    say(run, chat(3))
    assert run.take_append() is not None
    run.appended(2)
    assert [reply.answer.client_sequence for reply in run.take_replies()] == [1, 2]
    run.appended(3)
    assert [reply.answer.client_sequence for reply in run.take_replies()] == [3]


def test_a_hole_is_waited_for_unless_it_was_given_up() -> None:
    run = sequencer()
    say(run, chat(1))
    assert code_of(say(run, chat(4))) == (RejectCode.OUT_OF_ORDER, True)
    assert code_of(say(run, chat(4, after=2))) == (RejectCode.OUT_OF_ORDER, True)
    assert say(run, chat(4, after=1)) == []
    store(run)
    assert code_of(say(run, chat(3))) == (RejectCode.ANSWER_EXPIRED, False), "a late copy of what was given up does nothing"
    assert say(run, chat(9, after=0)) == []
    assert run.last_of("c1") == 9


def test_only_the_newest_answers_are_kept() -> None:
    run = sequencer()
    for number in range(1, ANSWERS_KEPT + 2):
        say(run, chat(number))
        store(run)
    assert code_of(say(run, chat(1))) == (RejectCode.ANSWER_EXPIRED, False)
    (reply,) = say(run, chat(2))
    assert reply.answer == Accepted(client_sequence=2, sequence_number=2, duplicate=True)


def test_a_restarted_server_remembers() -> None:
    memory = StoredClient("c1", "user of c1", 7, ((6, 11), (7, 12)))
    run = sequencer({"head": 12, "clients": (memory,), "snapshot": stored_run().snapshot, "events": ()})
    assert (run.user_of("c1"), run.user_of("c2")) == ("user of c1", None)
    (reply,) = say(run, chat(7))
    assert reply.answer == Accepted(client_sequence=7, sequence_number=12, duplicate=True)
    say(run, chat(8))
    assert [reply.answer for reply in store(run)] == [Accepted(client_sequence=8, sequence_number=13)]


def test_forgetting_a_connection_looks_at_what_its_own_client_waits_for() -> None:
    """It looked through all that waited for the store, once for each connection that ended."""
    looked = 0

    class Counted(list[int]):
        def __contains__(self, connection: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(connection)

    run = sequencer()
    for client in range(50):
        say(run, chat(1), f"c{client}", connection=client)
    for pending in run._pending:
        pending.reply_to = Counted(pending.reply_to)
    for client in range(50):
        run.forget_connection(client, f"c{client}")
    assert looked == 50
    assert store(run) == []


@pytest.mark.parametrize(
    ("limits", "said_before", "code"),
    [
        ({"unanswered_max": 2}, 2, RejectCode.TOO_MANY_UNANSWERED),
        ({"appends_pending_max": 3}, 3, RejectCode.OVERLOADED),
        ({"publish_burst": 2, "publishes_per_s": 1}, 2, RejectCode.RATE),
    ],
)
def test_a_limit_puts_off_and_uses_no_number_up(limits: dict[str, Any], said_before: int, code: RejectCode) -> None:
    run = sequencer(**limits)
    for number in range(1, said_before + 1):
        assert say(run, chat(number)) == []
    assert code_of(say(run, chat(said_before + 1))) == (code, True)
    assert run.last_of("c1") == said_before
    store(run)
    assert say(run, chat(said_before + 1), now=seconds(1)) == []


def test_a_client_that_publishes_too_fast_gets_a_time_to_wait() -> None:
    run = sequencer(publish_burst=1, publishes_per_s=4)
    say(run, chat(1))
    (reply,) = say(run, chat(2))
    assert isinstance(reply.answer, Rejected)
    assert reply.answer.retry_after_ms == 250
    assert say(run, chat(2), now=seconds(0.25)) == []
    assert say(run, chat(1), client="c2") == [], "each client has an allowance of its own"


def large(number: int, data_bytes: int) -> Publish:
    """Its data have so many bytes of JSON."""
    return Publish(client_sequence=number, event_type="CHAT", data={"text": "x" * (data_bytes - len('{"text":""}'))})


def test_bytes_are_limited_and_not_only_publishes() -> None:
    run = sequencer(frame_bytes_max=1024, publish_bytes_burst=2048, publish_bytes_per_s=1000)
    assert [say(run, large(number, 1000)) for number in (1, 2)] == [[], []]
    (reply,) = say(run, large(3, 1000))
    assert isinstance(reply.answer, Rejected)
    assert (reply.answer.code, reply.answer.retryable, reply.answer.retry_after_ms) == ("rate", True, 952)
    assert reply.answer.message == "more than 1000 bytes of publishes per second"
    assert say(run, large(3, 48)) == [], "a small one fits into what is left"
    assert say(run, large(4, 1000), now=seconds(1)) == []
    assert say(run, large(1, 1000), client="c2") == [], "each client has an allowance of its own"


def test_the_largest_publish_passes_and_a_larger_one_is_refused_for_good() -> None:
    run = sequencer(frame_bytes_max=1024, publish_bytes_burst=1024, publish_bytes_per_s=1)
    assert say(run, large(1, 1024)) == []
    assert code_of(say(run, large(2, 1024))) == (RejectCode.RATE, True)
    store(run)
    assert code_of(say(run, large(2, 5000), now=seconds(2000))) == (RejectCode.INVALID_EVENT, False)


def test_a_client_is_not_put_off_by_bytes_before_its_window_is_full_of_the_largest_events() -> None:
    config = ServerConfig()
    assert config.publish_bytes_burst >= config.unanswered_max * config.frame_bytes_max


@pytest.mark.parametrize(
    ("limits", "user", "message"),
    [
        ({"clients_per_run_max": 1}, "bob", "client limit reached: 1 clients have published in this run"),
        ({"clients_per_user_max": 1}, "ann", "1 clients of this user have published in this run, the limit"),
    ],
)
def test_a_run_remembers_only_so_many_clients(limits: dict[str, Any], user: str, message: str) -> None:
    run = sequencer(**limits)
    run.publish("c1", "ann", chat(1), 1, 0)
    run.publish("c2", user, chat(1), 2, 0)
    rejected = Rejected(client_sequence=1, code=RejectCode.TOO_MANY_CLIENTS, message=message)
    assert run.take_replies() == [Reply(2, rejected)]
    assert run.last_of("c2") == 0
    run.publish("c1", "ann", chat(2), 1, 0)
    assert run.take_replies() == []


def test_a_full_state_rejects_for_good_and_goes_on() -> None:
    run = sequencer(state_entries_max=1)
    say(run, Publish(client_sequence=1, event_type="FLAG", data={}))
    store(run)
    assert code_of(say(run, Publish(client_sequence=2, event_type="FLAG", data={}))) == (RejectCode.STATE_FULL, False)
    assert say(run, chat(3)) == []


def test_a_snapshot_falls_due_in_the_batch_that_reaches_it_and_covers_what_is_trimmed() -> None:
    run = sequencer(snapshot_interval_events=3, events_kept_max=4, appends_pending_max=4)
    oldest, snapshots = [], []
    for number in range(1, 10):
        say(run, chat(number))
        append = run.take_append()
        assert append is not None
        run.appended(number)
        oldest.append(append.oldest)
        snapshots.append(append.snapshot and append.snapshot.sequence_number)
    assert snapshots == [None, None, 3, None, None, 6, None, None, 9]
    assert oldest == [1, 1, 1, 1, 2, 3, 4, 5, 6]


# In which words, and with which waits.


@pytest.mark.parametrize(
    ("limits", "before", "publish", "message", "retry_after_ms"),
    [
        ({}, 1, chat(4), "publish 3 comes first; the last one was 1", None),
        ({}, 1, chat(4, after=2), "publish 2 comes first; the last one was 1", None),
        ({"unanswered_max": 2}, 2, chat(3), "2 publishes wait for their answers", None),
        ({"appends_pending_max": 2}, 2, chat(3), "2 events wait to be stored", 1000),
        ({"publish_burst": 2, "publishes_per_s": 0.5}, 2, chat(3), "more than 0.5 publishes per second", 2000),
    ],
)
def test_a_retryable_rejection_has_a_reason(
    limits: dict[str, Any], before: int, publish: Publish, message: str, retry_after_ms: int | None
) -> None:
    run = sequencer(**limits)
    for number in range(1, before + 1):
        say(run, chat(number))
    (reply,) = say(run, publish, connection=5)
    assert reply.connection_id == 5
    assert isinstance(reply.answer, Rejected)
    assert (reply.answer.client_sequence, reply.answer.message) == (publish.client_sequence, message)
    assert (reply.answer.retryable, reply.answer.retry_after_ms) == (True, retry_after_ms)


@pytest.mark.parametrize(
    ("publish", "code", "message"),
    [
        (Publish(client_sequence=1, event_type="DANCE", data={}), "unknown_event_type", "unknown event type 'DANCE'"),
        (
            Publish(client_sequence=1, event_type="GRAFT", data={}),
            "invalid_event",
            "GRAFT needs data.position, a string of 1 to 256 characters",
        ),
        (
            Publish(client_sequence=1, event_type="CHAT", data={"text": "x" * 1014}),
            "invalid_event",
            "data of 1025 bytes; the limit is 1024",
        ),
        (
            Publish(client_sequence=1, event_type="FLAG", data={"n": 1}),
            "state_full",
            "the run's state is full: 0 entries, 36 bytes",
        ),
    ],
)
def test_a_final_rejection_has_a_reason(publish: Publish, code: str, message: str) -> None:
    run = sequencer(frame_bytes_max=1024, state_bytes_max=40)
    (reply,) = say(run, publish, connection=5)
    assert reply == Reply(5, Rejected(client_sequence=1, code=code, message=message))
    assert say(run, publish, connection=6) == [Reply(6, reply.answer)], "a copy gets the same"
    fits = Publish(client_sequence=2, event_type="CHAT", data={"text": "x" * 1013})
    assert say(run, fits) == [], "just as much as is allowed"


def test_clients_that_a_restarted_server_remembers_count() -> None:
    memory = StoredClient("c1", "ann", 1, ())
    run = sequencer({"clients": (memory,)}, clients_per_user_max=2)
    assert run.publishers == 1
    for client, expected in (("c2", 0), ("c3", 1)):
        run.publish(client, "ann", chat(1), 1, 0)
        assert len(run.take_replies()) == expected
    run.publish("c4", "bob", chat(1), 1, 0)
    assert run.take_replies() == [], "another user's"


def test_a_copy_whose_answer_is_no_longer_kept_is_rejected() -> None:
    run = sequencer({"clients": (StoredClient("c1", "user of c1", 9, ((9, 3),)),), "head": 3})
    message = "publish 4 is settled, or was given up, and its answer is no longer kept"
    assert say(run, chat(4), connection=8) == [
        Reply(8, Rejected(client_sequence=4, code=RejectCode.ANSWER_EXPIRED, message=message))
    ]


def test_a_connection_that_is_gone_takes_only_its_own_answer_along() -> None:
    run = sequencer()
    for connection in (1, 2):
        say(run, chat(1), connection=connection)
    run.forget_connection(1, "c1")
    run.forget_connection(7, "c1")
    assert store(run) == [Reply(2, Accepted(client_sequence=1, sequence_number=1))], (
        "the first that is left gets the first answer"
    )


def test_what_could_grow_is_counted_with_its_limit() -> None:
    run = sequencer(appends_pending_max=500, clients_per_run_max=40, unanswered_max=30, connections_per_run_max=20)
    for number in (1, 2):
        say(run, chat(number), connection=1)
    say(run, chat(2), connection=2)
    say(run, chat(1), "c2", connection=3)
    held = {each.what: (each.length, each.limit) for each in run.held()}
    assert held == {
        "events that are not durable": (3, 500),
        "clients that published": (2, 40),
        "users whose clients published": (2, 40),
        "clients that the store is to forget": (0, 40),
        "answers kept for one client": (0, 64),
        "pending publishes of one client": (2, 30),
        "connections that wait for one answer": (2, 20),
    }
    store(run)
    held = {each.what: each.length for each in run.held()}
    assert (held["events that are not durable"], held["answers kept for one client"]) == (0, 2)
    assert [each.length for each in sequencer().held()] == [0] * 7


def test_an_event_says_who_when_and_whether_it_is_critical() -> None:
    run = sequencer()
    run.publish("c1", "ann", Publish(client_sequence=1, event_type="FLAG", data={"n": 1}), 1, seconds(12.3456))
    run.publish("c1", "ann", chat(2), 1, seconds(13))
    append = run.take_append()
    assert append is not None
    assert (append.run_id, append.epoch) == ("run-1", "epoch-1")
    first, second = (entry.event for entry in append.entries)
    assert first == Event("FLAG", "ann", 12_345, 1, {"n": 1}, is_critical=True)
    assert second == Event("CHAT", "ann", 13_000, 2, {"n": 2}, is_critical=False)
    assert [(entry.client_id, entry.client_sequence) for entry in append.entries] == [("c1", 1), ("c1", 2)]


def test_a_restarted_server_folds_on_from_what_is_stored() -> None:
    def flag(number: int) -> Event:
        return Event("FLAG", "ann", 0, number, {"n": number}, True)

    stored = {"head": 3, "events": (flag(1), flag(2), flag(3)), "snapshot": Snapshot(2, RunState(flags=({"n": 1}, {"n": 2})))}
    run = sequencer(stored, snapshot_interval_events=2)
    say(run, Publish(client_sequence=1, event_type="FLAG", data={"n": 4}))
    append = run.take_append()
    assert append is not None
    assert append.snapshot == Snapshot(4, RunState(flags=({"n": 1}, {"n": 2}, {"n": 3}, {"n": 4})))


def test_clients_are_restored_when_they_publish_and_not_before() -> None:
    """A run may have ten thousand of them, with 64 answers each: to restore them all at once would hold everybody up."""
    clients = tuple(StoredClient(f"c{n}", f"user of c{n}", 2, ((1, 2 * n - 1), (2, 2 * n))) for n in range(1, 4))
    run = sequencer({"clients": clients, "head": 6}, clients_per_run_max=3)
    assert (run.publishers, run.user_of("c2"), run.last_of("c2"), run.last_of("c9")) == (3, "user of c2", 2, 0)
    assert list(run._publishers) == []
    assert say(run, chat(2), "c2") == [Reply(1, Accepted(client_sequence=2, sequence_number=4, duplicate=True))]
    assert list(run._publishers) == ["c2"]
    assert code_of(say(run, chat(1), "c4")) == ("too_many_clients", False)
    assert run.publishers == 3


DAY = 86_400


@pytest.mark.parametrize("limits", [{"clients_per_run_max": 3}, {"clients_per_user_max": 3}])
@pytest.mark.parametrize("restart", [False, True])
def test_a_client_id_that_was_not_used_for_long_makes_room_for_a_new_one(limits: dict[str, int], restart: bool) -> None:
    """Each `connect` draws a client id: after a thousand of them a user could never publish again."""
    limits |= {"clients_kept_s": 2 * DAY}
    run = sequencer(**limits)
    for day, client in enumerate(("c1", "c2", "c3")):
        run.publish(client, "ann", chat(1), 1, seconds(day * DAY))
        store(run)
    if restart:
        clients = tuple(
            StoredClient(client, "ann", 1, ((1, number),), used_at=(number - 1) * DAY * 1000)
            for number, client in enumerate(("c1", "c2", "c3"), start=1)
        )
        run = sequencer({"clients": clients, "head": 3}, **limits)
    run.publish("c4", "ann", chat(1), 1, seconds(2 * DAY) - 1)
    assert code_of(run.take_replies()) == ("too_many_clients", False)
    run.publish("c2", "ann", chat(2), 1, seconds(2.5 * DAY))  # used again
    run.publish("c4", "ann", chat(1), 1, seconds(2.5 * DAY))
    append = run.take_append()
    assert append is not None
    assert append.forgotten == ("c1",)
    assert [entry.client_id for entry in append.entries] == ["c2", "c4"]
    assert [run.user_of(client) for client in ("c1", "c2", "c3", "c4")] == [None, "ann", "ann", "ann"]
    run.publish("c5", "ann", chat(1), 1, seconds(3.9 * DAY))
    assert code_of(run.take_replies()) == ("too_many_clients", False)
    run.publish("c5", "ann", chat(1), 1, seconds(4 * DAY))  # c3's time is over, c2's is not
    append = run.take_append()
    assert append is not None
    assert append.forgotten == ("c3",)


def test_a_client_id_whose_publish_waits_for_the_store_is_not_forgotten() -> None:
    run = sequencer(clients_per_run_max=1, clients_kept_s=2 * DAY)
    say(run, chat(1), "c1")
    assert code_of(say(run, chat(1), "c2", now=seconds(5 * DAY))) == ("too_many_clients", False)
    store(run)
    assert say(run, chat(1), "c2", now=seconds(5 * DAY)) == []


def test_those_of_the_same_user_are_forgotten_first() -> None:
    run = sequencer(clients_per_user_max=1, clients_kept_s=2 * DAY)
    for number in range(200):
        say(run, chat(1), f"c{number}")
    store(run)
    run.publish("new", "user of c150", chat(1), 1, seconds(3 * DAY))
    append = run.take_append()
    assert append is not None
    assert len(append.forgotten) == 100
    assert append.forgotten[0] == "c150"
    held = {each.what: each.length for each in run.held()}
    assert held["clients that published"] == held["users whose clients published"] == 101


def test_a_client_none_of_whose_publishes_was_taken_takes_no_place() -> None:
    run = sequencer(clients_per_run_max=1)
    for number in range(5):
        assert code_of(say(run, chat(7), f"mallory{number}")) == ("out_of_order", True)
        assert (run.publishers, run.user_of(f"mallory{number}")) == (0, None)
    assert say(run, chat(1), "ann") == []
    assert len(store(run)) == 1


def test_the_store_is_to_forget_only_what_it_knows() -> None:
    """Else clients whose publishes are all refused would fill the list without an end, for nothing is stored."""
    run = sequencer(clients_per_run_max=2, clients_kept_s=2 * DAY)
    unknown = Publish(client_sequence=1, event_type="NO_SUCH", data={})
    say(run, chat(1), "c0")
    store(run)
    for number in range(1, 20):
        say(run, unknown, f"c{number}", now=seconds(3 * DAY * number))
    forgotten = next(each for each in run.held() if "forget" in each.what)
    assert (run.publishers, forgotten.length) == (2, 1)


def test_the_store_forgets_a_client_that_has_only_repeated_itself_since_the_run_was_loaded() -> None:
    stored = StoredClient("c1", "ann", 1, ((1, 1),), used_at=0)
    run = sequencer({"clients": (stored,), "head": 1}, clients_per_run_max=1, clients_kept_s=2 * DAY)
    say(run, chat(1), "c1", now=seconds(DAY))
    assert code_of(say(run, chat(1), "c2", now=seconds(3 * DAY) - 1)) == ("too_many_clients", False)
    say(run, chat(1), "c2", now=seconds(3 * DAY))
    append = run.take_append()
    assert append is not None
    assert append.forgotten == ("c1",)
