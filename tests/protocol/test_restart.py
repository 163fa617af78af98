"""A session that goes on from what was saved before its program restarted."""

import msgspec
import pytest

from reference.protocol import frames
from reference.protocol.actions import Save
from reference.protocol.client.outcomes import PublishFailed
from reference.protocol.client.publishing import Outbox, Queued
from reference.protocol.client.session import ClientSession
from reference.protocol.config import ClientConfig
from reference.protocol.policies.reconnect import FullJitter
from reference.protocol.saved_session import (
    Change,
    GenerationSaved,
    NumberSaved,
    PublishForgotten,
    PublishSaved,
    SavedPublish,
    SavedSession,
)
from reference.protocol.states import ClientState

from .machines import EPOCH, EXAMPLES, Always, seconds, sent, welcome

SENT = SavedPublish(3, "CHAT", {"n": 1}, age_ms=2000, client_sequence=7)
QUEUED = SavedPublish(5, "CHAT", {"n": 2}, age_ms=1000)
SAVED = SavedSession(client_id="client-1", generation=4, next_sequence=8, epoch=EPOCH, last=5, publishes=(SENT, QUEUED))
NOW = seconds(100)


def restored(saved: SavedSession = SAVED, **settings: object) -> ClientSession:
    """A session that was restored and has begun to connect."""
    session = ClientSession(
        "client-1",
        config=ClientConfig(**settings),  # type: ignore[arg-type] # as the fields want them
        policy=FullJitter(),
        random_source=Always(0.5),
        saves=True,
    )
    session.restore(saved, NOW)
    session.start(NOW)
    session.take_actions()
    return session


def failures(session: ClientSession) -> list[PublishFailed]:
    return [outcome for outcome in session.take_outcomes() if isinstance(outcome, PublishFailed)]


@pytest.mark.parametrize(("saved", "epoch", "last"), [(SAVED, EPOCH, 5), (SavedSession(client_id="client-1"), None, None)])
def test_the_first_connection_goes_on_from_the_saved_position_and_generation(
    saved: SavedSession, epoch: str | None, last: int | None
) -> None:
    session = restored(saved)
    session.connection_opened(1, NOW)
    (hello,) = sent(session.take_actions(), 1)
    assert isinstance(hello, frames.Hello)
    assert (hello.generation, hello.epoch, hello.after_sequence) == (saved.generation + 1, epoch, last)


def test_saved_publishes_are_sent_under_their_numbers_and_new_ones_follow() -> None:
    session = restored()
    session.connection_opened(1, NOW)
    session.take_actions()
    session.receive_frame(1, welcome(outcome="resumed", last_client_sequence=6), NOW)
    assert [frame for frame in sent(session.take_actions(), 1) if isinstance(frame, frames.Publish)] == [
        frames.Publish(client_sequence=7, event_type="CHAT", data={"n": 1}, after=0),
        frames.Publish(client_sequence=8, event_type="CHAT", data={"n": 2}),
    ]
    assert session.publish("CHAT", {"n": 3}, NOW) == 6, "its ticket follows on the saved ones"
    assert sent(session.take_actions(), 1) == [frames.Publish(client_sequence=9, event_type="CHAT", data={"n": 3})]


def test_saved_publishes_leave_over_polling_too() -> None:
    session = restored(fallback_after_failures=1)
    session.connection_lost(1, None, NOW)
    session.receive_frame(2, msgspec.structs.replace(EXAMPLES[frames.PollAnswer], outcome="resumed"), NOW)
    (request,) = [frame for frame in sent(session.take_actions(), 2) if isinstance(frame, frames.PublishRequest)]
    assert [message.client_sequence for message in request.messages] == [7, 8]


def test_saved_publishes_count_with_their_bytes_and_their_age() -> None:
    session = restored(outbox_age_max_s=60, connect_timeout_s=300)
    held = {each.what: each.length for each in session.statistics().held}
    assert (held["messages in the outbox"], held["unanswered publishes"]) == (2, 1)
    assert held["bytes in the outbox"] == 2 * (len('{"n":1}') + len("CHAT") + 160)
    failed = []
    for at in (seconds(158) - 1, seconds(158), seconds(159) - 1, seconds(159)):
        session.handle_timeout(at)
        failed.append([(each.ticket, each.may_have_arrived) for each in failures(session)])
    assert failed == [[], [(3, True)], [], [(5, False)]], "what was sent before the restart may have arrived"


