"""The checkers: they watch what passes, and write down which guarantee was broken.

Each check stands where its fact becomes visible: what a server may say is judged when it is said, what an application was told
when it is told. `Journal.broken` is empty as long as every guarantee holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from reference.protocol import frames
from reference.protocol.client.outcomes import (
    Outcome,
    PublishAccepted,
    PublishFailed,
    ResetReceived,
    SessionEnded,
    SnapshotReceived,
)
from reference.protocol.events import Event
from reference.protocol.records import Append, RunState
from simulation.adversary.model import ANSWERS_KEPT, History, fold_naively


@dataclass(frozen=True)
class Broken:
    guarantee: str
    what: str


@dataclass
class View:
    """What one application knows, from nothing but what it was told."""

    client: str
    epoch: str | None = None
    last: int = 0
    state: RunState | None = None
    begins_at: tuple[str, int] | None = None
    """Where a session that asked for no snapshot was told to begin."""
    asked: dict[int, str] = field(default_factory=dict)
    """Publishes without an outcome so far: ticket to the mark in its data."""
    marks: dict[int, str] = field(default_factory=dict)
    accepted: dict[int, int] = field(default_factory=dict)
    failed: dict[int, PublishFailed] = field(default_factory=dict)
    ended: SessionEnded | None = None
    outcomes: list[Outcome] = field(default_factory=list)


class Journal:
    def __init__(self, histories: dict[str, History]) -> None:
        self.broken: list[Broken] = []
        self._states = histories
        self._answers: dict[tuple[str, str, int], int] = {}
        self._refused: set[tuple[str, str, int]] = set()
        self._marks: dict[str, dict[str, int]] = {}
        self._newest_mark: dict[tuple[str, str], int] = {}
        self._owner: dict[str, int] = {}
        self._given: dict[int, int] = {}
        """The last event that each connection was given, or what its welcome or snapshot began with."""

    def note(self, guarantee: str, what: str) -> None:
        self.broken.append(Broken(guarantee, what))

    # The store.

    def stored(self, append: Append) -> None:
        """A batch has become durable."""
        marks = self._marks.setdefault(append.epoch, {})
        for entry in append.entries:
            mark = str(entry.event.data["mark"])
            if mark in marks:
                self.note("G3", f"{mark} is in {append.epoch} as event {marks[mark]} and as {entry.sequence_number}")
            marks[mark] = entry.sequence_number
            client, ticket = mark.rsplit("/", 1)
            newest = self._newest_mark.get((append.epoch, client), 0)
            if int(ticket) < newest:
                self.note("G8", f"{mark} was sequenced after publish {newest} of its client")
            self._newest_mark[append.epoch, client] = max(newest, int(ticket))

    def history_lost(self, epoch: str, kept: Iterable[str]) -> None:
        """A new epoch begins with these marks."""
        self._marks[epoch] = {mark: number for number, mark in enumerate(kept, 1)}

    # The server.

    def server_restarted(self) -> None:
        self._owner.clear()
        self._given.clear()

    def said(self, client: str, connection_id: int, frame: frames.Frame, epoch: str, *, over_http: bool) -> None:
        """The run has sent a frame to a client's connection."""
        if isinstance(frame, frames.Welcome):
            self._owner[client] = connection_id
            self._given[connection_id] = frame.after_sequence
        elif not over_http and self._owner.get(client) != connection_id and not isinstance(frame, frames.Error | frames.Goaway):
            self.note("G9", f"{type(frame).__name__} to a connection of {client} that does not own its session")
        if isinstance(frame, frames.PublishAnswer):
            for result in frame.results:
                self._answered(client, result, epoch)
        elif isinstance(frame, frames.Accepted | frames.Rejected):
            self._answered(client, frame, epoch)
        elif isinstance(frame, frames.Events):
            for event in frame.events:
                if event != self._states[epoch].event(event.sequence_number or 0):
                    self.note("G11", f"event {event.sequence_number} was sent before it was durable, or is another one")

    def delivers(self, client: str, connection_id: int, batch: frames.Events) -> None:
        """A connection's socket takes a batch: what it took before ends right before it."""
        first, last = batch.events[0].sequence_number or 0, batch.events[-1].sequence_number or 0
        before = self._given.get(connection_id)
        if before is not None and first != before + 1:
            self.note("G1", f"a connection of {client} is given events from {first} on after {before}")
        self._given[connection_id] = last

    def owns(self, client: str, connection_id: int) -> bool:
        return self._owner.get(client) == connection_id

    def _answered(self, client: str, answer: frames.Accepted | frames.Rejected, epoch: str) -> None:
        key = (epoch, client, answer.client_sequence)
        if isinstance(answer, frames.Rejected):
            if answer.code == "answer_expired":
                self._check_forgotten(key)
            if answer.retryable or answer.code in ("answer_expired", "too_many_clients"):
                return
            self._refused.add(key)
            if key in self._answers:
                self.note("G4", f"publish {key} was accepted first and then rejected: {answer.code}")
            return
        first = self._answers.setdefault(key, answer.sequence_number)
        if first != answer.sequence_number or key in self._refused:
            self.note("G4", f"publish {key} was answered {first}, and now {answer.sequence_number}")
        history = self._states[epoch]
        if answer.sequence_number > history.head:
            self.note("G11", f"publish {key} was accepted as {answer.sequence_number} before that was durable")
        else:
            entry = history.entries[answer.sequence_number - 1]
            if (entry.client_id, entry.client_sequence) != (client, answer.client_sequence):
                self.note("G3", f"publish {key} was accepted as {answer.sequence_number}, which is another one")

    def _check_forgotten(self, key: tuple[str, str, int]) -> None:
        """The run has said that it no longer has the answer to this publish."""
        epoch, client, number = key
        kept = [entry.client_sequence for entry in self._states[epoch].entries if entry.client_id == client][-ANSWERS_KEPT:]
        if number in kept:
            self.note("G4", f"publish {key} is in the log, and its answer was forgotten")

    # The clients' applications.

    def reported(self, view: View, outcome: Outcome) -> None:
        """A client's session has handed something to its application."""
        view.outcomes.append(outcome)
        match outcome:
            case Event():
                if outcome.sequence_number is not None:
                    self._delivered(view, outcome, outcome.sequence_number)
            case SnapshotReceived() | ResetReceived():
                self._jumped(view, outcome)
            case PublishAccepted():
                self._settled(view, outcome.ticket)
                view.accepted[outcome.ticket] = outcome.sequence_number
                self._check_accepted(view, outcome)
            case PublishFailed():
                self._settled(view, outcome.ticket)
                view.failed[outcome.ticket] = outcome
                # A run that lost its history must be told where a client's numbers go on; that may cost one publish its tries.
                if outcome.code == "out_of_order" and len(self._states) == 1:
                    self.note("G8", f"{view.client} could not make the run take publish {outcome.ticket}: {outcome.message}")
            case SessionEnded():
                view.ended = outcome
                for ticket in view.asked:
                    self.note("outcome", f"{view.client} ended and said nothing of publish {ticket}")

    def position_is(self, view: View, epoch: str | None, last: int) -> None:
        """Where the session says that its application is."""
        if view.epoch is None and view.begins_at is not None and epoch is not None:
            self._begin(view)
        if (epoch, last) != (view.epoch, view.last):
            self.note("G2", f"{view.client} stands at {(epoch, last)}; its application was brought to {(view.epoch, view.last)}")

    def _begin(self, view: View) -> None:
        assert view.begins_at is not None
        view.epoch, view.last = view.begins_at
        view.state = self._states[view.epoch].states[0] if view.last == 0 else None

    def _delivered(self, view: View, event: Event, number: int) -> None:
        if view.epoch is None and view.begins_at is not None:
            self._begin(view)
        if view.epoch is None:
            self.note("G2", f"{view.client} was given event {number} without a beginning")
            return
        if number != view.last + 1:
            self.note("G1", f"{view.client} was given event {number} after {view.last}")
        if event != self._states[view.epoch].event(number):
            self.note("G1", f"{view.client} was given an event {number} that is not the one of {view.epoch}")
        view.last = number
        if view.state is not None:
            view.state = fold_naively(view.state, event)

    def _jumped(self, view: View, outcome: SnapshotReceived | ResetReceived) -> None:
        number = outcome.snapshot.sequence_number
        if view.epoch is None and view.begins_at is not None:
            self._begin(view)
        if isinstance(outcome, SnapshotReceived) and view.epoch not in (None, outcome.epoch):
            self.note("G2", f"{view.client} was moved from {view.epoch} to {outcome.epoch} without a reset")
        if outcome.epoch == view.epoch and number < view.last:
            self.note("G1", f"{view.client} was moved back from {view.last} to {number} in {view.epoch}")
        history = self._states[outcome.epoch]
        if number > history.head or outcome.snapshot.state != history.states[number]:
            self.note("G5", f"{view.client} was given a snapshot at {number} that is not the fold of 1..{number}")
        view.epoch, view.last, view.state = outcome.epoch, number, outcome.snapshot.state

    def _settled(self, view: View, ticket: int) -> None:
        if view.asked.pop(ticket, None) is None:
            self.note("outcome", f"{view.client} was told twice of publish {ticket}")

    def _check_accepted(self, view: View, accepted: PublishAccepted) -> None:
        mark = view.marks[accepted.ticket]
        named = [accepted.epoch] if accepted.epoch is not None else list(self._states)
        for epoch in named:
            event = self._states[epoch].event(accepted.sequence_number)
            if event is not None and event.data["mark"] == mark:
                return
        where = "no log" if accepted.epoch is None else accepted.epoch
        self.note("G11", f"{mark} was accepted as {accepted.sequence_number}; {where} does not have it there")

    # The end.

    def finish(self, views: Iterable[View]) -> None:
        """Judge what can only be judged when all is over."""
        for view in views:
            for ticket in view.asked:
                self.note("outcome", f"{view.client} never said what became of publish {ticket}")
            for ticket, failure in view.failed.items():
                mark = view.marks[ticket]
                if not failure.may_have_arrived and any(mark in marks for marks in self._marks.values()):
                    self.note("G3", f"{mark} failed ({failure.code}) as never arrived, and stands in a log")
            history = None if view.epoch is None else self._states[view.epoch]
            if history is not None and view.last > history.head:
                self.note("G1", f"{view.client} was given events up to {view.last}; {view.epoch} has {history.head}")
            elif history is not None and view.state not in (None, history.states[view.last]):
                self.note("G5", f"{view.client} has folded another state than {view.epoch} has at {view.last}")
