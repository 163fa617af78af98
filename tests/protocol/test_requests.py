"""The run over HTTP: the answers to polls and their times, the sessions that polls keep, and the answers to publish requests."""

from typing import Any

import pytest

from reference.protocol import frames
from reference.protocol.actions import Close
from reference.protocol.config import ServerConfig
from reference.protocol.errors import CloseCode
from reference.protocol.records import RunState, Snapshot, StoredClient
from reference.protocol.server.connection import Identity
from reference.protocol.server.observations import Answered, FellBack, Reported
from reference.protocol.server.run import Run
from reference.protocol.states import Transport
from reference.protocol.timers import NS_PER_MS

from . import machines
from .machines import EPOCH, chat, closes, go_live, seconds, sent, stored_run


class Site:
    """A run with two events and a snapshot of the first; requests come as connections 1, 2, 3, ... of `user`."""

    def __init__(self, *, stored: dict[str, object] | None = None, **settings: object) -> None:
        kept: dict[str, object] = {"head": 2, "events": (chat(1), chat(2)), "snapshot": Snapshot(1, RunState())}
        self.run = Run(stored_run(**(kept | (stored or {}))), config=ServerConfig(**settings), now=0)  # type: ignore[arg-type]
        self.connections = 0

    def ask(self, request: frames.Frame, second: float = 0, user: str = "ann") -> list[frames.Frame]:
        """Send a request; what is answered at once."""
        self.connections += 1
        number, now = self.connections, seconds(second)
        self.run.connection_opened(number, Transport.POLLING, Identity(user), f"session-{number}", now)
        self.run.receive_frame(number, request, now)
        self.actions = self.run.take_actions()
        return sent(self.actions, number)

    def publish(self) -> None:
        """Somebody publishes over WebSocket, and it is durable."""
        self.run.receive_frame(
            50, frames.Publish(client_sequence=self.run.last_client_sequence("w") + 1, event_type="CHAT", data={}), 0
        )
        append = self.run.events_to_append()
        assert append is not None
        self.run.handle_appended(append, 0)


def poll_answer(**fields: object) -> frames.PollAnswer:
    return machines.poll_answer(**({"outcome": "resumed", "head": 2, "after_sequence": 2, "active_users": ()} | fields))


def test_a_poll_without_a_position_is_given_the_snapshot_and_what_follows() -> None:
    site = Site()
    answer = site.ask(frames.PollRequest(), 3)
    snapshot = frames.SnapshotFrame(1, RunState())
    assert answer == [poll_answer(outcome="fresh", after_sequence=1, events=(chat(2),), snapshot=snapshot, server_time=3000)]
    assert site.run.connections == 0, "a request is over with its answer"
    assert site.run.active_users == (), "without a client id nobody is present"
    assert site.run.take_observations() == []


def test_a_poll_goes_on_from_its_position() -> None:
    site = Site()
    assert site.ask(frames.PollRequest(epoch=EPOCH, after_sequence=1)) == [poll_answer(after_sequence=1, events=(chat(2),))]
    assert site.ask(frames.PollRequest(after_sequence=2)) == [poll_answer()], "without an epoch the current one is meant"
    (answer,) = site.ask(frames.PollRequest(epoch="epoch-0", after_sequence=2))
    assert isinstance(answer, frames.PollAnswer)
    assert (answer.outcome, answer.reason) == ("reset", "epoch")


def test_a_poll_that_leaves_events_out_reports_it() -> None:
    site = Site(batch_events_max=1)
    first, second = (site.ask(frames.PollRequest(epoch=EPOCH, after_sequence=after)) for after in (0, 1))
    assert first == [poll_answer(after_sequence=0, events=(chat(1),), has_more=True)]
    assert second == [poll_answer(after_sequence=1, events=(chat(2),), has_more=False)]