def test_one_copy_of_what_was_sent_is_unanswered() -> None:
    outbox = Outbox(9, 900, 9, "reject_new")
    outbox.restore(Queued(3, "CHAT", {}, 10, 0, client_sequence=7))
    refused = outbox.refused(7)
    assert refused is not None
    assert refused.copies_out == 0


@pytest.mark.parametrize("is_perhaps_lost", [False, True])
def test_what_a_lost_history_may_hold_is_known_after_a_restart(is_perhaps_lost: bool) -> None:
    saved = SavedPublish(3, "CHAT", {}, age_ms=0, client_sequence=7, is_perhaps_lost=is_perhaps_lost)
    session = restored(SavedSession(client_id="client-1", publishes=(saved,)))
    session.connection_opened(1, NOW)
    session.receive_frame(1, welcome(), NOW)
    session.receive_frame(1, frames.Rejected(client_sequence=7, code="invalid_event", message="no"), NOW)
    assert [each.may_have_arrived for each in failures(session)] == [is_perhaps_lost]


def test_each_change_is_saved_before_what_depends_on_it() -> None:
    session = ClientSession("client-1", config=ClientConfig(), policy=FullJitter(), random_source=Always(0.5), saves=True)

    def saved() -> list[Change]:
        return [action.change for action in session.take_actions() if isinstance(action, Save)]

    session.start(0)
    session.connection_opened(1, 0)
    session.receive_frame(1, welcome(), 0)
    assert saved() == [GenerationSaved(1)]
    for n in (1, 2):
        session.publish("CHAT", {"n": n}, 0)
        assert saved() == [PublishSaved(n, "CHAT", {"n": n}), NumberSaved(n, n)]
    session.receive_frame(1, frames.Accepted(client_sequence=1, sequence_number=1), 0)
    assert saved() == [PublishForgotten(1)]
    lost = NumberSaved(2, 2, is_perhaps_lost=True)
    for connection_id, epoch, changes in ((2, "epoch-2", [lost]), (3, "epoch-3", [])):
        session.connection_lost(connection_id - 1, None, 0)
        session.handle_timeout(session.next_attempt_at or 0)
        session.connection_opened(connection_id, 0)
        session.receive_frame(connection_id, welcome(outcome="reset", reason="epoch", epoch=epoch), 0)
        assert saved() == [GenerationSaved(connection_id), *changes], "once"


def test_a_publish_that_is_put_off_in_life_after_life_reaches_its_limit() -> None:
    """It began with no tries after each restart, and a publish that no server takes was tried for ever."""
    put_off = frames.Rejected(client_sequence=7, code="overloaded", message="later", retryable=True)
    publish, codes = SENT, []
    for _ in range(4):
        session = restored(SavedSession(client_id="client-1", next_sequence=8, publishes=(publish,)), retry_limit=3)
        session.connection_opened(1, NOW)
        session.receive_frame(1, welcome(), NOW)
        session.take_actions()
        session.receive_frame(1, put_off, NOW)
        for action in session.take_actions():
            if isinstance(action, Save) and isinstance(action.change, NumberSaved):
                publish = msgspec.structs.replace(publish, tries=action.change.tries)
        codes.append([each.code for each in failures(session)])
    assert publish.tries == 3
    assert codes == [[], [], [], ["overloaded"]]


def test_only_a_new_session_of_the_same_client_is_restored() -> None:
    with pytest.raises(AssertionError, match=r"^only before the start$"):
        restored().restore(SAVED, NOW)
    with pytest.raises(AssertionError, match=r"^it is the same client that goes on$"):
        restored(SavedSession(client_id="client-2"))
    assert restored().state is ClientState.CONNECTING


def test_a_session_that_ends_says_that_its_publishes_are_saved() -> None:
    session = restored()
    session.take_outcomes()
    session.close(NOW)
    reason = "the session ended: closed by the application; it is saved and will be sent after a restart of the program"
    assert [each.message for each in failures(session)] == [reason] * 2
