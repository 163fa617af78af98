"""Proof that the properties bite: each of these bugs, put into the machines on purpose, is found over the hostile link.

A bug is a few patched lines. What counts is that some guarantee, or an assertion of a machine or of the store, breaks within
`EXAMPLES_MAX` examples; the examples are the same in every run.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from reference.protocol import frames, sequencer
from reference.protocol.backoff import Reconnector
from reference.protocol.client_desk import Timer
from reference.protocol.gathering import Gathering
from reference.protocol.inbox import Inbox, Received
from reference.protocol.links import Links
from reference.protocol.membership import Membership
from reference.protocol.outbox import Outbox
from reference.protocol.presence import Attendance
from reference.protocol.pulse import Pulse
from reference.protocol.receiving import Receiving
from reference.protocol.run_state import Fold
from reference.protocol.sending import Sending
from reference.protocol.sequencer import Sequencer
from simulation.hostile.settling import play
from simulation.hostile.steps import Step
from simulation.hostile.world import Setup
from simulation.strategies.schedules import schedules, setups

EXAMPLES_MAX = 1000
Patch = pytest.MonkeyPatch


class Caught(Exception):
    """An example has shown the bug."""


def before(patch: Patch, owner: type, name: str, act: Callable[..., None]) -> None:
    """Let a method do something else first."""
    original = getattr(owner, name)

    def method(*args: Any, **named: Any) -> Any:
        act(*args, **named)
        return original(*args, **named)

    patch.setattr(owner, name, method)


def after(patch: Patch, owner: type, name: str, act: Callable[..., Any]) -> None:
    """Let a method do something else afterwards, with its result in front."""
    original = getattr(owner, name)

    def method(*args: Any, **named: Any) -> Any:
        return act(original(*args, **named), *args)

    patch.setattr(owner, name, method)


def no_dedupe(patch: Patch) -> None:
    def forget(self: Sequencer, client_id: str, user_id: str, publish: Any, *_: Any) -> None:
        publisher = self._publishers.get(client_id)
        if publisher is not None and publisher.last >= publish.client_sequence:
            publisher.last = publish.client_sequence - 1

    before(patch, Sequencer, "publish", forget)


def accepted_before_stored(patch: Patch) -> None:
    after(patch, Sequencer, "_take", lambda _, self, *__: self.appended(self._head))


def answers_forgotten_by_restart(patch: Patch) -> None:
    restored = sequencer._restored

    def without_answers(*given: Any) -> Any:
        publisher = restored(*given)
        publisher.answers.clear()
        return publisher

    patch.setattr(sequencer, "_restored", without_answers)


def clients_forgotten_by_restart(patch: Patch) -> None:
    after(patch, Sequencer, "__init__", lambda _, self, *__: self._publishers.clear())


def numbers_from_one_after_restart(patch: Patch) -> None:
    after(patch, Sequencer, "__init__", lambda _, self, *__: setattr(self, "_head", 0))


def position_forgotten_with_the_connection(patch: Patch) -> None:
    def forget(_: None, self: Receiving) -> None:
        self.inbox.epoch, self.inbox.last = None, 0

    after(patch, Receiving, "disconnected", forget)


def gaps_delivered(patch: Patch) -> None:
    def receive(self: Inbox, events: Any) -> Received:
        new = [event for event in events if event.sequence_number > self.last]
        if new:
            self.last = new[-1].sequence_number
        return Received(new, 0, False)

    patch.setattr(Inbox, "receive", receive)


def duplicates_delivered(patch: Patch) -> None:
    def receive(self: Inbox, events: Any) -> Received:
        batch = list(events)
        if batch:
            self.last = batch[-1].sequence_number
        return Received(batch, 0, False)

    patch.setattr(Inbox, "receive", receive)


def failures_forgotten_when_it_opens(patch: Patch) -> None:
    before(patch, Links, "opened", lambda self, *_: self.reconnector.steady())


def resent_on_a_living_connection(patch: Patch) -> None:
    before(patch, Sending, "receive", lambda self, *_: self.outbox.connection_lost())


def holes_not_declared(patch: Patch) -> None:
    def without_after(message: frames.Message, *_: Any) -> frames.Message:
        return frames.Message(client_sequence=message.client_sequence, event_type=message.event_type, data=message.data)

    after(patch, Outbox, "_send", without_after)


def newest_sent_first(patch: Patch) -> None:
    def turn(self: Outbox, *_: Any) -> None:
        self._queue = dict(reversed(self._queue.items()))

    before(patch, Outbox, "take_sendable", turn)


def outbox_without_limit(patch: Patch) -> None:
    patch.setattr(Outbox, "_make_room", lambda *_: [])


def inbox_without_limit(patch: Patch) -> None:
    before(patch, Inbox, "receive", lambda self, _: setattr(self, "_held_max", 1000))


def silence_when_it_ends(patch: Patch) -> None:
    def clear(self: Sending, _: str) -> None:
        self.outbox.clear()

    patch.setattr(Sending, "give_up", clear)


def old_owner_stays(patch: Patch) -> None:
    patch.setattr(Gathering, "take_losers", lambda _: [])


def generations_ignored(patch: Patch) -> None:
    def lower(self: Membership, client_id: str, *_: Any) -> None:
        session = self.get(client_id)
        if session is not None:
            session.generation = 0

    before(patch, Membership, "claim", lower)


def goaway_ignored(patch: Patch) -> None:
    patch.setattr(Reconnector, "asked_to_wait", lambda *_: None)


def half_open_never_noticed(patch: Patch) -> None:
    after(patch, Pulse, "ping", lambda ping, self, *_: (self._desk.timers.cancel(Timer.PONG), ping)[1])


def polling_never_stops(patch: Patch) -> None:
    patch.setattr(Links, "_stop_polling", lambda _: None)


def first_tab_takes_the_user_along(patch: Patch) -> None:
    def forget_others(self: Attendance, user_id: str) -> None:
        self._sessions[user_id] = 1

    before(patch, Attendance, "leave", forget_others)


def prunes_not_folded(patch: Patch) -> None:
    fold = Fold.apply
    patch.setattr(Fold, "apply", lambda self, kind, data: None if kind == "PRUNE" else fold(self, kind, data))


BUGS: list[Callable[[Patch], None]] = [
    no_dedupe,
    accepted_before_stored,
    answers_forgotten_by_restart,
    clients_forgotten_by_restart,
    numbers_from_one_after_restart,
    position_forgotten_with_the_connection,
    gaps_delivered,
    duplicates_delivered,
    failures_forgotten_when_it_opens,
    resent_on_a_living_connection,
    holes_not_declared,
    newest_sent_first,
    outbox_without_limit,
    inbox_without_limit,
    silence_when_it_ends,
    old_owner_stays,
    generations_ignored,
    goaway_ignored,
    half_open_never_noticed,
    polling_never_stops,
    first_tab_takes_the_user_along,
    prunes_not_folded,
]


def search() -> tuple[int, str]:
    """How many examples it took, and what broke. Raises nothing if nothing broke."""
    examples = 0
    found = ""

    @settings(
        max_examples=EXAMPLES_MAX,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(setup=setups(), schedule=schedules())
    def example(setup: Setup, schedule: list[Step]) -> None:
        nonlocal examples, found
        examples += 1
        try:
            broken = play(setup, schedule)
        except (TypeError, AttributeError):
            raise  # our patch does not fit the machine any more
        except Exception as error:
            found = repr(error)
            raise Caught from None
        if broken:
            found = f"{broken[0].guarantee}: {broken[0].what}"
            raise Caught

    try:
        example()
    except Caught:
        return examples, found
    return examples, ""


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_the_bug_is_caught(bug: Callable[[Patch], None], record_property: Callable[[str, object], None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        examples, found = search()
    record_property("examples", examples)
    record_property("found", found)
    assert found, f"not caught within {examples} examples"
    print(f"{bug.__name__}: {examples} examples: {found}")