def test_a_poll_with_a_client_id_keeps_its_session_and_learns_its_number() -> None:
    memory = StoredClient("client-1", "ann", 7, ((7, 2),))
    site = Site(stored={"clients": (memory,)}, presence_grace_s=30)
    poll = frames.PollRequest(client_id="client-1", session_id="session-0", epoch=EPOCH, after_sequence=2, fallback="not_opened")
    answer = poll_answer(session_id="session-0", last_client_sequence=7, active_users=("ann",))
    assert site.ask(poll) == [answer], "a server that knows no session believes the name"
    reported = Reported("session-0", "client-1", frames.Report())
    assert site.run.take_observations() == [FellBack("session-0", "client-1", "ann", "not_opened"), reported]
    site.ask(poll, 20)
    assert site.run.take_observations() == [reported], "it had come over before"
    site.run.handle_timeout(seconds(49.9))
    assert site.run.active_users == ("ann",)
    site.run.handle_timeout(seconds(50))
    assert site.run.active_users == ()


def test_a_client_that_may_wait_longer_may_also_be_away_longer() -> None:
    site = Site(presence_grace_s=30)
    site.ask(frames.PollRequest(client_id="client-1", wait_ms=20_000))
    site.run.handle_timeout(seconds(49.9))
    assert site.run.active_users == ("ann",)
    site.run.handle_timeout(seconds(50))
    assert site.run.active_users == ()


def test_a_poll_at_the_head_may_wait_for_something_to_read() -> None:
    site = Site()
    go_live(site.run, 50, "w", "bob")
    poll = frames.PollRequest(epoch=EPOCH, after_sequence=2, wait_ms=20_000)
    assert site.ask(poll) == []
    assert site.run.statistics().connections == 2
    site.publish()
    (answer,) = sent(site.run.take_actions(), 1)
    assert isinstance(answer, frames.PollAnswer)
    assert [event.sequence_number for event in answer.events] == [3]
    assert site.run.statistics().connections == 1


def test_a_poll_that_waited_in_vain_is_answered_with_nothing() -> None:
    site = Site()
    assert site.ask(frames.PollRequest(epoch=EPOCH, after_sequence=2, wait_ms=20_000)) == []
    site.run.handle_timeout(seconds(19.999))
    assert site.run.take_actions() == []
    site.run.handle_timeout(seconds(20))
    assert sent(site.run.take_actions(), 1) == [poll_answer(server_time=20_000)]
    assert site.run.connections == 0


def test_a_poll_that_was_given_up_waits_no_more() -> None:
    site = Site()
    site.ask(frames.PollRequest(epoch=EPOCH, after_sequence=2, wait_ms=20_000))
    site.run.connection_lost(1, seconds(1))
    assert [each.length for each in site.run.statistics().held if each.what == "polls that wait"] == [0]
    site.run.handle_timeout(seconds(30))
    assert sent(site.run.take_actions(), 1) == []


@pytest.mark.parametrize(
    "poll",
    [
        frames.PollRequest(epoch=EPOCH, after_sequence=2, wait_ms=0),
        frames.PollRequest(epoch=EPOCH, after_sequence=1, wait_ms=20_000),
        frames.PollRequest(start="head", wait_ms=20_000),
        frames.PollRequest(epoch="epoch-0", after_sequence=2, wait_ms=20_000),
    ],
    ids=["it may not wait", "there is something to read", "it has no position yet", "its history is gone"],
)
def test_a_poll_does_not_wait(poll: frames.PollRequest) -> None:
    assert len(Site().ask(poll)) == 1


def test_a_poll_of_an_older_generation_gets_its_answer_and_nothing_else() -> None:
    site = Site()
    go_live(site.run, 50, "client-1", "ann")  # generation 1
    site.run.take_observations()
    (answer,) = site.ask(frames.PollRequest(client_id="client-1", generation=1))
    assert isinstance(answer, frames.PollAnswer)
    assert answer.session_id is None
    assert closes(site.actions) == []
    (answer,) = site.ask(frames.PollRequest(client_id="client-1", generation=2))
    assert isinstance(answer, frames.PollAnswer)
    assert answer.session_id == "session-50"
    assert closes(site.actions) == [(50, CloseCode.SUPERSEDED)]
    assert sent(site.actions, 50)[-1] == frames.Error(code=4101, message="a newer connection took the session over")
    assert FellBack("session-50", "client-1", "ann", None) in site.run.take_observations()


def test_a_poll_of_the_same_generation_keeps_a_session_that_polls() -> None:
    site = Site(presence_grace_s=30)
    site.ask(frames.PollRequest(client_id="client-1", generation=3))
    site.ask(frames.PollRequest(client_id="client-1", generation=3), 20)
    site.ask(frames.PollRequest(client_id="client-1", generation=2), 40)
    site.run.handle_timeout(seconds(49.9))
    assert site.run.active_users == ("ann",)
    site.run.handle_timeout(seconds(50))
    assert site.run.active_users == (), "an older one keeps nothing"


@pytest.mark.parametrize("request_of", [frames.PollRequest, frames.PublishRequest])
def test_another_users_client_id_is_refused(request_of: type[frames.PollRequest] | type[frames.PublishRequest]) -> None:
    site = Site()
    site.ask(frames.PollRequest(client_id="client-1"))
    assert site.ask(request_of(client_id="client-1"), user="bob") == []
    reason = "this client id belongs to another user"
    assert [a for a in site.actions if isinstance(a, Close)] == [Close((2,), CloseCode.FORBIDDEN, reason)]
    known = Site(stored={"clients": (StoredClient("client-1", "ann", 1, ()),)})
    assert known.ask(request_of(client_id="client-1"), user="bob") == []
    assert closes(known.actions) == [(1, CloseCode.FORBIDDEN)], "also when only its publishes are remembered"


def test_another_users_client_id_is_refused_also_to_a_poll_that_would_change_nothing() -> None:
    site = Site()
    go_live(site.run, 50, "client-1", "ann")
    assert site.ask(frames.PollRequest(client_id="client-1", generation=1), user="bob") == []
    assert closes(site.actions) == [(1, CloseCode.FORBIDDEN)]


def message(number: int, event_type: str = "CHAT", **data: object) -> frames.Message:
    return frames.Message(client_sequence=number, event_type=event_type, data=data)


def test_a_publish_request_is_answered_when_all_of_it_is_durable_in_its_order() -> None:
    site = Site()
    request = frames.PublishRequest(client_id="client-1", messages=(message(1), message(3), message(2, "DANCE")))
    assert site.ask(request, 5) == []
    append = site.run.events_to_append()
    assert append is not None
    assert [(entry.client_sequence, entry.event.user_id, entry.event.timestamp) for entry in append.entries] == [(1, "ann", 5000)]
    site.run.handle_appended(append, seconds(6))
    (answer,) = sent(site.run.take_actions(), 1)
    assert isinstance(answer, frames.PublishAnswer)
    assert answer.epoch == EPOCH
    assert [result.client_sequence for result in answer.results] == [1, 3, 2]
    assert answer.results[0] == frames.Accepted(client_sequence=1, sequence_number=3)
    codes = [result.code for result in answer.results if isinstance(result, frames.Rejected)]
    assert codes == ["out_of_order", "unknown_event_type"]
    assert site.run.connections == 0
    answered = [seen for seen in site.run.take_observations() if isinstance(seen, Answered)]
    assert {seen.client_id for seen in answered} == {"client-1"}
    assert [seen.accepted for seen in answered].count(True) == 1


def test_a_publish_request_without_messages_brings_a_cursor_only() -> None:
    site = Site()
    site.ask(frames.PollRequest(client_id="client-1"))
    answer = site.ask(frames.PublishRequest(client_id="client-1", cursor={"x": 1}))
    assert answer == [frames.PublishAnswer((), EPOCH)]
    assert site.run.cursors == {"ann": {"x": 1}}
    assert site.run.connections == 0


def test_two_messages_of_one_number_are_refused() -> None:
    site = Site()
    assert site.ask(frames.PublishRequest(client_id="client-1", messages=(message(1), message(1)))) == []
    reason = "two messages of one request have the same clientSequence"
    assert site.actions == [Close((1,), CloseCode.BAD_FRAME, reason)]
    assert site.run.events_to_append() is None


@pytest.mark.parametrize("bad", [{"messages": (message(1), message(1))}, {"cursor": {"text": "x" * 600}}])
def test_a_request_that_is_a_bad_frame_takes_nothing_over(bad: dict[str, Any]) -> None:
    site = Site()
    go_live(site.run, 50, "client-1", "ann")
    site.ask(frames.PublishRequest(client_id="client-1", generation=2, **bad))
    assert closes(site.actions) == [(1, CloseCode.BAD_FRAME)]


def test_a_publish_request_of_an_older_generation_is_refused_and_one_of_a_newer_takes_over() -> None:
    site = Site()
    go_live(site.run, 50, "client-1", "ann")
    site.ask(frames.PublishRequest(client_id="client-1", generation=2, messages=(message(1),)))
    assert closes(site.actions) == [(50, CloseCode.SUPERSEDED)]
    assert site.ask(frames.PublishRequest(client_id="client-1", generation=1, messages=(message(2),))) == []
    reason = "a newer connection owns this session"
    assert [a for a in site.actions if isinstance(a, Close)] == [Close((2,), CloseCode.SUPERSEDED, reason)]
    assert site.ask(frames.PublishRequest(client_id="client-1", generation=2, messages=(message(2),))) == []
    assert closes(site.actions) == []


def test_a_publish_request_of_the_websockets_own_generation_takes_nothing_over() -> None:
    site = Site()
    go_live(site.run, 50, "client-1", "ann")
    site.ask(frames.PublishRequest(client_id="client-1", generation=1, messages=(message(1),)))
    assert closes(site.actions) == []
    assert site.run.events_to_append() is not None


def test_a_publish_request_that_takes_over_is_present_for_the_grace() -> None:
    site = Site(presence_grace_s=30)
    go_live(site.run, 50, "client-1", "ann")
    site.ask(frames.PublishRequest(client_id="client-1", generation=2), 10)
    site.run.handle_timeout(seconds(39.9))
    assert site.run.active_users == ("ann",)
    site.run.handle_timeout(seconds(40))
    assert site.run.active_users == ()


def test_a_request_has_to_say_something_in_time() -> None:
    site = Site(hello_timeout_s=10)
    site.run.connection_opened(1, Transport.POLLING, Identity("ann"), "session-1", 0)
    site.run.handle_timeout(seconds(9.9))
    assert site.run.take_actions() == []
    site.run.handle_timeout(seconds(10))
    assert site.run.take_actions() == [Close((1,), CloseCode.HEARTBEAT_LOST, "no hello within 10 s")]
    asked = Site(hello_timeout_s=10)
    asked.ask(frames.PollRequest(epoch=EPOCH, after_sequence=2, wait_ms=20_000))
    asked.run.handle_timeout(seconds(19))
    assert closes(asked.run.take_actions()) == [], "it has said what it wants"


def test_the_clock_of_an_event_is_in_milliseconds() -> None:
    site = Site()
    site.ask(frames.PublishRequest(client_id="client-1", messages=(message(1),)), 1.2345)
    append = site.run.events_to_append()
    assert append is not None
    assert append.entries[0].event.timestamp == 1234 == seconds(1.2345) // NS_PER_MS


def test_each_message_of_a_request_takes_its_bytes_from_the_rate() -> None:
    site = Site(frame_bytes_max=1024, publish_bytes_burst=1024, publish_bytes_per_s=500)
    messages = tuple(frames.Message(client_sequence=number, event_type="CHAT", data={"text": "x" * 1000}) for number in (1, 2))
    assert site.ask(frames.PublishRequest(client_id="client-1", messages=messages)) == []
    append = site.run.events_to_append()
    assert append is not None
    site.run.handle_appended(append, 0)
    (answer,) = sent(site.run.take_actions(), site.connections)
    assert isinstance(answer, frames.PublishAnswer)
    accepted, rejected = answer.results
    assert isinstance(accepted, frames.Accepted)
    assert isinstance(rejected, frames.Rejected)
    assert (rejected.code, rejected.retryable, rejected.retry_after_ms) == ("rate", True, 1996)
